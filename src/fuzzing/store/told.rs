//! What a machine says, in the words in which the model says it.

use crate::core::machine::Outcome;
use crate::core::machine::txn::{OpOutcome, TxnOutcome};
use crate::core::mvcc::{KeyValue, RangePage};
use crate::error::Error;
use crate::ids::Revision;
use crate::sim::history::{Answer, Kv};

/// What the client is told.
pub(super) fn of_outcome(outcome: Outcome) -> Answer {
    match outcome {
        Outcome::Put { revision, prev } => {
            Answer::Put { revision, prev: prev.as_ref().map(Kv::from) }
        }
        Outcome::Deleted { revision, count, prev } => {
            Answer::Deleted { revision, deleted: count, prev: shown(&prev) }
        }
        Outcome::Txn(outcome) => of_txn(outcome, true),
        Outcome::Compacted { revision } => Answer::Compacted { revision },
        Outcome::Refused(refusal) => (&Error::from(refusal)).into(),
        Outcome::Nothing
        | Outcome::Announced
        | Outcome::Superseded
        | Outcome::Granted { .. }
        | Outcome::Revoked { .. }
        | Outcome::Renewed(_)
        | Outcome::Ticked { .. } => {
            panic!("a call ended with {outcome:?}")
        }
    }
}

pub(super) fn of_page(page: &RangePage, revision: Revision) -> Answer {
    Answer::Ranged { revision, kvs: shown(&page.kvs), more: page.more, count: page.count }
}

/// A nested one is told no revision.
pub(super) fn of_txn(outcome: TxnOutcome, outer: bool) -> Answer {
    let responses = outcome.responses.into_iter().map(|response| match response {
        OpOutcome::Range { revision, page } => of_page(&page, revision),
        OpOutcome::Put { revision, prev } => {
            Answer::Put { revision, prev: prev.as_ref().map(Kv::from) }
        }
        OpOutcome::Deleted { revision, count, prev } => {
            Answer::Deleted { revision, deleted: count, prev: shown(&prev) }
        }
        OpOutcome::Txn(nested) => of_txn(nested, false),
    });
    let responses = responses.collect();
    let revision = if outer { outcome.revision } else { Revision::default() };
    Answer::Txn { revision, succeeded: outcome.succeeded, responses }
}

/// What is kept of an outcome for those who ask again: no records.
pub(super) fn remembered(outcome: &Outcome) -> Outcome {
    match outcome.clone() {
        Outcome::Put { revision, .. } => Outcome::Put { revision, prev: None },
        Outcome::Deleted { revision, count, .. } => {
            Outcome::Deleted { revision, count, prev: Vec::new() }
        }
        Outcome::Txn(outcome) => Outcome::Txn(TxnOutcome { responses: Vec::new(), ..outcome }),
        other => other,
    }
}

fn shown(kvs: &[KeyValue]) -> Vec<Kv> {
    kvs.iter().map(Kv::from).collect()
}
