//! Which content coding a client gets (RFC 9110 §12.5.3), and which media types it names (§12.5.1).

use crate::http::{Headers, list_members};

/// A content coding other than identity, the best first: what is smaller for most text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Coding {
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstandard,
    /// RFC 1952.
    Gzip,
}

impl Coding {
    /// All of them, best first.
    pub(super) const ALL: [Self; 3] = [Self::Brotli, Self::Zstandard, Self::Gzip];

    /// As in Content-Encoding.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstandard => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// What the name of a neighbour ends in.
    pub(super) const fn suffix(self) -> &'static str {
        match self {
            Self::Brotli => ".br",
            Self::Zstandard => ".zst",
            Self::Gzip => ".gz",
        }
    }
}

/// What a client accepts: a weight from 0 (not at all) to 1000 for each coding, in the order of [`Coding::ALL`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Accepted {
    weights: [u16; 3],
    /// 0 also if neither it nor `*` was named: then any coding that is accepted at all goes before it.
    identity: u16,
}

impl Accepted {
    /// Reads every Accept-Encoding. A member that makes no sense is left out, as if it were not there.
    pub(super) fn read(headers: Headers<'_>) -> Self {
        let (mut named, mut identity, mut rest) = ([None; 3], None, None);
        for member in headers.all("accept-encoding").flat_map(list_members) {
            let mut parts = member.split(|&octet| octet == b';');
            let name = parts.next().unwrap_or_default().trim_ascii();
            let Some(weight) = parts.next().map_or(Some(1000), weight) else { continue };
            let known = match name {
                b"*" => &mut rest,
                _ if name.eq_ignore_ascii_case(b"identity") => &mut identity,
                // §8.4.1.3: x-gzip is gzip.
                _ if name.eq_ignore_ascii_case(b"x-gzip") => &mut named[2],
                _ => {
                    let at = Coding::ALL
                        .iter()
                        .position(|coding| name.eq_ignore_ascii_case(coding.name().as_bytes()));
                    match at.and_then(|at| named.get_mut(at)) {
                        Some(slot) => slot,
                        None => continue,
                    }
                }
            };
            *known = Some(weight);
        }
        let (identity, rest) = (identity.or(rest).unwrap_or(0), rest.unwrap_or(0));
        Self { weights: named.map(|weight| weight.unwrap_or(rest)), identity }
    }

    /// Whether there is a coding at all that the client would rather have than identity.
    pub(super) fn any(&self) -> bool {
        self.weights.iter().any(|&weight| weight > 0 && weight >= self.identity)
    }

    /// The best of the codings that are at hand, `None` for identity. Identity is sent too if the client forbids
    /// it and there is nothing else: an answer it may be able to read beats 406, which it cannot use
    /// (RFC 9110 §12.4.1 leaves the choice).
    pub(super) fn choose(&self, at_hand: [bool; 3]) -> Option<Coding> {
        let mut best: Option<(Coding, u16)> = None;
        for ((coding, at_hand), weight) in Coding::ALL.into_iter().zip(at_hand).zip(self.weights) {
            // Heavier wins; of equals the first, which is the smaller.
            if at_hand
                && weight > 0
                && weight >= self.identity
                && best.is_none_or(|(_, heaviest)| weight > heaviest)
            {
                best = Some((coding, weight));
            }
        }
        best.map(|(coding, _)| coding)
    }
}

/// How much a client would like a media type that it names in Accept, in thousandths; 0 if it does not name it, or
/// only to refuse it (RFC 9110 §12.5.1). What makes no sense is left out here too.
pub(super) fn media_weight(headers: Headers<'_>, wanted: &[u8]) -> u16 {
    let weights = headers.all("accept").flat_map(list_members).filter_map(|member| {
        let mut parts = member.split(|&octet| octet == b';').map(<[u8]>::trim_ascii);
        if !parts.next()?.eq_ignore_ascii_case(wanted) {
            return None;
        }
        // The type's own parameters may come before it.
        let parameter = parts.find(|part| part.starts_with(b"q=") || part.starts_with(b"Q="));
        parameter.map_or(Some(1000), weight)
    });
    weights.max().unwrap_or(0)
}

/// `q=0.5` in thousandths (RFC 9110 §12.4.2): at most three decimals, at most 1.
fn weight(parameter: &[u8]) -> Option<u16> {
    let parameter = parameter.trim_ascii();
    let value = parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q="))?;
    let (whole, decimals) = match value {
        [whole] | [whole, b'.'] => (whole, &[][..]),
        [whole, b'.', decimals @ ..] if decimals.len() <= 3 => (whole, decimals),
        _ => return None,
    };
    let mut thousandths = 0;
    for place in 0..3 {
        let digit = decimals.get(place).copied().unwrap_or(b'0');
        if !digit.is_ascii_digit() {
            return None;
        }
        thousandths = thousandths * 10 + u16::from(digit - b'0');
    }
    match (whole, thousandths) {
        (b'0', _) => Some(thousandths),
        (b'1', 0) => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(value: &str, at_hand: [bool; 3]) -> &'static str {
        let fields = [httparse::Header { name: "Accept-Encoding", value: value.as_bytes() }];
        Accepted::read(Headers::new(&fields)).choose(at_hand).map_or("identity", Coding::name)
    }

    #[test]
    fn the_coding_is_the_one_the_client_likes_best_of_those_at_hand() {
        let all = [true; 3];
        for (value, at_hand, expected) in [
            ("", all, "identity"),
            ("gzip", all, "gzip"),
            ("gzip, deflate, br, zstd", all, "br"),
            ("gzip, deflate, br, zstd", [false, true, true], "zstd"),
            ("gzip, deflate, br", [false, true, true], "gzip"),
            ("gzip, deflate, br", [false; 3], "identity"),
            ("GZIP", all, "gzip"),
            ("x-gzip", all, "gzip"),
            ("*", all, "br"),
            ("*;q=0", all, "identity"),
            ("br;q=0, *", all, "zstd"),
            ("gzip;q=1.0, br;q=0.5", all, "gzip"),
            ("gzip;q=0.5, br;q=0.5", all, "br"),
            ("gzip ; q=0.001", all, "gzip"),
            ("gzip;Q=0.3", all, "gzip"),
            ("gzip;q=0", all, "identity"),
            ("gzip;q=0.0", all, "identity"),
            ("gzip;q=0.000", all, "identity"),
            ("gzip;q=1.5", all, "identity"),
            ("gzip;q=0.1234", all, "identity"),
            ("gzip;q=", all, "identity"),
            ("gzip;q=-1", all, "identity"),
            ("gzip;level=9", all, "identity"),
            ("identity;q=1, gzip;q=0.5", all, "identity"),
            ("identity;q=0.5, gzip;q=1", all, "gzip"),
            ("identity, gzip", all, "gzip"),
            // The star is identity too, if that is not named.
            ("gzip;q=0.1, *;q=0.5", [false, false, true], "identity"),
            ("gzip;q=0.1, *;q=0.5", all, "br"),
            ("gzip;q=0.1, identity;q=0, *;q=0.5", [false, false, true], "gzip"),
            ("gzip;q=0.1, *;q=0", all, "gzip"),
            ("identity;q=0", all, "identity"),
            ("identity;q=0, gzip;q=0.1", all, "gzip"),
            ("identity;q=0, gzip", [false; 3], "identity"),
            ("compress, deflate, exi", all, "identity"),
            (",,gzip,,", all, "gzip"),
        ] {
            assert_eq!(chosen(value, at_hand), expected, "{value} {at_hand:?}");
        }
    }
}
