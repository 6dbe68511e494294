//! Of which key an answer is wrong.

use crate::sim::check::model::{Doubt, page_doubt};
use crate::sim::history::{Answer, Op, Step};

/// Which key a call was told something wrong about.
pub(super) fn doubt(op: &Op, told: &Answer, answer: &Answer) -> Doubt {
    if !same_path(told, answer) {
        return Doubt::Some;
    }
    let (Some(told), Some(answer)) = (op.ran(told), op.ran(answer)) else { return Doubt::Some };
    let mut steps = told.into_iter().zip(answer);
    let differing = steps.find(|((_, told), (_, answer))| told != answer);
    let Some(((step, told), (_, answer))) = differing else { return Doubt::Some };
    match (step, told, answer) {
        (Step::Put(put), Answer::Put { .. }, Answer::Put { .. }) => Doubt::Key(put.key.clone()),
        (Step::Get(key, _), ..) => Doubt::Key(key.clone()),
        (
            Step::Range(query),
            Answer::Ranged { kvs: told, .. },
            Answer::Ranged { kvs: shown, .. },
        ) => page_doubt(query, told, shown).unwrap_or(Doubt::Some),
        (
            Step::Delete(delete),
            Answer::Deleted { prev, .. },
            Answer::Deleted { prev: shown, .. },
        ) if delete.prev => {
            let differing = prev.iter().zip(shown).find(|(kv, shown)| kv != shown);
            let longer = if prev.len() > shown.len() { prev } else { shown };
            let next = longer.get(prev.len().min(shown.len()));
            match (differing, next) {
                (Some((kv, shown)), _) => Doubt::Key(kv.key.clone().min(shown.key.clone())),
                (None, Some(kv)) => Doubt::Key(kv.key.clone()),
                (None, None) => Doubt::Some,
            }
        }
        _ => Doubt::Some,
    }
}

/// Were the same branches taken? Where not, what was compared is in doubt, and not what came of it.
fn same_path(told: &Answer, answer: &Answer) -> bool {
    match (told, answer) {
        (
            Answer::Txn { succeeded, responses, .. },
            Answer::Txn { succeeded: other, responses: others, .. },
        ) => {
            let mut both = responses.iter().zip(others);
            succeeded == other && both.all(|(one, other)| same_path(one, other))
        }
        (Answer::Txn { .. }, _) | (_, Answer::Txn { .. }) => false,
        _ => true,
    }
}
