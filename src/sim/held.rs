//! What holders of leases are told, noted and judged as they are told it.

mod thing;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

pub(super) use self::thing::{Relied, Thing};
use super::check::barrier::{self, Round, Rounds};
use super::check::election::{self, Sights};
use super::check::lease::{LeaseJudge, Tenures, Until};
use super::check::lock::{Lines, Name, Share};
use super::check::queue::{Item, Queues};
use super::check::watch::truth::Truth;
use super::cluster::Cluster;
use super::dice::Dice;
use super::failure::Failure;
use super::marks::Mark;
use super::node::Node;
use super::zero::system_time;
use crate::core::replica::Replica;
use crate::core::replica::consensus::Role;
use crate::ids::{Index, LeaseId, NodeId, Revision, Term};
use crate::time::Instant;

/// Where places in lines are, and nothing else.
const PLACES: [&[u8]; 4] = [b"k/lines/", b"k/seats/", b"k/stocks/", b"k/permits/"];

/// What all holders of a cluster are told. Cheap to clone.
#[derive(Clone)]
pub(super) struct Holdings {
    pub(super) tenures: Arc<Mutex<Tenures>>,
    pub(super) lines: Arc<Mutex<Lines>>,
    pub(super) queues: Arc<Mutex<Queues>>,
    rounds: Arc<Mutex<Rounds>>,
    truth: Arc<Mutex<Truth>>,
    guards: Arc<Mutex<Vec<Guarded>>>,
    /// Leases that somebody held, and locks that somebody acquired.
    leases: Arc<AtomicU64>,
    locks: Arc<AtomicU64>,
}

/// Something that somebody holds, or has held.
struct Guarded {
    name: Name,
    share: Share,
    boot: Boot,
    lease: LeaseId,
    guard: Weak<dyn Relied>,
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
        let (lines, queues, rounds) = (Arc::default(), Arc::default(), Arc::default());
        let guards = Arc::default();
        let (leases, locks) = (Arc::default(), Arc::default());
        Self { tenures, lines, queues, rounds, truth: Arc::clone(truth), guards, leases, locks }
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
        let (applied, term) = cluster.applied(boot);
        let mut tenures = self.tenures.lock();
        tenures.begin(lease, ttl, applied, term);
        tenures.claim(boot.node, lease, until);
    }

    // ---- locks

    /// Somebody is told that it holds something.
    pub(super) fn acquired(
        &self,
        cluster: &Cluster,
        (name, share, key): (&Name, Share, &[u8]),
        (boot, lease): (Boot, LeaseId),
        guard: &Arc<dyn Relied>,
    ) {
        self.locks.fetch_add(1, Ordering::Relaxed);
        let excused = self.tenures.lock().is_excused(lease);
        let (mut lines, truth) = (self.lines.lock(), self.truth.lock());
        let told = lines.acquired(&truth, (name, share, key), guard.token(), excused);
        drop((lines, truth));
        if let Err(what) = told {
            cluster.fail(what);
        }
        self.relies(cluster, (name, share), (boot, lease), guard);
    }

    /// Somebody relies on something from now on.
    fn relies(
        &self,
        cluster: &Cluster,
        (name, share): (&Name, Share),
        (boot, lease): (Boot, LeaseId),
        guard: &Arc<dyn Relied>,
    ) {
        let (name, guard) = (name.clone(), Arc::downgrade(guard));
        self.guards.lock().push(Guarded { name, share, boot, lease, guard });
        self.rivals(cluster);
    }

    /// Somebody who asked when `since` was the newest is told that it leads as another has before.
    pub(super) fn resumed(
        &self,
        cluster: &Cluster,
        (name, key): (&Name, &[u8]),
        (whose, since): ((Boot, LeaseId), Revision),
        leads: &Arc<dyn Relied>,
    ) {
        let told = Lines::resumed(&self.truth.lock(), (name, key), leads.token(), since);
        if let Err(what) = told {
            cluster.fail(what);
        }
        self.relies(cluster, (name, Share::Alone), whose, leads);
    }

    /// Somebody relies on something until then: nobody else does now.
    pub(super) fn alone(
        &self,
        cluster: &Cluster,
        name: &Name,
        (boot, lease): (Boot, LeaseId),
        until: std::time::Instant,
    ) {
        if until <= system_time(cluster.own_time(boot)) || self.tenures.lock().is_excused(lease) {
            return;
        }
        if let Some(others) = self.relying(cluster).get(name) {
            cluster.fail(format!("REC-7: {name:?} is {lease}'s, and {others:?} rely on it"));
        }
    }

    // ---- queues

    /// The newest revision that any member has.
    pub(super) fn newest(&self) -> Revision {
        self.truth.lock().newest()
    }

    /// Somebody is given an item for good.
    pub(super) fn taken(&self, cluster: &Cluster, item: &Item, since: Revision) {
        let (mut queues, truth) = (self.queues.lock(), self.truth.lock());
        let told = queues.taken(&truth, item, since);
        drop((queues, truth));
        if let Err(what) = told {
            cluster.fail(what);
        }
    }

    /// Somebody is given an item for a time, of which no two rely on it.
    pub(super) fn claimed(
        &self,
        cluster: &Cluster,
        (item, since): (&Item, Revision),
        whose: (Boot, LeaseId),
        claim: &Arc<dyn Relied>,
    ) {
        let truth = self.truth.lock();
        let told = Queues::claimed(&truth, item, claim.token(), since);
        let is_again = Queues::is_claimed_again(&truth, item, claim.token());
        drop(truth);
        if let Err(what) = told {
            cluster.fail(what);
        }
        if is_again {
            cluster.mark(Mark::ClaimedAgain);
        }
        let name =
            Name([&item.queue[..], b"#", item.revision.to_string().as_bytes()].concat().into());
        self.relies(cluster, (&name, Share::Alone), whose, claim);
    }

    // ---- barriers

    /// A barrier was not held at some moment since.
    pub(super) fn was_absent(&self, cluster: &Cluster, name: &[u8], since: Revision) {
        let truth = self.truth.lock();
        let newest = truth.newest();
        let was_absent = barrier::was_absent(&truth, name, since..=newest);
        drop(truth);
        if !was_absent {
            let name = name.escape_ascii();
            let when = format!("from {since} to {newest}");
            cluster.fail(format!("REC-37: {name} is said not to be held, and was, {when}"));
        }
    }

    /// Somebody is told that so many have entered a double barrier.
    pub(super) fn entered(
        &self,
        cluster: &Cluster,
        (name, count): (&Bytes, usize),
        whose: (Boot, LeaseId),
        entered: &Arc<dyn Relied>,
    ) -> Option<Round> {
        let (mut rounds, truth) = (self.rounds.lock(), self.truth.lock());
        let round = rounds.entered(&truth, (name, count), entered.token());
        drop((rounds, truth));
        match round {
            Ok(round) => {
                self.relies(cluster, (&name_of(&round), Share::Reading), whose, entered);
                Some(round)
            }
            Err(what) => {
                cluster.fail(what);
                None
            }
        }
    }

    /// Somebody is told that all have left: nobody thinks that it has not.
    pub(super) fn left(&self, cluster: &Cluster, round: &Round) {
        let still = barrier::still_in(&self.truth.lock(), round);
        if let Some(still) = still {
            cluster.fail(format!("REC-38: all have left {round:?}, and {still} is there"));
        }
        if let Some(relying) = self.relying(cluster).get(&name_of(round)) {
            cluster.fail(format!("REC-38: all have left {round:?}, and in it are {relying:?}"));
        }
    }

    // ---- what is left

    /// No two rely on one thing now that may not hold it together, each by its own clock; but for
    /// those from whom somebody may have taken it away.
    pub(super) fn rivals(&self, cluster: &Cluster) {
        for (name, all) in &self.relying(cluster) {
            let shares: Vec<Share> = all.iter().map(|(_, share)| *share).collect();
            if !Share::may_all_hold(&shares) {
                cluster.fail(format!("REC-7: several rely on {name:?} at once: {all:?}"));
            }
        }
    }

    /// Who relies on what now.
    fn relying(&self, cluster: &Cluster) -> BTreeMap<Name, Vec<(Revision, Share)>> {
        let mut relying: BTreeMap<Name, Vec<(Revision, Share)>> = BTreeMap::new();
        let mut guards = self.guards.lock();
        guards.retain(|guarded| guarded.guard.strong_count() > 0);
        for Guarded { name, share, boot, lease, guard } in guards.iter() {
            let Some(guard) = guard.upgrade() else { continue };
            let now = system_time(cluster.own_time(*boot));
            let relies = guard.valid_until() > now;
            if relies == guard.is_lost() {
                cluster.fail(format!("REC-14: {guard:?} is lost and valid, or neither"));
            }
            if relies && !self.tenures.lock().is_excused(*lease) {
                relying.entry(name.clone()).or_default().push((guard.token(), *share));
            }
        }
        relying
    }

    /// A place in some line that is there, as far as any member knows.
    pub(super) fn standing(&self) -> Option<String> {
        let is_place = |key: &[u8]| PLACES.iter().any(|places| key.starts_with(places));
        let truth = self.truth.lock();
        let first = truth.state(is_place, truth.newest()).first().map(|kv| kv.key.clone());
        first.map(|key| key.escape_ascii().to_string())
    }

    /// Somebody has observed an election.
    pub(super) fn observed(&self, cluster: &Cluster, directory: &[u8], sights: &Sights) {
        if let Err(what) = election::follows(&self.truth.lock(), directory, sights) {
            cluster.fail(what);
        }
    }

    /// What was written and taken, when all is over.
    pub(super) fn judge(&self, cluster: &Cluster) -> Result<(), Failure> {
        let truth = self.truth.lock();
        let lines = self.lines.lock().judge(&truth);
        // Where there is no quorum nobody empties them.
        let queues = self.queues.lock().judge(&truth, cluster.has_quorum());
        drop(truth);
        let outlived = self.tenures.lock().outlived();
        (0..outlived).for_each(|_| cluster.mark(Mark::LeaseOutlivesLeader));
        if let Err(what) = lines.and(queues) {
            cluster.fail(what);
        }
        cluster.failure().map_or(Ok(()), Err)
    }
}

fn name_of((name, round): &Round) -> Name {
    Name([&name[..], b"@", round.to_string().as_bytes()].concat().into())
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

    fn applied(&self, boot: Boot) -> (Index, Term) {
        let world = self.shared.world.lock();
        let replica = world.nodes.get(boot.place).and_then(Node::replica);
        replica.map_or(<(Index, Term)>::default(), |replica| replica.machine().applied())
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

    /// Snapshots that a member was given since it opened.
    pub(super) fn installs(&self, name: &str) -> u64 {
        let world = self.shared.world.lock();
        let node = world.nodes.iter().find(|node| node.name == name);
        node.and_then(Node::replica).map_or(0, |replica| replica.tally().installs)
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
