//! The machinery under every builder: asked once, answered once, awaited or blocked on.
//!
//! A builder is a [`Call`] around what is particular to it, an [`Ask`]. The states of a call:
//!
//! ```text
//!            start: refused, or answered on the spot
//!      New ────────────────────────────────────────────> Ended
//!       │ start: handed over                              ▲  │ polled again: an error
//!       ▼                                                 │  ▼
//!     Gathering ──────── the reply came, or will never ───┤
//!       │ polled again, or dropped: the node is driven    │
//!       ▼                                                 │
//!     Waiting ────────── the reply came, or will never ───┘
//! ```
//!
//! When others wait for answers too, a future does not drive the node at once: the tasks of its
//! thread that were woken together are about to ask together. So it wakes itself, lets them, and
//! who comes back first without an answer drives for all: one proposal, one append for each
//! follower, one round for all reads. A lone caller drives at once.

use bytes::BytesMut;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::core::lease::{Look, Opened, Opening};
use crate::core::machine::Outcome;
use crate::core::mvcc::Pinned;
use crate::error::{Error, Kind, Result};
use crate::gate::{Gate, Reply, Request, Then};
use crate::ids::{LeaseId, NodeId, Revision};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::oneshot::{self, AsyncReceiver, Receiver, RecvError};
use crate::sync::thread::{self, Thread};

/// One kind of request: what is asked, and what becomes of the answer.
pub(super) trait Ask: Unpin {
    /// What the node says.
    type Answer: Unpin;
    /// What the caller is told.
    type Response;

    /// A request without an answer may have happened all the same.
    const WRITES: bool;

    /// Checks the request, then answers it on the spot or hands it over. Called once.
    fn start(&mut self, counter: &Counter<'_>) -> Result<Started<Self>>;

    /// Makes the response of the node's answer. Called at most once, after [`Ask::start`].
    fn finish(&mut self, gate: &dyn Gate, answer: Self::Answer) -> Result<Self::Response>;
}

/// Where a request is handed in, and on what terms.
pub(super) struct Counter<'a> {
    pub(super) gate: &'a dyn Gate,
    timeout: Duration,
    then: Then,
}

/// How far [`Ask::start`] came.
pub(super) enum Started<A: Ask + ?Sized> {
    Answered(A::Response),
    HandedOver(Receiver<Result<A::Answer>>),
}

/// A request and how far it has come.
pub(super) struct Call<A: Ask> {
    gate: Arc<dyn Gate>,
    /// `None`: the node's own.
    timeout: Option<Duration>,
    ask: A,
    state: State<A::Answer>,
}

enum State<T> {
    New,
    /// Handed over, and nobody has been asked to decide it.
    Gathering(AsyncReceiver<Result<T>>),
    Waiting(AsyncReceiver<Result<T>>),
    Ended,
}

impl<A: Ask> Call<A> {
    pub(super) fn new(gate: &Arc<dyn Gate>, ask: A) -> Self {
        Self { gate: Arc::clone(gate), timeout: None, ask, state: State::New }
    }

    pub(super) fn gate(&self) -> &dyn Gate {
        &*self.gate
    }

    pub(super) fn ask(&self) -> &A {
        &self.ask
    }

    pub(super) fn ask_mut(&mut self) -> &mut A {
        &mut self.ask
    }

    pub(super) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = Some(timeout);
    }

    /// Blocks until the answer is there.
    pub(super) fn wait(&mut self) -> Result<A::Response> {
        if !matches!(self.state, State::New) {
            let gate = Arc::clone(&self.gate);
            let answer = block_on(&*gate, None, |context| self.poll(context));
            return answer.unwrap_or_else(|| Err(gate.ending()));
        }
        self.state = State::Ended;
        match self.start(Then::Lend)? {
            Started::Answered(response) => Ok(response),
            Started::HandedOver(reply) => {
                self.gate.lend(&mut || reply.has_message() || reply.is_closed());
                self.finish(reply.recv())
            }
        }
    }

    /// Begins it and lends the thread to it: for a thread that blocks, but not for this alone.
    /// What is not there then is to be polled for.
    pub(super) fn lend(&mut self) -> Option<Result<A::Response>> {
        if !matches!(self.state, State::New) {
            return None;
        }
        self.state = State::Ended;
        match self.start(Then::Lend) {
            Ok(Started::Answered(response)) => Some(Ok(response)),
            Ok(Started::HandedOver(reply)) => {
                self.gate.lend(&mut || reply.has_message() || reply.is_closed());
                self.state = State::Waiting(reply.into_future());
                None
            }
            Err(error) => Some(Err(error)),
        }
    }

    /// Takes out what the answer will come through, if it is asked and not answered: for whoever
    /// has to know the answer though nobody waits for it.
    pub(super) fn take_reply(&mut self) -> Option<AsyncReceiver<Result<A::Answer>>> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Gathering(reply) => {
                self.gate.drive();
                Some(reply)
            }
            State::Waiting(reply) => Some(reply),
            State::New | State::Ended => None,
        }
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<A::Response>> {
        if matches!(self.state, State::New) {
            self.state = State::Ended;
            let then = if self.gate.is_busy() { Then::Gather } else { Then::Leave };
            match self.start(then) {
                Ok(Started::HandedOver(reply)) if then == Then::Gather => {
                    context.waker().wake_by_ref();
                    self.state = State::Gathering(reply.into_future());
                }
                Ok(Started::HandedOver(reply)) => self.state = State::Waiting(reply.into_future()),
                Ok(Started::Answered(response)) => return Poll::Ready(Ok(response)),
                Err(error) => return Poll::Ready(Err(error)),
            }
            return self.poll_reply(context);
        }
        let gathering = matches!(self.state, State::Gathering(_));
        let answer = self.poll_reply(context);
        if !gathering || answer.is_ready() {
            return answer;
        }
        // Only who has no answer yet drives: behind one who has, the next requests gather.
        if let State::Gathering(reply) = std::mem::replace(&mut self.state, State::Ended) {
            self.state = State::Waiting(reply);
        }
        self.gate.drive();
        self.poll_reply(context)
    }

    fn poll_reply(&mut self, context: &mut Context<'_>) -> Poll<Result<A::Response>> {
        let (State::Gathering(reply) | State::Waiting(reply)) = &mut self.state else {
            let error = Error::invalid("the call has ended already: it was polled once too often");
            return Poll::Ready(Err(outcome_of::<A>(error)));
        };
        let Poll::Ready(answer) = Pin::new(reply).poll(context) else { return Poll::Pending };
        self.state = State::Ended;
        Poll::Ready(self.finish(answer))
    }

    fn start(&mut self, then: Then) -> Result<Started<A>> {
        let timeout = self.timeout.unwrap_or_else(|| self.gate.limits().request_timeout);
        self.ask.start(&Counter { gate: &*self.gate, timeout, then })
    }

    fn finish(&mut self, reply: Result<Result<A::Answer>, RecvError>) -> Result<A::Response> {
        match reply {
            Ok(answer) => self.ask.finish(&*self.gate, answer?),
            Err(RecvError) => {
                let error = Error::new(Kind::Closed, "the node was closed before it answered");
                Err(outcome_of::<A>(error))
            }
        }
    }
}

impl<A: Ask> Drop for Call<A> {
    fn drop(&mut self) {
        // The request may still happen, and others may gather behind it.
        if matches!(self.state, State::Gathering(_)) {
            self.gate.drive();
        }
    }
}

impl<A: Ask + fmt::Debug> fmt::Debug for Call<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::New => "new",
            State::Gathering(_) | State::Waiting(_) => "waiting",
            State::Ended => "ended",
        };
        f.debug_struct("Call")
            .field("ask", &self.ask)
            .field("timeout", &self.timeout)
            .field("state", &format_args!("{state}"))
            .finish_non_exhaustive()
    }
}

impl Counter<'_> {
    /// Hands in an encoded command.
    pub(super) fn write<A: Ask<Answer = Outcome>>(&self, payload: BytesMut) -> Result<Started<A>> {
        let timeout = self.timeout;
        self.hand_over(|reply| Request::Write { payload, timeout, reply })
    }

    /// Hands in an encoded compaction that this member is to finish.
    pub(super) fn compact<A: Ask<Answer = Outcome>>(
        &self,
        payload: BytesMut,
    ) -> Result<Started<A>> {
        let timeout = self.timeout;
        self.hand_over(|reply| Request::Compact { payload, timeout, reply })
    }

    /// Asks for the history as it is.
    pub(super) fn pin<A: Ask<Answer = Pinned>>(&self) -> Result<Started<A>> {
        self.hand_over(|reply| Request::Pin { reply })
    }

    /// Asks to be told when the local state is recent enough.
    pub(super) fn read<A: Ask<Answer = ()>>(&self) -> Result<Started<A>> {
        let timeout = self.timeout;
        self.hand_over(|reply| Request::Read { timeout, reply })
    }

    /// Asks for a lease to have its whole time again.
    pub(super) fn keep_alive<A: Ask<Answer = Outcome>>(
        &self,
        lease: LeaseId,
    ) -> Result<Started<A>> {
        let timeout = self.timeout;
        self.hand_over(|reply| Request::KeepAlive { lease, timeout, reply })
    }

    /// Asks for a lease to be kept alive.
    pub(super) fn open<A: Ask<Answer = Opened>>(&self, how: Opening) -> Result<Started<A>> {
        let timeout = self.timeout;
        self.hand_over(|reply| Request::Open { how, timeout, reply })
    }

    /// Asks what there is to know of a lease.
    pub(super) fn look_at_lease<A: Ask<Answer = (Revision, Option<Look>)>>(
        &self,
        lease: LeaseId,
        keys: bool,
    ) -> Result<Started<A>> {
        let timeout = self.timeout;
        self.hand_over(|reply| Request::Lease { lease, keys, timeout, reply })
    }

    /// Asks which leases this member knows.
    pub(super) fn leases<A: Ask<Answer = (Revision, Vec<LeaseId>)>>(&self) -> Result<Started<A>> {
        self.hand_over(|reply| Request::Leases { reply })
    }

    /// Asks for another leader.
    pub(super) fn transfer<A: Ask<Answer = ()>>(&self, to: NodeId) -> Result<Started<A>> {
        let timeout = self.timeout;
        self.hand_over(|reply| Request::Transfer { to, timeout, reply })
    }

    fn hand_over<A: Ask>(
        &self,
        request: impl FnOnce(Reply<A::Answer>) -> Request,
    ) -> Result<Started<A>> {
        let (reply, answer) = oneshot::channel();
        self.gate.submit(request(reply), self.then)?;
        Ok(Started::HandedOver(answer))
    }
}

/// An error about a request that was handed over and of which nothing more is known.
fn outcome_of<A: Ask>(error: Error) -> Error {
    if A::WRITES { error.with_unknown_outcome() } else { error }
}

/// Blocks the thread until there is something; with a timeout, for so long at most.
pub(super) fn block_on<T>(
    gate: &dyn Gate,
    timeout: Option<Duration>,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Option<T> {
    struct Unpark {
        thread: Thread,
        woken: AtomicBool,
    }

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.woken.store(true, Ordering::SeqCst);
            self.thread.unpark();
        }
    }

    let until = timeout.map(|timeout| gate.now().after(timeout));
    let unpark = Arc::new(Unpark { thread: thread::current(), woken: AtomicBool::new(false) });
    let waker = Waker::from(Arc::clone(&unpark));
    loop {
        if let Poll::Ready(value) = poll(&mut Context::from_waker(&waker)) {
            return Some(value);
        }
        // What wakes itself again and again must not wait for longer either.
        if until.is_some_and(|until| until <= gate.now()) {
            return None;
        }
        if !gate.park(&|| unpark.woken.load(Ordering::SeqCst), until) {
            return None;
        }
        unpark.woken.store(false, Ordering::SeqCst);
    }
}

/// Gives a builder with a field `call` its deadline, its two ways to block, and its future.
macro_rules! impl_call {
    (
        $builder:ident $(<$($param:ident: $bound:path),+>)? -> $response:ty, $example:literal
    ) => {
        impl $(<$($param: $bound),+>)? $builder $(<$($param),+>)? {
            /// How long the node may take. By default as long as its configuration says.
            ///
            /// The node itself keeps the deadline: it answers with an error that
            /// [`is_timeout`](crate::Error::is_timeout) when it has passed. Without effect once
            /// the call has been polled.
            ///
            /// With [`Duration::MAX`](std::time::Duration::MAX) it takes as long as it can. A write
            /// is given up after an hour at the latest, since all that come behind it wait for it:
            /// then it may have happened, as after any other timeout.
            ///
            /// ```no_run
            /// # async fn go(store: quorate::Store, node: quorate::Node) -> quorate::Result<()> {
            /// # let id = node.id();
            /// use std::time::Duration;
            ///
            #[doc = concat!($example, ".timeout(Duration::from_secs(1)).await?;")]
            /// # Ok(())
            /// # }
            /// ```
            pub fn timeout(mut self, timeout: ::std::time::Duration) -> Self {
                self.call.set_timeout(timeout);
                self
            }

            /// The same as `.timeout(timeout).wait()`.
            ///
            /// # Errors
            ///
            /// Those of the call: see the type.
            ///
            /// ```no_run
            /// # fn go(store: quorate::Store, node: quorate::Node) -> quorate::Result<()> {
            /// # let id = node.id();
            /// use std::time::Duration;
            ///
            #[doc = concat!(
                        "let response = ", $example, ".wait_timeout(Duration::from_secs(1))?;"
                    )]
            /// # Ok(())
            /// # }
            /// ```
            pub fn wait_timeout(self, timeout: ::std::time::Duration) -> crate::Result<$response> {
                self.timeout(timeout).wait()
            }
        }

        $crate::service::pending::impl_wait!(
            $builder $(<$($param: $bound),+>)? -> $response, $example
        );
    };
}

/// The part of [`impl_call`] for what is answered at once and has no deadline.
macro_rules! impl_wait {
    (
        $builder:ident $(<$($param:ident: $bound:path),+>)? -> $response:ty, $example:literal
    ) => {
        impl $(<$($param: $bound),+>)? $builder $(<$($param),+>)? {
            /// Blocks the thread until the answer is there. Not for a thread that runs futures:
            /// await the call there.
            ///
            /// # Errors
            ///
            /// Those of the call: see the type.
            ///
            /// ```no_run
            /// # fn go(store: quorate::Store, node: quorate::Node) -> quorate::Result<()> {
            /// # let id = node.id();
            #[doc = concat!("let response = ", $example, ".wait()?;")]
            /// # Ok(())
            /// # }
            /// ```
            pub fn wait(mut self) -> crate::Result<$response> {
                self.call.wait()
            }
        }

        impl $(<$($param: $bound),+>)? ::std::future::Future for $builder $(<$($param),+>)? {
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

pub(super) use {impl_call, impl_wait};
