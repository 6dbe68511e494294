//! A watcher that runs.

use std::fmt;
use std::future::Future;
use std::iter::FusedIterator;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_core::stream::{FusedStream, Stream};

use super::{Watch, WatchBatch, WatchCompacted, WatchEnd};
use crate::core::watch::{Canceller, Cursor, Told};
use crate::ids::Revision;
use crate::service::pending::block_on;

/// Gives every change of a range, in order, once: made by [`Watch::start`].
///
/// It is a [`Stream`]; [`next`](Self::next) needs no other crate, and with
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
/// One that is slow costs nothing but its place: batches grow instead. While it is behind, a
/// compaction waits for it, up to `max_pinned_revisions`; beyond that it ends with
/// [`WatchEnd::Compacted`]. Dropping it ends it.
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
    watch: Watch,
    cursor: Cursor,
    end: Option<WatchEnd>,
    /// The end has been said by the stream.
    said: bool,
}

impl Watcher {
    pub(super) fn new(watch: Watch, cursor: Cursor) -> Self {
        Self { watch, cursor, end: None, said: false }
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

    /// The next batch, once there is one; after the end nothing.
    ///
    /// Await it, or [`wait`](NextBatch::wait) for it. Dropping it before loses nothing.
    ///
    /// ```no_run
    /// # async fn example(mut watcher: quorate::Watcher) -> quorate::Result<()> {
    /// while let Some(batch) = watcher.next().await {
    ///     println!("{:?}", batch?.events());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn next(&mut self) -> NextBatch<'_> {
        NextBatch { watcher: self }
    }

    /// The next batch, if it comes in time. Blocks the thread for as long.
    ///
    /// # Errors
    ///
    /// Why it has ended, each time.
    ///
    /// ```no_run
    /// # fn example(mut watcher: quorate::Watcher) -> Result<(), quorate::WatchEnd> {
    /// use std::time::Duration;
    ///
    /// match watcher.next_timeout(Duration::from_secs(1))? {
    ///     Some(batch) => println!("{:?}", batch.events()),
    ///     None => println!("nothing for a second"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<WatchBatch>, WatchEnd> {
        let gate = Arc::clone(&self.watch.gate);
        block_on(&*gate, Some(timeout), |context| self.poll_batch(context)).transpose()
    }

    /// The next batch, if there is one now.
    ///
    /// # Errors
    ///
    /// Why it has ended, each time.
    ///
    /// ```no_run
    /// # fn example(mut watcher: quorate::Watcher) -> Result<(), quorate::WatchEnd> {
    /// while let Some(batch) = watcher.try_next()? {
    ///     println!("{:?}", batch.events());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_next(&mut self) -> Result<Option<WatchBatch>, WatchEnd> {
        loop {
            match self.look(Waker::noop()) {
                Told::Nothing => return Ok(None),
                Told::Later => {}
                told => return self.tell(told).map(Some),
            }
        }
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

    /// Leaves out what happened before a revision of which the caller knows the state.
    pub(crate) fn skip_to(&mut self, revision: Revision) {
        self.cursor.skip_to(revision);
    }

    fn poll_batch(&mut self, context: &mut Context<'_>) -> Poll<Result<WatchBatch, WatchEnd>> {
        match self.look(context.waker()) {
            Told::Nothing => Poll::Pending,
            Told::Later => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            told => Poll::Ready(self.tell(told)),
        }
    }

    fn look(&mut self, waker: &Waker) -> Told {
        match self.end {
            // What it was is known.
            Some(_) => Told::Ended,
            None => self.cursor.poll(waker),
        }
    }

    /// What the caller is told. There is something.
    fn tell(&mut self, told: Told) -> Result<WatchBatch, WatchEnd> {
        if let Some(end) = &self.end {
            return Err(end.clone());
        }
        let batch = self.watch.show(told, &self.cursor);
        self.end = batch.as_ref().err().cloned();
        batch
    }

    fn poll_stream(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<WatchBatch, WatchEnd>>> {
        if self.said {
            return Poll::Ready(None);
        }
        let batch = std::task::ready!(self.poll_batch(context));
        self.said = batch.is_err();
        Poll::Ready(Some(batch))
    }
}

impl Watch {
    /// What a watcher of this is told, in the words of its caller.
    pub(super) fn show(&self, told: Told, cursor: &Cursor) -> Result<WatchBatch, WatchEnd> {
        match told {
            Told::Events { events, upto, fragment } => {
                let events = self.scope.show_events(events);
                Ok(WatchBatch::new(events, upto, fragment))
            }
            Told::Progress(upto) => Ok(WatchBatch::new(Vec::new(), upto, false)),
            Told::Compacted(revision) => {
                let asked = cursor.next_revision();
                let compacted = WatchCompacted { asked, revision, watch: self.clone() };
                Err(WatchEnd::Compacted(compacted))
            }
            Told::NoLeader => Err(WatchEnd::NoLeader),
            Told::Cancelled => Err(WatchEnd::Cancelled),
            Told::Nothing | Told::Later | Told::Ended => Err(self.ended()),
        }
    }

    /// How the node has ended.
    pub(super) fn ended(&self) -> WatchEnd {
        let error = self.gate.ending();
        if error.is_halted() { WatchEnd::Halted(Arc::new(error)) } else { WatchEnd::Closed }
    }
}

impl Stream for Watcher {
    type Item = Result<WatchBatch, WatchEnd>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_stream(context)
    }
}

impl FusedStream for Watcher {
    fn is_terminated(&self) -> bool {
        self.said
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher")
            .field("watch", &self.watch)
            .field("next_revision", &self.next_revision())
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

/// The next batch of a [`Watcher`]: made by [`Watcher::next`].
///
/// ```no_run
/// # async fn example(mut watcher: quorate::Watcher) {
/// let batch = watcher.next().await;
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct NextBatch<'a> {
    watcher: &'a mut Watcher,
}

impl NextBatch<'_> {
    /// Blocks the thread until there is one. Not for a thread that runs futures.
    ///
    /// ```no_run
    /// # fn example(mut watcher: quorate::Watcher) {
    /// let batch = watcher.next().wait();
    /// # }
    /// ```
    pub fn wait(self) -> Option<Result<WatchBatch, WatchEnd>> {
        let gate = Arc::clone(&self.watcher.watch.gate);
        block_on(&*gate, None, |context| self.watcher.poll_stream(context)).flatten()
    }
}

impl Future for NextBatch<'_> {
    type Output = Option<Result<WatchBatch, WatchEnd>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.watcher.poll_stream(context)
    }
}

impl IntoIterator for Watcher {
    type Item = Result<WatchBatch, WatchEnd>;
    type IntoIter = WatchBatches;

    fn into_iter(self) -> WatchBatches {
        WatchBatches { watcher: self }
    }
}

/// The batches of a [`Watcher`], for a thread: it blocks until the next is there.
///
/// ```no_run
/// # fn example(watcher: quorate::Watcher) {
/// let events = watcher.into_iter().map_while(Result::ok).flatten();
/// # }
/// ```
#[derive(Debug)]
pub struct WatchBatches {
    watcher: Watcher,
}

impl Iterator for WatchBatches {
    type Item = Result<WatchBatch, WatchEnd>;

    fn next(&mut self) -> Option<Self::Item> {
        self.watcher.next().wait()
    }
}

impl FusedIterator for WatchBatches {}

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
