//! What each call says about the order.

use crate::core::machine::txn::Put;
use crate::error::WriteOutcome;
use crate::ids::Revision;
use crate::sim::check::Violation;
use crate::sim::history::{Answer, Call, CallId, History, Op, Step, View, Why};

/// Which calls are to be put in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim::check) enum Scope {
    /// Writes and linearizable reads.
    Linear,
    /// Also the reads that may be old. Such a read belongs where its answer was true, which may
    /// be long before it began, but never after it has ended.
    All,
}

/// A call, and what it says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    pub(super) id: CallId,
    pub(super) call: &'a Call,
    /// What it was told. `None` if it was told nothing, or if what it was told is to be left out.
    pub(super) answer: Option<&'a Answer>,
    pub(super) says: Says,
    /// It takes its place after this event.
    pub(super) begins: u64,
    /// And before this one.
    pub(super) ends: u64,
    /// The oldest revision that it read: the store was not compacted further when it took place.
    pub(super) oldest: Option<Revision>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// It made this revision.
    Wrote(Revision),
    /// It compacted to `to` while `now` was the current revision.
    Compacted {
        now: Revision,
        to: Revision,
    },
    /// It changed nothing, and saw something.
    Saw(Sight),
    /// It may have made one revision, some time after it began.
    MayWrite,
    /// It may have compacted to this revision, some time after it began.
    MayCompact(Revision),
    Nothing,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sight {
    /// The current revision when it took its place, if it was told.
    pub(super) now: Option<Revision>,
    /// How far the store was compacted then.
    pub(super) compacted: Option<Compacted>,
    /// The answer shows keys as of this revision.
    pub(super) shows: Option<Revision>,
}

/// How far the store was compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compacted {
    Exactly(Revision),
    AtMost(Revision),
}

/// What the calls of a history say. Answers that `keep` turns down are left out, as if they had
/// never come: that makes the history easier to explain, never harder.
///
/// # Errors
///
/// An answer that is wrong whatever the others are.
pub(super) fn parts<'a>(
    history: &'a History,
    scope: Scope,
    keep: &dyn Fn(CallId) -> bool,
) -> Result<Vec<Part<'a>>, Violation> {
    let mut parts = Vec::with_capacity(history.len());
    for (id, call) in history.calls() {
        let end = call.end.as_ref().filter(|_| keep(id));
        let answer = end.map(|end| &end.answer);
        let old = call.op.view().is_some_and(|view| view.serializable);
        let left_out = old && scope == Scope::Linear;
        let says = if left_out { Some(Says::Nothing) } else { says(call, answer) };
        let Some(says) = says.and_then(Says::checked) else {
            let what = "this answer is wrong by itself, whatever the others are";
            return Err(Violation::new("INV-1", what).calls(history, [id]));
        };
        let open = matches!(says, Says::MayWrite | Says::MayCompact(_));
        let ends = end.filter(|_| !open).map_or(u64::MAX, |end| end.returned);
        let begins = if old { 0 } else { call.invoked };
        let told = answer.filter(|_| matches!(says, Says::Wrote(_)));
        let oldest = told.and_then(|answer| call.op.oldest(Some(answer)));
        parts.push(Part { id, call, answer, says, begins, ends, oldest });
    }
    Ok(parts)
}

/// `None` if the answer does not fit the call.
fn says(call: &Call, answer: Option<&Answer>) -> Option<Says> {
    let view = call.op.view();
    let Some(answer) = answer else { return Some(unknown(&call.op)) };
    match (&call.op, view, answer) {
        (_, None, Answer::Failed { outcome: WriteOutcome::Unknown, .. }) => Some(unknown(&call.op)),
        (
            op @ (Op::Put(_) | Op::Delete(_) | Op::Txn { .. }),
            _,
            Answer::Put { revision, .. }
            | Answer::Deleted { revision, .. }
            | Answer::Txn { revision, .. },
        ) => {
            op.ran(answer)?;
            if let Some(made) = op.made(answer) {
                return Some(Says::Wrote(made));
            }
            let oldest = op.oldest(Some(answer));
            let seen = saw(*revision, oldest.map(Compacted::AtMost), *revision);
            oldest.is_none_or(|oldest| oldest <= *revision).then_some(seen)
        }
        (Op::Txn { .. }, _, Answer::Failed { why, .. }) => failed_txn(&call.op, *why),
        (Op::Put(put), _, Answer::Failed { why: Why::KeyNotFound, .. }) => {
            keeps(put).then_some(Says::Nothing)
        }
        (Op::Compact { revision: to }, _, Answer::Compacted { revision: now }) => {
            (to <= now).then_some(Says::Compacted { now: *now, to: *to })
        }
        (Op::Compact { revision: asked }, _, Answer::Failed { why, .. }) => match why {
            Why::Compacted(compacted) => (asked <= compacted).then(|| exactly(*compacted)),
            Why::FutureRevision(now) => (asked > now).then(|| newest(*now)),
            _ => Some(Says::Nothing),
        },
        (_, Some(view), Answer::Failed { why, .. }) => failed_read(view, *why),
        (Op::Get { .. }, Some(view), Answer::Got { revision, .. })
        | (Op::Range { .. }, Some(view), Answer::Ranged { revision, .. }) => match view.at {
            None => Some(saw(*revision, None, *revision)),
            Some(at) => {
                let seen = saw(*revision, Some(Compacted::AtMost(at)), at);
                (at <= *revision).then_some(seen)
            }
        },
        (_, None, Answer::Failed { why, .. }) => {
            let refused =
                matches!(why, Why::Compacted(_) | Why::FutureRevision(_) | Why::KeyNotFound);
            (!refused).then_some(Says::Nothing)
        }
        _ => None,
    }
}

/// A write whose end nobody knows. A read without an answer has seen nothing.
fn unknown(op: &Op) -> Says {
    match op {
        Op::Compact { revision } => Says::MayCompact(*revision),
        op if op.view().is_some() => Says::Nothing,
        _ => Says::MayWrite,
    }
}

/// What refuses a transaction is on the path that it would have taken. Which one that was nobody
/// says: it is enough that there is one.
fn failed_txn(op: &Op, why: Why) -> Option<Says> {
    let reads = |is: &dyn Fn(Revision) -> bool| op.any(&mut |step| step.at().is_some_and(is));
    match why {
        Why::Compacted(compacted) => reads(&|at| at < compacted).then(|| exactly(compacted)),
        Why::FutureRevision(now) => reads(&|at| at > now).then(|| newest(now)),
        Why::KeyNotFound => {
            let kept = op.any(&mut |step| matches!(step, Step::Put(put) if keeps(put)));
            kept.then_some(Says::Nothing)
        }
        _ => Some(Says::Nothing),
    }
}

fn keeps(put: &Put) -> bool {
    put.ignore_value || put.ignore_lease
}

fn failed_read(view: View, why: Why) -> Option<Says> {
    match (why, view.at) {
        (Why::Compacted(compacted), Some(at)) => (at < compacted).then(|| exactly(compacted)),
        (Why::FutureRevision(now), Some(at)) => (at > now).then(|| newest(now)),
        (Why::Compacted(_) | Why::FutureRevision(_), None) | (Why::KeyNotFound, _) => None,
        _ => Some(Says::Nothing),
    }
}

fn saw(now: Revision, compacted: Option<Compacted>, shows: Revision) -> Says {
    Says::Saw(Sight { now: Some(now), compacted, shows: Some(shows) })
}

fn exactly(compacted: Revision) -> Says {
    let compacted = Some(Compacted::Exactly(compacted));
    Says::Saw(Sight { compacted, ..Sight::default() })
}

fn newest(now: Revision) -> Says {
    Says::Saw(Sight { now: Some(now), ..Sight::default() })
}

impl Says {
    /// A store begins at revision 1, and the first write makes revision 2 (`INV-2`).
    fn checked(self) -> Option<Self> {
        let least = if matches!(self, Self::Wrote(_)) { 2 } else { 1 };
        let fits = self.newest().is_none_or(|revision| revision.get() >= least);
        fits.then_some(self)
    }

    /// The newest revision that there must have been.
    pub(super) fn newest(self) -> Option<Revision> {
        match self {
            Self::Wrote(revision) | Self::Compacted { now: revision, .. } => Some(revision),
            Self::Saw(Sight { now: Some(now), .. }) => Some(now),
            Self::Saw(Sight { compacted: Some(Compacted::Exactly(revision)), .. }) => {
                Some(revision.max(Revision::new(1)))
            }
            Self::Saw(_) | Self::MayWrite | Self::MayCompact(_) | Self::Nothing => None,
        }
    }
}
