//! One whole run: a cluster, clients and faults from one seed, then peace, then the judges.

mod holders;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::builder::Builder;
use super::check;
use super::check::once::{Content, Stored};
use super::cluster::Cluster;
use super::dice::{Dice, Seed};
use super::failure::Failure;
use super::faults::{Fault, Faults, Profile};
use super::held::Holdings;
use super::history::{Answer, History, Op};
use super::marks::Mark;
use super::watched::{Notes, Phase};
use super::workload::{Holders, Recorder, Watchers, Workload, everything, perform, untold};
use crate::config::Config;
use crate::error::WriteOutcome;
use crate::store::Store;

/// Calls of a run, unless it is told otherwise.
const CALLS: u64 = 2_000;

/// Election timeouts within which a cluster must work again when all faults have ended.
const LIVE_WITHIN: u32 = 20;

/// How long members may take to come to the same, when nobody writes any more.
const SETTLED_WITHIN: Duration = Duration::from_secs(600);

/// The key that each member reads and writes when faults have ended.
const PEACE: &str = "peace";

/// One run of this crate's own simulation.
///
/// Two phases. In the first, clients call and faults come; whatever is answered must be true. In
/// the second, faults have ended, and soon everything must work again.
///
/// ```
/// use quorate::sim::{Profile, Run, Seed};
///
/// # fn main() -> Result<(), quorate::sim::Failure> {
/// let report = Run::new(Seed::new(7)).profile(Profile::Network).calls(100).run()?;
/// assert!(report.answered > 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Run {
    seed: Seed,
    profile: Profile,
    /// Instead of those of the profile.
    faults: Option<Faults>,
    members: Option<usize>,
    calls: u64,
    /// Its clients hold leases.
    holders: bool,
    ticks: Option<u64>,
    trace: bool,
    history: bool,
}

/// What a run has seen.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// What it was made from.
    pub seed: Seed,
    /// How many members the cluster had.
    pub members: usize,
    /// Calls that clients made.
    pub calls: u64,
    /// Those that were answered as asked.
    pub answered: u64,
    /// Writes of which nobody was told whether they happened.
    pub unknown: u64,
    /// Watchers that were begun.
    pub watchers: u64,
    /// Events that they were given, all together.
    pub watched: u64,
    /// Leases that somebody held, in a run of [`holders`](Run::holders).
    pub leases: u64,
    /// Locks that somebody acquired, in such a run.
    pub locks: u64,
    /// How long it took, in the cluster's own time.
    pub span: Duration,
    /// Ticks of that time, of all members.
    pub ticks: u64,
    /// Things that happened.
    pub events: u64,
    /// Ticks until everything worked again, when faults had ended.
    pub live_after: u64,
    /// Whether it took too long to find out if the history is linearizable: then nobody knows.
    pub undecided: bool,
    /// How often which fault came.
    pub faults: BTreeMap<Fault, u64>,
    /// How often which rare path was reached.
    pub paths: BTreeMap<Mark, u64>,
    /// One number for all that happened: equal for equal runs.
    pub trace_hash: u64,
    /// All that happened, a line each, if it was asked for.
    pub trace: Vec<String>,
    /// What clients called and were told, if it was asked for.
    pub history: String,
}

impl Run {
    /// A run with some of every fault.
    pub fn new(seed: Seed) -> Self {
        Self {
            seed,
            profile: Profile::default(),
            faults: None,
            members: None,
            calls: CALLS,
            holders: false,
            ticks: None,
            trace: false,
            history: false,
        }
    }

    /// Which faults come.
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// These faults come, and none of a profile.
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = Some(faults);
        self
    }

    /// How many members the cluster has, 1 to 16. Drawn by default.
    pub fn members(mut self, count: usize) -> Self {
        self.members = Some(count);
        self
    }

    /// How many calls the clients make, 2,000 by default.
    pub fn calls(mut self, calls: u64) -> Self {
        self.calls = calls;
        self
    }

    /// Its clients hold leases, instead of reading and writing. Clocks then run as alike as a
    /// holder relies on, but in some of the runs where they are at fault, in which deadlines are
    /// not judged.
    ///
    /// ```
    /// use quorate::sim::{Profile, Run, Seed};
    ///
    /// # fn main() -> Result<(), quorate::sim::Failure> {
    /// let report = Run::new(Seed::new(7)).profile(Profile::Network).holders().run()?;
    /// assert!(report.leases > 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn holders(mut self) -> Self {
        self.holders = true;
        self
    }

    /// How many ticks of a member the first phase lasts. Drawn by default.
    pub fn ticks(mut self, ticks: u64) -> Self {
        self.ticks = Some(ticks);
        self
    }

    /// Keep everything that happens as text, in [`Report::trace`] or [`Failure::events`].
    pub fn trace(mut self) -> Self {
        self.trace = true;
        self
    }

    /// Keep what clients call and are told, in [`Report::history`] or [`Failure::history`]: as
    /// EDN, an event a line, in the form that Jepsen's checkers read.
    pub fn history(mut self) -> Self {
        self.history = true;
        self
    }

    /// The command that shows this run again, event by event. It has no words for faults and
    /// members that were chosen: such a run needs its own program.
    pub fn command(&self) -> String {
        let Self { seed, profile, .. } = self;
        if self.faults.is_some() || self.members.is_some() {
            return format!("the same program, with Seed::new({seed})");
        }
        let calls = if self.calls == CALLS { None } else { Some(self.calls) };
        let option =
            |name, value: Option<u64>| value.map_or(String::new(), |it| format!(" {name} {it}"));
        let (calls, ticks) = (option("--calls", calls), option("--ticks", self.ticks));
        let holders = if self.holders { " --holders" } else { "" };
        format!(
            "cargo run --release --features sim --example simulate -- \
             --replay {seed} --profile {profile}{holders}{calls}{ticks} --trace"
        )
    }

    /// Runs it.
    ///
    /// # Errors
    ///
    /// A promise was broken.
    pub fn run(&self) -> Result<Report, Failure> {
        self.run_through(|cluster, _, span| cluster.run_for(span))
    }

    /// Runs it, with a first phase of one's own: it is given what a tick takes, and the time that
    /// the clients have been told they have.
    pub(crate) fn run_through(
        &self,
        unrest: impl FnOnce(&Cluster, Duration, Duration) -> Result<(), Failure>,
    ) -> Result<Report, Failure> {
        let recorder: Recorder = Arc::new(Mutex::new(History::new()));
        let ran = self.run_recorded(&recorder, unrest);
        if !self.history {
            return ran;
        }
        let history = recorder.lock().edn();
        match ran {
            Ok(report) => Ok(Report { history, ..report }),
            Err(failure) => Err(Failure { history, ..failure }),
        }
    }

    fn run_recorded(
        &self,
        recorder: &Recorder,
        unrest: impl FnOnce(&Cluster, Duration, Duration) -> Result<(), Failure>,
    ) -> Result<Report, Failure> {
        let mut dice = Dice::of_part(self.seed, "run");
        let mut setting = Setting::drawn(&mut dice);
        setting.members = self.members.unwrap_or(setting.members);
        let tick = setting.heartbeat / 2;
        let span = match self.ticks {
            Some(ticks) => tick.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX)),
            None => dice.span(Duration::from_secs(2), Duration::from_secs(20)),
        };
        let mut watchers = Watchers::drawn(self.seed, span);
        let (own, max_pinned) = (setting.clone(), watchers.max_pinned);
        let faults = self.faults.clone().unwrap_or_else(|| self.profile.faults(self.seed));
        let (faults, loose) =
            if self.holders { holders::with_clocks(faults, self.seed) } else { (faults, true) };
        let cluster = Builder::new(self.seed)
            .members(setting.members)
            .config(move |config| own.apply(config).max_pinned_revisions(max_pinned))
            .faults(faults)
            .replay(self.command())
            .build()
            .map_err(|error| Failure::before(self.seed, &error))?;
        if self.trace {
            cluster.read_all();
        }
        cluster.record(recorder);
        cluster.set_pace(watchers.pace);
        let notes = Notes::new(&cluster, max_pinned);
        let workload = Workload::drawn(&mut dice, self.calls, span);
        let holdings = self.holders.then(|| Holdings::new(&cluster, &notes.truth, loose));
        match &holdings {
            Some(holdings) => {
                let floor = setting.election * 3 / 2;
                Holders::drawn(self.seed, floor, span).start(&cluster, holdings);
            }
            None => workload.start(&cluster, &mut dice, recorder),
        }
        let watching = watchers.start(&cluster, workload.keys, &notes);
        unrest(&cluster, tick, span)?;
        let live_after = phase_of_peace(&cluster, &setting, recorder, watching)?;
        match &holdings {
            Some(holdings) => holders::peace(&cluster, &setting, holdings)?,
            None => ask_about_gaps(&cluster, recorder)?,
        }
        hear_out(&cluster, &setting, &notes)?;
        cluster.settle()?;
        match &holdings {
            Some(holdings) => holdings.judge(&cluster)?,
            None => judge(&cluster, recorder)?,
        }
        let report = self.report(&cluster, &setting, recorder, live_after);
        let (watchers, watched) = notes.counts();
        let (leases, locks) = holdings.map_or((0, 0), |holdings| holdings.counts());
        Ok(Report { watchers, watched, leases, locks, ..report })
    }

    fn report(
        &self,
        cluster: &Cluster,
        setting: &Setting,
        recorder: &Recorder,
        live_after: u64,
    ) -> Report {
        let history = recorder.lock();
        let (mut answered, mut unknown) = (0, 0);
        for (_, call) in history.calls() {
            match call.answer() {
                Some(answer) if answer.revision().is_some() => answered += 1,
                None | Some(Answer::Failed { outcome: WriteOutcome::Unknown, .. }) => unknown += 1,
                Some(_) => {}
            }
        }
        let (counts, events, trace) = cluster.seen(&history);
        let span = cluster.clock().now();
        Report {
            seed: self.seed,
            members: setting.members,
            calls: history.len() as u64,
            answered,
            unknown,
            watchers: 0,
            watched: 0,
            leases: 0,
            locks: 0,
            span,
            ticks: ticks(span, setting.heartbeat / 2) * setting.members as u64,
            events,
            live_after,
            undecided: counts.undecided,
            faults: counts.faults,
            paths: counts.paths,
            trace_hash: cluster.trace_hash(),
            trace,
            history: String::new(),
        }
    }
}

/// Faults end. Soon every member that may be up reads and writes, and every client has been
/// answered. Gives the ticks that it took.
fn phase_of_peace(
    cluster: &Cluster,
    setting: &Setting,
    recorder: &Recorder,
    watching: usize,
) -> Result<u64, Failure> {
    cluster.calm();
    cluster.run_until(Duration::from_secs(60), Cluster::is_quiet)?;
    let begun = cluster.clock().now();
    let bound = setting.election * LIVE_WITHIN;
    let has_opened = |cluster: &Cluster, name: &String| {
        let (up, refuses) = (cluster.is_up(name), cluster.refuses(name));
        up.unwrap_or_default() || refuses.unwrap_or_default()
    };
    cluster.run_until(bound, |it| it.names().iter().all(|name| has_opened(it, name)))?;
    if !cluster.has_quorum() {
        // Disks rotted everywhere: members refuse to open, which is right.
        cluster.run_for(bound)?;
        return Ok(0);
    }
    for name in cluster.names() {
        if cluster.refuses(&name).unwrap_or_default() {
            continue;
        }
        let Ok(store) = cluster.store(&name) else {
            cluster.fail(format!("{name} does not come up {bound:?} after all faults"));
            break;
        };
        let value = Bytes::from(name.clone());
        let put = Op::put(PEACE, value);
        let get = Op::Get { key: PEACE.into(), at: None, serializable: false };
        for op in [get, put] {
            let limit = bound.saturating_sub(cluster.clock().now().saturating_sub(begun));
            let limit = limit.max(Duration::from_millis(1));
            let answer = ask(cluster, recorder, (&name, &store), op, limit)?;
            if let Answer::Failed { why, .. } = answer {
                cluster.fail(format!("{name} is not live {bound:?} after all faults: {why}"));
            }
        }
    }
    let took = cluster.clock().now().saturating_sub(begun);
    let all = |cluster: &Cluster| cluster.tasks() == watching;
    if !cluster.run_until(Duration::from_secs(3_600), all)? {
        cluster.fail("a client was not answered within an hour");
    }
    cluster.failure().map_or_else(|| Ok(ticks(took, setting.heartbeat / 2)), Err)
}

/// Nothing is written any more: soon every watcher has been given all that there is, and says so
/// when it is asked.
fn hear_out(cluster: &Cluster, setting: &Setting, notes: &Notes) -> Result<(), Failure> {
    notes.set_phase(Phase::Quiet);
    cluster.run_until(SETTLED_WITHIN, Cluster::is_settled)?;
    let lacking = soon_none(cluster, setting, || notes.lacking(|_| true))?;
    notes.set_phase(Phase::Ask);
    let behind = soon_none(cluster, setting, || notes.behind())?;
    notes.set_phase(Phase::Over);
    if let Some(what) = lacking.or(behind) {
        cluster.fail(what);
    }
    cluster.failure().map_or(Ok(()), Err)
}

/// What is left to complain about when there was time enough.
fn soon_none(
    cluster: &Cluster,
    setting: &Setting,
    complain: impl Fn() -> Option<String>,
) -> Result<Option<String>, Failure> {
    for _ in 0..LIVE_WITHIN {
        cluster.run_for(setting.heartbeat)?;
        if complain().is_none() {
            return Ok(None);
        }
    }
    Ok(complain())
}

/// One call of one more client.
fn ask(
    cluster: &Cluster,
    recorder: &Recorder,
    (name, store): (&str, &Store),
    op: Op,
    limit: Duration,
) -> Result<Answer, Failure> {
    let member = cluster.id(name).unwrap_or_default();
    let id = recorder.lock().invoke(u32::MAX, member, cluster.instant(), op.clone());
    let store = store.clone();
    let answer = cluster.block_on(async move { perform(&store, &op, limit).await })?;
    recorder.lock().answer(id, cluster.instant(), answer.clone());
    Ok(answer)
}

fn ticks(span: Duration, tick: Duration) -> u64 {
    u64::try_from(span.as_nanos() / tick.as_nanos().max(1)).unwrap_or(u64::MAX)
}

/// One more client looks at each revision that nobody was told of, and at the one before: who made
/// it is then known, and not guessed by the judge among all writes without an answer.
fn ask_about_gaps(cluster: &Cluster, recorder: &Recorder) -> Result<(), Failure> {
    let up = |name: &String| cluster.is_up(name).unwrap_or_default();
    let name = cluster.names().into_iter().find(up);
    let Some(name) = name.filter(|_| cluster.has_quorum()) else { return Ok(()) };
    let Ok(store) = cluster.store(&name) else { return Ok(()) };
    let newest = cluster.block_on(store.get("k0000").timeout(Duration::from_secs(60)))?;
    let newest = newest.map(|got| got.header.revision).unwrap_or_default();
    let asked = untold(&recorder.lock(), newest);
    for at in asked {
        ask(cluster, recorder, (&name, &store), everything(at), Duration::from_secs(60))?;
    }
    Ok(())
}

/// What the clients were told, held against the promises, and against what members hold.
fn judge(cluster: &Cluster, recorder: &Recorder) -> Result<(), Failure> {
    let history = recorder.lock();
    match check::judge(&history) {
        // It could not be told, and that is not a failure of the cluster.
        Err(violation) if violation.is_undecided() => cluster.undecided(),
        Err(violation) => cluster.fail(violation.to_string()),
        Ok(_) => {}
    }
    // Without a quorum nobody need have everything.
    let look = if cluster.has_quorum() { check::once::check } else { check::once::check_part };
    for (name, image) in cluster.images() {
        let content = Content {
            revision: image.revision(),
            compacted: image.compacted(),
            versions: image.records().map(Stored::from).collect(),
        };
        if let Err(violation) = look(&history, &content) {
            cluster.fail(format!("{name}: {violation}"));
        }
    }
    cluster.failure().map_or(Ok(()), Err)
}

/// What a cluster is like: drawn.
#[derive(Clone, Debug)]
struct Setting {
    members: usize,
    heartbeat: Duration,
    election: Duration,
    snapshot_count: u64,
    catchup: u64,
    snapshots: usize,
    small: bool,
    inflight: usize,
}

impl Setting {
    fn drawn(dice: &mut Dice) -> Self {
        let heartbeat = dice.span(Duration::from_millis(4), Duration::from_millis(100));
        let ratio = u32::try_from(5 + dice.below(10)).unwrap_or(10);
        Self {
            members: [1, 3, 3, 3, 3, 3, 5, 5, 2, 4].get(dice.place(10)).copied().unwrap_or(3),
            heartbeat,
            election: heartbeat * ratio,
            snapshot_count: [10, 50, 300, 100_000].get(dice.place(4)).copied().unwrap_or(50),
            catchup: [0, 5, 5_000].get(dice.place(3)).copied().unwrap_or(0),
            snapshots: 1 + dice.place(5),
            small: dice.chance(500_000),
            inflight: 1 + dice.place(64),
        }
    }

    fn apply(&self, config: Config) -> Config {
        let config = config
            .heartbeat_interval(self.heartbeat)
            .election_timeout(self.election)
            .snapshot_count(self.snapshot_count)
            .snapshot_catchup_entries(self.catchup)
            .max_snapshots(self.snapshots)
            .max_inflight_appends(self.inflight)
            .segment_bytes(64 << 10);
        if !self.small {
            return config;
        }
        // Envelopes as small as they may be: snapshots go in many chunks.
        config.max_request_bytes(48 << 10).max_message_bytes(64 << 10).snapshot_log_bytes(64 << 10)
    }
}
