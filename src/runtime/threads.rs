//! A node's own threads: named, caught when they panic, and joined.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use crossbeam_utils::sync::Parker;

use crate::error::{Error, Kind, Result};

use super::shared::{Shared, panicked};
use super::snapshotter::Snapshotter;
use super::writer;

/// The running threads of a node.
pub(super) struct Threads {
    handles: Vec<JoinHandle<()>>,
    /// Disconnected when the last of them has ended.
    ended: Receiver<()>,
}

impl Threads {
    pub(super) fn start(
        shared: &Arc<Shared>,
        parker: Parker,
        snapshotter: Snapshotter,
        patience: Duration,
    ) -> Result<Self> {
        let (running, ended) = crossbeam_channel::bounded(0);
        let name = |what: &str| format!("quorate-{what}");
        let mut threads = Self { handles: Vec::with_capacity(3), ended };
        let node = Arc::clone(shared);
        threads
            .spawn(name("node"), shared, &running, move || run_node(&node, &parker, patience))?;
        let log = Arc::clone(shared);
        threads.spawn(name("log"), shared, &running, move || writer::run(&log))?;
        let snapshot = Arc::clone(shared);
        threads.spawn(name("snapshot"), shared, &running, move || snapshotter.run(&snapshot))?;
        Ok(threads)
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that starts threads")]
    fn spawn(
        &mut self,
        name: String,
        shared: &Arc<Shared>,
        running: &Sender<()>,
        run: impl FnOnce() + Send + 'static,
    ) -> Result<()> {
        let (shared, running, what) = (Arc::clone(shared), running.clone(), name.clone());
        let spawned = std::thread::Builder::new().name(name).spawn(move || {
            let _running = running;
            if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
                shared.halt(panicked(&what, &*panic));
            }
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
        match self.ended.recv_timeout(deadline) {
            Err(RecvTimeoutError::Timeout) => {
                let text = format!("the node's threads did not end within {deadline:?}");
                Err(Error::new(Kind::Timeout, text))
            }
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                for handle in self.handles {
                    // A thread's panic was caught inside it and has halted the node.
                    drop(handle.join());
                }
                Ok(())
            }
        }
    }
}

/// The node thread: keeps time, and drives what nobody else does.
fn run_node(shared: &Shared, parker: &Parker, patience: Duration) {
    let mut overdue = false;
    while !shared.closing.load(Ordering::Acquire) && shared.halted.get().is_none() {
        shared.watch_disk(patience, &mut overdue);
        shared.drive();
        if let Some(span) = shared.may_sleep() {
            parker.park_timeout(span);
        }
        shared.awake();
    }
}
