//! The store beside its twin.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| quorate::fuzzing::mvcc_model(data));
