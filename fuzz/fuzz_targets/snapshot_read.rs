//! The file of a snapshot.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| quorate::fuzzing::snapshot_read(data));
