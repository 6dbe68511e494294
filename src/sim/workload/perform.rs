//! Calls as a user makes them, through the public handles.

use std::time::Duration;

use crate::core::machine::txn::{self, Delete, Operator, Target};
use crate::service::{self, Compare, Txn, TxnOp};
use crate::sim::history::{Answer, Op};
use crate::store::Store;

/// Sets what a query asks for: a read alone and one in a transaction are different builders.
macro_rules! asked {
    ($read:expr, $query:expr) => {{
        let query = $query;
        let (modified, created) = (query.mod_revision, query.create_revision);
        let read = $read
            .limit(query.limit)
            .sort_by(query.sort)
            .order(query.order)
            .min_mod_revision(modified.min)
            .max_mod_revision(modified.max)
            .min_create_revision(created.min)
            .max_create_revision(created.max)
            .at(query.at.unwrap_or_default());
        let read = if query.keys_only { read.keys_only() } else { read };
        if query.count_only { read.count_only() } else { read }
    }};
}

/// The same for the options of a put.
macro_rules! asked_put {
    ($made:expr, $put:expr) => {{
        let (put, made) = ($put, $made);
        let made = if put.prev { made.prev_value() } else { made };
        if put.ignore_value { made.ignore_value() } else { made }
    }};
}

/// A condition on an operand of whichever type.
macro_rules! is {
    ($operand:expr, $operator:expr, $given:expr) => {
        match $operator {
            Operator::Equal => $operand.equals($given),
            Operator::NotEqual => $operand.not_equals($given),
            Operator::Greater => $operand.greater_than($given),
            Operator::Less => $operand.less_than($given),
        }
    };
}

/// Calls the store, and notes what it says.
pub(in crate::sim) async fn perform(store: &Store, op: &Op, timeout: Duration) -> Answer {
    match op.clone() {
        Op::Put(put) => {
            let call = asked_put!(store.put(put.key.clone(), put.value.clone()), &put);
            Answer::from(&call.timeout(timeout).await)
        }
        Op::Delete(Delete { range, prev }) => {
            let delete = store.delete(range).timeout(timeout);
            let delete = if prev { delete.prev_values() } else { delete };
            Answer::from(&delete.await)
        }
        Op::Get { key, at, serializable } => {
            let get = store.get(key).timeout(timeout).at(at.unwrap_or_default());
            let get = if serializable { get.serializable() } else { get };
            Answer::from(&get.await)
        }
        Op::Range { query, serializable } => {
            let read = asked!(store.range(query.range.clone()), &query).timeout(timeout);
            let read = if serializable { read.serializable() } else { read };
            Answer::from(&read.await)
        }
        Op::Txn { txn, serializable } => {
            let call = store.txn().timeout(timeout);
            let call = if serializable { call.serializable() } else { call };
            let call = txn.compares.iter().map(condition).fold(call, Txn::when);
            let (then, or_else) = (ops(&txn.success), ops(&txn.failure));
            Answer::from(&call.then(then).or_else(or_else).await)
        }
        Op::Compact { revision } => Answer::from(&store.compact(revision).timeout(timeout).await),
    }
}

fn ops(ops: &[txn::Op]) -> Vec<service::Op> {
    ops.iter().map(op).collect()
}

fn op(op: &txn::Op) -> service::Op {
    match op {
        txn::Op::Put(put) => {
            asked_put!(service::Op::put(put.key.clone(), put.value.clone()), put).into()
        }
        txn::Op::Range(query) => asked!(service::Op::range(query.range.clone()), query).into(),
        txn::Op::Delete(Delete { range, prev }) => {
            let delete = service::Op::delete(range.clone());
            if *prev { delete.prev_values() } else { delete }.into()
        }
        txn::Op::Txn(txn) => {
            let nested = txn.compares.iter().map(condition);
            let nested = nested.fold(service::Op::txn(), TxnOp::when);
            nested.then(ops(&txn.success)).or_else(ops(&txn.failure)).into()
        }
    }
}

fn condition(compare: &txn::Compare) -> Compare {
    let range = compare.range.clone();
    match compare.target.clone() {
        Target::Version(given) => is!(Compare::version(range), compare.operator, given),
        Target::CreateRevision(given) => {
            is!(Compare::create_revision(range), compare.operator, given)
        }
        Target::ModRevision(given) => is!(Compare::mod_revision(range), compare.operator, given),
        Target::Value(given) => is!(Compare::value(range), compare.operator, given),
        Target::Lease(given) => is!(Compare::lease(range), compare.operator, given),
    }
}
