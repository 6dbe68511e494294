//! Whole machines beside the model of the store.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| quorate::fuzzing::store_model(data));
