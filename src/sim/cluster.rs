//! The cluster as its user holds it.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::builder::Builder;
use super::clock::Clock;
use super::dice::Seed;
use super::failure::Failure;
use super::faults::Faults;
use super::history::History;
use super::marks::{Counts, Mark};
use super::node::{Life, Node};
use super::shared::Shared;
use super::trace::Event;
use super::workload::Recorder;
use super::world::Pace;
use crate::core::machine::Image;
use crate::core::replica::consensus::Role;
use crate::error::{Error, Kind, Result};
use crate::gate::Gate;
use crate::ids::NodeId;
use crate::service::TransferLeader;
use crate::store::Store;
use crate::time::{Instant, nanos};

/// A simulated cluster. Cheap to clone: a task may hold one and break things.
///
/// Nothing happens unless it is let run: by [`run_for`](Self::run_for),
/// [`run_until`](Self::run_until) or [`block_on`](Self::block_on), or by a blocking call on a
/// handle (`wait`) from outside. Then tasks go on and time passes, as fast as the processor can.
///
/// The protocol is judged all the while: if a promise is broken, whatever lets it run returns the
/// [`Failure`], and nothing happens any more. A task that panics is a failure too.
///
/// ```
/// use quorate::sim::{Cluster, Seed};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cluster = Cluster::new(Seed::new(7))?;
/// let first = cluster.wait_for_leader()?;
/// let store = cluster.store(&first)?;
/// store.put("color", "green").wait()?;
///
/// cluster.isolate(&first)?;
/// let other = cluster.names().into_iter().find(|name| *name != first).unwrap();
/// let store = cluster.store(&other)?;
/// let color = cluster.block_on(async move { store.get("color").await })??.kv;
/// assert_eq!(color.unwrap().value(), b"green");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Cluster {
    pub(super) shared: Arc<Shared>,
}

impl Cluster {
    /// Three members without faults.
    ///
    /// # Errors
    ///
    /// None at present: a cluster like this is within all bounds.
    pub fn new(seed: Seed) -> Result<Self> {
        Builder::new(seed).build()
    }

    /// What it was made from.
    pub fn seed(&self) -> Seed {
        self.shared.world.lock().seed
    }

    /// The members' names, in order.
    pub fn names(&self) -> Vec<String> {
        self.shared.world.lock().nodes.iter().map(|node| node.name.clone()).collect()
    }

    /// The time in there.
    pub fn clock(&self) -> Clock {
        Clock { shared: Arc::downgrade(&self.shared) }
    }

    /// A handle to the data, through this member as it runs now. When the member ends, so does
    /// the handle; when it has come back, ask for another.
    ///
    /// # Errors
    ///
    /// [`is_closed`](Error::is_closed) while the member is down; [`is_invalid`](Error::is_invalid)
    /// for a name that no member has.
    pub fn store(&self, member: &str) -> Result<Store> {
        Ok(Store::new(self.gate(member)?))
    }

    /// Hands leadership to another member. `member` is asked, as
    /// [`Node::transfer_leader`](crate::Node::transfer_leader) asks a real one: only the leader
    /// can do it.
    ///
    /// ```
    /// use quorate::sim::{Cluster, Seed};
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cluster = Cluster::new(Seed::new(7))?;
    /// let leader = cluster.wait_for_leader()?;
    /// let other = if leader == "a" { "b" } else { "a" };
    /// cluster.run_for(Duration::from_secs(1))?; // until it has heard of the other
    /// cluster.transfer_leader(&leader, other)?.wait()?;
    /// assert_eq!(cluster.leader().as_deref(), Some(other));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`store`](Self::store), for either name.
    pub fn transfer_leader(&self, member: &str, to: &str) -> Result<TransferLeader> {
        let to = self.id(to)?;
        Ok(TransferLeader::new(&self.gate(member)?, to))
    }

    fn gate(&self, member: &str) -> Result<Arc<dyn Gate>> {
        let place = self.place(member)?;
        let world = self.shared.world.lock();
        let running = world.nodes.get(place).and_then(Node::running);
        let Some(running) = running else {
            return Err(Error::new(Kind::Closed, format!("{member} is down")));
        };
        Ok(Arc::clone(&running.port) as Arc<dyn Gate>)
    }

    /// Who leads, in the highest term; nobody if no member that is up leads.
    pub fn leader(&self) -> Option<String> {
        let world = self.shared.world.lock();
        let leads = |node: &Node| {
            let status = node.replica()?.status();
            (status.role == Role::Leader).then(|| (status.term, node.name.clone()))
        };
        world.nodes.iter().filter_map(leads).max().map(|(_, name)| name)
    }

    /// Whether a member's process runs.
    ///
    /// # Errors
    ///
    /// [`is_invalid`](Error::is_invalid) for a name that no member has. So do all that follow.
    pub fn is_up(&self, member: &str) -> Result<bool> {
        let place = self.place(member)?;
        let world = self.shared.world.lock();
        Ok(world.nodes.get(place).is_some_and(|node| node.running().is_some()))
    }

    /// A member's id.
    ///
    /// # Errors
    ///
    /// See [`is_up`](Self::is_up).
    pub fn id(&self, member: &str) -> Result<NodeId> {
        let place = self.place(member)?;
        let world = self.shared.world.lock();
        Ok(world.nodes.get(place).map(|node| node.id).unwrap_or_default())
    }

    fn place(&self, member: &str) -> Result<usize> {
        let world = self.shared.world.lock();
        let found = world.nodes.iter().position(|node| node.name == member);
        found.ok_or_else(|| {
            let names: Vec<&str> = world.nodes.iter().map(|node| &*node.name).collect();
            Error::invalid(format!("no member {member:?}: there are {}", names.join(", ")))
        })
    }

    // ---- letting it run

    /// Starts a task. It runs while the cluster is let run, in an order that depends on nothing
    /// but the seed.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.shared.tasks.spawn(task);
    }

    /// Tasks that have not ended.
    pub fn tasks(&self) -> usize {
        self.shared.tasks.live()
    }

    /// Lets it run for so long.
    ///
    /// # Errors
    ///
    /// A promise was broken, or a task panicked.
    pub fn run_for(&self, span: Duration) -> Result<(), Failure> {
        let end = nanos(self.clock().now().saturating_add(span));
        self.shared.run_until(end);
        self.failure().map_or(Ok(()), Err)
    }

    /// Lets it run until this holds, for so long at most; says whether it came to hold.
    ///
    /// # Errors
    ///
    /// A promise was broken, or a task panicked.
    pub fn run_until(
        &self,
        longest: Duration,
        mut holds: impl FnMut(&Self) -> bool,
    ) -> Result<bool, Failure> {
        let end = self.clock().now().saturating_add(longest);
        loop {
            if holds(self) {
                return Ok(true);
            }
            let next = self.shared.world.lock().next_at();
            let idle = self.shared.tasks.is_idle();
            if idle && next.is_none_or(|at| Duration::from_nanos(at) > end) {
                self.shared.world.lock().pass_until(nanos(end));
                return Ok(holds(self));
            }
            if !self.shared.step() {
                return match self.failure() {
                    Some(failure) => Err(failure),
                    None => Ok(false),
                };
            }
        }
    }

    /// Lets it run until a future is ready, and returns what it gives.
    ///
    /// # Errors
    ///
    /// A promise was broken, a task panicked, or the future waits for what never comes:
    /// 100,000 s of the simulation's time have passed.
    pub fn block_on<F>(&self, future: F) -> Result<F::Output, Failure>
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        const LONGEST: Duration = Duration::from_secs(100_000);
        let slot = Arc::new(Mutex::new(None));
        let filled = Arc::clone(&slot);
        self.spawn(async move {
            let output = future.await;
            *filled.lock() = Some(output);
        });
        self.run_until(LONGEST, |_| slot.lock().is_some())?;
        let output = slot.lock().take();
        output.ok_or_else(|| {
            self.fail(format!("a future was not ready after {LONGEST:?}"));
            self.failure().unwrap_or_else(|| Failure::unknown(self.seed()))
        })
    }

    /// Lets it run until a member leads, and names it.
    ///
    /// # Errors
    ///
    /// A promise was broken, a task panicked, or nobody leads after a minute.
    pub fn wait_for_leader(&self) -> Result<String, Failure> {
        const LONGEST: Duration = Duration::from_secs(60);
        self.run_until(LONGEST, |cluster| cluster.leader().is_some())?;
        self.leader().ok_or_else(|| {
            self.fail(format!("nobody leads after {LONGEST:?}"));
            self.failure().unwrap_or_else(|| Failure::unknown(self.seed()))
        })
    }

    /// Ends all tasks and all faults, lets everything come to rest, and lets the judges look at
    /// what is left: all members that are up hold the same.
    ///
    /// # Errors
    ///
    /// A promise was broken.
    pub fn settle(&self) -> Result<(), Failure> {
        const LONGEST: Duration = Duration::from_secs(600);
        self.shared.tasks.clear();
        self.calm();
        let settled =
            self.run_until(LONGEST, |cluster| cluster.shared.world.lock().is_settled())?;
        if !settled {
            self.fail(format!("members differ {LONGEST:?} after all faults have ended"));
        }
        let mut world = self.shared.world.lock();
        if world.has_quorum() {
            world.judge_end();
        }
        drop(world);
        self.failure().map_or(Ok(()), Err)
    }

    /// The first promise that was broken, if one was.
    pub fn failure(&self) -> Option<Failure> {
        self.shared.world.lock().failure().cloned()
    }

    /// Says that a promise was broken: for judges of your own.
    pub fn fail(&self, what: impl Into<String>) {
        self.shared.world.lock().fail(what.into());
    }

    /// One number for everything that has happened: equal for equal runs.
    pub fn trace_hash(&self) -> u64 {
        self.shared.world.lock().trace.hash()
    }

    /// Adds a line of your own to the trace.
    pub fn note(&self, text: impl Into<String>) {
        self.shared.world.lock().add(Event::Said { text: text.into() });
    }

    // ---- breaking things

    /// From now on these faults come, instead of those before.
    pub fn unleash(&self, faults: Faults) {
        self.shared.world.lock().unleash(faults);
    }

    /// All faults end: links are mended, disks have room, members that are down are started.
    pub fn calm(&self) {
        self.shared.world.lock().calm();
    }

    /// Nothing gets from one member to another any more; the other way it does.
    ///
    /// # Errors
    ///
    /// See [`is_up`](Self::is_up).
    pub fn cut(&self, from: &str, to: &str) -> Result<()> {
        let (from, to) = (self.place(from)?, self.place(to)?);
        self.shared.world.lock().network.cut(from, to);
        Ok(())
    }

    /// Nothing gets from a member to any other or back.
    ///
    /// # Errors
    ///
    /// See [`is_up`](Self::is_up).
    pub fn isolate(&self, member: &str) -> Result<()> {
        let place = self.place(member)?;
        let mut world = self.shared.world.lock();
        for other in (0..world.nodes.len()).filter(|other| *other != place) {
            world.network.cut(place, other);
            world.network.cut(other, place);
        }
        Ok(())
    }

    /// Everything gets through again.
    pub fn heal(&self) {
        self.shared.world.lock().heal();
    }

    /// Kills a member's process: what it had written stays, synced or not.
    ///
    /// # Errors
    ///
    /// See [`is_up`](Self::is_up).
    pub fn crash(&self, member: &str) -> Result<()> {
        let place = self.place(member)?;
        self.shared.world.lock().crash(place, false);
        Ok(())
    }

    /// Cuts the power of a member's machine: of what was not synced any part may be lost.
    ///
    /// # Errors
    ///
    /// See [`is_up`](Self::is_up).
    pub fn cut_power(&self, member: &str) -> Result<()> {
        let place = self.place(member)?;
        self.shared.world.lock().crash(place, true);
        Ok(())
    }

    /// Starts a member that is down. It is up when the cluster has been let run a moment.
    ///
    /// # Errors
    ///
    /// See [`is_up`](Self::is_up).
    pub fn start(&self, member: &str) -> Result<()> {
        let place = self.place(member)?;
        self.shared.world.lock().open_after(place, Duration::ZERO);
        Ok(())
    }

    /// A member's process stands still for so long, and does not notice.
    ///
    /// # Errors
    ///
    /// See [`is_up`](Self::is_up).
    pub fn pause(&self, member: &str, span: Duration) -> Result<()> {
        let place = self.place(member)?;
        self.shared.world.lock().pause(place, span);
        Ok(())
    }

    /// A member's disk does not answer for so long.
    ///
    /// # Errors
    ///
    /// See [`is_up`](Self::is_up).
    pub fn stall_disk(&self, member: &str, span: Duration) -> Result<()> {
        let place = self.place(member)?;
        self.shared.world.lock().stall(place, span);
        Ok(())
    }

    /// Whether a member refuses to open what is on its disk.
    ///
    /// # Errors
    ///
    /// See [`is_up`](Self::is_up).
    pub fn refuses(&self, member: &str) -> Result<bool> {
        let place = self.place(member)?;
        let world = self.shared.world.lock();
        Ok(world.nodes.get(place).is_some_and(|node| matches!(node.state, Life::Refused)))
    }
}

/// For the run of this crate's own simulation.
impl Cluster {
    pub(super) fn instant(&self) -> Instant {
        Instant::from_nanos(self.shared.world.lock().now())
    }

    /// A fault comes now, and lasts so long.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn strike(&self, fault: super::Fault, member: &str, lasts: Duration) -> Result<()> {
        let place = self.place(member)?;
        self.shared.world.lock().strike(fault, place, lasts);
        Ok(())
    }

    /// Keeps the whole trace as text.
    pub(super) fn read_all(&self) {
        self.shared.world.lock().trace.read_all();
    }

    /// Notes there when a member starts again.
    pub(super) fn record(&self, recorder: &Recorder) {
        self.shared.world.lock().recorder = Some(Arc::clone(recorder));
    }

    /// No judge could tell in time whether the history is linearizable.
    pub(super) fn undecided(&self) {
        self.shared.world.lock().marks.undecided();
    }

    pub(super) fn has_failed(&self) -> bool {
        self.shared.world.lock().has_failed()
    }

    /// A rare path was reached.
    pub(super) fn mark(&self, mark: Mark) {
        self.shared.world.lock().marks.hit(mark);
    }

    /// How much members do for watchers at a time. What they did so far is for nobody.
    pub(super) fn set_pace(&self, pace: Pace) {
        self.shared.world.lock().set_pace(pace);
    }

    /// All members that are up hold the same.
    pub(super) fn is_settled(&self) -> bool {
        self.shared.world.lock().is_settled()
    }

    /// No pause and no stall is left.
    pub(super) fn is_quiet(&self) -> bool {
        let world = self.shared.world.lock();
        world.now() >= world.quiet_at()
    }

    /// As many members can be up as it takes.
    pub(super) fn has_quorum(&self) -> bool {
        self.shared.world.lock().has_quorum()
    }

    /// What has been seen, by members and by clients: marks, how many events, and their text if
    /// it was kept.
    pub(super) fn seen(&self, history: &History) -> (Counts, u64, Vec<String>) {
        let mut world = self.shared.world.lock();
        world.marks.told(history);
        (world.marks.counts().clone(), world.trace.count(), world.trace.take_lines())
    }

    /// Every version that each member that is up holds, and the revision below which they are
    /// compacted.
    pub(super) fn images(&self) -> Vec<(String, Image)> {
        let world = self.shared.world.lock();
        let image = |node: &Node| Some((node.name.clone(), node.replica()?.machine().pin()));
        world.nodes.iter().filter_map(image).collect()
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("seed", &self.seed())
            .field("members", &self.names())
            .field("time", &self.clock().now())
            .finish_non_exhaustive()
    }
}
