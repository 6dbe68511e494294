//! The stage: the cluster, what has been seen of it, and how it goes on.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::Done;
use super::command::{Command, Filter, Kind, Place};
use super::lease::Sessions;
use super::show;
use super::watch::Watchers;
use crate::core::replica::Replica;
use crate::core::replica::consensus::{Role, Ticket};
use crate::sim::builder::Builder;
use crate::sim::cluster::Cluster;
use crate::sim::dice::{Dice, Seed};
use crate::sim::disk::{MemoryDisk, Plan};
use crate::sim::faults::Faults;
use crate::sim::node::{Life, Node};
use crate::sim::trace::Event;
use crate::sim::world::World;

/// Half a heartbeat.
const TICK: Duration = Duration::from_millis(50);

/// More than a member waits before it stands.
const STAND_TICKS: u64 = 60;

/// More steps than a command without an end in it takes.
const STEPS: usize = 100_000;

/// How long a mended cluster may take to agree.
const SETTLE: Duration = Duration::from_secs(60);

/// From whom, to whom, and what.
type Held = (usize, usize, Bytes);

/// A script's world.
#[derive(Default)]
pub(super) struct Play {
    pub(super) sessions: Sessions,
    cluster: Option<Cluster>,
    /// Events of the trace that have been looked at.
    seen: u64,
    /// What has been said of each member.
    known: Vec<Known>,
    /// What callers were told, and not printed yet.
    pub(super) told: Arc<Mutex<Vec<String>>>,
    pub(super) calls: u64,
    pub(super) watchers: Watchers,
    /// Time passes in the command under way.
    passing: bool,
    /// Votes are under way that nobody wants to read about.
    electing: bool,
    pub(super) tells_all: bool,
    /// What the command under way has to say.
    pub(super) out: String,
    /// All of it so far, for whoever looks into a script that fails.
    pub(super) transcript: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Known {
    /// The term that it leads.
    leads: Option<u64>,
    /// Where its newest snapshot stands; nothing while it is down.
    snapshot: Option<u64>,
    /// The batch that its stalled disk has.
    writing: Option<Ticket>,
}

pub(super) fn dice(seed: u64) -> Dice {
    Dice::new(Seed::new(seed))
}

impl Play {
    pub(super) fn cluster(&self) -> Result<&Cluster, Box<dyn Error>> {
        self.cluster.as_ref().ok_or_else(|| "no cluster yet".into())
    }

    pub(super) fn world(&self) -> Result<&Mutex<World>, Box<dyn Error>> {
        Ok(&self.cluster()?.shared.world)
    }

    pub(super) fn place(&self, name: &Place) -> Result<usize, Box<dyn Error>> {
        let names = self.cluster()?.names();
        let found = names.iter().position(|known| *known == name.0);
        found.ok_or_else(|| format!("no member {name}").into())
    }

    /// Those named, or everybody.
    pub(super) fn places(&self, names: &[Place]) -> Result<Vec<usize>, Box<dyn Error>> {
        if names.is_empty() {
            return Ok((0..self.cluster()?.names().len()).collect());
        }
        names.iter().map(|name| self.place(name)).collect()
    }

    pub(super) fn say(&mut self, text: impl Into<String>) {
        let mut text = text.into();
        if self.passing
            && let Ok(world) = self.world()
        {
            let at = show::time(world.lock().now);
            self.out.push_str(&at);
            self.out.push(' ');
        }
        if let Ok(world) = self.world() {
            for node in &world.lock().nodes {
                text = text.replace(&node.id.to_string(), &node.name);
            }
        }
        self.out.push_str(&text);
        self.out.push('\n');
    }

    pub(super) fn found(&mut self, command: &Command) -> Done {
        let Command::Cluster { n, seed, snapshot_count, max_message_bytes, .. } = command else {
            return Err("not a cluster".into());
        };
        let Command::Cluster { retain_revisions, max_pinned, .. } = command else {
            return Ok(());
        };
        let (retain, pinned) = (*retain_revisions, max_pinned.unwrap_or(1_000_000));
        let count = snapshot_count.unwrap_or(1_000_000);
        let message = max_message_bytes.unwrap_or(1 << 20);
        let cluster = Builder::new(Seed::new(seed.unwrap_or(1)))
            .members(n.unwrap_or(3))
            .faults(Faults::none().delay(Duration::ZERO..Duration::ZERO))
            .config(move |config| {
                let config = config.snapshot_count(count).snapshot_catchup_entries(0);
                let config = config.max_snapshots(3).max_message_bytes(message);
                let config = match retain {
                    Some(revisions) => config.retain_revisions(revisions),
                    None => config,
                };
                let request = (message - 4096).min(960 << 10);
                config
                    .max_request_bytes(request)
                    .segment_bytes(1 << 16)
                    .max_pinned_revisions(pinned)
            })
            .build()?;
        cluster.shared.world.lock().by_hand = true;
        self.known = vec![Known::default(); cluster.names().len()];
        self.seen = 0;
        self.sessions = Sessions::default();
        self.watchers = Watchers::new(&cluster, pinned);
        self.cluster = Some(cluster);
        self.rest()
    }

    // ---- going on

    /// Everything that follows without time passing.
    pub(super) fn rest(&mut self) -> Done {
        for _ in 0..STEPS {
            let shared = &self.cluster()?.shared;
            let due = {
                let world = shared.world.lock();
                world.next_at().is_some_and(|at| at <= world.now)
            };
            if !due && shared.tasks.is_idle() {
                return self.look();
            }
            self.step()?;
        }
        Err("it does not come to rest".into())
    }

    fn step(&mut self) -> Done {
        let cluster = self.cluster()?;
        cluster.shared.step();
        let failure = cluster.failure();
        self.look()?;
        match failure {
            Some(failure) => Err(failure.what.into()),
            None => Ok(()),
        }
    }

    /// Time passes.
    fn pass(&mut self, span: Duration) -> Done {
        let end = self.cluster()?.clock().now() + span;
        for _ in 0..STEPS {
            let shared = &self.cluster()?.shared;
            let next = shared.world.lock().next_at().map(Duration::from_nanos);
            if shared.tasks.is_idle() && next.is_none_or(|at| at > end) {
                shared.world.lock().pass_until(u64::try_from(end.as_nanos())?);
                return Ok(());
            }
            self.step()?;
        }
        Err("too much happens in so little time".into())
    }

    pub(super) fn time(&mut self, command: &Command) -> Done {
        match command {
            Command::Tick { names, n } => {
                for _ in 0..n.unwrap_or(1) {
                    if names.is_empty() {
                        self.pass(TICK)?;
                    } else {
                        for place in self.places(names)? {
                            self.tick(place)?;
                        }
                    }
                }
                Ok(())
            }
            Command::Run { ms } => {
                self.passing = true;
                let passed = self.pass(Duration::from_millis(*ms));
                self.passing = false;
                passed
            }
            Command::Stand(name) => self.stand(name),
            Command::Elect(name) => self.elect(name),
            _ => self.settle(),
        }
    }

    /// Time passes for one.
    fn tick(&mut self, place: usize) -> Done {
        self.world()?.lock().pass(place, TICK);
        self.rest()
    }

    fn role(&self, place: usize) -> Result<Option<Role>, Box<dyn Error>> {
        let world = self.world()?.lock();
        let replica = world.nodes.get(place).and_then(Node::replica);
        Ok(replica.map(|replica| replica.status().role))
    }

    /// In how many ticks a follower would vote for another than its leader.
    fn loyal_ticks(&self, place: usize) -> Result<usize, Box<dyn Error>> {
        let world = self.world()?.lock();
        let replica = world.nodes.get(place).and_then(Node::replica);
        let follower = replica.filter(|replica| replica.status().role == Role::Follower);
        Ok(follower.map_or(0, Replica::loyal_ticks))
    }

    fn stand(&mut self, name: &Place) -> Done {
        let place = self.place(name)?;
        for _ in 0..STAND_TICKS {
            self.tick(place)?;
            if self.role(place)? != Some(Role::Follower) {
                return Ok(());
            }
        }
        Err(format!("{name} does not stand").into())
    }

    fn elect(&mut self, name: &Place) -> Done {
        self.electing = true;
        let elected = self.until_elected(name);
        self.electing = false;
        elected
    }

    fn until_elected(&mut self, name: &Place) -> Done {
        let place = self.place(name)?;
        for other in self.places(&[])?.into_iter().filter(|other| *other != place) {
            for _ in 0..self.loyal_ticks(other)? {
                self.tick(other)?;
            }
        }
        for _ in 0..2 * STAND_TICKS {
            if self.role(place)? == Some(Role::Leader) {
                return Ok(());
            }
            self.tick(place)?;
            self.votes()?;
        }
        Err(format!("{name} is not elected").into())
    }

    /// Delivers all that is held about votes, and what follows of that.
    fn votes(&mut self) -> Done {
        loop {
            let mut count = 0;
            for kind in Kind::votes() {
                let filter = Filter::new((None, None), Some(kind), None, None);
                count += self.deliver(&filter, false)?;
            }
            if count == 0 {
                return Ok(());
            }
        }
    }

    fn settle(&mut self) -> Done {
        let count = self.cluster()?.names().len();
        self.hold(None, None, false)?;
        {
            let mut world = self.world()?.lock();
            world.heal();
            for place in 0..count {
                world.resume(place);
                if let Some(node) = world.nodes.get(place)
                    && matches!(node.state, Life::Down)
                {
                    world.open_after(place, Duration::ZERO);
                }
            }
        }
        self.passing = true;
        let settled = self.until_settled();
        self.passing = false;
        settled?;
        self.judge()
    }

    fn until_settled(&mut self) -> Done {
        while self.deliver(&Filter::default(), false)? > 0 {}
        let begin = self.cluster()?.clock().now();
        loop {
            self.rest()?;
            if self.world()?.lock().is_settled() {
                break;
            }
            if self.cluster()?.clock().now() > begin + SETTLE {
                return Err("the members do not come to hold the same".into());
            }
            self.pass(TICK)?;
        }
        let leader = self.cluster()?.leader().unwrap_or_default();
        let (applied, revision) = {
            let world = self.world()?.lock();
            let replica = world.nodes.iter().find_map(Node::replica).ok_or("all are down")?;
            let status = replica.status();
            (status.applied, status.revision)
        };
        self.say(format!("{leader} leads, all hold {applied} entries, revision {revision}"));
        Ok(())
    }

    /// Everything has come to rest: the judges look at what is left.
    pub(super) fn judge(&mut self) -> Done {
        self.world()?.lock().judge_end();
        if let Some(what) = self.watchers.lacking() {
            return Err(what.into());
        }
        match self.cluster()?.failure() {
            Some(failure) => Err(failure.what.into()),
            None => Ok(()),
        }
    }

    // ---- links

    /// All links that fit, but one to itself.
    fn links(
        &self,
        from: Option<&Place>,
        to: Option<&Place>,
    ) -> Result<Vec<(usize, usize)>, Box<dyn Error>> {
        let ends = |name: Option<&Place>| match name {
            Some(name) => Ok(vec![self.place(name)?]),
            None => self.places(&[]),
        };
        let (from, to) = (ends(from)?, ends(to)?);
        let pairs = from.iter().flat_map(|from| to.iter().map(|to| (*from, *to)));
        Ok(pairs.filter(|(from, to)| from != to).collect())
    }

    pub(super) fn hold(&mut self, from: Option<&Place>, to: Option<&Place>, held: bool) -> Done {
        let links = self.links(from, to)?;
        let mut world = self.world()?.lock();
        for (from, to) in links {
            world.hold(from, to, held);
        }
        Ok(())
    }

    /// Takes what fits out of the network.
    pub(super) fn take(&mut self, filter: &Filter) -> Result<Vec<Held>, Box<dyn Error>> {
        let links = self.links(filter.from.as_ref(), filter.to.as_ref())?;
        let mut world = self.world()?.lock();
        let World { held, trace, .. } = &mut *world;
        let mut left = filter.count.unwrap_or(usize::MAX);
        let taken = held.extract_if(.., |(from, to, envelope)| {
            let fits = left > 0
                && links.contains(&(*from, *to))
                && filter.fits(&trace.read(*from, *to, envelope));
            left -= usize::from(fits);
            fits
        });
        Ok(taken.collect())
    }

    /// Delivers what fits, and says how much that was.
    pub(super) fn deliver(&mut self, filter: &Filter, says: bool) -> Result<usize, Box<dyn Error>> {
        let taken = self.take(filter)?;
        let count = taken.len();
        for (from, to, envelope) in taken {
            let mut world = self.world()?.lock();
            let text = world.trace.read(from, to, &envelope);
            let (sender, receiver) = (world.name(from), world.name(to));
            let there = world.hand_over((from, to, envelope));
            drop(world);
            if says {
                let nobody = if there { "" } else { ": it is down" };
                self.say(format!("{receiver} ← {sender} {text}{nobody}"));
            }
            self.rest()?;
        }
        Ok(count)
    }

    pub(super) fn duplicate(&mut self, filter: &Filter) -> Done {
        let links = self.links(filter.from.as_ref(), filter.to.as_ref())?;
        let mut world = self.world()?.lock();
        let again = world.held.iter().filter(|(from, to, envelope)| {
            links.contains(&(*from, *to)) && filter.fits(&world.trace.read(*from, *to, envelope))
        });
        let again: Vec<_> = again.take(filter.count.unwrap_or(usize::MAX)).cloned().collect();
        let count = again.len();
        world.held.extend(again);
        drop(world);
        self.say(format!("{count} held twice"));
        Ok(())
    }

    // ---- machines

    pub(super) fn sync(&mut self, name: &Place) -> Done {
        let place = self.place(name)?;
        let mut world = self.world()?.lock();
        let running = world.nodes.get(place).and_then(Node::running);
        let batch = running.and_then(|running| running.writing.as_deref());
        let text = batch.map_or_else(|| "nothing".to_owned(), |batch| show::batch(&world, batch));
        world.write(place);
        drop(world);
        self.say(format!("{name} syncs {text}"));
        self.rest()
    }

    pub(super) fn job(&mut self, name: &Place) -> Done {
        let place = self.place(name)?;
        let mut world = self.world()?.lock();
        let running = world.nodes.get(place).and_then(Node::running);
        let job = running.filter(|running| running.working).and_then(|it| it.queues.jobs.front());
        let text = job.map(show::job);
        if text.is_some() {
            world.work(place);
        }
        drop(world);
        let text = text.unwrap_or_else(|| "do nothing".to_owned());
        self.say(format!("{name} is asked to {text}"));
        self.rest()
    }

    pub(super) fn start(&mut self, names: &[Place]) -> Done {
        for place in self.places(names)? {
            let mut world = self.world()?.lock();
            let down = world.nodes.get(place).is_some_and(|node| matches!(node.state, Life::Down));
            if down {
                world.open_after(place, Duration::ZERO);
            }
        }
        Ok(())
    }

    pub(super) fn replace(&mut self, name: &Place) -> Done {
        let place = self.place(name)?;
        let mut world = self.world()?.lock();
        let node = world.nodes.get_mut(place).ok_or("nobody")?;
        node.state = Life::Down;
        node.begin_life();
        node.disk = MemoryDisk::new();
        node.config = node.config.clone().vfs(Arc::new(node.disk.clone()));
        world.tell_replaced(place);
        world.open_after(place, Duration::ZERO);
        Ok(())
    }

    pub(super) fn rot(&mut self, name: &Place, file: &str, at: Option<i64>) -> Done {
        let place = self.place(name)?;
        let mut world = self.world()?.lock();
        let node = world.nodes.get(place).ok_or("nobody")?;
        let suffix = match file {
            "wal" => ".wal",
            "snapshot" => ".snap",
            other => return Err(format!("rot in {other}: wal or snapshot").into()),
        };
        let paths = node.disk.paths();
        let newest = paths.iter().rfind(|path| path.to_string_lossy().ends_with(suffix));
        let path = newest.ok_or("there is no such file")?;
        node.disk.edit(path, |bytes| {
            // Behind the last byte that was written there are zeros.
            let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            let end = i64::try_from(end).unwrap_or_default();
            let at = at.map_or(end / 2, |at| if at < 0 { end + at } else { at });
            if let Some(byte) = usize::try_from(at).ok().and_then(|at| bytes.get_mut(at)) {
                *byte ^= 0x10;
            }
        })?;
        let text = format!("{name} rots in {}", path.display());
        world.tell_damaged(place);
        drop(world);
        self.say(text);
        Ok(())
    }

    pub(super) fn fail_disk(&mut self, name: &Place, at: u64) -> Done {
        let place = self.place(name)?;
        let mut world = self.world()?.lock();
        let node = world.nodes.get_mut(place).ok_or("nobody")?;
        node.excused = true;
        node.disk.plan(Plan::FailAt(at));
        Ok(())
    }

    // ---- watching

    /// Prints what has happened since the last look.
    fn look(&mut self) -> Done {
        let (mut lines, mut known) = (Vec::new(), std::mem::take(&mut self.known));
        {
            let world = self.world()?.lock();
            for event in world.trace.after(self.seen) {
                if !self.tells_all && show::is_noise(&world, event, self.electing) {
                    continue;
                }
                lines.extend(show::event(&world, event, self.tells_all));
            }
            let count = world.trace.count();
            for (known, node) in known.iter_mut().zip(&world.nodes) {
                known.compare(&world, node, &mut lines);
            }
            drop(world);
            self.seen = count;
        }
        self.known = known;
        lines.append(&mut self.told.lock());
        for line in lines {
            self.say(line);
        }
        Ok(())
    }
}

impl Known {
    fn compare(&mut self, world: &World, node: &Node, lines: &mut Vec<String>) {
        let Some(replica) = node.replica() else {
            *self = Self::default();
            return;
        };
        let (status, name) = (replica.status(), &node.name);
        let leads = (status.role == Role::Leader).then(|| status.term.get());
        match (self.leads, leads) {
            (_, Some(term)) if self.leads != leads => {
                lines.push(format!("{name} leads term {term}"));
            }
            (Some(_), None) => lines.push(format!("{name} leads no more")),
            _ => {}
        }
        let snapshot = status.snapshot.get();
        if self.snapshot.is_some_and(|before| before < snapshot) {
            lines.push(format!("{name} has the snapshot at {snapshot}"));
        }
        let has = node.running().and_then(|running| running.writing.as_deref());
        let has = has.filter(|_| node.stalled_until > world.now);
        let writing = has.and_then(|batch| batch.first()).map(|persist| persist.ticket);
        if let Some(batch) = has.filter(|_| writing != self.writing) {
            lines.push(format!("{name} is to write {}", show::batch(world, batch)));
        }
        *self = Self { leads, snapshot: Some(snapshot), writing };
    }
}

/// What a script wants to see of an event when it does not want to see everything.
pub(super) fn is_told(event: &Event) -> bool {
    !matches!(
        event,
        Event::Sent { .. }
            | Event::Arrived { .. }
            | Event::Turned { .. }
            | Event::Synced { .. }
            | Event::Snapshot { .. }
    )
}
