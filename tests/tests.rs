//! The map of the integration tests: one line per module.

mod site; // the content: which file, which fields, how fresh
