//! Is what the store holds in the end what was written: all of it, and once?
//!
//! The history says what was asked and what was promised, the store's own versions what was done.
//! Revision by revision each must account for the other:
//!
//! ```text
//!   revision   the store holds    the history has
//!   2          a=1                put a=1, told: revision 2
//!   3          b=2                put b=2, told: unknown. So it happened; it must not again
//!   4          a deleted          delete a, told: revision 4, 1 deleted
//!   5          c=3                put c=3, told: not applied                    wrong (SEL-12)
//! ```
//!
//! Up to the compacted revision the store has forgotten what was overwritten or deleted by then
//! (`CMP-4`, `CMP-5`), so there an acknowledged write may be missing if something came after it
//! that explains why.
//!
//! It does not matter here in which order things happened, or who saw them:
//! [`linear`](super::linear) judges that. Two puts of the same key with the same value cannot be
//! told apart, so a workload that wants to be judged well never repeats a value.

mod made;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use bytes::Bytes;

use super::Violation;
use crate::core::mvcc::Record;
use crate::error::WriteOutcome;
use crate::ids::Revision;
use crate::sim::history::{Answer, Call, CallId, History, Op, Step};

/// So many calls are shown that have to do with what nobody asked for.
const NEAR: usize = 12;

/// All that a member holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) revision: Revision,
    pub(crate) compacted: Option<Revision>,
    /// In order of revision, then of `sub`.
    pub(crate) versions: Vec<Stored>,
}

/// One version of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) revision: Revision,
    pub(crate) sub: u32,
    pub(crate) key: Bytes,
    /// `None`: a tombstone.
    pub(crate) value: Option<Bytes>,
}

impl From<&Record> for Stored {
    fn from(record: &Record) -> Self {
        let (revision, sub) = record.position();
        let key = Bytes::copy_from_slice(record.key());
        let live = !record.is_tombstone();
        let value = live.then(|| Bytes::copy_from_slice(record.value()));
        Self { revision, sub, key, value }
    }
}

/// Compares what was written with what is there.
///
/// # Errors
///
/// The first difference that nothing accounts for.
pub(crate) fn check(history: &History, content: &Content) -> Result<(), Violation> {
    let ledger = Ledger::new(history, content)?;
    ledger.nothing_is_missing()?;
    ledger.everything_was_asked_for()
}

/// As [`check`], of a member that need not have everything: what it has was asked for, once.
pub(crate) fn check_part(history: &History, content: &Content) -> Result<(), Violation> {
    Ledger::new(history, content)?.everything_was_asked_for()
}

/// What one revision holds.
type Group<'a> = Vec<&'a Stored>;

struct Ledger<'a> {
    history: &'a History,
    content: &'a Content,
    /// What was told its revision.
    told: BTreeMap<Revision, CallId>,
    /// What the store holds.
    held: BTreeMap<Revision, Group<'a>>,
}

impl<'a> Ledger<'a> {
    fn new(history: &'a History, content: &'a Content) -> Result<Self, Violation> {
        let mut told = BTreeMap::new();
        for (id, call) in history.calls() {
            let made = call.answer().and_then(|answer| call.op.made(answer));
            let Some(revision) = made else { continue };
            if let Some(other) = told.insert(revision, id) {
                let what = format!("two writes were told that they made revision {revision}");
                return Err(Violation::new("INV-2", what).calls(history, [other, id]));
            }
        }
        let mut held: BTreeMap<Revision, Group<'a>> = BTreeMap::new();
        let mut before = None;
        for version in &content.versions {
            let at = (version.revision, version.sub);
            if before.replace(at).is_some_and(|before| before >= at) {
                let what = format!("the store holds {} out of order", show(version));
                return Err(Violation::new("DM-2", what));
            }
            held.entry(version.revision).or_default().push(version);
        }
        Ok(Self { history, content, told, held })
    }

    /// The store remembers everything of this revision.
    fn remembers(&self, revision: Revision) -> bool {
        self.content.compacted.is_none_or(|compacted| revision > compacted)
    }

    fn op(&self, id: CallId) -> Option<&'a Op> {
        Some(&self.history.call(id)?.op)
    }

    fn nothing_is_missing(&self) -> Result<(), Violation> {
        for (revision, id) in &self.told {
            if self.held.contains_key(revision) || self.is_forgotten(*revision, *id) {
                continue;
            }
            let what = format!("{id} was acknowledged, and is lost");
            let note = format!("the store holds nothing of revision {revision}");
            let violation = Violation::new("LIN-15", what).calls(self.history, [*id]).note(note);
            return Err(violation.note(self.bounds()));
        }
        let compacted = self.content.compacted.unwrap_or_default().max(Revision::new(1));
        let newest = self.content.revision;
        let remembered = compacted.get().saturating_add(1)..=newest.get();
        let empty = remembered.map(Revision::new).find(|at| !self.held.contains_key(at));
        match empty {
            Some(at) => {
                let what = format!("the store holds nothing of revision {at}, and nobody made it");
                Err(Violation::new("DM-4", what).note(self.bounds()))
            }
            None => Ok(()),
        }
    }

    fn bounds(&self) -> String {
        let Content { revision, compacted, .. } = self.content;
        match compacted {
            Some(compacted) => format!("its revision is {revision}, compacted to {compacted}"),
            None => format!("its revision is {revision}, and it was never compacted"),
        }
    }

    /// Was it overwritten or deleted before the compacted revision? (`CMP-4`)
    fn is_forgotten(&self, revision: Revision, id: CallId) -> bool {
        let Some(compacted) = self.content.compacted.filter(|_| !self.remembers(revision)) else {
            return false;
        };
        let ran = self.history.call(id).and_then(|call| call.op.ran(call.answer()?));
        ran.unwrap_or_default().into_iter().all(|(step, told)| match (step, told) {
            (Step::Put(put), _) => self.is_replaced(&put.key, revision, compacted),
            // Of a deletion nothing stays, unless it is exactly there (`CMP-5`).
            (_, Answer::Deleted { deleted: 1.., .. }) => revision < compacted,
            _ => true,
        })
    }

    /// Was what a key was put to at one revision overwritten or deleted by another?
    fn is_replaced(&self, key: &[u8], revision: Revision, by: Revision) -> bool {
        let until = (Bound::Excluded(revision), Bound::Included(by));
        let later = self.held.range(until).flat_map(|(_, group)| group);
        let overwritten = later.into_iter().any(|version| version.key == key);
        let told = self.told.range(until).filter_map(|(_, id)| self.op(*id));
        let mut others = told.chain(self.unknown().map(|(_, op)| op));
        overwritten || others.any(|op| op.may_delete(key))
    }

    /// Writes that may have happened.
    fn unknown(&self) -> impl Iterator<Item = (CallId, &'a Op)> {
        let calls = self.history.calls().filter(|(_, call)| {
            let unknown = |answer: &Answer| {
                matches!(answer, Answer::Failed { outcome: WriteOutcome::Unknown, .. })
            };
            call.op.view().is_none() && call.answer().is_none_or(unknown)
        });
        calls.map(|(id, call)| (id, &call.op))
    }

    fn everything_was_asked_for(&self) -> Result<(), Violation> {
        let mut untold: Vec<(Revision, &Group<'a>)> = Vec::new();
        for (revision, group) in &self.held {
            match self.told.get(revision) {
                Some(id) => self.is_what_was_told(*revision, *id, group)?,
                None => untold.push((*revision, group)),
            }
        }
        self.untold_was_asked_for(&untold)
    }

    /// Does a revision hold what the call did that was told to have made it?
    fn is_what_was_told(
        &self,
        revision: Revision,
        id: CallId,
        group: &Group<'a>,
    ) -> Result<(), Violation> {
        let Some(call) = self.history.call(id) else { return Ok(()) };
        let ran = call.answer().and_then(|answer| call.op.ran(answer)).unwrap_or_default();
        let compacted = self.content.compacted.filter(|_| !self.remembers(revision));
        let same = match compacted {
            None => made::told(&ran, group),
            Some(compacted) => {
                let there = |key: &[u8]| group.iter().any(|version| version.key == key);
                made::part_of(&ran, group)
                    && made::puts(&ran)
                        .all(|key| there(key) || self.is_replaced(key, revision, compacted))
            }
        };
        if same {
            return Ok(());
        }
        let what = format!("{id} was told that it made revision {revision}, which is another");
        let violation = Violation::new("INV-1", what).calls(self.history, [id]);
        Err(violation.note(format!("the store holds there: {}", shown(group))))
    }

    /// A version that no write with an unknown end accounts for.
    fn unexpected(&self, revision: Revision, (key, value): (&Bytes, &Bytes)) -> Violation {
        let wrote = |(id, call): (CallId, &Call)| {
            call.op.may_put(key, Some(value)).then_some((id, call.answer().cloned()))
        };
        let writers: Vec<(CallId, Option<Answer>)> =
            self.history.calls().filter_map(wrote).collect();
        let told = writers
            .iter()
            .find(|(_, told)| told.as_ref().is_some_and(|it| it.revision().is_some()));
        let refused = |answer: &Option<Answer>| {
            matches!(answer, Some(Answer::Failed { outcome: WriteOutcome::NotApplied, .. }))
        };
        let refused = writers.iter().find(|(_, answer)| refused(answer));
        let (rule, what) = match (told, refused, writers.first()) {
            (Some((id, _)), ..) => ("LIN-10", format!("{id} has happened again at {revision}")),
            (_, Some((id, _)), _) => {
                ("SEL-12", format!("{id} was not applied, and made revision {revision}"))
            }
            (_, _, Some((id, _))) => ("INV-6", format!("{id} has happened more than once")),
            (None, None, None) => ("INV-1", format!("nobody has asked for revision {revision}")),
        };
        let others = self.held.values().flatten();
        let same = others.filter(|other| other.key == key && other.value.as_ref() == Some(value));
        let places: Vec<&Stored> = same.copied().collect();
        let elsewhere = self.history.calls().filter(|(_, call)| {
            writers.is_empty() && call.op.puts().iter().any(|put| put.value == value)
        });
        Violation::new(rule, what)
            .calls(self.history, writers.iter().map(|(id, _)| *id))
            .note(format!("the store holds: {}", shown(&places)))
            .calls(self.history, elsewhere.map(|(id, _)| id))
    }

    /// Gives every revision that nobody was told of one of the calls that may have made it.
    fn untold_was_asked_for(&self, untold: &[(Revision, &Group<'a>)]) -> Result<(), Violation> {
        let unknown: Vec<(CallId, &Op)> = self.unknown().collect();
        let choices: Vec<Vec<usize>> = untold
            .iter()
            .map(|(revision, group)| {
                let fits = |op: &Op| made::perhaps(op, group, self.remembers(*revision));
                let calls = unknown.iter().enumerate();
                calls.filter(|(_, (_, op))| fits(op)).map(|(place, _)| place).collect()
            })
            .collect();
        let mut given: BTreeMap<usize, usize> = BTreeMap::new();
        for (place, (revision, group)) in untold.iter().enumerate() {
            if give(place, &choices, &mut given, &mut BTreeSet::new()) {
                continue;
            }
            if let [Stored { key, value: Some(value), .. }] = group.as_slice() {
                return Err(self.unexpected(*revision, (key, value)));
            }
            let near = |call: &Call| {
                group.iter().any(|version| match &version.value {
                    Some(value) => call.op.may_put(&version.key, Some(value)),
                    None => call.op.may_delete(&version.key),
                })
            };
            let near = self.history.calls().filter(|(_, call)| near(call)).map(|(id, _)| id);
            return Err(stranger(*revision, group).calls(self.history, near.take(NEAR)));
        }
        Ok(())
    }
}

fn stranger(revision: Revision, group: &[&Stored]) -> Violation {
    let what = format!("nobody has asked for what revision {revision} holds");
    Violation::new("INV-1", what).note(format!("the store holds: {}", shown(group)))
}

/// Gives a revision a call, and if it is another's already, that one a different one.
fn give(
    revision: usize,
    choices: &[Vec<usize>],
    given: &mut BTreeMap<usize, usize>,
    tried: &mut BTreeSet<usize>,
) -> bool {
    for call in choices.get(revision).into_iter().flatten() {
        if !tried.insert(*call) {
            continue;
        }
        let other = given.get(call).copied();
        if other.is_none_or(|other| give(other, choices, given, tried)) {
            given.insert(*call, revision);
            return true;
        }
    }
    false
}

fn show(version: &Stored) -> String {
    let Stored { revision, sub, key, value } = version;
    let key = key.escape_ascii();
    match value {
        Some(value) => format!("({revision},{sub}) \"{key}\"=\"{}\"", value.escape_ascii()),
        None => format!("({revision},{sub}) \"{key}\" deleted"),
    }
}

fn shown(group: &[&Stored]) -> String {
    let shown: Vec<String> = group.iter().map(|version| show(version)).collect();
    if shown.is_empty() { String::from("nothing") } else { shown.join(", ") }
}
