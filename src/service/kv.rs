//! What changes keys and values: put, delete, compact.

#[cfg(test)]
mod tests;

use bytes::{Bytes, BytesMut};
use std::mem;
use std::sync::Arc;

use super::options::{impl_delete_options, impl_put_options};
use super::pending::{Ask, Call, Counter, Started, impl_call};
use super::response::{CompactResponse, DeleteResponse, Header, PutResponse};
use super::scope::Scope;
use crate::core::machine::{Command, Outcome, txn};
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
/// [`is_invalid`](Error::is_invalid) for an empty key or options that contradict each other;
/// [`is_lease_not_found`](Error::is_lease_not_found) and
/// [`is_key_not_found`](Error::is_key_not_found) where an option says so;
/// [`is_too_large`](Error::is_too_large) if key and value exceed `max_request_bytes`, [`is_overloaded`](Error::is_overloaded),
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
    scope: Scope,
    put: txn::Put,
}

impl Put {
    pub(crate) fn new(gate: &Arc<dyn Gate>, scope: &Scope, key: Bytes, value: Bytes) -> Self {
        let ask = PutAsk { scope: scope.clone(), put: txn::Put::new(key, value) };
        Self { call: Call::new(gate, ask) }
    }
}

impl_put_options!(Put, put => put.call.ask_mut().put, "store.put(\"color\", ", ")", ".await?");
impl_call!(Put -> PutResponse, "store.put(\"color\", \"green\")");

impl Ask for PutAsk {
    type Answer = Outcome;
    type Response = PutResponse;

    const WRITES: bool = true;

    fn start(&mut self, counter: &Counter<'_>) -> Result<Started<Self>> {
        self.put.key = self.scope.key(mem::take(&mut self.put.key))?;
        self.put.check()?;
        counter.write(encode(counter.gate, &Command::Put(self.put.clone()))?)
    }

    fn finish(&mut self, gate: &dyn Gate, outcome: Outcome) -> Result<PutResponse> {
        match outcome {
            Outcome::Put { revision, prev } => {
                let prev_kv = prev.map(|kv| self.scope.show(kv));
                Ok(PutResponse { header: Header::at(gate, revision), prev_kv })
            }
            other => Err(failed("put", other)),
        }
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
/// Those of [`Put`] that have nothing to do with what it keeps.
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
    scope: Scope,
    delete: txn::Delete,
}

impl Delete {
    pub(crate) fn new(gate: &Arc<dyn Gate>, scope: &Scope, range: KeyRange) -> Self {
        let delete = txn::Delete { range, prev: false };
        Self { call: Call::new(gate, DeleteAsk { scope: scope.clone(), delete }) }
    }
}

impl_delete_options!(
    Delete, delete => delete.call.ask_mut().delete, "store.delete(\"jobs/\"..\"jobs0\")", ".await?"
);
impl_call!(Delete -> DeleteResponse, "store.delete(\"jobs/\"..\"jobs0\")");

impl Ask for DeleteAsk {
    type Answer = Outcome;
    type Response = DeleteResponse;

    const WRITES: bool = true;

    fn start(&mut self, counter: &Counter<'_>) -> Result<Started<Self>> {
        self.delete.range = self.scope.range(self.delete.range.clone())?;
        counter.write(encode(counter.gate, &Command::Delete(self.delete.clone()))?)
    }

    fn finish(&mut self, gate: &dyn Gate, outcome: Outcome) -> Result<DeleteResponse> {
        match outcome {
            Outcome::Deleted { revision, count, prev } => Ok(DeleteResponse {
                header: Header::at(gate, revision),
                deleted: count,
                prev_kvs: self.scope.show_all(prev),
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
/// (`CMP-1`), [`is_invalid`](Error::is_invalid) on a handle that is
/// [scoped](crate::Store::scoped), and those of [`Put`] that have nothing to do with keys.
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
    scope: Scope,
    revision: Revision,
}

impl Compact {
    pub(crate) fn new(gate: &Arc<dyn Gate>, scope: &Scope, revision: Revision) -> Self {
        Self { call: Call::new(gate, CompactAsk { scope: scope.clone(), revision }) }
    }
}

impl_call!(Compact -> CompactResponse, "store.compact(quorate::Revision::new(100))");

impl Ask for CompactAsk {
    type Answer = Outcome;
    type Response = CompactResponse;

    const WRITES: bool = true;

    fn start(&mut self, counter: &Counter<'_>) -> Result<Started<Self>> {
        self.scope.check_whole("a compaction")?;
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

/// The bytes to replicate, if they are not too many (`SEL-10`).
pub(super) fn encode(gate: &dyn Gate, command: &Command) -> Result<BytesMut> {
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
pub(super) fn failed(what: &str, outcome: Outcome) -> Error {
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
