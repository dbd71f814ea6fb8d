//! `wouldblock check URL`: the black-box checker.
