//! From a configuration and a directory to a node that is ready to run.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_utils::sync::Parker;

use crate::config::{Config, InitialState, Plan};
use crate::core::machine::{Genesis, Machine, Member};
use crate::core::replica::consensus::Start;
use crate::core::replica::{Me, Replica, Restored, Settings};
use crate::entry::{ConfState, HardState, SnapshotMark};
use crate::error::{Error, Kind, Result};
use crate::gate::Limits;
use crate::ids::{Incarnation, Index, Term};
use crate::storage::{self, DirLock};
use crate::transport::Transport;

use super::clock::Clock;
use super::mailbox::{Bounds, Mailbox};
use super::shared::{Parts, Shared};
use super::snapshotter::{Jobs, Snapshotter, file_of};
use super::writer::Log;

/// Entry bytes that are handed to the machine at a time.
const MAX_APPLY_BYTES: u64 = 8 << 20;

/// A node without its threads.
pub(super) struct Opened {
    pub(super) shared: Arc<Shared>,
    pub(super) name: String,
    pub(super) parker: Parker,
    pub(super) snapshotter: Snapshotter,
    /// How long a sync may take before the node acts on it.
    pub(super) patience: Duration,
    pub(super) lock: DirLock,
}

pub(super) fn open(config: Config, transport: Box<dyn Transport>) -> Result<Opened> {
    // Nothing is touched before every setting is known to be good (`CFG-39`).
    let plan = config.plan()?;
    let genesis = genesis(&plan);
    let options = storage::Options {
        data_dir: plan.data_dir.clone(),
        wal_dir: plan.wal_dir.clone(),
        segment_bytes: plan.segment_bytes,
        max_snapshots: plan.max_snapshots,
    };
    if plan.initial_state == InitialState::Existing && !storage::has_data(&*plan.vfs, &options)? {
        let dir = plan.data_dir.display();
        let text = format!("{dir} holds no member's data, and the initial state says it should");
        return Err(Error::config(text));
    }
    let hard_state =
        HardState { term: genesis.mark.term, commit: genesis.mark.index, ..HardState::default() };
    let boot = storage::Bootstrap {
        cluster: plan.cluster,
        node: plan.node,
        incarnation: fresh_incarnation()?,
        mark: genesis.mark.clone(),
        hard_state,
    };
    let found = storage::open(Arc::clone(&plan.vfs), options, boot)?;
    if let Some(torn) = &found.truncated {
        let path = torn.path.display();
        tracing::warn!(%path, torn.offset, torn.cause, "cut off a write that a crash interrupted");
    }
    let machine = match &found.snapshot {
        Some(info) => {
            let (head, sections) = found.snapshots.open(info.mark.index)?;
            Machine::restore(sections, &head.mark)?
        }
        None => Machine::new(genesis),
    };
    let identity = found.identity;
    let me = Me { node: plan.node, incarnation: identity.incarnation, boot: identity.boot };
    let start = Start {
        id: plan.node,
        seed: seed(&plan, &me),
        election_ticks: plan.election_ticks,
        heartbeat_ticks: plan.heartbeat_ticks,
        max_append_bytes: plan.max_message_bytes as u64 / 2,
        max_inflight: plan.max_inflight_appends,
        max_uncommitted_bytes: plan.max_pending_bytes as u64,
        max_apply_bytes: MAX_APPLY_BYTES,
        hard_state: found.hard_state,
        applied: found.mark.index,
        mark: found.mark,
        entries: found.entries,
    };
    let saved = found.snapshot.map(file_of);
    let restored = Restored { me, cluster: plan.cluster, start, machine, saved };
    let clock = Clock::start();
    let replica = Replica::new(settings(&plan), restored, clock.now())?;
    let (jobs, queue) = Jobs::new();
    let parker = Parker::new();
    let bounds = Bounds {
        max_requests: plan.max_pending_requests,
        max_request_bytes: plan.max_pending_bytes,
        max_envelope_bytes: plan.max_pending_bytes,
    };
    let limits = Limits {
        max_request_bytes: plan.max_request_bytes,
        request_timeout: plan.request_timeout,
    };
    let snapshots = found.snapshots;
    let snapshotter =
        Snapshotter { cluster: plan.cluster, snapshots: snapshots.clone(), jobs: queue };
    let shared = Shared::new(Parts {
        clock,
        limits,
        mailbox: Mailbox::new(bounds),
        replica,
        log: Log::new(found.wal, snapshots),
        jobs,
        transport,
        node_thread: parker.unparker().clone(),
    });
    Ok(Opened {
        shared: Arc::new(shared),
        name: plan.name,
        parker,
        snapshotter,
        patience: plan.election_timeout / 2,
        lock: found.lock,
    })
}

/// What every member of a new cluster begins with: the same on all of them, at the point
/// (index 1, term 1), so that nobody can replay the log from nothing and find itself alone (R12).
fn genesis(plan: &Plan) -> Genesis {
    let members = plan.members.iter().map(|(id, name, address)| Member {
        id: *id,
        name: name.clone(),
        address: address.clone(),
        incarnation: None,
        learner: false,
    });
    let members: Vec<Member> = members.collect();
    let mut voters: Vec<_> = members.iter().map(|member| member.id).collect();
    voters.sort_unstable();
    let conf = ConfState { voters, ..ConfState::default() };
    let mark = SnapshotMark { index: Index::new(1), term: Term::new(1), conf };
    Genesis { cluster: plan.cluster, members, mark }
}

fn settings(plan: &Plan) -> Settings {
    Settings {
        tick: plan.tick,
        heartbeat: plan.heartbeat_interval,
        election: plan.election_timeout,
        snapshot_count: plan.snapshot_count,
        snapshot_log_bytes: plan.snapshot_log_bytes,
        snapshot_catchup_entries: plan.snapshot_catchup_entries,
        max_message_bytes: plan.max_message_bytes,
        max_request_bytes: plan.max_request_bytes,
    }
}

/// A random number that no other data directory has.
fn fresh_incarnation() -> Result<Incarnation> {
    let random = || getrandom::u64().map(Incarnation::new);
    let failed = |error| Error::new(Kind::Io, format!("no random number to be had: {error}"));
    let mut incarnation = random().map_err(failed)?;
    while incarnation == Incarnation::default() {
        incarnation = random().map_err(failed)?;
    }
    Ok(incarnation)
}

/// Differs from member to member and from boot to boot: it spreads elections and makes read
/// rounds of one boot strangers to those of another.
fn seed(plan: &Plan, me: &Me) -> u64 {
    plan.election_seed
        .unwrap_or_else(|| me.incarnation.get())
        .wrapping_add(me.boot.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}
