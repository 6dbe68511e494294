//! What reads keys and values: get, range.

use std::mem;
use std::sync::Arc;

use bytes::Bytes;

use super::options::{Freshness, impl_at, impl_freshness, impl_range_options};
use super::pending::{Ask, Call, Counter, Started, impl_call};
use super::response::{GetResponse, Header, RangeResponse};
use super::scope::Scope;
use crate::core::mvcc::{Query, RangePage, Reader};
use crate::error::Result;
use crate::gate::Gate;
use crate::ids::Revision;
use crate::keys::KeyRange;

/// Reads one key: made by [`Store::get`](crate::Store::get).
///
/// By default the read is linearizable: it shows every write that was acknowledged, by any
/// member, before it began (`LIN-1`). [`serializable`](Self::serializable),
/// [`at_least`](Self::at_least) and [`max_staleness`](Self::max_staleness) ask for less.
///
/// # Errors
///
/// [`is_invalid`](crate::Error::is_invalid) for an empty key; with [`at`](Self::at)
/// [`is_compacted`](crate::Error::is_compacted) and
/// [`is_future_revision`](crate::Error::is_future_revision); if it has to ask the leader also
/// [`is_overloaded`](crate::Error::is_overloaded) and [`is_timeout`](crate::Error::is_timeout);
/// [`is_closed`](crate::Error::is_closed) and [`is_halted`](crate::Error::is_halted).
///
/// ```no_run
/// # async fn example(store: quorate::Store) -> quorate::Result<()> {
/// if let Some(kv) = store.get("color").await?.kv {
///     println!("{:?}, written {} times", kv.value(), kv.version());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct Get {
    call: Call<GetAsk>,
}

#[derive(Debug)]
struct GetAsk {
    scope: Scope,
    key: Bytes,
    /// `None`: the newest.
    at: Option<Revision>,
    freshness: Freshness,
}

impl Get {
    pub(crate) fn new(gate: &Arc<dyn Gate>, scope: &Scope, key: Bytes) -> Self {
        let freshness = Freshness::default();
        let ask = GetAsk { scope: scope.clone(), key, at: None, freshness };
        Self { call: Call::new(gate, ask) }
    }
}

impl_at!(Get, get => &mut get.call.ask_mut().at, "store.get(\"color\")", ".await?");
impl_freshness!(Get, get => get.call.ask_mut().freshness, "store.get(\"color\")", ".await?");
impl_call!(Get -> GetResponse, "store.get(\"color\")");

impl GetAsk {
    fn read(&self, gate: &dyn Gate) -> Result<GetResponse> {
        let reader = gate.reader()?;
        self.freshness.check(reader)?;
        let (seen, kv) = reader.get(&self.key, self.at)?;
        let header = Header::at(gate, current(reader, self.at, seen));
        Ok(GetResponse { header, kv: kv.map(|kv| self.scope.show(kv)) })
    }
}

impl Ask for GetAsk {
    type Answer = ();
    type Response = GetResponse;

    const WRITES: bool = false;

    fn start(&mut self, counter: &Counter<'_>) -> Result<Started<Self>> {
        self.key = self.scope.key(mem::take(&mut self.key))?;
        if self.freshness.is_met(counter.gate)? {
            return self.read(counter.gate).map(Started::Answered);
        }
        counter.read()
    }

    fn finish(&mut self, gate: &dyn Gate, (): ()) -> Result<GetResponse> {
        self.read(gate)
    }
}

/// Reads the keys of a range: made by [`Store::range`](crate::Store::range).
///
/// However many keys it has, the result is one snapshot (`KV-18`), by default in ascending order.
/// It is held in memory whole: bound it with [`limit`](Self::limit) where the range may be large,
/// or read it in pieces with [`Store::stream`](crate::Store::stream).
///
/// Whatever the options, their order is: the keys of the range at the revision, filtered, sorted,
/// cut off at the limit, and last without their values (`KV-9`).
///
/// # Errors
///
/// Those of [`Get`].
///
/// ```no_run
/// # async fn example(store: quorate::Store) -> quorate::Result<()> {
/// use quorate::KeyRange;
///
/// let jobs = store.range(KeyRange::prefix("jobs/")).limit(100).await?;
/// println!("{} of {}", jobs.kvs.len(), jobs.count);
///
/// // The next page, of the same snapshot.
/// let Some(last) = jobs.kvs.last() else { return Ok(()) };
/// let after = [last.key(), b"\0"].concat();
/// let next = store.range(after..b"jobs0".to_vec()).limit(100).at(jobs.header.revision).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct RangeRead {
    call: Call<RangeAsk>,
}

#[derive(Debug)]
struct RangeAsk {
    scope: Scope,
    query: Query,
    freshness: Freshness,
}

impl RangeRead {
    pub(crate) fn new(gate: &Arc<dyn Gate>, scope: &Scope, range: KeyRange) -> Self {
        let (query, freshness) = (Query::new(range), Freshness::default());
        Self { call: Call::new(gate, RangeAsk { scope: scope.clone(), query, freshness }) }
    }
}

impl_range_options!(
    RangeRead, read => read.call.ask_mut().query, "store.range(\"jobs/\"..\"jobs0\")", ".await?"
);
impl_at!(
    RangeRead, read => &mut read.call.ask_mut().query.at,
    "store.range(\"jobs/\"..\"jobs0\")", ".await?"
);
impl_freshness!(
    RangeRead, read => read.call.ask_mut().freshness,
    "store.range(\"jobs/\"..\"jobs0\")", ".await?"
);
impl_call!(RangeRead -> RangeResponse, "store.range(\"jobs/\"..\"jobs0\")");

impl RangeAsk {
    fn read(&self, gate: &dyn Gate) -> Result<RangeResponse> {
        let reader = gate.reader()?;
        self.freshness.check(reader)?;
        let RangePage { revision, kvs, more, count } = reader.query(&self.query)?;
        let header = Header::at(gate, current(reader, self.query.at, revision));
        Ok(RangeResponse { header, kvs: self.scope.show_all(kvs), more, count })
    }
}

impl Ask for RangeAsk {
    type Answer = ();
    type Response = RangeResponse;

    const WRITES: bool = false;

    fn start(&mut self, counter: &Counter<'_>) -> Result<Started<Self>> {
        self.query.range = self.scope.range(self.query.range.clone())?;
        if self.freshness.is_met(counter.gate)? {
            return self.read(counter.gate).map(Started::Answered);
        }
        counter.read()
    }

    fn finish(&mut self, gate: &dyn Gate, (): ()) -> Result<RangeResponse> {
        self.read(gate)
    }
}

/// The current revision at the time of a read at `at` that saw `seen` (`SEL-7`).
fn current(reader: &Reader, at: Option<Revision>, seen: Revision) -> Revision {
    match at {
        // What is newest was seen: the answer and its header are of one moment.
        None => seen,
        Some(_) => reader.revision(),
    }
}
