//! Is there an order of the calls that explains all answers? (`INV-1`)
//!
//! In general that question is hard: an order must be guessed. Here almost nothing has to be,
//! because answers carry revisions. An acknowledged write that took effect says which revision it
//! made, and no other made that one; a read says which was the newest. So the known writes are in
//! order as soon as one has read their answers, every other call has its place between two
//! revisions, and what is left are the *gaps*: revisions that no answer claims. Only writes whose
//! end is unknown can have made them (`INV-6`).
//!
//! ```text
//!   history     calls, and what they were told
//!     |  part.rs     what each says: "made 7", "saw 9", "may have written, after 120", nothing
//!     v
//!   order.rs    what must come before what; is real time against it?       fails: two calls
//!     |              each gap gets a deadline from that
//!     v
//!   search.rs   fills the gaps, with the model beside                       fails: an answer
//!     |  facts.rs    what later answers say about keys: most gaps have one choice
//!     v
//!   Witness     the order; with it, who made which revision
//! ```
//!
//! Real time and content part ways like this: *whether* an order can agree with real time depends
//! only on revisions and compactions, except that what fills a gap must have begun before the
//! gap's deadline. *What* is in the store depends only on who filled which gap. So the search
//! never thinks about time, and what precedes it never about keys.
//!
//! # What holds
//!
//! - Every answer is compared with the model before an order is given out.
//! - A write is used at most once, never before it has begun, and never at all if its client was
//!   told that it was not applied. One that is still open, or whose outcome is unknown, may come
//!   at any later time, or not at all.
//! - Nothing is judged impossible by a heuristic. What is not tried contradicts an answer, or
//!   differs from something that was tried in nothing that failed.
//! - The search has a budget. When it is spent the verdict is undecided.
//!
//! It takes time in proportion to the answers, and at each gap to the writes with unknown ends.
//! Only where many gaps leave real choices, and something later is wrong, can it take long.

mod blame;
mod doubt;
mod explain;
mod facts;
mod order;
mod part;
mod search;
#[cfg(test)]
mod tests;

use self::order::Order;
pub(super) use self::part::Scope;
use self::search::{Found, Search};
use super::Violation;
use crate::ids::Revision;
use crate::sim::history::{CallId, History};

/// So much may be tried before the verdict is undecided: some seconds. A fuzzer has other cases to
/// go to.
pub(super) const BUDGET: u64 = if cfg!(fuzzing) { 200_000 } else { 20_000_000 };

/// An order that explains all answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Witness {
    steps: Vec<Step>,
}

/// A call in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// The store's revision once it has taken its place.
    pub(crate) revision: Revision,
    pub(crate) call: CallId,
    /// It made that revision.
    pub(crate) wrote: bool,
}

impl Witness {
    /// The calls in order: every write and compaction that took effect, and every linearizable
    /// read. Reads that may be old are not in it, nor calls that changed and saw nothing.
    #[cfg(test)]
    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Who made which revision, from 2 on and without a gap.
    #[cfg(test)]
    pub(crate) fn writes(&self) -> impl Iterator<Item = (Revision, CallId)> {
        let writes = self.steps.iter().filter(|step| step.wrote);
        writes.map(|step| (step.revision, step.call))
    }
}

/// Judges the writes and the linearizable reads.
///
/// # Errors
///
/// What cannot be explained, or that it is undecided.
pub(crate) fn check(history: &History) -> Result<Witness, Violation> {
    in_scope(history, Scope::Linear, BUDGET)
}

/// Puts the calls of a scope in order, if that takes no more than the budget.
pub(super) fn in_scope(history: &History, scope: Scope, budget: u64) -> Result<Witness, Violation> {
    match solve(history, scope, &|_| true, budget) {
        Verdict::Holds(witness) => Ok(witness),
        Verdict::Broken(violation) => Err(violation),
        Verdict::Impossible(failure) => Err(explain::failure(history, scope, failure)),
        Verdict::Undecided => {
            let what = "too many writes without an answer could stand in too many places";
            Err(Violation::undecided(what))
        }
    }
}

enum Verdict {
    Holds(Witness),
    /// Whatever fills the gaps.
    Broken(Violation),
    /// No filling of the gaps will do.
    Impossible(search::Failure),
    Undecided,
}

/// Judges a history without the answers that `keep` turns down.
fn solve(history: &History, scope: Scope, keep: &dyn Fn(CallId) -> bool, budget: u64) -> Verdict {
    let ordered = part::parts(history, scope, keep)
        .and_then(|parts| Order::new(history, &parts).map(|order| (parts, order)));
    let (parts, order) = match ordered {
        Ok(ordered) => ordered,
        Err(violation) => return Verdict::Broken(violation),
    };
    match Search::new(&parts, &order, budget).run() {
        Found::Filled(fills) => Verdict::Holds(order.filled(&fills)),
        Found::Impossible(failure) => Verdict::Impossible(failure),
        Found::GaveUp => Verdict::Undecided,
    }
}
