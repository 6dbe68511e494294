//! Deciding, validating and running a transaction.

use super::{Compare, Delete, Op, OpOutcome, Operator, Put, Target, Txn, TxnOutcome};
use crate::core::machine::lease::Leases;
use crate::core::machine::{Outcome, Refusal};
use crate::core::mvcc::{Blind, KeyValue, Mvcc, Query, Reader, Record, View, Write};
use crate::error::{Error, Kind, Result};
use crate::planted::{Bug, planted};

/// Which branches are taken, in the order in which they are come to.
struct Path(Vec<bool>);

/// Why a transaction does not run.
enum Fault {
    Refused(Refusal),
    Blind(Blind),
}

impl From<Blind> for Fault {
    fn from(blind: Blind) -> Self {
        Self::Blind(blind)
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Compare {
    /// Does it hold in this state?
    fn holds(&self, view: &View<'_>) -> Result<bool, Blind> {
        let all = view.all(&self.range, |record| self.holds_for(Some(record)))?;
        if all.is_none() && self.range.single().is_none() && planted(Bug::EmptyCompare) {
            return Ok(false);
        }
        // Where no key is, one that is missing is judged (`TXN-3`, `TXN-4`).
        Ok(all.unwrap_or_else(|| self.holds_for(None)))
    }

    fn holds_for(&self, record: Option<&Record>) -> bool {
        let ordering = match &self.target {
            Target::Version(version) => record.map_or(0, Record::version).cmp(version),
            Target::CreateRevision(revision) => {
                record.map(Record::create_revision).unwrap_or_default().cmp(revision)
            }
            Target::ModRevision(revision) => {
                record.map(Record::main).unwrap_or_default().cmp(revision)
            }
            Target::Lease(lease) => record.map(Record::lease).unwrap_or_default().cmp(lease),
            // No value is like nothing, and unlike nothing too (`TXN-3`).
            Target::Value(value) => match record {
                Some(record) => record.value().cmp(value),
                None => return false,
            },
        };
        match self.operator {
            Operator::Equal => ordering.is_eq(),
            Operator::NotEqual => ordering.is_ne(),
            Operator::Greater => ordering.is_gt(),
            Operator::Less => ordering.is_lt(),
        }
    }
}

impl Put {
    /// Looks at what could fail, in the state before (`KV-31`, `KV-34`, `KV-35`).
    fn validate(&self, view: &View<'_>, leases: &Leases) -> Result<(), Refusal> {
        leases.check(self.lease)?;
        if !(self.ignore_value || self.ignore_lease) {
            return Ok(());
        }
        // A deleted key is missing too (`KV-38`).
        let Some(kept) = view.get(&self.key) else { return Err(Refusal::KeyNotFound) };
        // A lease that is still to be removed has no key put with it, not one that it has either.
        if self.ignore_lease { leases.check(kept.lease()) } else { Ok(()) }
    }

    /// Gives back what was there before, if it is wanted.
    fn run(&self, write: &mut Write<'_>, leases: &mut Leases) -> Option<KeyValue> {
        let keeps = self.ignore_value || self.ignore_lease;
        let kept = if keeps { write.view().get(&self.key) } else { None };
        let kept = kept.as_ref();
        let value = kept.filter(|_| self.ignore_value).map_or(self.value.as_ref(), KeyValue::value);
        let lease = kept.filter(|_| self.ignore_lease).map_or(self.lease, KeyValue::lease);
        let before = write.put(&self.key, value, lease);
        leases.put(&self.key, lease, before.as_ref());
        before.filter(|_| self.prev)
    }

    pub(in super::super) fn apply(&self, mvcc: &mut Mvcc, leases: &mut Leases) -> Outcome {
        if let Err(refusal) = self.validate(&mvcc.view(), leases) {
            return Outcome::Refused(refusal);
        }
        let mut write = mvcc.begin();
        let prev = self.run(&mut write, leases);
        Outcome::Put { revision: write.finish(), prev }
    }
}

impl Delete {
    /// Gives back how many there were, and if they are wanted, which.
    fn run(&self, write: &mut Write<'_>, leases: &mut Leases) -> (u64, Vec<KeyValue>) {
        let before = write.delete(&self.range);
        before.iter().for_each(|before| leases.delete(Some(before)));
        let count = u64::try_from(before.len()).unwrap_or(u64::MAX);
        (count, if self.prev { before } else { Vec::new() })
    }

    pub(in super::super) fn apply(&self, mvcc: &mut Mvcc, leases: &mut Leases) -> Outcome {
        let mut write = mvcc.begin();
        let (count, prev) = self.run(&mut write, leases);
        Outcome::Deleted { revision: write.finish(), count, prev }
    }
}

impl Txn {
    /// Steps 1 and 2 of the chapter, in the state before.
    fn plan(&self, view: &View<'_>, leases: &Leases) -> Result<Path, Fault> {
        let mut path = Path(Vec::new());
        self.decide(view, leases, &mut path)?;
        Ok(path)
    }

    /// Do all compares hold? (`TXN-1`)
    fn succeeds(&self, view: &View<'_>) -> Result<bool, Blind> {
        for compare in &self.compares {
            if !compare.holds(view)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn decide(&self, view: &View<'_>, leases: &Leases, path: &mut Path) -> Result<(), Fault> {
        let succeeded = self.succeeds(view)?;
        path.0.push(succeeded);
        for op in self.branch(succeeded) {
            match op {
                Op::Range(query) => validate_read(query, view)?,
                Op::Put(put) => put.validate(view, leases)?,
                Op::Delete(_) => {}
                Op::Txn(txn) => txn.decide(view, leases, path)?,
            }
        }
        Ok(())
    }

    /// Applies it. Without `answers` nothing is read that nobody waits for (`TXN-18`).
    ///
    /// # Errors
    ///
    /// This member cannot go on (`TXN-15`).
    pub(in super::super) fn apply(
        &self,
        mvcc: &mut Mvcc,
        leases: &mut Leases,
        answers: bool,
    ) -> Result<Outcome> {
        let path = match self.plan(&mvcc.view(), leases) {
            Ok(path) => path,
            Err(Fault::Refused(refusal)) => {
                if planted(Bug::LeaveHalf)
                    && let Some(Op::Put(put)) = self.success.first()
                {
                    drop(put.apply(mvcc, leases));
                }
                return Ok(Outcome::Refused(refusal));
            }
            Err(Fault::Blind(blind)) => return Err(blind.into()),
        };
        let mut write = mvcc.begin();
        let mut path = path.0.into_iter();
        let outcome = self.run((&mut write, leases), &mut path, answers)?;
        Ok(Outcome::Txn(outcome))
    }

    fn run(
        &self,
        (write, leases): (&mut Write<'_>, &mut Leases),
        path: &mut impl Iterator<Item = bool>,
        answers: bool,
    ) -> Result<TxnOutcome> {
        let succeeded = if planted(Bug::CompareLate) {
            self.succeeds(&write.view())?
        } else {
            path.next().ok_or_else(|| Error::corrupt("a branch was not decided"))?
        };
        let mut responses = Vec::new();
        for op in self.branch(succeeded) {
            let response = match op {
                Op::Range(_) if !answers => continue,
                Op::Range(query) => read(query, &write.view())?,
                Op::Put(put) => {
                    let prev = put.run(write, leases);
                    OpOutcome::Put { revision: write.revision(), prev }
                }
                Op::Delete(delete) => {
                    let (count, prev) = delete.run(write, leases);
                    OpOutcome::Deleted { revision: write.revision(), count, prev }
                }
                Op::Txn(txn) => OpOutcome::Txn(txn.run((write, leases), path, answers)?),
            };
            if answers {
                responses.push(response);
            }
        }
        Ok(TxnOutcome { revision: write.revision(), succeeded, responses })
    }

    /// Answers a transaction that only reads, from a state that is recent enough (`TXN-16`).
    pub(crate) fn read(&self, reader: &Reader) -> Result<TxnOutcome> {
        reader.view(|view| {
            // It puts nothing, so it names no lease.
            let path = match self.plan(view, &Leases::default()) {
                Ok(path) => path,
                Err(Fault::Blind(blind)) => return Err(blind),
                Err(Fault::Refused(refusal)) => return Err(Blind::Unreadable(refusal.into())),
            };
            let succeeded = path.0.first().is_none_or(|succeeded| *succeeded);
            let reads = self.branch(succeeded).iter().map(|op| match op {
                Op::Range(query) => read(query, view),
                _ => Err(Blind::Unreadable(Error::corrupt("a transaction that reads has a write"))),
            });
            let responses = reads.collect::<Result<_, _>>()?;
            Ok(TxnOutcome { revision: view.revision(), succeeded, responses })
        })
    }
}

/// Is the revision there to be read? (`KV-2`, `TXN-12`)
fn validate_read(query: &Query, view: &View<'_>) -> Result<(), Fault> {
    view.readable(query.at).map_err(|error| refusal_of(query, error))?;
    Ok(())
}

fn refusal_of(query: &Query, error: Error) -> Fault {
    let asked = query.at.unwrap_or_default();
    match error.kind() {
        Kind::Compacted(compacted) => Refusal::Compacted { asked, compacted }.into(),
        Kind::FutureRevision(current) => Refusal::FutureRevision { asked, current }.into(),
        _ => Fault::Blind(Blind::Unreadable(error)),
    }
}

fn read(query: &Query, view: &View<'_>) -> Result<OpOutcome, Blind> {
    Ok(OpOutcome::Range { revision: view.revision(), page: view.query(query)? })
}
