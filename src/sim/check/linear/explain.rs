//! Why there is no order: as few calls as will show it.
//!
//! Where a single answer is wrong whatever fills the gaps, the writes beside it are the reason, and
//! the search names them. Where it depends, the reason is spread over several answers. Then answers
//! are left out, one after the other: a read without an answer has seen nothing, a write without
//! one may have happened or not, so each time the history is easier to explain. What is left when
//! nothing more can go is the reason.

use std::collections::BTreeSet;

use super::part::Scope;
use super::search::{Failure, Problem};
use super::{Verdict, solve};
use crate::error::WriteOutcome;
use crate::sim::check::Violation;
use crate::sim::history::{Answer, CallId, History};

/// What one attempt with fewer answers may cost. One that costs more counts as explained: the
/// reason only gets longer by that.
const ATTEMPT: u64 = 100_000;

/// So many attempts are made.
const ATTEMPTS: usize = 300;

/// Longer reasons are cut short.
const SHOWN: usize = 12;

/// Puts into words why no filling of the gaps will do.
pub(super) fn failure(history: &History, scope: Scope, failure: Failure) -> Violation {
    if failure.certain {
        return narrate(history, failure);
    }
    let mut attempts = Attempts { history, scope, left: ATTEMPTS };
    let Some((last, reason)) = attempts.reason() else { return narrate(history, failure) };
    let kept: BTreeSet<CallId> = reason.iter().copied().collect();
    let violation = match solve(history, scope, &|id| kept.contains(&id), ATTEMPT) {
        Verdict::Broken(violation) => violation,
        Verdict::Impossible(failure) => narrate(history, failure),
        Verdict::Holds(_) | Verdict::Undecided => narrate(history, failure),
    };
    let more = reason.len().saturating_sub(SHOWN);
    let violation = violation
        .note(format!("until {last} was answered everything could be explained;"))
        .note("with that answer these cannot, whatever writes without an answer did:")
        .calls(history, reason.into_iter().rev().take(SHOWN));
    if more > 0 { violation.note(format!("and {more} more")) } else { violation }
}

fn narrate(history: &History, failure: Failure) -> Violation {
    let rule = rule(history, &failure.problem);
    let revision = failure.revision;
    match failure.problem {
        Problem::Answer { id, key: Some(key), instead, about } => {
            let key = key.escape_ascii();
            let what =
                format!("{id} was told wrongly what \"{key}\" was, or had been, at {revision}");
            let instead = instead.map_or_else(|| String::from("not there"), |kv| kv.to_string());
            Violation::new(rule, what)
                .calls(history, [id])
                .note(format!("by the writes that were made it was: {instead}"))
                .calls(history, about)
        }
        Problem::Answer { id, key: None, about, .. } => {
            let what = format!("{id} was told a wrong number of keys at {revision}");
            Violation::new(rule, what).calls(history, [id]).calls(history, about)
        }
        Problem::Gap { deadline, wanted, about } => {
            let what = format!("nobody can have made revision {revision}");
            let violation = Violation::new(rule, what).calls(history, about);
            let Some((key, value)) = wanted else { return violation };
            let value = value.as_deref();
            let shown = value.map(|value| format!("=\"{}\"", value.escape_ascii()));
            let put = format!("\"{}\"{}", key.escape_ascii(), shown.unwrap_or_default());
            let violation = violation.note(format!("it must have been a put of {put}"));
            let near = history.calls().filter(|(_, call)| call.op.may_put(&key, value));
            near.take(SHOWN).fold(violation, |violation, (id, call)| {
                let but = match call.answer() {
                    Some(answer) if answer.revision().is_some() => "made another revision",
                    Some(Answer::Failed { outcome: WriteOutcome::NotApplied, .. }) => {
                        "was told that it was not applied"
                    }
                    _ if call.invoked >= deadline => "began after somebody had seen it",
                    _ => "is needed elsewhere, or does not fit what was there",
                };
                violation.note(format!("{id} put that, but {but}:")).calls(history, [id])
            })
        }
    }
}

/// What a reader of the page of rules would call it.
fn rule(history: &History, problem: &Problem) -> &'static str {
    let Problem::Answer { id, .. } = problem else { return "INV-6" };
    match history.call(*id).and_then(|call| call.op.view()) {
        Some(view) if view.at.is_some() => "INV-4",
        Some(view) if view.serializable => "INV-3",
        _ => "INV-1",
    }
}

/// Judges the history again and again, with fewer answers.
struct Attempts<'a> {
    history: &'a History,
    scope: Scope,
    left: usize,
}

impl Attempts<'_> {
    /// Can these answers not be explained?
    fn fails(&mut self, kept: &[CallId]) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left = self.left.saturating_sub(1);
        let kept: BTreeSet<CallId> = kept.iter().copied().collect();
        let verdict = solve(self.history, self.scope, &|id| kept.contains(&id), ATTEMPT);
        matches!(verdict, Verdict::Broken(_) | Verdict::Impossible(_))
    }

    /// The answer that made it impossible, and the others that have a part in it, in the order in
    /// which they came.
    fn reason(&mut self) -> Option<(CallId, Vec<CallId>)> {
        let answered = self.history.calls();
        let mut ends: Vec<(u64, CallId)> =
            answered.filter_map(|(id, call)| Some((call.end.as_ref()?.returned, id))).collect();
        ends.sort_unstable();
        let ids: Vec<CallId> = ends.into_iter().map(|(_, id)| id).collect();

        // The first answer with which it fails: it fails with all, and not with none.
        let (mut holds, mut fails) = (0, ids.len());
        while fails.saturating_sub(holds) > 1 {
            let middle = holds.midpoint(fails);
            if self.fails(ids.get(..middle)?) { fails = middle } else { holds = middle }
        }
        let (last, before) = ids.get(..fails)?.split_last()?;
        let reads =
            |id: &CallId| self.history.call(*id).is_some_and(|call| call.op.view().is_some());
        let (reads, writes): (Vec<CallId>, Vec<CallId>) = before.iter().partition(|id| reads(id));
        let mut kept: Vec<CallId> = [writes, reads].concat();
        kept.insert(0, *last);

        // Leaves out halves, quarters, and so on; the reads at the end first.
        let mut size = kept.len();
        while size > 0 {
            let mut end = kept.len();
            while end > 1 {
                let from = end.saturating_sub(size).max(1);
                let less = [kept.get(..from)?, kept.get(end..)?].concat();
                if self.fails(&less) {
                    kept = less;
                }
                end = from;
            }
            size /= 2;
        }
        kept.sort_by_key(|id| {
            let end = self.history.call(*id).and_then(|call| call.end.as_ref());
            end.map(|end| end.returned)
        });
        Some((*last, kept))
    }
}
