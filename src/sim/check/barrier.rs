//! Barriers, judged against the one history of events.
//!
//! ```text
//!   double barrier of two   4 a made   6 b made   7 ready made   9 a gone   11 b gone
//!                                                 a and b are in            all have left
//!   barrier                 4 made     9 gone     who asked at 5 passes, and is told at 9
//! ```
//!
//! | what must hold | rules |
//! |---|---|
//! | who passes a barrier asked before a moment at which it was not held | `REC-37` |
//! | who is told that all have entered is one of as many as were there when it opened | `REC-38` |
//! | no more than that are told so of one opening | `REC-38` |
//! | who is told that all have left is told so when they have | `REC-38`, `REC-39` |

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use bytes::Bytes;

use super::watch::truth::{Change, Truth};
use crate::ids::Revision;

/// A double barrier, and when it opened.
pub(crate) type Round = (Bytes, Revision);

/// Who has entered double barriers.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// When their places were made.
    entered: BTreeMap<Round, BTreeSet<Revision>>,
}

/// Was a key not there at some moment of these?
pub(crate) fn was_absent(truth: &Truth, key: &[u8], when: RangeInclusive<Revision>) -> bool {
    let is_absent = |at| truth.last(key, at).is_none_or(|change| change.kv.is_none());
    let changes = truth.between(when.clone()).iter();
    is_absent(*when.start())
        || changes.clone().any(|change| change.key == key && change.kv.is_none())
}

impl Rounds {
    /// Somebody whose place was made at `since` is told that as many have entered as were wanted.
    pub(crate) fn entered(
        &mut self,
        truth: &Truth,
        (name, count): (&Bytes, usize),
        since: Revision,
    ) -> Result<Round, String> {
        let Some((_, gone)) = places(truth, name).find(|(made, _)| made.at.0 == since) else {
            return Err(format!("REC-38: nobody has entered {name:?} at {since}"));
        };
        let ready = [&name[..], b"/ready"].concat().into();
        let mut opened = truth.lives(ready).map(|(made, _)| made.at.0);
        let round = opened.find(|at| since < *at && gone.is_none_or(|gone| gone > *at));
        let Some(round) = round else {
            return Err(format!("REC-38: {name:?} has not opened for who has entered at {since}"));
        };
        let is_in = |made: &Change, gone: Option<Revision>| {
            made.at.0 < round && gone.is_none_or(|gone| gone > round)
        };
        let present = places(truth, name).filter(|(made, gone)| is_in(made, *gone)).count();
        if present < count {
            return Err(format!("REC-38: {name:?} opened at {round} with {present} of {count}"));
        }
        let id = (name.clone(), round);
        let entered = self.entered.entry(id.clone()).or_default();
        entered.insert(since);
        if entered.len() > count {
            return Err(format!("REC-38: of {count} these went through {id:?}: {entered:?}"));
        }
        Ok(id)
    }
}

/// Who is there still of those that were in when a barrier opened.
pub(crate) fn still_in(truth: &Truth, (name, round): &Round) -> Option<Revision> {
    let mut all = places(truth, name).filter(|(made, _)| made.at.0 < *round);
    all.find(|(_, gone)| gone.is_none()).map(|(made, _)| made.at.0)
}

fn places<'a>(
    truth: &'a Truth,
    name: &Bytes,
) -> impl Iterator<Item = (&'a Change, Option<Revision>)> {
    truth.lives([&name[..], b"/waiters/"].concat().into())
}
