//! What the store's data structure takes in memory, and what it gives back.
//!
//! ```text
//! cargo run --release -p quorate-mvcc --bin memory
//! ```
//!
//! One JSON line for each case, each in a process of its own, for a million keys of 32 bytes with
//! values of 256 that arrive in random order:
//!
//! - `full`: all of them, one version each;
//! - `tenth`: a tenth of them, never more;
//! - `deleted`: all, of which nine tenths were deleted, and then everything but the newest state
//!   compacted away and removed. It should take little more than `tenth`: at most a quarter, says
//!   the test in `checks/mvcc/tests/`, which runs this program.
//!
//! `resident_bytes` is what the system says, after the allocator was told to give back what it
//! keeps (glibc); `used_bytes` what the allocator has lent out; `beyond_bytes` what of that each
//! live key takes beyond its key and value. Linux with glibc only.

// The lints keep the library from the file system. This is a program.
#![allow(clippy::disallowed_methods, reason = "a program at a terminal, not the library")]

#[path = "mvcc/keys.rs"]
mod keys;

use std::error::Error;
use std::process::Command;

use quorate_mvcc::Alone;

use keys::key;

const KEYS: u64 = 1_000_000;
const KEY_BYTES: u64 = 32;
const VALUE: [u8; 256] = [7; 256];

/// Every tenth key stays, of each prefix as many.
fn stays(number: u64) -> bool {
    (number / 10).is_multiple_of(10)
}

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(case) = std::env::args().nth(1) {
        return run(&case);
    }
    for case in ["full", "tenth", "deleted"] {
        let status = Command::new(std::env::current_exe()?).arg(case).status()?;
        if !status.success() {
            return Err(format!("{case} failed").into());
        }
    }
    Ok(())
}

fn run(case: &str) -> Result<(), Box<dyn Error>> {
    let (resident, used) = memory()?;
    let mut store = Alone::default();
    let all = case != "tenth";
    for number in (0..KEYS).filter(|number| all || stays(*number)) {
        store.put(&key(number), &VALUE);
    }
    if case == "deleted" {
        for number in (0..KEYS).filter(|number| !stays(*number)) {
            store.delete(&key(number));
        }
        // Of a tombstone at the compacted revision itself a watcher still learns.
        store.put(&key(0), &VALUE);
        store.compact()?;
    }
    let keys = if case == "full" { KEYS } else { KEYS / 10 };
    let (resident, used) = (memory()?.0 - resident, memory()?.1 - used);
    let beyond = used / keys - KEY_BYTES - VALUE.len() as u64;
    println!(
        "{{\"case\":\"{case}\",\"keys\":{keys},\"resident_bytes\":{resident},\
         \"used_bytes\":{used},\"beyond_bytes\":{beyond}}}"
    );
    drop(store);
    Ok(())
}

/// What the system says is resident, and what the allocator has lent out.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn memory() -> Result<(u64, u64), Box<dyn Error>> {
    // SAFETY: both take no pointer, and may be called at any time.
    let lent = unsafe {
        libc::malloc_trim(0);
        libc::mallinfo2()
    };
    let status = std::fs::read_to_string("/proc/self/statm")?;
    let pages = status.split_whitespace().nth(1).ok_or("statm has no second field")?;
    Ok((pages.parse::<u64>()? * 4096, (lent.uordblks + lent.hblkhd) as u64))
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn memory() -> Result<(u64, u64), Box<dyn Error>> {
    Err("only glibc on Linux says what is resident and what is lent out".into())
}
