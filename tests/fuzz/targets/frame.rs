//! What a connection reads: a length, a header, and the body of whatever API it names.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ottla_fuzz::wire::frame(data));
