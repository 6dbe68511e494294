//! What holders of leases are told, noted and judged as they are told it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::check::election::{self, Sights};
use super::check::lease::{LeaseJudge, Tenures, Until};
use super::check::lock::{Lines, Name};
use super::check::watch::truth::Truth;
use super::cluster::Cluster;
use super::dice::Dice;
use super::failure::Failure;
use super::node::Node;
use super::zero::system_time;
use crate::core::replica::Replica;
use crate::core::replica::consensus::Role;
use crate::ids::{Index, LeaseId, NodeId, Revision};
use crate::service::{HeldTxn, Leadership, LockGuard, Lost};
use crate::time::Instant;

/// What all holders of a cluster are told. Cheap to clone.
#[derive(Clone)]
pub(super) struct Holdings {
    pub(super) tenures: Arc<Mutex<Tenures>>,
    pub(super) lines: Arc<Mutex<Lines>>,
    truth: Arc<Mutex<Truth>>,
    guards: Arc<Mutex<Vec<Guarded>>>,
    /// Leases that somebody held, and locks that somebody acquired.
    leases: Arc<AtomicU64>,
    locks: Arc<AtomicU64>,
}

/// A lock that somebody holds, or has held.
struct Guarded {
    name: Name,
    boot: Boot,
    lease: LeaseId,
    guard: Weak<Thing>,
}

/// What somebody holds.
#[derive(Debug)]
pub(super) enum Thing {
    Lock(LockGuard),
    Lead(Leadership),
}

impl Thing {
    pub(super) fn token(&self) -> Revision {
        match self {
            Self::Lock(guard) => guard.token(),
            Self::Lead(leads) => leads.token(),
        }
    }

    pub(super) fn key(&self) -> &Bytes {
        match self {
            Self::Lock(guard) => guard.key(),
            Self::Lead(leads) => leads.key(),
        }
    }

    pub(super) fn is_lost(&self) -> bool {
        match self {
            Self::Lock(guard) => guard.is_lost(),
            Self::Lead(leads) => leads.is_lost(),
        }
    }

    pub(super) fn lost(&self) -> Lost {
        match self {
            Self::Lock(guard) => guard.lost(),
            Self::Lead(leads) => leads.lost(),
        }
    }

    pub(super) fn txn(&self) -> HeldTxn {
        match self {
            Self::Lock(guard) => guard.txn(),
            Self::Lead(leads) => leads.txn(),
        }
    }

    fn valid_until(&self) -> std::time::Instant {
        match self {
            Self::Lock(guard) => guard.valid_until(),
            Self::Lead(leads) => leads.valid_until(),
        }
    }
}

/// A boot of a member, as those know it who hold something through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Boot {
    pub(super) node: NodeId,
    place: usize,
    life: u64,
}

impl Holdings {
    /// Notes what holders of a new cluster are told, in which nothing has happened yet.
    pub(super) fn new(cluster: &Cluster, truth: &Arc<Mutex<Truth>>, loose: bool) -> Self {
        let tenures = Arc::<Mutex<Tenures>>::default();
        tenures.lock().loose(loose);
        let mut world = cluster.shared.world.lock();
        world.judged_by(Box::new(LeaseJudge(Arc::clone(&tenures))));
        world.meet_members();
        drop(world);
        let (lines, guards) = (Arc::default(), Arc::default());
        let (leases, locks) = (Arc::default(), Arc::default());
        Self { tenures, lines, truth: Arc::clone(truth), guards, leases, locks }
    }

    /// Leases that were held, and locks.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.leases.load(Ordering::Relaxed), self.locks.load(Ordering::Relaxed))
    }

    /// A member has told somebody that a lease was granted.
    pub(super) fn granted(
        &self,
        cluster: &Cluster,
        boot: Boot,
        (lease, ttl): (LeaseId, Duration),
        until: Until,
    ) {
        self.leases.fetch_add(1, Ordering::Relaxed);
        let applied = cluster.applied(boot);
        let mut tenures = self.tenures.lock();
        tenures.begin(lease, ttl, applied);
        tenures.claim(boot.node, lease, until);
    }

    // ---- locks

    /// Somebody is told that it holds a lock.
    pub(super) fn acquired(
        &self,
        cluster: &Cluster,
        (name, key): (&Name, &[u8]),
        (boot, lease): (Boot, LeaseId),
        guard: &Arc<Thing>,
    ) {
        self.locks.fetch_add(1, Ordering::Relaxed);
        let excused = self.tenures.lock().is_excused(lease);
        let told =
            self.lines.lock().acquired(&self.truth.lock(), (name, key), guard.token(), excused);
        if let Err(what) = told {
            cluster.fail(what);
        }
        let (name, guard) = (name.clone(), Arc::downgrade(guard));
        self.guards.lock().push(Guarded { name, boot, lease, guard });
        self.rivals(cluster);
    }

    /// No two rely on one lock now, each by its own clock; but for those from whom somebody may
    /// have taken it away.
    pub(super) fn rivals(&self, cluster: &Cluster) {
        let mut relying: BTreeMap<Name, Vec<Revision>> = BTreeMap::new();
        let mut guards = self.guards.lock();
        guards.retain(|guarded| guarded.guard.strong_count() > 0);
        for Guarded { name, boot, lease, guard } in guards.iter() {
            let Some(guard) = guard.upgrade() else { continue };
            let now = system_time(cluster.own_time(*boot));
            let relies = guard.valid_until() > now;
            if relies == guard.is_lost() {
                cluster.fail(format!("REC-14: {guard:?} is lost and valid, or neither"));
            }
            if relies && !self.tenures.lock().is_excused(*lease) {
                relying.entry(name.clone()).or_default().push(guard.token());
            }
        }
        if let Some((name, tokens)) = relying.iter().find(|(_, tokens)| tokens.len() > 1) {
            cluster.fail(format!("REC-7: several rely on {name:?} at once: {tokens:?}"));
        }
    }

    /// Somebody has observed an election.
    pub(super) fn observed(&self, cluster: &Cluster, directory: &[u8], sights: &Sights) {
        if let Err(what) = election::follows(&self.truth.lock(), directory, sights) {
            cluster.fail(what);
        }
    }

    /// What was written under locks, when all is over.
    pub(super) fn judge(&self, cluster: &Cluster) -> Result<(), Failure> {
        if let Err(what) = self.lines.lock().judge(&self.truth.lock()) {
            cluster.fail(what);
        }
        cluster.failure().map_or(Ok(()), Err)
    }
}

/// For those who hold leases.
impl Cluster {
    /// A member as it runs now.
    pub(super) fn boot(&self, name: &str) -> Option<Boot> {
        let world = self.shared.world.lock();
        let place = world.nodes.iter().position(|node| node.name == name)?;
        let node = world.nodes.get(place).filter(|node| node.running().is_some())?;
        Some(Boot { node: node.id, place, life: node.life })
    }

    /// What its own clock says.
    pub(super) fn own_time(&self, boot: Boot) -> Instant {
        self.shared.world.lock().local_now(boot.place)
    }

    /// Whether it runs still.
    pub(super) fn is_running(&self, boot: Boot) -> bool {
        self.shared.world.lock().is_life(boot.place, boot.life)
    }

    /// Whether its process stands still, or did within so long.
    pub(super) fn is_drowsy(&self, boot: Boot, span: Duration) -> bool {
        let world = self.shared.world.lock();
        let paused = world.nodes.get(boot.place).map(|node| node.paused_until);
        Instant::from_nanos(paused.unwrap_or_default()).after(span)
            >= Instant::from_nanos(world.now())
    }

    fn applied(&self, boot: Boot) -> Index {
        let world = self.shared.world.lock();
        let replica = world.nodes.get(boot.place).and_then(Node::replica);
        replica.map_or(Index::default(), |replica| replica.machine().applied().0)
    }

    /// Every clock has another zero, as those of real machines do. Nothing has happened yet.
    pub(super) fn set_zeros(&self, dice: &mut Dice) {
        let mut world = self.shared.world.lock();
        let now = world.now();
        for place in 0..world.nodes.len() {
            let ahead = dice.span(Duration::ZERO, Duration::from_secs(1_000));
            if let Some(node) = world.nodes.get_mut(place) {
                node.clock.jump(now, ahead);
            }
            world.turn_soon(place);
        }
    }

    /// The leases that the leader knows, and what is left of each as it reckons.
    pub(super) fn leases_left(&self) -> Vec<(LeaseId, Duration)> {
        let world = self.shared.world.lock();
        let mut replicas = world.nodes.iter().filter_map(Node::replica);
        let leads = |replica: &&Replica| replica.status().role == Role::Leader;
        let Some(leader) = replicas.find(leads) else { return Vec::new() };
        let left = |lease| Some((lease, leader.look_at_lease(lease, false)?.remaining));
        leader.machine().leases().ids().filter_map(left).collect()
    }

    /// Somebody that has this lease still.
    pub(super) fn who_has(&self, lease: LeaseId) -> Option<String> {
        let world = self.shared.world.lock();
        let has = |node: &&Node| {
            node.replica().is_some_and(|it| it.machine().leases().get(lease).is_some())
        };
        world.nodes.iter().find(has).map(|node| node.name.clone())
    }
}
