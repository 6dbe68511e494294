//! Watchers beside writers: how many events arrive, and how late.
//!
//! A put carries the moment at which it was begun, so whoever is given it knows how long that took.
//! What is given is checked: ascending revisions, and in the end as many events as there must be.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use quorate::{
    Put, PutResponse, Store, WatchBatch, WatchCanceller, WatchEnd, WatchId, WatchSet, WatchUpdate,
    Watcher,
};

use crate::Outcome;
use crate::bench::Bench;
use crate::callers::Callers;
use crate::hist::Hist;
use crate::random::Random;
use crate::report::{Figures, Meter, Record};
use crate::workloads::{numbered, watched_key};

/// How long events may take that are under way when the writers stop.
const PATIENCE: Duration = Duration::from_secs(20);
/// The key that all watch who watch the same.
const ONE: &[u8] = b"watch/one";
/// A put of this key ends the sets.
const STOP: &[u8] = b"watch/stop";
/// What it is called in a set.
const STOP_ID: WatchId = WatchId::new(u64::MAX);
/// Bytes of a value that say when its put was begun.
const STAMP_BYTES: usize = 8;

/// One measurement.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) workload: &'static str,
    /// All watch one key, or each its own.
    pub(crate) same: bool,
    pub(crate) watchers: usize,
    /// Sets that they are spread over, each read by one task; 0: each watcher is read by its own.
    pub(crate) streams: usize,
    pub(crate) writers: usize,
    /// Puts a second of the only writer; a closed loop without it.
    pub(crate) rate: Option<f64>,
}

/// What all of them share while it runs. Moments are nanoseconds since its zero.
struct Course {
    plan: Plan,
    zero: Instant,
    /// Puts that are begun before do not count, and none is begun after.
    from: u64,
    to: u64,
    /// Events that all watchers together were given.
    given: AtomicU64,
}

/// What one task reads.
enum Source {
    One(Watcher),
    /// Its watchers are called 0, 1, ..
    Many(WatchSet),
}

/// What one task has seen.
struct Seen {
    latencies: Hist,
    /// Revisions that count and when they were given; only of those who watch keys of their own.
    moments: Vec<(u64, u64)>,
    /// The revision that each watcher was given last.
    last: Vec<u64>,
    trouble: Option<String>,
}

/// What one writer has done.
struct Written {
    latencies: Hist,
    /// As those of [`Seen`]: when they were acknowledged.
    moments: Vec<(u64, u64)>,
    /// All of them, those that do not count too.
    puts: u64,
    trouble: Option<String>,
}

struct Writer {
    store: Store,
    course: Arc<Course>,
    random: Random,
    value_bytes: usize,
    written: Written,
}

impl Course {
    fn now(&self) -> u64 {
        u64::try_from(self.zero.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Plan {
    fn key(&self, at: u64) -> Vec<u8> {
        if self.same { ONE.to_vec() } else { watched_key(at) }
    }
}

impl Source {
    async fn next(&mut self) -> Option<Result<WatchUpdate, WatchEnd>> {
        match self {
            Self::One(watcher) => watcher.next().await.map(alone),
            Self::Many(set) => set.next().await,
        }
    }

    /// Of a watcher that is read alone.
    fn canceller(&self) -> Option<WatchCanceller> {
        match self {
            Self::One(watcher) => Some(watcher.canceller()),
            Self::Many(_) => None,
        }
    }

    fn wait(&mut self) -> Option<Result<WatchUpdate, WatchEnd>> {
        match self {
            Self::One(watcher) => watcher.next().wait().map(alone),
            Self::Many(set) => set.next().wait(),
        }
    }
}

/// As the only one of a set.
fn alone(given: Result<WatchBatch, WatchEnd>) -> Result<WatchUpdate, WatchEnd> {
    given.map(|batch| WatchUpdate::Batch(WatchId::new(0), batch))
}

impl Seen {
    fn new() -> Self {
        Self { latencies: Hist::new(), moments: Vec::new(), last: Vec::new(), trouble: None }
    }

    /// Takes what was given. Says whether to go on.
    fn take(&mut self, course: &Course, given: Option<Result<WatchUpdate, WatchEnd>>) -> bool {
        match given {
            Some(Ok(WatchUpdate::Batch(STOP_ID, _)) | Err(WatchEnd::Cancelled)) | None => false,
            Some(Ok(WatchUpdate::Batch(id, batch))) => {
                self.note(course, id, &batch);
                true
            }
            Some(other) => {
                self.trouble.get_or_insert(format!("{other:?}"));
                false
            }
        }
    }

    fn note(&mut self, course: &Course, id: WatchId, batch: &WatchBatch) {
        let now = course.now();
        let id = usize::try_from(id.get()).unwrap_or(usize::MAX);
        if self.last.len() <= id {
            self.last.resize(id + 1, 0);
        }
        let Some(last) = self.last.get_mut(id) else { return };
        for event in batch {
            let revision = event.revision().get();
            let stamp = event.kv().value().first_chunk::<STAMP_BYTES>();
            let begun = stamp.map_or(0, |stamp| u64::from_be_bytes(*stamp));
            if revision <= *last || begun > now || stamp.is_none() {
                let text = format!("an event of {revision} behind {last}");
                self.trouble.get_or_insert(text);
            }
            *last = revision;
            if begun >= course.from {
                self.latencies.add(Duration::from_nanos(now.saturating_sub(begun)));
                if !course.plan.same {
                    self.moments.push((revision, now));
                }
            }
        }
        course.given.fetch_add(batch.events().len() as u64, Ordering::Relaxed);
    }
}

impl Writer {
    fn new(store: Store, course: &Arc<Course>, (place, value_bytes): (u64, usize)) -> Self {
        let (course, random) = (Arc::clone(course), Random::new(place + 1));
        Self { store, course, random, value_bytes, written: Written::none() }
    }

    /// The next put and when it begins, unless it is over.
    fn next(&mut self) -> Option<(u64, Put)> {
        let key = self.course.plan.key(self.random.below(self.course.plan.watchers as u64));
        let begun = self.course.now();
        if begun > self.course.to || self.written.trouble.is_some() {
            return None;
        }
        let mut value = begun.to_be_bytes().to_vec();
        value.resize(self.value_bytes.max(STAMP_BYTES), 0);
        Some((begun, self.store.put(key, value)))
    }

    fn note(&mut self, begun: u64, result: quorate::Result<PutResponse>) {
        let now = self.course.now();
        match result {
            Ok(response) => {
                self.written.puts += 1;
                if begun >= self.course.from {
                    self.written.latencies.add(Duration::from_nanos(now.saturating_sub(begun)));
                    self.written.moments.push((response.header.revision.get(), now));
                }
            }
            Err(error) => self.written.trouble = Some(error.to_string()),
        }
    }

    fn block(mut self) -> Written {
        while let Some((begun, put)) = self.next() {
            let result = put.wait();
            self.note(begun, result);
        }
        self.written
    }

    async fn run(mut self) -> Written {
        while let Some((begun, put)) = self.next() {
            let result = put.await;
            self.note(begun, result);
        }
        self.written
    }

    /// One put at a time, and not before its moment.
    fn keep_pace(mut self, rate: f64) -> Written {
        let step = Duration::from_secs_f64(1.0 / rate);
        let mut next = Instant::now();
        loop {
            next += step;
            thread::sleep(next.saturating_duration_since(Instant::now()));
            let Some((begun, put)) = self.next() else { return self.written };
            let result = put.wait();
            self.note(begun, result);
        }
    }
}

/// Lets each source be read by whatever the callers are. They report when they were stopped.
fn follow(callers: &Callers, sources: Vec<Source>, course: &Arc<Course>) -> Receiver<Seen> {
    let (done, seen) = channel();
    for mut source in sources {
        let (course, done) = (Arc::clone(course), done.clone());
        // Nobody listens if the benchmark has failed elsewhere.
        if callers.block() {
            thread::spawn(move || {
                let mut seen = Seen::new();
                while seen.take(&course, source.wait()) {}
                drop(done.send(seen));
            });
        } else {
            callers.spawn(async move {
                let mut seen = Seen::new();
                while seen.take(&course, source.next().await) {}
                drop(done.send(seen));
            });
        }
    }
    seen
}

/// Lets the writers run, as callers do or each as a thread; they report when it is over.
fn write(callers: &Callers, writers: Vec<Writer>, threads: bool) -> Receiver<Written> {
    let (done, written) = channel();
    for writer in writers {
        let done = done.clone();
        if let Some(rate) = writer.course.plan.rate {
            thread::spawn(move || drop(done.send(writer.keep_pace(rate))));
        } else if threads {
            thread::spawn(move || drop(done.send(writer.block())));
        } else {
            callers.spawn(async move { drop(done.send(writer.run().await)) });
        }
    }
    written
}

/// From the acknowledgement of each put to its event; 0 where the event was first, and how many
/// those were.
fn behind_acknowledgement(mut acked: Vec<(u64, u64)>, mut given: Vec<(u64, u64)>) -> (Hist, u64) {
    acked.sort_unstable();
    given.sort_unstable();
    let (mut latencies, mut before) = (Hist::new(), 0);
    let mut acked = acked.into_iter().peekable();
    for (revision, at) in given {
        while acked.next_if(|(other, _)| *other < revision).is_some() {}
        if let Some((_, acked)) = acked.next_if(|(other, _)| *other == revision) {
            before += u64::from(at < acked);
            latencies.add(Duration::from_nanos(at.saturating_sub(acked)));
        }
    }
    (latencies, before)
}

/// Everything that is watched, started.
fn sources(plan: &Plan, stores: &[Store]) -> Outcome<Vec<Source>> {
    let store = |place: usize| stores.get(place % stores.len().max(1)).ok_or("no member");
    if plan.streams == 0 {
        let one = |at| -> Outcome<Source> {
            Ok(Source::One(store(at)?.watch(plan.key(at as u64)).start()?))
        };
        return (0..plan.watchers).map(one).collect();
    }
    let many = |place| -> Outcome<Source> {
        let mut set = store(place)?.watch_set();
        set.add(store(place)?.watch(STOP).id(STOP_ID))?;
        for at in (place..plan.watchers).step_by(plan.streams) {
            // The set takes only watchers of its own member.
            set.add(store(place)?.watch(plan.key(at as u64)))?;
        }
        Ok(Source::Many(set))
    };
    (0..plan.streams).map(many).collect()
}

impl Bench {
    /// One measurement of watchers beside writers.
    pub(crate) fn watch(&self, plan: Plan) -> Outcome<()> {
        let stores = self.cluster.stores()?;
        let store = |place: usize| stores.get(place % stores.len().max(1)).ok_or("no member");
        let zero = Instant::now();
        // Known before the watchers are started: a thousand of them take well under a second.
        let lead = Duration::from_millis(200) + self.options.warm;
        let nanos = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let (from, to) = (nanos(lead), nanos(lead + self.options.span));
        let course = Arc::new(Course { plan, zero, from, to, given: AtomicU64::new(0) });
        let sources = sources(&plan, &stores)?;
        let cancellers: Vec<_> = sources.iter().filter_map(Source::canceller).collect();
        let seen = follow(&self.callers, sources, &course);
        let writer = |at: usize| -> Outcome<Writer> {
            let size = (at as u64, self.options.value_bytes);
            Ok(Writer::new(store(at)?.clone(), &course, size))
        };
        let writers = (0..plan.writers).map(writer).collect::<Outcome<Vec<_>>>()?;
        let threads = self.callers.block() || self.options.writer_threads;
        let written = write(&self.callers, writers, threads);

        thread::sleep((zero + lead).saturating_duration_since(Instant::now()));
        let meter = Meter::start(&self.cluster);
        let before = course.given.load(Ordering::Relaxed);
        let written = written.iter().fold(Written::none(), Written::merge);
        let ops = course.given.load(Ordering::Relaxed) - before;
        let elapsed = Duration::from_nanos(course.now() - from);

        let wanted = written.puts * if plan.same { plan.watchers as u64 } else { 1 };
        let stopped = Instant::now();
        while course.given.load(Ordering::Relaxed) < wanted && stopped.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(1));
        }
        let drain = stopped.elapsed();
        cancellers.iter().for_each(WatchCanceller::cancel);
        if plan.streams > 0 {
            store(0)?.put(STOP, "").wait()?;
        }
        let seen = seen.iter().fold(Seen::new(), Seen::merge);
        let missing = wanted.abs_diff(course.given.load(Ordering::Relaxed));

        let mut more = Record::new();
        more.set("watchers", plan.watchers);
        more.set("streams", plan.streams);
        more.set("writers", self.options.writer_threads.then_some("threads"));
        more.set("puts_per_s", written.latencies.total() as f64 / elapsed.as_secs_f64());
        more.set("put_p50_us", written.latencies.quantile_us(0.5));
        more.set("put_p99_us", written.latencies.quantile_us(0.99));
        more.set("events_missing", missing);
        more.set("drain_ms", drain.as_secs_f64() * 1e3);
        if !plan.same {
            let (late, early) = behind_acknowledgement(written.moments, seen.moments);
            more.set("ack_p50_us", late.quantile_us(0.5));
            more.set("ack_p99_us", late.quantile_us(0.99));
            more.set("ack_max_us", late.max_us());
            more.set("before_ack", early as f64 / late.total().max(1) as f64);
        }
        let trouble = written.trouble.or(seen.trouble);
        let trouble = trouble.or((missing > 0).then(|| "events are missing or too many".into()));
        if let Some(trouble) = trouble {
            more.set("errors", missing.max(1));
            more.set("first_error", trouble);
        }
        let (workload, concurrency) = (plan.workload, plan.writers);
        let latencies = Some(&seen.latencies);
        let figures = Figures { workload, concurrency, ops, elapsed, latencies };
        meter.emit(&self.cluster, &self.options, &figures, more);
        Ok(())
    }

    /// Starts watchers of keys that nobody writes, and lets them sleep.
    pub(crate) fn idle(&self, count: usize) -> Outcome<Idle> {
        let stores = self.cluster.stores()?;
        let store = stores.first().ok_or("there is no member to watch")?;
        let (asleep, count) = (Arc::new(AtomicU64::new(0)), count as u64);
        let mut cancellers = Vec::new();
        let (done, ended) = channel();
        for at in 0..count {
            let mut watcher = store.watch(numbered(b"idle/", at)).start()?;
            cancellers.push(watcher.canceller());
            let (asleep, done) = (Arc::clone(&asleep), done.clone());
            self.callers.spawn(async move {
                // Polled for the first time it goes to sleep, and only then counts.
                let mut next = watcher.next();
                let first = std::future::poll_fn(|context| {
                    let polled = std::pin::Pin::new(&mut next).poll(context);
                    asleep.fetch_add(1, Ordering::Relaxed);
                    polled
                });
                let woken = first.await;
                let _ = done.send(matches!(woken, Some(Err(WatchEnd::Cancelled))));
            });
        }
        while asleep.load(Ordering::Relaxed) < count {
            thread::sleep(Duration::from_millis(1));
        }
        Ok(Idle { cancellers, ended })
    }
}

/// Watchers that sleep until it is dropped.
pub(crate) struct Idle {
    cancellers: Vec<WatchCanceller>,
    ended: Receiver<bool>,
}

impl Idle {
    /// Ends them; an error if one of them was not asleep all the time.
    pub(crate) fn end(self) -> Outcome<()> {
        self.cancellers.iter().for_each(WatchCanceller::cancel);
        if self.ended.iter().all(|slept| slept) {
            return Ok(());
        }
        Err("a watcher of a key that nobody writes was given something".into())
    }
}

impl Seen {
    fn merge(mut self, other: Self) -> Self {
        self.latencies.merge(&other.latencies);
        self.moments.extend(other.moments);
        self.trouble = self.trouble.or(other.trouble);
        self
    }
}

impl Written {
    fn none() -> Self {
        Self { latencies: Hist::new(), moments: Vec::new(), puts: 0, trouble: None }
    }

    fn merge(mut self, other: Self) -> Self {
        self.latencies.merge(&other.latencies);
        self.moments.extend(other.moments);
        self.puts += other.puts;
        self.trouble = self.trouble.or(other.trouble);
        self
    }
}
