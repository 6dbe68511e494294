//! Memory is given back: what a store takes that has lost nine tenths of its keys.
//!
//! Each case of `benches/memory.rs` is a process of its own, so that none measures what another
//! has left. Resident memory is what the system says, after the allocator was told to give back
//! what it keeps: what is left between two records in use cannot be given back, and counts.

use std::process::Command;

/// A million keys of 32 bytes with values of 256, or what is left of them.
fn resident(case: &str) -> u64 {
    let out = Command::new(env!("CARGO_BIN_EXE_memory")).arg(case).output().unwrap();
    let (said, complaint) =
        (String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap());
    assert!(out.status.success(), "{case}: {complaint}");
    print!("{said}");
    let (_, after) = said.split_once("\"resident_bytes\":").unwrap();
    after.split(',').next().unwrap().parse().unwrap()
}

/// What is removed after a compaction is gone from memory too (`CMP-8`).
#[test]
#[cfg_attr(
    not(all(target_os = "linux", target_env = "gnu")),
    ignore = "only glibc on Linux says what is resident, and gives back what it is told to"
)]
fn cmp_8_nine_tenths_deleted_and_compacted_are_given_back() {
    let (fresh, left) = (resident("tenth"), resident("deleted"));
    assert!(fresh > 28_800_000, "{fresh} bytes for a tenth: less than keys and values");
    assert!(left * 4 <= fresh * 5, "{left} bytes are resident, {fresh} of a fresh store");
}
