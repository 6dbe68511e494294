//! Random schedules: loss, repeats, reordering, partitions, late disks, crashes, snapshots,
//! changes of the members. The judges are in the harness; every seed must also heal.
#![expect(clippy::cast_possible_truncation, reason = "small numbers of a dice")]

use super::harness::*;
use super::*;

const SEEDS: u64 = 200;
const STEPS: u64 = 4_000;

/// What a seed decides about its world.
struct World {
    dice: Dice,
    /// The chance in percent that a packet is lost, or delivered twice.
    loss: u64,
    repeats: u64,
    /// A disk syncs in one of this many of its chances.
    slowness: u64,
    churn: bool,
}

impl World {
    fn new(seed: u64) -> (Self, Cluster) {
        let mut dice = Dice(seed << 20);
        let conf = match dice.roll(4) {
            0 => conf_of(&[1], &[2, 3]),
            1 => conf_of(&[1, 2, 3, 4, 5], &[]),
            _ => conf_of(&[1, 2, 3], &[]),
        };
        let world = Self {
            loss: dice.roll(4) * 5,
            repeats: dice.roll(3) * 10,
            slowness: 1 + dice.roll(6),
            churn: dice.chance(60),
            dice,
        };
        (world, Cluster::new(seed, &conf, &[6, 7]))
    }

    fn someone(&mut self, of: &[u64]) -> u64 {
        of[self.dice.roll(of.len() as u64) as usize]
    }

    fn step(&mut self, cluster: &mut Cluster, step: u64) {
        let up = cluster.up();
        let down: Vec<_> = cluster.nodes.keys().copied().filter(|id| !up.contains(id)).collect();
        match self.dice.roll(1_000) {
            0..4 if up.len() > 1 => {
                let id = self.someone(&up);
                cluster.crash(id, self.dice.roll(3) as usize);
            }
            4..20 if !down.is_empty() => {
                let id = self.someone(&down);
                cluster.restart(id);
            }
            20..24 => {
                let leader = cluster.leader().filter(|_| self.dice.chance(50));
                let id = leader.unwrap_or_else(|| self.someone(&up));
                cluster.isolate(id);
            }
            24..30 => cluster.cut.clear(),
            30..40 => {
                let id = self.someone(&up);
                cluster.snapshot(id, self.dice.roll(20));
            }
            40..50 if self.churn => self.change(cluster),
            50..55 => {
                let (id, to) = (self.someone(&up), self.someone(&up));
                let _ = cluster.core(id).transfer(NodeId::new(to));
                cluster.process(id);
            }
            55..57 => {
                let (id, to) = (self.someone(&up), self.someone(&up));
                cluster.core(id).unreachable(NodeId::new(to));
                cluster.process(id);
            }
            57..60 => {
                let id = self.someone(&up);
                let overdue = self.dice.chance(30);
                cluster.core(id).disk_overdue(overdue);
            }
            60..130 => {
                let Some(id) = cluster.leader() else { return };
                let batch = [format!("{step}"), format!("{step}+")];
                let count = 1 + self.dice.roll(2) as usize;
                let batch: Vec<_> = batch.iter().map(String::as_str).take(count).collect();
                let _ = cluster.propose(id, &batch);
            }
            130..170 => {
                let id = self.someone(&up);
                cluster.read(id);
            }
            170..400 => {
                let id = self.someone(&up);
                cluster.tick(id);
            }
            400..570 => {
                let id = self.someone(&up);
                if self.dice.roll(self.slowness) == 0 {
                    cluster.sync(id, 1 + self.dice.roll(3) as usize);
                }
            }
            _ => self.deliver(cluster),
        }
        // The host's part: build what a leader asks for.
        for id in cluster.up() {
            if std::mem::take(&mut cluster.node(id).want_snapshot) > 0 {
                cluster.snapshot(id, 5);
            }
        }
    }

    fn deliver(&mut self, cluster: &mut Cluster) {
        if cluster.network.is_empty() {
            // Nothing moves: time does.
            let id = self.someone(&cluster.up());
            return cluster.tick(id);
        }
        // Mostly in order, sometimes whatever was sent last.
        let window = if self.dice.chance(80) { 3 } else { cluster.network.len() as u64 };
        let at = self.dice.roll(window.min(cluster.network.len() as u64)) as usize;
        if self.dice.chance(self.repeats) {
            let packet = cluster.network[at].clone();
            cluster.network.push(packet);
        }
        cluster.deliver(at, !self.dice.chance(self.loss));
        if cluster.network.len() > 300 {
            cluster.deliver(0, false);
        }
    }

    fn change(&mut self, cluster: &mut Cluster) {
        let Some(id) = cluster.leader() else { return };
        let all: Vec<_> = cluster.nodes.keys().copied().collect();
        let steps = (0..1 + self.dice.roll(2))
            .map(|_| {
                let node = NodeId::new(self.someone(&all));
                match self.dice.roll(4) {
                    0 => ConfStep::Remove(node),
                    1 => ConfStep::Learner(node),
                    _ => ConfStep::Voter(node),
                }
            })
            .collect();
        let change = ConfChange { steps, ..Default::default() };
        if self.dice.chance(70) {
            let _ = cluster.core(id).propose_conf(&change);
        } else if !cluster.core(id).core.raft.has_pending_conf() {
            // Past our own refusals: leadership can move to a leaving member in between, so the
            // apply side must cope with what the proposal side would refuse (R7).
            let entry = eraftpb::Entry {
                entry_type: eraftpb::EntryType::EntryConfChangeV2,
                data: change.encode(),
                ..Default::default()
            };
            let _ = cluster.core(id).propose_entries(vec![entry]);
        }
        cluster.process(id);
    }
}

/// Everybody comes back, nothing is lost any more: one leader, no joint configuration, and all
/// members caught up.
fn heal(cluster: &mut Cluster) {
    cluster.cut.clear();
    cluster.up().into_iter().for_each(|id| cluster.core(id).disk_overdue(false));
    for id in cluster.nodes.keys().copied().collect::<Vec<_>>() {
        if cluster.nodes[&id].core.is_none() {
            cluster.restart(id);
        }
    }
    for round in 0..600 {
        cluster.run(1);
        for id in cluster.up() {
            if std::mem::take(&mut cluster.node(id).want_snapshot) > 0 {
                cluster.snapshot(id, 5);
            }
        }
        if round % 10 == 0
            && let Some(leader) = cluster.leader()
            && cluster.status(leader).committed_in_term
            && caught_up(cluster, leader)
        {
            let round = cluster.read(leader);
            cluster.settle();
            assert!(cluster.nodes[&leader].reads.iter().any(|(r, _)| Some(*r) == round));
            return;
        }
    }
    let states: Vec<_> = cluster.up().iter().map(|id| cluster.status(*id)).collect();
    panic!("seed {} does not heal: {states:#?}", cluster.seed);
}

fn caught_up(cluster: &Cluster, leader: u64) -> bool {
    let conf = &cluster.nodes[&leader].conf;
    let last = cluster.status(leader).last_index.get();
    conf.voters_outgoing.is_empty()
        && conf
            .voters
            .iter()
            .chain(&conf.learners)
            .all(|id| cluster.nodes[&id.get()].applied == last)
}

fn run(seed: u64, steps: u64, trace: bool) -> Cluster {
    let (mut world, mut cluster) = World::new(seed);
    cluster.trace = trace.then(Vec::new);
    for step in 0..steps {
        world.step(&mut cluster, step);
    }
    heal(&mut cluster);
    cluster
}

#[test]
fn random_schedules_keep_every_promise() {
    let (mut committed, mut terms, mut installs, mut reads, mut joint) = (0, 0, 0, 0, 0);
    for seed in 1..=SEEDS {
        let cluster = run(seed, STEPS, false);
        committed += cluster.committed();
        // No correct member's message may be taken for a bad one.
        for why in cluster.invalid.keys() {
            assert!(why.contains("stranger") || why.contains("call to campaign"), "{seed}: {why}");
        }
        terms += cluster.terms();
        installs += cluster.nodes.values().map(|n| n.installs).sum::<usize>();
        reads += cluster.nodes.values().map(|n| n.reads.len()).sum::<usize>();
        joint += cluster.joint_configurations();
    }

    // The schedules must get somewhere, or the judges see nothing.
    assert!(committed > 20 * SEEDS, "{committed} entries");
    assert!(installs > SEEDS as usize, "{installs} installs");
    assert!(reads > 5 * SEEDS as usize, "{reads} reads");
    assert!(terms > 3 * SEEDS as usize, "{terms} terms with a leader");
    assert!(joint > SEEDS as usize / 10, "{joint} joint configurations");
}

/// The same seed gives the same messages, writes and results, byte for byte.
#[test]
fn two_runs_of_a_seed_leave_the_same_trace() {
    for seed in 1..=6 {
        let (one, two) = (run(seed, 3_000, true), run(seed, 3_000, true));
        let lines = one.trace.as_ref().map_or(0, Vec::len);
        assert!(lines > 300, "{lines} lines, {} committed", one.committed());
        assert_eq!(one.trace, two.trace);
    }
}
