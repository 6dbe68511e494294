//! Items go out.

use std::sync::Arc;

use super::attempt::{Got, What};
use super::line::Line;
use super::{ClaimedItem, QueueItem};
use crate::service::lease::Session;
use crate::service::pending::impl_wait;
use crate::service::steps::{Holder, Steps};

/// Takes the first item of a queue, once there is one: made by
/// [`Queue::dequeue`](crate::Queue::dequeue) and
/// [`PriorityQueue::dequeue`](crate::PriorityQueue::dequeue).
///
/// The item is gone for everybody else when this has answered, and given out *at most once*: whoever
/// crashes behind it has lost it. Where that must not be, [`Claim`] it.
///
/// Those who wait at one handle are served in the order in which they asked.
///
/// Dropping it before it has answered loses nothing, as long as its handle, or a clone of it, is
/// used on: an item that was being asked for is given to the next one who asks.
///
/// # Errors
///
/// Those of [`Txn`](crate::Txn). After one that [`is_unknown`](crate::Error::is_unknown) the item
/// that was the first may be gone; after any other the queue is as it was.
///
/// ```no_run
/// # async fn example(store: quorate::Store) -> quorate::Result<()> {
/// let job = store.queue("jobs").dequeue().await?;
/// println!("{:?}, enqueued at {}", job.value, job.revision);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct Dequeue {
    call: Steps<QueueItem>,
}

/// Takes the first item of a queue, if there is one: made by
/// [`Queue::try_dequeue`](crate::Queue::try_dequeue) and
/// [`PriorityQueue::try_dequeue`](crate::PriorityQueue::try_dequeue).
///
/// As [`Dequeue`], but where no item is there to be taken it says so. That is as recent as any read
/// (`LIN-1`): an item whose [`Enqueue`](crate::Enqueue) had answered before is found.
///
/// # Errors
///
/// Those of [`Dequeue`].
///
/// ```no_run
/// # async fn example(store: quorate::Store) -> quorate::Result<()> {
/// match store.queue("jobs").try_dequeue().await? {
///     Some(job) => println!("{:?}", job.value),
///     None => println!("nothing to do"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct TryDequeue {
    call: Steps<Option<QueueItem>>,
}

/// Claims the first item of a queue, once there is one: made by
/// [`Queue::claim`](crate::Queue::claim) and [`PriorityQueue::claim`](crate::PriorityQueue::claim).
///
/// The item stays where it is, and nobody else is given it until it is
/// [acknowledged](ClaimedItem::ack), which deletes it, or the claim ends: with the session at the
/// latest. Then it is the first again. So it is given out *at least once*, whatever crashes.
///
/// Dropping it before it has answered is as with a [`Dequeue`], for the next one who claims under
/// the same session; at the latest with the session the item is free again.
///
/// # Errors
///
/// [`is_lost`](crate::Error::is_lost) when the session is over, and those of [`Txn`](crate::Txn).
/// After any of them nothing stays claimed.
///
/// ```no_run
/// # async fn example(store: quorate::Store, session: quorate::Session) -> quorate::Result<()> {
/// let job = store.queue("jobs").claim(&session).await?;
/// println!("{:?}", job.value());
/// job.ack().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct Claim {
    call: Steps<ClaimedItem>,
}

/// Claims the first item of a queue, if there is one: made by
/// [`Queue::try_claim`](crate::Queue::try_claim) and
/// [`PriorityQueue::try_claim`](crate::PriorityQueue::try_claim).
///
/// As [`Claim`], but where no item is free it says so, as [`TryDequeue`] does.
///
/// # Errors
///
/// Those of [`Claim`].
///
/// ```no_run
/// # async fn example(store: quorate::Store, session: quorate::Session) -> quorate::Result<()> {
/// if let Some(job) = store.queue("jobs").try_claim(&session).await? {
///     job.ack().await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct TryClaim {
    call: Steps<Option<ClaimedItem>>,
}

impl Dequeue {
    pub(super) fn new(line: &Arc<Line>) -> Self {
        let got = Arc::clone(line).next(What::Take);
        Self { call: Steps::new(line.gate(), async { Ok(got.await?.item) }) }
    }
}

impl TryDequeue {
    pub(super) fn new(line: &Arc<Line>) -> Self {
        let got = Arc::clone(line).next_now(What::Take);
        Self { call: Steps::new(line.gate(), async { Ok(got.await?.map(|got| got.item)) }) }
    }
}

impl Claim {
    pub(super) fn new(line: &Arc<Line>, session: &Session) -> Self {
        let (line, holder) = (Arc::clone(line), Holder::new(line.gate(), session));
        let gate = Arc::clone(line.gate());
        let steps = async move {
            let next = Arc::clone(&line).next(What::Claim(holder.lease()));
            let got = holder.during(next).await?;
            Ok(claimed(line, holder, got))
        };
        Self { call: Steps::new(&gate, steps) }
    }
}

impl TryClaim {
    pub(super) fn new(line: &Arc<Line>, session: &Session) -> Self {
        let (line, holder) = (Arc::clone(line), Holder::new(line.gate(), session));
        let gate = Arc::clone(line.gate());
        let steps = async move {
            let next = Arc::clone(&line).next_now(What::Claim(holder.lease()));
            let got = holder.during(next).await?;
            Ok(got.map(|got| claimed(line, holder, got)))
        };
        Self { call: Steps::new(&gate, steps) }
    }
}

fn claimed(line: Arc<Line>, holder: Holder, got: Got) -> ClaimedItem {
    ClaimedItem::new(line, holder, got)
}

impl_wait!(Dequeue -> QueueItem, "store.queue(\"jobs\").dequeue()");
impl_wait!(TryDequeue -> Option<QueueItem>, "store.queue(\"jobs\").try_dequeue()");
impl_wait!(
    Claim -> ClaimedItem,
    "store.queue(\"jobs\").claim(&store.session(std::time::Duration::from_secs(9)).wait()?)"
);
impl_wait!(
    TryClaim -> Option<ClaimedItem>,
    "store.queue(\"jobs\").try_claim(&store.session(std::time::Duration::from_secs(9)).wait()?)"
);
