//! Envelopes that wait: a heap by when they are due, and the one thread that hands them over.

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::super::clock::Clock;
use super::{Link, Routes};
use crate::ids::NodeId;
use crate::time::Instant;

/// What may wait in one network, in bytes of envelopes and of keeping them. Enough for a second
/// of a busy cluster; a test that wants more wants a slower client.
const MAX_WAITING_BYTES: usize = 64 << 20;

/// An envelope on its way.
#[derive(Debug)]
pub(super) struct Parcel {
    /// Whose counters it ends in.
    pub(super) link: Arc<Link>,
    pub(super) from: NodeId,
    pub(super) to: NodeId,
    pub(super) envelope: Bytes,
    /// How often it is handed over.
    pub(super) copies: u64,
}

/// Parcels by when they are due; those due at the same time in the order in which they came.
#[derive(Debug)]
pub(super) struct Waiting {
    heap: BinaryHeap<Slot>,
    next_order: u64,
    /// The sum of [`Parcel::cost_bytes`] over the heap: never above `max_bytes`.
    bytes: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct Slot {
    due: Instant,
    order: u64,
    parcel: Parcel,
}

/// The thread and what it shares with those who send. Dropping it ends and joins the thread; what
/// still waits is gone, as it is when a machine's plug is pulled.
#[derive(Debug)]
pub(super) struct Delayer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    state: Mutex<State>,
    /// Something earlier is due, or it is over.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    waiting: Waiting,
    closed: bool,
}

impl Parcel {
    fn cost_bytes(&self) -> usize {
        self.envelope.len().saturating_add(size_of::<Slot>())
    }
}

impl Waiting {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { heap: BinaryHeap::new(), next_order: 0, bytes: 0, max_bytes }
    }

    /// Takes a parcel in, or gives it back when too much waits already.
    pub(super) fn push(&mut self, due: Instant, parcel: Parcel) -> Result<(), Parcel> {
        let bytes = self.bytes.saturating_add(parcel.cost_bytes());
        if bytes > self.max_bytes {
            return Err(parcel);
        }
        self.bytes = bytes;
        self.heap.push(Slot { due, order: self.next_order, parcel });
        self.next_order = self.next_order.wrapping_add(1);
        Ok(())
    }

    /// The next parcel whose time has come.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Parcel> {
        if self.next_due()? > now {
            return None;
        }
        let Slot { parcel, .. } = self.heap.pop()?;
        self.bytes = self.bytes.saturating_sub(parcel.cost_bytes());
        Some(parcel)
    }

    /// When the next parcel is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.heap.peek().map(|slot| slot.due)
    }
}

impl Delayer {
    #[expect(clippy::disallowed_methods, reason = "named, and joined when the network is dropped")]
    pub(super) fn start(routes: Arc<Routes>) -> io::Result<Self> {
        let state = State { waiting: Waiting::new(MAX_WAITING_BYTES), closed: false };
        let (clock, state, changed) = (Clock::start(), Mutex::new(state), Condvar::new());
        let shared = Arc::new(Shared { clock, state, changed });
        let run = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("local-delay".to_owned())
            .spawn(move || run.hand_over_until_closed(&routes))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    pub(super) fn push(&self, delay: Duration, parcel: Parcel) -> Result<(), Parcel> {
        let due = self.shared.clock.now().after(delay);
        let mut state = self.shared.state.lock();
        let sooner = state.waiting.next_due().is_none_or(|next| due < next);
        state.waiting.push(due, parcel)?;
        drop(state);
        if sooner {
            self.shared.changed.notify_one();
        }
        Ok(())
    }
}

impl Drop for Delayer {
    fn drop(&mut self) {
        self.shared.state.lock().closed = true;
        self.shared.changed.notify_one();
        let Some(thread) = self.thread.take() else { return };
        // The last reference to a network can go inside an inbox that this very thread called. It
        // ends by itself then, as soon as it is back.
        if thread.thread().id() != thread::current().id() {
            // It ends in an error only if an inbox panicked, and then the panic was reported.
            drop(thread.join());
        }
    }
}

impl Shared {
    fn hand_over_until_closed(&self, routes: &Routes) {
        let mut state = self.state.lock();
        while !state.closed {
            let now = self.clock.now();
            if let Some(parcel) = state.waiting.pop_due(now) {
                drop(state);
                routes.arrive(parcel);
                state = self.state.lock();
                continue;
            }
            match state.waiting.next_due() {
                Some(due) => drop(self.changed.wait_for(&mut state, due.since(now))),
                None => self.changed.wait(&mut state),
            }
        }
    }
}

/// The greatest of the heap is the next one due, so the order is turned round.
impl Ord for Slot {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.order).cmp(&(self.due, self.order))
    }
}

impl PartialOrd for Slot {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Slot {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Slot {}
