//! The log's side of the node: gather, write, one sync, report.
//!
//! Whoever has the log at the moment takes everything that is queued, so what arrives during a
//! sync is the next batch: one caller pays one sync, a thousand share one. Usually that is the
//! log thread. A caller that blocks until its write is durable lends its own thread instead, when
//! the log is idle: that spares two wake-ups.
//!
//! Invariant: one holder at a time (`busy`), so batches reach the disk in the order in which the
//! core asked for them, and a report says "this ticket and all before it".

use std::time::Duration;

use crate::core::replica::io::{Input, Persist};
use crate::driver::LogEnd;
use crate::error::{Error, Kind, Result};
use crate::ids::Index;
use crate::storage::WalStats;
use crate::sync::{Condvar, Mutex};
use crate::time::Instant;

use super::shared::Shared;

/// The queue to the log, and the log.
pub(super) struct Log {
    state: Mutex<State>,
    work: Condvar,
    /// `None` once the node is closed. Whoever writes holds the directory.
    end: Mutex<Option<LogEnd>>,
}

#[derive(Debug)]
struct State {
    queue: Vec<Persist>,
    release: Option<Index>,
    /// Since when somebody has the log.
    busy: Option<Instant>,
    stopped: bool,
    /// The node was closed while somebody was in the disk: that one closes the log.
    orphaned: bool,
    /// As of the last batch: nobody who asks has to wait for the disk.
    stats: WalStats,
}

impl Log {
    pub(super) fn new(end: LogEnd) -> Self {
        let state = State {
            queue: Vec::new(),
            release: None,
            busy: None,
            stopped: false,
            orphaned: false,
            stats: end.stats(),
        };
        Self { state: Mutex::new(state), work: Condvar::new(), end: Mutex::new(Some(end)) }
    }

    /// Queues one hand-over. Whoever drives sees to it that somebody takes it.
    pub(super) fn push(&self, persist: Persist) {
        self.state.lock().queue.push(persist);
    }

    pub(super) fn release(&self, upto: Index) {
        self.state.lock().release = Some(upto);
        self.work.notify_one();
    }

    /// Wakes the log thread if there is work that nobody has taken.
    pub(super) fn wake(&self) {
        let state = self.state.lock();
        if !state.queue.is_empty() && state.busy.is_none() {
            self.work.notify_one();
        }
    }

    /// Since when a batch has been on its way to the disk.
    pub(super) fn busy_since(&self) -> Option<Instant> {
        self.state.lock().busy
    }

    pub(super) fn stop(&self) {
        self.state.lock().stopped = true;
        self.work.notify_all();
    }

    /// Gives the log up: its files are closed. Whoever is in the disk at the deadline does it
    /// when the disk lets go.
    pub(super) fn close(&self, deadline: Duration) -> Result<()> {
        let Some(mut end) = self.end.try_lock_for(deadline) else {
            self.state.lock().orphaned = true;
            // It may have let go in between.
            drop(self.end.try_lock().map(|mut end| end.take()));
            let text = format!("a write to the log did not end within {deadline:?}");
            return Err(Error::new(Kind::Timeout, text));
        };
        *end = None;
        Ok(())
    }

    pub(super) fn stats(&self) -> WalStats {
        self.state.lock().stats
    }

    /// Waits for work; false when there will be none.
    fn wait(&self) -> bool {
        let mut state = self.state.lock();
        loop {
            if state.stopped {
                return false;
            }
            let work = !state.queue.is_empty() || state.release.is_some();
            if work && state.busy.is_none() {
                return true;
            }
            self.work.wait(&mut state);
        }
    }

    /// What can wait until nobody else does: giving segments back, and getting the next one ready.
    fn housekeep(&self, shared: &Shared) -> Result<()> {
        let release = {
            let mut state = self.state.lock();
            if state.busy.is_some() || !state.queue.is_empty() || shared.has_ended() {
                return Ok(());
            }
            state.busy = Some(shared.clock.now());
            state.release.take()
        };
        let done = self.with_end(|end| end.housekeep(release));
        self.let_go(&done);
        done.map(drop)
    }

    /// One batch, if there is one and nobody else has it. Says whether there was.
    pub(super) fn work(&self, shared: &Shared) -> Result<bool> {
        let batch = {
            let mut state = self.state.lock();
            if shared.has_ended() {
                // Nothing more reaches the disk, and nobody waits for it any more.
                return Ok(false);
            }
            if state.busy.is_some() || state.queue.is_empty() {
                return Ok(false);
            }
            state.busy = Some(shared.clock.now());
            std::mem::take(&mut state.queue)
        };
        let written = self.with_end(|end| end.write(&batch));
        self.let_go(&written);
        if written?.is_none() {
            // The node was closed since: those who wait have been told.
            return Ok(false);
        }
        if let Some(last) = batch.last() {
            shared.mailbox.report(Input::Persisted(last.ticket));
        }
        Ok(true)
    }

    /// Does something to the log, unless it is closed.
    fn with_end(&self, act: impl FnOnce(&mut LogEnd) -> Result<()>) -> Result<Option<WalStats>> {
        let mut end = self.end.lock();
        let Some(end) = end.as_mut() else { return Ok(None) };
        act(end)?;
        Ok(Some(end.stats()))
    }

    /// Whoever had the log is done with it.
    fn let_go(&self, done: &Result<Option<WalStats>>) {
        let (more, orphaned) = {
            let mut state = self.state.lock();
            // After a failure the log stays busy for ever: nothing is written behind it.
            if let Ok(stats) = done {
                state.busy = None;
                state.stats = stats.unwrap_or(state.stats);
            }
            (state.stopped || state.release.is_some(), state.orphaned)
        };
        if orphaned {
            *self.end.lock() = None;
        }
        if more {
            self.work.notify_one();
        }
    }
}

/// The log thread.
pub(super) fn run(shared: &Shared) {
    while shared.log.wait() && !shared.has_ended() {
        let worked = shared.log.work(shared).and_then(|_| {
            // The batch's consequences are this thread's to drive: nobody has to be woken.
            shared.drive();
            shared.log.housekeep(shared)
        });
        if let Err(error) = worked {
            return shared.halt(error);
        }
    }
}
