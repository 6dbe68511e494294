//! From a key to the watched ranges that have it.
//!
//! Single keys are most of what is watched, so they have a map of their own, where a key is one
//! search. Everything else is in a tree that can tell which intervals a key is in.

mod intervals;

use std::collections::BTreeMap;

use bytes::Bytes;

use self::intervals::Intervals;
use crate::keys::KeyRange;

/// Which watched ranges a key is in. Each range has one entry, however many watch it.
///
/// A range that selects nothing has an entry like any other. No key finds it.
pub(super) struct Matcher<T> {
    /// The ranges of one key.
    keys: BTreeMap<Bytes, T>,
    /// All others. An interval that happens to have one key only is here.
    ranges: Intervals<T>,
}

impl<T> Default for Matcher<T> {
    fn default() -> Self {
        Self { keys: BTreeMap::new(), ranges: Intervals::default() }
    }
}

impl<T> Matcher<T> {
    /// The entry of exactly this range, made if it is not there. It shares the range's bytes.
    pub(super) fn entry(&mut self, range: &KeyRange, make: impl FnOnce() -> T) -> &T {
        match range.single() {
            Some(_) => self.keys.entry(range.selector().0).or_insert_with(make),
            None => self.ranges.entry(range, make),
        }
    }

    /// Takes out the entry of exactly this range.
    pub(super) fn remove(&mut self, range: &KeyRange) -> Option<T> {
        match range.single() {
            Some(key) => self.keys.remove(key),
            None => self.ranges.remove(range),
        }
    }

    /// The entry of exactly this range.
    #[cfg(test)]
    pub(super) fn get(&self, range: &KeyRange) -> Option<&T> {
        match range.single() {
            Some(key) => self.keys.get(key),
            None => self.ranges.get(range),
        }
    }

    /// Shows every entry whose range has the key: that of the key alone, then the others by where
    /// they start and, from the same start, by where they end.
    pub(super) fn matching<'a>(&'a self, key: &[u8], found: &mut impl FnMut(&'a T)) {
        if let Some(value) = self.keys.get(key) {
            found(value);
        }
        self.ranges.matching(key, found);
    }

    /// Every entry: those of single keys, then the others, each in their order.
    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.keys.values().chain(self.ranges.values())
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many ranges have an entry.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.keys.len().saturating_add(self.ranges.len())
    }
}

#[cfg(test)]
mod tests;
