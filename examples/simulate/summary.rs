//! What a band of seeds has shown, and what it has not.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::time::{Duration, Instant};

use quorate::sim::{Fault, Mark, Report};
use serde_json::json;

use crate::args::Band;
use crate::band::{Job, cores};

/// A path that so many runs have not reached is one that the simulation does not reach.
const ENOUGH_RUNS: u64 = 1_000;

/// Sums over all runs so far.
pub(crate) struct Summary {
    wanted: Band,
    begun: Instant,
    runs: u64,
    failed: Vec<(Job, String)>,
    sums: Sums,
    faults: BTreeMap<Fault, u64>,
    /// How often, and in how many runs.
    paths: BTreeMap<Mark, (u64, u64)>,
    /// Ticks, and of which run.
    slowest_to_live: Option<(u64, Job)>,
}

#[derive(Clone, Copy, Default)]
struct Sums {
    calls: u64,
    answered: u64,
    unknown: u64,
    ticks: u64,
    events: u64,
    undecided: u64,
    span: Duration,
}

impl Summary {
    pub(crate) fn new(wanted: &Band) -> Self {
        Self {
            wanted: wanted.clone(),
            begun: Instant::now(),
            runs: 0,
            failed: Vec::new(),
            sums: Sums::default(),
            faults: BTreeMap::new(),
            paths: BTreeMap::new(),
            slowest_to_live: None,
        }
    }

    pub(crate) fn held(&mut self, job: Job, report: &Report) {
        self.runs += 1;
        let sums = &mut self.sums;
        sums.calls += report.calls;
        sums.answered += report.answered;
        sums.unknown += report.unknown;
        sums.ticks += report.ticks;
        sums.events += report.events;
        sums.undecided += u64::from(report.undecided);
        sums.span += report.span;
        for (fault, count) in &report.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        for (mark, count) in &report.paths {
            let (times, runs) = self.paths.entry(*mark).or_default();
            (*times, *runs) = (*times + count, *runs + 1);
        }
        if self.slowest_to_live.is_none_or(|(ticks, _)| ticks < report.live_after) {
            self.slowest_to_live = Some((report.live_after, job));
        }
    }

    pub(crate) fn broke(&mut self, job: Job, what: &str) {
        self.runs += 1;
        self.failed.push((job, what.to_owned()));
    }

    pub(crate) fn failed(&self) -> bool {
        !self.failed.is_empty()
    }

    /// The paths that runs of this kind take.
    fn marks(&self) -> impl Iterator<Item = &'static Mark> {
        let holders = self.wanted.size.holders;
        Mark::ALL.iter().filter(move |mark| mark.is_taken_by(holders))
    }

    /// So many rare paths were not reached.
    pub(crate) fn missed(&self) -> usize {
        self.marks().filter(|mark| !self.paths.contains_key(mark)).count()
    }

    /// There were so many runs that a path which they have not reached is not reached.
    pub(crate) fn shows_what_is_missed(&self) -> bool {
        self.runs >= ENOUGH_RUNS
    }

    pub(crate) fn text(&self) -> String {
        let mut text = self.counts();
        text += &self.table_of_faults();
        text += &self.table_of_paths();
        for (Job { seed, profile }, what) in &self.failed {
            let _ = writeln!(text, "FAILED: seed {seed}, {profile}: {what}");
        }
        if self.shows_what_is_missed() && self.missed() > 0 {
            let (missed, runs) = (self.missed(), self.runs);
            let _ =
                writeln!(text, "WARNING: {missed} rare path(s) were not reached in {runs} runs");
        }
        text.push_str(&self.speed());
        text
    }

    fn counts(&self) -> String {
        let Sums { calls, answered, unknown, ticks, events, undecided, span } = self.sums;
        let rows: [(&str, &dyn Display); 8] = [
            ("runs", &self.runs),
            ("failed", &self.failed.len()),
            ("calls", &calls),
            ("  answered", &answered),
            ("  of unknown outcome", &unknown),
            ("ticks of members", &ticks),
            ("events", &events),
            ("undecided histories", &undecided),
        ];
        let mut text = String::new();
        for (name, count) in rows {
            let _ = writeln!(text, "{count:>12}  {name}");
        }
        let _ = writeln!(text, "{:>12}  of the clusters' own time", hours(span));
        if let Some((ticks, Job { seed, profile })) = self.slowest_to_live {
            let what = "ticks at most until all was live after faults";
            let _ = writeln!(text, "{ticks:>12}  {what} (seed {seed}, {profile})");
        }
        text
    }

    fn table_of_faults(&self) -> String {
        let mut text = "\nfaults: how often\n".to_owned();
        for (fault, count) in &self.faults {
            let _ = writeln!(text, "{count:>12}  {fault}");
        }
        let came = |fault: &&Fault| self.faults.contains_key(*fault);
        let never: Vec<String> =
            Fault::ALL.iter().filter(|fault| !came(fault)).map(ToString::to_string).collect();
        if !never.is_empty() {
            let _ = writeln!(text, "{:>12}  {}", "never", never.join(", "));
        }
        text
    }

    fn table_of_paths(&self) -> String {
        let mut text = "\nrare paths: how often, in how many runs\n".to_owned();
        for mark in self.marks() {
            let _ = match self.paths.get(mark) {
                Some((times, runs)) => writeln!(text, "{times:>12}  {runs:>6}  {mark}"),
                None => writeln!(text, "never reached         {mark}"),
            };
        }
        text.push('\n');
        text
    }

    /// What depends on the machine.
    fn speed(&self) -> String {
        let Speed { seconds, threads, seeds, calls, ticks, events } = self.measured();
        let cores = threads as f64;
        format!(
            "{seconds:.1} s on {threads} thread(s): {seeds:.1} seeds/s, {calls:.0} calls/s, \
             {ticks:.0} ticks/s, {events:.0} events/s\n\
             each thread: {:.1} seeds/s, {:.0} calls/s, {:.0} ticks/s, {:.0} events/s\n",
            seeds / cores,
            calls / cores,
            ticks / cores,
            events / cores,
        )
    }

    fn measured(&self) -> Speed {
        let seconds = self.begun.elapsed().as_secs_f64().max(f64::EPSILON);
        let per_second = |count: u64| count as f64 / seconds;
        Speed {
            seconds,
            threads: self.wanted.jobs.unwrap_or_else(cores),
            seeds: per_second(self.runs),
            calls: per_second(self.sums.calls),
            ticks: per_second(self.sums.ticks),
            events: per_second(self.sums.events),
        }
    }

    /// Histories that nobody could tell right from wrong.
    pub(crate) fn undecided(&self) -> u64 {
        self.sums.undecided
    }

    /// The same, for programs.
    pub(crate) fn json(&self) -> String {
        let Sums { calls, answered, unknown, ticks, events, undecided, span } = self.sums;
        let named = |name: &dyn Display| name.to_string();
        let faults = Fault::ALL.iter().map(|fault| {
            (named(fault), json!(self.faults.get(fault).copied().unwrap_or_default()))
        });
        let paths = self.marks().map(|mark| {
            let (times, runs) = self.paths.get(mark).copied().unwrap_or_default();
            (named(mark), json!({ "times": times, "runs": runs }))
        });
        let failed = self.failed.iter().map(|(Job { seed, profile }, what)| {
            json!({ "seed": seed, "profile": named(profile), "what": what })
        });
        let speed = self.measured();
        let object = json!({
            "seeds": { "from": self.wanted.seeds.start, "to": self.wanted.seeds.end },
            "profiles": self.wanted.profiles.iter().map(|it| named(it)).collect::<Vec<_>>(),
            "runs": self.runs,
            "failed": failed.collect::<Vec<_>>(),
            "calls": { "all": calls, "answered": answered, "unknown": unknown },
            "ticks": ticks,
            "events": events,
            "undecided": undecided,
            "simulated_seconds": span.as_secs_f64(),
            "faults": faults.collect::<serde_json::Map<_, _>>(),
            "paths": paths.collect::<serde_json::Map<_, _>>(),
            "speed": {
                "seconds": speed.seconds,
                "threads": speed.threads,
                "seeds_per_second": speed.seeds,
                "calls_per_second": speed.calls,
                "ticks_per_second": speed.ticks,
                "events_per_second": speed.events,
            },
        });
        format!("{object:#}\n")
    }
}

struct Speed {
    seconds: f64,
    threads: usize,
    seeds: f64,
    calls: f64,
    ticks: f64,
    events: f64,
}

fn hours(span: Duration) -> String {
    let minutes = span.as_secs() / 60;
    if minutes < 600 { format!("{minutes} min") } else { format!("{} h", minutes / 60) }
}
