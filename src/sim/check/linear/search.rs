//! Fills the gaps: which write with an unknown end made which revision?
//!
//! From the first revision to the last, with the model beside: known writes are applied and their
//! answers compared, then whatever shows keys as of that revision is. At a gap the writes that
//! have begun in time and fit the [`Facts`] are tried, those that are wanted soonest first.
//!
//! Where an answer does not compare, some gap before it was filled wrongly, and only one that has
//! to do with the keys in doubt: those after the last answer that has shown these keys and did
//! compare. So the search goes back to the last of *them*, over all that lies between
//! (conflict-directed backjumping), and remembers for each gap which earlier ones its failures
//! blame. When nobody is left to blame, no filling explains the answers: the verdict is certain.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::blame::{self, Blame};
use super::doubt::doubt;
use super::facts::{Facts, Fit, Named};
use super::order::Order;
use super::part::{Part, Says, Sight};
use crate::core::machine::txn::{Delete, Put};
use crate::ids::Revision;
use crate::sim::check::model::{Doubt, Model};
use crate::sim::history::{CallId, Kv, Op, Shown};

/// See the top of the file.
#[derive(Debug)]
pub(super) struct Search<'a> {
    /// One for each revision, from 1 on.
    steps: Vec<Step<'a>>,
    gaps: Vec<Gap>,
    classes: Vec<Class<'a>>,
    facts: Facts<'a>,
    model: Model,
    /// The gaps on the way to where the search is, by number.
    frames: Vec<Frame>,
    furthest: Option<Failure>,
    /// So much more may be tried.
    budget: u64,
}

/// One revision, and everything that must be so at it.
#[derive(Debug)]
struct Step<'a> {
    revision: Revision,
    write: Write<'a>,
    /// What shows keys as of this revision.
    seen: Vec<Part<'a>>,
}

#[derive(Clone, Copy, Debug)]
enum Write<'a> {
    /// The store as it begins.
    None,
    Known(Part<'a>),
    /// By number.
    Gap(usize),
}

#[derive(Clone, Copy, Debug)]
struct Gap {
    revision: Revision,
    /// What fills it must have begun before.
    deadline: u64,
}

/// Writes with an unknown end that do the same: which of them it was makes no difference.
#[derive(Debug)]
struct Class<'a> {
    op: &'a Op,
    /// In the order in which they began, and when.
    calls: Vec<(u64, CallId)>,
    /// The gaps that are filled with them: the first with the first call, and so on.
    used: Vec<usize>,
}

#[derive(Debug)]
struct Frame {
    /// Where the gap is in the list of steps.
    step: usize,
    /// Classes still to be tried, the best last.
    choices: Vec<usize>,
    chosen: Option<usize>,
    /// The keys that the choice has changed, by number.
    touched: Vec<u32>,
    /// Who has a part in what has failed here.
    blamed: Blame,
}

/// How it ended.
#[derive(Debug)]
pub(super) enum Found {
    /// Every gap with the call that fills it, and when that began.
    Filled(Vec<(Revision, CallId, u64)>),
    /// No filling explains the answers.
    Impossible(Failure),
    /// There are too many possibilities.
    GaveUp,
}

/// Where the search came furthest.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) revision: Revision,
    pub(super) problem: Problem,
    /// It fails there whatever fills the gaps.
    pub(super) certain: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Problem {
    /// This answer is not what it would have to be.
    Answer {
        id: CallId,
        key: Option<Bytes>,
        /// What would have to be there.
        instead: Option<Kv>,
        /// Who else has to do with it.
        about: Vec<CallId>,
    },
    /// Nothing can have made this revision.
    Gap { deadline: u64, wanted: Option<(Bytes, Option<Bytes>)>, about: Vec<CallId> },
}

impl<'a> Search<'a> {
    pub(super) fn new(parts: &[Part<'a>], order: &Order, budget: u64) -> Self {
        let last = order.last().get();
        let mut steps: Vec<Step<'a>> = Vec::new();
        for revision in (1..=last).map(Revision::new) {
            steps.push(Step { revision, write: Write::None, seen: Vec::new() });
        }
        let place = |revision: Revision| usize::try_from(revision.get()).ok()?.checked_sub(1);
        for part in parts {
            match part.says {
                Says::Wrote(revision) => {
                    if let Some(step) = place(revision).and_then(|place| steps.get_mut(place)) {
                        step.write = Write::Known(*part);
                    }
                }
                Says::Saw(Sight { shows: Some(at), .. }) => {
                    if let Some(step) = place(at).and_then(|place| steps.get_mut(place)) {
                        step.seen.push(*part);
                    }
                }
                _ => {}
            }
        }
        let mut gaps = Vec::new();
        for step in steps.iter_mut().skip(1).filter(|step| matches!(step.write, Write::None)) {
            step.write = Write::Gap(gaps.len());
            let (revision, deadline) = (step.revision, order.deadline(step.revision));
            gaps.push(Gap { revision, deadline });
        }
        let facts = Facts::new(parts, gaps.iter().map(|gap| gap.revision.get()).collect());
        let classes = if gaps.is_empty() { Vec::new() } else { classes(parts) };
        let (model, frames) = (Model::default(), Vec::new());
        Self { steps, gaps, classes, facts, model, frames, furthest: None, budget }
    }

    pub(super) fn run(mut self) -> Found {
        let mut at = 0;
        while let Some(step) = self.steps.get(at) {
            let cost = u64::try_from(step.seen.len()).unwrap_or(u64::MAX).saturating_add(1);
            let Some(budget) = self.budget.checked_sub(cost) else { return Found::GaveUp };
            self.budget = budget;
            let next = match step.write {
                Write::Gap(number) => {
                    self.open(at, number);
                    self.resume()
                }
                Write::Known(_) | Write::None => match self.pass(at) {
                    Ok(()) => Some(at.saturating_add(1)),
                    Err(blamed) => {
                        self.unwind(self.frames.len(), &blamed).and_then(|()| self.resume())
                    }
                },
            };
            let Some(next) = next else { return self.failed() };
            at = next;
        }
        Found::Filled(self.fills())
    }

    fn failed(self) -> Found {
        if self.budget == 0 {
            return Found::GaveUp;
        }
        self.furthest.map_or(Found::GaveUp, Found::Impossible)
    }

    /// Every gap with its call.
    fn fills(&self) -> Vec<(Revision, CallId, u64)> {
        let mut fills = Vec::with_capacity(self.gaps.len());
        for class in &self.classes {
            for (gap, (begins, id)) in class.used.iter().zip(&class.calls) {
                fills.extend(self.gaps.get(*gap).map(|gap| (gap.revision, *id, *begins)));
            }
        }
        fills
    }

    /// Comes to a gap, and finds out what could fill it.
    fn open(&mut self, step: usize, gap: usize) {
        let mut blamed = Blame::default();
        let mut fitting = Vec::new();
        let Some(Gap { revision, deadline }) = self.gaps.get(gap).copied() else { return };
        for number in 0..self.classes.len() {
            let Some(class) = self.classes.get(number) else { continue };
            let named = self.facts.named(revision.get());
            let fits = |put: &Named| class.op.may_put(&put.key, put.value.as_deref());
            if !named.iter().all(fits) {
                continue;
            }
            self.budget = self.budget.saturating_sub(1);
            match class.calls.get(class.used.len()).filter(|(begins, _)| *begins < deadline) {
                Some((begins, _)) => {
                    let begins = *begins;
                    match self.fit(number, revision) {
                        Ok(fit) => fitting.push((fit, begins, number)),
                        Err(more) => blamed.add(&more, gap),
                    }
                }
                // All that have begun in time are used up.
                None => class.used.iter().for_each(|gap| blamed.choice(*gap)),
            }
        }
        if fitting.is_empty() {
            self.note_gap(gap, blamed.last_before(gap).is_none());
        }
        fitting.sort_unstable_by(|a, b| b.cmp(a));
        let choices = fitting.into_iter().map(|(_, _, number)| number).collect();
        let touched = Vec::new();
        self.frames.push(Frame { step, choices, chosen: None, touched, blamed });
    }

    /// How well a class fits into a gap, with the gaps before it as they are filled now; or who
    /// has a part in it that it does not.
    fn fit(&mut self, class: usize, revision: Revision) -> Result<Fit, Blame> {
        let Some(op) = self.classes.get(class).map(|class| class.op) else {
            return Err(Blame::default());
        };
        self.model.apply(op);
        let looks = self.model.changed().count() + self.facts.due(revision.get()).len();
        self.budget = self.budget.saturating_sub(looks as u64);
        let fit = self.applied_fits(op, revision);
        self.model.go_back(previous(revision));
        fit
    }

    /// What was just applied: does it fit?
    fn applied_fits(&self, op: &Op, revision: Revision) -> Result<Fit, Blame> {
        // What a transaction does depends on all that it compares; what a deletion or a put does
        // to a key, on this key alone.
        let whole = self.model.revision() != revision || matches!(op, Op::Txn { .. });
        self.keys_fit(revision).map_err(|key| match key {
            Some(key) if !whole => self.blame([key], revision),
            key => {
                let ranges = op.selects();
                let keys = ranges.iter().flat_map(|range| self.facts.keys_in(range));
                self.blame(keys.chain(key), revision)
            }
        })
    }

    /// The key that does not fit; none if nothing was done.
    fn keys_fit(&self, revision: Revision) -> Result<Fit, Option<&[u8]>> {
        let at = revision.get();
        if self.model.revision() != revision {
            // It has found nothing to delete, or not what it was to keep.
            return Err(None);
        }
        let mut fit = Fit::default();
        for key in self.model.changed() {
            match self.facts.fit(key, at, self.model.at(key, revision)) {
                Some(more) => fit.add(more),
                None => return Err(Some(key.as_ref())),
            }
        }
        // A deletion may change many keys, and many may be due.
        let changed: BTreeSet<&[u8]> = self.model.changed().map(AsRef::as_ref).collect();
        let unmet = |key: &&&[u8]| {
            !changed.contains(*key) && !self.facts.can_wait(key, at, self.model.at(key, revision))
        };
        match self.facts.due(at).iter().find(unmet) {
            Some(key) => Err(Some(*key)),
            None => Ok(fit),
        }
    }

    /// Goes on at the last gap with the next choice. Gives the step to go on from; none if there
    /// is nothing left to be tried.
    fn resume(&mut self) -> Option<usize> {
        while self.budget > 0 {
            let gap = self.frames.len().checked_sub(1)?;
            self.release();
            let frame = self.frames.last_mut()?;
            let step = frame.step;
            let Some(class) = frame.choices.pop() else {
                let frame = self.frames.pop()?;
                self.unwind(gap, &frame.blamed)?;
                continue;
            };
            frame.chosen = Some(class);
            let op = self.classes.get_mut(class).map(|class| {
                class.used.push(gap);
                class.op
            });
            self.model.apply(op?);
            let touched = self.model.changed().filter_map(|key| self.facts.number(key));
            frame.touched = touched.collect();
            match self.see(step) {
                Ok(()) => return Some(step.saturating_add(1)),
                Err(blamed) if blamed.of(gap).is_some() => self.blame_last(&blamed)?,
                Err(blamed) => {
                    // It would have failed whatever the choice here.
                    self.release();
                    self.frames.pop();
                    self.unwind(gap, &blamed)?;
                }
            }
            self.budget = self.budget.saturating_sub(1);
        }
        None
    }

    /// Takes back what the last gap is filled with, and everything after it.
    fn release(&mut self) {
        let Some(frame) = self.frames.last_mut() else { return };
        let class = frame.chosen.take().and_then(|class| self.classes.get_mut(class));
        if let Some(class) = class {
            class.used.pop();
        }
        if let Some(step) = self.steps.get(frame.step) {
            self.model.go_back(previous(step.revision));
        }
    }

    /// Goes back to the last gap before `bound` that is to blame; nowhere if there is none.
    fn unwind(&mut self, bound: usize, blamed: &Blame) -> Option<()> {
        let (target, _) = blamed.last_before(bound)?;
        while self.frames.len() > target.saturating_add(1) {
            self.release();
            self.frames.pop();
        }
        self.blame_last(blamed)
    }

    /// Notes what has failed with the choice at the last gap, and drops the choices that would
    /// fail in the same way.
    fn blame_last(&mut self, blamed: &Blame) -> Option<()> {
        let gap = self.frames.len().checked_sub(1)?;
        let frame = self.frames.last_mut()?;
        frame.blamed.add(blamed, gap);
        match blamed.of(gap) {
            Some(blame::Part::Keys(keys))
                if !keys.iter().any(|key| frame.touched.contains(key)) =>
            {
                let keys: Vec<&[u8]> = keys.iter().filter_map(|key| self.facts.key(*key)).collect();
                let classes = &self.classes;
                frame.choices.retain(|class| {
                    let op = classes.get(*class).map(|class| class.op);
                    let touches = |op: &Op, key| op.may_put(key, None) || op.may_delete(key);
                    op.is_some_and(|op| keys.iter().any(|key| touches(op, key)))
                });
            }
            _ => {}
        }
        Some(())
    }

    /// Applies a known write, and compares what was told of it and of everything after it.
    fn pass(&mut self, at: usize) -> Result<(), Blame> {
        let Some(step) = self.steps.get(at) else { return Ok(()) };
        if let Write::Known(part) = step.write {
            let revision = step.revision;
            let told = self.model.apply(&part.call.op);
            if let Some(answer) = part.answer.filter(|answer| **answer != told) {
                let doubt = doubt(&part.call.op, &told, answer);
                self.model.go_back(previous(revision));
                return Err(self.differs(part, &doubt, previous(revision), revision));
            }
        }
        self.see(at)
    }

    /// Compares everything that shows keys as of this step.
    fn see(&mut self, at: usize) -> Result<(), Blame> {
        let Some(step) = self.steps.get(at) else { return Ok(()) };
        let (revision, model) = (step.revision, &mut self.model);
        let differing = step.seen.iter().find_map(|part| {
            let op = &part.call.op;
            let doubt = match (op, part.answer?) {
                // A deletion that found nothing to delete has seen that.
                (Op::Delete(delete), _) => model.first_in(&delete.range).map(Doubt::Key),
                // A transaction that changed nothing would do so again.
                (Op::Txn { .. }, answer) => {
                    let told = model.apply(op);
                    model.go_back(revision);
                    (told != *answer).then(|| doubt(op, &told, answer))
                }
                (_, answer) => model.differs(op, revision, answer),
            };
            Some((*part, doubt?))
        });
        match differing {
            Some((part, doubt)) => Err(self.differs(part, &doubt, revision, revision)),
            None => Ok(()),
        }
    }

    /// Notes that an answer about the state at `shows` does not compare at `at`, and says which
    /// gaps have a part in it.
    fn differs(&mut self, part: Part<'a>, doubt: &Doubt, shows: Revision, at: Revision) -> Blame {
        let op = &part.call.op;
        let (key, blamed) = match doubt {
            Doubt::Key(key) => (Some(key.clone()), self.blame([key.as_ref()], at)),
            Doubt::Some => {
                let ranges = op.selects();
                let keys = ranges.iter().flat_map(|range| self.facts.keys_in(range));
                (None, self.blame(keys, at))
            }
        };
        let blamed = if self.shows_another(part) { Blame::default() } else { blamed };
        let certain = blamed.last_before(self.frames.len()).is_none();
        if certain || self.is_further(at) {
            let instead = key.as_ref().and_then(|key| self.model.get(key, shows));
            let mut about = Vec::new();
            if let Some(key) = &key {
                let shown = part.answer.into_iter().flat_map(|answer| op.shown(answer));
                let shown = shown.filter(|it| it.kv.key == key).map(|it| it.kv.modified);
                let now = self.model.at(key, shows).map(|version| version.revision);
                let writers = now.into_iter().chain(shown);
                about.extend(writers.filter_map(|revision| self.writer(revision)));
                about.extend(self.facts.shown_before(key, at.get()));
            }
            let problem = Problem::Answer { id: part.id, key, instead, about };
            self.furthest = Some(Failure { revision: at, problem, certain });
        }
        blamed
    }

    /// Does an answer show a record that the known write of its revision has not written? Then no
    /// gap has a part in it.
    fn shows_another(&self, part: Part<'a>) -> bool {
        let shown = part.answer.into_iter().flat_map(|answer| part.call.op.shown(answer));
        shown.into_iter().any(|Shown { kv, value }| {
            let place = usize::try_from(kv.modified.get()).ok().and_then(|at| at.checked_sub(1));
            let step = place.and_then(|place| self.steps.get(place));
            step.is_some_and(|step| match step.write {
                Write::Known(write) => !write.call.op.may_put(&kv.key, value.map(AsRef::as_ref)),
                Write::None | Write::Gap(_) => false,
            })
        })
    }

    /// Notes that nothing fits into a gap; whatever fills those before it, if that is certain.
    fn note_gap(&mut self, gap: usize, certain: bool) {
        let Some(Gap { revision, deadline }) = self.gaps.get(gap).copied() else { return };
        if !certain && !self.is_further(revision) {
            return;
        }
        let named = self.facts.named(revision.get());
        let wanted = named.first().map(|named| (named.key.clone(), named.value.clone()));
        let mut about: Vec<CallId> = named.iter().map(|named| named.by).collect();
        if let Some((key, _)) = &wanted {
            about.extend(self.facts.shown_next(key, revision.get()));
        }
        let problem = Problem::Gap { deadline, wanted, about };
        self.furthest = Some(Failure { revision, problem, certain });
    }

    fn is_further(&self, revision: Revision) -> bool {
        self.furthest.as_ref().is_none_or(|furthest| furthest.revision < revision)
    }

    /// Who made this revision, as the gaps are filled now.
    fn writer(&self, revision: Revision) -> Option<CallId> {
        let place = usize::try_from(revision.get()).ok()?.checked_sub(1)?;
        match self.steps.get(place)?.write {
            Write::None => None,
            Write::Known(part) => Some(part.id),
            Write::Gap(gap) => {
                let class = self.classes.get(self.frames.get(gap)?.chosen?)?;
                let place = class.used.iter().position(|used| *used == gap)?;
                class.calls.get(place).map(|(_, id)| *id)
            }
        }
    }

    /// The gaps that may have a part in what these keys are at `at`.
    fn blame<'k>(&self, keys: impl IntoIterator<Item = &'k [u8]>, at: Revision) -> Blame {
        let mut blamed = Blame::default();
        let numbers = keys.into_iter().filter_map(|key| self.facts.number(key));
        let mut open: BTreeSet<(u64, u32)> = numbers.map(|key| (at.get(), key)).collect();
        let mut done: BTreeSet<(u64, u32)> = BTreeSet::new();
        while let Some((at, number)) = open.pop_last() {
            let Some(key) = self.facts.key(number).filter(|_| done.insert((at, number))) else {
                continue;
            };
            let (after, earliest) = self.facts.window(key, at);
            // Gaps ascend in revision and in deadline.
            let from = self
                .gaps
                .partition_point(|gap| gap.revision.get() <= after || gap.deadline <= earliest);
            let to = self.gaps.partition_point(|gap| gap.revision.get() <= at);
            for gap in from..to {
                blamed.key(gap, number);
                // What a transaction did there may be due to other keys, as they were before.
                for key in self.compared_by(gap, key) {
                    open.insert((self.gaps.get(gap).map_or(0, |gap| gap.revision.get() - 1), key));
                }
            }
        }
        blamed
    }

    /// The keys that what fills a gap has compared, if it is a transaction that may touch `key`.
    fn compared_by(&self, gap: usize, key: &[u8]) -> Vec<u32> {
        let class = self.frames.get(gap).and_then(|frame| self.classes.get(frame.chosen?));
        let op = class.map(|class| class.op).filter(|op| matches!(op, Op::Txn { .. }));
        let Some(op) = op.filter(|op| op.may_put(key, None) || op.may_delete(key)) else {
            return Vec::new();
        };
        let ranges = op.selects();
        let keys = ranges.iter().flat_map(|range| self.facts.keys_in(range));
        keys.filter_map(|key| self.facts.number(key)).collect()
    }
}

fn previous(revision: Revision) -> Revision {
    Revision::new(revision.get().saturating_sub(1))
}

fn classes<'a>(parts: &[Part<'a>]) -> Vec<Class<'a>> {
    let mut known: BTreeMap<(u8, Bytes, Bytes), usize> = BTreeMap::new();
    let mut classes: Vec<Class<'a>> = Vec::new();
    for part in parts.iter().filter(|part| part.says == Says::MayWrite) {
        let op = &part.call.op;
        let effect = match op {
            Op::Put(Put { key, ignore_value: true, .. }) => (0, key.clone(), Bytes::new()),
            Op::Put(Put { key, value, .. }) => (1, key.clone(), value.clone()),
            Op::Delete(Delete { range, .. }) => {
                let (start, end) = range.selector();
                (2, start, end)
            }
            Op::Txn { .. } => {
                classes.push(Class { op, calls: vec![(part.begins, part.id)], used: Vec::new() });
                continue;
            }
            Op::Get { .. } | Op::Range { .. } | Op::Compact { .. } => continue,
        };
        let place = *known.entry(effect).or_insert(classes.len());
        if place == classes.len() {
            classes.push(Class { op, calls: Vec::new(), used: Vec::new() });
        }
        if let Some(class) = classes.get_mut(place) {
            class.calls.push((part.begins, part.id));
        }
    }
    classes
}
