//! The model beside what it is a model of.

use super::*;
use crate::core::machine::txn::{OpOutcome, TxnOutcome};
use crate::core::machine::{Command, Genesis, Machine, Member, Origin, Outcome, stamp};
use crate::core::mvcc::{Query, RangePage};
use crate::entry::{ConfState, Entry, EntryKind, SnapshotMark};
use crate::error::{Error, Result};
use crate::ids::{ClusterId, Incarnation, Index, NodeId, Term};
use crate::sim::check::samples::random::{Random, Shape};

const NODE: NodeId = NodeId::new(1);
const INCARNATION: Incarnation = Incarnation::new(7);

struct Real(Machine);

impl Real {
    fn new() -> Self {
        let (name, address) = (String::from("a"), String::new());
        let member =
            Member { id: NODE, name, address, incarnation: Some(INCARNATION), learner: false };
        let conf = ConfState { voters: vec![NODE], ..ConfState::default() };
        let mark = SnapshotMark { index: Index::new(1), term: Term::new(1), conf };
        let cluster = ClusterId::new(1);
        Self(Machine::new(Genesis { cluster, members: vec![member], mark }))
    }

    fn apply(&mut self, op: &Op) -> Answer {
        let told = match op {
            Op::Put(put) => self.write(&Command::Put(put.clone())),
            Op::Delete(delete) => self.write(&Command::Delete(delete.clone())),
            Op::Compact { revision } => self.write(&Command::Compact { revision: *revision }),
            Op::Txn { txn, .. } if txn.is_read_only() => {
                txn.read(&self.0.reader()).map(|outcome| of_txn(outcome, true))
            }
            Op::Txn { txn, .. } => self.write(&Command::Txn(txn.clone())),
            Op::Get { key, at, .. } => {
                let query = Query { at: *at, ..Query::new(KeyRange::key(key.clone())) };
                self.read(&query).map(|page| Answer::Got {
                    revision: self.0.reader().revision(),
                    kv: page.kvs.first().map(Kv::from),
                })
            }
            Op::Range { query, .. } => {
                self.read(query).map(|page| of_page(&page, self.0.reader().revision()))
            }
        };
        told.unwrap_or_else(|error| (&error).into())
    }

    fn read(&self, query: &Query) -> Result<RangePage> {
        let at = query.at.filter(|at| at.get() > 0);
        self.0.reader().query(&Query { at, ..query.clone() })
    }

    fn write(&mut self, command: &Command) -> Result<Answer> {
        let (index, term) = self.0.applied();
        let (node, incarnation) = (NODE, INCARNATION);
        let sequence = index.get();
        let origin = Origin { node, incarnation, boot: 1, sequence, watermark: sequence };
        let mut payload = command.encode();
        stamp(&mut payload, &origin);
        let kind = EntryKind::Normal;
        let entry = Entry { index: index.next(), term, kind, data: payload.freeze() };
        let outcome = self.0.apply(&entry)?.outcome;
        self.0.publish();
        match outcome {
            Outcome::Put { revision, prev } => {
                Ok(Answer::Put { revision, prev: prev.as_ref().map(Kv::from) })
            }
            Outcome::Deleted { revision, count, prev } => {
                let prev = prev.iter().map(Kv::from).collect();
                Ok(Answer::Deleted { revision, deleted: count, prev })
            }
            Outcome::Txn(outcome) => Ok(of_txn(outcome, true)),
            Outcome::Compacted { revision } => Ok(Answer::Compacted { revision }),
            Outcome::Refused(refusal) => Err(Error::from(refusal)),
            other => panic!("{other:?}"),
        }
    }
}

fn of_page(page: &RangePage, revision: Revision) -> Answer {
    let kvs = page.kvs.iter().map(Kv::from).collect();
    Answer::Ranged { revision, kvs, more: page.more, count: page.count }
}

fn of_txn(outcome: TxnOutcome, outer: bool) -> Answer {
    let responses = outcome.responses.into_iter().map(|response| match response {
        OpOutcome::Range { revision, page } => of_page(&page, revision),
        OpOutcome::Put { revision, prev } => {
            Answer::Put { revision, prev: prev.as_ref().map(Kv::from) }
        }
        OpOutcome::Deleted { revision, count, prev } => {
            let prev = prev.iter().map(Kv::from).collect();
            Answer::Deleted { revision, deleted: count, prev }
        }
        OpOutcome::Txn(nested) => of_txn(nested, false),
    });
    let responses = responses.collect();
    let revision = if outer { outcome.revision } else { Revision::default() };
    Answer::Txn { revision, succeeded: outcome.succeeded, responses }
}

#[test]
fn txn_1_to_txn_19_the_machine_does_what_the_model_does() {
    let (mut branches, mut refused) = ([0; 2], 0);
    for seed in 0..300 {
        let shape = Shape {
            calls: 200,
            clients: 1,
            keys: 1 + seed % 7,
            unknown: 0,
            reads: 300,
            old: 0,
            txns: 600,
        };
        let (mut model, mut real) = (Model::default(), Real::new());
        for op in Random::ops(seed, shape) {
            let (told, is) = (model.apply(&op), real.apply(&op));
            assert_eq!(is, told, "seed {seed}: {op}");
            match told {
                Answer::Txn { succeeded, .. } => branches[usize::from(succeeded)] += 1,
                Answer::Failed { .. } => refused += 1,
                _ => {}
            }
        }
    }
    assert!(branches.iter().all(|count| *count > 1_000) && refused > 100, "{branches:?} {refused}");
}
