//! Calls of several steps, and what runs on when nobody waits.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::error::{Error, Kind, Result};
use crate::gate::{Gate, Request, Then};
use crate::service::pending::{Ask, Call, block_on};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::oneshot::{self, AsyncReceiver, RecvError};

/// A future of a step.
pub(in crate::service) type Steps<T> = Pin<Box<dyn Future<Output = Result<T>> + Send>>;

/// How the calls of a task are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::service) enum Manner {
    Awaited,
    /// By a thread that blocks: it is lent to the node.
    Blocking,
}

impl Manner {
    /// Begins a call, if it can be begun better than by polling it.
    pub(super) fn begin<A: Ask>(self, call: &mut Call<A>) -> Option<Result<A::Response>> {
        match self {
            Self::Awaited => None,
            Self::Blocking => call.lend(),
        }
    }
}

/// A call of several steps: awaited, or blocked on.
pub(in crate::service) struct Task<T> {
    gate: Arc<dyn Gate>,
    /// What it is that was not done in time.
    what: &'static str,
    timeout: Option<Duration>,
    /// Set by the steps while something of theirs may happen without their hearing of it.
    doubt: Option<Arc<AtomicBool>>,
    state: State<T>,
}

enum State<T> {
    New(Box<dyn FnOnce(Manner) -> Steps<T> + Send>),
    Running(Steps<T>, Option<AsyncReceiver<Result<()>>>),
    Ended,
}

impl<T> Task<T> {
    pub(in crate::service) fn new<F>(
        gate: &Arc<dyn Gate>,
        what: &'static str,
        make: impl FnOnce(Manner) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let make: Box<dyn FnOnce(Manner) -> Steps<T> + Send> =
            Box::new(|manner| Box::pin(make(manner)));
        let gate = Arc::clone(gate);
        Self { gate, what, timeout: None, doubt: None, state: State::New(make) }
    }

    /// Out of time while this is set, it is not known what was done.
    pub(in crate::service) fn in_doubt_while(mut self, doubt: Arc<AtomicBool>) -> Self {
        self.doubt = Some(doubt);
        self
    }

    pub(in crate::service) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = Some(timeout);
    }

    pub(in crate::service) fn wait(&mut self) -> Result<T> {
        let gate = Arc::clone(&self.gate);
        if let State::New(make) = std::mem::replace(&mut self.state, State::Ended) {
            let steps = make(Manner::Blocking);
            let answer = {
                let mut steps = steps;
                block_on(&*gate, self.timeout, |context| steps.as_mut().poll(context))
            };
            return answer.unwrap_or_else(|| Err(self.ended_without()));
        }
        block_on(&*gate, None, |context| self.poll(context))
            .unwrap_or_else(|| Err(self.ended_without()))
    }

    pub(in crate::service) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<T>> {
        if matches!(self.state, State::New(_)) {
            self.begin()?;
        }
        let State::Running(steps, timer) = &mut self.state else {
            let text = "the call has ended already: it was polled once too often";
            return Poll::Ready(Err(Error::invalid(text)));
        };
        let mut answer = steps.as_mut().poll(context);
        if let (Poll::Pending, Some(waiting)) = (&answer, timer.as_mut())
            && let Poll::Ready(over) = Pin::new(waiting).poll(context)
        {
            let over = over.unwrap_or_else(|RecvError| Err(self.gate.ending()));
            let error = over.map_or_else(|error| error, |()| self.timed_out());
            answer = Poll::Ready(Err(self.with_doubt(error)));
        }
        if answer.is_ready() {
            self.state = State::Ended;
        }
        answer
    }

    fn begin(&mut self) -> Result<()> {
        let State::New(make) = std::mem::replace(&mut self.state, State::Ended) else {
            return Ok(());
        };
        let begin = |timeout| {
            let (reply, answer) = oneshot::channel();
            self.gate.submit(Request::Sleep { timeout, reply }, Then::Leave)?;
            Ok(answer.into_future())
        };
        let timer: Result<_> = self.timeout.map(begin).transpose();
        self.state = State::Running(make(Manner::Awaited), timer?);
        Ok(())
    }

    fn ended_without(&self) -> Error {
        let is_late = self.timeout.is_some();
        self.with_doubt(if is_late { self.timed_out() } else { self.gate.ending() })
    }

    fn with_doubt(&self, error: Error) -> Error {
        let doubt = self.doubt.as_ref();
        let in_doubt = doubt.is_some_and(|doubt| doubt.load(Ordering::SeqCst));
        if in_doubt { error.with_unknown_outcome() } else { error }
    }

    fn timed_out(&self) -> Error {
        Error::new(Kind::Timeout, format!("the deadline passed before {}", self.what))
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::New(_) => "new",
            State::Running(..) => "waiting",
            State::Ended => "ended",
        };
        let mut task = f.debug_struct("Task");
        task.field("timeout", &self.timeout).field("state", &format_args!("{state}"));
        task.finish_non_exhaustive()
    }
}

/// Has `then` called with the answer, whenever it comes: nobody has to wait for it.
pub(in crate::service) fn until_answered<T, F>(
    gate: &Arc<dyn Gate>,
    reply: AsyncReceiver<Result<T>>,
    then: F,
) where
    T: Send + 'static,
    F: FnOnce(Result<Result<T>, RecvError>) + Send + 'static,
{
    let gate = Arc::clone(gate);
    let waiting =
        Waiting { gate, calls: AtomicUsize::new(0), inside: Mutex::new(Some((reply, then))) };
    Arc::new(waiting).wake();
}

struct Waiting<T, F> {
    gate: Arc<dyn Gate>,
    /// Calls since somebody began to look. Who makes it 1 looks, and again until none came
    /// meanwhile: so nobody looks twice at once, and what looks may be called by what it looks at.
    calls: AtomicUsize,
    inside: Mutex<Option<(AsyncReceiver<Result<T>>, F)>>,
}

impl<T, F> Wake for Waiting<T, F>
where
    T: Send + 'static,
    F: FnOnce(Result<Result<T>, RecvError>) + Send + 'static,
{
    fn wake(self: Arc<Self>) {
        if self.calls.fetch_add(1, Ordering::SeqCst) > 0 {
            return;
        }
        loop {
            let calls = self.calls.load(Ordering::SeqCst);
            let waker = Waker::from(Arc::clone(&self));
            let mut inside = self.inside.lock();
            let Some((reply, _)) = inside.as_mut() else { return };
            if let Poll::Ready(answer) = Pin::new(reply).poll(&mut Context::from_waker(&waker)) {
                let then = inside.take();
                drop(inside);
                if let Some((_, then)) = then {
                    self.gate.run(Box::new(move || then(answer)));
                }
                return;
            }
            drop(inside);
            let none = self.calls.compare_exchange(calls, 0, Ordering::SeqCst, Ordering::SeqCst);
            if none.is_ok() {
                return;
            }
        }
    }
}

/// Gives a builder with a field `call`, a [`Task`], its deadline, its two ways to block, and its
/// future.
macro_rules! impl_task {
    ($builder:ident -> $response:ty, $example:literal) => {
        impl $builder {
            /// Gives up after so long, with an error that
            /// [`is_timeout`](crate::Error::is_timeout). By default it waits for as long as it
            /// must: a request of its own that is not answered within the node's
            /// `request_timeout` is made again where that does no harm, and ends the call with the
            /// same error where it might (a try, a barrier, an item of a queue). Needs no runtime:
            /// the node has the timer. Without effect once the call has been polled.
            ///
            /// ```no_run
            /// # async fn go(
            /// #     store: quorate::Store, session: quorate::Session,
            /// # ) -> quorate::Result<()> {
            /// use std::time::Duration;
            ///
            #[doc = concat!("let held = ", $example, ".timeout(Duration::from_secs(1)).await?;")]
            /// # Ok(())
            /// # }
            /// ```
            pub fn timeout(mut self, timeout: ::std::time::Duration) -> Self {
                self.call.set_timeout(timeout);
                self
            }

            /// Blocks the thread until it is decided. Not for a thread that runs futures: await
            /// the call there.
            ///
            /// # Errors
            ///
            /// Those of the call: see the type.
            ///
            /// ```no_run
            /// # fn go(store: quorate::Store, session: quorate::Session) -> quorate::Result<()> {
            #[doc = concat!("let held = ", $example, ".wait()?;")]
            /// # Ok(())
            /// # }
            /// ```
            pub fn wait(mut self) -> crate::Result<$response> {
                self.call.wait()
            }

            /// The same as `.timeout(timeout).wait()`.
            ///
            /// # Errors
            ///
            /// Those of the call: see the type.
            ///
            /// ```no_run
            /// # fn go(store: quorate::Store, session: quorate::Session) -> quorate::Result<()> {
            /// use std::time::Duration;
            ///
            #[doc = concat!("let held = ", $example, ".wait_timeout(Duration::from_secs(1))?;")]
            /// # Ok(())
            /// # }
            /// ```
            pub fn wait_timeout(self, timeout: ::std::time::Duration) -> crate::Result<$response> {
                self.timeout(timeout).wait()
            }
        }

        impl ::std::future::Future for $builder {
            type Output = crate::Result<$response>;

            fn poll(
                mut self: ::std::pin::Pin<&mut Self>,
                context: &mut ::std::task::Context<'_>,
            ) -> ::std::task::Poll<Self::Output> {
                self.call.poll(context)
            }
        }
    };
}

pub(in crate::service) use impl_task;
