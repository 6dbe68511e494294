//! Many runs on some threads, told of in the order of their seeds.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use quorate::sim::{Profile, Report, Run, Seed};

use crate::args::{Band, Size};

/// A run that takes longer is named in the progress bar: it may be one that never ends.
const SLOW: Duration = Duration::from_secs(20);

/// One run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Job {
    pub(crate) seed: u64,
    pub(crate) profile: Profile,
}

/// How a run ended.
pub(crate) enum Ended {
    Held(Box<Report>),
    /// A promise was broken: which, and everything that is known of it.
    Broke {
        what: String,
        story: String,
        /// What clients called and were told, if that is wanted.
        history: String,
    },
}

/// What the threads share.
struct Work<'a> {
    band: &'a Band,
    /// The next run that nobody has begun.
    next: AtomicU64,
    /// No more are wanted.
    enough: AtomicBool,
    /// Those under way, and since when.
    running: Mutex<BTreeMap<Job, Instant>>,
}

/// Runs them all, and tells of each in order. `tell` says whether to go on.
pub(crate) fn run(band: &Band, mut tell: impl FnMut(Job, Ended) -> bool) {
    let work = Work {
        band,
        next: AtomicU64::new(0),
        enough: AtomicBool::new(false),
        running: Mutex::default(),
    };
    let threads = band.jobs.unwrap_or_else(cores);
    let (sender, receiver) = sync_channel(threads);
    let bar = bar(work.count(), threads);
    thread::scope(|scope| {
        for _ in 0..threads {
            let (work, sender) = (&work, sender.clone());
            scope.spawn(move || work.go(&sender));
        }
        drop(sender);
        let (mut early, mut told) = (BTreeMap::new(), 0);
        loop {
            match receiver.recv_timeout(SLOW / 10) {
                Ok((number, ended)) => {
                    early.insert(number, ended);
                    bar.inc(1);
                }
                Err(RecvTimeoutError::Timeout) => bar.set_message(work.slowest()),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            while let Some(ended) = early.remove(&told) {
                let enough = work.enough.load(Ordering::Relaxed);
                let job = work.job(told).filter(|_| !enough);
                told += 1;
                let Some(job) = job else { continue };
                if !bar.suspend(|| tell(job, ended)) {
                    work.enough.store(true, Ordering::Relaxed);
                }
            }
        }
    });
    bar.finish_and_clear();
}

impl Work<'_> {
    fn count(&self) -> u64 {
        let seeds = self.band.seeds.end.saturating_sub(self.band.seeds.start);
        seeds.saturating_mul(self.band.profiles.len() as u64)
    }

    /// Run after run, in the order of seeds: each with all profiles before the next.
    fn job(&self, number: u64) -> Option<Job> {
        let profiles = self.band.profiles.len() as u64;
        let seed = self.band.seeds.start.checked_add(number.checked_div(profiles)?)?;
        let profile = usize::try_from(number % profiles).ok()?;
        let profile = *self.band.profiles.get(profile)?;
        self.band.seeds.contains(&seed).then_some(Job { seed, profile })
    }

    fn go(&self, told: &SyncSender<(u64, Ended)>) {
        while !self.enough.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = self.job(number) else { return };
            self.under_way(|running| running.insert(job, Instant::now()));
            let ended = run_one(&made(job, self.band.size), false);
            self.under_way(|running| running.remove(&job));
            if told.send((number, ended)).is_err() {
                return;
            }
        }
    }

    fn under_way<T>(&self, change: impl FnOnce(&mut BTreeMap<Job, Instant>) -> T) -> T {
        change(&mut self.running.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The one that takes longest, if that is worth a word.
    fn slowest(&self) -> String {
        let oldest = self.under_way(|running| {
            running.iter().map(|(job, since)| (*since, *job)).min_by_key(|(since, _)| *since)
        });
        match oldest {
            Some((since, Job { seed, profile })) if since.elapsed() >= SLOW => {
                format!("seed {seed} ({profile}) takes {} s", since.elapsed().as_secs())
            }
            _ => String::new(),
        }
    }
}

/// A run as it was asked for.
pub(crate) fn made(job: Job, size: Size) -> Run {
    let Job { seed, profile } = job;
    let mut run = Run::new(Seed::new(seed)).profile(profile);
    if size.holders {
        run = run.holders();
    }
    if let Some(calls) = size.calls {
        run = run.calls(calls);
    }
    if let Some(ticks) = size.ticks {
        run = run.ticks(ticks);
    }
    run
}

/// One run. What panics, be it a judge, is told as what breaks a promise is.
pub(crate) fn run_one(run: &Run, trace: bool) -> Ended {
    match catch_unwind(AssertUnwindSafe(|| run.run())) {
        Ok(Ok(report)) => Ended::Held(Box::new(report)),
        Ok(Err(failure)) => {
            // Its own text has the last events only.
            let mut story = String::new();
            for event in failure.events.iter().take(if trace { usize::MAX } else { 0 }) {
                story += &format!("{event}\n");
            }
            story += &format!("{failure}");
            Ended::Broke { what: failure.what, story, history: failure.history }
        }
        Err(panic) => {
            let what = format!("a panic: {}", text_of(&*panic));
            let story = format!("{what}\nreplay: {}", run.command());
            Ended::Broke { what, story, history: String::new() }
        }
    }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no text".into())
}

/// Threads that run at a time.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Where a terminal is; nothing where the output goes elsewhere.
fn bar(runs: u64, threads: usize) -> ProgressBar {
    let bar = ProgressBar::new(runs);
    let template = "{bar:30} {pos}/{len} seeds, {per_sec}, {eta} left {msg}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(format!("on {threads} threads"));
    bar
}
