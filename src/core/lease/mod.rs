//! A lease as its holder sees it: until when may be relied on it?
//!
//! The machine decides when a lease ends, by a clock that is replicated. Its holder cannot ask that
//! for every step that it takes, so it has a deadline by its own clock, which is over before the
//! cluster ends the lease, whatever is slow or lost in between:
//!
//! ```text
//!   holder's clock    asked                                          deadline
//!   ──────────────────┼──────────────────────────────────────────────┤╌╌╌╌╌╌╌┤
//!                     └─ renewal ─►  tick, renew  ◄─ here the TTL begins     │ TTL + asked
//!   lease clock       ───────────────┼───────────────────────────────────────────────┤ expires
//! ```
//!
//! It counts from *before* the question left, where the lease counts from when a leader took it.
//! And it ends a little before the TTL has passed ([`margin`]), since two clocks do not run alike.
//!
//! Invariants of a [`Kept`]:
//! - its deadline never falls while it is held, and once it is over it stays over: whoever has seen
//!   that it is lost never sees that it is held. What ended before its time has the moment of its
//!   end for a deadline: nobody is told to rely on what is over;
//! - its node hears of a holder that lets go of it, and keeps it no more ([`Ends`]);
//! - what its holder leaves behind, keys attached to it that nobody holds any more, its node
//!   deletes, however long that takes ([`Leftover`]);
//! - whoever ends it wakes all who wait for that, with nothing locked.
//!
//! Not here: when to renew, which the replica does by its own timers (`replica/kept.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::core::machine::{Command, Outcome};
use crate::ids::{Index, LeaseId};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::time::Instant;

#[cfg(test)]
mod tests;
mod waiters;

pub(crate) use self::waiters::Waiters;

/// What a deadline leaves for clocks that do not run alike: a thousandth, which is more than what
/// the clocks of two machines differ by, and a millisecond for the grain of the lease clock.
pub(crate) fn margin(ttl: Duration) -> Duration {
    ttl / 1000 + Duration::from_millis(1)
}

/// Until when a lease may be relied on that was asked for, or renewed, at a moment.
pub(crate) fn deadline(asked: Instant, ttl: Duration) -> Instant {
    asked.after(ttl.saturating_sub(margin(ttl)))
}

/// How a lease comes to be kept.
#[derive(Debug)]
pub(crate) enum Opening {
    /// An encoded grant.
    Grant(BytesMut),
    /// It is there, and is renewed first to learn its TTL.
    Adopt(LeaseId),
}

impl Opening {
    /// Of the command.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Grant(payload) => payload.len(),
            Self::Adopt(_) => 0,
        }
    }
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Opened {
    Kept(Offered),
    /// The grant or the renewal ended so.
    Not(Outcome),
}

/// What is known of a lease (`LSE-20`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) granted: Duration,
    /// 0 for one that is due.
    pub(crate) remaining: Duration,
    /// Those attached, in order; none if they were not asked for.
    pub(crate) keys: Vec<Bytes>,
}

/// Which lease is kept, and as what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Which {
    pub(crate) lease: LeaseId,
    /// Where in the log it was granted: an id may be granted again when its lease is gone, and that
    /// is another lease.
    pub(crate) grant: Index,
    /// Its name among those that its node keeps, which may be several of one lease.
    pub(crate) number: u64,
}

/// A lease that is kept alive. Shared by its holders and whoever renews it.
#[derive(Debug)]
pub(crate) struct Kept {
    which: Which,
    ttl: Duration,
    /// In nanoseconds. Does not fall but with [`OVER`], which it has once it is.
    deadline: AtomicU64,
    /// Who waits for its end.
    pub(crate) waiters: Waiters,
    ends: Arc<Ends>,
}

/// What holders tell the node that keeps their leases: those that they have let go of, each once or
/// twice at most, and what is to be deleted behind them.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    /// Whether there are any: read without the lock.
    filled: AtomicBool,
    list: Mutex<Vec<End>>,
    /// The same of leftovers.
    left: AtomicBool,
    /// By the deletion, encoded: each once. A key may have several lives that are to end.
    leftovers: Mutex<BTreeMap<Bytes, Leftover>>,
    /// Leftovers that are not known to be deleted: these, and those that the node has taken.
    undeleted: AtomicUsize,
}

/// So many deletions may be left behind before no more is made that may have to be deleted.
pub(crate) const MAX_LEFTOVERS: usize = 1 << 16;

/// What is attached to a kept lease and held by nobody, which its node is to delete: whoever held
/// it could not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leftover {
    /// Ends the life of the key that is meant, and no other: it may be applied more than once, and
    /// when somebody else has made the key anew. Of several keys, the same of each.
    pub(crate) deletion: Command,
    /// The key was there. Otherwise it may be made yet, and the deletion must not be applied first.
    pub(crate) made: bool,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) which: Which,
    /// Nobody has asked for the end of the lease, and it is to end.
    pub(crate) revoke: bool,
}

impl Ends {
    fn push(&self, end: End) {
        self.list.lock().push(end);
        self.filled.store(true, Ordering::SeqCst);
    }

    /// Those that came since the last time.
    pub(crate) fn take(&self) -> Vec<End> {
        if !self.filled.load(Ordering::SeqCst) {
            return Vec::new();
        }
        let mut list = self.list.lock();
        self.filled.store(false, Ordering::SeqCst);
        std::mem::take(&mut *list)
    }

    /// The leftovers that came since the last time.
    pub(crate) fn take_leftovers(&self) -> impl Iterator<Item = Leftover> {
        let mut taken = BTreeMap::new();
        if self.left.load(Ordering::SeqCst) {
            let mut leftovers = self.leftovers.lock();
            self.left.store(false, Ordering::SeqCst);
            taken = std::mem::take(&mut *leftovers);
        }
        taken.into_values()
    }

    /// One of those that were taken is deleted, or was taken before.
    pub(crate) fn deleted(&self) {
        self.undeleted.fetch_sub(1, Ordering::SeqCst);
    }

    /// Those that let go and were not heard yet, and the leftovers that are not deleted.
    #[cfg(feature = "sim")]
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.list.lock().len(), self.undeleted.load(Ordering::SeqCst))
    }
}

/// A kept lease on its way to whoever asked for it. If it does not get there, because nobody waits
/// any more, it is let go of, and its lease is revoked if it was granted for that: what was there
/// before is not for who gives up to end.
#[derive(Debug)]
pub(crate) struct Offered {
    kept: Option<Arc<Kept>>,
    adopted: bool,
}

impl Offered {
    pub(crate) fn granted(kept: Arc<Kept>) -> Self {
        Self { kept: Some(kept), adopted: false }
    }

    pub(crate) fn adopted(kept: Arc<Kept>) -> Self {
        Self { kept: Some(kept), adopted: true }
    }

    #[cfg(test)]
    pub(crate) fn kept(&self) -> Option<&Arc<Kept>> {
        self.kept.as_ref()
    }

    /// It got there. From now on its holder sees to its end.
    pub(crate) fn take(mut self) -> Option<Arc<Kept>> {
        self.kept.take()
    }
}

impl Drop for Offered {
    fn drop(&mut self) {
        if let Some(kept) = self.kept.take() {
            // Nobody is there to be told when it ended.
            if self.adopted {
                kept.let_go(Instant::default());
            } else {
                kept.end(Instant::default());
                kept.revoke_later();
            }
        }
    }
}

/// The highest bit: no clock comes that far.
const OVER: u64 = 1 << 63;

impl Kept {
    pub(crate) fn new(which: Which, ttl: Duration, deadline: Instant, ends: &Arc<Ends>) -> Self {
        let deadline = AtomicU64::new(nanos_of(deadline));
        Self { which, ttl, deadline, waiters: Waiters::default(), ends: Arc::clone(ends) }
    }

    pub(crate) fn lease(&self) -> LeaseId {
        self.which.lease
    }

    pub(crate) fn which(&self) -> Which {
        self.which
    }

    pub(crate) fn ttl(&self) -> Duration {
        self.ttl
    }

    /// By the clock of the node. Of one that is over, the moment at which it was, at the latest.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::from_nanos(self.deadline.load(Ordering::SeqCst) & !OVER)
    }

    /// It has been renewed. False if it was over before that.
    pub(crate) fn renewed(&self, now: Instant, deadline: Instant) -> bool {
        if self.is_over(now) {
            return false;
        }
        let later = |old: u64| (old & OVER == 0).then(|| old.max(nanos_of(deadline)));
        self.deadline.fetch_update(Ordering::SeqCst, Ordering::SeqCst, later).is_ok()
    }

    /// May it be relied on no longer? Whoever sees that its time has passed makes it so for all.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        let mut seen = self.deadline.load(Ordering::SeqCst);
        while seen & OVER == 0 {
            if now.nanos() < seen {
                return false;
            }
            let over = seen | OVER;
            let swapped =
                self.deadline.compare_exchange(seen, over, Ordering::SeqCst, Ordering::SeqCst);
            match swapped {
                Ok(_) => return true,
                Err(other) => seen = other,
            }
        }
        true
    }

    /// It may be relied on no longer, from now on. To be followed by [`Waiters::wake`].
    pub(crate) fn end(&self, now: Instant) {
        let ended = |old: u64| (old & OVER == 0).then(|| old.min(nanos_of(now)) | OVER);
        // What is over already has ended when it did.
        let _ = self.deadline.fetch_update(Ordering::SeqCst, Ordering::SeqCst, ended);
    }

    /// Its holder ends it: its node is to keep it no more.
    pub(crate) fn let_go(&self, now: Instant) {
        self.end(now);
        self.ends.push(End { which: self.which, revoke: false });
    }

    /// What [ended](Kept::end) is to be revoked by its node, which does so at its next tick.
    pub(crate) fn revoke_later(&self) {
        self.ends.push(End { which: self.which, revoke: true });
    }

    /// Something is to be deleted by its node, at its next tick or later.
    pub(crate) fn leave_behind(&self, leftover: Leftover) {
        let ends = &self.ends;
        let deletion = leftover.deletion.encode().freeze();
        let mut leftovers = ends.leftovers.lock();
        if leftovers.insert(deletion, leftover).is_none() {
            ends.undeleted.fetch_add(1, Ordering::SeqCst);
        }
        drop(leftovers);
        ends.left.store(true, Ordering::SeqCst);
    }

    /// Is so much left behind on its node that no more is to be made?
    pub(crate) fn is_littered(&self) -> bool {
        self.ends.undeleted.load(Ordering::SeqCst) >= MAX_LEFTOVERS
    }
}

fn nanos_of(at: Instant) -> u64 {
    at.nanos().min(OVER - 1)
}
