//! Three members in one process take in a directory, lose their leader, and prove that they agree.
//!
//! ```sh
//! cargo run --release --example quickstart            # imports /etc
//! cargo run --release --example quickstart -- DIR
//! ```
//!
//! The log on disk, the sync before every acknowledgement, the elections and the recovery are the
//! real ones; only the network is a function call ([`LocalNetwork`](quorate::LocalNetwork)).
//!
//! 1. Every regular file under DIR becomes a key (its path) with a value (its content), put by 32
//!    callers through all three members.
//! 2. Halfway the leader is dropped without warning. The others elect another one; callers whose
//!    member is gone use the next.
//! 3. The lost member is opened again and catches up.
//! 4. Everything is read from every member and compared with the files.
//!
//! Symbolic links are not followed. A file that cannot be read or is too large is named and left
//! out. Exits with 0 if all is equal, 1 at the first difference, 2 if DIR cannot be read.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a program, not the library: it has threads, files, a clock and a terminal, and \
              numbers three members from 0 to 2"
)]

mod check;
mod cluster;
mod files;
mod import;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar};

use cluster::{Cluster, MEMBERS, NAMES};
use files::Listing;
use import::Import;

fn main() -> ExitCode {
    let dir = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("/etc"), PathBuf::from);
    let listing = match files::list(&dir) {
        Ok(listing) => listing,
        Err(error) => {
            eprintln!("cannot read the directory {}: {error}", dir.display());
            return ExitCode::from(2);
        }
    };
    match run(&dir, &listing) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(dir: &Path, listing: &Listing) -> Result<(), Box<dyn Error>> {
    let dir = dir.display();
    match listing.files.len() {
        0 => println!("there is no regular file under {dir}: the rest goes on without any"),
        count => println!("importing {count} files under {dir} into {MEMBERS} members"),
    }
    if listing.others > 0 {
        println!("  left out: {} links and special files", listing.others);
    }
    let cluster = Cluster::open()?;
    let bar = ProgressBar::new(listing.files.len() as u64);
    let mut lost = None;
    let started = Instant::now();
    let import = import::run(&cluster, &listing.files, &bar, || {
        lost = Some(lose_the_leader(&cluster, &bar)?);
        Ok(())
    })?;
    let elapsed = started.elapsed();
    bar.finish_and_clear();
    report(listing, &import, elapsed);

    if let Some(Lost { member, outage }) = lost {
        let rate = rate(import.imported.len(), elapsed.saturating_sub(outage));
        println!("  {rate} without the {} ms that the election took", outage.as_millis());
        reopen(&cluster, member)?;
    }
    check::everything(&cluster, &import.imported)?;
    check::files(&import.imported);
    check::table(&cluster)?;
    Ok(())
}

/// Who was dropped, and how long nobody led.
struct Lost {
    member: usize,
    outage: Duration,
}

/// Drops the node that leads, as a crash would: it hands nothing over and tells nobody.
fn lose_the_leader(cluster: &Cluster, bar: &ProgressBar) -> quorate::Result<Lost> {
    let member = cluster.leader()?;
    bar.suspend(|| println!("halfway: dropping the leader, {}, without warning", NAMES[member]));
    let started = Instant::now();
    cluster.drop_member(member);
    // A linearizable read is answered as soon as there is a leader again, by whom it takes.
    let survivor = (member + 1) % MEMBERS;
    cluster.catch_up(survivor)?;
    let outage = started.elapsed();
    let next = cluster.leader()?;
    bar.suspend(|| {
        println!("  {} has taken over, {} ms later", NAMES[next], outage.as_millis());
    });
    Ok(Lost { member, outage })
}

fn reopen(cluster: &Cluster, member: usize) -> quorate::Result<()> {
    let name = NAMES[member];
    let started = Instant::now();
    let behind = cluster.reopen(member)?;
    cluster.catch_up(member)?;
    let elapsed = started.elapsed().as_millis();
    println!("{name} is open again: {behind} revisions behind, caught up after {elapsed} ms");
    Ok(())
}

fn report(listing: &Listing, import: &Import, elapsed: Duration) {
    for (path, reason) in listing.unreadable.iter().chain(&import.left_out) {
        println!("  left out: {}: {reason}", path.display());
    }
    let bytes: u64 = import.imported.iter().map(|file| file.value.len() as u64).sum();
    let (count, seconds) = (import.imported.len(), elapsed.as_secs_f64());
    println!("imported {count} files, {}, in {seconds:.2} s", HumanBytes(bytes));
    if import.not_applied + import.unknown > 0 {
        println!(
            "  put again: {} that had not been applied, {} of which nobody knew (harmless: a file \
             put twice is still the same file)",
            import.not_applied, import.unknown
        );
    }
    println!("  {} in all", rate(count, elapsed));
}

fn rate(count: usize, elapsed: Duration) -> String {
    let count = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    format!("{:.0} puts per second", count / elapsed.as_secs_f64().max(1e-9))
}
