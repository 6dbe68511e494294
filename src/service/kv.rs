//! Keys and values: put, get, range, delete, compact.

#[cfg(test)]
mod tests;

use bytes::{Bytes, BytesMut};
use std::mem;
use std::sync::Arc;

use super::pending::{Ask, Call, Counter, Started, impl_call};
use super::response::{
    CompactResponse, DeleteResponse, GetResponse, Header, PutResponse, RangeResponse,
};
use crate::core::machine::{Command, Outcome, txn};
use crate::core::mvcc::{Query, RangePage, Reader};
use crate::error::{Error, Kind, Result};
use crate::gate::Gate;
use crate::ids::Revision;
use crate::keys::KeyRange;

/// Writes a value under a key: made by [`Store::put`](crate::Store::put).
///
/// Every put makes a new revision, even if the value is the one that was there (`KV-30`). When it
/// has answered, a majority of the members has the put on disk.
///
/// Dropping it before it is polled does nothing. Dropping it later cancels the waiting only: the
/// put may still happen, once.
///
/// # Errors
///
/// [`is_invalid`](Error::is_invalid) for an empty key, [`is_too_large`](Error::is_too_large) if
/// key and value exceed `max_request_bytes`, [`is_overloaded`](Error::is_overloaded),
/// [`is_timeout`](Error::is_timeout), [`is_unavailable`](Error::is_unavailable),
/// [`is_closed`](Error::is_closed) and [`is_halted`](Error::is_halted).
/// [`Error::outcome`] says of each whether the put may have happened.
///
/// ```no_run
/// # async fn example(store: quorate::Store) -> quorate::Result<()> {
/// let response = store.put("color", "green").prev_value().await?;
/// println!("written at revision {}", response.header.revision);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct Put {
    call: Call<PutAsk>,
}

#[derive(Debug)]
struct PutAsk {
    key: Bytes,
    value: Bytes,
    prev: bool,
}

impl Put {
    pub(crate) fn new(gate: &Arc<dyn Gate>, key: Bytes, value: Bytes) -> Self {
        Self { call: Call::new(gate, PutAsk { key, value, prev: false }) }
    }

    /// Gives back what the key held just before (`KV-33`).
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let before = store.put("color", "green").prev_value().wait()?.prev_kv;
    /// # Ok(())
    /// # }
    /// ```
    pub fn prev_value(mut self) -> Self {
        self.call.ask_mut().prev = true;
        self
    }
}

impl_call!(Put -> PutResponse, "store.put(\"color\", \"green\")");

impl Ask for PutAsk {
    type Answer = Outcome;
    type Response = PutResponse;

    const WRITES: bool = true;

    fn start(&mut self, counter: &Counter<'_>) -> Result<Started<Self>> {
        check_key(&self.key)?;
        let (key, value) = (mem::take(&mut self.key), mem::take(&mut self.value));
        let put = txn::Put { prev: self.prev, ..txn::Put::new(key, value) };
        counter.write(encode(counter.gate, &Command::Put(put))?)
    }

    fn finish(&mut self, gate: &dyn Gate, outcome: Outcome) -> Result<PutResponse> {
        match outcome {
            Outcome::Put { revision, prev } => {
                Ok(PutResponse { header: Header::at(gate, revision), prev_kv: prev })
            }
            other => Err(failed("put", other)),
        }
    }
}

/// Reads one key: made by [`Store::get`](crate::Store::get).
///
/// By default the read is linearizable: it shows every write that was acknowledged, by any
/// member, before it began (`LIN-1`).
///
/// # Errors
///
/// [`is_invalid`](Error::is_invalid) for an empty key; with [`at`](Self::at)
/// [`is_compacted`](Error::is_compacted) and [`is_future_revision`](Error::is_future_revision);
/// if it is linearizable also [`is_overloaded`](Error::is_overloaded) and
/// [`is_timeout`](Error::is_timeout); [`is_closed`](Error::is_closed) and
/// [`is_halted`](Error::is_halted).
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
    key: Bytes,
    view: View,
}

impl Get {
    pub(crate) fn new(gate: &Arc<dyn Gate>, key: Bytes) -> Self {
        Self { call: Call::new(gate, GetAsk { key, view: View::default() }) }
    }

    /// Reads the state as it was at `revision`. Revision 0 stands for the newest (`KV-2`).
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let first = store.put("color", "green").wait()?.header.revision;
    /// store.put("color", "blue").wait()?;
    /// let green = store.get("color").at(first).wait()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn at(mut self, revision: Revision) -> Self {
        self.call.ask_mut().view.set_at(revision);
        self
    }

    /// Reads what this member has, at once and without asking the leader (`KV-16`). It may be old,
    /// but it was true once, and it is there without a leader.
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let maybe_old = store.get("color").serializable().wait()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn serializable(mut self) -> Self {
        self.call.ask_mut().view.serializable = true;
        self
    }
}

impl_call!(Get -> GetResponse, "store.get(\"color\")");

impl GetAsk {
    fn read(&self, gate: &dyn Gate) -> Result<GetResponse> {
        let reader = gate.reader()?;
        let (revision, kv) = reader.get(&self.key, self.view.at)?;
        let revision = self.view.header_revision(reader, revision);
        Ok(GetResponse { header: Header::at(gate, revision), kv })
    }
}

impl Ask for GetAsk {
    type Answer = ();
    type Response = GetResponse;

    const WRITES: bool = false;

    fn start(&mut self, counter: &Counter<'_>) -> Result<Started<Self>> {
        check_key(&self.key)?;
        if self.view.is_ready(counter.gate) {
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
/// However many keys it has, the result is one snapshot (`KV-18`), in ascending order. It is held
/// in memory whole: bound it with [`limit`](Self::limit) where the range may be large.
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
    /// Its revision is that of the view.
    query: Query,
    view: View,
}

impl RangeRead {
    pub(crate) fn new(gate: &Arc<dyn Gate>, range: KeyRange) -> Self {
        let ask = RangeAsk { query: Query::new(range), view: View::default() };
        Self { call: Call::new(gate, ask) }
    }

    /// Gives back at most so many keys, the first ones; 0 stands for no limit (`KV-4`).
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let page = store.range("jobs/".."jobs0").limit(100).wait()?;
    /// let is_last = !page.more;
    /// # Ok(())
    /// # }
    /// ```
    pub fn limit(mut self, keys: usize) -> Self {
        self.call.ask_mut().query.limit = keys;
        self
    }

    /// Reads the state as it was at `revision`. Revision 0 stands for the newest (`KV-2`).
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let first = store.range(..).limit(100).wait()?;
    /// // The next page, of the same snapshot.
    /// let Some(last) = first.kvs.last() else { return Ok(()) };
    /// let after = [last.key(), b"\0"].concat();
    /// let next = store.range(after..).limit(100).at(first.header.revision).wait()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn at(mut self, revision: Revision) -> Self {
        self.call.ask_mut().view.set_at(revision);
        self
    }

    /// Reads what this member has, at once and without asking the leader (`KV-16`). It may be old,
    /// but it was true once, and it is there without a leader.
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let maybe_old = store.range(..).serializable().wait()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn serializable(mut self) -> Self {
        self.call.ask_mut().view.serializable = true;
        self
    }

    /// Counts the keys and gives back none of them; the limit does not matter (`KV-6`).
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let keys = store.range(..).count_only().wait()?.count;
    /// # Ok(())
    /// # }
    /// ```
    pub fn count_only(mut self) -> Self {
        self.call.ask_mut().query.count_only = true;
        self
    }
}

impl_call!(RangeRead -> RangeResponse, "store.range(\"jobs/\"..\"jobs0\")");

impl RangeAsk {
    fn read(&mut self, gate: &dyn Gate) -> Result<RangeResponse> {
        let reader = gate.reader()?;
        self.query.at = self.view.at;
        let RangePage { revision, kvs, more, count } = reader.query(&self.query)?;
        let revision = self.view.header_revision(reader, revision);
        Ok(RangeResponse { header: Header::at(gate, revision), kvs, more, count })
    }
}

impl Ask for RangeAsk {
    type Answer = ();
    type Response = RangeResponse;

    const WRITES: bool = false;

    fn start(&mut self, counter: &Counter<'_>) -> Result<Started<Self>> {
        self.query.check()?;
        if self.view.is_ready(counter.gate) {
            return self.read(counter.gate).map(Started::Answered);
        }
        counter.read()
    }

    fn finish(&mut self, gate: &dyn Gate, (): ()) -> Result<RangeResponse> {
        self.read(gate)
    }
}

/// Deletes the keys of a range: made by [`Store::delete`](crate::Store::delete).
///
/// All of them go at one revision (`KV-51`). Deleting nothing is no error and makes no revision
/// (`KV-52`).
///
/// Dropping it before it is polled does nothing. Dropping it later cancels the waiting only: the
/// deletion may still happen, once.
///
/// # Errors
///
/// Those of [`Put`].
///
/// ```no_run
/// # async fn example(store: quorate::Store) -> quorate::Result<()> {
/// use quorate::KeyRange;
///
/// let response = store.delete(KeyRange::prefix("jobs/done/")).await?;
/// println!("{} jobs cleared", response.deleted);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct Delete {
    call: Call<DeleteAsk>,
}

#[derive(Debug)]
struct DeleteAsk {
    range: KeyRange,
    prev: bool,
}

impl Delete {
    pub(crate) fn new(gate: &Arc<dyn Gate>, range: KeyRange) -> Self {
        Self { call: Call::new(gate, DeleteAsk { range, prev: false }) }
    }

    /// Gives back what the keys held (`KV-50`).
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let gone = store.delete("jobs/".."jobs0").prev_values().wait()?.prev_kvs;
    /// # Ok(())
    /// # }
    /// ```
    pub fn prev_values(mut self) -> Self {
        self.call.ask_mut().prev = true;
        self
    }
}

impl_call!(Delete -> DeleteResponse, "store.delete(\"jobs/\"..\"jobs0\")");

impl Ask for DeleteAsk {
    type Answer = Outcome;
    type Response = DeleteResponse;

    const WRITES: bool = true;

    fn start(&mut self, counter: &Counter<'_>) -> Result<Started<Self>> {
        self.range.check()?;
        let delete = txn::Delete { range: self.range.clone(), prev: self.prev };
        counter.write(encode(counter.gate, &Command::Delete(delete))?)
    }

    fn finish(&mut self, gate: &dyn Gate, outcome: Outcome) -> Result<DeleteResponse> {
        match outcome {
            Outcome::Deleted { revision, count, prev } => Ok(DeleteResponse {
                header: Header::at(gate, revision),
                deleted: count,
                prev_kvs: prev,
            }),
            other => Err(failed("delete", other)),
        }
    }
}

/// Forgets history: made by [`Store::compact`](crate::Store::compact).
///
/// What was overwritten or deleted before the revision can no longer be read; what is there at
/// the revision and after it stays (`CMP-4`).
///
/// # Errors
///
/// [`is_compacted`](Error::is_compacted) if it was compacted up to there already,
/// [`is_future_revision`](Error::is_future_revision) if the revision has not happened yet
/// (`CMP-1`), and those of [`Put`] that have nothing to do with keys.
///
/// ```no_run
/// # async fn example(store: quorate::Store) -> quorate::Result<()> {
/// let now = store.get("color").await?.header.revision;
/// store.compact(now).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct Compact {
    call: Call<CompactAsk>,
}

#[derive(Debug)]
struct CompactAsk {
    revision: Revision,
}

impl Compact {
    pub(crate) fn new(gate: &Arc<dyn Gate>, revision: Revision) -> Self {
        Self { call: Call::new(gate, CompactAsk { revision }) }
    }
}

impl_call!(Compact -> CompactResponse, "store.compact(quorate::Revision::new(100))");

impl Ask for CompactAsk {
    type Answer = Outcome;
    type Response = CompactResponse;

    const WRITES: bool = true;

    fn start(&mut self, counter: &Counter<'_>) -> Result<Started<Self>> {
        counter.write(encode(counter.gate, &Command::Compact { revision: self.revision })?)
    }

    fn finish(&mut self, gate: &dyn Gate, outcome: Outcome) -> Result<CompactResponse> {
        match outcome {
            Outcome::Compacted { revision } => {
                Ok(CompactResponse { header: Header::at(gate, revision) })
            }
            other => Err(failed("compaction", other)),
        }
    }
}

/// Which state a read is to see.
#[derive(Clone, Copy, Debug, Default)]
struct View {
    /// `None`: the newest.
    at: Option<Revision>,
    serializable: bool,
}

impl View {
    fn set_at(&mut self, revision: Revision) {
        self.at = (revision.get() > 0).then_some(revision);
    }

    /// May it be read here and now, without asking anybody?
    fn is_ready(&self, gate: &dyn Gate) -> bool {
        self.serializable || gate.leads_alone()
    }

    /// The current revision at the time of a read that saw `seen` (`SEL-7`).
    fn header_revision(&self, reader: &Reader, seen: Revision) -> Revision {
        match self.at {
            // What is newest was seen: the answer and its header are of one moment.
            None => seen,
            Some(_) => reader.revision(),
        }
    }
}

fn check_key(key: &[u8]) -> Result<()> {
    if key.is_empty() {
        return Err(Error::invalid("the key is empty: a key has at least one byte"));
    }
    Ok(())
}

/// The bytes to replicate, if they are not too many (`SEL-10`).
fn encode(gate: &dyn Gate, command: &Command) -> Result<BytesMut> {
    let payload = command.encode();
    let max = gate.limits().max_request_bytes;
    if payload.len() > max {
        let message = format!(
            "the request has {} bytes when encoded: max_request_bytes is {max}",
            payload.len()
        );
        return Err(Error::new(Kind::TooLarge, message));
    }
    Ok(payload)
}

/// The error of a write that ended in anything but its own kind of success.
fn failed(what: &str, outcome: Outcome) -> Error {
    match outcome {
        Outcome::Refused(refusal) => refusal.into(),
        // The member was reopened, or gave the write up, while a copy of it was on its way: that
        // copy did nothing, but an earlier one may have.
        Outcome::Superseded => {
            let message = format!("the {what} was given up before its answer came");
            Error::new(Kind::Unavailable, message).with_unknown_outcome()
        }
        other => Error::corrupt(format!("a {what} was answered as if it were {other:?}"))
            .with_unknown_outcome(),
    }
}
