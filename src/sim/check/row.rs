//! Things by index, without gaps: what judges remember of logs.

use std::collections::VecDeque;

use crate::core::replica::look::Look;
use crate::ids::{Index, Term};

/// A thing for each index from some index on. Grows at both ends.
#[derive(Debug, Default)]
pub(super) struct Row<T> {
    /// The index of the first.
    first: u64,
    things: VecDeque<T>,
}

impl<T: Default> Row<T> {
    #[cfg(test)]
    pub(super) fn get(&self, index: Index) -> Option<&T> {
        self.things.get(usize::try_from(index.get().checked_sub(self.first)?).ok()?)
    }

    /// Makes what is missing up to there. Always gives something.
    pub(super) fn slot(&mut self, index: Index) -> Option<&mut T> {
        let index = index.get();
        if self.things.is_empty() {
            self.first = index;
        }
        while index < self.first {
            self.things.push_front(T::default());
            self.first = self.first.saturating_sub(1);
        }
        let at = usize::try_from(index.saturating_sub(self.first)).ok()?;
        while self.things.len() <= at {
            self.things.push_back(T::default());
        }
        self.things.get_mut(at)
    }
}

/// A log, as far as its terms go: entries of one index and one term are one entry, and that is
/// what [`super::log`] holds to be true.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    /// The position before the first term.
    base: (Index, Term),
    terms: VecDeque<Term>,
}

impl Line {
    pub(super) fn new(base: (Index, Term)) -> Self {
        Self { base, terms: VecDeque::new() }
    }

    /// The log that a member has in memory.
    pub(super) fn of(look: &Look<'_>) -> Self {
        let terms = look.log.entries.iter().map(|entry| entry.term).collect();
        Self { base: look.log.base, terms }
    }

    pub(super) fn base(&self) -> (Index, Term) {
        self.base
    }

    pub(super) fn last(&self) -> (Index, Term) {
        let index = self.base.0.get().saturating_add(self.terms.len() as u64);
        (Index::new(index), self.terms.back().copied().unwrap_or(self.base.1))
    }

    pub(super) fn term(&self, index: Index) -> Option<Term> {
        let Some(at) = index.get().checked_sub(self.base.0.next().get()) else {
            return (index == self.base.0).then_some(self.base.1);
        };
        self.terms.get(usize::try_from(at).ok()?).copied()
    }

    /// Whether an entry is here: as an entry, or as a part of the snapshot that the log follows.
    pub(super) fn holds(&self, (index, term): (Index, Term)) -> bool {
        index < self.base.0 || self.term(index) == Some(term)
    }

    /// An entry replaces whatever stood at its index and after. False if it left a gap.
    pub(super) fn put(&mut self, (index, term): (Index, Term)) -> bool {
        let Some(at) = index.get().checked_sub(self.base.0.next().get()) else { return false };
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        if at > self.terms.len() {
            return false;
        }
        self.terms.truncate(at);
        self.terms.push_back(term);
        true
    }

    /// A snapshot covers everything up to here. What follows stays if it follows that very entry.
    pub(super) fn begin_behind(&mut self, base: (Index, Term)) {
        if self.term(base.0) != Some(base.1) {
            self.terms.clear();
        }
        let passed = base.0.get().saturating_sub(self.base.0.get());
        let passed = usize::try_from(passed).unwrap_or(usize::MAX).min(self.terms.len());
        self.terms.drain(..passed);
        self.base = base;
    }

    /// The first index at which a log in memory differs from what this one says that it was.
    /// Entries only ever change at the end, so looking stops at the first that is as it was.
    pub(super) fn first_new(&self, look: &Look<'_>) -> Index {
        let mut new = look.last().0.next();
        while new > look.log.base.0.next() {
            let below = Index::new(new.get().saturating_sub(1));
            if self.term(below) == look.term(below) {
                break;
            }
            new = below;
        }
        new
    }

    /// The highest index at or below `upto` where two logs have the same entry.
    pub(super) fn agrees_with(&self, other: &Self, upto: Index) -> Option<Index> {
        let mut at = upto.min(self.last().0).min(other.last().0);
        while at >= self.base.0 && at >= other.base.0 {
            if self.term(at) == other.term(at) {
                return Some(at);
            }
            at = Index::new(at.get().checked_sub(1)?);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(index: u64, term: u64) -> (Index, Term) {
        (Index::new(index), Term::new(term))
    }

    fn line(base: (u64, u64), terms: &[u64]) -> Line {
        let terms = terms.iter().copied().map(Term::new).collect();
        Line { base: at(base.0, base.1), terms }
    }

    #[test]
    fn a_row_grows_both_ways() {
        let mut row = Row::default();
        *row.slot(Index::new(7)).unwrap() = 'c';
        *row.slot(Index::new(9)).unwrap() = 'e';
        *row.slot(Index::new(5)).unwrap() = 'a';
        let all: String = (4..=10).filter_map(|index| row.get(Index::new(index))).collect();
        assert_eq!(all, "a\0c\0e");
    }

    #[test]
    fn a_line_is_replaced_from_the_end_and_covered_from_the_front() {
        let mut log = line((4, 1), &[1, 2, 2]);
        assert_eq!(log.last(), at(7, 2));
        assert!(!log.put(at(9, 2)) && !log.put(at(4, 2)), "a gap, and what a snapshot covers");
        assert!(log.put(at(6, 3)));
        assert_eq!(log, line((4, 1), &[1, 3]));
        assert!(log.holds(at(3, 9)) && log.holds(at(4, 1)) && log.holds(at(6, 3)));
        assert!(!log.holds(at(6, 2)) && !log.holds(at(7, 3)));
        log.begin_behind(at(5, 1));
        assert_eq!(log, line((5, 1), &[3]));
        log.begin_behind(at(6, 4));
        assert_eq!(log, line((6, 4), &[]), "it followed another entry");
        log.begin_behind(at(9, 5));
        assert_eq!(log.last(), at(9, 5));
    }

    #[test]
    fn two_lines_agree_up_to_the_first_difference() {
        let (one, other) = (line((1, 1), &[1, 2, 2, 2]), line((2, 1), &[2, 3, 3]));
        let agree = |upto| one.agrees_with(&other, Index::new(upto)).map(Index::get);
        assert_eq!((agree(9), agree(2), agree(1)), (Some(3), Some(2), None));
    }
}
