//! Locks: one holder at a time, in the order in which they came.
//!
//! ```text
//!   store.lock("jobs") ── acquire(&session) ──► LockGuard ── release, or drop
//!                      ── try_acquire             │
//!                      ── acquire_timeout         ├─ token()        what a rival's is greater than
//!                                                 ├─ txn()          commits only while held
//!                                                 ├─ valid_until()  until when it is safe to go on
//!                                                 └─ lost()         when it is time to stop
//! ```
//!
//! A lock is a line (`place/`) in which each waits for the one before it. Its rule is three lines;
//! everything else here says what the holder is given.
//!
//! # What holds
//!
//! - Tokens of a lock rise with every acquisition: they are create revisions (`REC-14`).
//! - Whose guard says that it is not lost is the only one who is told so, unless somebody has
//!   deleted its key or revoked its lease: then the others may know before it does.
//! - A guard has no lifetime and can go anywhere, also beyond its session: then it is lost.
//!
//! Not here: locks that several may hold.

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use super::guard::impl_guard;
use super::lease::{Holder, Session};
use super::pending::impl_call;
use super::place::{self, Entry, Held, Leave, Line, Manner, Sight, Task, impl_task};
use crate::error::Result;
use crate::keys::KeyRange;
use crate::planted::{Bug, planted};
use crate::store::Store;

/// A lock: made by [`Store::lock`](crate::Store::lock). Cheap to clone; it holds nothing itself.
///
/// Whoever acquires it with a [session](crate::Session) stands in a line behind all who came
/// before, on any member, and is given a [`LockGuard`] when they have gone. Locks whose names begin
/// alike have nothing to do with each other (`REC-15`), nor has other data below the name. But a
/// lock, an election and a semaphore of the same name are one line: give them different ones. So is
/// a lock called `a/read` or `a/write` part of the line of an [`RwLock`](crate::RwLock) called `a`.
///
/// **It is not re-entrant**, as [`std::sync::Mutex`] is not: acquired again with the same session
/// it waits for the first guard to go. So two tasks of one process exclude each other as two
/// processes do (`REC-13`), and a task that acquires twice waits for itself.
///
/// What it protects has to be written through [`LockGuard::txn`], or has to be told
/// [`LockGuard::token`] and refuse older ones: no lock can stop a holder who does not know that he
/// holds it no more. `docs/locks-and-elections.md` in the repository says why, and shows how.
///
/// ```no_run
/// # async fn example(store: quorate::Store) -> quorate::Result<()> {
/// use quorate::Op;
/// use std::time::Duration;
///
/// let session = store.session(Duration::from_secs(10)).await?;
/// let guard = store.lock("stock").acquire(&session).await?;
/// guard.txn().then(Op::put("shoes", "41")).await?;
/// guard.release().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Lock {
    store: Store,
    name: Bytes,
}

impl Lock {
    pub(crate) fn new(store: &Store, name: Bytes) -> Self {
        Self { store: store.clone(), name }
    }

    /// Waits until it is this caller's turn: see [`Acquire`].
    ///
    /// ```no_run
    /// # async fn example(
    /// #     store: quorate::Store, session: quorate::Session,
    /// # ) -> quorate::Result<()> {
    /// let guard = store.lock("stock").acquire(&session).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn acquire(&self, session: &Session) -> Acquire {
        let begun = self.line().and_then(|line| Ok((line.holder(session)?, line)));
        let acquire = async move |manner| {
            let (holder, line) = begun?;
            acquire(&line, &holder, manner).await
        };
        Acquire { call: Task::new(self.store.gate(), "it was this caller's turn", acquire) }
    }

    /// The same as `.acquire(session).timeout(timeout)`.
    ///
    /// ```no_run
    /// # async fn example(
    /// #     store: quorate::Store, session: quorate::Session,
    /// # ) -> quorate::Result<()> {
    /// use std::time::Duration;
    ///
    /// match store.lock("stock").acquire_timeout(&session, Duration::from_secs(1)).await {
    ///     Ok(guard) => println!("held, with token {}", guard.token()),
    ///     Err(error) if error.is_timeout() => println!("others were there first"),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn acquire_timeout(&self, session: &Session, timeout: Duration) -> Acquire {
        self.acquire(session).timeout(timeout)
    }

    /// Acquires it if nobody holds it or waits for it: see [`TryAcquire`].
    ///
    /// ```no_run
    /// # async fn example(
    /// #     store: quorate::Store, session: quorate::Session,
    /// # ) -> quorate::Result<()> {
    /// if let Some(guard) = store.lock("stock").try_acquire(&session).await? {
    ///     println!("held, with token {}", guard.token());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_acquire(&self, session: &Session) -> TryAcquire {
        let begun = self.line().and_then(|line| Ok((line.holder(session)?, line)));
        let acquire = async move |manner| {
            let (holder, line) = begun?;
            let held = line.try_enter(&holder, &[&line], manner).await?;
            Ok(held.map(|held| LockGuard { held }))
        };
        TryAcquire { call: Task::new(self.store.gate(), "it was known", acquire) }
    }

    fn line(&self) -> Result<Line> {
        Ok(Line { store: self.store.clone(), directory: place::directory(&self.name)? })
    }
}

async fn acquire(line: &Line, holder: &Holder, manner: Manner) -> Result<LockGuard> {
    let held = line.enter_last(holder, &Entry::default(), manner).await?;
    if planted(Bug::HoldAtOnce) {
        return Ok(LockGuard { held });
    }
    held.turn(|sight| the_one_before(sight, &line.directory)).await?;
    Ok(LockGuard { held })
}

/// Whoever stands before this place: the rule of a line that has one holder.
pub(super) fn the_one_before(sight: &Sight<'_>, directory: &Bytes) -> Result<Option<KeyRange>> {
    let before = sight.newest_older(KeyRange::prefix(directory.clone()))?;
    Ok(before.map(|kv| KeyRange::key(Bytes::copy_from_slice(kv.key()))))
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = format_args!("\"{}\"", self.name.escape_ascii());
        f.debug_struct("Lock").field("store", &self.store).field("name", &name).finish()
    }
}

/// Waits until a lock is this caller's: made by [`Lock::acquire`].
///
/// The place in the line is taken when it is first polled, and costs one write; to be the next
/// costs nothing. Dropped, or out of time, it leaves the line in the background (`REC-10`).
///
/// # Errors
///
/// [`is_lost`](crate::Error::is_lost) if the session is over, or somebody has deleted the key that
/// stands in the line (`REC-9`); [`is_timeout`](crate::Error::is_timeout) with a
/// [`timeout`](Self::timeout); [`is_invalid`](crate::Error::is_invalid) for an empty name and for a
/// session of another node; [`is_overloaded`](crate::Error::is_overloaded),
/// [`is_unavailable`](crate::Error::is_unavailable), [`is_closed`](crate::Error::is_closed) and
/// [`is_halted`](crate::Error::is_halted). After none of them the lock is held.
///
/// ```no_run
/// # async fn example(store: quorate::Store, session: quorate::Session) -> quorate::Result<()> {
/// let guard = store.lock("stock").acquire(&session).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct Acquire {
    call: Task<LockGuard>,
}

impl_task!(Acquire -> LockGuard, "store.lock(\"stock\").acquire(&session)");

/// Acquires a lock, or does not: made by [`Lock::try_acquire`].
///
/// It looks at the line, as recent as a [`Get`](crate::Get), and takes a place by one write if
/// nobody is there: nobody waits behind somebody who only tries. If somebody came in between, it
/// leaves the line again. `None`: somebody holds it, or waits for it (`REC-11`). Of two that try
/// at the same moment one has it.
///
/// # Errors
///
/// Those of [`Acquire`]. How long it may take without an answer of the cluster is the caller's to
/// say, with a [`timeout`](Self::timeout).
///
/// ```no_run
/// # async fn example(store: quorate::Store, session: quorate::Session) -> quorate::Result<()> {
/// let guard = store.lock("stock").try_acquire(&session).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct TryAcquire {
    call: Task<Option<LockGuard>>,
}

impl_task!(TryAcquire -> Option<LockGuard>, "store.lock(\"stock\").try_acquire(&session)");

/// Holds a [`Lock`]: made by [`Lock::acquire`].
///
/// Nobody else holds the lock before [`valid_until`](Self::valid_until), which moves on as long as
/// the session is renewed; look at it, or at [`is_lost`](Self::is_lost), before every step that
/// must not be taken without. The exception is whoever takes the lock away: by revoking the lease
/// or deleting the key. Then only [`txn`](Self::txn) and the [`token`](Self::token) protect.
///
/// It does not borrow the session, and may outlive it: then it is lost, as it is when the session
/// is closed. Dropped, it releases the lock in the background.
///
/// ```no_run
/// # async fn example(store: quorate::Store, session: quorate::Session) -> quorate::Result<()> {
/// use quorate::Op;
///
/// let guard = store.lock("stock").acquire(&session).await?;
/// while !guard.is_lost() {
///     guard.txn().then(Op::put("shoes", "41")).await?;
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "the lock is released when it is dropped"]
pub struct LockGuard {
    held: Held,
}

impl_guard!(LockGuard, "store.lock(\"stock\").acquire(&session)");

/// Gives a lock back: made by [`LockGuard::release`].
///
/// It says whether the lock was held until then: `false` if the key was gone before, and so the
/// lock perhaps somebody else's. That is no error (`REC-12`).
///
/// # Errors
///
/// Those of [`Put`](crate::Put) that have nothing to do with keys. The lock is given back in the
/// background then, as it is when this is dropped.
///
/// ```no_run
/// # async fn example(guard: quorate::LockGuard) -> quorate::Result<()> {
/// if !guard.release().await? {
///     println!("somebody else may have held it meanwhile");
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is waited for before it is awaited or waited for"]
pub struct Release {
    call: Leave,
}

impl Release {
    pub(super) fn new(held: Held) -> Self {
        Self { call: Leave::new(held) }
    }
}

impl_call!(
    Release -> bool,
    "store.lock(\"stock\").acquire(\
     &store.session(std::time::Duration::from_secs(10)).wait()?).wait()?.release()"
);

impl fmt::Debug for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Release").finish_non_exhaustive()
    }
}
