//! Keep-alives, gathered: what waits together is renewed by one entry.
//!
//! ```text
//!   caller ─── keep 7 ──┐
//!   caller ─── keep 9 ──┤  waiting ──► renew 7, 9, 4 ──► one write of this node's own
//!   kept lease 4 is due ┘              (batch 12)             │
//!                                                             ▼ applied here: 5000, gone, 3000
//!   each is told its own: 5000, not found, 3000  ◄────────────┘
//! ```

use std::collections::BTreeMap;

use super::io::Token;
use crate::ids::LeaseId;
use crate::time::Instant;

/// Who wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    Caller(Token),
    /// A caller that wants the lease to be kept from then on.
    Adopter(Token),
    /// A lease that is kept, by its number.
    Kept(u64),
}

/// A lease that is to have its whole time again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Renewal {
    pub(super) lease: LeaseId,
    pub(super) asker: Asker,
    /// Before anything of it left this node.
    pub(super) asked: Instant,
    pub(super) deadline: Instant,
}

/// Renewals that one entry is to carry.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) number: u64,
    pub(super) leases: Vec<LeaseId>,
    /// The latest deadline of any.
    pub(super) deadline: Instant,
}

/// See the top of the file.
#[derive(Debug, Default)]
pub(super) struct Renewals {
    waiting: Vec<Renewal>,
    /// By the number of their batch, in the order in which it names them; but for those that have
    /// been answered meanwhile, which are `None`.
    under_way: BTreeMap<u64, Vec<Option<Renewal>>>,
    /// Batches made so far.
    batches: u64,
    /// No deadline is earlier. May be too early itself, which costs one look.
    earliest: Option<Instant>,
}

impl Renewals {
    pub(super) fn push(&mut self, renewal: Renewal) {
        let deadline = renewal.deadline;
        self.earliest = Some(self.earliest.map_or(deadline, |earliest| earliest.min(deadline)));
        self.waiting.push(renewal);
    }

    /// What waits, up to so many, as one batch.
    pub(super) fn take(&mut self, most: usize) -> Option<Batch> {
        let count = self.waiting.len().min(most.max(1));
        let batch: Vec<Option<Renewal>> = self.waiting.drain(..count).map(Some).collect();
        let deadline = batch.iter().flatten().map(|renewal| renewal.deadline).max()?;
        let leases = batch.iter().flatten().map(|renewal| renewal.lease).collect();
        self.batches = self.batches.saturating_add(1);
        self.under_way.insert(self.batches, batch);
        Some(Batch { number: self.batches, leases, deadline })
    }

    /// A batch has come to its end.
    pub(super) fn ended(&mut self, number: u64) -> Vec<Option<Renewal>> {
        self.under_way.remove(&number).unwrap_or_default()
    }

    /// Those whose deadline has passed, and whether they were part of a batch: if not, nothing has
    /// been renewed.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<(Renewal, bool)> {
        let mut expired = Vec::new();
        if self.earliest.is_none_or(|earliest| now < earliest) {
            return expired;
        }
        let late = |renewal: &mut Renewal| renewal.deadline <= now;
        expired.extend(self.waiting.extract_if(.., late).map(|renewal| (renewal, false)));
        for slot in self.under_way.values_mut().flatten() {
            expired.extend(slot.take_if(|it| it.deadline <= now).map(|renewal| (renewal, true)));
        }
        let left = self.under_way.values().flatten().flatten().chain(&self.waiting);
        self.earliest = left.map(|renewal| renewal.deadline).min();
        expired
    }

    pub(super) fn earliest(&self) -> Option<Instant> {
        self.earliest
    }

    /// Batches under way.
    #[cfg(feature = "sim")]
    pub(super) fn batches(&self) -> usize {
        self.under_way.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    fn renewal(lease: u64, deadline: u64) -> Renewal {
        let asker = Asker::Caller(Token(lease));
        Renewal { lease: LeaseId::new(lease), asker, asked: at(0), deadline: at(deadline) }
    }

    fn ids(renewals: impl IntoIterator<Item = Renewal>) -> Vec<u64> {
        renewals.into_iter().map(|renewal| renewal.lease.get()).collect()
    }

    #[test]
    fn lse_12_what_waits_together_is_one_batch() {
        let mut renewals = Renewals::default();
        assert!(renewals.take(10).is_none());
        for lease in [7, 9, 7] {
            renewals.push(renewal(lease, lease * 10));
        }
        let batch = renewals.take(2).unwrap();
        assert_eq!((batch.leases.len(), batch.deadline), (2, at(90)));
        renewals.push(renewal(4, 1000));
        let next = renewals.take(10).unwrap();
        assert_eq!(next.leases, [7, 4].map(LeaseId::new));
        assert_eq!(ids(renewals.ended(batch.number).into_iter().flatten()), [7, 9]);
        assert!(renewals.ended(batch.number).is_empty());
    }

    #[test]
    fn a_deadline_reaches_a_renewal_wherever_it_is_and_keeps_the_places_of_the_others() {
        let mut renewals = Renewals::default();
        renewals.push(renewal(1, 10));
        renewals.push(renewal(2, 20));
        let batch = renewals.take(10).unwrap();
        renewals.push(renewal(3, 10));
        assert!(renewals.expired(at(9)).is_empty());
        let expired = renewals.expired(at(10));
        let told: Vec<_> = expired.iter().map(|(it, sent)| (it.lease.get(), *sent)).collect();
        assert_eq!(told, [(3, false), (1, true)]);
        assert_eq!(renewals.earliest(), Some(at(20)));
        let left = renewals.ended(batch.number);
        assert!(left[0].is_none() && left[1].is_some(), "the second result is for the second");
    }
}
