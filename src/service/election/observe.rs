//! Who leads, as others see it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::stream::Stream;

use super::Leader;
use crate::core::mvcc::{Event, EventKind, KeyValue};
use crate::error::Result;
use crate::gate::Gate;
use crate::ids::Revision;
use crate::keys::KeyRange;
use crate::planted::{Bug, planted};
use crate::service::pending::block_on;
use crate::service::place::{Manner, Task, impl_task, is_place};
use crate::service::watch::{WatchEnd, Watcher};
use crate::store::Store;

/// Begins to observe an election: made by [`Election::observe`](crate::Election::observe).
///
/// # Errors
///
/// [`is_invalid`](crate::Error::is_invalid) for an empty name, and those of
/// [`ListAndWatch`](crate::ListAndWatch).
///
/// ```no_run
/// # async fn example(store: quorate::Store) -> quorate::Result<()> {
/// let observer = store.election("cron").observe().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct Observe {
    call: Task<Observer>,
}

impl_task!(Observe -> Observer, "store.election(\"cron\").observe()");

impl Observe {
    pub(super) fn new(store: &Store, directory: Result<Bytes>) -> Self {
        let mine = store.clone();
        let observe = async move |manner| {
            let directory = directory?;
            let list = mine.list_and_watch(KeyRange::prefix(directory.clone()));
            let listing = if manner == Manner::Blocking { list.wait()? } else { list.await? };
            let mut observer = Observer {
                gate: Arc::clone(mine.gate()),
                directory,
                watcher: listing.watcher,
                candidates: BTreeMap::new(),
                made: BTreeMap::new(),
                told: None,
                due: VecDeque::new(),
                ended: false,
            };
            observer.list(&listing.kvs);
            Ok(observer)
        };
        Self { call: Task::new(store.gate(), "it was known who leads", observe) }
    }
}

/// What an [`Observer`] sees.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Observed {
    /// Nobody leads.
    Vacant,
    /// This one leads, or has proclaimed this.
    Elected(Leader),
    /// This observer was slower than the compaction: what happened in between is not known. What
    /// holds now comes next.
    Skipped,
}

/// Gives every change of who leads: made by [`Election::observe`](crate::Election::observe).
///
/// First what holds when it begins, then each change in the order of revisions, one for each
/// revision that changes something: who leads, or what the leader has proclaimed (`REC-23`). That
/// nobody leads is one as well. None is missing and none is made up: who sees two in a row knows
/// that nobody led in between.
///
/// It is a [`Stream`], and an iterator for a thread with [`into_iter`](IntoIterator::into_iter). It
/// sees what its member has applied; a leader can have been deposed elsewhere, and see so later.
///
/// ```no_run
/// # fn example(store: quorate::Store) -> quorate::Result<()> {
/// use quorate::Observed;
///
/// for observed in store.election("cron").observe().wait()? {
///     match observed? {
///         Observed::Vacant => println!("nobody leads"),
///         Observed::Elected(leader) => println!("{:?} leads", leader.value),
///         Observed::Skipped => println!("too slow: some were missed"),
///         _ => {}
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "an observer that is dropped observes nothing"]
pub struct Observer {
    gate: Arc<dyn Gate>,
    directory: Bytes,
    watcher: Watcher,
    /// In the order in which they lead: by create revision, and by key within one.
    candidates: BTreeMap<(Revision, Bytes), Bytes>,
    /// When each of them was made: where it is there.
    made: BTreeMap<Bytes, Revision>,
    /// What was said last, and whether anything was.
    told: Option<Observed>,
    /// What is to be said.
    due: VecDeque<Observed>,
    ended: bool,
}

impl Observer {
    /// The next change, once there is one; after the end nothing. Await it, or
    /// [`wait`](NextObserved::wait) for it. Dropping it before loses nothing.
    ///
    /// ```no_run
    /// # async fn example(mut observer: quorate::Observer) -> quorate::Result<()> {
    /// while let Some(observed) = observer.next().await {
    ///     println!("{:?}", observed?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[expect(clippy::should_implement_trait, reason = "a future, as streams have it")]
    pub fn next(&mut self) -> NextObserved<'_> {
        NextObserved { observer: self }
    }

    /// Begins anew with what is there.
    fn list(&mut self, kvs: &[KeyValue]) {
        self.candidates.clear();
        self.made.clear();
        kvs.iter().for_each(|kv| self.put(kv));
        self.see();
    }

    fn put(&mut self, kv: &KeyValue) {
        // Of a key that was made again its old place is no more.
        self.remove(kv.key());
        if is_place(&self.directory, kv) {
            let (key, value) = (Bytes::copy_from_slice(kv.key()), kv.value());
            self.made.insert(key.clone(), kv.create_revision());
            let place = (kv.create_revision(), key);
            self.candidates.insert(place, Bytes::copy_from_slice(value));
        }
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some((key, made)) = self.made.remove_entry(key) {
            self.candidates.remove(&(made, key));
        }
    }

    /// What one revision has done to the candidates.
    fn apply(&mut self, events: &[Event]) {
        for event in events {
            match event.kind() {
                EventKind::Put => self.put(event.kv()),
                EventKind::Delete => self.remove(event.key()),
            }
        }
        self.see();
    }

    /// Says who leads, if that is news.
    fn see(&mut self) {
        let first = self.candidates.first_key_value();
        let now = first.map_or(Observed::Vacant, |((token, key), value)| {
            let (token, value, key) = (*token, value.clone(), key.clone());
            Observed::Elected(Leader { token, value, key })
        });
        if now == Observed::Vacant && planted(Bug::MissVacancy) {
            return;
        }
        if self.told.as_ref() != Some(&now) {
            self.told = Some(now.clone());
            self.due.push_back(now);
        }
    }

    /// Looks again at what holds, and says so whatever was said before.
    fn skip(&mut self) -> Result<(), WatchEnd> {
        let mut watcher = self.watcher.again().start().map_err(|_| self.node_end())?;
        let (_, kvs) = watcher.list().map_err(|_| self.node_end())?;
        self.watcher = watcher;
        // Not before: what fails ends it, and nothing comes behind an end.
        self.due.push_back(Observed::Skipped);
        self.told = None;
        self.list(&kvs);
        Ok(())
    }

    fn node_end(&self) -> WatchEnd {
        let error = self.gate.ending();
        if error.is_halted() { WatchEnd::Halted(Arc::new(error)) } else { WatchEnd::Closed }
    }
}

impl Stream for Observer {
    type Item = Result<Observed, WatchEnd>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(observed) = self.due.pop_front() {
                return Poll::Ready(Some(Ok(observed)));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            let end = match std::task::ready!(Pin::new(&mut self.watcher).poll_next(context)) {
                Some(Ok(batch)) => {
                    for events in batch.revisions() {
                        self.apply(events);
                    }
                    continue;
                }
                Some(Err(WatchEnd::Compacted(_))) => match self.skip() {
                    Ok(()) => continue,
                    Err(end) => Some(end),
                },
                Some(Err(end)) => Some(end),
                None => None,
            };
            self.ended = true;
            return Poll::Ready(end.map(Err));
        }
    }
}

impl IntoIterator for Observer {
    type Item = Result<Observed, WatchEnd>;
    type IntoIter = ObservedIter;

    fn into_iter(self) -> ObservedIter {
        ObservedIter { observer: self }
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut observer = f.debug_struct("Observer");
        observer.field("watcher", &self.watcher).field("candidates", &self.candidates.len());
        observer.field("told", &self.told).finish_non_exhaustive()
    }
}

/// The next change: made by [`Observer::next`].
///
/// ```no_run
/// # async fn example(mut observer: quorate::Observer) {
/// let observed = observer.next().await;
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct NextObserved<'a> {
    observer: &'a mut Observer,
}

impl NextObserved<'_> {
    /// Blocks the thread until there is one. Not for a thread that runs futures: await it there.
    ///
    /// ```no_run
    /// # fn example(mut observer: quorate::Observer) {
    /// let observed = observer.next().wait();
    /// # }
    /// ```
    pub fn wait(self) -> Option<Result<Observed, WatchEnd>> {
        let gate = Arc::clone(&self.observer.gate);
        let observer = self.observer;
        block_on(&*gate, None, |context| Pin::new(&mut *observer).poll_next(context)).flatten()
    }
}

impl Future for NextObserved<'_> {
    type Output = Option<Result<Observed, WatchEnd>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut *self.observer).poll_next(context)
    }
}

/// What an [`Observer`] gives, for a thread: it blocks until the next change is there.
///
/// ```no_run
/// # fn example(observer: quorate::Observer) -> quorate::Result<()> {
/// for observed in observer {
///     println!("{:?}", observed?);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ObservedIter {
    observer: Observer,
}

impl Iterator for ObservedIter {
    type Item = Result<Observed, WatchEnd>;

    fn next(&mut self) -> Option<Self::Item> {
        self.observer.next().wait()
    }
}
