//! Locks, judged against the one history of events.
//!
//! ```text
//!   line k/lines/0/   8 made  9 fenced = 8   12 made   15 gone   16 fenced = 12   17 fenced = 8
//!                     └ first in line ────────────────┘└ first: told it after 15  └ not held
//! ```
//!
//! | what must hold | rules |
//! |---|---|
//! | whoever is told that it holds a lock was the first in its line | `REC-7`, `REC-8` |
//! | tokens grow from one who is told to the next | `REC-14` |
//! | what a guard's transaction writes was written while its key was there | `REC-14` |
//! | nothing is written that was said to be lost, and all that was said to be written | `REC-14` |
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

/// What holders were told of lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// The greatest token that anybody was told.
    told: BTreeMap<Name, Revision>,
    /// Values that guards wrote, each once.
    writes: BTreeMap<Bytes, Write>,
}

/// A transaction of a guard.
#[derive(Clone, Debug)]
struct Write {
    name: Name,
    token: Revision,
    /// As far as it was told.
    written: Option<bool>,
}

impl Lines {
    /// Somebody is told that it holds a lock; `excused` if its lease may be gone and it not know.
    pub(crate) fn acquired(
        &mut self,
        truth: &Truth,
        (name, key): (&Name, &[u8]),
        token: Revision,
        excused: bool,
    ) -> Result<(), String> {
        first_in_line(truth, name, key, token)?;
        let before = self.told.entry(name.clone()).or_default();
        if token == *before || (token < *before && !excused) {
            return Err(format!("REC-14: token {token} of {name:?} is told after {before}"));
        }
        *before = token.max(*before);
        Ok(())
    }

    /// A guard is about to write this value under the fenced key of its lock.
    pub(crate) fn writes(&mut self, name: &Name, token: Revision, value: Bytes) {
        self.writes.insert(value, Write { name: name.clone(), token, written: None });
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
        let mut newest: BTreeMap<&Name, Revision> = BTreeMap::new();
        for change in truth.between(Revision::new(0)..=truth.newest()) {
            let Some(kv) = &change.kv else { continue };
            let Some(write) = self.writes.get(&kv.value) else { continue };
            let (at, Write { name, token, .. }) = (change.at.0, write);
            if seen.insert(&kv.value, at).is_some() {
                return Err(format!("INV-6: {:?} is written twice", kv.value));
            }
            let before = newest.entry(name).or_default();
            if *token < *before {
                return Err(format!(
                    "REC-14: at {at} {name:?} is written with token {token}, after {before}"
                ));
            }
            *before = *token;
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

/// Was there a moment at which a key was there and none that is older?
fn first_in_line(truth: &Truth, name: &Name, key: &[u8], token: Revision) -> Result<(), String> {
    let mut own = None;
    let (mut free, mut held) = (token, None);
    for (made, gone) in places(truth, name) {
        if made.at.0 == token && made.key == key {
            own = Some(gone);
        } else if made.at.0 < token {
            match gone {
                Some(gone) => free = free.max(gone),
                None => held = Some(made.at.0),
            }
        }
    }
    let Some(gone) = own else {
        return Err(format!("REC-5: no key of {name:?} was made at {token}"));
    };
    if let Some(held) = held {
        return Err(format!("REC-7: {name:?} is told to be held by {token}, and {held} is there"));
    }
    if gone.is_some_and(|gone| gone <= free) {
        return Err(format!("REC-7: {token} of {name:?} was gone before it was the first"));
    }
    Ok(())
}

/// Was the key of a token there when something was written?
fn is_held(truth: &Truth, name: &Name, token: Revision, at: Revision) -> bool {
    let mut own = places(truth, name).filter(|(made, _)| made.at.0 == token);
    own.any(|(_, gone)| token < at && gone.is_none_or(|gone| gone > at))
}
