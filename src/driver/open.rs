//! From a configuration and a directory to a node that is ready to run.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, Founding, HEARTBEAT_TICKS, InitialState};
use crate::core::machine::{Genesis, Machine, Member};
use crate::core::replica::consensus::Start;
use crate::core::replica::envelope::Address;
use crate::core::replica::{Me, Replica, Restored, Retain, Settings};
use crate::entry::{ConfState, HardState, SnapshotMark};
use crate::error::{Error, Result};
use crate::gate::Limits;
use crate::ids::{Incarnation, Index, Term};
use crate::storage::{self, DirLock, Disk, Snapshots};
use crate::time::Instant;

use super::jobs::{Worker, file_of};
use super::log::{LogEnd, Staging};
use super::mailbox::{Bounds, Mailbox};
use super::turn::Driver;

/// Entry bytes that are handed to the machine at a time.
const MAX_APPLY_BYTES: u64 = 8 << 20;

/// A node without its threads.
pub(crate) struct Opened {
    pub(crate) address: Address,
    pub(crate) limits: Limits,
    pub(crate) mailbox: Mailbox,
    pub(crate) driver: Driver,
    pub(crate) log: LogEnd,
    pub(crate) worker: Worker,
    pub(crate) snapshots: Snapshots,
    /// How long a sync may take before the node acts on it.
    pub(crate) patience: Duration,
    /// A batch that a crash interrupted was cut off.
    #[cfg(feature = "sim")]
    pub(crate) truncated: bool,
    /// Held as well by the log's end: free when the last of them is gone.
    pub(crate) lock: Arc<DirLock>,
}

/// Opens the directories of a member. `random` makes the incarnation of a new one: a number that
/// no other data directory has.
pub(crate) fn open(
    config: &Config,
    now: Instant,
    random: impl FnOnce() -> Result<Incarnation>,
) -> Result<Opened> {
    // Nothing is touched before every setting is known to be good (`CFG-39`).
    config.validate()?;
    let founding = config.founding()?;
    let genesis = genesis(&founding);
    let found = open_storage(config, &founding, &genesis, random)?;
    let machine = match &found.snapshot {
        Some(info) => {
            let (head, sections) = found.snapshots.open(info.mark.index)?;
            Machine::restore(sections, &head.mark)?
        }
        None => Machine::new(genesis),
    };
    let (node, cluster) = (founding.node, founding.cluster);
    let me = Me { node, incarnation: found.identity.incarnation, boot: found.identity.boot };
    let start = Start {
        id: node,
        seed: seed(config, &me),
        election_ticks: config.election_ticks(),
        heartbeat_ticks: HEARTBEAT_TICKS as usize,
        max_append_bytes: config.max_append_bytes() as u64,
        max_inflight: config.max_inflight_appends,
        max_uncommitted_bytes: config.max_pending_bytes as u64,
        max_apply_bytes: MAX_APPLY_BYTES,
        hard_state: found.hard_state,
        applied: found.mark.index,
        mark: found.mark,
        entries: found.entries,
    };
    let restored = Restored { me, cluster, start, machine, saved: found.snapshot.map(file_of) };
    let replica = Replica::new(settings(config), restored, now)?;
    let (snapshots, lock, staging) = (found.snapshots, Arc::new(found.lock), Staging::default());
    let log = LogEnd::new(found.wal, snapshots.clone(), Arc::clone(&staging), Arc::clone(&lock));
    Ok(Opened {
        address: *replica.address(),
        limits: Limits {
            max_request_bytes: config.max_request_bytes,
            max_txn_ops: config.max_txn_ops,
            request_timeout: config.effective_request_timeout(),
            min_ttl: config.min_ttl(),
        },
        mailbox: Mailbox::new(Bounds {
            max_requests: config.max_pending_requests,
            max_request_bytes: config.max_pending_bytes,
            max_envelope_bytes: config.max_pending_bytes,
        }),
        driver: Driver::new(replica),
        log,
        worker: Worker::new(cluster, snapshots.clone(), staging),
        snapshots,
        patience: config.election_timeout / 2,
        #[cfg(feature = "sim")]
        truncated: found.truncated.is_some(),
        lock,
    })
}

fn open_storage(
    config: &Config,
    founding: &Founding,
    genesis: &Genesis,
    random: impl FnOnce() -> Result<Incarnation>,
) -> Result<storage::Opened> {
    let vfs = config.files.0.clone().unwrap_or_else(|| Arc::new(Disk::new()));
    let options = storage::Options {
        data_dir: config.data_dir.clone(),
        wal_dir: config.effective_wal_dir(),
        segment_bytes: config.segment_bytes,
        max_snapshots: config.max_snapshots,
    };
    if config.initial_state == InitialState::Existing && !storage::has_data(&*vfs, &options)? {
        let dir = config.data_dir.display();
        let text = format!("{dir} holds no member's data, and the initial state says it should");
        return Err(Error::config(text));
    }
    let mark = genesis.mark.clone();
    let hard_state = HardState { term: mark.term, commit: mark.index, ..HardState::default() };
    let incarnation = random()?;
    let (cluster, node) = (founding.cluster, founding.node);
    let boot = storage::Bootstrap { cluster, node, incarnation, mark, hard_state };
    let found = storage::open(vfs, options, boot)?;
    if let Some(torn) = &found.truncated {
        let path = torn.path.display();
        tracing::warn!(%path, torn.offset, torn.cause, "cut off a write that a crash interrupted");
    }
    Ok(found)
}

/// What every member of a new cluster begins with: the same on all of them, at the point
/// (index 1, term 1), so that nobody can replay the log from nothing and find itself alone (R12).
fn genesis(founding: &Founding) -> Genesis {
    let members = founding.members.iter().map(|peer| Member {
        id: peer.id,
        name: peer.name.clone(),
        address: peer.address.clone(),
        incarnation: None,
        learner: false,
    });
    let voters = founding.members.iter().map(|peer| peer.id).collect();
    let conf = ConfState { voters, ..ConfState::default() };
    let mark = SnapshotMark { index: Index::new(1), term: Term::new(1), conf };
    Genesis { cluster: founding.cluster, members: members.collect(), mark }
}

fn settings(config: &Config) -> Settings {
    Settings {
        tick: config.tick(),
        heartbeat: config.heartbeat_interval,
        election: config.election_timeout,
        snapshot_count: config.snapshot_count,
        snapshot_log_bytes: config.snapshot_log_bytes,
        snapshot_catchup_entries: config.snapshot_catchup_entries,
        max_message_bytes: config.max_message_bytes,
        max_request_bytes: config.max_request_bytes,
        max_pinned_revisions: config.max_pinned_revisions,
        retain: Retain {
            revisions: config.retain_revisions,
            time: config.retain_time,
            bytes: config.retain_bytes,
        },
    }
}

/// Differs from member to member and from boot to boot: it spreads elections and makes read
/// rounds of one boot strangers to those of another.
fn seed(config: &Config, me: &Me) -> u64 {
    let seed = config.election_seed.unwrap_or_else(|| me.incarnation.get());
    seed.wrapping_add(me.boot.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}
