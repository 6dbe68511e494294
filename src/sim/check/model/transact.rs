//! Transactions, by their rules and as plainly as can be: choose the path, ask whether all of it
//! can be done, do it. The first two look at the state before and change nothing.

use super::{Model, refused};
use crate::core::machine::txn::{Compare, Op, Operator, Target, Txn};
use crate::ids::Revision;
use crate::sim::history::{Answer, Kv, Why};

/// A transaction with its branch chosen, and that of each transaction in that branch.
struct Path<'a> {
    succeeded: bool,
    steps: Vec<Taken<'a>>,
}

enum Taken<'a> {
    Op(&'a Op),
    Txn(Path<'a>),
}

impl Model {
    /// All of it at one revision (`TXN-13`), or nothing (`TXN-8`).
    pub(super) fn transact(&mut self, txn: &Txn) -> Answer {
        let path = self.choose(txn);
        match self.can_take(&path) {
            Ok(()) => {
                let responses = self.take(&path, self.revision.next());
                Answer::Txn { revision: self.revision, succeeded: path.succeeded, responses }
            }
            Err(why) => refused(why),
        }
    }

    /// Every compare on the way sees the state before (`TXN-5`). All must hold (`TXN-1`).
    fn choose<'a>(&self, txn: &'a Txn) -> Path<'a> {
        let succeeded = txn.compares.iter().all(|compare| self.holds(compare));
        let branch = if succeeded { &txn.success } else { &txn.failure };
        let taken = |op: &'a Op| match op {
            Op::Txn(txn) => Taken::Txn(self.choose(txn)),
            op => Taken::Op(op),
        };
        Path { succeeded, steps: branch.iter().map(taken).collect() }
    }

    /// Of every key that is there; if none is, of one that is missing (`TXN-4`).
    fn holds(&self, compare: &Compare) -> bool {
        let mut kvs = self.live(&compare.range, self.revision).map(super::shown).peekable();
        if kvs.peek().is_none() {
            return holds_of(compare, None);
        }
        kvs.all(|kv| holds_of(compare, Some(&kv)))
    }

    /// Could anything on the way fail? (`TXN-8`)
    fn can_take(&self, path: &Path<'_>) -> Result<(), Why> {
        path.steps.iter().try_for_each(|step| match step {
            Taken::Op(Op::Put(put)) => self.can_put(put),
            Taken::Op(Op::Range(query)) => {
                self.readable(query.at.filter(|at| at.get() > 0)).map(drop)
            }
            Taken::Op(Op::Delete(_) | Op::Txn(_)) => Ok(()),
            Taken::Txn(path) => self.can_take(path),
        })
    }

    /// In order, each after the ones before it (`TXN-11`). What is changed is changed at `at`.
    fn take(&mut self, path: &Path<'_>, at: Revision) -> Vec<Answer> {
        let mut responses = Vec::with_capacity(path.steps.len());
        for step in &path.steps {
            responses.push(match step {
                Taken::Op(Op::Put(put)) => self.put(put, at),
                Taken::Op(Op::Delete(delete)) => self.delete(delete, at),
                Taken::Op(Op::Range(query)) => {
                    let asked = query.at.filter(|at| at.get() > 0);
                    self.page(query, asked.unwrap_or(self.revision))
                }
                Taken::Op(Op::Txn(_)) => refused(Why::Other),
                Taken::Txn(path) => {
                    let responses = self.take(path, at);
                    let revision = Revision::default();
                    Answer::Txn { revision, succeeded: path.succeeded, responses }
                }
            });
        }
        responses
    }
}

/// What is stored stands on the left (`TXN-2`). What is missing has zeros, and no value that
/// anything could be said of (`TXN-3`). Nothing has a lease.
fn holds_of(compare: &Compare, kv: Option<&Kv>) -> bool {
    let missing = Revision::default();
    let ordering = match &compare.target {
        Target::Version(given) => kv.map_or(0, |kv| kv.version).cmp(given),
        Target::CreateRevision(given) => kv.map_or(missing, |kv| kv.create).cmp(given),
        Target::ModRevision(given) => kv.map_or(missing, |kv| kv.modified).cmp(given),
        Target::Lease(given) => 0.cmp(&given.get()),
        Target::Value(given) => match kv {
            Some(kv) => kv.value.cmp(given),
            None => return false,
        },
    };
    match compare.operator {
        Operator::Equal => ordering.is_eq(),
        Operator::NotEqual => ordering.is_ne(),
        Operator::Greater => ordering.is_gt(),
        Operator::Less => ordering.is_lt(),
    }
}
