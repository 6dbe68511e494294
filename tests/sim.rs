//! Bands of simulated clusters, and that a run is made of its seed alone.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test: one process starts another, and is told what it saw"
)]

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::process::Command;

use quorate::sim::{Profile, Run, Seed};

/// Seeds of each profile that are run with every `cargo test`. Many more are run by
/// `examples/simulate`.
const SEEDS: u64 = 100;

/// Calls of each of these runs.
const CALLS: u64 = 400;

/// Seeds of each profile whose clients hold leases and locks.
const HELD_SEEDS: u64 = 40;

/// INV-1 to INV-11, WAT-1 to WAT-36, LIN-1 to LIN-15, DUR-8 to DUR-11, SEL-10 to SEL-12: nothing
/// that is promised is broken, under any kind of fault.
fn band(profile: Profile) {
    for seed in 0..SEEDS {
        let run = Run::new(Seed::new(seed)).profile(profile).calls(CALLS);
        let report = run.run().unwrap();
        assert!(!report.undecided, "seed {seed}, {profile}: nobody can say if it is right");
    }
}

macro_rules! bands {
    ($($name:ident: $profile:ident;)+) => {
        $(
            #[test]
            fn $name() {
                band(Profile::$profile);
            }
        )+

        #[test]
        fn every_profile_has_its_band() {
            assert_eq!(Profile::ALL, [$(Profile::$profile),+]);
        }
    };
}

bands! {
    swarm: Swarm;
    calm: Calm;
    network: Network;
    crash: Crash;
    disk: Disk;
    clock: Clock;
    rot: Rot;
}

/// LSE-8 to LSE-20, REC-1 to REC-25, REC-36 to REC-42: nor of what holders of leases, of what is
/// held in turn, and of items are told.
#[test]
fn holders_under_every_kind_of_fault() {
    for profile in Profile::ALL {
        for seed in 0..HELD_SEEDS {
            Run::new(Seed::new(seed)).profile(profile).holders().run().unwrap();
        }
    }
}

/// What a few runs were, in a line each: what happened, and what clients were told.
fn traces() -> String {
    let mut text = String::new();
    for seed in 0..5 {
        let report = Run::new(Seed::new(seed)).calls(300).history().run().unwrap();
        let (hash, events) = (report.trace_hash, report.events);
        let mut told = DefaultHasher::new();
        report.history.hash(&mut told);
        (report.watchers, report.watched).hash(&mut told);
        let told = told.finish();
        writeln!(text, "trace {seed} {hash:016x} {events} {told:016x}").unwrap();
    }
    text
}

#[test]
fn a_run_is_the_same_each_time() {
    assert_eq!(traces(), traces());
    let hash = |seed| Run::new(Seed::new(seed)).calls(300).run().unwrap().trace_hash;
    assert_ne!(hash(0), hash(1));
}

/// Another process has other addresses, other hash keys, another environment.
#[test]
fn a_run_is_the_same_in_another_process() {
    let tests = std::env::current_exe().unwrap();
    let mut other = Command::new(tests);
    other.args(["--exact", "what_another_process_sees", "--nocapture"]).env("ELSEWHERE", "1");
    let output = other.output().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let seen = output.lines().filter_map(|line| line.find("trace ").and_then(|at| line.get(at..)));
    assert_eq!(seen.collect::<Vec<_>>(), traces().lines().collect::<Vec<_>>());
}

/// The other process of the test above; alone it shows nothing.
#[test]
fn what_another_process_sees() {
    if std::env::var_os("ELSEWHERE").is_some() {
        print!("\n{}", traces());
    }
}
