//! Random watchers: what they watch, where, and how well they keep up.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_core::stream::Stream;
use parking_lot::Mutex;

use super::draw;
use crate::core::watch::Step;
use crate::ids::{NodeId, Revision};
use crate::keys::KeyRange;
use crate::service::{Watch, WatchBatch, WatchEnd, Watcher};
use crate::sim::check::watch::{Asked, Ended};
use crate::sim::clock::Sleep;
use crate::sim::cluster::Cluster;
use crate::sim::dice::{Dice, Seed};
use crate::sim::marks::Mark;
use crate::sim::watched::{Notes, Phase, WatchedId};
use crate::sim::world::Pace;
use crate::store::Store;

/// What those who watch in one run are like: drawn from its seed, with dice of their own.
#[derive(Clone, Debug)]
pub(in crate::sim) struct Watchers {
    dice: Dice,
    count: u64,
    /// How long a watcher is kept at most.
    kept: Duration,
    /// How long a slow one waits between two batches at most.
    slow: Duration,
    /// How long one that stalls is away at most.
    stalled: Duration,
    pub(in crate::sim) max_pinned: u64,
    pub(in crate::sim) pace: Pace,
}

impl Watchers {
    pub(in crate::sim) fn drawn(seed: Seed, span: Duration) -> Self {
        let mut dice = Dice::of_part(seed, "watchers");
        let looks = [1, 3, 20, 4_096].get(dice.place(4)).copied().unwrap_or(20);
        let bytes = [1, 200, 1 << 20].get(dice.place(3)).copied().unwrap_or(200);
        let rings = [1, 5, usize::MAX].get(dice.place(3)).copied().unwrap_or(5);
        let max_pinned = [0, 5, 50, 1_000_000, 1_000_000].get(dice.place(5)).copied();
        Self {
            count: dice.below(9),
            kept: dice.span(span / 20, span),
            slow: dice.span(Duration::ZERO, Duration::from_millis(400)),
            stalled: span / 3,
            max_pinned: max_pinned.unwrap_or(50),
            pace: Pace { step: Some(Step { looks, bytes }), rings },
            dice,
        }
    }

    /// Starts them as tasks, which go on until the last phase. Says how many.
    pub(in crate::sim) fn start(&mut self, cluster: &Cluster, keys: u64, notes: &Notes) -> usize {
        for _ in 0..self.count {
            let consumer = Consumer {
                cluster: cluster.clone(),
                dice: self.dice.fork(),
                notes: notes.clone(),
                watchers: self.clone(),
                keys,
                newest: Revision::new(1),
                last: None,
            };
            cluster.spawn(consumer.run());
        }
        usize::try_from(self.count).unwrap_or_default()
    }
}

/// Somebody who watches: one watcher after the other, mostly where the one before has ended.
struct Consumer {
    cluster: Cluster,
    dice: Dice,
    notes: Notes,
    watchers: Watchers,
    keys: u64,
    /// The highest revision that it has heard of.
    newest: Revision,
    /// Where the last watcher was.
    last: Option<NodeId>,
}

/// How long a watcher is kept, and how its consumer is.
#[derive(Clone, Copy)]
struct Style {
    until: Duration,
    /// Waits at most so long between two batches.
    slow: Duration,
    /// One batch in so many is followed by a long silence.
    stalls: u64,
    asks: bool,
}

/// What happens next to a consumer.
enum Woken {
    Phase,
    Time,
    Told(Option<Result<WatchBatch, WatchEnd>>),
}

impl Consumer {
    async fn run(mut self) {
        let mut asked: Option<Asked> = None;
        while self.notes.phase() != Phase::Over {
            let again = asked.take();
            let wanted = again.clone().unwrap_or_else(|| self.draw());
            let Some((node, store, watcher)) = self.begin(&wanted) else {
                asked = again;
                self.pause(Duration::from_millis(100)).await;
                continue;
            };
            if again.is_some() && self.last.replace(node).is_some_and(|last| last != node) {
                self.cluster.mark(Mark::WatcherMoved);
            }
            asked = self.watch(node, store, wanted, watcher).await;
        }
    }

    /// Begins a watcher at some member that is up.
    fn begin(&mut self, asked: &Asked) -> Option<(NodeId, Store, Watcher)> {
        let mut names = self.cluster.names();
        names.retain(|name| self.cluster.is_up(name).unwrap_or_default());
        let name = self.dice.pick(&names)?;
        let store = self.cluster.store(name).ok()?;
        let every = self.dice.span(Duration::from_millis(50), Duration::from_secs(1));
        let watch = watch(&store, asked);
        let watch = if asked.progress { watch.progress_every(every) } else { watch };
        Some((self.cluster.id(name).ok()?, store, watch.start().ok()?))
    }

    /// Watches until it is enough or ends. Gives what to watch then, if it goes on there.
    async fn watch(
        &mut self,
        node: NodeId,
        store: Store,
        mut asked: Asked,
        watcher: Watcher,
    ) -> Option<Asked> {
        let begun = (node, watcher.created());
        let id = self.notes.begin(&self.cluster, begun, &asked);
        let mut seat = Seat::new(watcher, id);
        self.note(|| format!("{seat} at {node}: {asked:?}, made at {}", begun.1));
        let ended = self.consume(&mut seat).await;
        let next = self.notes.dropped(id);
        drop(seat);
        let goes_on = self.notes.phase() != Phase::Free || self.dice.chance(700_000);
        asked.from = match ended {
            Some(Ended::Compacted(_)) => Some(self.list(&store, &asked.range).await?.next()),
            _ if goes_on => next,
            _ => return None,
        };
        asked.from.map(|_| asked)
    }

    /// Takes what a watcher gives. Says how it has ended, if not its consumer has.
    async fn consume(&mut self, seat: &mut Seat) -> Option<Ended> {
        let style = self.style();
        let mut phase = self.notes.phase();
        loop {
            let until = (phase == Phase::Free).then_some(style.until);
            match seat.wait(&self.cluster, &self.notes, (phase, until)).await {
                Woken::Told(Some(told)) => {
                    self.note(|| format!("{seat} {}", shown(&told)));
                    if let Some(ended) = self.notes.told(&self.cluster, seat.id, &told) {
                        return Some(ended);
                    }
                    self.newest = told.map_or(self.newest, |it| it.revision().max(self.newest));
                    self.rest(style).await;
                    if style.asks && self.dice.chance(100_000) {
                        seat.ask(&self.cluster, &self.notes);
                    }
                }
                Woken::Told(None) => self.cluster.fail("a watcher ends without a word"),
                Woken::Time if self.dice.chance(300_000) => {
                    self.notes.cancelled(&self.cluster, seat.id);
                    seat.watcher.canceller().cancel();
                }
                Woken::Time => return None,
                Woken::Phase => {
                    phase = self.notes.phase();
                    match phase {
                        Phase::Ask => seat.ask(&self.cluster, &self.notes),
                        Phase::Over => return None,
                        Phase::Free | Phase::Quiet => {}
                    }
                }
            }
            if self.cluster.has_failed() {
                return None;
            }
        }
    }

    /// Between two batches.
    async fn rest(&mut self, style: Style) {
        if self.notes.phase() != Phase::Free {
            return;
        }
        if style.stalls > 0 && self.dice.below(style.stalls) == 0 {
            let long = self.dice.span(Duration::ZERO, self.watchers.stalled);
            self.pause(long).await;
        } else if style.slow > Duration::ZERO {
            let short = self.dice.span(Duration::ZERO, style.slow);
            self.pause(short).await;
        }
    }

    /// For so long, or until another phase begins.
    async fn pause(&self, span: Duration) {
        let (phase, mut sleep) = (self.notes.phase(), self.cluster.clock().sleep(span));
        std::future::poll_fn(|context| {
            if self.notes.has_left(phase, context.waker()) {
                return Poll::Ready(());
            }
            Pin::new(&mut sleep).poll(context)
        })
        .await;
    }

    /// What a range holds at this member, to watch on from there.
    async fn list(&mut self, store: &Store, range: &KeyRange) -> Option<Revision> {
        let read = store.range(range.clone()).serializable().timeout(Duration::from_secs(5));
        let listed = read.await.ok()?;
        let at = listed.header.revision;
        if let Err(what) = self.notes.listed(range, at, &listed.kvs) {
            self.cluster.fail(what);
        }
        Some(at)
    }

    fn note(&self, text: impl FnOnce() -> String) {
        self.cluster.note(text());
    }

    // ---- chance

    fn style(&mut self) -> Style {
        let now = self.cluster.clock().now();
        let until = now + self.dice.span(Duration::ZERO, self.watchers.kept);
        let asks = self.dice.chance(500_000);
        let (slow, stalls) = match self.dice.below(4) {
            0 => (self.watchers.slow, 0),
            1 => (Duration::ZERO, 1 + self.dice.below(20)),
            _ => (Duration::ZERO, 0),
        };
        Style { until, slow, stalls, asks }
    }

    fn draw(&mut self) -> Asked {
        let key = draw::name(self.dice.below(self.keys));
        let range = match self.dice.below(6) {
            0 | 1 => KeyRange::key(key),
            2 => KeyRange::prefix(key.slice(..4)),
            3 => KeyRange::prefix("bank/"),
            4 => KeyRange::starting_at(key),
            _ => KeyRange::all(),
        };
        let newest = self.newest.get();
        let (near, back) = (self.dice.below(50), self.dice.below(200));
        let from = match self.dice.below(8) {
            0 | 1 => Some(newest.saturating_sub(back).max(1)),
            2 => Some(newest + 1 + near),
            3 => Some(1),
            _ => None,
        };
        Asked {
            range,
            from: from.map(Revision::new),
            no_puts: self.dice.chance(100_000),
            no_deletes: self.dice.chance(100_000),
            prev: self.dice.chance(500_000),
            progress: self.dice.chance(300_000),
            fragment: self.dice.chance(250_000).then(|| self.dice.place(400) + 1),
            leader: self.dice.chance(150_000),
        }
    }
}

/// A watcher as its consumer holds it.
struct Seat {
    watcher: Watcher,
    id: WatchedId,
    bell: Arc<Bell>,
}

/// Whether the watcher itself has called its consumer. It is asked only then, so that somebody
/// who wakes for another reason does not find what the watcher has forgotten to say.
struct Bell {
    rang: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rang.store(true, Ordering::Relaxed);
        if let Some(task) = self.task.lock().take() {
            task.wake();
        }
    }
}

impl Seat {
    fn new(watcher: Watcher, id: WatchedId) -> Self {
        let bell = Bell { rang: AtomicBool::new(true), task: Mutex::new(None) };
        Self { watcher, id, bell: Arc::new(bell) }
    }

    /// What happens first: another phase begins, the time is over, or the watcher has something.
    async fn wait(
        &mut self,
        cluster: &Cluster,
        notes: &Notes,
        (phase, until): (Phase, Option<Duration>),
    ) -> Woken {
        let clock = cluster.clock();
        let mut sleep = until.map(|until| clock.sleep(until.saturating_sub(clock.now())));
        std::future::poll_fn(|context| self.poll(notes, phase, sleep.as_mut(), context)).await
    }

    fn poll(
        &mut self,
        notes: &Notes,
        phase: Phase,
        sleep: Option<&mut Sleep>,
        context: &mut Context<'_>,
    ) -> Poll<Woken> {
        if notes.has_left(phase, context.waker()) {
            return Poll::Ready(Woken::Phase);
        }
        *self.bell.task.lock() = Some(context.waker().clone());
        if self.bell.rang.swap(false, Ordering::Relaxed) {
            let waker = Waker::from(Arc::clone(&self.bell));
            let next = Pin::new(&mut self.watcher).poll_next(&mut Context::from_waker(&waker));
            if let Poll::Ready(told) = next {
                // There may be more.
                self.bell.rang.store(true, Ordering::Relaxed);
                return Poll::Ready(Woken::Told(told));
            }
        }
        match sleep.map(|sleep| Pin::new(sleep).poll(context)) {
            Some(Poll::Ready(())) => Poll::Ready(Woken::Time),
            _ => Poll::Pending,
        }
    }

    fn ask(&mut self, cluster: &Cluster, notes: &Notes) {
        notes.requested(cluster, self.id);
        self.watcher.request_progress();
        self.bell.rang.store(true, Ordering::Relaxed);
    }
}

impl std::fmt::Display for Seat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "watcher {}", self.id.0)
    }
}

/// The same in a user's words, but for how often it is told of progress.
pub(in crate::sim) fn watch(store: &Store, asked: &Asked) -> Watch {
    let mut watch = store.watch(asked.range.clone()).from_revision(asked.from.unwrap_or_default());
    if asked.no_puts {
        watch = watch.no_puts();
    }
    if asked.no_deletes {
        watch = watch.no_deletes();
    }
    if asked.prev {
        watch = watch.prev_values();
    }
    if let Some(bytes) = asked.fragment {
        watch = watch.fragment_bytes(bytes);
    }
    if asked.leader { watch.require_leader() } else { watch }
}

fn shown(told: &Result<WatchBatch, WatchEnd>) -> String {
    match told {
        Ok(batch) => {
            let revisions = batch.events().iter().map(|event| event.revision().get());
            let revisions: Vec<u64> = revisions.collect();
            let piece = if batch.is_fragment() { ", to be continued" } else { "" };
            format!("is given {revisions:?} up to {}{piece}", batch.revision())
        }
        Err(end) => format!("ends: {end}"),
    }
}
