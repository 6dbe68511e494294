//! Leaving a line.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use super::task::UNBOUNDED;
use super::{Held, Place, until_answered};
use crate::core::machine::txn::{Compare, Delete, Op, Operator, Target, Txn};
use crate::core::machine::{Command, Outcome};
use crate::error::Result;
use crate::gate::{Gate, Request, Then};
use crate::ids::Revision;
use crate::keys::KeyRange;
use crate::service::kv::{encode, failed};
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

/// Nobody waits for it. It is offered until it is applied; if the node does not take it, the key
/// goes with its lease.
pub(super) fn delete_in_background(gate: &dyn Gate, whole: &Bytes, which: Which) {
    let (reply, _) = oneshot::channel();
    let payload = command(whole, which).encode();
    drop(gate.submit(Request::Write { payload, timeout: UNBOUNDED, reply }, Then::Leave));
}

impl Place {
    /// Nothing is held here from now on.
    pub(super) fn leave_in_background(&self) {
        self.set_gone();
        if !self.left.swap(true, Ordering::SeqCst) {
            delete_in_background(&**self.gate(), &self.whole, Which::MadeAt(self.since));
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
            let place = &self.call.ask().place;
            delete_in_background(&**place.gate(), &place.whole, Which::MadeAt(place.since));
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
                delete_in_background(&**place.gate(), &place.whole, Which::MadeAt(place.since));
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
