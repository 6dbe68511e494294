//! Leaving a line.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use super::{Held, Place, until_answered};
use crate::core::lease::Leftover;
use crate::core::machine::txn::{Compare, Delete, Op, Operator, Target, Txn};
use crate::core::machine::{Command, Outcome};
use crate::error::Result;
use crate::gate::{Gate, Request, Then};
use crate::ids::Revision;
use crate::keys::KeyRange;
use crate::planted::{Bug, planted};
use crate::service::kv::{encode, failed};
use crate::service::lease::Holder;
use crate::service::pending::{Ask, Call, Counter, Started};
use crate::sync::atomic::Ordering;
use crate::sync::oneshot;

/// Which life of a key is to end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which {
    /// The one that was made then.
    MadeAt(Revision),
    /// Whichever was made later than this.
    MadeAfter(Revision),
}

/// A deletion, and the condition that it is of that life.
pub(super) fn delete(whole: &Bytes, which: Which) -> (Compare, Delete) {
    let range = KeyRange::key(whole.clone());
    let (operator, revision) = match which {
        Which::MadeAt(revision) => (Operator::Equal, revision),
        Which::MadeAfter(revision) => (Operator::Greater, revision),
    };
    let target = Target::CreateRevision(revision);
    (Compare { range: range.clone(), operator, target }, Delete { range, prev: false })
}

fn command(whole: &Bytes, which: Which) -> Command {
    let (condition, deletion) = delete(whole, which);
    let (compares, success) = (vec![condition], vec![Op::Delete(deletion)]);
    Command::Txn(Txn { compares, success, failure: Vec::new() })
}

/// Leaves it to the node to delete a key, however long that takes.
pub(super) fn leave_behind(holder: &Holder, whole: &Bytes, which: Which) {
    let made = matches!(which, Which::MadeAt(_));
    holder.kept.leave_behind(Leftover { deletion: command(whole, which), made });
}

/// Deletes a key that is there, made then. Nobody waits for it: what is refused or does not succeed
/// is left to the node.
pub(in crate::service) fn delete_in_background(holder: &Holder, whole: &Bytes, since: Revision) {
    let which = Which::MadeAt(since);
    let (reply, answer) = oneshot::channel();
    let payload = command(whole, which).encode();
    let timeout = holder.gate.limits().request_timeout;
    if holder.gate.submit(Request::Write { payload, timeout, reply }, Then::Leave).is_err() {
        return leave_behind(holder, whole, which);
    }
    let (holder, whole) = (holder.clone(), whole.clone());
    let gate = Arc::clone(&holder.gate);
    until_answered(&gate, answer.into_future(), move |answer| {
        if let Ok(Err(_)) = answer {
            leave_behind(&holder, &whole, which);
        }
    });
}

impl Place {
    /// It could not be left: the node sees to it, and who asks again may ask again.
    fn not_left(&self) {
        leave_behind(&self.holder, &self.whole, Which::MadeAt(self.since));
        self.left.store(false, Ordering::SeqCst);
    }

    /// Nothing is held here from now on.
    pub(super) fn leave_in_background(&self) {
        self.set_gone();
        if !self.left.swap(true, Ordering::SeqCst) && !planted(Bug::StayInLine) {
            delete_in_background(&self.holder, &self.whole, self.since);
        }
    }
}

/// Leaves the line, and knows when it is done.
pub(in crate::service) struct Leave {
    call: Call<LeaveAsk>,
}

struct LeaveAsk {
    place: Arc<Place>,
    /// Until it is asked: then what is dropped is left.
    held: Option<Held>,
}

impl Leave {
    /// Of one that stays with its holder, who may ask again.
    pub(in crate::service) fn of(place: &Arc<Place>) -> Self {
        let ask = LeaveAsk { place: Arc::clone(place), held: None };
        Self { call: Call::new(place.gate(), ask) }
    }

    pub(in crate::service) fn new(held: Held) -> Self {
        let place = Arc::clone(held.place());
        let call =
            Call::new(place.gate(), LeaveAsk { place: Arc::clone(&place), held: Some(held) });
        Self { call }
    }

    pub(in crate::service) fn set_timeout(&mut self, timeout: Duration) {
        self.call.set_timeout(timeout);
    }

    /// Says whether it was there until then.
    pub(in crate::service) fn wait(&mut self) -> Result<bool> {
        let answer = self.call.wait();
        self.settle(answer)
    }

    pub(in crate::service) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<bool>> {
        let answer = std::task::ready!(self.call.poll(context));
        Poll::Ready(self.settle(answer))
    }

    /// What did not succeed in time goes on in the background.
    fn settle(&self, answer: Result<bool>) -> Result<bool> {
        if answer.is_err() {
            self.call.ask().place.not_left();
        }
        answer
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        let Some(reply) = self.call.take_reply() else { return };
        let place = Arc::clone(&self.call.ask().place);
        let gate = Arc::clone(place.gate());
        until_answered(&gate, reply, move |answer| {
            if let Ok(Err(_)) = answer {
                place.not_left();
            }
        });
    }
}

impl Ask for LeaveAsk {
    type Answer = Outcome;
    type Response = bool;

    const WRITES: bool = true;

    fn start(&mut self, counter: &Counter<'_>) -> Result<Started<Self>> {
        let place = &self.place;
        // Whoever believes that it is held must not do so while somebody else enters.
        place.set_gone();
        let left = place.left.swap(true, Ordering::SeqCst);
        drop(self.held.take());
        if left {
            return Ok(Started::Answered(false));
        }
        counter.write(encode(counter.gate, &command(&place.whole, Which::MadeAt(place.since)))?)
    }

    fn finish(&mut self, _gate: &dyn Gate, outcome: Outcome) -> Result<bool> {
        match outcome {
            Outcome::Txn(done) => Ok(done.succeeded),
            other => Err(failed("release", other)),
        }
    }
}
