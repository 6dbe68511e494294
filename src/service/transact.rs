//! Optimistic transactions: a function that reads and writes, run until nobody got in its way.
//!
//! ```text
//!            body reads at R, on this thread; its writes are kept aside
//!               │
//!               ▼
//!            one transaction: nothing that was read has changed since? then write
//!               │                                          │
//!            it held: done                              it did not: again, at a newer R
//! ```
//!
//! Every attempt sees one state of the store, the newest that this member has. It may be a moment
//! old. That is no harm: what was read is checked when the writes are applied, and a body that
//! writes nothing, or fails, has its reads checked by a linearizable transaction. So nothing comes
//! out of a body, not even its error, that is owed to a stale state; but for
//! [`Isolation::ReadCommitted`], which asks for no checks.
//!
//! After a conflict this member has applied what got in the way, so the next attempt sees it. Of
//! all that get in each other's way one always wins, so somebody always gets on.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use super::options::Freshness;
use super::pending::impl_call;
use super::response::Header;
use super::scope::Scope;
use super::txn::Asked;
use crate::core::machine::txn::{Compare, Delete, Op, Operator, Put, Target, Txn, TxnOutcome};
use crate::core::mvcc::{KeyValue, Query, Reader};
use crate::error::{Error, Kind, Result};
use crate::gate::Gate;
use crate::ids::{LeaseId, Revision};
use crate::keys::KeyRange;

/// How often a body is run, unless the caller says otherwise.
const MAX_ATTEMPTS: u32 = 256;

/// What may have changed while a body ran, and its writes happen all the same.
///
/// Whatever the level, all reads of an attempt come from one state (`REC-29`): there is no level
/// at which they could differ from each other, so etcd's `RepeatableReads` would be
/// `Serializable` here (`REC-31`).
///
/// ```no_run
/// # async fn example(store: quorate::Store) -> quorate::Result<()> {
/// use quorate::Isolation;
///
/// let seen = store.transact(|tx| tx.put("last-seen", "now")).isolation(Isolation::ReadCommitted);
/// seen.await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Isolation {
    /// Nothing that was read or is written has changed since it was read (`REC-29`).
    #[default]
    SerializableSnapshot,
    /// Nothing that was read has changed. What is written without being read may have (`REC-30`).
    Serializable,
    /// Anything may have changed: updates can be lost (`REC-32`).
    ReadCommitted,
}

/// Runs a function that reads and writes as one transaction: made by
/// [`Store::transact`](crate::Store::transact).
///
/// The function is run again from scratch when somebody else changed what it had read, until its
/// writes go through (`REC-27`). It must do nothing but read and write through its
/// [`Transaction`]; what else it does is done again each time. It runs on the thread that waits
/// for it or polls it, and does not block: reads are answered from this member's memory.
///
/// An error that it returns ends it, and nothing is written (`REC-33`). To end without writing and
/// return something all the same, call [`Transaction::rollback`].
///
/// The timeout is that of each attempt.
///
/// # Errors
///
/// The function's own; [`is_conflict`](Error::is_conflict) if all attempts met somebody; and those
/// of [`Txn`](crate::Txn), also where a function that failed is checked: what it had read must be
/// within `max_txn_ops`, and a majority must be there to ask.
///
/// ```no_run
/// # async fn example(store: quorate::Store) -> quorate::Result<()> {
/// let done = store
///     .transact(|tx| {
///         let visits = match tx.get("visits")? {
///             Some(text) => String::from_utf8_lossy(&text).parse().unwrap_or(0),
///             None => 0_u64,
///         };
///         tx.put("visits", (visits + 1).to_string())?;
///         Ok(visits + 1)
///     })
///     .await?;
/// println!("visit {} at revision {}", done.value, done.header.revision);
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct Transact<F, T> {
    call: Attempts<F, T>,
}

/// What a [`Transact`] gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransactResponse<T> {
    /// Who answered; the revision is that of the writes, or if there were none one at which
    /// everything was as it was read.
    pub header: Header,
    /// What the function returned.
    pub value: T,
    /// How often it was run: 1 if nobody got in its way.
    pub attempts: u32,
}

/// What a function of [`Store::transact`](crate::Store::transact) reads and writes with.
///
/// What it reads is one state of the store, with its own writes on top.
pub struct Transaction<'a> {
    reader: &'a Reader,
    scope: &'a Scope,
    /// The state that is read.
    at: Revision,
    /// What was read, and when it had been written: 0 for what was not there.
    reads: BTreeMap<Bytes, Revision>,
    ranges: Vec<KeyRange>,
    writes: BTreeMap<Bytes, Pending>,
    /// A compaction went past `at`: no fault of the body's.
    overtaken: bool,
}

/// A write that is kept aside.
enum Pending {
    Put(Bytes, LeaseId),
    Delete,
}

struct Attempts<F, T> {
    gate: Arc<dyn Gate>,
    scope: Scope,
    timeout: Option<Duration>,
    isolation: Isolation,
    max_attempts: u32,
    body: F,
    attempts: u32,
    /// An attempt that is being checked, and what its body returned.
    open: Option<(Asked, Result<T>)>,
    /// It was answered: it never begins again.
    ended: bool,
}

impl<F: FnMut(&mut Transaction<'_>) -> Result<T>, T> Transact<F, T> {
    pub(crate) fn new(gate: &Arc<dyn Gate>, scope: &Scope, body: F) -> Self {
        Self {
            call: Attempts {
                gate: Arc::clone(gate),
                scope: scope.clone(),
                timeout: None,
                isolation: Isolation::default(),
                max_attempts: MAX_ATTEMPTS,
                body,
                attempts: 0,
                open: None,
                ended: false,
            },
        }
    }

    /// What may have changed meanwhile. By default nothing that was read or is written.
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// use quorate::Isolation;
    ///
    /// let copy = store.transact(|tx| match tx.get("from")? {
    ///     Some(value) => tx.put("to", value),
    ///     None => tx.delete("to"),
    /// });
    /// // Whatever is under "to" may be written over.
    /// copy.isolation(Isolation::Serializable).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.call.isolation = isolation;
        self
    }

    /// How often the function is run at most; 256 unless this is called, and at least once.
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let once = store.transact(|tx| tx.put("color", "green")).max_attempts(1).await;
    /// if once.is_err_and(|error| error.is_conflict()) {
    ///     println!("somebody else was faster");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.call.max_attempts = attempts;
        self
    }
}

impl_call!(
    Transact<F: FnMut(&mut Transaction<'_>) -> Result<T>, T: Sized> -> TransactResponse<T>,
    "store.transact(|tx| tx.put(\"color\", \"green\"))"
);

/// Neither the body nor what it returns is ever pinned.
impl<F, T> Unpin for Transact<F, T> {}

impl<F, T> fmt::Debug for Transact<F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transact")
            .field("isolation", &self.call.isolation)
            .field("attempts", &self.call.attempts)
            .field("max_attempts", &self.call.max_attempts)
            .finish_non_exhaustive()
    }
}

impl<F: FnMut(&mut Transaction<'_>) -> Result<T>, T> Attempts<F, T> {
    fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = Some(timeout);
    }

    fn wait(&mut self) -> Result<TransactResponse<T>> {
        loop {
            let (mut asked, returned) = self.next()?;
            if let Some(response) = self.settle(asked.wait(), returned) {
                return response;
            }
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<TransactResponse<T>>> {
        loop {
            let (mut asked, returned) = self.next()?;
            let Poll::Ready(outcome) = asked.poll(context) else {
                self.open = Some((asked, returned));
                return Poll::Pending;
            };
            if let Some(response) = self.settle(outcome, returned) {
                return Poll::Ready(response);
            }
        }
    }

    /// The attempt that is being checked, or else another one.
    fn next(&mut self) -> Result<(Asked, Result<T>)> {
        if self.ended {
            let text = "the call has ended already: it was polled once too often";
            return Err(Error::invalid(text).with_unknown_outcome());
        }
        let next = self.open.take().map_or_else(|| self.attempt(), Ok);
        self.ended = next.is_err();
        next
    }

    /// Runs the body, and says what is to be asked of the store.
    fn attempt(&mut self) -> Result<(Asked, Result<T>)> {
        loop {
            if self.attempts >= self.max_attempts.max(1) {
                let attempts = self.attempts;
                let text = format!("a transaction met others in each of {attempts} attempts");
                return Err(Error::new(Kind::Conflict, text));
            }
            self.attempts = self.attempts.saturating_add(1);
            let reader = self.gate.reader()?;
            let mut tx = Transaction::new(reader, &self.scope);
            let returned = (self.body)(&mut tx);
            if returned.is_err() {
                tx.rollback();
            }
            let Some(txn) = tx.commit(self.isolation) else { continue };
            let fresh = Freshness::default();
            let asked = Asked::new(&self.gate, &self.scope, Ok(txn), fresh, self.timeout);
            return Ok((asked, returned));
        }
    }

    /// The end of it, unless somebody got in the way.
    fn settle(
        &mut self,
        outcome: Result<TxnOutcome>,
        returned: Result<T>,
    ) -> Option<Result<TransactResponse<T>>> {
        let response = match outcome {
            Ok(outcome) if outcome.succeeded => returned.map(|value| TransactResponse {
                header: Header::at(&*self.gate, outcome.revision),
                value,
                attempts: self.attempts,
            }),
            Ok(_) => return None,
            Err(error) => Err(error),
        };
        self.ended = true;
        Some(response)
    }
}

impl<'a> Transaction<'a> {
    fn new(reader: &'a Reader, scope: &'a Scope) -> Self {
        Self {
            at: reader.revision(),
            reader,
            scope,
            reads: BTreeMap::new(),
            ranges: Vec::new(),
            writes: BTreeMap::new(),
            overtaken: false,
        }
    }

    /// The revision of the state that is read.
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let read = store.transact(|tx| Ok((tx.revision(), tx.get("color")?))).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn revision(&self) -> Revision {
        self.at
    }

    /// The value of a key: the one written here, or else the one that was there (`REC-28`).
    ///
    /// # Errors
    ///
    /// [`is_invalid`](Error::is_invalid) for an empty key.
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let color = store.transact(|tx| tx.get("color")).await?.value;
    /// # Ok(())
    /// # }
    /// ```
    pub fn get(&mut self, key: impl Into<Bytes>) -> Result<Option<Bytes>> {
        let key = self.scope.key(key.into())?;
        match self.writes.get(&key) {
            Some(Pending::Put(value, _)) => Ok(Some(value.clone())),
            Some(Pending::Delete) => Ok(None),
            None => Ok(self.read(key)?.map(|kv| kv.value_bytes())),
        }
    }

    /// The revision at which a key was last written, before this transaction; 0 if it is not there
    /// (`REC-28`).
    ///
    /// # Errors
    ///
    /// [`is_invalid`](Error::is_invalid) for an empty key.
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let written = store.transact(|tx| tx.mod_revision("color")).await?.value;
    /// # Ok(())
    /// # }
    /// ```
    pub fn mod_revision(&mut self, key: impl Into<Bytes>) -> Result<Revision> {
        let key = self.scope.key(key.into())?;
        Ok(self.read(key)?.map(|kv| kv.mod_revision()).unwrap_or_default())
    }

    /// The keys of a range and their values, in order, with what was written here.
    ///
    /// Each of them counts as read, and so does that there are no others: all are compared when
    /// the transaction commits, and together with the writes they must be within `max_txn_ops`.
    ///
    /// # Errors
    ///
    /// [`is_invalid`](Error::is_invalid) for an empty key.
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// use quorate::KeyRange;
    ///
    /// let jobs = store.transact(|tx| tx.range(KeyRange::prefix("jobs/"))).await?.value;
    /// # Ok(())
    /// # }
    /// ```
    pub fn range(&mut self, range: impl Into<KeyRange>) -> Result<Vec<(Bytes, Bytes)>> {
        let range = self.scope.range(range.into())?;
        let query = Query { at: Some(self.at), ..Query::new(range.clone()) };
        let page = self.reader.query(&query);
        let page = page.inspect_err(|error| self.overtaken |= error.is_compacted())?;
        let mut found = BTreeMap::new();
        for kv in page.kvs {
            let key = Bytes::copy_from_slice(kv.key());
            self.reads.insert(key.clone(), kv.mod_revision());
            found.insert(key, kv.value_bytes());
        }
        for (key, pending) in self.writes.iter().filter(|(key, _)| range.contains(key)) {
            match pending {
                Pending::Put(value, _) => drop(found.insert(key.clone(), value.clone())),
                Pending::Delete => drop(found.remove(key)),
            }
        }
        self.ranges.push(range);
        Ok(found.into_iter().map(|(key, value)| (self.scope.strip(&key), value)).collect())
    }

    /// Writes a key, if the transaction goes through.
    ///
    /// # Errors
    ///
    /// [`is_invalid`](Error::is_invalid) for an empty key.
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// store.transact(|tx| tx.put("color", "green")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<()> {
        self.put_leased(key, value, LeaseId::new(0))
    }

    /// Writes a key that ends with a lease, if the transaction goes through; lease 0 is none.
    ///
    /// # Errors
    ///
    /// [`is_invalid`](Error::is_invalid) for an empty key. A lease that does not exist is
    /// [`is_lease_not_found`](Error::is_lease_not_found) when the transaction commits.
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store, lease: quorate::LeaseId) -> quorate::Result<()> {
    /// store.transact(|tx| tx.put_leased("members/me", "here", lease)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn put_leased(
        &mut self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
        lease: LeaseId,
    ) -> Result<()> {
        let key = self.scope.key(key.into())?;
        self.writes.insert(key, Pending::Put(value.into(), lease));
        Ok(())
    }

    /// Deletes a key, if the transaction goes through.
    ///
    /// # Errors
    ///
    /// [`is_invalid`](Error::is_invalid) for an empty key.
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// store.transact(|tx| tx.delete("color")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn delete(&mut self, key: impl Into<Bytes>) -> Result<()> {
        let key = self.scope.key(key.into())?;
        self.writes.insert(key, Pending::Delete);
        Ok(())
    }

    /// Forgets everything that was written here. What was read stays read.
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let taken = store
    ///     .transact(|tx| {
    ///         tx.put("lock", "me")?;
    ///         if tx.get("closed")?.is_some() {
    ///             tx.rollback();
    ///             return Ok(false);
    ///         }
    ///         Ok(true)
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn rollback(&mut self) {
        self.writes.clear();
    }

    fn read(&mut self, key: Bytes) -> Result<Option<KeyValue>> {
        let read = self.reader.get(&key, Some(self.at));
        let (_, kv) = read.inspect_err(|error| self.overtaken |= error.is_compacted())?;
        let written = kv.as_ref().map(KeyValue::mod_revision).unwrap_or_default();
        self.reads.insert(key, written);
        Ok(kv)
    }

    /// The transaction that writes if nothing is in its way. `None` if a compaction was.
    fn commit(mut self, isolation: Isolation) -> Option<Txn> {
        if isolation == Isolation::SerializableSnapshot {
            // What is written counts as read: a key that was deleted since is missing, and so it
            // would be if it had never been there.
            let blind = self.writes.keys().filter(|key| !self.reads.contains_key(*key));
            for key in blind.cloned().collect::<Vec<_>>() {
                self.read(key).ok();
            }
        }
        if self.overtaken {
            return None;
        }
        let mut compares = Vec::new();
        let mut unchanged = |range: KeyRange, operator, revision| {
            compares.push(Compare { range, operator, target: Target::ModRevision(revision) });
        };
        if isolation != Isolation::ReadCommitted {
            // Of a range: none was written since, and none that was there has gone (`REC-34`).
            for range in self.ranges {
                unchanged(range, Operator::Less, self.at.next());
            }
            for (key, written) in self.reads {
                unchanged(KeyRange::key(key), Operator::Equal, written);
            }
        }
        let success = self.writes.into_iter().map(|(key, pending)| match pending {
            Pending::Put(value, lease) => Op::Put(Put { lease, ..Put::new(key, value) }),
            Pending::Delete => Op::Delete(Delete { range: KeyRange::key(key), prev: false }),
        });
        Some(Txn { compares, success: success.collect(), failure: Vec::new() })
    }
}

impl fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("at", &self.at)
            .field("reads", &self.reads.len())
            .field("writes", &self.writes.len())
            .finish_non_exhaustive()
    }
}
