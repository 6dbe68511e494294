//! Who is asked only when it has called: so that nobody who wakes for another reason finds what it
//! has forgotten to say.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use parking_lot::Mutex;

use crate::sim::clock::{Clock, Sleep};

/// Whether somebody has called, and the task that waits for it.
#[derive(Debug)]
pub(super) struct Bell {
    rang: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
        if let Some(task) = self.task.lock().take() {
            task.wake();
        }
    }
}

impl Bell {
    /// It is asked once before it has called.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { rang: AtomicBool::new(true), task: Mutex::new(None) })
    }

    pub(super) fn ring(&self) {
        self.rang.store(true, Ordering::Relaxed);
    }

    /// Asks, if it has called since it was asked last.
    pub(super) fn ask<T>(
        self: &Arc<Self>,
        context: &Context<'_>,
        ask: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        *self.task.lock() = Some(context.waker().clone());
        if !self.rang.swap(false, Ordering::Relaxed) {
            return Poll::Pending;
        }
        ask(&mut Context::from_waker(&Waker::from(Arc::clone(self))))
    }
}

/// A future that is asked only when it has called, for so long at most.
pub(super) struct Within<F> {
    future: Pin<Box<F>>,
    bell: Arc<Bell>,
    sleep: Sleep,
}

/// `None` when the time is over before the future has called and is ready.
pub(super) fn within<F: Future>(clock: &Clock, limit: Duration, future: F) -> Within<F> {
    Within { future: Box::pin(future), bell: Bell::new(), sleep: clock.sleep(limit) }
}

impl<F: Future> Future for Within<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let asked = this.bell.ask(context, |context| this.future.as_mut().poll(context));
        match asked {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => Pin::new(&mut this.sleep).poll(context).map(|()| None),
        }
    }
}
