//! What holders of leases are told, noted and judged as they are told it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::check::lease::{LeaseJudge, Tenures, Until};
use super::cluster::Cluster;
use super::dice::Dice;
use super::node::Node;
use crate::core::replica::Replica;
use crate::core::replica::consensus::Role;
use crate::ids::{Index, LeaseId, NodeId};
use crate::time::Instant;

/// What all holders of a cluster are told. Cheap to clone.
#[derive(Clone)]
pub(super) struct Holdings {
    pub(super) tenures: Arc<Mutex<Tenures>>,
    /// Leases that somebody held.
    leases: Arc<AtomicU64>,
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
    pub(super) fn new(cluster: &Cluster, loose: bool) -> Self {
        let tenures = Arc::<Mutex<Tenures>>::default();
        tenures.lock().loose(loose);
        let mut world = cluster.shared.world.lock();
        world.judged_by(Box::new(LeaseJudge(Arc::clone(&tenures))));
        world.meet_members();
        drop(world);
        Self { tenures, leases: Arc::default() }
    }

    pub(super) fn count(&self) -> u64 {
        self.leases.load(Ordering::Relaxed)
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
        Instant::from_nanos(paused.unwrap_or_default()).after(span) >= self.true_time(&world)
    }

    fn true_time(&self, world: &super::world::World) -> Instant {
        Instant::from_nanos(world.now())
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
