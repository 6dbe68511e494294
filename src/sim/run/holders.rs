//! Runs whose clients hold leases: which clocks they may rely on, and what must become of what they
//! leave.

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
    run_out(cluster, setting)?;
    keep(cluster, setting)
}

/// Every lease ends when what is left of it is over, though another member leads by then
/// (`LSE-16`): within an election timeout, if that member has had the last tick as soon as others.
fn run_out(cluster: &Cluster, setting: &Setting) -> Result<(), Failure> {
    // In front of a grant there is a tick, which everybody has soon.
    if let Some(store) = cluster.leader().and_then(|leader| cluster.store(&leader).ok()) {
        let ttl = setting.election * 8;
        drop(cluster.block_on(async move { store.grant(ttl).await })?);
    }
    cluster.run_for(setting.heartbeat * 2)?;
    // What passes from here on only a clock knows.
    cluster.run_for(setting.election * 3)?;
    let left = cluster.leases_left();
    let begun = cluster.clock().now();
    hand_over(cluster);
    for (lease, left) in left {
        let until = begun + left + setting.election;
        cluster.run_for(until.saturating_sub(cluster.clock().now()))?;
        if let Some(name) = cluster.who_has(lease) {
            let late = setting.election;
            cluster.fail(format!(
                "LSE-16: lease {lease} had {left:?} left, and {late:?} later {name} has it still"
            ));
        }
    }
    Ok(())
}

/// Another member shall lead. It may be that none can.
fn hand_over(cluster: &Cluster) {
    let Some(leader) = cluster.leader() else { return };
    let up = |name: &String| *name != leader && cluster.is_up(name).unwrap_or_default();
    let Some(other) = cluster.names().into_iter().find(up) else { return };
    if let Ok(transfer) = cluster.transfer_leader(&leader, &other) {
        cluster.spawn(async move { drop(transfer.await) });
    }
}

/// A session of the shortest TTL at each member is kept for as long as nothing is wrong (`REC-1`),
/// and nothing is left of it when it is closed.
fn keep(cluster: &Cluster, setting: &Setting) -> Result<(), Failure> {
    let mut sessions = Vec::new();
    for name in cluster.names() {
        let Ok(store) = cluster.store(&name) else { continue };
        let open = store.session(Duration::ZERO);
        match cluster.block_on(open)? {
            Ok(session) => sessions.push(session),
            Err(error) => cluster.fail(format!("REC-1: {name} opens no session: {error}")),
        }
    }
    let ttl = sessions.iter().map(crate::service::Session::ttl).max().unwrap_or_default();
    cluster.run_for(ttl * KEPT_TTLS)?;
    if let Some(lost) = sessions.iter().find(|session| session.is_lost()) {
        cluster.fail(format!("REC-1: nothing is wrong, and a session is lost: {lost:?}"));
    }
    drop(sessions);
    let left = || cluster.leases_left().first().map(|(lease, _)| *lease);
    if let Some(lease) = soon_none(cluster, setting, || left().map(|it| it.to_string()))? {
        cluster.fail(format!("REC-3: lease {lease} is there when its session was dropped"));
    }
    cluster.failure().map_or(Ok(()), Err)
}
