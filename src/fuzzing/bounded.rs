//! Every target in `cargo test`: each case of its corpus, and so many small changes of each.
//!
//! The changes are the same ones every time, so a test that passed passes again. What fails is
//! written to a file that can be given to the fuzzer, or kept.
#![expect(clippy::disallowed_methods, reason = "reads the repository's own files")]

use std::path::{Path, PathBuf};

use crate::planted::{Bug, Plant};
use crate::sim::Seed;
use crate::sim::dice::Dice;

/// Where a target's cases lie, in order of their names.
pub(super) fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = folder(target);
    let mut cases: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read(path).unwrap())
        })
        .collect();
    cases.sort();
    cases
}

pub(super) fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

/// Says which case was running when a target panicked.
struct Running<'a> {
    target: &'a str,
    what: String,
    bytes: &'a [u8],
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/fuzz");
            let path = folder.join(format!("{}.case", self.target));
            let kept =
                std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, self.bytes));
            eprintln!("{}: {} ({}: {kept:?})", self.target, self.what, path.display());
        }
    }
}

/// Runs the corpus of a target, and `changes` of each of its cases.
fn run(target: &str, function: fn(&[u8]), changes: u64) {
    let cases = corpus(target);
    assert!(cases.len() >= 5, "{} cases in {}", cases.len(), folder(target).display());
    let run = |what: String, bytes: &[u8]| {
        let running = Running { target, what, bytes };
        function(bytes);
        drop(running);
    };
    for (at, (name, bytes)) in cases.iter().enumerate() {
        run(name.clone(), bytes);
        for change in 0..changes {
            let mut dice = Dice::new(Seed::new((at as u64) << 32 | change));
            let mut bytes = bytes.clone();
            for _ in 0..=dice.below(3) {
                mutate(&mut bytes, &cases, &mut dice);
            }
            run(format!("{name}, change {change}"), &bytes);
        }
    }
}

/// Numbers at which something may turn over.
const EDGES: [u64; 8] = [0, 1, 0x7f, 0xff, 0xffff, 1 << 31, 1 << 62, u64::MAX];

fn mutate(bytes: &mut Vec<u8>, others: &[(String, Vec<u8>)], dice: &mut Dice) {
    let (at, until) = (dice.place(bytes.len() + 1), dice.place(bytes.len() + 1));
    let (from, to) = (at.min(until), at.max(until));
    match dice.below(9) {
        0 => bytes.truncate(at),
        1 => drop(bytes.drain(from..to.min(from + 64))),
        2 => {
            let again = bytes[from..to.min(from + 64)].to_vec();
            bytes.splice(at..at, again);
        }
        3 => {
            let other = dice.pick(others).map_or(&[][..], |(_, other)| other);
            let from = dice.place(other.len() + 1);
            let len = dice.place((other.len() - from).min(256) + 1);
            bytes.splice(at..at, other[from..from + len].iter().copied());
        }
        4 | 5 => {
            let edge = dice.pick(&EDGES).copied().unwrap_or_default().to_le_bytes();
            let width = 1 << dice.below(4);
            bytes.iter_mut().skip(at).zip(edge).take(width).for_each(|(byte, edge)| *byte = edge);
        }
        6 => {
            let by = u8::try_from(dice.below(16)).unwrap().wrapping_sub(8);
            bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = byte.wrapping_add(by));
        }
        7 => {
            let any = dice.number().to_le_bytes();
            bytes.splice(at..at, any.into_iter().take(1 + dice.place(8)));
        }
        _ => {
            let bit = 1 << dice.below(8);
            bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= bit);
        }
    }
}

#[test]
fn envelope() {
    run("envelope", super::envelope, 60);
}

#[test]
fn deliver() {
    run("deliver", super::deliver, 40);
}

#[test]
fn cluster() {
    run("cluster", super::cluster, 8);
}

#[test]
fn snapshot_read() {
    run("snapshot_read", super::snapshot_read, 60);
}

#[test]
fn command_decode() {
    run("command_decode", super::command_decode, 100);
}

#[test]
fn config() {
    run("config", super::config, 100);
}

#[test]
fn mvcc_model() {
    run("mvcc_model", super::mvcc_model, 40);
}

#[test]
fn store_model() {
    run("store_model", super::store_model, 40);
}

/// What a machine can do wrong.
#[test]
fn a_store_that_is_not_the_model_is_noticed() {
    let bugs = [
        Bug::ApplyTwice,
        Bug::AcceptOldBoots,
        Bug::ForgetSessions,
        Bug::EmptyCompare,
        Bug::SplitTxn,
        Bug::LeaveHalf,
        Bug::CompareLate,
        Bug::CountEmptyDelete,
        Bug::DropKeptVersion,
        Bug::ApplyByMood,
    ];
    let cases = corpus("store_model");
    for bug in bugs {
        let plant = Plant::new(bug);
        let seen = cases
            .iter()
            .filter(|(_, bytes)| std::panic::catch_unwind(|| super::store_model(bytes)).is_err());
        assert!(seen.count() > 0, "{bug:?}");
        drop(plant);
    }
}

#[test]
fn wal_scan() {
    run("wal_scan", super::wal_scan, 60);
}

/// The judges watch in there too.
#[test]
#[should_panic(expected = "refuses what is as it was written")]
fn a_cluster_that_never_syncs_is_noticed() {
    let _plant = Plant::new(Bug::SkipSync);
    for (_, bytes) in corpus("cluster") {
        super::cluster(&bytes);
    }
}
