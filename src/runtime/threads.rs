//! A node's own threads: named, caught when they panic, and joined.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Kind, Result};
use crate::storage::DirLock;
use crate::sync::Parker;
use crate::sync::channel::{self, Receiver, RecvTimeoutError, Sender};
use crate::sync::thread::{self, JoinHandle};

use super::shared::{Shared, panicked};
use super::snapshotter::Snapshotter;
use super::writer;

/// The running threads of a node.
pub(super) struct Threads {
    handles: Vec<JoinHandle<()>>,
    running: Sender<()>,
    /// Disconnected when the last of them has ended.
    ended: Receiver<()>,
    /// Each thread holds the directory too: it is free when the last one that could write has
    /// ended, however long the disk keeps it.
    lock: Arc<DirLock>,
}

impl Threads {
    pub(super) fn new(lock: Arc<DirLock>) -> Self {
        let (running, ended) = channel::bounded(0);
        Self { handles: Vec::with_capacity(3), running, ended, lock }
    }

    pub(super) fn start(
        &mut self,
        shared: &Arc<Shared>,
        parker: Parker,
        snapshotter: Snapshotter,
        patience: Duration,
    ) -> Result<()> {
        let node = Arc::clone(shared);
        self.spawn("quorate-node", shared, move || run_node(&node, &parker, patience))?;
        let log = Arc::clone(shared);
        self.spawn("quorate-log", shared, move || writer::run(&log))?;
        let snapshot = Arc::clone(shared);
        self.spawn("quorate-snapshot", shared, move || snapshotter.run(&snapshot))
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that starts threads")]
    fn spawn(
        &mut self,
        name: &'static str,
        shared: &Arc<Shared>,
        run: impl FnOnce() + Send + 'static,
    ) -> Result<()> {
        let (shared, held) = (Arc::clone(shared), (self.running.clone(), Arc::clone(&self.lock)));
        let spawned = thread::Builder::new().name(name.to_owned()).spawn(move || {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
                shared.halt(panicked(name, &*panic));
            }
            drop(held);
        });
        match spawned {
            Ok(handle) => {
                self.handles.push(handle);
                Ok(())
            }
            Err(error) => Err(Error::io("the operating system starts no thread", error)),
        }
    }

    /// Joins them all, or says that they did not end in time.
    pub(super) fn join(self, deadline: Duration) -> Result<()> {
        let Self { handles, running, ended, lock } = self;
        drop((running, lock));
        match ended.recv_timeout(deadline) {
            Err(RecvTimeoutError::Timeout) => {
                let text = format!("the node's threads did not end within {deadline:?}");
                Err(Error::new(Kind::Timeout, text))
            }
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                for handle in handles {
                    // A thread's panic was caught inside it and has halted the node.
                    drop(handle.join());
                }
                Ok(())
            }
        }
    }
}

/// The node thread: keeps time, drives what nobody else does, runs errands of callers that have
/// gone, rings watchers, and removes what was compacted.
fn run_node(shared: &Shared, parker: &Parker, patience: Duration) {
    let mut overdue = false;
    while !shared.has_ended() {
        shared.watch_disk(patience, &mut overdue);
        shared.drive_patiently();
        shared.errands.run();
        if shared.ring() {
            // Those who wait for what has happened come before what nobody waits for.
            continue;
        }
        let rest = shared.tidy();
        if let Some(span) = shared.may_sleep() {
            parker.park_timeout(rest.map_or(span, |rest| rest.min(span)));
        }
        shared.awake();
    }
}
