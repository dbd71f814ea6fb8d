#![no_main]

#[path = "../laws/site.rs"]
mod site;

libfuzzer_sys::fuzz_target!(|input: &[u8]| site::hold(input));
