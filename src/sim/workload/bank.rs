//! Accounts, between which money is moved and never lost.

use bytes::Bytes;

use super::{Client, unchanged};
use crate::core::machine::txn::{self, Put, Txn};
use crate::core::mvcc::Query;
use crate::keys::KeyRange;
use crate::sim::history::{Answer, Kv, Op};
use crate::store::Store;

/// They are there all at once, and for ever: no other call writes them.
pub(in crate::sim) const ACCOUNTS: [&str; 4] = ["bank/a", "bank/b", "bank/c", "bank/d"];

/// What they hold together.
pub(in crate::sim) const TOTAL: u64 = 400;

/// What an account holds: the number at the beginning of its value. The rest makes it unique.
pub(in crate::sim) fn balance(value: &[u8]) -> Option<u64> {
    let number = value.split(|byte| *byte == b' ').next()?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

impl Client {
    /// Reads the accounts and moves something from one to another, if neither has changed.
    pub(super) async fn transfer(&mut self, name: &str, store: &Store) {
        let query = Query::new(KeyRange::prefix("bank/"));
        let serializable = self.dice.chance(300_000);
        let Answer::Ranged { kvs, .. } =
            self.call(name, store, &Op::Range { query, serializable }).await
        else {
            return;
        };
        let txn = if kvs.is_empty() { Some(self.found()) } else { self.moved(&kvs) };
        let Some(txn) = txn else { return };
        self.call(name, store, &Op::Txn { txn, serializable: false }).await;
    }

    /// Opens all accounts, if none is open.
    fn found(&mut self) -> Txn {
        let each = TOTAL / ACCOUNTS.len() as u64;
        let compares = ACCOUNTS.map(|account| unchanged(Bytes::from(account), None)).to_vec();
        let success = ACCOUNTS.map(|account| self.deposit(account.into(), each)).to_vec();
        Txn { compares, success, failure: Vec::new() }
    }

    fn moved(&mut self, kvs: &[Kv]) -> Option<Txn> {
        let (from, to) = (self.dice.pick(kvs)?, self.dice.pick(kvs)?);
        let (has, gets) = (balance(&from.value)?, balance(&to.value)?);
        if from.key == to.key {
            return None;
        }
        let amount = self.dice.below(has + 1);
        let compares = [from, to].map(|kv| unchanged(kv.key.clone(), Some(kv.modified))).to_vec();
        let success = vec![
            self.deposit(from.key.clone(), has - amount),
            self.deposit(to.key.clone(), gets + amount),
        ];
        Some(Txn { compares, success, failure: Vec::new() })
    }

    fn deposit(&mut self, account: Bytes, amount: u64) -> txn::Op {
        let value = [amount.to_string().as_bytes(), b" ", &self.value()].concat();
        txn::Op::Put(Put::new(account, Bytes::from(value)))
    }
}
