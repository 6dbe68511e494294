//! Runs whose clients hold leases: which clocks they may rely on, and what must become of what they
//! leave.

mod recipes;
mod time;
mod together;

use std::time::Duration;

use super::{Setting, soon_none};
use crate::sim::cluster::Cluster;
use crate::sim::dice::{Dice, Seed};
use crate::sim::failure::Failure;
use crate::sim::faults::{Fault, Faults};
use crate::sim::held::Holdings;

/// Millionths by which a clock may be fast or slow: any two of them then run alike but for less
/// than the thousandth that deadlines allow for.
const MOST_RATE: u32 = 499;

/// A session that is kept in peace is held for so many TTLs.
const KEPT_TTLS: u32 = 4;

/// Faults with clocks as deadlines allow for; or, where clocks are at fault, now and then as they
/// are: then no deadline means anything, and it is said so.
pub(super) fn with_clocks(faults: Faults, seed: Seed) -> (Faults, bool) {
    let mut dice = Dice::of_part(seed, "clocks");
    let promised = faults.clone().without(Fault::ClockJump);
    let rate = faults.clock_rate.min(MOST_RATE);
    let promised = promised.clock_rate(if dice.chance(500_000) { MOST_RATE } else { rate });
    let is_more = faults.has(Fault::ClockJump) || faults.clock_rate > MOST_RATE;
    if is_more && dice.chance(300_000) { (faults, true) } else { (promised, false) }
}

/// Faults have ended and nobody begins anything. What is left ends in time, whoever leads
/// meanwhile; and what is kept is not lost.
pub(super) fn peace(cluster: &Cluster, setting: &Setting, notes: &Holdings) -> Result<(), Failure> {
    if !cluster.has_quorum() {
        return Ok(());
    }
    let mut tenures = notes.tenures.lock();
    if tenures.is_loose() {
        // From here on clocks are as they should be.
        tenures.loose(false);
    }
    drop(tenures);
    time::run_out(cluster, setting, notes)?;
    let standing = soon_none(cluster, setting, || notes.standing())?;
    if let Some(key) = standing.filter(|_| cluster.leases_left().is_empty()) {
        cluster.fail(format!("REC-25: no lease is left, and {key} is there"));
    }
    keep(cluster, setting, notes)
}

/// A session of the shortest TTL at each member is kept for as long as nothing is wrong (`REC-1`),
/// and nothing is left of it when it is closed.
fn keep(cluster: &Cluster, setting: &Setting, notes: &Holdings) -> Result<(), Failure> {
    let mut parties = Vec::new();
    for name in cluster.names() {
        let Ok(store) = cluster.store(&name) else { continue };
        let open = store.session(Duration::ZERO);
        match cluster.block_on(open)? {
            Ok(session) => parties.push((store, session)),
            Err(error) => cluster.fail(format!("REC-1: {name} opens no session: {error}")),
        }
    }
    let ttl = parties.iter().map(|(_, session)| session.ttl()).max().unwrap_or_default();
    let begun = cluster.clock().now();
    if let (Some(one), Some(other)) = (parties.first(), parties.last()) {
        recipes::tidy(cluster, setting, notes, (one, other))?;
        recipes::drain(cluster, notes, &other.0)?;
        together::give(cluster, setting, &parties)?;
        together::pass(cluster, setting, &parties)?;
        together::enter(cluster, setting, &parties)?;
        together::prefer(cluster, setting, (one, other))?;
    }
    let took = cluster.clock().now().saturating_sub(begun);
    cluster.run_for((ttl * KEPT_TTLS).saturating_sub(took))?;
    if let Some((_, lost)) = parties.iter().find(|(_, session)| session.is_lost()) {
        cluster.fail(format!("REC-1: nothing is wrong, and a session is lost: {lost:?}"));
    }
    drop(parties);
    let left = || cluster.leases_left().first().map(|(lease, _)| *lease);
    if let Some(lease) = soon_none(cluster, setting, || left().map(|it| it.to_string()))? {
        cluster.fail(format!("REC-3: lease {lease} is there when its session was dropped"));
    }
    cluster.failure().map_or(Ok(()), Err)
}
