//! Items come in.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use super::line::Line;
use crate::error::{Error, Kind, Result};
use crate::ids::{LeaseId, Revision};
use crate::service::lease::Session;
use crate::service::once::{lease_of, lost_with_session};
use crate::service::pending::impl_call;
use crate::service::{Branch, Compare, Header, Op, PutOp, PutResponse, Txn, TxnResponse};

/// Names that are tried. One is taken only if this member was restarted, and gave it before that
/// to an item that it has not heard of again yet.
const MAX_NAMES: u32 = 64;

/// Puts an item into a queue: made by [`Queue::enqueue`](crate::Queue::enqueue) and
/// [`PriorityQueue::enqueue`](crate::PriorityQueue::enqueue).
///
/// It is one write, under a name that is unique by the way it is made: nobody contends. When it has
/// answered, a majority of the members has the item on disk.
///
/// Dropping it before it is polled does nothing. Dropping it later cancels the waiting only: the
/// item may still be enqueued, once.
///
/// # Errors
///
/// [`is_lease_not_found`](crate::Error::is_lease_not_found) for a lease that is gone,
/// [`is_lost`](crate::Error::is_lost) for a session that is over,
/// [`is_invalid`](crate::Error::is_invalid) for a session of another node, and those of
/// [`Put`](crate::Put). After one that [`is_unknown`](crate::Error::is_unknown) the item may be in
/// the queue, once.
///
/// ```no_run
/// # async fn example(store: quorate::Store) -> quorate::Result<()> {
/// let item = store.queue("jobs").enqueue("sweep the yard").await?;
/// println!("enqueued at revision {}", item.revision);
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct Enqueue {
    call: Naming,
}

/// What an [`Enqueue`] gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EnqueueResponse {
    /// Who answered.
    pub header: Header,
    /// That of the item, by which it is known among all of its queue:
    /// [`QueueItem::revision`](crate::QueueItem::revision).
    pub revision: Revision,
}

/// Names are tried until one is free: the first, nearly always.
struct Naming {
    line: Arc<Line>,
    priority: u16,
    value: Bytes,
    /// Or why it cannot be put under it.
    lease: Result<LeaseId>,
    /// The lease is a session's.
    is_under: bool,
    timeout: Option<Duration>,
    tried: u32,
    asked: Option<Txn<PutOp>>,
}

impl Enqueue {
    pub(super) fn new(line: &Arc<Line>, priority: u16, value: Bytes) -> Self {
        let call = Naming {
            line: Arc::clone(line),
            priority,
            value,
            lease: Ok(LeaseId::default()),
            is_under: false,
            timeout: None,
            tried: 0,
            asked: None,
        };
        Self { call }
    }

    /// Attaches the item to a lease: it goes when the lease does, wherever it is then (`REC-42`).
    /// 0 is none.
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store, lease: quorate::LeaseId) -> quorate::Result<()> {
    /// store.queue("jobs").enqueue("sweep the yard").lease(lease).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn lease(mut self, lease: LeaseId) -> Self {
        (self.call.lease, self.call.is_under) = (Ok(lease), false);
        self
    }

    /// Attaches the item to the lease of a session of this node: it goes with the session
    /// (`REC-42`).
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store, session: quorate::Session)
    /// # -> quorate::Result<()> {
    /// store.queue("jobs").enqueue("sweep the yard").session(&session).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn session(mut self, session: &Session) -> Self {
        let lease = lease_of(&self.call.line.store, session);
        (self.call.lease, self.call.is_under) = (lease, true);
        self
    }
}

impl_call!(Enqueue -> EnqueueResponse, "store.queue(\"jobs\").enqueue(\"sweep the yard\")");

impl Naming {
    fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = Some(timeout);
    }

    fn wait(&mut self) -> Result<EnqueueResponse> {
        loop {
            let answer = self.take()?.wait();
            if let Some(response) = self.settle(answer) {
                return response;
            }
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<EnqueueResponse>> {
        loop {
            let mut asked = self.take()?;
            let Poll::Ready(answer) = Pin::new(&mut asked).poll(context) else {
                self.asked = Some(asked);
                return Poll::Pending;
            };
            if let Some(response) = self.settle(answer) {
                return Poll::Ready(response);
            }
        }
    }

    /// What was asked, or is to be asked.
    fn take(&mut self) -> Result<Txn<PutOp>> {
        if let Some(asked) = self.asked.take() {
            return Ok(asked);
        }
        let lease = self.lease.as_ref().copied().map_err(Error::again)?;
        if self.tried >= MAX_NAMES {
            let text = "no name for an item is free, or the call was polled once too often";
            return Err(Error::new(Kind::Conflict, text));
        }
        self.tried = self.tried.saturating_add(1);
        let key = self.line.next_key(self.priority)?;
        let put = Op::put(key.clone(), self.value.clone()).lease(lease);
        let txn = self.line.store.txn().when(Compare::absent(key)).then(put);
        Ok(match self.timeout {
            Some(timeout) => txn.timeout(timeout),
            None => txn,
        })
    }

    /// The end of it, unless the name is taken.
    fn settle(
        &mut self,
        answer: Result<TxnResponse<PutResponse, ()>>,
    ) -> Option<Result<EnqueueResponse>> {
        let response = match answer.map(|it| it.branch) {
            Ok(Branch::Else(())) => return None,
            Ok(Branch::Then(PutResponse { header, .. })) => {
                Ok(EnqueueResponse { header, revision: header.revision })
            }
            Err(error) if self.is_under => Err(lost_with_session(error)),
            Err(error) => Err(error),
        };
        self.tried = MAX_NAMES;
        Some(response)
    }
}

impl fmt::Debug for Enqueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Naming { priority, lease, .. } = &self.call;
        let mut call = f.debug_struct("Enqueue");
        call.field("priority", priority).field("lease", lease).finish_non_exhaustive()
    }
}
