//! Could a call have made what a revision holds?

use std::collections::BTreeSet;

use bytes::Bytes;

use super::Stored;
use crate::core::machine::txn;
use crate::sim::history::{Answer, Op, Step};

/// What ran, with what was told of it.
type Ran<'a> = [(Step<'a>, &'a Answer)];

/// Exactly this, in this order: all of a call, and nothing else.
pub(super) fn told(ran: &Ran<'_>, group: &[&Stored]) -> bool {
    let mut rest = group;
    for (step, answer) in ran {
        let Some(after) = made_one(*step, answer, rest) else { return false };
        rest = after;
    }
    rest.is_empty()
}

/// What is left of a group if this made its beginning.
fn made_one<'g, 's>(
    step: Step<'_>,
    answer: &Answer,
    group: &'g [&'s Stored],
) -> Option<&'g [&'s Stored]> {
    match (step, answer) {
        (Step::Put(_), _) => {
            let (first, rest) = group.split_first()?;
            is_of(step, answer, first).then_some(rest)
        }
        (Step::Delete(_), Answer::Deleted { deleted, .. }) => {
            let (made, rest) = group.split_at_checked(usize::try_from(*deleted).ok()?)?;
            let ascending = made.windows(2).all(|pair| match pair {
                [one, next] => one.key < next.key,
                _ => true,
            });
            let all = made.iter().all(|version| is_of(step, answer, version));
            (ascending && all).then_some(rest)
        }
        _ => Some(group),
    }
}

/// Is all of the group the call's? Some of what it made may have been forgotten.
pub(super) fn part_of(ran: &Ran<'_>, group: &[&Stored]) -> bool {
    let made = |version: &&Stored| ran.iter().any(|(step, told)| is_of(*step, told, version));
    !ran.is_empty() && group.iter().all(made)
}

/// Did this operation make this version?
fn is_of(step: Step<'_>, answer: &Answer, version: &Stored) -> bool {
    match (step, answer) {
        (Step::Put(put), _) => is_put(put, version),
        (Step::Delete(delete), Answer::Deleted { prev, .. }) => {
            let named = prev.is_empty() || prev.iter().any(|kv| kv.key == version.key);
            named && is_deleted(delete, version)
        }
        _ => false,
    }
}

/// The keys that were put.
pub(super) fn puts<'a>(ran: &'a Ran<'_>) -> impl Iterator<Item = &'a [u8]> {
    ran.iter().filter_map(|(step, _)| match step {
        Step::Put(put) => Some(put.key.as_ref()),
        _ => None,
    })
}

/// Could a call with an unknown end have made this, on one way through it or another? All of the
/// group, and if nothing is forgotten all of the call.
pub(super) fn perhaps(op: &Op, group: &[&Stored], whole: bool) -> bool {
    if !whole {
        return group.iter().all(|version| match &version.value {
            Some(value) => op.may_put(&version.key, Some(value)),
            None => op.may_delete(&version.key),
        });
    }
    match op {
        Op::Put(put) => matches!(group, [version] if is_put(put, version)),
        Op::Delete(delete) => group.iter().all(|version| is_deleted(delete, version)),
        Op::Txn { txn, .. } => {
            let none = BTreeSet::from([0]);
            let ends = [&txn.success, &txn.failure].map(|branch| ends(branch, group, &none));
            ends.iter().any(|ends| ends.contains(&group.len()))
        }
        Op::Get { .. } | Op::Range { .. } | Op::Compact { .. } => false,
    }
}

/// How far into the group these operations may have come that began at one of these places.
fn ends(ops: &[txn::Op], group: &[&Stored], from: &BTreeSet<usize>) -> BTreeSet<usize> {
    let mut places = from.clone();
    for op in ops {
        let mut after = BTreeSet::new();
        for place in &places {
            let rest = group.get(*place..).unwrap_or_default();
            match op {
                txn::Op::Range(_) => after.extend([*place]),
                txn::Op::Put(put) => {
                    let made = rest.first().is_some_and(|version| is_put(put, version));
                    after.extend(made.then_some(place.saturating_add(1)));
                }
                // As many as it found, perhaps none.
                txn::Op::Delete(delete) => {
                    let fitting = rest.iter().take_while(|version| is_deleted(delete, version));
                    let most = fitting.count();
                    after.extend((0..=most).map(|count| place.saturating_add(count)));
                }
                txn::Op::Txn(txn) => {
                    let from = BTreeSet::from([*place]);
                    after.extend(ends(&txn.success, group, &from));
                    after.extend(ends(&txn.failure, group, &from));
                }
            }
        }
        places = after;
    }
    places
}

fn is_put(put: &txn::Put, version: &Stored) -> bool {
    let value = |value: &Bytes| put.ignore_value || put.value == *value;
    put.key == version.key && version.value.as_ref().is_some_and(value)
}

fn is_deleted(delete: &txn::Delete, version: &Stored) -> bool {
    version.value.is_none() && delete.range.contains(&version.key)
}
