//! Replicas, and a network that does what the case says.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| quorate::fuzzing::deliver(data));
