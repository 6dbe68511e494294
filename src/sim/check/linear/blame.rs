//! Which gaps have a part in a failure, and what of them.
//!
//! A failure about a key depends only on what each gap has done to *that key*. So it is kept for
//! each gap which keys it is blamed for. Whoever comes back to the gap need not try what does
//! nothing to these keys either: it would fail in the same way.

use std::collections::BTreeMap;

/// More keys than this are not told apart.
const MOST_KEYS: usize = 16;

/// Gaps, by number, and what each is blamed for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Blame(BTreeMap<usize, Part>);

/// What a gap is blamed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// That it was filled with this write and no other.
    Choice,
    /// What it has done to these keys, by number, or that it has done nothing to them. Ascending.
    Keys(Vec<u32>),
}

impl Part {
    fn add(&mut self, other: &Self) {
        let (Self::Keys(keys), Self::Keys(more)) = (&mut *self, other) else {
            *self = Self::Choice;
            return;
        };
        for key in more {
            if let Err(place) = keys.binary_search(key) {
                keys.insert(place, *key);
            }
        }
        if keys.len() > MOST_KEYS {
            *self = Self::Choice;
        }
    }
}

impl Blame {
    /// Blames a gap for its choice.
    pub(super) fn choice(&mut self, gap: usize) {
        self.0.insert(gap, Part::Choice);
    }

    /// Blames a gap for what it has done to a key.
    pub(super) fn key(&mut self, gap: usize, key: u32) {
        let part = self.0.entry(gap).or_insert_with(|| Part::Keys(Vec::new()));
        part.add(&Part::Keys(vec![key]));
    }

    /// Adds what others are blamed for, if they come before `bound`.
    pub(super) fn add(&mut self, other: &Self, bound: usize) {
        for (gap, part) in other.0.range(..bound) {
            self.0.entry(*gap).and_modify(|known| known.add(part)).or_insert_with(|| part.clone());
        }
    }

    /// The last gap before `bound`, and what it is blamed for.
    pub(super) fn last_before(&self, bound: usize) -> Option<(usize, &Part)> {
        self.0.range(..bound).next_back().map(|(gap, part)| (*gap, part))
    }

    /// What a gap is blamed for, if it is.
    pub(super) fn of(&self, gap: usize) -> Option<&Part> {
        self.0.get(&gap)
    }
}
