//! Reads that may be old.
//!
//! A `serializable()` read is answered by one member from what it has (`KV-16`). It may be old, but
//! it must have been true: the exact state of the revision in its header, or of the one asked for
//! (`INV-3`, `INV-4`), and of nothing that came later than its answer. So such a read has a place
//! in the order like any other, only that it may lie long before the read began. To find the order
//! *with* these reads is more than to find one without and to compare: where answers leave a
//! choice, these reads decide it too.
//!
//! And while a member runs it never goes back (`LIN-4`): what it has shown once, to anybody, it
//! shows to every read that begins later.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::Violation;
use super::linear::{self, Scope, Witness};
use crate::ids::{NodeId, Revision};
use crate::sim::history::{Answer, Call, CallId, History, Why};

/// Judges all calls, those that may be old with the others.
///
/// # Errors
///
/// What cannot be explained, or that it is undecided. It may be the fault of calls that are none
/// of this judge's: [`linear::check`] knows.
pub(crate) fn check(history: &History) -> Result<Witness, Violation> {
    within(history, linear::BUDGET)
}

/// The same, with a budget for the search. That no member went back needs no order of the calls,
/// so it is judged also where none is found in time.
fn within(history: &History, budget: u64) -> Result<Witness, Violation> {
    never_back(history)?;
    linear::in_scope(history, Scope::All, budget)
}

/// The most that a member has shown since it started.
#[derive(Clone, Copy, Debug, Default)]
struct Shown {
    revision: Option<(Revision, CallId)>,
    compacted: Option<(Revision, CallId)>,
}

impl Shown {
    /// What an answer says about the member that gave it. Success of a write counts too: it is
    /// acknowledged only when the member has applied it (`LIN-5`).
    fn by(id: CallId, call: &Call) -> Self {
        let (mut revision, mut compacted) = (None, None);
        match call.answer() {
            Some(Answer::Failed { why: Why::FutureRevision(now), .. }) => revision = Some(*now),
            Some(Answer::Failed { why: Why::Compacted(to), .. }) => compacted = Some(*to),
            Some(answer) => {
                revision = answer.revision();
                if let (Some(_), crate::sim::history::Op::Compact { revision: to }) =
                    (revision, &call.op)
                {
                    compacted = Some(*to);
                }
            }
            None => {}
        }
        Self { revision: revision.map(|now| (now, id)), compacted: compacted.map(|to| (to, id)) }
    }

    fn add(&mut self, other: Self) {
        self.revision = self.revision.max(other.revision);
        self.compacted = self.compacted.max(other.compacted);
    }
}

/// While a member runs it shows nothing older than it has shown before (`LIN-4`).
fn never_back(history: &History) -> Result<(), Violation> {
    let mut events: Vec<(u64, CallId, &Call, bool)> = Vec::new();
    for (id, call) in history.calls() {
        events.push((call.invoked, id, call, false));
        events.extend(call.end.as_ref().map(|end| (end.returned, id, call, true)));
    }
    events.sort_unstable_by_key(|(at, ..)| *at);

    let mut members: BTreeMap<(NodeId, u32), Shown> = BTreeMap::new();
    let mut before: BTreeMap<CallId, Shown> = BTreeMap::new();
    for (_, id, call, is_end) in events {
        let shown = members.entry((call.member, call.boot)).or_default();
        if !is_end {
            before.insert(id, *shown);
            continue;
        }
        let now = Shown::by(id, call);
        if let Some(floor) = before.remove(&id).filter(|_| call.op.view().is_some()) {
            compare(history, (id, call), now, floor)?;
        }
        shown.add(now);
    }
    Ok(())
}

/// Is what a read shows `now` at least what was shown before it began?
fn compare(
    history: &History,
    (id, call): (CallId, &Call),
    now: Shown,
    floor: Shown,
) -> Result<(), Violation> {
    let back = |what: String, other: CallId| {
        Err(Violation::new("LIN-4", what).calls(history, [other, id]))
    };
    let member = call.member;
    if let (Some((revision, _)), Some((before, other))) = (now.revision, floor.revision)
        && revision < before
    {
        let what = format!("member {member} has shown {before}, and then {revision}");
        return back(what, other);
    }
    let Some((before, other)) = floor.compacted else { return Ok(()) };
    let read = call.op.view().and_then(|view| view.at).filter(|_| now.revision.is_some());
    let seen = now.compacted.map(|(to, _)| to).or(read);
    if seen.is_some_and(|seen| seen < before) {
        let what = format!("member {member} was compacted to {before}, and has forgotten it");
        return back(what, other);
    }
    Ok(())
}
