//! A lease that is kept alive for as long as somebody holds it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::effective_ttl;
use crate::core::lease::{Kept, Opened, Opening, Which};
use crate::core::machine::{Command, Outcome, Refusal};
use crate::error::{Error, Kind, Result};
use crate::gate::{Gate, Request, Then};
use crate::ids::LeaseId;
use crate::service::kv::{encode, failed};
use crate::service::pending::{Ask, Call, Counter, Started, block_on, impl_call};
use crate::sync::oneshot;

/// Opens a session: made by [`Store::session`](crate::Store::session).
///
/// A lease is granted and kept alive from then on, by the node's own timers: no thread and no task
/// is needed for it, and ten thousand are cheap.
///
/// A session of four [election timeouts](crate::Config::election_timeout) or more outlives a change
/// of leaders; a shorter one may be lost by it.
///
/// Dropped before it is polled, nothing happens; dropped later, the session may come to be, and is
/// closed in the background.
///
/// # Errors
///
/// Those of [`Grant`](crate::Grant); with [`lease`](Self::lease) those of
/// [`KeepAlive`](crate::KeepAlive). [`is_overloaded`](crate::Error::is_overloaded) also if this
/// node keeps a hundred thousand leases alive already.
///
/// ```no_run
/// # async fn example(store: quorate::Store) -> quorate::Result<()> {
/// use std::time::Duration;
///
/// let session = store.session(Duration::from_secs(10)).await?;
/// store.put("workers/7", "here").lease(session.lease()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct OpenSession {
    call: Call<OpenAsk>,
}

struct OpenAsk {
    gate: Arc<dyn Gate>,
    ttl: Duration,
    adopted: Option<LeaseId>,
}

impl fmt::Debug for OpenAsk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ask = f.debug_struct("OpenAsk");
        ask.field("ttl", &self.ttl).field("adopted", &self.adopted).finish_non_exhaustive()
    }
}

impl OpenSession {
    pub(crate) fn new(gate: &Arc<dyn Gate>, ttl: Duration) -> Self {
        let ask = OpenAsk { gate: Arc::clone(gate), ttl, adopted: None };
        Self { call: Call::new(gate, ask) }
    }

    /// Keeps this lease alive, which must be there, instead of one of its own (`REC-1`). It has the
    /// TTL that it was granted with, and is revoked with the session as one of its own would be.
    ///
    /// To be adopted from a process that is certainly gone: what hung on its lease is kept as well.
    /// If that process is but paused, the two share what it held, and nothing tells them apart (see
    /// [`Resume`](crate::Resume)). And if it died while it held something or waited for it, its
    /// place in that line stays too: whoever asks for the same with this session waits behind it,
    /// so for himself. [`Election::resume`](crate::Election::resume) takes up a leadership; a place
    /// in any other line can only be deleted, or ended with the lease.
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store, id: quorate::LeaseId) -> quorate::Result<()> {
    /// use std::time::Duration;
    ///
    /// let session = store.session(Duration::from_secs(10)).lease(id).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn lease(mut self, id: LeaseId) -> Self {
        self.call.ask_mut().adopted = Some(id);
        self
    }
}

impl_call!(OpenSession -> Session, "store.session(std::time::Duration::from_secs(10))");

impl Ask for OpenAsk {
    type Answer = Opened;
    type Response = Session;

    const WRITES: bool = true;

    fn start(&mut self, counter: &Counter<'_>) -> Result<Started<Self>> {
        let how = match self.adopted {
            Some(lease) => Opening::Adopt(lease),
            None => {
                let ttl = effective_ttl(self.ttl, counter.gate.limits().min_ttl)?;
                let grant = Command::Grant { lease: LeaseId::default(), ttl };
                Opening::Grant(encode(counter.gate, &grant)?)
            }
        };
        counter.open(how)
    }

    fn finish(&mut self, _gate: &dyn Gate, opened: Opened) -> Result<Session> {
        match opened {
            Opened::Kept(offered) => {
                let gate = Arc::clone(&self.gate);
                let kept = offered.take().ok_or_else(|| self.gate.ending())?;
                Ok(Session { gate, kept })
            }
            Opened::Not(outcome) => Err(failed("session", outcome)),
        }
    }
}

/// A lease that its node keeps alive: made by [`Store::session`](crate::Store::session).
///
/// What is attached to the [`lease`](Self::lease) stays until the session is closed, dropped or
/// lost. It is lost when it could not be renewed in time, whatever the reason, or when somebody
/// revokes the lease; then it never comes back (`REC-2`). The [`deadline`](Self::deadline) says
/// until when, at least, nobody else can have what it holds: it is before the cluster ends the
/// lease, also when this process was stopped meanwhile. Look at it before every step that must not
/// be taken without.
///
/// Dropped, it stops renewing and revokes the lease in the background; [`close`](Self::close) waits
/// for that.
///
/// ```no_run
/// # fn example(store: quorate::Store) -> quorate::Result<()> {
/// use std::time::Duration;
///
/// let session = store.session(Duration::from_secs(10)).wait()?;
/// store.put("workers/7", "here").lease(session.lease()).wait()?;
/// while !session.is_lost() {
///     // a short piece of work
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "it is closed when it is dropped"]
pub struct Session {
    gate: Arc<dyn Gate>,
    kept: Arc<Kept>,
}

/// The inside of a session, which outlives it: in whose name something is held.
#[derive(Clone)]
pub(in crate::service) struct Holder {
    pub(in crate::service) gate: Arc<dyn Gate>,
    pub(in crate::service) kept: Arc<Kept>,
}

impl Holder {
    /// It may be relied on no longer.
    pub(in crate::service) fn is_over(&self) -> bool {
        self.kept.is_over(self.gate.now())
    }

    /// Refuses to make what may have to be deleted, where too much is to be deleted already.
    pub(in crate::service) fn check_litter(&self) -> Result<()> {
        if self.kept.is_littered() {
            let text = "too many keys that were given up are not deleted yet";
            return Err(Error::new(Kind::Overloaded, text));
        }
        Ok(())
    }
}

impl Session {
    /// The lease: to be given to [`Put::lease`](crate::Put::lease).
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store, session: quorate::Session) -> quorate::Result<()> {
    /// store.put("workers/7", "here").lease(session.lease()).wait()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn lease(&self) -> LeaseId {
        self.kept.lease()
    }

    /// The TTL that the lease was granted with.
    ///
    /// ```no_run
    /// # fn example(session: quorate::Session) {
    /// println!("renewed every {:?}", session.ttl() / 3);
    /// # }
    /// ```
    pub fn ttl(&self) -> Duration {
        self.kept.ttl()
    }

    /// Until when the session is held if it is not renewed any more, by this process' own clock:
    /// known without asking anybody.
    ///
    /// It is the moment before the last renewal left, and the TTL, less a thousandth of it and a
    /// millisecond for clocks that do not run alike. Of a session that is over it is when that came
    /// to pass, so never in the future.
    ///
    /// Two things may end the lease before: somebody who [revokes](crate::Store::revoke) it, which
    /// the session hears of when its node does, and another session of it that is closed, if it
    /// was [adopted](OpenSession::lease). On Linux the clock stands still while the whole machine
    /// is suspended: what a suspended machine holds is not safe by this alone.
    ///
    /// ```no_run
    /// # fn example(session: quorate::Session) {
    /// println!("held for {:?} at least", session.deadline() - std::time::Instant::now());
    /// # }
    /// ```
    pub fn deadline(&self) -> Instant {
        self.gate.system_time(self.kept.deadline())
    }

    /// How long it is until the [`deadline`](Self::deadline). Zero once the session is over.
    ///
    /// ```no_run
    /// # fn example(session: quorate::Session) {
    /// use std::time::Duration;
    ///
    /// if session.remaining() > Duration::from_secs(1) {
    ///     println!("time enough for one more");
    /// }
    /// # }
    /// ```
    pub fn remaining(&self) -> Duration {
        let now = self.gate.now();
        if self.kept.is_over(now) { Duration::ZERO } else { self.kept.deadline().since(now) }
    }

    /// Is it over? Nothing that was held by it may be relied upon then (`REC-2`), for good.
    ///
    /// ```no_run
    /// # fn example(session: quorate::Session) {
    /// while !session.is_lost() {
    ///     // a short piece of work
    /// }
    /// # }
    /// ```
    pub fn is_lost(&self) -> bool {
        self.kept.is_over(self.gate.now())
    }

    /// Waits until it is over: see [`SessionLost`].
    ///
    /// ```no_run
    /// # async fn example(session: quorate::Session) {
    /// session.lost().await;
    /// println!("stop everything");
    /// # }
    /// ```
    pub fn lost(&self) -> SessionLost<'_> {
        SessionLost { session: self, number: None }
    }

    /// Stops renewing, and leaves the lease to expire (`REC-3`): what is attached to it stays until
    /// then. For handing a lease on, to a session that [adopts](OpenSession::lease) it.
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store, session: quorate::Session) -> quorate::Result<()> {
    /// let lease = session.lease();
    /// session.orphan();
    /// let heir = store.session(std::time::Duration::ZERO).lease(lease).wait()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn orphan(self) {
        // What is over is not revoked when it is dropped.
        self.end();
    }

    /// Stops renewing and revokes the lease (`REC-3`): see [`CloseSession`].
    ///
    /// ```no_run
    /// # async fn example(session: quorate::Session) -> quorate::Result<()> {
    /// session.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn close(self) -> CloseSession {
        let gate = Arc::clone(&self.gate);
        CloseSession { call: Call::new(&gate, CloseAsk { session: Some(self) }) }
    }

    /// What its node knows of it.
    #[cfg(feature = "sim")]
    pub(crate) fn kept(&self) -> &Arc<Kept> {
        &self.kept
    }

    pub(in crate::service) fn holder(&self) -> Holder {
        let (gate, kept) = (Arc::clone(&self.gate), Arc::clone(&self.kept));
        Holder { gate, kept }
    }

    /// Says whether it was held until now.
    fn end(&self) -> bool {
        let now = self.gate.now();
        let held = !self.kept.is_over(now);
        self.kept.let_go(now);
        self.kept.waiters.wake();
        held
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut session = f.debug_struct("Session");
        session.field("lease", &self.kept.lease()).field("ttl", &self.kept.ttl());
        session.field("remaining", &self.remaining()).finish_non_exhaustive()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The id of what is lost may be somebody else's by now.
        if self.end() {
            let Which { lease, grant, .. } = self.kept.which();
            let payload = Command::Revoke { lease, grant }.encode();
            let timeout = self.gate.limits().request_timeout;
            let (reply, _) = oneshot::channel();
            if self.gate.submit(Request::Write { payload, timeout, reply }, Then::Leave).is_err() {
                self.kept.revoke_later();
            }
        }
    }
}

/// Waits until a [`Session`] is over: made by [`Session::lost`].
///
/// That is when its deadline passes, when its lease is seen to be gone, or when the node ends.
/// Awaited, or waited for; it may be asked again and again.
///
/// ```no_run
/// # fn example(session: quorate::Session) {
/// use std::time::Duration;
///
/// if session.lost().wait_timeout(Duration::from_secs(1)) {
///     println!("stop everything");
/// }
/// # }
/// ```
#[must_use = "it does nothing unless it is awaited or waited for"]
pub struct SessionLost<'a> {
    session: &'a Session,
    /// Its number among those who wait.
    number: Option<u64>,
}

impl SessionLost<'_> {
    /// Blocks the thread until it is so. Not for a thread that runs futures: await it there.
    ///
    /// ```no_run
    /// # fn example(session: quorate::Session) {
    /// session.lost().wait();
    /// # }
    /// ```
    pub fn wait(mut self) {
        let gate = Arc::clone(&self.session.gate);
        block_on(&*gate, None, |context| Pin::new(&mut self).poll(context));
    }

    /// As [`wait`](Self::wait), but for so long at most. Says whether the session is over.
    ///
    /// ```no_run
    /// # fn example(session: quorate::Session) {
    /// while !session.lost().wait_timeout(std::time::Duration::from_secs(1)) {
    ///     println!("still held");
    /// }
    /// # }
    /// ```
    pub fn wait_timeout(mut self, timeout: Duration) -> bool {
        let gate = Arc::clone(&self.session.gate);
        block_on(&*gate, Some(timeout), |context| Pin::new(&mut self).poll(context)).is_some()
    }
}

impl Future for SessionLost<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let session = self.session;
        // Before looking: what ends it afterwards wakes.
        self.number = Some(session.kept.waiters.enter(self.number, context.waker()));
        if session.is_lost() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl fmt::Debug for SessionLost<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionLost").field("session", self.session).finish_non_exhaustive()
    }
}

impl Drop for SessionLost<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.session.kept.waiters.leave(number);
        }
    }
}

/// Ends a [`Session`] and its lease: made by [`Session::close`].
///
/// When it has answered, what was attached to the lease is gone, if the session was held until
/// then. One that is lost is closed already, and so is one whose lease somebody has revoked:
/// nothing is asked for it, and of one that was lost by its own deadline the keys may be there
/// until the cluster ends its lease, which it does a little later (`LSE-11`, `LSE-16`).
///
/// Dropped before it is polled, the session is closed in the background.
///
/// # Errors
///
/// [`is_overloaded`](crate::Error::is_overloaded), [`is_timeout`](crate::Error::is_timeout),
/// [`is_unavailable`](crate::Error::is_unavailable), [`is_closed`](crate::Error::is_closed) and
/// [`is_halted`](crate::Error::is_halted). Nobody renews the lease then, and it expires, unless the
/// node can revoke it before.
///
/// ```no_run
/// # fn example(session: quorate::Session) -> quorate::Result<()> {
/// session.close().wait()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is waited for before it is awaited or waited for"]
pub struct CloseSession {
    call: Call<CloseAsk>,
}

#[derive(Debug)]
struct CloseAsk {
    session: Option<Session>,
}

impl_call!(
    CloseSession -> (),
    "store.session(std::time::Duration::from_secs(10)).wait()?.close()"
);

impl Ask for CloseAsk {
    type Answer = Outcome;
    type Response = ();

    const WRITES: bool = true;

    fn start(&mut self, counter: &Counter<'_>) -> Result<Started<Self>> {
        let Some(session) = self.session.take().filter(Session::end) else {
            return Ok(Started::Answered(()));
        };
        let Which { lease, grant, .. } = session.kept.which();
        // Who is not heard leaves it to the node, as who drops the session does.
        let asked = encode(counter.gate, &Command::Revoke { lease, grant });
        asked.and_then(|revoke| counter.write(revoke)).inspect_err(|_| session.kept.revoke_later())
    }

    fn finish(&mut self, _gate: &dyn Gate, outcome: Outcome) -> Result<()> {
        match outcome {
            Outcome::Revoked { .. } | Outcome::Refused(Refusal::LeaseNotFound(_)) => Ok(()),
            other => Err(failed("closing of a session", other)),
        }
    }
}
