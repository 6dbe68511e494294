//! A whole cluster, its clients, and what goes wrong.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| quorate::fuzzing::cluster(data));
