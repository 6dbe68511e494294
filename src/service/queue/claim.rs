//! Items that are somebody's, for a time.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::QueueItem;
use super::attempt::Got;
use super::line::Line;
use crate::error::{Error, Kind, Result};
use crate::ids::Revision;
use crate::planted::{Bug, planted};
use crate::service::lease::Holder;
use crate::service::once::polled_too_often;
use crate::service::pending::impl_call;

use crate::service::{
    Branch, Compare, DeleteOp, DeleteResponse, Header, Op, Txn, TxnOps, TxnResponse,
};

/// An item of a queue that nobody else is given for the time being: made by
/// [`Queue::claim`](crate::Queue::claim).
///
/// It is [acknowledged](Self::ack) when it is dealt with. Whoever was paused for longer than his
/// session lives may find that somebody else has it by now: acknowledging says so, as one with
/// whatever else is written [then](Ack::then).
///
/// Dropped, the item is free again, in the background; [`release`](Self::release) waits for that.
///
/// ```no_run
/// # async fn example(store: quorate::Store, session: quorate::Session) -> quorate::Result<()> {
/// use quorate::Op;
///
/// let job = store.queue("jobs").claim(&session).await?;
/// // Exactly once: either both happen or none does.
/// job.ack().then(Op::put("yard", "swept")).await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "it is released when it is dropped"]
pub struct ClaimedItem {
    /// `None` once it has been acknowledged or released.
    line: Option<Arc<Line>>,
    holder: Holder,
    item: QueueItem,
    /// Of the item and of the claim, within the scope.
    keys: [Bytes; 2],
    token: Revision,
}

impl ClaimedItem {
    pub(super) fn new(line: Arc<Line>, holder: Holder, got: Got) -> Self {
        let Got { item, key, at } = got;
        let keys = [key.clone(), line.layout.claim(&key)];
        Self { line: Some(line), holder, item, keys, token: at }
    }

    /// What was enqueued.
    ///
    /// ```no_run
    /// # fn example(job: quorate::ClaimedItem) {
    /// println!("{:?}", job.value());
    /// # }
    /// ```
    pub fn value(&self) -> &Bytes {
        &self.item.value
    }

    /// The item.
    ///
    /// ```no_run
    /// # fn example(job: quorate::ClaimedItem) {
    /// println!("enqueued at {}", job.item().revision);
    /// # }
    /// ```
    pub fn item(&self) -> &QueueItem {
        &self.item
    }

    /// The fencing token: the revision of this claim. Later claims of the item have greater ones,
    /// so a resource that keeps the greatest it has seen can refuse whoever comes with a smaller.
    ///
    /// ```no_run
    /// # fn example(job: quorate::ClaimedItem) {
    /// println!("claimed at {}", job.token());
    /// # }
    /// ```
    pub fn token(&self) -> Revision {
        self.token
    }

    /// Until when nobody else is given the item, at least, by this process' own clock: the
    /// [deadline](crate::Session::deadline) of the session. No later than now once it is lost.
    ///
    /// ```no_run
    /// # fn example(job: quorate::ClaimedItem) {
    /// println!("for {:?} at least", job.valid_until() - std::time::Instant::now());
    /// # }
    /// ```
    pub fn valid_until(&self) -> Instant {
        let gate = &self.holder.gate;
        let deadline = self.holder.kept.deadline();
        // Before the clock is read, so that what is over now was over then.
        let lost = self.is_lost();
        gate.system_time(if lost { deadline.min(gate.now()) } else { deadline })
    }

    /// Is the session over, or the claim seen to be gone? Then somebody else may have the item.
    /// Asks nobody.
    ///
    /// ```no_run
    /// # fn example(job: quorate::ClaimedItem) {
    /// while !job.is_lost() {
    ///     // a short piece of work
    /// }
    /// # }
    /// ```
    pub fn is_lost(&self) -> bool {
        let [_, claim] = &self.keys;
        let is_there = |line: &Arc<Line>| line.is_there(claim, self.token);
        self.holder.is_over() || !self.line.as_ref().is_some_and(is_there)
    }

    /// It is dealt with: see [`Ack`].
    ///
    /// ```no_run
    /// # async fn example(job: quorate::ClaimedItem) -> quorate::Result<()> {
    /// job.ack().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn ack(self) -> Ack {
        Ack { call: Acking { claimed: self, ops: Some(()), timeout: None, asked: None } }
    }

    /// Somebody else may have it: see [`ReleaseItem`].
    ///
    /// ```no_run
    /// # async fn example(job: quorate::ClaimedItem) -> quorate::Result<()> {
    /// job.release().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn release(self) -> ReleaseItem {
        ReleaseItem { call: Releasing { claimed: self, timeout: None, asked: None } }
    }

    fn is_mine(&self) -> Compare {
        let [_, claim] = &self.keys;
        Compare::create_revision(claim.clone()).equals(self.token)
    }

    fn unclaim(&self) -> Option<Txn<DeleteOp>> {
        let [_, claim] = &self.keys;
        Some(self.line.as_ref()?.free(claim, self.token))
    }
}

impl fmt::Debug for ClaimedItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut claimed = f.debug_struct("ClaimedItem");
        claimed.field("item", &self.item).field("token", &self.token).finish_non_exhaustive()
    }
}

impl Drop for ClaimedItem {
    fn drop(&mut self) {
        if let Some(line) = &self.line {
            let [_, claim] = &self.keys;
            line.give_back(&self.holder, claim, self.token);
        }
    }
}

/// Removes an item that was claimed, for good: made by [`ClaimedItem::ack`].
///
/// If it fails, or is dropped before it has answered, the claim is released, and where the item
/// is still there it is given out again.
///
/// # Errors
///
/// [`is_lost`](crate::Error::is_lost) if the claim was gone, because its session had ended:
/// somebody else may have the item, and nothing that was to happen [then](Self::then) has. Those of
/// [`Txn`](crate::Txn).
///
/// ```no_run
/// # async fn example(job: quorate::ClaimedItem) -> quorate::Result<()> {
/// if job.ack().await.is_err_and(|error| error.is_lost()) {
///     println!("too late: somebody else does it too");
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct Ack<T: TxnOps = ()> {
    call: Acking<T>,
}

/// What an [`Ack`] gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AckResponse<R> {
    /// Who answered, and the revision at which it was removed.
    pub header: Header,
    /// What the operations that were to be done [then](Ack::then) gave back.
    pub responses: R,
}

type Removal<T> = Txn<(DeleteOp, DeleteOp, T), ()>;
type Removed<R> = TxnResponse<(DeleteResponse, DeleteResponse, R), ()>;

struct Acking<T: TxnOps> {
    claimed: ClaimedItem,
    /// `None` once it is asked.
    ops: Option<T>,
    timeout: Option<Duration>,
    asked: Option<Removal<T>>,
}

impl Ack {
    /// What is done with the removal of the item, as one: either both happen or none does. So what
    /// an item asks for can be done exactly once, where it is a matter of this store.
    ///
    /// ```no_run
    /// # async fn example(job: quorate::ClaimedItem) -> quorate::Result<()> {
    /// job.ack().then(quorate::Op::put("yard", "swept")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn then<T: TxnOps>(self, ops: T) -> Ack<T> {
        let Acking { claimed, timeout, .. } = self.call;
        Ack { call: Acking { claimed, ops: Some(ops), timeout, asked: None } }
    }
}

impl_call!(
    Ack<T: TxnOps> -> AckResponse<T::Response>,
    "store.queue(\"jobs\").claim(&store.session(std::time::Duration::from_secs(9)).wait()?)\
        .wait()?.ack()"
);

impl<T: TxnOps> Acking<T> {
    fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = Some(timeout);
    }

    fn wait(&mut self) -> Result<AckResponse<T::Response>> {
        let answer = self.take()?.wait();
        self.settle(answer)
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<AckResponse<T::Response>>> {
        let mut asked = self.take()?;
        match Pin::new(&mut asked).poll(context) {
            Poll::Ready(answer) => Poll::Ready(self.settle(answer)),
            Poll::Pending => {
                self.asked = Some(asked);
                Poll::Pending
            }
        }
    }

    /// What was asked, or is to be asked.
    fn take(&mut self) -> Result<Removal<T>> {
        if let Some(asked) = self.asked.take() {
            return Ok(asked);
        }
        let (Some(line), Some(ops)) = (&self.claimed.line, self.ops.take()) else {
            return Err(polled_too_often());
        };
        let [item, claim] = self.claimed.keys.clone();
        let all = (Op::delete(item), Op::delete(claim), ops);
        let mine = (!planted(Bug::AckUnclaimed)).then(|| self.claimed.is_mine());
        let txn = mine.into_iter().fold(line.store.txn(), Txn::when).then(all);
        Ok(with(txn, self.timeout))
    }

    fn settle(&mut self, answer: Result<Removed<T::Response>>) -> Result<AckResponse<T::Response>> {
        let TxnResponse { header, branch } = answer?;
        // Whether it was removed or lost: nothing is left to be released.
        self.claimed.line = None;
        match branch {
            Branch::Then((_, _, responses)) => Ok(AckResponse { header, responses }),
            Branch::Else(()) => {
                let text = "the item is claimed no more: its session had ended";
                Err(Error::new(Kind::Lost, text))
            }
        }
    }
}

impl<T: TxnOps> fmt::Debug for Ack<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ack = f.debug_struct("Ack");
        ack.field("claimed", &self.call.claimed).finish_non_exhaustive()
    }
}

/// Ends a claim, so that the item is free again: made by [`ClaimedItem::release`].
///
/// One that is lost is released already.
///
/// # Errors
///
/// Those of [`Delete`](crate::Delete). The item is free at the latest when the session is over.
///
/// ```no_run
/// # async fn example(job: quorate::ClaimedItem) -> quorate::Result<()> {
/// job.release().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is waited for before it is awaited or waited for"]
pub struct ReleaseItem {
    call: Releasing,
}

struct Releasing {
    claimed: ClaimedItem,
    timeout: Option<Duration>,
    asked: Option<Txn<DeleteOp>>,
}

impl_call!(
    ReleaseItem -> (),
    "store.queue(\"jobs\").claim(&store.session(std::time::Duration::from_secs(9)).wait()?)\
        .wait()?.release()"
);

impl Releasing {
    fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = Some(timeout);
    }

    fn wait(&mut self) -> Result<()> {
        let answer = self.take()?.wait();
        self.settle(answer)
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let mut asked = self.take()?;
        match Pin::new(&mut asked).poll(context) {
            Poll::Ready(answer) => Poll::Ready(self.settle(answer)),
            Poll::Pending => {
                self.asked = Some(asked);
                Poll::Pending
            }
        }
    }

    fn take(&mut self) -> Result<Txn<DeleteOp>> {
        match self.asked.take() {
            Some(asked) => Ok(asked),
            None => {
                let txn = self.claimed.unclaim().ok_or_else(polled_too_often)?;
                Ok(with(txn, self.timeout))
            }
        }
    }

    fn settle(&mut self, answer: Result<TxnResponse<DeleteResponse, ()>>) -> Result<()> {
        answer?;
        self.claimed.line = None;
        Ok(())
    }
}

impl fmt::Debug for ReleaseItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut release = f.debug_struct("ReleaseItem");
        release.field("claimed", &self.call.claimed).finish_non_exhaustive()
    }
}

fn with<T: TxnOps, E: TxnOps>(txn: Txn<T, E>, timeout: Option<Duration>) -> Txn<T, E> {
    match timeout {
        Some(timeout) => txn.timeout(timeout),
        None => txn,
    }
}
