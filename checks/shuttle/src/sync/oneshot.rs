//! One answer to one question, and a count of what became of all of them.

use std::cell::Cell;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::place::Place;
use super::time;

/// What became of the questions of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) asked: usize,
    /// Those who asked may have gone.
    pub(crate) answered: usize,
    /// Let go of without an answer.
    pub(crate) dropped: usize,
}

thread_local! {
    static COUNT: Cell<Count> = const { Cell::new(Count { asked: 0, answered: 0, dropped: 0 }) };
}

pub(super) fn begin() {
    COUNT.set(Count::default());
}

/// Of this run, so far.
pub(crate) fn count() -> Count {
    COUNT.get()
}

#[derive(Debug)]
struct Slot<T> {
    message: Option<T>,
    /// No message will come any more, or it is taken.
    closed: bool,
    /// Nobody is there to take it.
    deserted: bool,
    waker: Option<Waker>,
}

/// `None` once it has answered.
#[derive(Debug)]
pub(crate) struct Sender<T>(Option<Arc<Place<Slot<T>>>>);

#[derive(Debug)]
pub(crate) struct Receiver<T>(Arc<Place<Slot<T>>>);

#[derive(Debug)]
pub(crate) struct AsyncReceiver<T>(Receiver<T>);

pub(crate) struct SendError<T>(T);

#[derive(Debug)]
pub(crate) struct RecvError;

#[derive(Debug)]
pub(crate) enum RecvTimeoutError {
    Timeout,
    Disconnected,
}

pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
    COUNT.with(|count| count.set(Count { asked: count.get().asked + 1, ..count.get() }));
    let slot = Slot { message: None, closed: false, deserted: false, waker: None };
    let slot = Arc::new(Place::new(slot));
    (Sender(Some(Arc::clone(&slot))), Receiver(slot))
}

impl<T> Sender<T> {
    pub(crate) fn send(mut self, message: T) -> Result<(), SendError<T>> {
        COUNT.with(|count| count.set(Count { answered: count.get().answered + 1, ..count.get() }));
        let Some(slot) = self.0.take() else { return Err(SendError(message)) };
        let waker = slot.change(|slot| {
            if slot.deserted {
                return Err(SendError(message));
            }
            slot.message = Some(message);
            Ok(slot.waker.take())
        })?;
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.as_ref().is_none_or(|slot| slot.look(|slot| slot.deserted))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let Some(slot) = self.0.take() else { return };
        COUNT.with(|count| count.set(Count { dropped: count.get().dropped + 1, ..count.get() }));
        let waker = slot.change(|slot| {
            slot.closed = true;
            slot.waker.take()
        });
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Slot<T> {
    /// What there is, if it is decided.
    fn take(&mut self) -> Option<Result<T, RecvError>> {
        match self.message.take() {
            Some(message) => {
                self.closed = true;
                Some(Ok(message))
            }
            None => self.closed.then_some(Err(RecvError)),
        }
    }
}

impl<T> Receiver<T> {
    pub(crate) fn has_message(&self) -> bool {
        self.0.look(|slot| slot.message.is_some())
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.look(|slot| slot.closed)
    }

    #[expect(clippy::needless_pass_by_value, reason = "as the one it stands for")]
    pub(crate) fn recv(self) -> Result<T, RecvError> {
        self.0.wait(Slot::take)
    }
}

impl<T: Send + 'static> Receiver<T> {
    pub(crate) fn recv_timeout(&self, span: Duration) -> Result<T, RecvTimeoutError> {
        match self.0.wait_until(time::after(span), Slot::take) {
            Some(Ok(message)) => Ok(message),
            Some(Err(RecvError)) => Err(RecvTimeoutError::Disconnected),
            None => Err(RecvTimeoutError::Timeout),
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let left = self.0.change(|slot| {
            slot.deserted = true;
            (slot.message.take(), slot.waker.take())
        });
        drop(left);
    }
}

impl<T> IntoFuture for Receiver<T> {
    type Output = Result<T, RecvError>;
    type IntoFuture = AsyncReceiver<T>;

    fn into_future(self) -> AsyncReceiver<T> {
        AsyncReceiver(self)
    }
}

impl<T> Future for AsyncReceiver<T> {
    type Output = Result<T, RecvError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let taken = self.0.0.change(|slot| {
            let taken = slot.take();
            let waker = taken.is_none().then(|| context.waker().clone());
            let old = std::mem::replace(&mut slot.waker, waker);
            (taken, old)
        });
        taken.0.map_or(Poll::Pending, Poll::Ready)
    }
}
