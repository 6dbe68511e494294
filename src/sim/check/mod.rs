//! Judges: each knows a promise, and nothing of the code that keeps it.
//!
//! Some look at members, which they are shown as things happen ([`Seen`](super::seen::Seen)), and
//! compare them with each other, with their own past, and with their disks:
//!
//! ```text
//!   log.rs      logs, terms and leaders: what raft promises
//!   durable.rs  what counts is on a quorum's disks, and is found again
//!   state.rs    members that have applied the same entries are the same (INV-11)
//!   bounds.rs   nothing grows without bound
//! ```
//!
//! Others look at the [`History`] alone, when all is over: what clients asked, what they were told,
//! and in which order that happened. Each finds one kind of lie:
//!
//! ```text
//!   model.rs    what the store is meant to be: one object, one call at a time
//!   linear.rs   is there an order of the calls that explains all answers, and in which whatever
//!               ended before something else began comes first? (INV-1, INV-2, INV-6, LIN-15)
//!   serial.rs   do reads that may be old show a state that was true? (INV-3, INV-4, LIN-4)
//!   guard.rs    of conditional writes on the same state, did one succeed? (INV-5, TXN-14)
//!   once.rs     is what the store holds in the end what was written, all of it and once? (INV-6)
//! ```
//!
//! Those who watch are judged as they are given something, against the one history of events that
//! is put together from what members apply ([`watch`]). Those who hold leases are judged in true
//! time, by what their clocks said when the first member ended one ([`lease`]); who holds locks and
//! what else is held in turn, and what is written under it, against that history again ([`lock`]);
//! and so are those who observe elections ([`election`]), who enqueue and are given items
//! ([`queue`]), and who meet at barriers ([`barrier`]).
//!
//! # By example
//!
//! Three members; `D` is a sync, `>` a turn, `|` the end of a boot:
//!
//! ```text
//!   1   > leads term 2, has 5     D 5     > commits 5
//!   2          > has 5     D 5  > |                        opens with 5, or durable.rs complains
//!   3                 > has 5               > commits 5
//!                                           ▲
//!                 durable.rs: 5 is on the disks of 1 and 2, two of three; 3 may still lose it
//!                 log.rs: 5 is what 1 committed; whoever leads from now on must have it
//! ```
//!
//! Two clients, one key; time goes to the right:
//!
//! ```text
//!   client 1   |-- put a=1 --> revision 2 --|       |-- get a --> 1, revision 2 --|
//!   client 2         |-- put a=2 --> ? (unknown) --|     |-- get a --> 2, revision 3 --|
//! ```
//!
//! `put a=2` was never acknowledged, but its value was read at revision 3, so it happened. It must
//! stand behind the first read, which has not seen it, and before the second: it took effect after
//! its error. That is allowed (`INV-6`). Had the second read *begun* and ended before the first
//! began, nothing would explain both: that is a stale read.
//!
//! # What holds
//!
//! - A member is shown after each turn, before anything of what it decided has left it; its disk
//!   when a sync has returned, before the member is told; and when it opens, before its first turn.
//!   The judges rely on that order: an effect is never shown before its cause.
//! - Each turn costs what has changed, not what there is: judges look on at every turn of every
//!   member of every simulation.
//! - A judge that complains is right: what it complains about cannot be explained at all. One that
//!   is silent about a history has found an order that it can show ([`Witness`](linear::Witness)).
//! - Where neither could be found within bounds the verdict is *undecided*, and says so: it is
//!   never passed off as one of the others.
//! - A complaint names what shows it, as little as it can: members, entries and terms, or calls and
//!   the two orders that clash.
//! - Judges are deterministic: the same run gives the same words.
//!
//! # What is not here
//!
//! Messages: what a member says before its disk can vouch for it is caught by what others make of
//! it, a commit or a vote that no quorum of disks has. Whether anything *happens* at all: the run
//! sees to that.

mod ballot;
pub(crate) mod barrier;
mod bounds;
mod durable;
pub(crate) mod election;
mod guard;
pub(crate) mod lease;
pub(crate) mod linear;
pub(crate) mod lock;
mod log;
pub(crate) mod model;
pub(crate) mod once;
pub(crate) mod queue;
#[cfg(test)]
mod rehearsal;
mod row;
#[cfg(test)]
pub(crate) mod samples;
pub(crate) mod serial;
mod state;
pub(crate) mod watch;

use std::fmt;

use self::bounds::BoundsJudge;
use self::durable::DurableJudge;
use self::linear::Witness;
use self::log::LogJudge;
use self::state::StateJudge;
use super::history::{CallId, History};
use super::seen::Judge;

/// Those that look at members: every simulated cluster has them.
pub(super) fn protocol() -> Vec<Box<dyn Judge>> {
    vec![
        Box::new(LogJudge::default()),
        Box::new(DurableJudge::default()),
        Box::new(StateJudge::default()),
        Box::new(BoundsJudge::default()),
    ]
}

/// A promise that was broken, and what shows it.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    /// The rule, of `docs/semantics.md`.
    pub(crate) rule: &'static str,
    what: String,
    calls: Vec<CallId>,
    /// The calls in words, then whatever else helps.
    lines: Vec<String>,
    undecided: bool,
}

impl Violation {
    pub(crate) fn new(rule: &'static str, what: impl Into<String>) -> Self {
        let (calls, lines) = (Vec::new(), Vec::new());
        Self { rule, what: what.into(), calls, lines, undecided: false }
    }

    /// Neither an explanation nor the certainty that there is none.
    pub(crate) fn undecided(what: impl Into<String>) -> Self {
        Self { undecided: true, ..Self::new("INV-1", what) }
    }

    /// Adds the calls that show it. One that is named already is not named again.
    pub(crate) fn calls(
        mut self,
        history: &History,
        calls: impl IntoIterator<Item = CallId>,
    ) -> Self {
        for id in calls {
            if let Some(call) = history.call(id).filter(|_| !self.calls.contains(&id)) {
                self.calls.push(id);
                self.lines.push(format!("{id} {call}"));
            }
        }
        self
    }

    /// Adds a line of reasoning.
    pub(crate) fn note(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// The calls that show it.
    #[cfg(test)]
    pub(crate) fn shown_by(&self) -> &[CallId] {
        &self.calls
    }

    /// It is not known whether anything is broken.
    pub(crate) fn is_undecided(&self) -> bool {
        self.undecided
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.undecided { " (undecided)" } else { "" };
        write!(f, "{}{how}: {}", self.rule, self.what)?;
        self.lines.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

impl std::error::Error for Violation {}

/// Judges everything that clients saw. The order found explains all of it: also the reads that may
/// be old had a say where the rest left a choice.
///
/// # Errors
///
/// The promise that was broken. What concerns the writes and the linearizable reads alone comes
/// first: a read that may be old has nothing to be measured by while those are at odds.
pub(crate) fn judge(history: &History) -> Result<Witness, Violation> {
    guard::check(history)?;
    serial::check(history).map_err(|all| to_tell(all, linear::check(history).err()))
}

/// Which complaint to tell: the one about `all` the calls, or the one about fewer. What is certain
/// is not given up for what is not.
fn to_tell(all: Violation, fewer: Option<Violation>) -> Violation {
    fewer.filter(|fewer| !fewer.undecided || all.undecided).unwrap_or(all)
}
