//! A watcher that runs.

use std::fmt;
use std::sync::Arc;
use std::task::Waker;

use super::pull::{Last, Look, Pull, impl_pull};
use super::{Watch, WatchBatch, WatchCompacted, WatchEnd};
use crate::core::mvcc::{KeyValue, Query};
use crate::core::watch::{Canceller, Cursor, Told};
use crate::error::Result;
use crate::gate::Gate;
use crate::ids::{Revision, WatchId};
use crate::planted::{Bug, planted};
use crate::service::Scope;

/// Gives every change of a range, in order, once: made by [`Watch::start`](crate::Watch::start).
///
/// It is a [`Stream`](futures_core::Stream); [`next`](Self::next) needs no other crate, and with
/// [`into_iter`](IntoIterator::into_iter) it is an iterator for a thread. Its last word is an
/// error that says why it ends.
///
/// What holds (`WAT-15`, `WAT-16`, `WAT-31`; the words are those of `docs/watch.md`):
///
/// - *Ordered, unique, reliable*: events come by revision, each once, none missing.
/// - *Atomic*: what a transaction has changed in the range comes in one batch.
/// - *Resumable*: one that begins at revision R is given exactly what happened from R on.
/// - *Bookmarkable*: everything up to [`WatchBatch::revision`] has been given.
///
/// One that is slow costs its place, and at most a megabyte of what others of its range have read
/// last: batches grow instead. While it is behind, a compaction waits for it, up to
/// `max_pinned_revisions`; beyond that it ends with [`WatchEnd::Compacted`]. Dropping it ends it.
///
/// ```no_run
/// # fn example(store: quorate::Store) -> quorate::Result<()> {
/// let watcher = store.watch("color").start()?;
/// for batch in watcher {
///     println!("{:?}", batch?.events());
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "a watcher that is dropped watches nothing"]
pub struct Watcher {
    gate: Arc<dyn Gate>,
    scope: Scope,
    id: WatchId,
    cursor: Cursor,
    last: Last,
}

impl Watcher {
    pub(super) fn new(watch: &Watch, cursor: Cursor) -> Self {
        let (gate, scope) = (Arc::clone(&watch.gate), watch.scope.clone());
        Self { gate, scope, id: watch.id.unwrap_or_default(), cursor, last: Last::default() }
    }

    /// What [`Watch::id`](crate::Watch::id) has called it; 0 if it was not given a name.
    ///
    /// ```no_run
    /// # fn example(watcher: quorate::Watcher) {
    /// println!("watcher {}", watcher.id());
    /// # }
    /// ```
    pub fn id(&self) -> WatchId {
        self.id
    }

    /// The revision that was current when it was started: what is behind it is for this watcher,
    /// unless it begins elsewhere (`WAT-1`).
    ///
    /// ```no_run
    /// # fn example(watcher: quorate::Watcher) {
    /// println!("watching since {}", watcher.created());
    /// # }
    /// ```
    pub fn created(&self) -> Revision {
        self.cursor.created()
    }

    /// Everything before this revision has been given, and nothing of it or behind it; but for
    /// fragments. Where another watcher would go on.
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store, watcher: quorate::Watcher) -> quorate::Result<()> {
    /// let twin = store.watch("color").from_revision(watcher.next_revision()).start()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn next_revision(&self) -> Revision {
        self.cursor.next_revision()
    }

    /// Makes it say how far it has come as soon as it has nothing else to give (`WAT-25`): the
    /// next batch without events answers. One that waits for a revision to come does not say so
    /// before (`WAT-26`).
    ///
    /// ```no_run
    /// # async fn example(mut watcher: quorate::Watcher) -> quorate::Result<()> {
    /// watcher.request_progress();
    /// if let Some(batch) = watcher.next().await.transpose()? {
    ///     println!("has been given everything up to {}", batch.revision());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn request_progress(&mut self) {
        self.cursor.ask_progress();
    }

    /// Something that ends it from elsewhere: from another thread, while this one waits.
    ///
    /// ```no_run
    /// # fn example(watcher: quorate::Watcher) {
    /// let canceller = watcher.canceller();
    /// std::thread::spawn(move || watcher.into_iter().count());
    /// canceller.cancel();
    /// # }
    /// ```
    pub fn canceller(&self) -> WatchCanceller {
        WatchCanceller { canceller: self.cursor.canceller() }
    }

    /// What holds now in the range, and the revision that this is of. From there on it gives what
    /// comes.
    ///
    /// It is never of a revision before the watcher was made: what is published does not fall.
    pub(in crate::service) fn list(&mut self) -> Result<(Revision, Vec<KeyValue>)> {
        let query = Query::new(self.cursor.range());
        let page = self.gate.reader()?.query(&query)?;
        let behind = page.revision.next();
        self.cursor.skip_to(if planted(Bug::ListAhead) { behind.next() } else { behind });
        Ok((page.revision, self.scope.show_all(page.kvs)))
    }

    /// The same again, from now on.
    pub(in crate::service) fn again(&self) -> Watch {
        Watch::like(&self.gate, &self.scope, &self.cursor)
    }

    /// What there is now of what is marked. `waker` is called when there is more.
    pub(in crate::service) fn pull_marked(
        &mut self,
        waker: Option<&Waker>,
    ) -> std::result::Result<Option<WatchBatch>, WatchEnd> {
        Pull::pull_marked(self, waker)
    }
}

impl Pull for Watcher {
    type Item = WatchBatch;

    fn look(&mut self, waker: Option<&Waker>) -> Look<WatchBatch> {
        let told = self.cursor.poll(waker);
        show(&self.gate, &self.scope, told, &self.cursor)
    }

    fn gate(&self) -> &Arc<dyn Gate> {
        &self.gate
    }

    fn last(&mut self) -> &mut Last {
        &mut self.last
    }
}

impl_pull!(
    Watcher, NextBatch, WatchBatches -> WatchBatch, "batch", "store.watch(\"color\").start()?"
);

/// What a watcher is told, in the words of its caller.
pub(super) fn show(
    gate: &Arc<dyn Gate>,
    scope: &Scope,
    told: Told,
    cursor: &Cursor,
) -> Look<WatchBatch> {
    Look::End(match told {
        Told::Events { events, upto, fragment } => {
            return Look::Item(WatchBatch::new(scope.show_events(events), upto, fragment));
        }
        Told::Progress(upto) => return Look::Item(WatchBatch::new(Vec::new(), upto, false)),
        Told::Nothing => return Look::Nothing,
        Told::Later => return Look::Later,
        Told::Compacted(revision) => {
            let asked = cursor.next_revision();
            let watch = Box::new(Watch::like(gate, scope, cursor));
            WatchEnd::Compacted(WatchCompacted { asked, revision, watch })
        }
        Told::NoLeader => WatchEnd::NoLeader,
        Told::Cancelled => WatchEnd::Cancelled,
        Told::Ended => ended(&**gate),
    })
}

/// How the node has ended.
pub(super) fn ended(gate: &dyn Gate) -> WatchEnd {
    let error = gate.ending();
    if error.is_halted() { WatchEnd::Halted(Arc::new(error)) } else { WatchEnd::Closed }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher")
            .field("watch", &self.again())
            .field("id", &self.id)
            .field("next_revision", &self.next_revision())
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

/// Ends a [`Watcher`] from elsewhere: made by [`Watcher::canceller`]. Cheap to clone.
///
/// ```no_run
/// # fn example(watcher: quorate::Watcher) {
/// watcher.canceller().cancel();
/// assert!(matches!(watcher.into_iter().next(), Some(Err(quorate::WatchEnd::Cancelled))));
/// # }
/// ```
#[derive(Clone)]
pub struct WatchCanceller {
    canceller: Canceller,
}

impl WatchCanceller {
    /// The watcher gives nothing more, but [`WatchEnd::Cancelled`] as its last word (`WAT-8`).
    /// Again, or of one that has ended, it does nothing.
    ///
    /// ```no_run
    /// # fn example(canceller: quorate::WatchCanceller) {
    /// canceller.cancel();
    /// # }
    /// ```
    pub fn cancel(&self) {
        self.canceller.cancel();
    }
}

impl fmt::Debug for WatchCanceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchCanceller").finish_non_exhaustive()
    }
}
