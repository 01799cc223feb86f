//! A record batch as a client sends it, with its length and checksum made right.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ottla_fuzz::log::batch(data));
