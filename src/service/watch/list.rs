//! What holds now, and every change from there on.

use std::sync::Arc;

use super::options::impl_watch_options;
use super::{Watch, Watcher};
use crate::core::mvcc::KeyValue;
use crate::error::Result;
use crate::gate::Gate;
use crate::keys::KeyRange;
use crate::service::options::{Freshness, impl_freshness};
use crate::service::pending::{Ask, Call, Counter, Started, impl_call};
use crate::service::response::Header;
use crate::service::scope::Scope;

/// Reads a range and watches it from there on: made by
/// [`Store::list_and_watch`](crate::Store::list_and_watch), and by
/// [`WatchCompacted::relist`](crate::WatchCompacted::relist).
///
/// Between what is read and the first event there is no gap, and nothing is in both: it is one
/// call. How recent the state must be is asked as of a [`RangeRead`](crate::RangeRead); what the
/// watcher tells, as of a [`Watch`]. Filters are about its events: everything is listed.
///
/// The listing is held in memory whole. Its values are the store's own.
///
/// # Errors
///
/// Those of [`RangeRead`](crate::RangeRead) and of [`Watch::start`].
///
/// ```no_run
/// # async fn example(store: quorate::Store) -> quorate::Result<()> {
/// use quorate::{EventKind, KeyRange};
/// use std::collections::BTreeMap;
///
/// let mut listing = store.list_and_watch(KeyRange::prefix("config/")).await?;
/// let mut config: BTreeMap<_, _> =
///     listing.kvs.iter().map(|kv| (kv.key().to_vec(), kv.value().to_vec())).collect();
/// while let Some(batch) = listing.watcher.next().await {
///     for event in batch? {
///         match event.kind() {
///             EventKind::Put => config.insert(event.key().to_vec(), event.kv().value().to_vec()),
///             EventKind::Delete => config.remove(event.key()),
///         };
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct ListAndWatch {
    call: Call<ListAsk>,
}

#[derive(Debug)]
pub(in crate::service) struct ListAsk {
    watch: Watch,
    pub(in crate::service) freshness: Freshness,
    /// Once it was asked: it is there before anything is read.
    watcher: Option<Watcher>,
}

/// What a [`ListAndWatch`] gives back.
#[derive(Debug)]
#[non_exhaustive]
pub struct Listing {
    /// Who answered, and the revision that the listing is of.
    pub header: Header,
    /// The keys of the range and their values, in ascending order, all as of that revision.
    pub kvs: Vec<KeyValue>,
    /// Gives every event behind that revision.
    pub watcher: Watcher,
}

impl ListAndWatch {
    pub(crate) fn new(gate: &Arc<dyn Gate>, scope: &Scope, range: KeyRange) -> Self {
        Self::of(Watch::new(gate, scope, range))
    }

    /// What `watch` is about, from now on.
    pub(super) fn of(watch: Watch) -> Self {
        let gate = Arc::clone(&watch.gate);
        Self { call: Call::new(&gate, ListAsk::new(watch)) }
    }
}

impl_watch_options!(
    ListAndWatch, list => list.call.ask_mut().watch.spec,
    "store.list_and_watch(\"color\")", ".wait()?"
);
impl_freshness!(
    ListAndWatch, list => list.call.ask_mut().freshness,
    "store.list_and_watch(\"color\")", ".await?"
);
impl_call!(ListAndWatch -> Listing, "store.list_and_watch(\"color\")");

impl ListAsk {
    pub(in crate::service) fn new(watch: Watch) -> Self {
        Self { watch, freshness: Freshness::default(), watcher: None }
    }
}

impl Ask for ListAsk {
    type Answer = ();
    type Response = Listing;

    const WRITES: bool = false;

    fn start(&mut self, counter: &Counter<'_>) -> Result<Started<Self>> {
        self.watcher = Some(self.watch.start()?);
        if self.freshness.is_met(counter.gate)? {
            return self.finish(counter.gate, ()).map(Started::Answered);
        }
        counter.read()
    }

    fn finish(&mut self, gate: &dyn Gate, (): ()) -> Result<Listing> {
        self.freshness.check(gate.reader()?)?;
        let mut watcher = match self.watcher.take() {
            Some(watcher) => watcher,
            None => self.watch.start()?,
        };
        let (revision, kvs) = watcher.list()?;
        Ok(Listing { header: Header::at(gate, revision), kvs, watcher })
    }
}
