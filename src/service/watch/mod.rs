//! Watchers, as users hold them.
//!
//! ```text
//!   store.watch(range) ── options ── start() ──► Watcher ── next() ──► batch, batch, .. end
//!                            │          │           │
//!        store.watch_set()   │          ▼           ▼ on the thread that asks
//!              .add(..) ─────┘      a cursor in `core/watch` that reads the store
//! ```
//!
//! Starting one asks nobody: it is local, and what is published from then on is for it. So is going
//! on: a batch is read from the store on the thread that asks for it. Between two batches nothing
//! is held but the cursor, and nobody waits for whoever is slow.
//!
//! A watcher knows only its own member's state, so it lives through everything that the member
//! lives through: other leaders, other members' restarts, a snapshot that is installed. It ends
//! with its node, when it is cancelled, or when it falls too far behind ([`WatchEnd`]).
//!
//! # One consumer, many watchers
//!
//! A [`WatchSet`] is etcd's watch stream: watchers with ids, and one consumer (`set.rs`). They
//! share a bell. Whoever rings it stands in a queue, each once, and is looked at when it is its
//! turn; one that had something stands at the end of the queue again. So the set looks at nobody
//! who has nothing, and a busy watcher takes turns with the others. What is kept for one is its
//! cursor and its scope, and no more: the options are the cursor's.
//!
//! # From what is to what comes
//!
//! [`ListAndWatch`] starts a watcher, then reads at R, then lets the watcher leave out what is up
//! to R (`list.rs`). In this order there is no moment at which something may be missed or
//! compacted, and R is never before the watcher: what is published never falls.
//!
//! # Invariants
//!
//! - A range is translated by its scope once, when the builder is made; from there on down it is
//!   that of the whole store.
//! - The end is the last word: a stream says it once, and whoever asks again is told again.
//! - What a set says of its progress holds for each of its watchers (`WAT-25`).

mod batch;
mod end;
mod list;
mod options;
mod pull;
mod set;
#[cfg(test)]
mod tests;
mod watcher;

use std::fmt;
use std::sync::Arc;

pub use self::batch::WatchBatch;
pub use self::end::{WatchCompacted, WatchEnd};
pub(super) use self::list::ListAsk;
pub use self::list::{ListAndWatch, Listing};
pub use self::set::{NextUpdate, WatchSet, WatchUpdate, WatchUpdates};
pub use self::watcher::{NextBatch, WatchBatches, WatchCanceller, Watcher};

use self::options::impl_watch_options;
use super::scope::Scope;
use crate::core::mvcc::Filter;
use crate::core::watch::{Bell, Cursor, Spec};
use crate::error::{Error, Kind, Result};
use crate::gate::Gate;
use crate::ids::{Revision, WatchId};
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
    /// In terms of the whole store, but for a range that is to be refused.
    spec: Spec,
    id: Option<WatchId>,
}

impl Watch {
    pub(crate) fn new(gate: &Arc<dyn Gate>, scope: &Scope, range: KeyRange) -> Self {
        let range = scope.range(range.clone()).unwrap_or(range);
        let spec = Spec {
            range,
            from: None,
            filter: Filter::default(),
            prev: false,
            progress: None,
            fragment_bytes: None,
            needs_leader: false,
        };
        Self { gate: Arc::clone(gate), scope: scope.clone(), spec, id: None }
    }

    /// What a watcher watches, from now on.
    fn like(gate: &Arc<dyn Gate>, scope: &Scope, cursor: &Cursor) -> Self {
        Self { gate: Arc::clone(gate), scope: scope.clone(), spec: cursor.spec(), id: None }
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

    /// Its name: in a [`WatchSet`], among those of the set (`WAT-6`); of one that is
    /// [started](Self::start) by itself it is what [`Watcher::id`] says.
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) -> quorate::Result<()> {
    /// use quorate::WatchId;
    ///
    /// let mut set = store.watch_set();
    /// set.add(store.watch("color").id(WatchId::new(7)))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn id(mut self, id: WatchId) -> Self {
        self.id = Some(id);
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
        let cursor = self.open(Bell::Own(Box::default()))?;
        Ok(Watcher::new(self, cursor))
    }

    fn open(&self, bell: Bell) -> Result<Cursor> {
        self.gate.reader()?;
        let range = &self.spec.range;
        range.check()?;
        if range.end().is_some_and(|end| end <= range.start()) {
            let range = self.scope.show_range(range);
            let text = format!("nothing can be watched: no key is in the range {range:?}");
            return Err(Error::invalid(text));
        }
        let watches = self.gate.watches();
        if self.spec.needs_leader && !watches.has_leader() {
            return Err(Error::new(Kind::Unavailable, "this member knows no leader"));
        }
        Ok(watches.watch(&self.spec, bell))
    }
}

impl_watch_options!(Watch, watch => watch.spec, "store.watch(\"color\")", ".start()?");

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut watch = f.debug_struct("Watch");
        watch.field("scope", &self.scope).field("spec", &self.spec).field("id", &self.id);
        watch.finish_non_exhaustive()
    }
}
