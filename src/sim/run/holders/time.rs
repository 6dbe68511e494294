//! What is left of leases, when nothing is wrong but that others lead, or all begin again.

use std::time::Duration;

use bytes::Bytes;

use crate::core::lease::deadline;
use crate::sim::check::lease::Until;
use crate::sim::cluster::Cluster;
use crate::sim::dice::Dice;
use crate::sim::failure::Failure;
use crate::sim::held::Holdings;
use crate::sim::marks::Mark;
use crate::sim::run::{LIVE_WITHIN, Setting};

/// Election timeouts after which a leader writes down how late it is, if nothing else makes it.
const CHECKPOINT: u32 = 10;

/// No more entries are written to have somebody given a snapshot.
const MOST_ENTRIES: u64 = 400;

/// What happens while leases run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// Somebody leads who was there all the while.
    HandOver,
    /// All members end, and begin again.
    Restart,
    /// Somebody leads who was away, and was given a snapshot or what the log had meanwhile.
    Return,
}

/// Every lease ends when what is left of it is over, though another member leads by then
/// (`LSE-16`): within an election timeout, and what passed before that member had the last tick.
/// That is no more than passes here until all have it, and never more than a checkpoint: the next
/// tick would have come. When all have begun again (`LSE-18`) it is up to a checkpoint.
pub(super) fn run_out(
    cluster: &Cluster,
    setting: &Setting,
    notes: &Holdings,
) -> Result<(), Failure> {
    let mut dice = Dice::of_part(cluster.seed(), "peace");
    let change = match dice.below(4) {
        0 => Change::Restart,
        1 => Change::Return,
        _ => Change::HandOver,
    };
    let away = (change == Change::Return).then(|| follower(cluster)).flatten();
    let away = away.filter(|_| may_be_away(cluster, setting));
    if let Some(away) = &away {
        drop(cluster.crash(away));
    }
    let asked = cluster.clock().now();
    grant(cluster, setting, notes)?;
    if let Some(away) = &away {
        write_much(cluster, setting)?;
        drop(cluster.start(away));
    }
    // Who was away counts from now at the latest, whether it was given a snapshot or entries.
    cluster.run_until(setting.election * LIVE_WITHIN, Cluster::is_settled)?;
    let checkpoint = setting.election * CHECKPOINT;
    let behind = cluster.clock().now().saturating_sub(asked).min(checkpoint);
    // What passes from here on only a clock knows.
    cluster.run_for(setting.election * 3)?;
    let left = cluster.leases_left();
    if change == Change::Restart {
        restart(cluster, setting, &mut dice)?;
        cluster.mark(Mark::LeasesOutliveAll);
    }
    let begun = cluster.clock().now();
    let late = setting.election + if change == Change::Restart { checkpoint } else { behind };
    if away.as_ref().is_some_and(|away| cluster.installs(away) > 0) {
        cluster.mark(Mark::LeasesInSnapshot);
    }
    if change != Change::Restart {
        hand_over(cluster, away);
    }
    for (lease, left) in left {
        let until = begun + left + late;
        cluster.run_for(until.saturating_sub(cluster.clock().now()))?;
        if let Some(name) = cluster.who_has(lease) {
            cluster.fail(format!(
                "LSE-16: lease {lease} had {left:?} left, and {late:?} later {name} has it still \
                 ({change:?})"
            ));
        }
    }
    Ok(())
}

/// A lease that is not renewed, and lasts as long as it was promised. In front of it there is
/// a tick, which everybody has as soon as all have settled.
fn grant(cluster: &Cluster, setting: &Setting, notes: &Holdings) -> Result<(), Failure> {
    let Some(leader) = cluster.leader() else { return Ok(()) };
    let (Some(boot), Ok(store)) = (cluster.boot(&leader), cluster.store(&leader)) else {
        return Ok(());
    };
    let asked = cluster.own_time(boot);
    let ttl = setting.election * 12;
    if let Ok(granted) = cluster.block_on(store.grant(ttl))? {
        let until = Until::Fixed(deadline(asked, granted.ttl));
        notes.granted(cluster, boot, (granted.id, granted.ttl), until);
    }
    Ok(())
}

/// May one member be away, and are a few entries enough for it to be given a snapshot?
fn may_be_away(cluster: &Cluster, setting: &Setting) -> bool {
    let names = cluster.names();
    let all_up = names.iter().all(|name| cluster.is_up(name).unwrap_or_default());
    let entries = setting.snapshot_count.saturating_add(setting.catchup);
    all_up && names.len() > 2 && entries < MOST_ENTRIES
}

/// So much that whoever is away needs a snapshot.
fn write_much(cluster: &Cluster, setting: &Setting) -> Result<(), Failure> {
    let Some(store) = cluster.leader().and_then(|leader| cluster.store(&leader).ok()) else {
        return Ok(());
    };
    for number in 0..setting.snapshot_count * 2 + setting.catchup {
        let put = store.put("much", Bytes::from(number.to_string()));
        cluster.block_on(put)?.ok();
    }
    Ok(())
}

/// All members end, in one way or the other, and begin again.
fn restart(cluster: &Cluster, setting: &Setting, dice: &mut Dice) -> Result<(), Failure> {
    let refuses = |name: &String| cluster.refuses(name).unwrap_or_default();
    let names: Vec<String> = cluster.names().into_iter().filter(|name| !refuses(name)).collect();
    let is_power = dice.chance(500_000);
    for name in &names {
        drop(if is_power { cluster.cut_power(name) } else { cluster.crash(name) });
    }
    cluster.run_for(dice.span(Duration::ZERO, setting.election * 2))?;
    for name in &names {
        drop(cluster.start(name));
    }
    cluster.run_until(setting.election * LIVE_WITHIN, |it| it.leader().is_some())?;
    Ok(())
}

/// Somebody who is up and does not lead.
fn follower(cluster: &Cluster) -> Option<String> {
    let leader = cluster.leader()?;
    let up = |name: &String| *name != leader && cluster.is_up(name).unwrap_or_default();
    cluster.names().into_iter().find(up)
}

/// Another member shall lead, this one if there is a choice. It may be that none can.
fn hand_over(cluster: &Cluster, to: Option<String>) {
    let (Some(leader), Some(to)) = (cluster.leader(), to.or_else(|| follower(cluster))) else {
        return;
    };
    if let Ok(transfer) = cluster.transfer_leader(&leader, &to) {
        cluster.spawn(async move { drop(transfer.await) });
    }
}
