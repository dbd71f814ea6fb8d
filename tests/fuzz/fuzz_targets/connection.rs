#![no_main]

#[path = "../laws/connection.rs"]
mod connection;

libfuzzer_sys::fuzz_target!(|input: &[u8]| connection::hold(input));
