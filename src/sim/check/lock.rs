//! Locks and whatever else is held in turn, judged against the one history of events.
//!
//! ```text
//!   line k/lines/0/   8 made  9 fenced = 8   12 made   15 gone   16 fenced = 12   17 fenced = 8
//!                     └ first in line ────────────────┘└ first: told it after 15  └ not held
//! ```
//!
//! | what must hold | rules |
//! |---|---|
//! | whoever is told that it holds something once had nobody in its way | `REC-7`, `REC-8` |
//! | tokens grow from one who is told to the next | `REC-14` |
//! | what a guard's transaction writes was written while its key was there | `REC-14` |
//! | nothing is written that was said to be lost, and all that was said to be written | `REC-14` |
//!
//! What differs from a lock to one for readers and writers, or to a semaphore, is who may hold
//! together ([`Share`]): it says whose place is in whose way, whose tokens are in order, and who
//! may rely on one thing at the same time.
//!
//! All of that holds whatever clocks do. That no two holders rely on one lock at the same time does
//! not, and is judged where they look (`workload/hold/`).

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::Bytes;

use super::watch::truth::{Change, Truth};
use crate::ids::Revision;

/// Where in the store a line is, and its fenced key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name(pub(crate) Bytes);

impl Name {
    fn directory(&self) -> Bytes {
        [&self.0[..], b"/"].concat().into()
    }

    /// What its holders write.
    pub(crate) fn fenced(&self) -> Bytes {
        [b"k/fenced/", &self.0[..]].concat().into()
    }
}

/// Together with whom something is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    /// With nobody.
    Alone,
    /// With all others who only read.
    Reading,
    /// With others who have one of so many permits.
    Permit(usize),
}

impl Share {
    /// May all of these hold one thing at the same time?
    pub(crate) fn may_all_hold(shares: &[Self]) -> bool {
        let Some(first) = shares.first() else { return true };
        let most = match first {
            Self::Alone => 1,
            Self::Reading => usize::MAX,
            Self::Permit(permits) => *permits,
        };
        shares.len() <= most && shares.iter().all(|share| share == first)
    }

    /// So many places that are in the way do not keep it from being held.
    fn spared(self) -> usize {
        match self {
            Self::Alone | Self::Reading => 0,
            Self::Permit(permits) => permits.saturating_sub(1),
        }
    }

    /// Is a place that is older in the way of this?
    fn yields_to(self, name: &Name, key: &[u8]) -> bool {
        let reads = key.get(name.directory().len()..).is_some_and(|it| it.starts_with(b"read/"));
        self != Self::Reading || !reads
    }
}

/// What holders were told of lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// Each token that somebody was told, and with whom it is shared.
    told: BTreeMap<Name, BTreeMap<Revision, Share>>,
    /// Values that guards wrote, each once.
    writes: BTreeMap<Bytes, Write>,
}

/// A transaction of a guard.
#[derive(Clone, Debug)]
struct Write {
    name: Name,
    share: Share,
    token: Revision,
    /// As far as it was told.
    written: Option<bool>,
}

impl Lines {
    /// Somebody is told that it holds something; `excused` if its lease may be gone and it not
    /// know.
    pub(crate) fn acquired(
        &mut self,
        truth: &Truth,
        (name, share, key): (&Name, Share, &[u8]),
        token: Revision,
        excused: bool,
    ) -> Result<(), String> {
        nobody_in_the_way(truth, (name, share, key), token)?;
        let told = self.told.entry(name.clone()).or_default();
        let mut later = told.range(token..);
        let wrong = later.find(|(other, with)| {
            **other == token || (!excused && !Share::may_all_hold(&[share, **with]))
        });
        if let Some((before, _)) = wrong {
            return Err(format!("REC-14: token {token} of {name:?} is told after {before}"));
        }
        told.insert(token, share);
        Ok(())
    }

    /// Somebody is told that it leads again, with a token that it was told before: it did so still
    /// when it asked, at `since`.
    pub(crate) fn resumed(
        truth: &Truth,
        (name, key): (&Name, &[u8]),
        token: Revision,
        since: Revision,
    ) -> Result<(), String> {
        let mut own = places(truth, name).filter(|(made, _)| made.at.0 == token);
        if own.any(|(_, gone)| gone.is_some_and(|gone| gone <= since)) {
            return Err(format!("REC-24: {token} of {name:?} was gone before it was resumed"));
        }
        let judged = nobody_in_the_way(truth, (name, Share::Alone, key), token);
        judged.map_err(|what| format!("REC-24: {what}"))
    }

    /// A guard is about to write this value under the fenced key of its line.
    pub(crate) fn writes(&mut self, (name, share): (&Name, Share), token: Revision, value: Bytes) {
        self.writes.insert(value, Write { name: name.clone(), share, token, written: None });
    }

    /// What it was told of that.
    pub(crate) fn wrote(&mut self, value: &Bytes, written: bool) {
        if let Some(write) = self.writes.get_mut(value) {
            write.written = Some(written);
        }
    }

    /// What was written, when all is over.
    pub(crate) fn judge(&self, truth: &Truth) -> Result<(), String> {
        let mut seen: BTreeMap<&[u8], Revision> = BTreeMap::new();
        let mut newest: BTreeMap<&Name, Vec<(Revision, Share)>> = BTreeMap::new();
        for change in truth.between(Revision::new(0)..=truth.newest()) {
            let Some(kv) = &change.kv else { continue };
            let Some(write) = self.writes.get(&kv.value) else { continue };
            let (at, Write { name, share, token, .. }) = (change.at.0, write);
            if seen.insert(&kv.value, at).is_some() {
                return Err(format!("INV-6: {:?} is written twice", kv.value));
            }
            let before = newest.entry(name).or_default();
            let is_wrong =
                |it: &&(Revision, Share)| it.0 > *token && !Share::may_all_hold(&[it.1, *share]);
            if let Some((before, _)) = before.iter().find(is_wrong) {
                return Err(format!(
                    "REC-14: at {at} {name:?} is written with token {token}, after {before}"
                ));
            }
            before.push((*token, *share));
            if !is_held(truth, name, *token, at) {
                return Err(format!(
                    "REC-14: at {at} {name:?} is written with token {token}, which holds nothing"
                ));
            }
        }
        for (value, write) in &self.writes {
            let is_there = seen.contains_key(&value[..]);
            if write.written.is_some_and(|written| written != is_there) {
                return Err(format!(
                    "REC-14: {value:?} was said to be written or lost, and is it not: {write:?}"
                ));
            }
        }
        Ok(())
    }
}

/// The keys of a line: each with its making and what became of it.
fn places<'a>(
    truth: &'a Truth,
    name: &Name,
) -> impl Iterator<Item = (&'a Change, Option<Revision>)> {
    truth.lives(name.directory())
}

/// Was there a moment at which a key was there, and of those that are older and in its way no more
/// than may be?
fn nobody_in_the_way(
    truth: &Truth,
    (name, share, key): (&Name, Share, &[u8]),
    token: Revision,
) -> Result<(), String> {
    let (mut own, mut before) = (None, Vec::new());
    for (made, gone) in places(truth, name) {
        if made.at.0 == token && made.key == key {
            own = Some(gone);
        } else if made.at.0 < token && share.yields_to(name, &made.key) {
            before.push((made.at.0, gone));
        }
    }
    let Some(own) = own else {
        return Err(format!("REC-5: no key of {name:?} was made at {token}"));
    };
    // They become fewer, so the last moment of its own is the one.
    before.retain(|(_, gone)| gone.is_none_or(|gone| own.is_some_and(|own| gone >= own)));
    let Some((first, _)) = before.get(share.spared()) else { return Ok(()) };
    Err(match own {
        None => format!("REC-7: {name:?} is told to be held by {token}, and {first} is there"),
        Some(_) => {
            format!("REC-7: {token} of {name:?} was gone before {first}, and that was first")
        }
    })
}

/// Was the key of a token there when something was written?
fn is_held(truth: &Truth, name: &Name, token: Revision, at: Revision) -> bool {
    let mut own = places(truth, name).filter(|(made, _)| made.at.0 == token);
    own.any(|(_, gone)| token < at && gone.is_none_or(|gone| gone > at))
}
