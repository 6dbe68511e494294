//! To lead.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{is_outranked, outranks};
use crate::error::Result;
use crate::ids::Revision;
use crate::keys::KeyRange;
use crate::service::pending::{block_on, impl_call};
use crate::service::place::{Held, HeldTxn, Leave, Lost, Place, Sight, Stir};
use crate::service::response::PutResponse;
use crate::service::txn::{Op, PutOp, TxnResponse};

/// Leads: made by [`Election::campaign`](crate::Election::campaign).
///
/// Nobody else leads before [`valid_until`](Self::valid_until), which moves on as long as the
/// session is renewed. The exception is whoever takes it away: by revoking the lease or deleting
/// the key. What must never be done by two leaders goes through [`txn`](Self::txn), or is told the
/// [`token`](Self::token).
///
/// It does not borrow the session. Dropped, it resigns in the background.
///
/// ```no_run
/// # async fn example(store: quorate::Store, session: quorate::Session) -> quorate::Result<()> {
/// use quorate::Op;
///
/// let leadership = store.election("cron").campaign(&session, "node 3").await?;
/// while !leadership.is_lost() {
///     leadership.txn().then(Op::put("last-job", "backup")).await?;
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "it resigns when it is dropped"]
pub struct Leadership {
    held: Held,
    directory: Bytes,
    priority: u32,
}

impl Leadership {
    pub(super) fn new(held: Held, directory: Bytes, priority: u32) -> Self {
        Self { held, directory, priority }
    }

    /// The fencing token: the revision at which this leader became a candidate. Who leads later has
    /// a greater one.
    ///
    /// ```no_run
    /// # fn example(leadership: quorate::Leadership) {
    /// println!("leads, with token {}", leadership.token());
    /// # }
    /// ```
    pub fn token(&self) -> Revision {
        self.held.place().since
    }

    /// The leader's key, as the handle shows it (`REC-16`): with the lease and the token it is what
    /// [`Election::resume`](crate::Election::resume) needs.
    ///
    /// ```no_run
    /// # fn example(leadership: quorate::Leadership) {
    /// println!("{}", leadership.key().escape_ascii());
    /// # }
    /// ```
    pub fn key(&self) -> &Bytes {
        &self.held.place().key
    }

    /// A transaction that commits only while this leader leads: see [`HeldTxn`].
    ///
    /// ```no_run
    /// # async fn example(leadership: quorate::Leadership) -> quorate::Result<()> {
    /// leadership.txn().then(quorate::Op::put("last-job", "backup")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn txn(&self) -> HeldTxn {
        HeldTxn::new(self.held.place())
    }

    /// Changes what observers are shown, without a new election: see [`Proclaim`].
    ///
    /// ```no_run
    /// # async fn example(leadership: quorate::Leadership) -> quorate::Result<()> {
    /// leadership.proclaim("node 3, warmed up").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn proclaim(&self, value: impl Into<Bytes>) -> Proclaim {
        let place = self.held.place();
        let put = Op::put(place.key.clone(), value).lease(place.holder.kept.lease());
        Proclaim { call: ProclaimCall(HeldTxn::new(place).then(put)) }
    }

    /// Gives the leadership up, and waits until it is: see [`Resign`].
    ///
    /// ```no_run
    /// # async fn example(leadership: quorate::Leadership) -> quorate::Result<()> {
    /// leadership.resign().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn resign(&self) -> Resign {
        Resign { call: Leave::of(self.held.place()) }
    }

    /// Until when it leads if the session is not renewed any more, by this process' own clock:
    /// known without asking anybody, see [`Session::deadline`](crate::Session::deadline). No later
    /// than now once it is lost.
    ///
    /// ```no_run
    /// # fn example(leadership: quorate::Leadership) {
    /// use std::time::{Duration, Instant};
    ///
    /// if leadership.valid_until() > Instant::now() + Duration::from_secs(1) {
    ///     println!("time enough for one more");
    /// }
    /// # }
    /// ```
    pub fn valid_until(&self) -> Instant {
        self.held.place().valid_until()
    }

    /// Does it lead no more, as far as this process and this member know? For good then.
    ///
    /// ```no_run
    /// # fn example(leadership: quorate::Leadership) {
    /// while !leadership.is_lost() {
    ///     // a short piece of work
    /// }
    /// # }
    /// ```
    pub fn is_lost(&self) -> bool {
        self.held.place().is_lost()
    }

    /// Waits until it leads no more: see [`Lost`].
    ///
    /// ```no_run
    /// # async fn example(leadership: quorate::Leadership) {
    /// leadership.lost().await;
    /// println!("stop everything");
    /// # }
    /// ```
    pub fn lost(&self) -> Lost {
        Lost::new(self.held.place())
    }

    /// Waits until a candidate of a higher priority stands behind: see [`Outranked`].
    ///
    /// ```no_run
    /// # async fn example(leadership: quorate::Leadership) -> quorate::Result<()> {
    /// leadership.outranked().await;
    /// leadership.resign().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn outranked(&self) -> Outranked {
        let place = Arc::clone(self.held.place());
        let (directory, priority) = (self.directory.clone(), self.priority);
        Outranked { place, directory, priority, stir: None }
    }

    pub(super) fn loss(&self) -> crate::Error {
        self.held.place().loss()
    }
}

impl fmt::Debug for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut leadership = f.debug_struct("Leadership");
        leadership.field("held", &self.held).field("priority", &self.priority).finish()
    }
}

/// Waits until a leader is outranked, or leads no more: made by [`Leadership::outranked`].
///
/// ```no_run
/// # async fn example(leadership: quorate::Leadership) -> quorate::Result<()> {
/// leadership.outranked().await;
/// leadership.resign().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "it does nothing unless it is awaited or waited for"]
pub struct Outranked {
    place: Arc<Place>,
    directory: Bytes,
    priority: u32,
    stir: Option<Stir>,
}

impl Outranked {
    /// Blocks the thread until it is so. Not for a thread that runs futures: await it there.
    ///
    /// ```no_run
    /// # fn example(leadership: quorate::Leadership) {
    /// leadership.outranked().wait();
    /// # }
    /// ```
    pub fn wait(mut self) {
        let place = Arc::clone(&self.place);
        block_on(&**place.store.gate(), None, |context| Pin::new(&mut self).poll(context));
    }

    /// As [`wait`](Self::wait), but for so long at most. Says whether it is so.
    ///
    /// ```no_run
    /// # fn example(leadership: quorate::Leadership) {
    /// let make_room = leadership.outranked().wait_timeout(std::time::Duration::ZERO);
    /// # }
    /// ```
    pub fn wait_timeout(mut self, timeout: Duration) -> bool {
        let place = Arc::clone(&self.place);
        let poll = |context: &mut Context<'_>| Pin::new(&mut self).poll(context);
        block_on(&**place.store.gate(), Some(timeout), poll).is_some()
    }

    /// Watches from what is seen now; nothing if there is nothing to wait for.
    fn begin(&self) -> Result<Option<Stir>> {
        let see = |sight: &Sight<'_>| is_outranked(sight, &self.directory, self.priority);
        let (revision, outranked) = self.place.look(see)?;
        if outranked {
            return Ok(None);
        }
        let come = KeyRange::prefix(self.directory.clone());
        let come = self.place.store.watch(come).no_deletes();
        let outranks = outranks(self.directory.clone(), self.priority);
        self.place.stir_if(revision, [], come, outranks).map(Some)
    }
}

impl Future for Outranked {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.stir.is_none() {
                self.stir = self.begin().unwrap_or_default();
            }
            let Some(stir) = &mut self.stir else { return Poll::Ready(()) };
            if Pin::new(stir).poll(context).is_pending() {
                return Poll::Pending;
            }
            self.stir = None;
        }
    }
}

impl fmt::Debug for Outranked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outranked").field("place", &self.place).finish_non_exhaustive()
    }
}

/// Changes a leader's value: made by [`Leadership::proclaim`].
///
/// # Errors
///
/// [`is_lost`](crate::Error::is_lost) if it does not lead any more, and then nothing was changed
/// (`REC-20`); and those of [`Put`](crate::Put).
///
/// ```no_run
/// # async fn example(leadership: quorate::Leadership) -> quorate::Result<()> {
/// leadership.proclaim("node 3, warmed up").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct Proclaim {
    call: ProclaimCall,
}

#[derive(Debug)]
struct ProclaimCall(HeldTxn<PutOp>);

impl_call!(
    Proclaim -> PutResponse,
    "store.election(\"cron\").campaign(\
     &store.session(std::time::Duration::from_secs(10)).wait()?, \"\").wait()?.proclaim(\"warm\")"
);

impl ProclaimCall {
    fn set_timeout(&mut self, timeout: Duration) {
        self.0.set_timeout(timeout);
    }

    fn wait(&mut self) -> Result<PutResponse> {
        let done = self.0.wait_mut();
        self.settle(done)
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<PutResponse>> {
        let done = std::task::ready!(Pin::new(&mut self.0).poll(context));
        Poll::Ready(self.settle(done))
    }

    fn settle(&self, done: Result<TxnResponse<PutResponse, ()>>) -> Result<PutResponse> {
        match done {
            // A lease that is due ends what hangs on it, also before that is removed.
            Err(error) if error.is_lease_not_found() => Err(self.0.lost()),
            done => done?.branch.then().ok_or_else(unconditional),
        }
    }
}

fn unconditional() -> crate::Error {
    crate::Error::corrupt("a transaction without conditions took the other branch")
        .with_unknown_outcome()
}

/// Gives a leadership up: made by [`Leadership::resign`].
///
/// It says whether it led until then. Once it is asked the leadership is lost to its holder,
/// whatever comes of it; again it does nothing (`REC-21`).
///
/// # Errors
///
/// Those of [`Put`](crate::Put) that have nothing to do with keys. It is given up in the background
/// then, as it is when this is dropped.
///
/// ```no_run
/// # async fn example(leadership: quorate::Leadership) -> quorate::Result<()> {
/// assert!(leadership.resign().await?);
/// assert!(!leadership.resign().await?);
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct Resign {
    call: Leave,
}

impl_call!(
    Resign -> bool,
    "store.election(\"cron\").campaign(\
     &store.session(std::time::Duration::from_secs(10)).wait()?, \"\").wait()?.resign()"
);

impl fmt::Debug for Resign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resign").finish_non_exhaustive()
    }
}
