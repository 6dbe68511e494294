//! Waiting for one's turn.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::stream::Stream;

use super::{Held, MORE, Place, is_place, is_same};
use crate::core::mvcc::{Bounds, Event, KeyValue, Order, Query, Reader, SortBy};
use crate::error::Result;
use crate::ids::Revision;
use crate::keys::KeyRange;
use crate::planted::{Bug, planted};
use crate::service::lease::Holder;
use crate::service::watch::{Watch, WatchBatch, WatchEnd, Watcher};
use crate::sync::atomic::Ordering;

/// What this member sees of lines, at a revision that is not before the place was taken.
///
/// A line is named by the range of its directory. What is there and is no place is not seen.
pub(in crate::service) struct Sight<'a> {
    place: &'a Place,
    reader: &'a Reader,
}

impl Sight<'_> {
    /// The newest place of a line that is older than this one (`REC-8`).
    pub(in crate::service) fn newest_older(&self, range: KeyRange) -> Result<Option<KeyValue>> {
        let directory = range.start().to_vec();
        let mut query = Query::new(self.place.scope().range(range)?);
        query.create_revision.max = Revision::new(self.place.since.get().saturating_sub(1));
        (query.sort, query.order, query.limit) = (SortBy::CreateRevision, Order::Descending, 1);
        query.keys_only = true;
        loop {
            let page = self.reader.query(&query)?;
            let kvs = self.place.scope().show_all(page.kvs);
            let found = kvs.into_iter().find(|kv| is_place(&directory, kv));
            if found.is_some() || !page.more {
                return Ok(found);
            }
            query.limit = query.limit.saturating_mul(MORE);
        }
    }

    /// The places of a line that are older than this one, or those that are younger.
    pub(in crate::service) fn older(&self, range: KeyRange) -> Result<Vec<KeyValue>> {
        let max = Revision::new(self.place.since.get().saturating_sub(1));
        self.made(range, Bounds { min: Revision::new(0), max })
    }

    pub(in crate::service) fn younger(&self, range: KeyRange) -> Result<Vec<KeyValue>> {
        self.made(range, Bounds { min: self.place.since.next(), max: Revision::new(0) })
    }

    /// In the order in which they were made.
    fn made(&self, range: KeyRange, when: Bounds) -> Result<Vec<KeyValue>> {
        let directory = range.start().to_vec();
        let mut query = Query::new(self.place.scope().range(range)?);
        (query.create_revision, query.sort) = (when, SortBy::CreateRevision);
        query.keys_only = true;
        let mut kvs = self.place.scope().show_all(self.reader.query(&query)?.kvs);
        kvs.retain(|kv| is_place(&directory, kv));
        Ok(kvs)
    }
}

impl Held {
    /// Waits until it is the turn of this place, as the rule says: it is given what this member
    /// sees and answers with the keys of the places that it waits for, or with nothing if it is its
    /// turn. It is asked again when one of those is no place any more, and may be asked more often.
    ///
    /// Fails when the session is over or the key is gone (`REC-9`).
    pub(in crate::service) async fn turn<R>(
        &self,
        rule: impl Fn(&Sight<'_>) -> Result<R>,
    ) -> Result<()>
    where
        R: IntoIterator<Item = KeyRange>,
    {
        let place = self.place();
        loop {
            let (revision, obstacles) = place.look(&rule)?;
            let mut obstacles = obstacles.into_iter().peekable();
            if obstacles.peek().is_none() {
                return Ok(());
            }
            place.stir(revision, obstacles)?.await?;
        }
    }
}

impl Place {
    /// Asks something of what this member sees, and gives the revision from which on changes of
    /// the answer are to be watched for. Fails if the place is lost.
    pub(in crate::service) fn look<T>(
        &self,
        ask: impl FnOnce(&Sight<'_>) -> Result<T>,
    ) -> Result<(Revision, T)> {
        let reader = self.gate().reader()?;
        // Before: what is seen is of this revision or a newer one, and nothing is missed.
        let revision = reader.revision();
        let answer = ask(&Sight { place: self, reader })?;
        if self.is_lost() { Err(self.loss()) } else { Ok((revision, answer)) }
    }

    /// Waits until something happens behind `revision` that concerns the place: to its own key, or
    /// to places that it waits for.
    pub(in crate::service) fn stir(
        self: &Arc<Self>,
        revision: Revision,
        obstacles: impl IntoIterator<Item = KeyRange>,
    ) -> Result<Stir> {
        let mut stir = Stir {
            place: Arc::clone(self),
            number: None,
            end: End::new(&self.holder),
            watchers: Vec::new(),
        };
        let (since, lease) = (self.since, self.holder.kept.lease());
        let own = self.store.watch(self.key.clone());
        stir.add(revision, own, move |event| !is_same(event.kv(), since, lease))?;
        for range in obstacles {
            // A key that somebody puts without its lease is deleted by nobody, and no obstacle.
            stir.add(revision, self.store.watch(range), |event| !stands(event.kv()))?;
        }
        Ok(stir)
    }

    /// As [`stir`](Self::stir), and also when something happens in `judged` that is a reason.
    pub(in crate::service) fn stir_if(
        self: &Arc<Self>,
        revision: Revision,
        obstacles: impl IntoIterator<Item = KeyRange>,
        judged: Watch,
        is_reason: impl Fn(&Event) -> bool + Send + Sync + 'static,
    ) -> Result<Stir> {
        let mut stir = self.stir(revision, obstacles)?;
        stir.add(revision, judged, is_reason)?;
        Ok(stir)
    }
}

/// Is that a place still, in whichever line it is? A deletion leaves none.
pub(in crate::service) fn stands(kv: &KeyValue) -> bool {
    let name = kv.key().iter().rev().take_while(|byte| **byte != b'/').count();
    let directory = kv.key().len().saturating_sub(name);
    is_place(kv.key().get(..directory).unwrap_or_default(), kv)
}

/// The end of a session, for one who waits for it among other things.
pub(in crate::service) struct End {
    holder: Holder,
    /// Its number among those who wait.
    number: Option<u64>,
}

impl End {
    pub(in crate::service) fn new(holder: &Holder) -> Self {
        Self { holder: holder.clone(), number: None }
    }

    /// Is it over? If not, the task is woken when it is.
    pub(in crate::service) fn poll(&mut self, context: &Context<'_>) -> bool {
        // Before looking: what ends it afterwards wakes.
        self.number = Some(self.holder.kept.waiters.enter(self.number, context.waker()));
        self.holder.is_over()
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.holder.kept.waiters.leave(number);
        }
    }
}

/// Ends when there is a reason to look again.
pub(in crate::service) struct Stir {
    place: Arc<Place>,
    /// Its number among those whom the place wakes.
    number: Option<u64>,
    end: End,
    /// What they see, and which of it is a reason.
    watchers: Vec<(Watcher, Judge)>,
}

impl Drop for Stir {
    fn drop(&mut self) {
        self.number.into_iter().for_each(|number| self.place.losers.leave(number));
    }
}

impl Stir {
    fn add(
        &mut self,
        behind: Revision,
        watch: Watch,
        is_reason: impl Fn(&Event) -> bool + Send + Sync + 'static,
    ) -> Result<()> {
        let from = if planted(Bug::WatchLate) { behind.next().next() } else { behind.next() };
        let watcher = watch.from_revision(from).start()?;
        self.watchers.push((watcher, Box::new(is_reason)));
        Ok(())
    }
}

type Judge = Box<dyn Fn(&Event) -> bool + Send + Sync>;

/// That something was seen. What was compacted is seen by looking.
fn reason(seen: Option<Result<WatchBatch, WatchEnd>>) -> Result<()> {
    match seen {
        Some(Err(end)) if !matches!(end, WatchEnd::Compacted(_)) => Err(end.into()),
        _ => Ok(()),
    }
}

impl Future for Stir {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let Self { place, number, end, watchers } = self.get_mut();
        // Before looking: who gives it back afterwards wakes.
        *number = Some(place.losers.enter(*number, context.waker()));
        if end.poll(context) || place.gone.load(Ordering::SeqCst) {
            return Poll::Ready(Ok(()));
        }
        for (watcher, is_reason) in watchers {
            while let Poll::Ready(seen) = Pin::new(&mut *watcher).poll_next(context) {
                match seen {
                    Some(Ok(batch)) if !batch.events().iter().any(&**is_reason) => {}
                    seen => return Poll::Ready(reason(seen)),
                }
            }
        }
        Poll::Pending
    }
}
