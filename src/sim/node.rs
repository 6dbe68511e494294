//! A simulated member: the real one without threads, and what its machine does to it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::clock::LocalClock;
use super::disk::MemoryDisk;
use super::port::Port;
use crate::config::Config;
use crate::core::replica::Replica;
use crate::core::replica::io::{Output, Persist};
use crate::driver::{Driver, Host, LogEnd, MAX_JOBS, Worker, stuck_worker};
use crate::error::Result;
use crate::ids::{Index, NodeId};
use crate::storage::DirLock;
use crate::transport::{Lane, Peer};
use bytes::Bytes;

/// A machine and the member on it.
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) name: String,
    pub(super) config: Config,
    pub(super) disk: MemoryDisk,
    pub(super) clock: LocalClock,
    /// Rises with every start and every end: what was planned for an earlier life is void.
    pub(super) life: u64,
    pub(super) state: Life,
    /// When its turn comes, if one is planned.
    pub(super) turn_at: Option<u64>,
    /// When it wants to be woken, whatever happens before.
    pub(super) wake_at: u64,
    /// When the alarm that is planned goes off. It may be too early, and is then set again: one
    /// for each turn would fill the queue with alarms that nobody needs.
    pub(super) alarm: Option<u64>,
    /// Nothing of the process runs before.
    pub(super) paused_until: u64,
    /// The disk does not answer before.
    pub(super) stalled_until: u64,
    /// What a sync takes in addition.
    pub(super) slow: Duration,
    /// Its disk was damaged on purpose: it may refuse to open.
    pub(super) rotten: bool,
    /// Its disk was made to fail: it may halt, and need several tries to open.
    pub(super) excused: bool,
}

/// Whether the process runs.
pub(super) enum Life {
    /// It can be started.
    Down,
    Up(Box<Running>),
    /// It will not open: a person has to look.
    Refused,
}

/// The process.
pub(super) struct Running {
    pub(super) port: Arc<Port>,
    pub(super) driver: Driver,
    pub(super) log: LogEnd,
    pub(super) worker: Worker,
    pub(super) patience: Duration,
    pub(super) queues: Queues,
    /// The batch that the disk has.
    pub(super) writing: Option<Vec<Persist>>,
    /// When it got it.
    pub(super) since: u64,
    /// The core was told that the disk takes too long.
    pub(super) overdue: bool,
    /// A job is being done.
    pub(super) working: bool,
    pub(super) _lock: Arc<DirLock>,
}

/// What a turn hands out.
#[derive(Default)]
pub(super) struct Queues {
    pub(super) writes: Vec<Persist>,
    pub(super) release: Option<Index>,
    pub(super) jobs: VecDeque<Output>,
    pub(super) sends: Vec<(NodeId, Bytes)>,
}

impl Node {
    /// What was planned for it so far is void.
    pub(super) fn begin_life(&mut self) {
        self.life += 1;
        self.turn_at = None;
        self.alarm = None;
    }

    pub(super) fn running(&self) -> Option<&Running> {
        match &self.state {
            Life::Up(running) => Some(running),
            Life::Down | Life::Refused => None,
        }
    }

    pub(super) fn running_mut(&mut self) -> Option<&mut Running> {
        match &mut self.state {
            Life::Up(running) => Some(running),
            Life::Down | Life::Refused => None,
        }
    }

    /// Nothing is done for it before: neither by its process nor by its disk.
    pub(super) fn held_until(&self) -> u64 {
        self.paused_until.max(self.stalled_until)
    }

    /// When the batch that the disk has takes too long.
    pub(super) fn late_at(&self) -> Option<u64> {
        let running = self.running().filter(|running| running.writing.is_some())?;
        Some(self.clock.when(self.clock.at(running.since).after(running.patience)))
    }

    pub(super) fn replica(&self) -> Option<&Replica> {
        self.running().map(|running| &running.driver.replica)
    }
}

/// The hands of a turn: into the queues, and what callers may see.
pub(super) struct Hands<'a> {
    pub(super) port: &'a Port,
    pub(super) queues: &'a mut Queues,
}

impl Host for Hands<'_> {
    fn publish(&mut self, replica: &Replica) {
        self.port.publish(replica);
    }

    fn send(&mut self, to: NodeId, _: Lane, envelope: Bytes) {
        self.queues.sends.push((to, envelope));
    }

    fn persist(&mut self, persist: Persist) {
        self.queues.writes.push(persist);
    }

    fn release_log(&mut self, upto: Index) {
        self.queues.release = Some(upto);
    }

    fn job(&mut self, job: Output) -> Result<()> {
        if matches!(job, Output::DiscardEntries(_)) {
            // What takes time where there are many takes none where there are few.
            return Ok(());
        }
        if self.queues.jobs.len() >= MAX_JOBS {
            return Err(stuck_worker());
        }
        self.queues.jobs.push_back(job);
        Ok(())
    }

    fn members_changed(&mut self, _: &[Peer]) {}
}
