//! What a node's threads and its callers' threads share.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::core::mvcc::Reader;
use crate::core::replica::Replica;
use crate::core::replica::envelope::{Address, Envelope};
use crate::core::replica::io::{Input, Output, Persist};
use crate::core::watch::{Budget, Watches};
use crate::driver::{Driver, Host, Mailbox, Posted};
use crate::error::{Error, Kind, Result};
use crate::gate::{Gate, Limits, Request, Standing, Then, next_number};
use crate::ids::{Index, NodeId, Term};
use crate::storage::Snapshots;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, OnceLock, Unparker, thread};
use crate::time::{Instant, nanos};
use crate::transport::{Lane, Peer, Transport};

use super::clock::Clock;
use super::errands::Errands;
use super::snapshotter::Jobs;
use super::writer::Log;

/// Turns that a borrowed thread drives at most before it gives the rest to the node's own.
const BORROWED_TURNS: usize = 16;

/// What a borrowed thread does for watchers before it leaves the rest to the node's own: some tens
/// of microseconds.
const BORROWED_RINGS: Budget = Budget { looks: 1024, rings: 64 };

/// As much for the node's own, before it looks at the time again.
const OWN_RINGS: Budget = Budget { looks: 4096, rings: 4096 };

/// Records that a slice of a removal looks at: some ten to two hundred microseconds. A thread that
/// the system stops in the middle of one keeps all others waiting, so shorter is better than fewer.
const SLICE_RECORDS: usize = 64;

/// Rests between slices, in the time that the last one took, when somebody had to wait for it.
const BUSY_RESTS: u32 = 4;

/// Between two slices others get at the driver, however short they are.
const SHORTEST_REST: Duration = Duration::from_micros(50);

/// How long a lent thread looks on before it lets itself be put to sleep.
const LINGER: Duration = Duration::from_micros(60);

/// What a node is made of, before its threads run.
pub(super) struct Parts {
    pub(super) address: Address,
    pub(super) clock: Clock,
    pub(super) limits: Limits,
    pub(super) mailbox: Mailbox,
    pub(super) driver: Driver,
    pub(super) log: Log,
    pub(super) jobs: Jobs,
    pub(super) snapshots: Snapshots,
    pub(super) transport: Box<dyn Transport>,
    pub(super) node_thread: Unparker,
}

/// See the top of the file.
pub(super) struct Shared {
    pub(super) address: Address,
    pub(super) clock: Clock,
    pub(super) limits: Limits,
    pub(super) mailbox: Mailbox,
    pub(super) driver: Mutex<Driver>,
    pub(super) log: Log,
    pub(super) jobs: Jobs,
    pub(super) snapshots: Snapshots,
    pub(super) transport: Box<dyn Transport>,
    pub(super) reader: Reader,
    pub(super) watches: Arc<Watches>,
    /// Set once, when the node stops itself.
    pub(super) halted: OnceLock<Arc<Error>>,
    pub(super) closing: AtomicBool,
    /// Closing or halted: nothing may be read or asked any more.
    ended: AtomicBool,
    pub(super) node_thread: Unparker,
    /// When somebody has to drive at the latest, in nanoseconds.
    wake_at: AtomicU64,
    /// When the node thread will wake by itself, in nanoseconds; 0 while it is awake.
    parked_until: AtomicU64,
    /// See [`Gate::leads_alone`].
    pub(super) leads_alone: AtomicBool,
    /// See [`Gate::number`]: how many were given.
    numbers: AtomicU64,
    /// See [`Gate::is_current_within`]: the moment, in nanoseconds; 0 for none.
    current_as_of: AtomicU64,
    pub(super) term: AtomicU64,
    /// Envelopes whose frame was refused.
    pub(super) refused: AtomicU64,
    pub(super) errands: Errands,
    /// The longest slice of a removal, in nanoseconds: as long nobody else got at the driver.
    pub(super) longest_slice: AtomicU64,
}

impl Shared {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { address, clock, limits, mailbox, driver, log, jobs, snapshots, .. } = parts;
        let Parts { transport, node_thread, .. } = parts;
        Self {
            address,
            clock,
            limits,
            mailbox,
            reader: driver.replica.reader(),
            watches: Arc::clone(driver.replica.watches()),
            driver: Mutex::new(driver),
            log,
            jobs,
            snapshots,
            transport,
            halted: OnceLock::new(),
            closing: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            node_thread,
            wake_at: AtomicU64::new(0),
            parked_until: AtomicU64::new(0),
            leads_alone: AtomicBool::new(false),
            numbers: AtomicU64::new(0),
            current_as_of: AtomicU64::new(0),
            term: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            errands: Errands::default(),
            longest_slice: AtomicU64::new(0),
        }
    }

    /// Drives whatever waits, unless somebody already does. Called by whoever has put something
    /// into the mailbox; does not wait for anything.
    pub(super) fn drive(&self) {
        self.turns(|| self.driver.try_lock());
        self.log.wake();
    }

    /// As [`drive`](Self::drive) for the node thread, which has nothing better to do than to wait
    /// until whoever drives is done.
    pub(super) fn drive_patiently(&self) {
        self.turns(|| Some(self.driver.lock()));
        self.log.wake();
    }

    /// Removes some of what was compacted, for the node thread: callers that lend theirs have
    /// other things to do. If there is more, says how long to leave the driver to others first: as
    /// long as they were kept from it, or four times that if any of them waited.
    pub(super) fn tidy(&self) -> Option<Duration> {
        let rest = self.tidy_some();
        // Whoever wanted the driver meanwhile left it to this thread; so did who ended the node,
        // be it before the first look at that.
        if self.mailbox.is_filled() {
            self.drive_patiently();
        }
        if self.ended.load(Ordering::SeqCst) {
            self.abandon();
        }
        rest
    }

    fn tidy_some(&self) -> Option<Duration> {
        let mut driver = self.driver.lock();
        if self.has_ended() {
            return None;
        }
        let began = self.clock.now();
        let tidied = catch_unwind(AssertUnwindSafe(|| driver.tidy(SLICE_RECORDS)))
            .map_err(|panic| self.condemn(panicked("removing what was compacted", &*panic)));
        let took = self.clock.now().since(began);
        self.longest_slice.fetch_max(nanos(took), Ordering::Relaxed);
        drop(driver);
        match tidied {
            Ok(more) => more.then(|| {
                let took = took.max(SHORTEST_REST);
                if self.mailbox.is_filled() { took * BUSY_RESTS } else { took }
            }),
            Err(news) => {
                self.bury(news);
                None
            }
        }
    }

    /// Rings watchers, for the node thread. Says whether there are more to be rung.
    pub(super) fn ring(&self) -> bool {
        self.watches.advance(self.clock.now(), OWN_RINGS, true)
    }

    /// A look at the replica, and at what was left to its holder meanwhile.
    pub(super) fn look<T>(&self, see: impl FnOnce(&Replica) -> T) -> T {
        let seen = see(&self.driver.lock().replica);
        self.drive();
        seen
    }

    /// As [`drive`](Self::drive), leaving the log to the calling thread.
    fn turns<'a>(&'a self, take: impl Fn() -> Option<MutexGuard<'a, Driver>>) {
        self.take_turns(take);
        // Behind all turns: who waits for an answer comes before who watches.
        if self.watches.advance(self.clock.now(), BORROWED_RINGS, false) {
            self.node_thread.unpark();
        }
    }

    fn take_turns<'a>(&'a self, take: impl Fn() -> Option<MutexGuard<'a, Driver>>) {
        for _ in 0..BORROWED_TURNS {
            Mailbox::barrier();
            let Some(mut driver) = take() else { return };
            if self.ended.load(Ordering::Acquire) {
                // Nothing is decided any more, and nobody may wait for it.
                drop(driver);
                return self.abandon();
            }
            // What failed half-way must not be driven again, by nobody.
            let turn = catch_unwind(AssertUnwindSafe(|| {
                driver.turn(|| self.clock.now(), &self.mailbox, &mut Hands(self))
            }))
            .unwrap_or_else(|panic| Err(panicked("driving the replica", &*panic)))
            .map_err(|error| self.condemn(error));
            let wake_at = driver.wake_at().nanos();
            self.wake_at.store(wake_at, Ordering::SeqCst);
            drop(driver);
            match turn {
                Ok(answers) => answers.give(&self.mailbox),
                Err(news) => return self.bury(news),
            }
            if wake_at < self.parked_until.load(Ordering::SeqCst) {
                self.node_thread.unpark();
            }
            // The fence in `is_filled` also orders the end: whoever ended the node meanwhile and
            // did not get the driver leaves it to this thread to tell those who wait.
            let filled = self.mailbox.is_filled();
            if self.ended.load(Ordering::SeqCst) {
                return self.abandon();
            }
            if !filled {
                return;
            }
        }
        // Others keep it filled faster than this thread can empty it, and this thread has other
        // things to do.
        self.node_thread.unpark();
    }

    /// How long the node thread may sleep; nothing when there is something to do. Whoever drives
    /// meanwhile and finds that it would sleep too long wakes it: the order of the stores and
    /// loads, here and in `turns`, lets one of the two see the other.
    pub(super) fn may_sleep(&self) -> Option<Duration> {
        self.parked_until.store(u64::MAX, Ordering::SeqCst);
        let until = self.wake_at.load(Ordering::SeqCst);
        self.parked_until.store(until, Ordering::SeqCst);
        let span = Instant::from_nanos(until).since(self.clock.now());
        let idle = !self.mailbox.is_filled() && self.errands.is_empty();
        (!span.is_zero() && idle).then_some(span)
    }

    pub(super) fn awake(&self) {
        self.parked_until.store(0, Ordering::SeqCst);
    }

    /// The host says that a connection broke.
    pub(super) fn unreachable(&self, peer: NodeId) {
        self.mailbox.hint(Input::Unreachable(peer));
        self.drive();
    }

    /// Whether nothing is decided or written any more.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Stops the node for good: everybody who waits is told, nothing more is decided.
    pub(super) fn halt(&self, cause: Error) {
        let news = self.condemn(cause);
        self.bury(news);
    }

    /// The part of [`halt`](Self::halt) that may be done while driving. The cause first: whoever
    /// sees that the node has ended asks why. Says whether it is the first cause.
    fn condemn(&self, cause: Error) -> bool {
        let news = self.halted.set(Arc::new(cause)).is_ok();
        self.ended.store(true, Ordering::SeqCst);
        news
    }

    /// The rest of it.
    fn bury(&self, news: bool) {
        if let (true, Some(cause)) = (news, self.halted.get()) {
            tracing::error!(%cause, member = %self.address.node, "the node has halted");
        }
        self.end();
        self.abandon();
        self.node_thread.unpark();
    }

    /// Nothing may be read or asked from here on.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.leads_alone.store(false, Ordering::Release);
        self.mailbox.close();
        self.watches.end();
        self.errands.close();
    }

    /// Answers everybody who waits with why nothing more will come. A thread that drives at the
    /// moment does it instead when its turn is over: waiting for it here could be waiting for a
    /// thread that waits for this one, through two nodes that deliver to each other.
    pub(super) fn abandon(&self) {
        loop {
            Mailbox::barrier();
            let Some(mut driver) = self.driver.try_lock() else { return };
            let left = driver.abandon(&self.mailbox);
            drop(driver);
            left.tell(&self.mailbox, || self.ending());
            // Who was let in before the mailbox closed, and found the driver held here, left it to
            // this thread; so did who closed the mailbox.
            if !self.mailbox.is_filled() {
                return;
            }
        }
    }

    /// Why the node takes and gives nothing any more.
    pub(super) fn ending(&self) -> Error {
        match self.halted.get() {
            Some(cause) => Error::new(Kind::Halted, format!("the node has halted: {cause}"))
                .because(Arc::clone(cause)),
            None => Error::new(Kind::Closed, "the node is closed"),
        }
    }

    /// Takes an envelope from the transport.
    pub(super) fn deliver(&self, from: NodeId, bytes: Bytes) -> Result<()> {
        if self.ended.load(Ordering::Acquire) {
            return Err(self.ending());
        }
        let size = bytes.len();
        match Envelope::open(&self.address, from, bytes) {
            Ok(envelope) => {
                self.mailbox.receive(envelope, size);
                self.drive();
                Ok(())
            }
            Err(error) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    /// Watches for a sync that takes too long (raft-notes 9.2).
    pub(super) fn watch_disk(&self, patience: Duration, overdue: &mut bool) {
        let late =
            self.log.busy_since().is_some_and(|since| self.clock.now().since(since) >= patience);
        if late != *overdue {
            *overdue = late;
            self.mailbox.report(Input::DiskOverdue(late));
        }
    }
}

/// What a turn hands out goes to the node's queues and to the host.
struct Hands<'a>(&'a Shared);

impl Host for Hands<'_> {
    fn publish(&mut self, replica: &Replica) {
        self.0.leads_alone.store(replica.leads_alone(), Ordering::Release);
        self.0.current_as_of.store(replica.current_as_of().nanos(), Ordering::Release);
        self.0.term.store(replica.term().get(), Ordering::Release);
    }

    fn send(&mut self, to: NodeId, lane: Lane, envelope: Bytes) {
        self.0.transport.send(to, lane, envelope);
    }

    fn persist(&mut self, persist: Persist) {
        self.0.log.push(persist);
    }

    fn release_log(&mut self, upto: Index) {
        self.0.log.release(upto);
    }

    fn job(&mut self, job: Output) -> Result<()> {
        self.0.jobs.hand_over(job)
    }

    fn members_changed(&mut self, peers: &[Peer]) {
        self.0.transport.members_changed(peers);
    }
}

/// A panic as a cause.
pub(super) fn panicked(doing: &str, panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no text".to_owned());
    Error::new(Kind::Halted, format!("a panic while {doing}: {text}"))
}

impl Gate for Shared {
    fn submit(&self, request: Request, then: Then) -> Result<()> {
        let posted = Posted { request, at: self.clock.now() };
        if self.ended.load(Ordering::Acquire) {
            return Err(self.ending());
        }
        if let Err(error) = self.mailbox.post(posted) {
            return Err(if error.is_closed() { self.ending() } else { error });
        }
        match then {
            Then::Gather => {}
            Then::Leave => Self::drive(self),
            Then::Lend => self.turns(|| self.driver.try_lock()),
        }
        Ok(())
    }

    fn is_busy(&self) -> bool {
        self.mailbox.is_busy()
    }

    fn drive(&self) {
        // If nothing waits, another thread has taken it and drives.
        if self.mailbox.is_filled() {
            Self::drive(self);
        }
    }

    fn lend(&self, done: &mut dyn FnMut() -> bool) {
        let mut synced_at: Option<Instant> = None;
        while !done() {
            match catch_unwind(AssertUnwindSafe(|| self.log.work(self))) {
                Ok(Ok(true)) => {
                    self.turns(|| self.driver.try_lock());
                    synced_at = Some(self.clock.now());
                }
                Ok(Ok(false)) => {
                    // After its own sync, what is missing is another member's, begun at about the
                    // same time: it is worth a short wait, because being woken costs as much.
                    if synced_at.is_none_or(|at| self.clock.now().since(at) >= LINGER) {
                        break;
                    }
                    thread::yield_now();
                }
                Ok(Err(error)) => return self.halt(error),
                Err(panic) => return self.halt(panicked("writing the log", &*panic)),
            }
        }
        // Others may have queued behind what this thread wrote.
        self.log.wake();
    }

    fn run(&self, job: Box<dyn FnOnce() + Send>) {
        self.errands.push(job);
        self.node_thread.unpark();
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn system_time(&self, at: Instant) -> std::time::Instant {
        self.clock.system_time(at)
    }

    fn park(&self, woken: &dyn Fn() -> bool, until: Option<Instant>) -> bool {
        while !woken() {
            let Some(until) = until else {
                thread::park();
                continue;
            };
            let span = until.since(self.clock.now());
            if span.is_zero() {
                return false;
            }
            thread::park_timeout(span);
        }
        true
    }

    fn reader(&self) -> Result<&Reader> {
        if self.ended.load(Ordering::Acquire) { Err(self.ending()) } else { Ok(&self.reader) }
    }

    fn watches(&self) -> &Arc<Watches> {
        &self.watches
    }

    fn ending(&self) -> Error {
        Self::ending(self)
    }

    fn leads_alone(&self) -> bool {
        self.leads_alone.load(Ordering::Acquire)
    }

    fn is_current_within(&self, age: Duration) -> bool {
        // Whatever passes between the two readings makes it seem older than it is.
        let as_of = self.current_as_of.load(Ordering::Acquire);
        as_of > 0 && self.clock.now().since(Instant::from_nanos(as_of)) <= age
    }

    fn standing(&self) -> Standing {
        Standing {
            cluster: self.address.cluster,
            member: self.address.node,
            term: Term::new(self.term.load(Ordering::Acquire)),
        }
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn number(&self, least: u64) -> u64 {
        next_number(&self.numbers, least)
    }
}
