//! Conditional writes, judged by themselves.
//!
//! What is said here follows from there being an order ([`linear`](super::linear)). It is said
//! again for it needs neither a search nor a model, and is decided where those are not.

use std::collections::BTreeMap;

use super::Violation;
use crate::core::machine::txn::{Operator, Target};
use crate::ids::Revision;
use crate::sim::history::{Answer, CallId, History, Op, Step};
use crate::sim::workload::{ACCOUNTS, TOTAL, balance};

/// Judges all transactions that were told that they took place, and all reads of accounts.
///
/// # Errors
///
/// Two transactions that found a key as the same put had left it, and both changed it (`INV-5`). A
/// state in which money is missing, or too much (`TXN-14`).
pub(super) fn check(history: &History) -> Result<(), Violation> {
    let mut changed: BTreeMap<(&[u8], Revision), CallId> = BTreeMap::new();
    for (id, call) in history.calls() {
        let Some(answer) = call.answer() else { continue };
        for guarded in guarded(&call.op, answer) {
            if let Some(other) = changed.insert(guarded, id) {
                let (key, seen) = (guarded.0.escape_ascii(), guarded.1);
                let what = format!("two have changed \"{key}\" as it was at {seen}");
                return Err(Violation::new("INV-5", what).calls(history, [other, id]));
            }
        }
        if let Some(sum) = sums(&call.op, answer).find(|sum| *sum != TOTAL) {
            let what = format!("the accounts hold {sum}, and not {TOTAL}");
            return Err(Violation::new("TXN-14", what).calls(history, [id]));
        }
    }
    Ok(())
}

/// The keys that a transaction has changed and that were to be as they were at a revision.
fn guarded<'a>(op: &'a Op, answer: &'a Answer) -> Vec<(&'a [u8], Revision)> {
    let (Op::Txn { txn, .. }, Answer::Txn { succeeded: true, .. }) = (op, answer) else {
        return Vec::new();
    };
    let ran = op.ran(answer).unwrap_or_default();
    let changes = |key: &[u8]| {
        ran.iter().any(|(step, told)| match (step, told) {
            (Step::Put(put), _) => put.key == key,
            (Step::Delete(delete), Answer::Deleted { deleted: 1.., .. }) => {
                delete.range.single() == Some(key)
            }
            _ => false,
        })
    };
    let compares = txn.compares.iter().filter(|compare| compare.operator == Operator::Equal);
    let guarded = compares.filter_map(|compare| match compare.target {
        // 0 is a key that is not there, and that it may be again and again.
        Target::ModRevision(seen) if seen.get() > 0 => Some((compare.range.single()?, seen)),
        _ => None,
    });
    let mut guarded: Vec<_> = guarded.filter(|(key, _)| changes(key)).collect();
    guarded.sort_unstable();
    guarded.dedup();
    guarded
}

/// What the accounts hold, by each read that shows all of them; nothing before they are opened.
fn sums<'a>(op: &'a Op, answer: &'a Answer) -> impl Iterator<Item = u64> + 'a {
    let ran = op.ran(answer).unwrap_or_default();
    ran.into_iter().filter_map(|(step, told)| {
        let (Step::Range(query), Answer::Ranged { kvs, more: false, count, .. }) = (step, told)
        else {
            return None;
        };
        let whole = ACCOUNTS.iter().all(|account| query.range.contains(account.as_bytes()));
        if !whole || query.keys_only || u64::try_from(kvs.len()) != Ok(*count) {
            return None;
        }
        let accounts = kvs.iter().filter(|kv| ACCOUNTS.iter().any(|name| kv.key == *name));
        let mut held = accounts.map(|kv| balance(&kv.value).unwrap_or_default()).peekable();
        held.peek()?;
        Some(held.sum())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::check::samples::{Made, kv, range, ranged, rev, set_if};

    #[test]
    fn inv_5_of_two_that_saw_the_same_one_has_changed_it() {
        let mut made = Made::new();
        let done = |revision| Answer::Txn {
            revision: rev(revision),
            succeeded: true,
            responses: vec![Answer::Put { revision: rev(revision), prev: None }],
        };
        made.call(1, set_if("a", 2, "x"), done(3));
        made.call(1, set_if("a", 3, "y"), done(4));
        check(&made.history).unwrap();
        made.call(2, set_if("a", 3, "z"), done(5));
        assert_eq!(check(&made.history).unwrap_err().rule, "INV-5");
    }

    #[test]
    fn txn_14_no_state_shows_half_a_transfer() {
        let mut made = Made::new();
        made.call(1, range(..), ranged(1, &[]));
        let account = |name, held| kv(name, held, [2, 2, 1]);
        let [a, b, c, d] = ACCOUNTS;
        let rest = [account(b, "90 x"), account(c, "100 x"), account(d, "100 x")];
        let all = |first| [&[account(a, first)], rest.as_slice()].concat();
        made.call(1, range(..), ranged(3, &all("110 x")));
        check(&made.history).unwrap();
        made.call(1, range(..), ranged(3, &all("100 x")));
        assert_eq!(check(&made.history).unwrap_err().rule, "TXN-14");
    }
}
