//! What happens to a member: it opens, decides, writes, works, halts and dies.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::dice::Dice;
use super::disk::Plan;
use super::faults::Fault;
use super::marks::{Mark, broken_snapshots};
use super::node::{Hands, Life, Node, Queues, Running};
use super::port::Port;
use super::seen::Seen;
use super::trace::Event;
use super::world::{Next, World};
use crate::core::replica::io::{Input, Persist};
use crate::core::watch::Budget;
use crate::driver;
use crate::error::Error;
use crate::ids::NodeId;
use crate::planted::{Bug, planted};
use crate::time::nanos;

/// What a sync takes when nothing is wrong with the disk.
const SYNC: (Duration, Duration) = (Duration::from_micros(50), Duration::from_micros(300));

/// Records that a slice of a removal looks at: few, so that most removals take several.
const SLICE_RECORDS: usize = 4;

/// How long it is until the next one.
const SLICE: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(5));

/// How long a person or a supervisor takes to start a process again that has ended by itself.
const RESTART: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Operations of a disk within which a crash may come while something is written.
const CRASH_WITHIN: u64 = 12;

/// So many in a million of the processes that open crash before they have, if any crash.
const DIES_OPENING: u32 = 150_000;

/// Operations of a disk within which they do.
const OPENS_WITHIN: u64 = 40;

/// What a process was at when it was killed. So many operations of its disk still happen.
#[derive(Clone, Copy, Debug)]
pub(super) enum During {
    #[cfg_attr(not(test), expect(dead_code, reason = "left to scripts: chance draws a number"))]
    Nothing,
    Batch(u64),
    Job(u64),
}

/// Whether the machine stops too.
pub(super) enum Power {
    Stays,
    /// And everything that was not synced is gone.
    #[cfg_attr(not(test), expect(dead_code, reason = "left to scripts: chance draws a part"))]
    Lost,
    /// And what was not synced stays or not, as drawn.
    Drawn(Dice),
}

impl World {
    /// The process starts.
    pub(super) fn open(&mut self, place: usize) {
        let incarnation = self.incarnation();
        let now = self.local_now(place);
        let dies = self.dies_opening();
        let Some(node) = self.nodes.get_mut(place) else { return };
        if !matches!(node.state, Life::Down) {
            return;
        }
        node.begin_life();
        let broken = broken_snapshots(&node.disk, &node.config);
        if let Some((within, power)) = dies {
            node.disk.plan(Plan::StopAt(within));
            // Whether it got so far or not: nobody hears of it.
            drop(driver::open(&node.config, now, || Ok(incarnation)));
            return self.died_opening(place, power);
        }
        let opened = match driver::open(&node.config, now, || Ok(incarnation)) {
            Ok(opened) => opened,
            Err(error) => return self.refused(place, &error),
        };
        let life = (self.own.clone(), place);
        let replica = &opened.driver.replica;
        let eyes = (replica.reader(), Arc::clone(replica.watches()));
        let identity = (opened.address, opened.limits);
        let port = Arc::new(Port::new(life, identity, opened.mailbox, eyes));
        if let Some(step) = self.pace.step {
            port.watches.set_step(step);
        }
        let status = opened.driver.replica.status();
        let mut now_broken = broken_snapshots(&node.disk, &node.config).into_iter();
        let older = now_broken.any(|it| !broken.contains(&it) && it > status.snapshot);
        let torn = opened.truncated;
        node.state = Life::Up(Box::new(Running {
            port,
            driver: opened.driver,
            log: opened.log,
            worker: opened.worker,
            patience: opened.patience,
            queues: Queues::default(),
            writing: None,
            since: 0,
            overdue: false,
            working: false,
            _lock: opened.lock,
        }));
        for (reached, mark) in [(torn, Mark::TornTail), (older, Mark::OlderSnapshot)] {
            if reached {
                self.marks.hit(mark);
            }
        }
        self.trace.know(place, opened.address);
        if let Some(recorder) = &self.recorder {
            recorder.lock().restarted(opened.address.node);
        }
        let (applied, last) = (status.applied.get(), status.last_index.get());
        self.add(Event::Opened { node: place, applied, last });
        self.show(place, |node, it| Some(Seen::Opened { node, replica: it.replica()? }));
        self.turn_soon(place);
    }

    /// Where processes crash, some crash while they open: after so many operations of the disk.
    fn dies_opening(&mut self) -> Option<(u64, Power)> {
        let has = |fault| self.unruly && self.faults.has(fault);
        let (killed, off) = (has(Fault::Crash), has(Fault::PowerLoss));
        if !(killed || off) || !self.dice.chance(DIES_OPENING) {
            return None;
        }
        let off = off && (!killed || self.dice.chance(500_000));
        let power = if off { Power::Drawn(self.dice.fork()) } else { Power::Stays };
        Some((self.dice.below(OPENS_WITHIN), power))
    }

    fn died_opening(&mut self, place: usize, power: Power) {
        let Some(node) = self.nodes.get_mut(place) else { return };
        node.disk.plan(Plan::Nothing);
        let off = !matches!(power, Power::Stays);
        end_machine(node, power);
        self.marks.hit(Mark::DiedOpening);
        self.add(Event::Crashed { node: place, power: off });
        self.open_later(place);
    }

    /// It does not open: may it refuse?
    fn refused(&mut self, place: usize, error: &Error) {
        let why = error.to_string();
        self.add(Event::Refused { node: place, why: why.clone() });
        let Some(node) = self.nodes.get_mut(place) else { return };
        if error.is_corrupt() && node.rotten {
            node.state = Life::Refused;
            self.marks.hit(Mark::DamageRefused);
        } else if is_excused(node, error) {
            self.open_later(place);
        } else {
            let name = self.name(place);
            self.fail(format!("{name} refuses what is as it was written: {why}"));
        }
    }

    fn open_later(&mut self, place: usize) {
        if self.by_hand {
            return;
        }
        let after = self.dice.span(RESTART.0, RESTART.1);
        self.open_after(place, after);
    }

    pub(super) fn open_after(&mut self, place: usize, after: Duration) {
        let Some(life) = self.nodes.get(place).map(|node| node.life) else { return };
        self.plan(after, Next::Open { node: place, life });
    }

    // ---- a turn

    pub(super) fn turn(&mut self, place: usize) {
        let now = self.local_now(place);
        let Some(node) = self.nodes.get_mut(place) else { return };
        let clock = node.clock;
        let Some(running) = node.running_mut() else { return };
        let Running { driver, port, queues, .. } = running;
        let port = Arc::clone(port);
        let decided = driver.turn(now, &port.mailbox, &mut Hands { port: &port, queues });
        let answers = match decided {
            Ok(answers) => answers,
            Err(error) => return self.halt(place, error),
        };
        let sends = std::mem::take(&mut queues.sends);
        let (applied, _) = driver.replica.machine().applied();
        let (term, applied) = (driver.replica.term().get(), applied.get());
        self.add(Event::Turned { node: place, term, applied });
        // Before it removes anything: who looks on sees every version that was ever made.
        self.show(place, |node, it| Some(Seen::Turned { node, replica: it.replica()? }));
        let Some(running) = self.nodes.get_mut(place).and_then(Node::running_mut) else { return };
        let more = running.driver.tidy(SLICE_RECORDS);
        let wake_at = clock.when(running.driver.wake_at());
        for (to, envelope) in sends {
            self.send(place, to, envelope);
        }
        answers.give(&port.mailbox);
        let budget = Budget { looks: self.pace.rings, rings: self.pace.rings };
        if port.watches.advance(now, budget, true) {
            self.turn_soon(place);
        }
        self.start_writing(place);
        self.start_working(place);
        self.show_host(place);
        let wake_at = if more { wake_at.min(self.next_slice()) } else { wake_at };
        self.wake_turn_at(place, wake_at.max(self.now + 1));
    }

    /// When a removal goes on.
    fn next_slice(&mut self) -> u64 {
        let rest = if self.by_hand { SLICE.1 } else { self.dice.span(SLICE.0, SLICE.1) };
        self.now.saturating_add(u64::try_from(rest.as_nanos()).unwrap_or(u64::MAX))
    }

    // ---- the log

    fn start_writing(&mut self, place: usize) {
        let pace = self.pace(SYNC.0, SYNC.1);
        let now = self.now;
        let Some(node) = self.nodes.get_mut(place) else { return };
        let (life, begins) = (node.life, now.max(node.stalled_until));
        let takes = pace.saturating_add(node.slow);
        let Some(running) = node.running_mut() else { return };
        let queues = &mut running.queues;
        if running.writing.is_some() || (queues.writes.is_empty() && queues.release.is_none()) {
            return;
        }
        running.writing = Some(std::mem::take(&mut queues.writes));
        running.since = now;
        if planted(Bug::AckBeforeSync)
            && let Some(last) = running.writing.iter().flatten().last()
        {
            running.port.mailbox.report(Input::Persisted(last.ticket));
        }
        let done = begins.saturating_add(nanos(takes));
        self.written_at(place, life, done);
    }

    /// The disk will be done with its batch then; if that is too late, the core hears before.
    fn written_at(&mut self, place: usize, life: u64, done: u64) {
        let late = self.nodes.get(place).and_then(Node::late_at).unwrap_or(done);
        if late < done {
            self.plan_at(late.max(self.now), Next::Overdue { node: place, life });
        }
        self.plan_at(done, Next::Written { node: place, life });
    }

    /// A batch takes too long: the core is told (raft-notes 9.2).
    pub(super) fn overdue(&mut self, place: usize, life: u64) {
        if !self.is_life(place, life) {
            return;
        }
        let now = self.now;
        let Some(node) = self.nodes.get_mut(place) else { return };
        // The batch that this was planned for may be done, and another one under way.
        let is_late = node.late_at().is_some_and(|late| late <= now);
        let Some(running) = node.running_mut() else { return };
        if is_late && !running.overdue {
            running.overdue = true;
            running.port.mailbox.report(Input::DiskOverdue(true));
            self.marks.overdue(place, true);
            self.turn_soon(place);
        }
    }

    /// The disk has had its time: now what was asked for is done, or fails.
    pub(super) fn written(&mut self, place: usize, life: u64) {
        if !self.is_life(place, life) {
            return;
        }
        let now = self.now;
        let Some(node) = self.nodes.get_mut(place) else { return };
        let again = node.held_until();
        if now < again {
            return self.written_at(place, life, again);
        }
        self.write(place);
    }

    /// The disk does what it was asked for.
    pub(super) fn write(&mut self, place: usize) {
        let Some(running) = self.nodes.get_mut(place).and_then(|it| it.running_mut()) else {
            return;
        };
        let Some(mut batch) = running.writing.take() else { return };
        if planted(Bug::ForgetVote) {
            let states = batch.iter_mut().filter_map(|persist| persist.hard_state.as_mut());
            states.for_each(|state| state.vote = NodeId::default());
        }
        if let Err(error) = running.log.write(&batch) {
            return self.halt(place, error);
        }
        self.durable(place, &batch);
        let Some(running) = self.nodes.get_mut(place).and_then(|it| it.running_mut()) else {
            return;
        };
        if let Some(last) = batch.last() {
            running.port.mailbox.report(Input::Persisted(last.ticket));
        }
        if std::mem::take(&mut running.overdue) {
            running.port.mailbox.report(Input::DiskOverdue(false));
            self.marks.overdue(place, false);
        }
        if running.queues.writes.is_empty() {
            let release = running.queues.release.take();
            if let Err(error) = running.log.housekeep(release) {
                return self.halt(place, error);
            }
        }
        self.marks.log(place, running.log.stats());
        self.start_writing(place);
        self.turn_soon(place);
    }

    fn durable(&mut self, place: usize, batch: &[Persist]) {
        if let Some(entry) = batch.iter().filter_map(|persist| persist.entries.last()).next_back() {
            self.add(Event::Synced { node: place, last: entry.index.get() });
        }
        self.show_durable(place, batch);
    }

    // ---- whole states

    fn start_working(&mut self, place: usize) {
        let pace = self.pace(SYNC.0, SYNC.1 * 10);
        let Some(node) = self.nodes.get_mut(place) else { return };
        let (life, slow) = (node.life, node.slow);
        let Some(running) = node.running_mut() else { return };
        if running.working || running.queues.jobs.is_empty() {
            return;
        }
        running.working = true;
        self.plan(pace.saturating_add(slow), Next::Worked { node: place, life });
    }

    pub(super) fn worked(&mut self, place: usize, life: u64) {
        if !self.is_life(place, life) {
            return;
        }
        let now = self.now;
        let Some(node) = self.nodes.get_mut(place) else { return };
        let again = node.held_until();
        if now < again {
            return self.plan_at(again, Next::Worked { node: place, life });
        }
        self.work(place);
    }

    /// The oldest job is done.
    pub(super) fn work(&mut self, place: usize) {
        let Some(running) = self.nodes.get_mut(place).and_then(|it| it.running_mut()) else {
            return;
        };
        running.working = false;
        let Some(job) = running.queues.jobs.pop_front() else { return };
        match running.worker.work(job, || false) {
            Ok(Some(report)) => {
                let taken = match &report {
                    Input::SnapshotTaken { file, .. } => Some(file.mark.index.get()),
                    _ => None,
                };
                running.port.mailbox.report(report);
                if let Some(index) = taken {
                    self.add(Event::Snapshot { node: place, index });
                }
                self.turn_soon(place);
            }
            Ok(None) => {}
            Err(error) => return self.halt(place, error),
        }
        self.start_working(place);
    }

    // ---- the end

    /// It stops itself. Somebody will start it again.
    fn halt(&mut self, place: usize, error: Error) {
        let text = match std::error::Error::source(&error) {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        };
        self.add(Event::Halted { node: place, why: text.clone() });
        let Some(node) = self.nodes.get_mut(place) else { return };
        if !is_excused(node, &error) {
            let name = node.name.clone();
            return self.fail(format!("{name} halts, and its disk does not excuse that: {text}"));
        }
        self.marks.hit(Mark::Halt);
        if is_full(&error) {
            self.marks.halted_full(place);
        }
        let Life::Up(mut running) = std::mem::replace(&mut node.state, Life::Down) else { return };
        node.begin_life();
        running.port.end(Some(Arc::new(error)));
        let left = running.driver.abandon(&running.port.mailbox);
        left.tell(&running.port.mailbox, || running.port.ending());
        drop(running);
        self.ended(place);
        self.open_later(place);
    }

    /// The process is killed; with `power`, the machine stops.
    pub(super) fn crash(&mut self, place: usize, power: bool) {
        let (batch, within) = (self.dice.chance(500_000), self.dice.below(CRASH_WITHIN));
        let during = if batch { During::Batch(within) } else { During::Job(within) };
        let power = if power { Power::Drawn(self.dice.fork()) } else { Power::Stays };
        self.stop(place, during, power);
    }

    pub(super) fn stop(&mut self, place: usize, during: During, power: Power) {
        let Some(node) = self.nodes.get_mut(place) else { return };
        if matches!(node.state, Life::Refused) {
            return;
        }
        node.begin_life();
        let state = std::mem::replace(&mut node.state, Life::Down);
        let mut reached = None;
        if let Life::Up(mut running) = state {
            match during {
                During::Nothing => {}
                During::Batch(within) => {
                    node.disk.plan(Plan::StopAt(within));
                    let batch = running.writing.take();
                    reached = batch.filter(|batch| running.log.write(batch).is_ok());
                }
                During::Job(within) => {
                    node.disk.plan(Plan::StopAt(within));
                    let job = running.queues.jobs.pop_front().filter(|_| running.working);
                    // What it says reaches nobody.
                    drop(job.map(|job| running.worker.work(job, || false)));
                }
            }
            node.disk.plan(Plan::Nothing);
            running.port.end(None);
            // Handles keep the mailbox: what waits in it must not wait for ever.
            running.driver.abandon(&running.port.mailbox).leave();
        }
        let off = !matches!(power, Power::Stays);
        end_machine(node, power);
        if let Some(batch) = reached {
            self.durable(place, &batch);
        }
        self.add(Event::Crashed { node: place, power: off });
        self.ended(place);
    }

    fn ended(&mut self, place: usize) {
        self.show(place, |node, _| Some(Seen::Ended { node }));
    }
}

fn end_machine(node: &Node, power: Power) {
    match power {
        Power::Stays => node.disk.kill(),
        Power::Lost => node.disk.lose(),
        Power::Drawn(mut dice) => node.disk.crash(&mut dice),
    }
}

/// A disk that was made to fail excuses its own errors, and damage excuses that it is named.
fn is_excused(node: &Node, error: &Error) -> bool {
    (node.excused && error.is_io()) || (node.rotten && error.is_corrupt())
}

/// There was no room on the disk.
fn is_full(error: &Error) -> bool {
    let cause = std::error::Error::source(error);
    let cause = cause.and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::StorageFull)
}
