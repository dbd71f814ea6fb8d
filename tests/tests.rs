//! The map of the integration tests: one line per module.
