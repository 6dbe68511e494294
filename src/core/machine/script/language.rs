//! Transactions in words.
//!
//! ```text
//! if version(q) = 0 and value(a..c) != x then put q=1; range q else (then delete r)
//!
//! TXN      [if COMPARE and COMPARE ..] [then OP; OP ..] [else OP; OP ..]
//! COMPARE  version|create|mod|value|lease(KEY or KEY..END) = != > < OPERAND
//! OP       put KEY=VALUE [lease=ID] [prev] [keep-value] [keep-lease]
//!          range KEY or KEY..END [at=R] [limit=N] [keys] [count]
//!          delete KEY or KEY..END [prev]
//!          (TXN)
//! ```

use std::iter::Peekable;

use bytes::Bytes;

use super::Text;
use crate::core::machine::txn::{Compare, Delete, Op, Operator, Put, Target, Txn};
use crate::core::mvcc::Query;
use crate::ids::{LeaseId, Revision};
use crate::keys::KeyRange;

/// Reads a transaction.
pub(super) fn parse(text: &str) -> Text<Txn> {
    let spaced = text.replace('(', " ( ").replace(')', " ) ").replace(';', " ; ");
    let mut words = Words { words: spaced.split_whitespace().peekable() };
    let txn = words.txn()?;
    match words.words.next() {
        Some(word) => Err(format!("\"{word}\" is behind the transaction").into()),
        None => Ok(txn),
    }
}

struct Words<'a, I: Iterator<Item = &'a str>> {
    words: Peekable<I>,
}

impl<'a, I: Iterator<Item = &'a str>> Words<'a, I> {
    fn next(&mut self) -> Text<&'a str> {
        Ok(self.words.next().ok_or("the transaction ends too early")?)
    }

    fn skip(&mut self, word: &str) -> bool {
        self.words.next_if(|next| *next == word).is_some()
    }

    fn expect(&mut self, word: &str) -> Text<()> {
        if self.skip(word) { Ok(()) } else { Err(format!("\"{word}\" is missing").into()) }
    }

    fn txn(&mut self) -> Text<Txn> {
        let mut txn = Txn::default();
        if self.skip("if") {
            txn.compares.push(self.compare()?);
            while self.skip("and") {
                txn.compares.push(self.compare()?);
            }
        }
        if self.skip("then") {
            txn.success = self.ops()?;
        }
        if self.skip("else") {
            txn.failure = self.ops()?;
        }
        Ok(txn)
    }

    fn compare(&mut self) -> Text<Compare> {
        let name = self.next()?;
        self.expect("(")?;
        let range = range(self.next()?);
        self.expect(")")?;
        let operator = match self.next()? {
            "=" => Operator::Equal,
            "!=" => Operator::NotEqual,
            ">" => Operator::Greater,
            "<" => Operator::Less,
            other => return Err(format!("{other} is no operator").into()),
        };
        let operand = self.next()?;
        let target = match name {
            "version" => Target::Version(operand.parse()?),
            "create" => Target::CreateRevision(Revision::new(operand.parse()?)),
            "mod" => Target::ModRevision(Revision::new(operand.parse()?)),
            "lease" => Target::Lease(LeaseId::new(operand.parse()?)),
            "value" => Target::Value(bytes(operand)),
            other => return Err(format!("{other} cannot be compared").into()),
        };
        Ok(Compare { range, operator, target })
    }

    fn ops(&mut self) -> Text<Vec<Op>> {
        let mut ops = vec![self.op()?];
        while self.skip(";") {
            ops.push(self.op()?);
        }
        Ok(ops)
    }

    fn op(&mut self) -> Text<Op> {
        if self.skip("(") {
            let txn = self.txn()?;
            self.expect(")")?;
            return Ok(Op::Txn(txn));
        }
        match self.next()? {
            "put" => {
                let (key, value) = self.next()?.split_once('=').ok_or("put needs KEY=VALUE")?;
                let mut put = Put::new(bytes(key), bytes(value));
                while let Some(option) = self.option() {
                    match option {
                        ("prev", _) => put.prev = true,
                        ("keep-value", _) => put.ignore_value = true,
                        ("keep-lease", _) => put.ignore_lease = true,
                        ("lease", id) => put.lease = LeaseId::new(id.parse()?),
                        (other, _) => return Err(format!("put has no {other}").into()),
                    }
                }
                Ok(Op::Put(put))
            }
            "range" => {
                let mut query = Query::new(range(self.next()?));
                while let Some(option) = self.option() {
                    match option {
                        ("at", revision) => query.at = Some(Revision::new(revision.parse()?)),
                        ("limit", limit) => query.limit = limit.parse()?,
                        ("keys", _) => query.keys_only = true,
                        ("count", _) => query.count_only = true,
                        (other, _) => return Err(format!("range has no {other}").into()),
                    }
                }
                Ok(Op::Range(query))
            }
            "delete" => {
                let range = range(self.next()?);
                Ok(Op::Delete(Delete { range, prev: self.skip("prev") }))
            }
            other => Err(format!("{other} is no operation").into()),
        }
    }

    /// One more word of an operation, cut at its equals sign.
    fn option(&mut self) -> Option<(&'a str, &'a str)> {
        let word = self.words.next_if(|word| !matches!(*word, ";" | ")" | "else"))?;
        Some(word.split_once('=').unwrap_or((word, "")))
    }
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn range(text: &str) -> KeyRange {
    match text.split_once("..") {
        Some((start, "")) => KeyRange::starting_at(bytes(start)),
        Some((start, end)) => KeyRange::from(bytes(start)..bytes(end)),
        None => KeyRange::key(bytes(text)),
    }
}
