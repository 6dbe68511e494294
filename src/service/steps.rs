//! Calls of several steps: what one answers decides what is asked next.
//!
//! What has one question is a [`Call`](super::pending::Call). What waits for others, asks, and
//! looks again is written as it is read, in steps, and is one future of a name here.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::lease::Session;
use super::pending::block_on;
use crate::core::lease::Kept;
use crate::error::{Error, Kind, Result};
use crate::gate::Gate;

type Running<T> = Pin<Box<dyn Future<Output = Result<T>> + Send>>;

/// A call of several steps, and how far it has come.
pub(super) struct Steps<T> {
    gate: Arc<dyn Gate>,
    /// `None`: it has ended.
    running: Option<Running<T>>,
}

impl<T> Steps<T> {
    /// Nothing of it happens before it is polled.
    pub(super) fn new(
        gate: &Arc<dyn Gate>,
        steps: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Self {
        Self { gate: Arc::clone(gate), running: Some(Box::pin(steps)) }
    }

    /// Blocks until it has ended.
    pub(super) fn wait(&mut self) -> Result<T> {
        let gate = Arc::clone(&self.gate);
        let answer = block_on(&*gate, None, |context| self.poll(context));
        answer.unwrap_or_else(|| Err(gate.ending()))
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<T>> {
        let Some(running) = &mut self.running else {
            let text = "the call has ended already: it was polled once too often";
            return Poll::Ready(Err(Error::invalid(text)));
        };
        let answer = std::task::ready!(running.as_mut().poll(context));
        self.running = None;
        Poll::Ready(answer)
    }
}

impl<T> fmt::Debug for Steps<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.running.is_some() { "begun or not" } else { "ended" };
        f.debug_struct("Steps").field("state", &format_args!("{state}")).finish_non_exhaustive()
    }
}

/// A session that something is held under: it may be gone while that is still there.
#[derive(Clone)]
pub(super) struct Holder {
    gate: Arc<dyn Gate>,
    kept: Arc<Kept>,
}

impl Holder {
    pub(super) fn new(gate: &Arc<dyn Gate>, session: &Session) -> Self {
        Self { gate: Arc::clone(gate), kept: Arc::clone(session.kept()) }
    }

    pub(super) fn lease(&self) -> crate::LeaseId {
        self.kept.lease()
    }

    pub(super) fn is_over(&self) -> bool {
        self.kept.is_over(self.gate.now())
    }

    /// Until when it is not over, at least.
    pub(super) fn valid_until(&self) -> std::time::Instant {
        self.gate.system_time(self.kept.deadline())
    }

    /// Does this for as long as the session is there.
    pub(super) async fn during<T>(&self, steps: impl Future<Output = Result<T>>) -> Result<T> {
        let mut steps = std::pin::pin!(steps);
        let mut waiting = Waiting { holder: self, number: None };
        std::future::poll_fn(|context| {
            // Before looking: what ends it afterwards wakes.
            waiting.number = Some(self.kept.enter(waiting.number, context.waker()));
            if self.is_over() {
                return Poll::Ready(Err(Error::new(Kind::Lost, "the session is over")));
            }
            steps.as_mut().poll(context)
        })
        .await
    }
}

/// Somebody who waits for the end of a session too.
struct Waiting<'a> {
    holder: &'a Holder,
    number: Option<u64>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.holder.kept.leave(number);
        }
    }
}
