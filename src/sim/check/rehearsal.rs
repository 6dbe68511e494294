//! The judges look on while real replicas live through random schedules: they must not cry wolf,
//! and they must see a disk or a host that breaks its word.
//!
//! No threads, no files: a disk is the list of what was synced. What was on its way when a member
//! died may be there afterwards, in part.

mod host;
mod world;

use self::world::{Fault, Tally, World};
use crate::sim::dice::Seed;

const SEEDS: u64 = 200;
const STEPS: u64 = 3_000;

fn run(seed: u64, fault: Option<Fault>) -> (Result<(), String>, Tally) {
    let mut world = World::new(Seed::new(seed), fault);
    let mut verdict = world.begin();
    for step in 0..STEPS {
        if verdict.is_err() {
            break;
        }
        verdict = world.step().map_err(|what| format!("seed {seed}, step {step}: {what}"));
    }
    let verdict = verdict.and_then(|()| world.heal());
    (verdict.map_err(|what| format!("seed {seed}: {what}")), world.tally)
}

/// INV-11, DUR-8, DUR-9, LIN-10: nothing is wrong, and nobody says so.
#[test]
fn judges_do_not_cry_wolf() {
    let mut all = Tally::default();
    for seed in 0..SEEDS {
        let (verdict, tally) = run(seed, None);
        verdict.unwrap();
        all.add(&tally);
    }
    // They must have had something to look at.
    let per_seed = |count: u64| count / SEEDS;
    assert!(per_seed(all.applied) > 50, "{all:?}");
    assert!(per_seed(all.crashes) > 8 && per_seed(all.elections) >= 4, "{all:?}");
    assert!(all.installs > SEEDS / 4 && all.half_written > SEEDS / 4, "{all:?}");
    assert!(all.replaced > SEEDS / 2, "{all:?}");
}

/// What a fault makes judges say, and in how many of the seeds it must be noticed.
fn is_caught(fault: Fault, says: &[&str]) {
    let mut caught = 0;
    for seed in 0..40 {
        let (verdict, _) = run(seed, Some(fault));
        let Err(words) = verdict else { continue };
        assert!(says.iter().any(|says| words.contains(says)), "{words}");
        caught += 1;
    }
    assert!(caught >= 10, "{fault:?} was noticed in {caught} of 40 seeds");
}

/// DUR-9: a member says that its writes are durable, and they are not.
#[test]
fn a_report_before_the_sync_is_seen() {
    let commit = "no quorum of the voters has it on disk";
    let applied = "and its own disk ends";
    is_caught(Fault::ReportsEarly, &[commit, applied, "without the votes of a quorum"]);
}

/// DUR-9: a vote is forgotten.
#[test]
fn a_forgotten_vote_is_seen() {
    is_caught(Fault::ForgetsVotes, &["it voted for"]);
}

/// DUR-11: the log is shorter than what was synced.
#[test]
fn a_lost_tail_is_seen() {
    is_caught(Fault::LosesTail, &["opens without what was synced: its log ends at"]);
}

/// INV-11: one member is not what the others are.
#[test]
fn another_state_is_seen() {
    is_caught(Fault::BeginsApart, &["members differ"]);
}
