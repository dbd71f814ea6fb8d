pub(super) const FILES: &[(&str, &[u8])] = &[];
