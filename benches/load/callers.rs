//! Callers in a closed loop: each has one operation under way, and begins the next when the one
//! before is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate::{Revision, Store};

use crate::Outcome;
use crate::args::Kind;
use crate::executor::Executor;
use crate::hist::Hist;
use crate::log_time::LogWatch;
use crate::random::Random;

/// Operations after which a task lets the others of its thread run. Reads are answered at once,
/// so without it two of many tasks would do all the work. (Go interrupts them by a clock.)
const TURN: u64 = 32;

/// A request that can be awaited and blocked on.
pub(crate) trait Call:
    Future<Output = quorate::Result<Self::Response>> + Send + Unpin
{
    type Response: Send;

    fn block(self) -> quorate::Result<Self::Response>;
}

macro_rules! calls {
    ($($builder:ident -> $response:ident),*) => {$(
        impl Call for quorate::$builder {
            type Response = quorate::$response;

            fn block(self) -> quorate::Result<Self::Response> {
                self.wait()
            }
        }
    )*};
}

calls!(
    Put -> PutResponse, Get -> GetResponse, RangeRead -> RangeResponse, Delete -> DeleteResponse,
    Grant -> GrantResponse, KeepAlive -> KeepAliveResponse, Revoke -> RevokeResponse
);

/// What the callers do over and over.
pub(crate) trait Workload: Send + Sync + 'static {
    type Call: Call;

    /// The next operation; `None` when everything is done, for all callers.
    fn begin(&self, caller: &mut Caller) -> Option<Self::Call>;

    /// Whether the response is the right one. The caller may remember something of it.
    fn is_right(&self, caller: &mut Caller, response: &<Self::Call as Call>::Response) -> bool;
}

/// What a caller has of its own.
pub(crate) struct Caller {
    pub(crate) store: Store,
    pub(crate) random: Random,
    pub(crate) value: Bytes,
    /// Its place among the callers.
    pub(crate) place: u64,
    /// When a key of its own was last written, as far as it knows.
    pub(crate) seen: Option<Revision>,
}

/// When the callers run.
pub(crate) struct Window {
    /// What is begun before does not count.
    pub(crate) start: Instant,
    pub(crate) end: Instant,
    /// Where the log is looked at too.
    log: Option<LogWatch>,
    exhausted: AtomicBool,
}

/// What a caller has seen.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) hist: Hist,
    /// The latencies without the time in which the log was in the disk, if it is looked at.
    pub(crate) apart: Hist,
    pub(crate) last: Option<Instant>,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
}

/// Where callers run.
pub(crate) enum Callers {
    Tasks { executors: Vec<Executor>, next: AtomicUsize },
    Tokio(tokio::runtime::Runtime),
    Threads(Executor),
}

impl Callers {
    pub(crate) fn start(kind: Kind) -> Outcome<Self> {
        Ok(match kind {
            Kind::Tasks => {
                let executors = vec![Executor::start(), Executor::start()];
                Self::Tasks { executors, next: AtomicUsize::new(0) }
            }
            Kind::Tokio => {
                Self::Tokio(tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?)
            }
            // For what is not a caller: the puts beside the readers.
            Kind::Threads => Self::Threads(Executor::start()),
        })
    }

    /// Starts the callers, which report on the channel when they are through.
    pub(crate) fn run<W: Workload>(
        &self,
        callers: Vec<Caller>,
        window: &Arc<Window>,
        workload: &Arc<W>,
    ) -> Receiver<Tally> {
        let (done, tallies) = channel();
        for caller in callers {
            let (window, workload, done) =
                (Arc::clone(window), Arc::clone(workload), Sender::clone(&done));
            match self {
                Self::Threads(_) => {
                    thread::spawn(move || {
                        // Nobody listens if the benchmark has failed elsewhere.
                        drop(done.send(loop_blocking(caller, &window, &*workload)));
                    });
                }
                Self::Tasks { .. } | Self::Tokio(_) => self.spawn(async move {
                    drop(done.send(loop_awaiting(caller, &window, &*workload).await));
                }),
            }
        }
        tallies
    }

    /// Whether they are threads that block.
    pub(crate) fn block(&self) -> bool {
        matches!(self, Self::Threads(_))
    }

    /// Runs one task beside the callers.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        match self {
            Self::Tasks { executors, next } => {
                let at = next.fetch_add(1, Ordering::Relaxed) % executors.len().max(1);
                if let Some(executor) = executors.get(at) {
                    executor.spawn(task);
                }
            }
            Self::Tokio(runtime) => drop(runtime.spawn(task)),
            Self::Threads(executor) => executor.spawn(task),
        }
    }
}

impl Window {
    pub(crate) fn new(start: Instant, length: Duration) -> Self {
        Self { start, end: start + length, log: None, exhausted: AtomicBool::new(false) }
    }

    pub(crate) fn watching(self, log: LogWatch) -> Self {
        Self { log: Some(log), ..self }
    }

    fn in_log(&self) -> Duration {
        self.log.as_ref().map_or(Duration::ZERO, LogWatch::total)
    }

    fn is_over(&self, now: Instant) -> bool {
        now > self.end || self.exhausted.load(Ordering::Relaxed)
    }
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self { hist: Hist::new(), apart: Hist::new(), last: None, errors: 0, first_error: None }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.hist.merge(&other.hist);
        self.apart.merge(&other.apart);
        self.last = self.last.max(other.last);
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
    }

    /// Takes note of an operation that has just ended; whether it ended well is judged after the
    /// clock was read.
    fn note(
        &mut self,
        window: &Window,
        (begun, in_log): (Instant, Duration),
        is_right: impl FnOnce() -> quorate::Result<bool>,
    ) {
        let ended = Instant::now();
        let in_log = window.in_log().saturating_sub(in_log);
        let wrong = match is_right() {
            Ok(true) => {
                if begun >= window.start {
                    self.hist.add(ended - begun);
                    if window.log.is_some() {
                        self.apart.add((ended - begun).saturating_sub(in_log));
                    }
                    self.last = Some(ended);
                }
                return;
            }
            Ok(false) => "a wrong answer".to_owned(),
            Err(error) => error.to_string(),
        };
        self.errors += 1;
        self.first_error.get_or_insert(wrong);
    }
}

fn loop_blocking<W: Workload>(mut caller: Caller, window: &Window, workload: &W) -> Tally {
    let mut tally = Tally::new();
    loop {
        let begun = Instant::now();
        if window.is_over(begun) {
            return tally;
        }
        let in_log = window.in_log();
        let Some(call) = workload.begin(&mut caller) else {
            window.exhausted.store(true, Ordering::Relaxed);
            return tally;
        };
        let result = call.block();
        tally
            .note(window, (begun, in_log), || result.map(|it| workload.is_right(&mut caller, &it)));
    }
}

async fn loop_awaiting<W: Workload>(mut caller: Caller, window: &Window, workload: &W) -> Tally {
    let mut tally = Tally::new();
    for turn in 1_u64.. {
        let begun = Instant::now();
        if window.is_over(begun) {
            break;
        }
        let in_log = window.in_log();
        let Some(call) = workload.begin(&mut caller) else {
            window.exhausted.store(true, Ordering::Relaxed);
            break;
        };
        let result = call.await;
        tally
            .note(window, (begun, in_log), || result.map(|it| workload.is_right(&mut caller, &it)));
        if turn % TURN == 0 {
            let_others_run().await;
        }
    }
    tally
}

async fn let_others_run() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
