//! Watchers, as users hold them.
//!
//! ```text
//!   store.watch(range) ── options ── start() ──► Watcher ── next() ──► batch, batch, .. end
//!                                       │            │
//!                                       ▼            ▼ on the thread that asks
//!                                    a cursor in `core/watch` that reads the store
//! ```
//!
//! Starting one asks nobody: it is local, and what is published from then on is for it. So is going
//! on: a batch is read from the store on the thread that asks for it. Between two batches nothing
//! is held but the cursor, and nobody waits for whoever is slow.
//!
//! A watcher knows only its own member's state, so it lives through everything that the member
//! lives through: other leaders, other members' restarts, a snapshot that is installed. It ends
//! with its node, when it is cancelled, or when it falls too far behind ([`WatchEnd`]).

mod batch;
mod end;
#[cfg(test)]
mod tests;
mod watcher;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use self::batch::WatchBatch;
pub use self::end::{WatchCompacted, WatchEnd};
pub use self::watcher::{NextBatch, WatchBatches, WatchCanceller, Watcher};

use super::scope::Scope;
use crate::core::mvcc::Filter;
use crate::core::watch::{Bell, Spec};
use crate::error::{Error, Kind, Result};
use crate::gate::Gate;
use crate::ids::Revision;
use crate::keys::KeyRange;

/// Watches a range: made by [`Store::watch`](crate::Store::watch).
///
/// Does nothing before [`start`](Self::start).
///
/// ```no_run
/// # async fn example(store: quorate::Store) -> quorate::Result<()> {
/// use quorate::KeyRange;
///
/// let mut watcher = store.watch(KeyRange::prefix("config/")).prev_values().start()?;
/// while let Some(batch) = watcher.next().await {
///     for event in batch? {
///         println!("{:?} was {:?}", event.kv(), event.prev());
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "nothing is watched before it is started"]
pub struct Watch {
    gate: Arc<dyn Gate>,
    scope: Scope,
    /// As the caller says it: not yet in terms of the whole store.
    spec: Spec,
}

impl Watch {
    pub(crate) fn new(gate: &Arc<dyn Gate>, scope: &Scope, range: KeyRange) -> Self {
        let spec = Spec {
            range,
            from: None,
            filter: Filter::default(),
            prev: false,
            progress: None,
            fragment_bytes: None,
            needs_leader: false,
        };
        Self { gate: Arc::clone(gate), scope: scope.clone(), spec }
    }

    /// Begins with the changes of this revision (`WAT-2`). One in the past brings the history
    /// since; one to come is waited for, whatever happens before. 0, and not to call this, means
    /// everything behind the current revision of this member.
    ///
    /// After a write, its revision + 1 is exactly what comes behind it, on any member (`WAT-39`).
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let written = store.put("color", "blue").await?.header.revision;
    /// let watcher = store.watch("color").from_revision(written.next()).start()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_revision(mut self, revision: Revision) -> Self {
        self.spec.from = Some(revision).filter(|revision| revision.get() > 0);
        self
    }

    /// With what each key was before: see [`Event::prev`](crate::Event::prev) (`WAT-19`).
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let watcher = store.watch("color").prev_values().start()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn prev_values(mut self) -> Self {
        self.spec.prev = true;
        self
    }

    /// Leaves out puts (`WAT-20`).
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let watcher = store.watch("lock").no_puts().start()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn no_puts(mut self) -> Self {
        self.spec.filter.no_puts = true;
        self
    }

    /// Leaves out deletions (`WAT-20`).
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let watcher = store.watch("color").no_deletes().start()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn no_deletes(mut self) -> Self {
        self.spec.filter.no_deletes = true;
        self
    }

    /// Says now and then how far it has come: a batch without events, after about so long in which
    /// there were none (`WAT-24`). Less than 100 ms counts as 100 ms.
    ///
    /// For whoever keeps the revision to go on from: without it that grows old while nothing
    /// happens, and is compacted at last.
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) -> quorate::Result<()> {
    /// use std::time::Duration;
    ///
    /// let watcher = store.watch("color").progress_every(Duration::from_secs(60)).start()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn progress_every(mut self, every: Duration) -> Self {
        self.spec.progress = Some(every);
        self
    }

    /// Gives a revision of more than so many bytes in pieces, each but the last marked as
    /// [`is_fragment`](WatchBatch::is_fragment) (`WAT-21`). By default a revision comes as a
    /// whole, however large. 0 counts as 1.
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let watcher = store.watch(..).fragment_bytes(1 << 20).start()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn fragment_bytes(mut self, bytes: usize) -> Self {
        self.spec.fragment_bytes = Some(bytes.max(1));
        self
    }

    /// Does not start on a member that knows no leader, and ends with [`WatchEnd::NoLeader`] when
    /// it has known none for three election timeouts (`WAT-33`). Without it a member that is cut
    /// off is simply silent.
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let watcher = store.watch("color").require_leader().start()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn require_leader(mut self) -> Self {
        self.spec.needs_leader = true;
        self
    }

    /// Starts watching, at once and without asking anybody: it is this member's state that is
    /// watched (`WAT-39`).
    ///
    /// # Errors
    ///
    /// [`is_invalid`](crate::Error::is_invalid) for an empty key (`SEL-4`) and a range that has no
    /// key (`WAT-5`), [`is_unavailable`](crate::Error::is_unavailable) without a leader where one
    /// is required, [`is_closed`](crate::Error::is_closed) and
    /// [`is_halted`](crate::Error::is_halted). That it begins before the compacted revision is
    /// said by the watcher (`WAT-11`).
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let mut watcher = store.watch("color").start()?;
    /// store.put("color", "blue").wait()?;
    /// assert_eq!(watcher.try_next()?.map(|batch| batch.events().len()), Some(1));
    /// # Ok(())
    /// # }
    /// ```
    pub fn start(&self) -> Result<Watcher> {
        let cursor = self.open(|_| Bell::Own(Default::default()))?;
        Ok(Watcher::new(self.clone(), cursor))
    }

    fn open(&self, bell: impl FnOnce(u64) -> Bell) -> Result<crate::core::watch::Cursor> {
        self.gate.reader()?;
        let range = self.scope.range(self.spec.range.clone())?;
        if range.end().is_some_and(|end| end <= range.start()) {
            let text = format!("nothing can be watched: no key is in the range {range:?}");
            return Err(Error::invalid(text));
        }
        let watches = self.gate.watches();
        if self.spec.needs_leader && !watches.has_leader() {
            return Err(Error::new(Kind::Unavailable, "this member knows no leader"));
        }
        Ok(watches.watch(Spec { range, ..self.spec.clone() }, bell))
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut watch = f.debug_struct("Watch");
        watch.field("scope", &self.scope).field("spec", &self.spec).finish_non_exhaustive()
    }
}
