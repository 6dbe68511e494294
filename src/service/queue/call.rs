//! Items go out.

use std::future::Future;
use std::sync::Arc;
use std::task::Poll;

use super::attempt::What;
use super::line::{Line, Wish};
use super::{ClaimedItem, QueueItem};
use crate::error::{Error, Kind, Result};
use crate::service::lease::{Holder, Session};
use crate::service::place::{self, End, Task, impl_task};
use crate::sync::atomic::AtomicBool;

/// What was not there in time.
const WAITED_FOR: &str = "an item was there";

/// What was not known in time.
const ASKED: &str = "it was known whether an item was there";

/// Takes the first item of a queue, once there is one: made by
/// [`Queue::dequeue`](crate::Queue::dequeue) and
/// [`PriorityQueue::dequeue`](crate::PriorityQueue::dequeue).
///
/// The item is gone for everybody else when this has answered, and given out *at most once*:
/// whoever crashes behind it has lost it. Where that must not be, [`Claim`] it.
///
/// Those who wait at one handle are served in the order in which they asked.
///
/// Dropping it before it has answered loses nothing, as long as its handle, or a clone of it, is
/// used on: an item that was being asked for is given to the next one who asks. So it is with one
/// that is out of time.
///
/// # Errors
///
/// [`is_timeout`](crate::Error::is_timeout) with a [`timeout`](Self::timeout), and those of
/// [`Txn`](crate::Txn). After one that [`is_unknown`](crate::Error::is_unknown) the item that was
/// the first may be gone; after any other the queue is as it was. A timeout is unknown where an
/// item was being asked for when it passed, and is not where there was none.
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
    call: Task<QueueItem>,
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
    call: Task<Option<QueueItem>>,
}

/// Claims the first item of a queue, once there is one: made by
/// [`Queue::claim`](crate::Queue::claim) and [`PriorityQueue::claim`](crate::PriorityQueue::claim).
///
/// The item stays where it is, and nobody else is given it until it is
/// [acknowledged](ClaimedItem::ack), which deletes it, or the claim ends: with the session at the
/// latest. Then it is the first again. So it is given out *at least once*, whatever crashes.
///
/// Dropping it before it has answered claims nothing: an item that was being asked for is given
/// back, in the background, as soon as it is known to be claimed. At the latest it is free again
/// when the session is over.
///
/// # Errors
///
/// [`is_lost`](crate::Error::is_lost) when the session is over,
/// [`is_timeout`](crate::Error::is_timeout) with a [`timeout`](Self::timeout), and those of
/// [`Txn`](crate::Txn). After one that [`is_unknown`](crate::Error::is_unknown), or when the
/// session is over, an item may be claimed for a moment, until it is given back as above; after any
/// other nothing was claimed.
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
    call: Task<ClaimedItem>,
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
    call: Task<Option<ClaimedItem>>,
}

impl Dequeue {
    pub(super) fn new(line: &Arc<Line>) -> Self {
        let (wish, doubt) = wish_for(What::Take);
        let next = Arc::clone(line).next(wish);
        let steps = async move |_| Ok(next.await?.item);
        Self { call: Task::new(line.gate(), WAITED_FOR, steps).in_doubt_while(doubt) }
    }
}

impl TryDequeue {
    pub(super) fn new(line: &Arc<Line>) -> Self {
        let (wish, doubt) = wish_for(What::Take);
        let next = Arc::clone(line).next_now(wish);
        let steps = async move |_| Ok(next.await?.map(|got| got.item));
        Self { call: Task::new(line.gate(), ASKED, steps).in_doubt_while(doubt) }
    }
}

impl Claim {
    pub(super) fn new(line: &Arc<Line>, session: &Session) -> Self {
        let (of, holder) = (Arc::clone(line), holder(line, session));
        let doubt = Arc::<AtomicBool>::default();
        let of_steps = Arc::clone(&doubt);
        let steps = async move |_| {
            let holder = holder?;
            let what = What::Claim(holder.clone());
            let next = Arc::clone(&of).next(Wish { what, doubt: of_steps });
            let got = during(&holder, next).await?;
            Ok(ClaimedItem::new(of, holder, got))
        };
        Self { call: Task::new(line.gate(), WAITED_FOR, steps).in_doubt_while(doubt) }
    }
}

impl TryClaim {
    pub(super) fn new(line: &Arc<Line>, session: &Session) -> Self {
        let (of, holder) = (Arc::clone(line), holder(line, session));
        let doubt = Arc::<AtomicBool>::default();
        let of_steps = Arc::clone(&doubt);
        let steps = async move |_| {
            let holder = holder?;
            let what = What::Claim(holder.clone());
            let next = Arc::clone(&of).next_now(Wish { what, doubt: of_steps });
            let got = during(&holder, next).await?;
            Ok(got.map(|got| ClaimedItem::new(of, holder, got)))
        };
        Self { call: Task::new(line.gate(), ASKED, steps).in_doubt_while(doubt) }
    }
}

fn wish_for(what: What) -> (Wish, Arc<AtomicBool>) {
    let doubt = Arc::<AtomicBool>::default();
    (Wish { what, doubt: Arc::clone(&doubt) }, doubt)
}

fn holder(line: &Line, session: &Session) -> Result<Holder> {
    let directory = line.layout.directory().clone();
    place::Line { store: line.store.clone(), directory }.holder(session)
}

/// Does this for as long as a session is there.
async fn during<T>(holder: &Holder, steps: impl Future<Output = Result<T>>) -> Result<T> {
    let mut steps = std::pin::pin!(steps);
    let mut end = End::new(holder);
    std::future::poll_fn(|context| {
        if end.poll(context) {
            let text = "the session under which an item was to be claimed is over";
            return Poll::Ready(Err(Error::new(Kind::Lost, text)));
        }
        steps.as_mut().poll(context)
    })
    .await
}

impl_task!(Dequeue -> QueueItem, "store.queue(\"jobs\").dequeue()");
impl_task!(TryDequeue -> Option<QueueItem>, "store.queue(\"jobs\").try_dequeue()");
impl_task!(Claim -> ClaimedItem, "store.queue(\"jobs\").claim(&session)");
impl_task!(TryClaim -> Option<ClaimedItem>, "store.queue(\"jobs\").try_claim(&session)");
