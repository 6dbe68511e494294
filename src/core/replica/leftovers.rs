//! Keys that are to be deleted, since nobody holds them any more: until it is done.
//!
//! Whoever leaves a line, or gives an item of a queue back, deletes a key by a write of its own. If
//! that is refused or fails, the deletion comes here, and is proposed again and again until it is
//! applied: the lease that the key is attached to may be renewed for years, and as long as it is
//! nobody else would get in.
//!
//! A key whose making was given up may be made yet, by a copy of that write that is still on its
//! way. Its deletion waits until all writes have ended that this node took before it:
//!
//! ```text
//!   sequence    41    42    43    44    45
//!               put   ✗     get   ┊           42 would have made the key, and is waited for no
//!                                 ┊           longer: its deletion waits for 44 to be the oldest
//!                                 del         and its watermark, 44, is above 42
//! ```
//!
//! So where the deletion has been applied, the write has been applied before, or never will be
//! (`core/machine/session.rs`). It waits for a while, since every write ends at its deadline, and
//! none has a later one than [`MAX_WAIT`](super::proposals::MAX_WAIT) from now.
//!
//! Each deletion is in here once. It says which life of a key it ends, and those of two lives are
//! two: a claim on an item may be made, given up and made anew, and be left behind each time.
//!
//! No more than [`MAX_UNDER_WAY`] are proposed at a time, so that they do not take the room of
//! those for whom somebody waits; how many there may be at all is looked at before a line is
//! entered or an item claimed ([`MAX_LEFTOVERS`](crate::core::lease::MAX_LEFTOVERS)).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::core::lease::Ends;

/// Deletions that are proposed at a time.
pub(super) const MAX_UNDER_WAY: usize = 1024;

/// See the top of the file.
#[derive(Debug)]
pub(super) struct Leftovers {
    ends: Arc<Ends>,
    /// Deletions, encoded, by the sequence that all writes under way have to have reached, and a
    /// number.
    waiting: BTreeMap<(u64, u64), Bytes>,
    /// By the number.
    under_way: BTreeMap<u64, Bytes>,
    /// Those of both.
    known: BTreeSet<Bytes>,
    last: u64,
}

impl Leftovers {
    pub(super) fn new(ends: &Arc<Ends>) -> Self {
        let (waiting, under_way, known) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { ends: Arc::clone(ends), waiting, under_way, known, last: 0 }
    }

    #[cfg(feature = "sim")]
    pub(super) fn known(&self) -> usize {
        self.known.len()
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    #[cfg(any(test, feature = "sim"))]
    pub(super) fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Takes in what was left behind since, when `next` is the sequence of the next write.
    pub(super) fn gather(&mut self, next: u64) {
        for leftover in self.ends.take_leftovers() {
            let deletion = leftover.deletion.encode().freeze();
            if !self.known.insert(deletion.clone()) {
                self.ends.deleted();
                continue;
            }
            self.last = self.last.saturating_add(1);
            let behind = if leftover.made { 0 } else { next };
            self.waiting.insert((behind, self.last), deletion);
        }
    }

    /// A deletion that may be proposed while `oldest` is the first sequence under way.
    pub(super) fn take(&mut self, oldest: u64) -> Option<(u64, BytesMut)> {
        if self.under_way.len() >= MAX_UNDER_WAY {
            return None;
        }
        let first = self.waiting.first_entry().filter(|first| first.key().0 <= oldest)?;
        let ((_, number), deletion) = first.remove_entry();
        let payload = BytesMut::from(&*deletion);
        self.under_way.insert(number, deletion);
        Some((number, payload))
    }

    /// One was applied, or is to be proposed again.
    pub(super) fn ended(&mut self, number: u64, applied: bool) {
        let Some(deletion) = self.under_way.remove(&number) else { return };
        if applied {
            self.known.remove(&deletion);
            self.ends.deleted();
        } else {
            // What it waited for has ended.
            self.waiting.insert((0, number), deletion);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::proposals::{Me, Proposals, Whose};
    use super::*;
    use crate::core::lease::{Kept, Leftover, MAX_LEFTOVERS, Which};
    use crate::core::machine::txn::{Compare, Delete, Op, Operator, Target, Txn};
    use crate::core::machine::{Command, Origin, Outcome, decode};
    use crate::ids::{Incarnation, Index, LeaseId, NodeId, Revision, Term};
    use crate::keys::KeyRange;
    use crate::time::Instant;
    use std::time::Duration;

    const ME: Me = Me { node: NodeId::new(1), incarnation: Incarnation::new(9), boot: 3 };

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn write() -> Command {
        Command::Compact { revision: Revision::new(1) }
    }

    fn kept(ends: &Arc<Ends>) -> Kept {
        let which = Which { lease: LeaseId::new(1), grant: Index::new(4), number: 9 };
        Kept::new(which, Duration::from_secs(1), at(1000), ends)
    }

    /// Of the life of a key that began then.
    fn deletion(key: &str, since: u64) -> Command {
        let (range, operator) = (KeyRange::key(key.to_owned()), Operator::Equal);
        let target = Target::CreateRevision(Revision::new(since));
        let compares = vec![Compare { range: range.clone(), operator, target }];
        let success = vec![Op::Delete(Delete { range, prev: false })];
        Command::Txn(Txn { compares, success, failure: Vec::new() })
    }

    fn leave(ends: &Arc<Ends>, key: &str, made: bool) {
        kept(ends).leave_behind(Leftover { deletion: deletion(key, 5), made });
    }

    fn applied(proposals: &mut Proposals, sequence: u64) {
        let Me { node, incarnation, boot } = ME;
        let origin = Origin { node, incarnation, boot, sequence, watermark: 0 };
        proposals.applied(&origin, Outcome::Announced).unwrap();
    }

    #[test]
    fn rec_12_a_deletion_is_proposed_until_it_is_applied_and_each_life_has_one() {
        let ends = Arc::default();
        let mut leftovers = Leftovers::new(&ends);
        leave(&ends, "a", true);
        leave(&ends, "a", true);
        leftovers.gather(1);
        leave(&ends, "a", true);
        leftovers.gather(1);
        for _ in 0..3 {
            let (number, _) = leftovers.take(1).unwrap();
            assert!(leftovers.take(1).is_none(), "it is under way");
            leftovers.ended(number, false);
        }
        let (number, _) = leftovers.take(1).unwrap();
        leftovers.ended(number, true);
        assert!(leftovers.take(1).is_none());
        // Another time it is left behind again.
        leave(&ends, "a", true);
        leftovers.gather(1);
        assert!(leftovers.take(1).is_some());
    }

    /// `REC-40`: the second is not the first one once more, whatever becomes of that; when they
    /// came together, and when they did not.
    #[test]
    fn rec_40_two_lives_of_a_key_are_two_to_delete() {
        let ends = Arc::default();
        let mut leftovers = Leftovers::new(&ends);
        let mut deleted = Vec::new();
        for (since, gathers) in [(5, false), (7, true), (9, true)] {
            kept(&ends).leave_behind(Leftover { deletion: deletion("a", since), made: true });
            if gathers {
                leftovers.gather(1);
                deleted.extend(std::iter::from_fn(|| leftovers.take(1)));
            }
        }
        let payloads: BTreeSet<_> = deleted.iter().map(|(_, payload)| payload.clone()).collect();
        assert_eq!(payloads.len(), 3);
        assert_eq!(payloads, [5, 7, 9].map(|since| deletion("a", since).encode()).into());
    }

    #[test]
    fn rec_10_so_many_are_proposed_at_a_time() {
        let ends = Arc::default();
        let mut leftovers = Leftovers::new(&ends);
        for key in 0..=MAX_UNDER_WAY {
            leave(&ends, &key.to_string(), true);
        }
        leftovers.gather(1);
        let taken: Vec<_> = std::iter::from_fn(|| leftovers.take(1)).collect();
        assert_eq!(taken.len(), MAX_UNDER_WAY);
        leftovers.ended(taken[0].0, true);
        assert!(leftovers.take(1).is_some());
    }

    /// The write that makes the key is sequence 2, and ends at its deadline. One before it waits.
    #[test]
    fn rec_10_a_key_that_may_be_made_yet_is_deleted_with_a_watermark_above_its_making() {
        let ends = Arc::default();
        let mut leftovers = Leftovers::new(&ends);
        let mut proposals = Proposals::new(ME);
        for deadline in [500, 100, 900] {
            proposals.push(Whose::Nobody, write().encode(), at(deadline), at(0)).unwrap();
        }
        proposals.offer(ME.node, Term::new(4), at(0), usize::MAX);
        assert_eq!(proposals.expire(at(100), true).len(), 1);
        leave(&ends, "a", false);
        leftovers.gather(proposals.next());
        // Those that come later do not hold it up.
        proposals.push(Whose::Nobody, write().encode(), at(9000), at(100)).unwrap();
        assert!(leftovers.take(proposals.oldest()).is_none(), "1 is under way, and 3");
        applied(&mut proposals, 1);
        assert!(leftovers.take(proposals.oldest()).is_none(), "3 is under way");
        proposals.expire(at(900), true);
        let (number, payload) = leftovers.take(proposals.oldest()).unwrap();
        proposals.push(Whose::Leftover(number), payload, at(9000), at(900)).unwrap();
        let batch = proposals.offer(ME.node, Term::new(4), at(900), usize::MAX);
        let (origin, _) = decode(batch.last().unwrap().clone()).unwrap();
        assert!(origin.watermark > 2, "{origin:?}");
    }

    #[test]
    fn rec_10_no_more_keys_are_made_when_too_many_are_left_behind() {
        let ends = Arc::default();
        let mut leftovers = Leftovers::new(&ends);
        let kept = kept(&ends);
        for key in 0..MAX_LEFTOVERS {
            assert!(!kept.is_littered());
            leave(&ends, &key.to_string(), true);
        }
        assert!(kept.is_littered());
        leftovers.gather(1);
        assert!(kept.is_littered(), "taken, and not deleted");
        // Once more: it counts no longer than until the node knows it for the same.
        let again = || Leftover { deletion: deletion("7", 5), made: true };
        kept.leave_behind(again());
        kept.leave_behind(again());
        leftovers.gather(1);
        let (number, _) = leftovers.take(1).unwrap();
        leftovers.ended(number, true);
        assert!(!kept.is_littered());
    }
}
