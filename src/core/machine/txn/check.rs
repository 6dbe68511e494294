//! What a transaction must look like to be proposed.

use std::collections::BTreeSet;
use std::ops::Bound::{Included, Unbounded};

use super::{Compare, MAX_DEPTH, MAX_ITEMS, Op, Put, Txn};
use crate::error::{Error, Kind, Result};
use crate::ids::LeaseId;
use crate::keys::KeyRange;

impl Put {
    /// Refuses what contradicts itself (`SEL-4`, `KV-34`, `KV-35`).
    pub(crate) fn check(&self) -> Result<()> {
        KeyRange::key(self.key.clone()).check()?;
        if self.ignore_value && !self.value.is_empty() {
            let len = self.value.len();
            let text = format!("a value of {len} bytes was given to a put that keeps the value");
            return Err(Error::invalid(text));
        }
        if self.ignore_lease && self.lease != LeaseId::new(0) {
            let lease = self.lease;
            let text = format!("lease {lease} was given to a put that keeps the lease");
            return Err(Error::invalid(text));
        }
        Ok(())
    }
}

impl Txn {
    /// Refuses a transaction with a fault of syntax, taken branch or not (`TXN-7`), too many
    /// operations (`TXN-6`), or two writes of one key (`TXN-9`). So many bytes at the front of keys
    /// are not for the caller's eyes (`HLP-1`).
    pub(crate) fn check(&self, max_ops: usize, hidden: usize) -> Result<()> {
        self.check_size(max_ops, max_ops, MAX_DEPTH)?;
        if self.items() > MAX_ITEMS {
            let text = format!("a transaction has more than {MAX_ITEMS} compares and operations");
            return Err(Error::new(Kind::TooLarge, text));
        }
        let twice = writes_of(&self.success).and_then(|_| writes_of(&self.failure));
        twice.map(drop).map_err(|WrittenTwice(key)| {
            let key = key.get(hidden..).unwrap_or_default().escape_ascii();
            let text = format!("the key \"{key}\" is written twice in one transaction");
            Error::new(Kind::DuplicateKey, text)
        })
    }

    /// Conditions and operations at all levels.
    fn items(&self) -> usize {
        let ops = self.success.iter().chain(&self.failure);
        let within = ops.map(|op| if let Op::Txn(txn) = op { txn.items() } else { 0 });
        let own = [self.compares.len(), self.success.len(), self.failure.len()];
        own.into_iter().chain(within).fold(0, usize::saturating_add)
    }

    /// `left` operations are allowed, of `max` at the top.
    fn check_size(&self, max: usize, left: usize, depth: usize) -> Result<()> {
        let size = self.compares.len().max(self.success.len()).max(self.failure.len());
        let Some(left) = left.checked_sub(size) else {
            let text = format!(
                "a transaction has {size} compares or operations in a branch where {left} are \
                 left: max_txn_ops is {max}"
            );
            return Err(Error::new(Kind::TooLarge, text));
        };
        self.compares.iter().try_for_each(|Compare { range, .. }| range.check())?;
        for op in self.success.iter().chain(&self.failure) {
            match op {
                Op::Range(query) => query.check()?,
                Op::Put(put) => put.check()?,
                Op::Delete(delete) => delete.range.check()?,
                Op::Txn(txn) => {
                    let Some(depth) = depth.checked_sub(1) else {
                        let text = format!("transactions are nested deeper than {MAX_DEPTH}");
                        return Err(Error::new(Kind::TooLarge, text));
                    };
                    txn.check_size(max, left, depth)?;
                }
            }
        }
        Ok(())
    }
}

/// What a list of operations writes.
#[derive(Default)]
struct Writes<'a> {
    puts: BTreeSet<&'a [u8]>,
    deletes: Vec<&'a KeyRange>,
}

/// The key that is.
struct WrittenTwice<'a>(&'a [u8]);

impl<'a> Writes<'a> {
    /// Adds what one more operation of the same list writes. Deletes may overlap each other; a
    /// key that is put may not be written again (`TXN-9`).
    fn add(&mut self, other: Self) -> Result<(), WrittenTwice<'a>> {
        let twice = other.puts.iter().find(|key| {
            self.puts.contains(*key) || self.deletes.iter().any(|range| range.contains(key))
        });
        let twice = twice.copied().or_else(|| {
            other.deletes.iter().find_map(|range| {
                let mut from = self.puts.range::<[u8], _>((Included(range.start()), Unbounded));
                from.next().copied().filter(|key| range.contains(key))
            })
        });
        if let Some(key) = twice {
            return Err(WrittenTwice(key));
        }
        self.join(other);
        Ok(())
    }

    fn join(&mut self, mut other: Self) {
        self.puts.append(&mut other.puts);
        self.deletes.append(&mut other.deletes);
    }
}

fn writes_of(ops: &[Op]) -> Result<Writes<'_>, WrittenTwice<'_>> {
    let mut all = Writes::default();
    for op in ops {
        let mut writes = Writes::default();
        match op {
            Op::Range(_) => {}
            Op::Put(put) => drop(writes.puts.insert(put.key.as_ref())),
            Op::Delete(delete) => writes.deletes.push(&delete.range),
            Op::Txn(txn) => {
                writes = writes_of(&txn.success)?;
                // Only one of the two is taken: they may write the same.
                writes.join(writes_of(&txn.failure)?);
            }
        }
        all.add(writes)?;
    }
    Ok(all)
}
