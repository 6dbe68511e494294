//! What waits for the node: bounded, in two queues, emptied in one grab.
//!
//! Callers' requests are bounded by count and by bytes; a full mailbox gives the request back
//! with an error. Peers' envelopes have a bound of their own, so that neither can crowd out the
//! other; beyond it they are dropped, which the protocol takes for loss. What the node's own
//! threads report is never refused: there is no more of it than they have work in hand.

use std::collections::VecDeque;

use crate::core::replica::envelope::Envelope;
use crate::core::replica::io::Input;
#[cfg(feature = "sim")]
use crate::core::replica::sizes::Size;
use crate::error::{Error, Kind, Result};
use crate::gate::Request;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

/// So many calls after the last that found somebody waiting, a node still counts as busy: with few
/// callers on few threads, the one that drives often finds nobody.
const BUSY_CALLS: u32 = 32;

/// A request and the moment it came, which its timeout counts from.
#[derive(Debug)]
pub(crate) struct Posted {
    pub(crate) request: Request,
    pub(crate) at: crate::time::Instant,
}

/// Hints beyond this many waiting reports are dropped: they say nothing new.
const MAX_HINTS: usize = 1024;

/// How much may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) max_requests: usize,
    pub(crate) max_request_bytes: usize,
    pub(crate) max_envelope_bytes: usize,
}

/// What one grab takes out.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) reports: VecDeque<Input>,
    pub(crate) envelopes: VecDeque<Envelope>,
    pub(crate) requests: VecDeque<Posted>,
    envelope_bytes: usize,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.reports.is_empty() && self.envelopes.is_empty() && self.requests.is_empty()
    }
}

/// See the top of the file.
#[derive(Debug)]
pub(crate) struct Mailbox {
    bounds: Bounds,
    waiting: Mutex<Batch>,
    /// Whether `waiting` holds anything: read without the lock.
    filled: AtomicBool,
    /// Envelopes dropped because too many waited.
    dropped: AtomicU64,
    /// Requests taken out whose answers are still owed, plus those that wait: the bound counts
    /// both, so that a stalled cluster cannot gather more than it has room for.
    owed: AtomicU64,
    /// The bytes of those.
    owed_bytes: AtomicUsize,
    /// Calls that still count as busy though nobody waited when they came.
    busy_calls: AtomicU32,
    /// The node takes nothing more.
    closed: AtomicBool,
}

impl Mailbox {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            waiting: Mutex::default(),
            filled: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
            owed: AtomicU64::new(0),
            owed_bytes: AtomicUsize::new(0),
            busy_calls: AtomicU32::new(0),
            closed: AtomicBool::new(false),
        }
    }

    /// Takes a caller's request, or gives the reason why not (`SEL-11`).
    pub(crate) fn post(&self, posted: Posted) -> Result<()> {
        let bytes = match &posted.request {
            Request::Write { payload, .. } | Request::Compact { payload, .. } => payload.len(),
            Request::Open { how, .. } => how.bytes(),
            Request::Read { .. }
            | Request::Pin { .. }
            | Request::KeepAlive { .. }
            | Request::Lease { .. }
            | Request::Leases { .. }
            | Request::Sleep { .. }
            | Request::Transfer { .. } => 0,
        };
        let Bounds { max_requests, max_request_bytes, .. } = self.bounds;
        let mut waiting = self.waiting.lock();
        if self.closed.load(Ordering::Relaxed) {
            return Err(Error::new(Kind::Closed, "the node is closed"));
        }
        let owed = usize::try_from(self.owed.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        if owed >= max_requests {
            let text = format!("{owed} requests are waiting, and {max_requests} may");
            return Err(Error::new(Kind::Overloaded, text));
        }
        let total = self.owed_bytes.load(Ordering::Relaxed).saturating_add(bytes);
        if total > max_request_bytes && owed > 0 {
            let text = format!(
                "unanswered requests would take {total} bytes, and may take {max_request_bytes}"
            );
            return Err(Error::new(Kind::Overloaded, text));
        }
        self.owed.fetch_add(1, Ordering::Relaxed);
        self.owed_bytes.fetch_add(bytes, Ordering::Relaxed);
        waiting.requests.push_back(posted);
        self.filled.store(true, Ordering::Release);
        Ok(())
    }

    /// Takes nothing more from anybody. What came before is still there to be taken out.
    pub(crate) fn close(&self) {
        let _waiting = self.waiting.lock();
        self.closed.store(true, Ordering::Relaxed);
    }

    /// `count` requests of `bytes` bytes in all have been answered.
    pub(crate) fn answered(&self, count: usize, bytes: usize) {
        self.owed_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.owed.fetch_sub(count as u64, Ordering::Relaxed);
    }

    /// Whether somebody waits for an answer, or did not long ago. Two threads may count as one:
    /// it is a hint.
    pub(crate) fn is_busy(&self) -> bool {
        let calls = if self.owed.load(Ordering::Relaxed) > 0 {
            BUSY_CALLS
        } else {
            self.busy_calls.load(Ordering::Relaxed)
        };
        self.busy_calls.store(calls.saturating_sub(1), Ordering::Relaxed);
        calls > 0
    }

    /// Takes a peer's envelope of `bytes` bytes, or drops it.
    pub(crate) fn receive(&self, envelope: Envelope, bytes: usize) {
        let mut waiting = self.waiting.lock();
        if self.closed.load(Ordering::Relaxed) {
            return;
        }
        let total = waiting.envelope_bytes.saturating_add(bytes);
        if total > self.bounds.max_envelope_bytes && !waiting.envelopes.is_empty() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.envelope_bytes = total;
        waiting.envelopes.push_back(envelope);
        self.filled.store(true, Ordering::Release);
    }

    /// Takes a report of one of the node's own threads.
    pub(crate) fn report(&self, input: Input) {
        self.waiting.lock().reports.push_back(input);
        self.filled.store(true, Ordering::Release);
    }

    /// Takes what the host says and nobody waits for, unless much of it waits already.
    pub(crate) fn hint(&self, input: Input) {
        let mut waiting = self.waiting.lock();
        if waiting.reports.len() < MAX_HINTS {
            waiting.reports.push_back(input);
            self.filled.store(true, Ordering::Release);
        }
    }

    /// Swaps everything that waits into `batch`, which must be empty.
    pub(crate) fn take(&self, batch: &mut Batch) {
        let mut waiting = self.waiting.lock();
        std::mem::swap(&mut *waiting, batch);
        waiting.envelope_bytes = 0;
        debug_assert!(waiting.is_empty());
        self.filled.store(false, Ordering::Release);
    }

    /// Whether something waits, for whoever has just let go of the driver. Pairs with
    /// [`barrier`](Self::barrier).
    pub(crate) fn is_filled(&self) -> bool {
        fence(Ordering::SeqCst);
        self.filled.load(Ordering::Acquire)
    }

    /// Between filling the mailbox and trying for the driver: either the one who posts gets the
    /// driver, or the one who lets go of it sees what was posted. Without the two fences both
    /// could look before either is seen, and what was posted would wait for the next tick.
    pub(crate) fn barrier() {
        fence(Ordering::SeqCst);
    }

    pub(super) fn max_requests(&self) -> usize {
        self.bounds.max_requests
    }

    /// How much there is of what has a bound.
    #[cfg(feature = "sim")]
    pub(crate) fn sizes(&self, out: &mut Vec<Size>) {
        let Bounds { max_requests, max_request_bytes, max_envelope_bytes } = self.bounds;
        let owed = self.owed.load(Ordering::Relaxed);
        out.push(Size { what: "requests not answered", is: owed, most: max_requests as u64 });
        // One request alone, and one envelope, may be of any size.
        let bytes = self.owed_bytes.load(Ordering::Relaxed);
        let most = if owed > 1 { max_request_bytes } else { usize::MAX };
        out.push(Size::new("bytes of requests not answered", bytes, most));
        let waiting = self.waiting.lock();
        let most = if waiting.envelopes.len() > 1 { max_envelope_bytes } else { usize::MAX };
        out.push(Size::new("bytes of envelopes that wait", waiting.envelope_bytes, most));
        // What the node's own parts report has no bound of its own: each reports what it had in
        // hand.
        out.push(Size::new("reports that wait", waiting.reports.len(), 2 * MAX_HINTS));
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}
