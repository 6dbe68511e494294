//! Leases, judged in true time: does any end before its holder has stopped relying on it?
//!
//! Members are looked at after each of their turns. The first one in which a lease is gone has
//! ended it; what all clocks said at that moment is kept, and is what deadlines are held against,
//! also those that somebody is told of later:
//!
//! ```text
//!   true time          ───────────────────────────┼──────────────►  the first member ends lease 7
//!   clock of holder 1  ───── deadline ────────────┤ 9.120           fine: 9.003 is before that
//!   clock of holder 2  ───────────────────────────┤ 9.118 ── deadline 9.200, told afterwards: not
//! ```
//!
//! | what must hold | rules |
//! |---|---|
//! | a lease that nobody revoked ends after every deadline that was told of it | `LSE-11` |
//! | an ended lease is not renewed: what a deadline counts from was before | `LSE-13`, `LSE-14` |
//! | without renewals it ends, soon after what was left of it | `LSE-8`, `LSE-16` |
//!
//! The first only if clocks run as alike as is promised: [`Tenures::loose`] says that they do not.
//! What a holder sees of its session is judged where it looks (`workload/hold/`).

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use crate::core::lease::{Kept, deadline};
use crate::core::replica::Replica;
use crate::ids::{Index, LeaseId, NodeId, Term};
use crate::sim::seen::{Clocks, Judge, Seen};
use crate::time::Instant;

/// What is known of leases that somebody relies on.
#[derive(Debug, Default)]
pub(crate) struct Tenures {
    /// Clocks do things that no deadline allows for.
    loose: bool,
    tenures: BTreeMap<LeaseId, Tenure>,
    claims: Vec<Claim>,
    /// See [`outlived`](Self::outlived).
    outlived: usize,
    /// How far members had applied their logs when they were looked at.
    applied: BTreeMap<NodeId, Index>,
}

/// One lease, from its grant to its end.
#[derive(Debug)]
struct Tenure {
    ttl: Duration,
    /// Whoever has applied this has had it.
    from: Index,
    /// And the term in which it had.
    term: Term,
    /// Somebody may have revoked it.
    revoked: bool,
    ended: Option<Ended>,
}

/// When a lease was gone at the first of all members.
#[derive(Clone, Debug)]
struct Ended {
    by: NodeId,
    truth: Instant,
    clocks: BTreeMap<NodeId, Instant>,
}

/// Somebody relies on a lease.
#[derive(Debug)]
struct Claim {
    node: NodeId,
    lease: LeaseId,
    /// As long as it may be told of a later deadline.
    kept: Option<Weak<Kept>>,
    /// The latest deadline that it was told, by the clock of its member.
    told: Instant,
}

/// For how long, by the clock of its member.
#[derive(Debug)]
pub(crate) enum Until {
    /// As long as it is renewed.
    Kept(Weak<Kept>),
    Fixed(Instant),
}

impl Claim {
    fn new(node: NodeId, lease: LeaseId, until: Until) -> Self {
        let (kept, told) = match until {
            Until::Kept(kept) => (Some(kept), Instant::default()),
            Until::Fixed(told) => (None, told),
        };
        let mut claim = Self { node, lease, kept, told };
        claim.look();
        claim
    }

    /// Notes until when it may rely on the lease. What has ended before its time says that it was
    /// over then, and that is not what it was told before.
    fn look(&mut self) {
        let Some(kept) = &self.kept else { return };
        match kept.upgrade() {
            Some(kept) => self.told = self.told.max(kept.deadline()),
            None => self.kept = None,
        }
    }
}

impl Tenures {
    /// From now on clocks do what deadlines do not allow for, or do so no more. What was told
    /// before is not judged then.
    pub(crate) fn loose(&mut self, loose: bool) {
        self.loose = loose;
        if !loose {
            self.claims.clear();
        }
    }

    pub(crate) fn is_loose(&self) -> bool {
        self.loose
    }

    /// A lease was granted; whoever has applied `from` has had it. One that was granted under the
    /// id of one that has ended takes its place.
    pub(crate) fn begin(&mut self, lease: LeaseId, ttl: Duration, from: Index, term: Term) {
        if self.tenures.get(&lease).is_none_or(|it| it.ended.is_some()) {
            self.claims.retain(|claim| claim.lease != lease);
            let tenure = Tenure { ttl, from, term, revoked: false, ended: None };
            self.tenures.insert(lease, tenure);
        }
    }

    /// Somebody is about to revoke it, or might.
    pub(crate) fn revoking(&mut self, lease: LeaseId) {
        if let Some(tenure) = self.tenures.get_mut(&lease).filter(|it| it.ended.is_none()) {
            tenure.revoked = true;
        }
    }

    /// May its end come before a deadline that its holder was told?
    pub(crate) fn is_excused(&self, lease: LeaseId) -> bool {
        self.loose || self.tenures.get(&lease).is_none_or(|tenure| tenure.revoked)
    }

    /// Somebody at a member relies on it.
    pub(crate) fn claim(&mut self, node: NodeId, lease: LeaseId, until: Until) {
        self.claims.push(Claim::new(node, lease, until));
    }

    /// Has any member ended it?
    pub(crate) fn has_ended(&self, lease: LeaseId) -> bool {
        self.tenures.get(&lease).is_none_or(|tenure| tenure.ended.is_some())
    }

    /// Had a member ended it at this true time?
    pub(crate) fn had_ended(&self, lease: LeaseId, at: Instant) -> bool {
        let ended = self.tenures.get(&lease).and_then(|tenure| tenure.ended.as_ref());
        ended.is_some_and(|ended| ended.truth < at)
    }

    /// Leases that nobody revoked, and that ended in a later term than they began in.
    pub(crate) fn outlived(&self) -> usize {
        self.outlived
    }

    /// A member has come to `applied`, and has these leases.
    fn look(
        &mut self,
        (node, applied): (NodeId, (Index, Term)),
        is_there: impl Fn(LeaseId) -> bool,
        clocks: impl Fn() -> (Instant, BTreeMap<NodeId, Instant>),
    ) -> Result<(), String> {
        let (applied, term) = applied;
        if self.applied.insert(node, applied) != Some(applied) {
            let running = self.tenures.iter_mut().filter(|(_, it)| it.ended.is_none());
            for (lease, tenure) in running {
                if tenure.from <= applied && !is_there(*lease) {
                    let (truth, clocks) = clocks();
                    self.outlived += usize::from(!tenure.revoked && tenure.term < term);
                    tenure.ended = Some(Ended { by: node, truth, clocks });
                }
            }
        }
        self.judge()
    }

    /// Holds what is relied on against what has ended.
    fn judge(&mut self) -> Result<(), String> {
        self.claims.iter_mut().for_each(Claim::look);
        for claim in &self.claims {
            let Some(tenure) = self.tenures.get(&claim.lease) else { continue };
            let Some(ended) = &tenure.ended else { continue };
            let Some(at) = ended.clocks.get(&claim.node).copied() else { continue };
            let (Claim { node, lease, told, .. }, Ended { by, truth, .. }) = (claim, ended);
            let (told, truth) = (*told, Duration::from_nanos(truth.nanos()));
            let over = told.since(at);
            if told > at && !tenure.revoked && !self.loose {
                return Err(format!(
                    "LSE-11: lease {lease} was ended by member {by} at {truth:?}, {over:?} before \
                     what its holder at member {node} was told"
                ));
            }
            if told > deadline(at, tenure.ttl) {
                return Err(format!(
                    "LSE-13: lease {lease} was ended by member {by} at {truth:?}, and renewed \
                     after that for member {node}, for {over:?}"
                ));
            }
        }
        // Of the others nothing more is to be learnt.
        let tenures = &self.tenures;
        let may_change = |it: &Claim| {
            it.kept.is_some() || tenures.get(&it.lease).is_some_and(|lease| lease.ended.is_none())
        };
        self.claims.retain(may_change);
        Ok(())
    }
}

/// Whoever looks on while leases end.
pub(crate) struct LeaseJudge(pub(crate) Arc<Mutex<Tenures>>);

impl LeaseJudge {
    fn turned(&self, node: NodeId, replica: &Replica, clocks: Clocks<'_>) -> Result<(), String> {
        let leases = replica.machine().leases();
        let applied = replica.machine().applied();
        let all = || (clocks.truth(), clocks.all().collect());
        self.0.lock().look((node, applied), |lease| leases.get(lease).is_some(), all)
    }
}

impl Judge for LeaseJudge {
    fn name(&self) -> &'static str {
        "leases"
    }

    fn see(&mut self, _: &Seen<'_>) -> Result<(), String> {
        Ok(())
    }

    fn see_at(&mut self, seen: &Seen<'_>, clocks: Clocks<'_>) -> Result<(), String> {
        match seen {
            Seen::Opened { node, replica } | Seen::Turned { node, replica } => {
                self.turned(*node, replica, clocks)
            }
            Seen::Durable { .. } | Seen::Ended { .. } => Ok(()),
        }
    }

    fn end(&mut self, _: &[(NodeId, &Replica)]) -> Result<(), String> {
        Ok(())
    }
}
