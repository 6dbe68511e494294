//! Leases that this node keeps alive for their holders, by its own timers: no thread for each.
//!
//! Every kept lease has one next moment: the next renewal, a third of the TTL after the last one
//! was asked for (`LSE-26`), or its deadline while a renewal is under way. Renewals fall on the
//! beats of a common measure, so that those of many leases that are due at about the same time are
//! one entry.
//!
//! ```text
//!   beats      |   |   |   |   |   |   |   |   |   |   |
//!   lease 4    asked ──────────► renew 4, 9
//!   lease 9          asked ────► ┘
//! ```
//!
//! A lease is kept until it is lost: its deadline passes, the log says that it is gone, its holder
//! lets go of it, or the node ends. Then it is over for good, and who waits for that is woken.
//!
//! What holders leave behind besides is deleted with the same patience (`leftovers.rs`).
//!
//! No more than [`MAX_KEPT`] are kept: each takes its place before its lease is asked for, and its
//! place is free as soon as its holder has let go of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::leftovers::Leftovers;
#[cfg(feature = "sim")]
use super::leftovers::MAX_UNDER_WAY;
#[cfg(feature = "sim")]
use super::sizes::Size;
#[cfg(feature = "sim")]
use crate::core::lease::MAX_LEFTOVERS;
use crate::core::lease::{End, Ends, Kept, Which, deadline};
#[cfg(feature = "sim")]
use crate::core::machine::MAX_WINDOW;
use crate::ids::{Index, LeaseId};
use crate::time::{Instant, nanos};

/// Leases that one node keeps at most.
pub(super) const MAX_KEPT: usize = 1 << 17;

/// Renewals within a TTL.
const RENEWALS: u32 = 3;

#[derive(Debug)]
struct Entry {
    kept: Arc<Kept>,
    /// The key in `due`.
    next: Instant,
}

/// See the top of the file.
#[derive(Debug)]
pub(super) struct KeptLeases {
    /// Between two beats.
    beat: Duration,
    /// By numbers that are never used again: one lease may be kept for several holders.
    by_number: BTreeMap<u64, Entry>,
    by_lease: BTreeSet<(LeaseId, u64)>,
    /// When each has to be looked at.
    due: BTreeSet<(Instant, u64)>,
    last: u64,
    /// Places taken by those that are asked for.
    asked_for: usize,
    /// What holders have let go of, and is still in here.
    ends: Arc<Ends>,
    pub(super) leftovers: Leftovers,
}

/// What is to be done about a lease that is due.
#[derive(Debug)]
pub(super) enum Due {
    Renew {
        number: u64,
        lease: LeaseId,
        deadline: Instant,
    },
    /// It is kept no more, and all who wait for that are to be woken.
    Lost(Arc<Kept>),
}

impl KeptLeases {
    pub(super) fn new(beat: Duration) -> Self {
        let (by_number, by_lease, due) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        let ends = Arc::default();
        let leftovers = Leftovers::new(&ends);
        Self { beat, by_number, by_lease, due, last: 0, asked_for: 0, ends, leftovers }
    }

    /// Places taken.
    pub(super) fn len(&self) -> usize {
        self.by_number.len().saturating_add(self.asked_for)
    }

    /// How much there is of what has a bound. What holders tell is theirs until it is heard, and
    /// each has said it for something that he held: of that there is no more than was asked for.
    #[cfg(feature = "sim")]
    pub(super) fn sizes(&self, out: &mut Vec<Size>) {
        out.push(Size::new("leases kept alive", self.len(), MAX_KEPT));
        let (let_go, undeleted) = self.ends.sizes();
        out.push(Size::new("leases that were let go of", let_go, MAX_KEPT * 2));
        let most = MAX_LEFTOVERS + MAX_WINDOW;
        out.push(Size::new("keys left behind", undeleted, most));
        out.push(Size::new("deletions known", self.leftovers.known(), undeleted));
        out.push(Size::new("deletions under way", self.leftovers.under_way(), MAX_UNDER_WAY));
    }

    /// Takes a place for a lease that is to be asked for, if there is one left.
    pub(super) fn ask(&mut self) -> bool {
        let room = self.len() < MAX_KEPT;
        self.asked_for = self.asked_for.saturating_add(usize::from(room));
        room
    }

    /// What was [asked](Self::ask) for has come to be or not, and its place is free again.
    pub(super) fn asked(&mut self) {
        self.asked_for = self.asked_for.saturating_sub(1);
    }

    /// Keeps a lease that was granted or renewed when it was asked for.
    pub(super) fn add(
        &mut self,
        (lease, grant): (LeaseId, Index),
        ttl: Duration,
        asked: Instant,
    ) -> Arc<Kept> {
        self.last = self.last.saturating_add(1);
        let which = Which { lease, grant, number: self.last };
        let kept = Arc::new(Kept::new(which, ttl, deadline(asked, ttl), &self.ends));
        let next = self.renewal(ttl, asked).min(kept.deadline());
        let entry = Entry { kept: Arc::clone(&kept), next };
        self.by_number.insert(self.last, entry);
        self.by_lease.insert((lease, self.last));
        self.due.insert((next, self.last));
        kept
    }

    /// The last beat before a third of the TTL has passed since it was asked for.
    fn renewal(&self, ttl: Duration, asked: Instant) -> Instant {
        let at = asked.after(ttl / RENEWALS);
        let beat = nanos(self.beat).max(1);
        let on_beat = Instant::from_nanos(at.nanos() / beat * beat);
        if on_beat > asked { on_beat } else { at }
    }

    /// The next lease that has to be looked at by now.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Due> {
        let (_, number) = self.due.first().copied().filter(|(at, _)| *at <= now)?;
        let entry = self.by_number.get(&number)?;
        if entry.kept.is_over(now) {
            return self.remove(number).map(Due::Lost);
        }
        let (lease, deadline) = (entry.kept.lease(), entry.kept.deadline());
        self.look_at(number, deadline);
        Some(Due::Renew { number, lease, deadline })
    }

    /// A renewal came to its end, that was asked for at a moment. Gives the lease if it is lost.
    pub(super) fn renewed(
        &mut self,
        number: u64,
        asked: Instant,
        now: Instant,
    ) -> Option<Arc<Kept>> {
        let entry = self.by_number.get(&number)?;
        let ttl = entry.kept.ttl();
        if !entry.kept.renewed(now, deadline(asked, ttl)) {
            return self.remove(number);
        }
        let until = entry.kept.deadline();
        let next = self.renewal(ttl, asked).min(until);
        self.look_at(number, next);
        None
    }

    /// Nothing is known of a renewal: it is asked for again.
    pub(super) fn not_renewed(&mut self, number: u64, again: Instant) {
        let Some(entry) = self.by_number.get(&number) else { return };
        let next = again.min(entry.kept.deadline());
        self.look_at(number, next);
    }

    /// The log says that there is no such lease for this holder.
    pub(super) fn gone(&mut self, number: u64, now: Instant) -> Option<Arc<Kept>> {
        self.remove(number).inspect(|kept| kept.end(now))
    }

    /// A lease has ended: for whoever it was kept.
    pub(super) fn ended(&mut self, lease: LeaseId, now: Instant) -> Vec<Arc<Kept>> {
        let numbers = self.by_lease.range((lease, 0)..=(lease, u64::MAX));
        let numbers: Vec<u64> = numbers.map(|(_, number)| *number).collect();
        numbers.into_iter().filter_map(|number| self.gone(number, now)).collect()
    }

    /// The state was replaced: those that are not there have ended.
    pub(super) fn replaced(
        &mut self,
        now: Instant,
        is_there: impl Fn(Which) -> bool,
    ) -> Vec<Arc<Kept>> {
        let gone = self.by_number.iter().filter(|(_, entry)| !is_there(entry.kept.which()));
        let numbers: Vec<u64> = gone.map(|(number, _)| *number).collect();
        numbers.into_iter().filter_map(|number| self.gone(number, now)).collect()
    }

    /// The node ends: nothing is kept any more.
    pub(super) fn end(&mut self, now: Instant) -> Vec<Arc<Kept>> {
        self.replaced(now, |_| false)
    }

    /// Forgets what holders have let go of. Gives the leases of those that are to be revoked.
    pub(super) fn let_go(&mut self) -> Vec<Which> {
        let mut revoke = Vec::new();
        for End { which, revoke: wanted } in self.ends.take() {
            self.remove(which.number);
            revoke.extend(wanted.then_some(which));
        }
        revoke
    }

    /// When [`take_due`](Self::take_due) has something.
    pub(super) fn earliest(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    fn look_at(&mut self, number: u64, next: Instant) {
        let Some(entry) = self.by_number.get_mut(&number) else { return };
        self.due.remove(&(entry.next, number));
        entry.next = next;
        self.due.insert((next, number));
    }

    fn remove(&mut self, number: u64) -> Option<Arc<Kept>> {
        let Entry { kept, next } = self.by_number.remove(&number)?;
        self.due.remove(&(next, number));
        self.by_lease.remove(&(kept.lease(), number));
        Some(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(feature = "sim")]
    use crate::core::lease::Leftover;
    #[cfg(feature = "sim")]
    use crate::core::machine::Command;
    #[cfg(feature = "sim")]
    use crate::ids::Revision;

    #[test]
    fn lse_26_so_many_are_kept_and_a_place_is_free_when_its_holder_lets_go() {
        let now = Instant::from_nanos(1_000_000);
        let mut kept = KeptLeases::new(Duration::from_millis(100));
        kept.asked_for = MAX_KEPT - 1;
        assert!(kept.ask(), "before it is asked for, not when it is there");
        assert!(!kept.ask());
        kept.asked();
        let holder = kept.add((LeaseId::new(7), Index::new(3)), Duration::from_secs(9), now);
        assert!(!kept.ask());
        holder.let_go(now);
        assert!(kept.let_go().is_empty() && kept.ask(), "long before it would have been renewed");
        assert_eq!(kept.earliest(), None);
        let holder = kept.add((LeaseId::new(7), Index::new(3)), Duration::from_secs(9), now);
        holder.end(now);
        holder.revoke_later();
        assert_eq!(kept.let_go(), [holder.which()]);
    }

    #[cfg(feature = "sim")]
    #[test]
    fn rec_10_what_holders_tell_is_among_what_must_not_grow() {
        let mut kept = KeptLeases::new(Duration::from_millis(100));
        let now = Instant::default();
        let holder = kept.add((LeaseId::new(7), Index::new(3)), Duration::from_secs(9), now);
        let sizes = |kept: &KeptLeases| {
            let mut out = Vec::new();
            kept.sizes(&mut out);
            assert!(out.iter().all(|size| size.is <= size.most), "{out:?}");
            out.iter().map(|size| size.is).collect::<Vec<_>>()
        };
        assert_eq!(sizes(&kept), [1, 0, 0, 0, 0]);
        holder.let_go(now);
        for key in 0..3 {
            let deletion = Command::Compact { revision: Revision::new(key) };
            holder.leave_behind(Leftover { deletion, made: true });
        }
        assert_eq!(sizes(&kept), [1, 1, 3, 0, 0], "said, and not heard");
        assert!(kept.let_go().is_empty());
        kept.leftovers.gather(1);
        let (number, _) = kept.leftovers.take(1).unwrap();
        assert_eq!(sizes(&kept), [0, 0, 3, 3, 1]);
        kept.leftovers.ended(number, true);
        assert_eq!(sizes(&kept), [0, 0, 2, 2, 0]);
    }
}
