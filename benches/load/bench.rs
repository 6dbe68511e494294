//! The measurements: which workload with how many callers, and what is prepared before it.

use std::iter::repeat_n;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate::{KeyRange, Revision, Store};

use crate::Outcome;
use crate::args::Options;
use crate::callers::{Caller, Callers, Tally, Window, Workload};
use crate::cluster::Cluster;
use crate::exchange::{HotKey, HotTransact, OwnKeys};
use crate::pacer::Pace;
use crate::random::Random;
use crate::report::{Figures, Meter, Record};
use crate::watching::Plan;
use crate::workloads::{Counts, Deletes, Fill, Gets, Puts, RANGE, Ranges, doomed_key, key};

/// Callers that fill the store before a measurement.
const FILLERS: usize = 256;
/// Writers of a store that is full.
const WRITERS: usize = 16;
/// Callers that want the same key.
const RIVALS: usize = 16;
/// How long puts are measured before a compaction begins, and how long it may take.
const LEAD: Duration = Duration::from_millis(100);
const COMPACTION: Duration = Duration::from_secs(600);
/// Readers beside the puts of an open loop, and the rates of those.
const READERS: usize = 16;
const RATES: [u32; 3] = [100, 1000, 5000];
/// No measurement lasts as long.
const FOREVER: Duration = Duration::from_secs(86_400);

const PUT_CALLERS: [usize; 5] = [1, 16, 64, 256, 1024];
const READ_CALLERS: [usize; 4] = [1, 16, 64, 256];
const EXCHANGE_CALLERS: [usize; 3] = [1, 16, 64];
const WATCHERS: [usize; 3] = [1, 100, 1000];
/// Writers beside watchers.
const WRITING: [usize; 2] = [1, 64];
/// Watchers that sleep, and how often puts beside them are compared with puts without, at least.
const IDLE: usize = 10_000;
const PAIRS: usize = 3;

/// A cluster under load.
pub(crate) struct Bench {
    pub(crate) options: Options,
    pub(crate) cluster: Cluster,
    pub(crate) callers: Callers,
    filled: bool,
}

impl Bench {
    pub(crate) fn open(options: &Options) -> Outcome<Self> {
        let callers = Callers::start(options.callers)?;
        let cluster = Cluster::open(options)?;
        Ok(Self { options: options.clone(), cluster, callers, filled: false })
    }

    pub(crate) fn close(self) -> Outcome<()> {
        self.cluster.remove()
    }

    pub(crate) fn run(&mut self, workload: &str) -> Outcome<()> {
        match workload {
            "put" => self.puts(),
            "get-ser" => self.gets(true),
            "get-lin" => self.gets(false),
            "get-under-writes" => self.gets_under_writes(),
            "range" => self.ranges(),
            "count" => self.counts(),
            "txn-cas" => self.exchanges(),
            "delete" => self.deletes(),
            "load" => self.load(),
            "watch-same" => self.watches("watch-same", true, None),
            "watch-distinct" => self.watches("watch-distinct", false, None),
            "watch-same-paced" => self.watches("watch-same-paced", true, Some(self.options.rate)),
            "watch-distinct-paced" => {
                self.watches("watch-distinct-paced", false, Some(self.options.rate))
            }
            "watch-idle" => self.beside_idle(),
            "lease" => self.leases(),
            "lease-expiry" => self.expiry(),
            "idle-sessions" => self.idle_sessions(),
            "mutex" => self.mutexes(),
            "failover" => self.failovers(),
            _ => Err(format!("there is no workload {workload}").into()),
        }
    }

    fn puts(&mut self) -> Outcome<()> {
        self.fill_once()?;
        let workload = Arc::new(Puts { keys: self.options.keys });
        for concurrency in self.options.concurrency(&PUT_CALLERS) {
            for _ in 0..self.options.repeat {
                if self.options.compact {
                    self.compact()?;
                }
                self.measure("put", concurrency, &workload, || Ok(Record::new()))?;
            }
        }
        Ok(())
    }

    fn gets(&mut self, serializable: bool) -> Outcome<()> {
        self.fill_once()?;
        let name = if serializable { "get-ser" } else { "get-lin" };
        for concurrency in self.options.concurrency(&READ_CALLERS) {
            for _ in 0..self.options.repeat {
                self.measure(name, concurrency, &self.reads(serializable), || Ok(Record::new()))?;
            }
        }
        Ok(())
    }

    fn reads(&self, serializable: bool) -> Arc<Gets> {
        let Options { keys, value_bytes, .. } = self.options;
        Arc::new(Gets { keys, serializable, value_bytes })
    }

    fn gets_under_writes(&mut self) -> Outcome<()> {
        self.fill_once()?;
        let stores = self.cluster.stores()?;
        let store = stores.first().ok_or("there is no member to write to")?;
        for (serializable, name) in
            [(true, "get-ser-under-writes"), (false, "get-lin-under-writes")]
        {
            let rates = RATES.iter().flat_map(|rate| repeat_n(*rate, self.options.repeat));
            for rate in rates {
                let pace = Arc::new(Pace::default());
                let size = (self.options.keys, self.options.value_bytes);
                thread::scope(|scope| {
                    scope.spawn(|| pace.offer(rate, &self.callers, store, size));
                    let begun = Instant::now();
                    let reads = self.reads(serializable);
                    let result = self.measure(name, READERS, &reads, || {
                        let mut more = Record::new();
                        let span = begun.elapsed().as_secs_f64();
                        more.set("offered_puts_per_s", rate);
                        more.set("puts_per_s", pace.done() as f64 / span);
                        more.set("failed_puts", pace.failed());
                        Ok(more)
                    });
                    pace.stop();
                    result
                })?;
            }
        }
        Ok(())
    }

    fn ranges(&mut self) -> Outcome<()> {
        let keys = self.options.keys;
        if keys < 2 * RANGE {
            return Err("ranges want --keys 2000 at least".into());
        }
        self.fill_once()?;
        for concurrency in [1, 16] {
            for (serializable, name) in [(true, "range1000-ser"), (false, "range1000-lin")] {
                let workload = Arc::new(Ranges { keys, serializable, open_end: false });
                for _ in 0..self.options.repeat {
                    self.measure(name, concurrency, &workload, || Ok(Record::new()))?;
                }
            }
        }
        let workload = Arc::new(Ranges { keys, serializable: true, open_end: true });
        for _ in 0..self.options.repeat {
            self.measure("range1000-limit-openend-ser", 1, &workload, || Ok(Record::new()))?;
        }
        Ok(())
    }

    fn counts(&mut self) -> Outcome<()> {
        let keys = self.options.keys;
        if keys < 2 * RANGE {
            return Err("counts want --keys 2000 at least".into());
        }
        self.fill_once()?;
        let all = format!("count-prefix-{keys}");
        for (name, some) in [(all.as_str(), false), ("count-range-1000", true)] {
            let workload = Arc::new(Counts { keys, some });
            for _ in 0..self.options.repeat {
                self.measure(name, 1, &workload, || Ok(Record::new()))?;
            }
        }
        Ok(())
    }

    fn exchanges(&mut self) -> Outcome<()> {
        self.fill_once()?;
        for concurrency in self.options.concurrency(&EXCHANGE_CALLERS) {
            for _ in 0..self.options.repeat {
                self.measure("txn-cas", concurrency, &Arc::new(OwnKeys), || Ok(Record::new()))?;
            }
        }
        for _ in 0..self.options.repeat {
            let hot = Arc::new(HotKey::default());
            self.measure("txn-cas-contended", RIVALS, &hot, || Ok(tries(&hot)))?;
        }
        for _ in 0..self.options.repeat {
            let hot = Arc::new(HotTransact::default());
            self.measure("transact-contended", RIVALS, &hot, || Ok(tries(&hot.0)))?;
        }
        Ok(())
    }

    fn deletes(&mut self) -> Outcome<()> {
        let seconds = (self.options.span + self.options.warm).as_secs() + 1;
        for concurrency in self.options.concurrency(&READ_CALLERS) {
            for _ in 0..self.options.repeat {
                // More than can be deleted in that time, so that none is looked for twice.
                let count = seconds * if concurrency < 16 { 12_000 } else { 200_000 };
                self.fill(count, doomed_key)?;
                let workload = Arc::new(Deletes { count, next: AtomicU64::new(0) });
                self.measure("delete", concurrency, &workload, || Ok(Record::new()))?;
                if let Some(store) = self.cluster.stores()?.first() {
                    store.delete(KeyRange::prefix("del/")).wait()?;
                }
                self.compact()?;
            }
        }
        Ok(())
    }

    /// Writes many keys, then looks at memory and disk, writes and reads on, and reopens.
    fn load(&mut self) -> Outcome<()> {
        let count = self.options.load;
        let meter = Meter::start(&self.cluster);
        let (tally, elapsed) = self.fill(count, key)?;
        let mut more = Record::new();
        more.set("puts_per_txn", 1);
        more.seconds("load_s", elapsed);
        let latencies = Some(&tally.hist);
        let mut figures =
            Figures { workload: "load", concurrency: FILLERS, ops: count, elapsed, latencies };
        meter.emit(&self.cluster, &self.options, &figures, more);

        thread::sleep(Duration::from_secs(2));
        let meter = Meter::start(&self.cluster);
        figures = Figures { workload: "after-load", concurrency: 0, ops: 0, ..figures };
        figures.latencies = None;
        meter.emit(&self.cluster, &self.options, &figures, self.cluster.disk());

        (self.options.keys, self.filled) = (count, true);
        let puts = Arc::new(Puts { keys: count });
        for _ in 0..self.options.repeat {
            self.puts_apart("put-at-load", &puts, || Ok(Record::new()))?;
        }
        for _ in 0..self.options.repeat {
            self.put_during_compaction("put-during-compaction", &puts)?;
        }
        // Once more with as many old revisions as there are keys.
        let full = format!("put-during-compaction-{count}");
        for _ in 0..self.options.repeat {
            self.fill(count, key)?;
            self.put_during_compaction(&full, &puts)?;
        }
        let all = Arc::new(Counts { keys: count, some: false });
        for _ in 0..self.options.repeat {
            self.measure("count-prefix-load", 1, &all, || Ok(Record::new()))?;
        }
        self.reopen()
    }

    /// Puts while all that was overwritten is compacted, from shortly after the warm-up on.
    fn put_during_compaction(&self, name: &str, puts: &Arc<Puts>) -> Outcome<()> {
        let stores = self.cluster.stores()?;
        let store = stores.first().ok_or("there is no member to compact")?;
        let old = self.cluster.old_versions();
        thread::scope(|scope| {
            let compaction = scope.spawn(|| -> quorate::Result<(Revision, Duration)> {
                thread::sleep(self.options.warm + LEAD);
                let begun = Instant::now();
                Ok((compact(store)?, begun.elapsed()))
            });
            let rate = self.puts_apart(name, puts, || {
                let ended = compaction.join().map_err(|_| "the compaction panicked")?;
                let (revision, elapsed) = ended?;
                let mut more = Record::new();
                more.set("old_versions", old);
                more.set("compacted_to", revision.get());
                more.seconds("compaction_s", elapsed);
                let pause = self.cluster.removal_pause();
                more.set("removal_pause_us", pause.as_secs_f64() * 1e6);
                Ok(more)
            });
            rate.map(drop)
        })
    }

    fn reopen(&mut self) -> Outcome<()> {
        for _ in 0..self.options.repeat {
            let begun = Instant::now();
            self.cluster.stop()?;
            let mut more = Record::new();
            more.seconds("stop_s", begun.elapsed());
            let begun = Instant::now();
            more.seconds("start_returned_s", self.cluster.start()?);
            more.seconds("ready_s", begun.elapsed());
            let stores = self.cluster.stores()?;
            let store = stores.first().ok_or("there is no member to read from")?;
            let kv = store.get(key(1)).serializable().wait()?.kv;
            more.seconds("first_serializable_s", begun.elapsed());
            if kv.is_none() {
                return Err("a key is gone after reopening".into());
            }
            store.get(key(1)).wait()?;
            more.seconds("first_linearizable_s", begun.elapsed());
            let elapsed = begun.elapsed();
            store.put(key(1), "x").wait()?;
            more.seconds("first_put_s", begun.elapsed());
            let figures =
                Figures { workload: "reopen", concurrency: 1, ops: 1, elapsed, latencies: None };
            Meter::start(&self.cluster).emit(&self.cluster, &self.options, &figures, more);
        }
        Ok(())
    }

    fn watches(&self, workload: &'static str, same: bool, rate: Option<f64>) -> Outcome<()> {
        let writing = match rate {
            Some(_) => vec![1],
            None => self.options.concurrency(&WRITING),
        };
        for watchers in self.options.watchers(&WATCHERS) {
            for writers in writing.iter().copied() {
                for _ in 0..self.options.repeat {
                    for streams in self.options.streams.iter().copied() {
                        self.watch(Plan { workload, same, watchers, streams, writers, rate })?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Puts beside no watchers and beside many that sleep, in turn: pairs, which share what else
    /// goes on in the machine.
    fn beside_idle(&mut self) -> Outcome<()> {
        self.fill_once()?;
        let puts = Arc::new(Puts { keys: self.options.keys });
        for watchers in self.options.watchers(&[IDLE]) {
            for concurrency in self.options.concurrency(&WRITING) {
                let mut ratios = Vec::new();
                for pair in 0..self.options.repeat.max(PAIRS) {
                    let mut rates = [0.0; 2];
                    // What comes first in one pair comes second in the next.
                    for turn in 0..2 {
                        let busy = (turn + pair) % 2;
                        let idle = self.idle(watchers * busy)?;
                        let mut more = Record::new();
                        more.set("watchers", watchers * busy);
                        let rate = self.measure("watch-idle", concurrency, &puts, || Ok(more))?;
                        idle.end()?;
                        if let Some(place) = rates.get_mut(busy) {
                            *place = rate;
                        }
                    }
                    let [without, with] = rates;
                    ratios.push(with / without);
                }
                ratios.sort_unstable_by(f64::total_cmp);
                let mut record = Record::new();
                record.set("peer", "quorate");
                record.set("members", self.cluster.members());
                record.set("workload", "watch-idle-ratio");
                record.set("concurrency", concurrency);
                record.set("watchers", watchers);
                record.set("ratio_min", ratios.first().copied());
                record.set("ratio", ratios.get(ratios.len() / 2).copied());
                record.set("ratio_max", ratios.last().copied());
                record.print();
            }
        }
        Ok(())
    }

    /// Sees to it that the keys that are read and overwritten are there.
    fn fill_once(&mut self) -> Outcome<()> {
        if !self.filled {
            self.fill(self.options.keys, key)?;
            self.filled = true;
        }
        Ok(())
    }

    fn fill(&self, count: u64, name: fn(u64) -> Vec<u8>) -> Outcome<(Tally, Duration)> {
        let start = Instant::now();
        let window = Arc::new(Window::new(start, FOREVER));
        let tallies =
            self.callers.run(self.crew(FILLERS)?, &window, &Arc::new(Fill::new(count, name)));
        let tally = gather(tallies.iter());
        match tally.first_error {
            Some(error) => Err(format!("filling the store: {error}").into()),
            None => Ok((tally, start.elapsed())),
        }
    }

    /// Forgets the history before the present.
    fn compact(&self) -> Outcome<()> {
        if let Some(store) = self.cluster.stores()?.first() {
            compact(store)?;
        }
        Ok(())
    }

    pub(crate) fn crew(&self, concurrency: usize) -> Outcome<Vec<Caller>> {
        let stores = self.cluster.stores()?;
        let seed = std::process::id();
        let caller = |(at, store): (usize, &Store)| {
            let mut random = Random::new((u64::from(seed) << 32) + at as u64 * 7919);
            let value = Bytes::from(random.bytes(self.options.value_bytes));
            Caller { store: store.clone(), random, value, place: at as u64, seen: None }
        };
        Ok(stores.iter().cycle().take(concurrency).enumerate().map(caller).collect())
    }

    /// One measurement: callers in a closed loop for the time of the options, after a warm-up. Says
    /// how many operations there were in a second.
    pub(crate) fn measure<W: Workload>(
        &self,
        name: &str,
        concurrency: usize,
        workload: &Arc<W>,
        more: impl FnOnce() -> Outcome<Record>,
    ) -> Outcome<f64> {
        let window = Window::new(Instant::now() + self.options.warm, self.options.span);
        self.measure_in(window, (name, self.crew(concurrency)?), workload, |_| more())
    }

    /// As `measure`, of puts, which also says what they took without the time in which the log was
    /// in the disk, and how long that took at most.
    fn puts_apart(
        &self,
        name: &str,
        puts: &Arc<Puts>,
        more: impl FnOnce() -> Outcome<Record>,
    ) -> Outcome<f64> {
        let log = self.cluster.log().clone();
        let window = Window::new(Instant::now() + self.options.warm, self.options.span);
        let window = window.watching(log.clone());
        let writers = self.options.concurrency(&[WRITERS]).first().copied().unwrap_or(WRITERS);
        self.measure_in(window, (name, self.crew(writers)?), puts, |tally| {
            let slowest = log.take_slowest();
            let mut more = more()?;
            more.set("apart_p50_us", tally.apart.quantile_us(0.5));
            more.set("apart_p99_us", tally.apart.quantile_us(0.99));
            more.set("apart_p999_us", tally.apart.quantile_us(0.999));
            more.set("apart_max_us", tally.apart.max_us());
            more.set("log_max_us", slowest.as_secs_f64() * 1e6);
            Ok(more)
        })
    }

    fn measure_in<W: Workload>(
        &self,
        window: Window,
        (name, crew): (&str, Vec<Caller>),
        workload: &Arc<W>,
        more: impl FnOnce(&Tally) -> Outcome<Record>,
    ) -> Outcome<f64> {
        let (start, concurrency, window) = (window.start, crew.len(), Arc::new(window));
        let tallies = self.callers.run(crew, &window, workload);
        thread::sleep(start.saturating_duration_since(Instant::now()));
        let meter = Meter::start(&self.cluster);
        self.cluster.log().take_slowest();
        let tally = gather(tallies.iter());
        let mut more = more(&tally)?;
        if tally.errors > 0 {
            more.set("errors", tally.errors);
            more.set("first_error", tally.first_error.clone());
        }
        let elapsed = tally.last.map_or(self.options.span, |last| last - start);
        let (ops, latencies) = (tally.hist.total(), Some(&tally.hist));
        let figures = Figures { workload: name, concurrency, ops, elapsed, latencies };
        meter.emit(&self.cluster, &self.options, &figures, more);
        Ok(ops as f64 / elapsed.as_secs_f64())
    }
}

/// Forgets all that was overwritten or deleted up to now.
fn compact(store: &Store) -> quorate::Result<Revision> {
    let revision = store.get(key(0)).wait()?.header.revision;
    store.compact(revision).physical().wait_timeout(COMPACTION)?;
    Ok(revision)
}

fn tries(hot: &HotKey) -> Record {
    let mut more = Record::new();
    more.set("tries_per_success", hot.tries_per_success());
    more
}

pub(crate) fn gather(tallies: impl Iterator<Item = Tally>) -> Tally {
    tallies.fold(Tally::new(), |mut all, tally| {
        all.merge(tally);
        all
    })
}
