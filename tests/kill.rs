//! Kills processes of a cluster again and again while clients write, and then looks for every
//! write that was acknowledged (`DUR-9`, `DUR-11`, `LIN-10`, `LIN-15`, `INV-6`).
//!
//! Three processes of `examples/tcp_cluster.rs`, each with a few writes in flight at any time,
//! each write with a key of its own. Fifty times, at a moment that is drawn from a seed, one, two
//! or all three get a SIGKILL and are started again. In the end
//!
//! - a write that was acknowledged is there, once (version 1), at the revision that was said;
//! - a write that was said not to be applied is not there;
//! - a write whose outcome is unknown, or whose answer was lost with its process, is there once or
//!   not at all;
//! - nothing else is there, and all three members hold the same.
//!
//! A failure prints its seed; `QUORATE_KILL_SEED=<seed> cargo test --test kill` draws the same
//! kills again (the processes' own timing is not part of the seed).
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::string_slice,
    clippy::unreachable,
    clippy::unwrap_used,
    reason = "a test, and its helpers: the world around the library"
)]

#[path = "kill/cluster.rs"]
mod cluster;
#[path = "kill/dice.rs"]
mod dice;
#[path = "kill/ledger.rs"]
mod ledger;
#[path = "kill/process.rs"]
mod process;

use std::time::Duration;

use cluster::{Cluster, MEMBERS};
use dice::Dice;

const MOMENTS: usize = 50;
const DEFAULT_SEED: u64 = 0x71_756f_7261_7465;

#[test]
fn acknowledged_writes_survive_sigkill_once() {
    let seed = std::env::var("QUORATE_KILL_SEED").ok();
    let seed = seed.map_or(DEFAULT_SEED, |seed| seed.parse().expect("a decimal seed"));
    println!("QUORATE_KILL_SEED={seed}");
    let mut dice = Dice::new(seed);
    let mut cluster = Cluster::start();
    for _ in 0..MOMENTS {
        wait_for_a_moment(&mut cluster, &mut dice);
        kill(&mut cluster, &mut dice);
    }
    cluster.finish_writes();
    let everybody: Vec<usize> = (0..MEMBERS).collect();
    cluster.kill(&everybody);
    cluster.restart(&everybody);
    for member in everybody {
        cluster.check_everything_at(member);
    }
    cluster.check_hashes();
    println!("{}", cluster.summary());
}

/// Mostly some answers later and at any point between two of them; sometimes just a little later,
/// whatever goes on: recovery, an election, another member's death.
fn wait_for_a_moment(cluster: &mut Cluster, dice: &mut Dice) {
    if dice.one_in(4) {
        cluster.run_for(Duration::from_millis(dice.below(60)));
    } else {
        cluster.run_until_acknowledged(5 + dice.below(300));
        cluster.run_for(Duration::from_micros(dice.below(3_000)));
    }
}

fn kill(cluster: &mut Cluster, dice: &mut Dice) {
    let first = usize::try_from(dice.below(3)).unwrap();
    let victims: Vec<usize> = (first..MEMBERS).chain(0..first).collect();
    match dice.below(6) {
        0 => {
            cluster.kill(&victims);
            cluster.restart(&victims);
            cluster.check_everything_at(first);
        }
        1 => {
            cluster.kill(&victims[..2]);
            cluster.restart(&victims[..2]);
        }
        _ => {
            cluster.kill(&victims[..1]);
            // The others go on alone for a while, or for no time at all.
            if dice.one_in(2) {
                cluster.run_until_acknowledged(1 + dice.below(80));
            }
            cluster.restart(&victims[..1]);
        }
    }
}
