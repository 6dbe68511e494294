//! What a call is made of: one operation, or those of a transaction.

use bytes::Bytes;

use super::{Answer, Kv, Op};
use crate::core::machine::txn::{self, Delete, Put, Txn};
use crate::core::mvcc::Query;
use crate::ids::Revision;
use crate::keys::KeyRange;

/// An operation, alone or in a transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step<'a> {
    Put(&'a Put),
    Delete(&'a Delete),
    Get(&'a Bytes, Option<Revision>),
    Range(&'a Query),
}

/// A record that an answer shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown<'a> {
    pub(crate) kv: &'a Kv,
    /// `None` if it was asked to be left out (`KV-7`).
    pub(crate) value: Option<&'a Bytes>,
}

impl Step<'_> {
    /// The revision that it asks for; `None` for the newest, and of a write.
    pub(crate) fn at(&self) -> Option<Revision> {
        match self {
            Self::Get(_, at) => *at,
            Self::Range(query) => query.at,
            Self::Put(_) | Self::Delete(_) => None,
        }
        .filter(|at| at.get() > 0)
    }
}

impl Op {
    /// Is there an operation that `is` says yes to, among all that could run? In whichever branch.
    pub(crate) fn any<'a>(&'a self, is: &mut dyn FnMut(Step<'a>) -> bool) -> bool {
        match self {
            Self::Put(put) => is(Step::Put(put)),
            Self::Delete(delete) => is(Step::Delete(delete)),
            Self::Get { key, at, .. } => is(Step::Get(key, *at)),
            Self::Range { query, .. } => is(Step::Range(query)),
            Self::Txn { txn, .. } => any(&txn.success, is) || any(&txn.failure, is),
            Self::Compact { .. } => false,
        }
    }

    /// The operations that ran, in order, each with what was told of it: none if the call failed.
    /// `None` if this is no answer to such a call.
    pub(crate) fn ran<'a>(&'a self, answer: &'a Answer) -> Option<Vec<(Step<'a>, &'a Answer)>> {
        let mut ran = Vec::new();
        let fits = match (self, answer) {
            (_, Answer::Failed { .. }) | (Self::Compact { .. }, Answer::Compacted { .. }) => true,
            (Self::Txn { txn, .. }, answer) => ran_in(txn, answer, &mut ran),
            (op, answer) => {
                op.any(&mut |step| is_told(step, answer) && push(&mut ran, step, answer))
            }
        };
        fits.then_some(ran)
    }

    /// The revision that it made, by what it was told: none if it changed nothing, or failed.
    pub(crate) fn made(&self, answer: &Answer) -> Option<Revision> {
        let ran = self.ran(answer)?;
        let changed = ran.iter().any(|(_, told)| match told {
            Answer::Put { .. } => true,
            Answer::Deleted { deleted, .. } => *deleted > 0,
            _ => false,
        });
        answer.revision().filter(|_| changed)
    }

    /// Every record that an answer shows.
    pub(crate) fn shown<'a>(&'a self, answer: &'a Answer) -> impl Iterator<Item = Shown<'a>> {
        let ran = self.ran(answer).unwrap_or_default();
        ran.into_iter().flat_map(|(step, told)| {
            let blank = matches!(step, Step::Range(Query { keys_only: true, .. }));
            let kvs = told.shown().iter();
            kvs.map(move |kv| Shown { kv, value: (!blank).then_some(&kv.value) })
        })
    }

    /// Of the revisions that it asks for the oldest: among those that were read if there is an
    /// answer, else among all.
    pub(crate) fn oldest(&self, answer: Option<&Answer>) -> Option<Revision> {
        let mut oldest: Option<Revision> = None;
        let mut note = |step: Step<'_>| {
            let more = step.at().filter(|at| oldest.is_none_or(|oldest| *at < oldest));
            oldest = more.or(oldest);
        };
        match answer.and_then(|answer| self.ran(answer)) {
            Some(ran) => ran.into_iter().for_each(|(step, _)| note(step)),
            None => drop(self.any(&mut |step| {
                note(step);
                false
            })),
        }
        oldest
    }

    /// Whose keys it is about, also those that it only compares.
    pub(crate) fn selects(&self) -> Vec<KeyRange> {
        let mut ranges = Vec::new();
        self.any(&mut |step| {
            ranges.push(match step {
                Step::Put(put) => KeyRange::key(put.key.clone()),
                Step::Delete(delete) => delete.range.clone(),
                Step::Get(key, _) => KeyRange::key(key.clone()),
                Step::Range(query) => query.range.clone(),
            });
            false
        });
        if let Self::Txn { txn, .. } = self {
            compared(txn, &mut ranges);
        }
        ranges
    }
}

fn any<'a>(ops: &'a [txn::Op], is: &mut dyn FnMut(Step<'a>) -> bool) -> bool {
    ops.iter().any(|op| match op {
        txn::Op::Put(put) => is(Step::Put(put)),
        txn::Op::Delete(delete) => is(Step::Delete(delete)),
        txn::Op::Range(query) => is(Step::Range(query)),
        txn::Op::Txn(txn) => any(&txn.success, is) || any(&txn.failure, is),
    })
}

/// Adds what ran in a transaction. False if this is no answer to it.
fn ran_in<'a>(txn: &'a Txn, answer: &'a Answer, ran: &mut Vec<(Step<'a>, &'a Answer)>) -> bool {
    let Answer::Txn { succeeded, responses, .. } = answer else { return false };
    let branch = if *succeeded { &txn.success } else { &txn.failure };
    let told = |(op, told): (&'a txn::Op, &'a Answer)| {
        let step = match op {
            txn::Op::Put(put) => Step::Put(put),
            txn::Op::Delete(delete) => Step::Delete(delete),
            txn::Op::Range(query) => Step::Range(query),
            txn::Op::Txn(txn) => return ran_in(txn, told, ran),
        };
        is_told(step, told) && push(ran, step, told)
    };
    branch.len() == responses.len() && branch.iter().zip(responses).all(told)
}

fn push<'a>(ran: &mut Vec<(Step<'a>, &'a Answer)>, step: Step<'a>, answer: &'a Answer) -> bool {
    ran.push((step, answer));
    true
}

/// Is this what such an operation is told?
fn is_told(step: Step<'_>, answer: &Answer) -> bool {
    match (step, answer) {
        (Step::Delete(_), Answer::Deleted { deleted, prev, .. }) => *deleted > 0 || prev.is_empty(),
        (Step::Put(_), Answer::Put { .. })
        | (Step::Get(..), Answer::Got { .. })
        | (Step::Range(_), Answer::Ranged { .. }) => true,
        _ => false,
    }
}

fn compared(txn: &Txn, ranges: &mut Vec<KeyRange>) {
    ranges.extend(txn.compares.iter().map(|compare| compare.range.clone()));
    for op in txn.success.iter().chain(&txn.failure) {
        if let txn::Op::Txn(txn) = op {
            compared(txn, ranges);
        }
    }
}
