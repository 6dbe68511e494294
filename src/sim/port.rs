//! The gate of a simulated member: what a handle holds of it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::shared::Shared;
use super::zero::system_time;
use crate::core::mvcc::Reader;
use crate::core::replica::Replica;
use crate::core::replica::envelope::Address;
use crate::core::watch::Watches;
use crate::driver::{Mailbox, Posted};
use crate::error::{Error, Kind, Result};
use crate::gate::{Gate, Limits, Request, Standing, Then, next_number};
use crate::ids::Term;
use crate::time::Instant;

/// One boot of one member. A handle from an earlier boot is told that its node is closed, as a
/// handle of an earlier process would be.
pub(super) struct Port {
    pub(super) world: Weak<Shared>,
    pub(super) place: usize,
    pub(super) address: Address,
    pub(super) limits: Limits,
    pub(super) mailbox: Mailbox,
    pub(super) reader: Reader,
    pub(super) watches: Arc<Watches>,
    /// Why it takes nothing any more, once it does not: halted, or closed if there is no cause.
    ended: OnceLock<Option<Arc<Error>>>,
    leads_alone: AtomicBool,
    /// How many were given.
    numbers: AtomicU64,
    /// In nanoseconds of the member's own clock; 0 for none.
    current_as_of: AtomicU64,
    term: AtomicU64,
    /// What the member's own clock said at its last turn, in nanoseconds.
    turned_at: AtomicU64,
    nudges: Arc<Nudges>,
}

/// Members that were asked for something by whoever was called while the world was at work: by an
/// answer, say. It looks when it has done what it was at.
#[derive(Default)]
pub(super) struct Nudges(Mutex<Vec<usize>>);

impl Nudges {
    fn push(&self, place: usize) {
        self.0.lock().push(place);
    }

    pub(super) fn take(&self) -> Vec<usize> {
        std::mem::take(&mut *self.0.lock())
    }
}

impl Port {
    pub(super) fn new(
        (world, place): (Weak<Shared>, usize),
        (address, limits): (Address, Limits),
        mailbox: Mailbox,
        (reader, watches): (Reader, Arc<Watches>),
        nudges: &Arc<Nudges>,
    ) -> Self {
        Self {
            world,
            place,
            address,
            limits,
            mailbox,
            reader,
            watches,
            ended: OnceLock::new(),
            leads_alone: AtomicBool::new(false),
            numbers: AtomicU64::new(0),
            current_as_of: AtomicU64::new(0),
            term: AtomicU64::new(0),
            turned_at: AtomicU64::new(0),
            nudges: Arc::clone(nudges),
        }
    }

    /// Its turn comes: what the clock says now is what whoever is called by it may know.
    pub(super) fn turns(&self, now: Instant) {
        self.turned_at.store(now.nanos(), Ordering::Relaxed);
    }

    /// What its clock says. Whoever is called by a turn asks while the world is at work.
    fn local_now(&self, shared: &Shared) -> Instant {
        match shared.world.try_lock() {
            Some(world) => world.local_now(self.place),
            None => Instant::from_nanos(self.turned_at.load(Ordering::Relaxed)),
        }
    }

    pub(super) fn publish(&self, replica: &Replica) {
        self.leads_alone.store(replica.leads_alone(), Ordering::Relaxed);
        self.current_as_of.store(replica.current_as_of().nanos(), Ordering::Relaxed);
        self.term.store(replica.term().get(), Ordering::Relaxed);
    }

    /// Takes nothing more, for this reason.
    pub(super) fn end(&self, cause: Option<Arc<Error>>) {
        drop(self.ended.set(cause));
        self.leads_alone.store(false, Ordering::Relaxed);
        self.mailbox.close();
        self.watches.end();
    }

    /// What everybody is told who asks or waits.
    pub(super) fn ending(&self) -> Error {
        match self.ended.get() {
            Some(Some(cause)) => Error::new(Kind::Halted, format!("the node has halted: {cause}"))
                .because(Arc::clone(cause)),
            _ => Error::new(Kind::Closed, "the node is closed"),
        }
    }
}

impl Gate for Port {
    fn submit(&self, request: Request, then: Then) -> Result<()> {
        let Some(shared) = self.world.upgrade().filter(|_| self.ended.get().is_none()) else {
            return Err(self.ending());
        };
        if then == Then::Lend && shared.is_running() {
            let text = "a task of a simulation cannot block: await the call instead";
            return Err(Error::invalid(text));
        }
        let at = self.local_now(&shared);
        self.mailbox.post(Posted { request, at })?;
        match shared.world.try_lock() {
            Some(mut world) => world.turn_soon(self.place),
            None => self.nudges.push(self.place),
        }
        Ok(())
    }

    fn is_busy(&self) -> bool {
        false
    }

    fn drive(&self) {}

    fn lend(&self, done: &mut dyn FnMut() -> bool) {
        let Some(shared) = self.world.upgrade() else { return };
        // Whoever blocks outside of the simulation lets it run until there is an answer.
        while !done() && shared.step() {}
    }

    fn run(&self, job: Box<dyn FnOnce() + Send>) {
        // Answers are given under the lock of the world, which whoever asks takes.
        let Some(shared) = self.world.upgrade() else { return };
        shared.tasks.spawn(async move { job() });
    }

    fn now(&self) -> Instant {
        let Some(shared) = self.world.upgrade() else { return Instant::default() };
        self.local_now(&shared)
    }

    fn system_time(&self, at: Instant) -> std::time::Instant {
        system_time(at)
    }

    fn park(&self, woken: &dyn Fn() -> bool, until: Option<Instant>) -> bool {
        // As in `lend`.
        let Some(shared) = self.world.upgrade() else { return false };
        if shared.is_running() {
            let why = "a task of a simulation cannot block: await the call instead";
            shared.world.lock().fail(why.to_owned());
            return false;
        }
        while !woken() {
            if until.is_some_and(|until| until <= self.now()) || !shared.step() {
                return false;
            }
        }
        true
    }

    fn reader(&self) -> Result<&Reader> {
        if self.ended.get().is_some() { Err(self.ending()) } else { Ok(&self.reader) }
    }

    fn watches(&self) -> &Arc<Watches> {
        &self.watches
    }

    fn ending(&self) -> Error {
        Self::ending(self)
    }

    fn leads_alone(&self) -> bool {
        self.leads_alone.load(Ordering::Relaxed)
    }

    fn is_current_within(&self, age: Duration) -> bool {
        let Some(shared) = self.world.upgrade() else { return false };
        let as_of = self.current_as_of.load(Ordering::Relaxed);
        let now = self.local_now(&shared);
        as_of > 0 && now.since(Instant::from_nanos(as_of)) <= age
    }

    fn standing(&self) -> Standing {
        Standing {
            cluster: self.address.cluster,
            member: self.address.node,
            term: Term::new(self.term.load(Ordering::Relaxed)),
        }
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn number(&self, least: u64) -> u64 {
        next_number(&self.numbers, least)
    }
}
