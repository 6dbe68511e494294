//! Semaphores: as many holders at a time as there are permits.
//!
//! A line (`place/`) in which the first so many hold, and the others wait until fewer than that are
//! before them. As long as the nearest so many before one are all there, it is not his turn; so
//! these are what he watches, as who waits for a lock watches the one before him. With 2 permits:
//!
//! ```text
//!   line       a   b   c   d   e          a and b hold
//!   c watches  ^   ^
//!   d watches      ^   ^                  a goes: c looks, and holds
//!   e watches          ^   ^              b goes: c and d look
//! ```
//!
//! Whoever leaves wakes no more than as many as there are permits, however many wait. Each watches
//! as many keys; where that would be too much ([`NEAR`]), all watch the whole line.
//!
//! How many permits there are each caller says. It is the end of the names of the places, and who
//! comes behind somebody that says otherwise is refused, and leaves the line again. Everybody has
//! looked at all before him that are still there, so of those who differ one at most is not to
//! leave. Until he has left nobody can tell him from one who holds, and who comes right behind
//! him is refused because of him, though he says what all others say.
//!
//! # What holds
//!
//! - Of the guards of one semaphore no more say that they are not lost than there are permits.
//! - Permits are given in the order in which they were asked for.

#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;

use super::guard::impl_guard;
use super::lease::{Holder, Session};
use super::lock::Release;
use super::place::{self, Entry, Held, Line, Manner, Sight, Task, impl_task};
use crate::error::{Error, Result};
use crate::keys::KeyRange;
use crate::planted::{Bug, planted};
use crate::store::Store;

/// A lock that so many may hold at a time: made by
/// [`Store::semaphore`](crate::Store::semaphore). Cheap to clone; it holds nothing itself.
///
/// Permits are given in the order in which they were asked for. Everybody must name the same number
/// of them: who names another one than those who hold or wait before him is refused
/// ([`is_invalid`](crate::Error::is_invalid)). Once nobody holds or waits, it may be another one.
/// Who is refused stands in the line until he has left it again: whoever comes right behind him may
/// be refused too, and may ask again.
///
/// Whoever gives back a permit wakes no more than as many as there are permits, however many wait.
/// Who waits watches as many keys, though; with more than 32 permits he watches the line as a
/// whole, and whoever leaves it wakes all who wait, on all members: that is well with dozens who
/// wait, and not with many thousands.
///
/// ```no_run
/// # async fn example(store: quorate::Store, session: quorate::Session) -> quorate::Result<()> {
/// let uploads = store.semaphore("uploads", 3);
/// let permit = uploads.acquire(&session).await?;
/// println!("one of three, with token {}", permit.token());
/// permit.release().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Semaphore {
    store: Store,
    name: Bytes,
    permits: usize,
}

impl Semaphore {
    pub(crate) fn new(store: &Store, name: Bytes, permits: usize) -> Self {
        Self { store: store.clone(), name, permits }
    }

    /// Waits until fewer than so many are before this one: see [`AcquirePermit`].
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store, session: quorate::Session)
    /// # -> quorate::Result<()> {
    /// let permit = store.semaphore("uploads", 3).acquire(&session).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn acquire(&self, session: &Session) -> AcquirePermit {
        let begun = self.begin(session);
        let acquire = async move |manner| {
            let (seats, holder) = begun?;
            let held = seats.enter(&holder, manner).await?;
            held.turn(|sight| seats.obstacles(sight)).await?;
            Ok(Permit { held })
        };
        AcquirePermit { call: Task::new(self.store.gate(), "a permit was free", acquire) }
    }

    /// Acquires a permit if one is free: see [`TryAcquirePermit`].
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store, session: quorate::Session)
    /// # -> quorate::Result<()> {
    /// if let Some(permit) = store.semaphore("uploads", 3).try_acquire(&session).await? {
    ///     println!("one of three, with token {}", permit.token());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_acquire(&self, session: &Session) -> TryAcquirePermit {
        let begun = self.begin(session);
        let acquire = async move |manner| {
            let (seats, holder) = begun?;
            let held = seats.enter(&holder, manner).await?;
            let (_, obstacles) = held.place().look(|sight| seats.obstacles(sight))?;
            if obstacles.is_empty() {
                return Ok(Some(Permit { held }));
            }
            // If it is not done in time, it goes on in the background.
            drop(Release::new(held).await);
            Ok(None)
        };
        TryAcquirePermit { call: Task::new(self.store.gate(), "it was known", acquire) }
    }

    fn begin(&self, session: &Session) -> Result<(Seats, Holder)> {
        if self.permits == 0 {
            let text = "a semaphore without permits cannot be acquired: it has 0";
            return Err(Error::invalid(text));
        }
        let directory = place::directory(&self.name)?;
        let line = Line { store: self.store.clone(), directory };
        let holder = line.holder(session)?;
        Ok((Seats { line, permits: self.permits }, holder))
    }
}

/// With so many permits those who wait watch single keys, as many each.
const NEAR: usize = 32;

/// A line of which the first so many hold.
struct Seats {
    line: Line,
    permits: usize,
}

impl Seats {
    async fn enter(&self, holder: &Holder, manner: Manner) -> Result<Held> {
        let entry = Entry { ending: self.ending(), ..Entry::default() };
        self.line.enter_last(holder, &entry, manner).await
    }

    fn ending(&self) -> String {
        format!("-{}", self.permits)
    }

    /// What is to be watched while it is not the turn of a place: if nothing there is deleted, it
    /// will not be.
    fn obstacles(&self, sight: &Sight<'_>) -> Result<Vec<KeyRange>> {
        let all = KeyRange::prefix(self.line.directory.clone());
        let older = sight.older(all.clone())?;
        let ending = self.ending();
        if older.iter().any(|kv| !kv.key().ends_with(ending.as_bytes())) {
            let permits = self.permits;
            let text = format!("others use the semaphore with another number than {permits}");
            return Err(Error::invalid(text));
        }
        let more = usize::from(planted(Bug::OnePermitMore));
        if older.len() < self.permits.saturating_add(more) {
            return Ok(Vec::new());
        }
        if self.permits > NEAR {
            return Ok(vec![all]);
        }
        let nearest = older.iter().rev().take(self.permits);
        Ok(nearest.map(|kv| KeyRange::key(Bytes::copy_from_slice(kv.key()))).collect())
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = format_args!("\"{}\"", self.name.escape_ascii());
        let mut semaphore = f.debug_struct("Semaphore");
        semaphore.field("store", &self.store).field("name", &name).field("permits", &self.permits);
        semaphore.finish()
    }
}

/// Waits until a permit is this caller's: made by [`Semaphore::acquire`].
///
/// It costs one write. Dropped, or out of time, it leaves the line in the background.
///
/// # Errors
///
/// [`is_invalid`](crate::Error::is_invalid) for no permits at all, and for another number of them
/// than others before this one name; and those of [`Acquire`](crate::Acquire).
///
/// ```no_run
/// # async fn example(store: quorate::Store, session: quorate::Session) -> quorate::Result<()> {
/// let permit = store.semaphore("uploads", 3).acquire(&session).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct AcquirePermit {
    call: Task<Permit>,
}

impl_task!(AcquirePermit -> Permit, "store.semaphore(\"uploads\", 3).acquire(&session)");

/// Acquires a permit, or does not: made by [`Semaphore::try_acquire`].
///
/// It takes a place in the line to see whether it has a permit, and leaves it again if not: two
/// writes then. Whoever tries at the same moment may find it in the line.
///
/// # Errors
///
/// Those of [`AcquirePermit`].
///
/// ```no_run
/// # async fn example(store: quorate::Store, session: quorate::Session) -> quorate::Result<()> {
/// let permit = store.semaphore("uploads", 3).try_acquire(&session).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct TryAcquirePermit {
    call: Task<Option<Permit>>,
}

impl_task!(
    TryAcquirePermit -> Option<Permit>,
    "store.semaphore(\"uploads\", 3).try_acquire(&session)"
);

/// Holds one of the permits of a [`Semaphore`]: made by [`Semaphore::acquire`].
///
/// What it promises and what not is as with a [`LockGuard`](crate::LockGuard), but that as many may
/// hold one as there are permits. Dropped, it is given back in the background.
///
/// ```no_run
/// # async fn example(store: quorate::Store, session: quorate::Session) -> quorate::Result<()> {
/// let permit = store.semaphore("uploads", 3).acquire(&session).await?;
/// permit.release().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "the permit is given back when it is dropped"]
pub struct Permit {
    held: Held,
}

impl_guard!(Permit, "store.semaphore(\"uploads\", 3).acquire(&session)");
