//! The records of `__consumer_offsets`, which a coordinator reads when it starts.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ottla_fuzz::wire::group_record(data));
