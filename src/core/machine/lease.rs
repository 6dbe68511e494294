//! Leases: keys that go when nobody says in time that they should stay.
//!
//! # Time that is replicated
//!
//! There is one lease clock, in milliseconds, and it is part of the state: it moves only when a
//! *tick* is applied, an entry of the leader's that says how much time has passed since the one
//! before (design 4.5). No member's own clock decides anything. So leases expire at the same place
//! in the log on all members, a new leader goes on from where the clock stands, and one that leads
//! no more can expire nothing, since its ticks are never committed.
//!
//! ```text
//!   entry                     clock   lease 7 (ttl 5000)     keys
//!   tick +40                   1040
//!   grant 7, ttl 5000          1040   until 6040
//!   put a lease 7              1040   until 6040             a
//!   tick +3000                 4040   until 6040             a
//!   renew 7                    4040   until 9040             a
//!   tick +5000                 9040   until 9040             a
//!   tick +1                    9041   gone                   a deleted, at a revision of its own
//! ```
//!
//! The clock shows whole milliseconds that have passed, so a lease lasts through the one that its
//! `until` names: what began somewhere within a millisecond has its whole time.
//!
//! # Never early
//!
//! A leader puts a tick in front of what it proposes together with it, so a grant or a renewal
//! counts from the moment at which its leader took it, not from the tick before. A leader that has
//! not come to its own term yet cannot: it does not know the newest tick. What is applied before
//! the first tick of a term is therefore *fresh*: its time begins with that tick. That makes it
//! last a little longer, never shorter.
//!
//! # Many at once
//!
//! One tick ends no more than [`MAX_EXPIRED`] leases with [`MAX_EXPIRED_KEYS`] keys in all, those
//! first that were due first: an entry must not keep all others waiting. Only a lease that has more
//! keys than that itself is ended by a tick of its own, since they go at one revision. Those left
//! over are as good as gone (`LSE-14`), neither to be renewed nor to be given or to keep a key that
//! is put, until the next tick ends them. The leader proposes it at once.
//!
//! # Ids
//!
//! An id that nobody has given is chosen (`LSE-2`), out of the quarter of all ids in which the
//! highest bit is not set and the next one is: far from the small numbers that programs give, and
//! positive for those to whom ids are signed. It follows from the index of the grant by a mapping
//! that is one to one, so two grants never choose the same; if somebody has given it away, that
//! of the next index is tried.
//!
//! # Keys
//!
//! A put attaches its key, and detaches it from the lease that it had (`LSE-7`). What is attached
//! follows from the records, so it is not kept in an image: whoever restores one finds it out
//! (`LSE-19`, `LSE-24`).

use std::collections::{BTreeMap, BTreeSet};

use super::outcome::Refusal;
use crate::core::mvcc::KeyValue;
use crate::ids::{Index, LeaseId, Term};

/// The longest that a lease may be asked for (`LSE-3`): nine thousand million seconds.
pub(crate) const MAX_TTL_MS: u64 = 9_000_000_000_000;

/// Leases that one tick ends at most.
pub(crate) const MAX_EXPIRED: usize = 1000;

/// Keys that one tick deletes at most, unless the first lease alone has more: some ten
/// milliseconds.
pub(crate) const MAX_EXPIRED_KEYS: usize = 5000;

/// Where the lease clock stops: some hundred million years. A TTL more still fits.
pub(super) const MAX_CLOCK_MS: u64 = 1 << 62;

/// All leases, and the clock that they go by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Leases {
    /// In milliseconds, at most [`MAX_CLOCK_MS`]. Never falls.
    clock: u64,
    /// The term of the last tick. Never falls.
    ticked: Term,
    by_id: BTreeMap<LeaseId, Lease>,
    /// When each is due that is not fresh.
    due: BTreeSet<(u64, LeaseId)>,
    /// Those whose time begins with the next tick.
    fresh: BTreeSet<LeaseId>,
}

/// One lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    /// In milliseconds, at most [`MAX_TTL_MS`], never 0.
    pub(crate) ttl: u64,
    /// Where in the log it was granted. When it is gone its id may be granted again, at another
    /// place.
    pub(crate) grant: Index,
    /// On the lease clock: the last millisecond in which it is there. `None`: it is fresh.
    pub(crate) until: Option<u64>,
    /// Those whose live version names it.
    keys: BTreeSet<Box<[u8]>>,
}

impl Leases {
    /// As of an image: without any keys yet.
    pub(crate) fn restore(
        clock: u64,
        ticked: Term,
        leases: impl IntoIterator<Item = (LeaseId, Lease)>,
    ) -> Self {
        let mut all = Self { clock, ticked, ..Self::default() };
        for (id, lease) in leases {
            let until = lease.until;
            all.by_id.insert(id, lease);
            match until {
                Some(until) => drop(all.due.insert((until, id))),
                None => drop(all.fresh.insert(id)),
            }
        }
        all
    }

    /// The lease clock, in milliseconds.
    pub(crate) fn clock(&self) -> u64 {
        self.clock
    }

    /// The term of the last tick.
    pub(crate) fn ticked(&self) -> Term {
        self.ticked
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(crate) fn get(&self, id: LeaseId) -> Option<&Lease> {
        self.by_id.get(&id)
    }

    /// By id.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (LeaseId, &Lease)> {
        self.by_id.iter().map(|(id, lease)| (*id, lease))
    }

    /// Ids by when they are due, the fresh ones last (`LSE-21`).
    pub(crate) fn ids(&self) -> impl Iterator<Item = LeaseId> {
        self.due.iter().map(|(_, id)| *id).chain(self.fresh.iter().copied())
    }

    /// The first moment of the lease clock at which one is due.
    pub(crate) fn next_due(&self) -> Option<u64> {
        self.due.first().map(|(until, _)| until.saturating_add(1))
    }

    /// Milliseconds that are left of one, by the last tick (`LSE-20`).
    pub(crate) fn remaining(&self, lease: &Lease) -> u64 {
        lease.until.map_or(lease.ttl, |until| until.saturating_sub(self.clock))
    }

    /// The lease clock goes on. Returns those that are to end, in the order in which they were due
    /// (`LSE-8`).
    pub(super) fn tick(&mut self, term: Term, advance: u64) -> Vec<LeaseId> {
        self.clock = self.clock.saturating_add(advance).min(MAX_CLOCK_MS);
        self.ticked = self.ticked.max(term);
        for id in std::mem::take(&mut self.fresh) {
            self.begin(id, term);
        }
        let due = self.due.iter().take_while(|(until, _)| *until < self.clock);
        let (mut ended, mut keys) = (Vec::new(), 0_usize);
        for (_, id) in due.take(MAX_EXPIRED) {
            keys = keys.saturating_add(self.by_id.get(id).map_or(0, |lease| lease.keys.len()));
            if keys > MAX_EXPIRED_KEYS && !ended.is_empty() {
                break;
            }
            ended.push(*id);
        }
        ended
    }

    /// Adds a lease (`LSE-2`), by the entry at an index. For 0 an id is chosen.
    pub(super) fn grant(
        &mut self,
        (id, index): (LeaseId, Index),
        ttl: u64,
        term: Term,
    ) -> Result<LeaseId, Refusal> {
        let id = if id == LeaseId::new(0) { self.choose(index) } else { id };
        if self.by_id.contains_key(&id) {
            return Err(Refusal::LeaseExists(id));
        }
        self.by_id.insert(id, Lease::new(ttl, index, None));
        self.begin(id, term);
        Ok(id)
    }

    /// An id that is free, for the grant at an index: the first try but for those that somebody has
    /// given away, so there are no more tries than leases, and one.
    fn choose(&self, index: Index) -> LeaseId {
        let last = u64::try_from(self.by_id.len()).unwrap_or(u64::MAX);
        let mut ids = (0..=last).map(|more| LeaseId::new(chosen(index.get().wrapping_add(more))));
        // Different numbers have different ids, so one of so many is free.
        ids.find(|id| !self.by_id.contains_key(id)).unwrap_or_default()
    }

    /// Gives a lease its whole time again. Returns that, if there is such a lease and it is not due
    /// (`LSE-12`, `LSE-13`, `LSE-14`).
    pub(super) fn renew(&mut self, id: LeaseId, term: Term) -> Option<u64> {
        if !self.is_alive(id) {
            return None;
        }
        self.begin(id, term)
    }

    /// Is it there, and not due?
    fn is_alive(&self, id: LeaseId) -> bool {
        self.by_id.get(&id).is_some_and(|it| it.until.is_none_or(|until| until >= self.clock))
    }

    /// The time of a lease begins now, or with the first tick of the term.
    fn begin(&mut self, id: LeaseId, term: Term) -> Option<u64> {
        let lease = self.by_id.get_mut(&id)?;
        if let Some(until) = lease.until.take() {
            self.due.remove(&(until, id));
        }
        if term > self.ticked {
            self.fresh.insert(id);
        } else {
            let until = self.clock.saturating_add(lease.ttl);
            lease.until = Some(until);
            self.fresh.remove(&id);
            self.due.insert((until, id));
        }
        Some(lease.ttl)
    }

    /// Takes a lease away. Returns the keys that go with it, in order (`LSE-6`).
    pub(super) fn remove(&mut self, id: LeaseId) -> Option<BTreeSet<Box<[u8]>>> {
        let lease = self.by_id.remove(&id)?;
        self.fresh.remove(&id);
        if let Some(until) = lease.until {
            self.due.remove(&(until, id));
        }
        Some(lease.keys)
    }

    /// May a key be given this lease? 0 stands for none (`KV-31`).
    pub(super) fn check(&self, id: LeaseId) -> Result<(), Refusal> {
        if id == LeaseId::new(0) || self.is_alive(id) {
            return Ok(());
        }
        Err(Refusal::LeaseNotFound(id))
    }

    /// Notes that a key of an image names a lease. False if there is none.
    pub(super) fn attach(&mut self, key: &[u8], id: LeaseId) -> bool {
        let lease = self.by_id.get_mut(&id);
        lease.is_some_and(|lease| lease.keys.insert(key.into()))
    }

    /// A key was put with `lease`; `before` is what it was (`LSE-7`).
    pub(super) fn put(&mut self, key: &[u8], lease: LeaseId, before: Option<&KeyValue>) {
        if before.is_some_and(|before| before.lease() == lease) {
            return;
        }
        self.delete(before);
        if let Some(lease) = self.by_id.get_mut(&lease) {
            lease.keys.insert(key.into());
        }
    }

    /// A key was deleted, or put with another lease.
    pub(super) fn delete(&mut self, before: Option<&KeyValue>) {
        let Some(before) = before.filter(|before| before.lease() != LeaseId::new(0)) else {
            return;
        };
        if let Some(lease) = self.by_id.get_mut(&before.lease()) {
            lease.keys.remove(before.key());
        }
    }
}

/// The id of a number: one to one for numbers below [`CHOSEN`].
fn chosen(number: u64) -> u64 {
    // Multiplying by an odd number can be undone within so many bits, and so can the shift.
    let mixed = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15) & (CHOSEN - 1);
    let first = mixed(number);
    CHOSEN | mixed(first ^ (first >> 31))
}

/// The lowest id that may be chosen; the highest has all the bits below it set too.
const CHOSEN: u64 = 1 << 62;

impl Lease {
    /// One without keys.
    pub(crate) fn new(ttl: u64, grant: Index, until: Option<u64>) -> Self {
        Self { ttl, grant, until, keys: BTreeSet::new() }
    }

    /// The keys attached, in order.
    pub(crate) fn keys(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.keys.iter().map(AsRef::as_ref)
    }
}

#[cfg(test)]
mod explore;
#[cfg(test)]
mod tests;
