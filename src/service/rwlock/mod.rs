//! Locks that many may hold to read, or one to write.
//!
//! ```text
//!   stock/read/..    readers     wait for the newest writer before them
//!   stock/write/..   writers     wait for the newest of either kind before them
//! ```
//!
//! The two directories are one line, since create revisions order them together (`REC-36`); only
//! whom a place waits for differs. So readers and writers come in the order in which they asked:
//! who reads cannot keep a writer waiting for ever, nor the other way round.
//!
//! # What holds
//!
//! - While a writer's guard says that it is not lost, there is no other guard that says so.
//! - Tokens rise from one writer to the next, and are greater than those of all readers before.
//!
//! What a guard is good for and what it cannot do is as with a lock (`lock/`).

#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;

use super::guard::impl_guard;
use super::lease::Session;
use super::place::{self, Entry, Held, Line, Sight, Task, impl_task};
use crate::error::Result;
use crate::keys::KeyRange;
use crate::planted::{Bug, planted};
use crate::store::Store;

/// A lock that many may hold at once to read, or one alone to write: made by
/// [`Store::rw_lock`](crate::Store::rw_lock). Cheap to clone; it holds nothing itself.
///
/// Readers and writers are served in the order in which they asked (`REC-36`): readers that follow
/// each other hold it together, and whoever asks behind a writer waits for that one first. It is
/// not re-entrant, not even for readers: one who reads and reads again waits for himself if a
/// writer has come in between.
///
/// As with a [`Lock`](crate::Lock), what it protects has to be written through
/// [`WriteGuard::txn`](crate::WriteGuard::txn), or be told the token.
///
/// Its readers stand under `name/read/` and its writers under `name/write/`: a lock, an election or
/// a semaphore that is called `name/read` or `name/write` is in the same line, so nothing else that
/// is held should be called so.
///
/// ```no_run
/// # async fn example(store: quorate::Store, session: quorate::Session) -> quorate::Result<()> {
/// let stock = store.rw_lock("stock");
/// let reading = stock.read(&session).await?;
/// reading.release().await?;
/// let writing = stock.write(&session).await?;
/// writing.txn().then(quorate::Op::put("shoes", "41")).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RwLock {
    store: Store,
    name: Bytes,
}

/// Its two directories.
#[derive(Clone)]
struct Lines {
    readers: Line,
    writers: Line,
}

impl RwLock {
    pub(crate) fn new(store: &Store, name: Bytes) -> Self {
        Self { store: store.clone(), name }
    }

    /// Waits until no writer is before this one: see [`AcquireRead`].
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store, session: quorate::Session)
    /// # -> quorate::Result<()> {
    /// let guard = store.rw_lock("stock").read(&session).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn read(&self, session: &Session) -> AcquireRead {
        let begun = self.begin(session);
        let acquire = async move |manner| {
            let (lines, holder) = begun?;
            let held = lines.readers.enter_last(&holder, &Entry::default(), manner).await?;
            if !planted(Bug::ReadAtOnce) {
                held.turn(|sight| newest(sight, &[&lines.writers])).await?;
            }
            Ok(ReadGuard { held })
        };
        AcquireRead { call: Task::new(self.store.gate(), "no writer was before", acquire) }
    }

    /// Waits until nobody is before this one: see [`AcquireWrite`].
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store, session: quorate::Session)
    /// # -> quorate::Result<()> {
    /// let guard = store.rw_lock("stock").write(&session).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn write(&self, session: &Session) -> AcquireWrite {
        let begun = self.begin(session);
        let acquire = async move |manner| {
            let (lines, holder) = begun?;
            let held = lines.writers.enter_last(&holder, &Entry::default(), manner).await?;
            held.turn(|sight| newest(sight, &[&lines.readers, &lines.writers])).await?;
            Ok(WriteGuard { held })
        };
        AcquireWrite { call: Task::new(self.store.gate(), "it was this caller's turn", acquire) }
    }

    /// Acquires it to read, if no writer holds it or waits for it: see [`TryAcquireRead`].
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store, session: quorate::Session)
    /// # -> quorate::Result<()> {
    /// if let Some(guard) = store.rw_lock("stock").try_read(&session).await? {
    ///     println!("nobody writes before {:?}", guard.valid_until());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_read(&self, session: &Session) -> TryAcquireRead {
        let begun = self.begin(session);
        let acquire = async move |manner| {
            let (lines, holder) = begun?;
            let held = lines.readers.try_enter(&holder, &[&lines.writers], manner).await?;
            Ok(held.map(|held| ReadGuard { held }))
        };
        TryAcquireRead { call: Task::new(self.store.gate(), "it was known", acquire) }
    }

    /// Acquires it to write, if nobody holds it or waits for it: see [`TryAcquireWrite`].
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store, session: quorate::Session)
    /// # -> quorate::Result<()> {
    /// if let Some(guard) = store.rw_lock("stock").try_write(&session).await? {
    ///     guard.txn().then(quorate::Op::put("shoes", "41")).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_write(&self, session: &Session) -> TryAcquireWrite {
        let begun = self.begin(session);
        let acquire = async move |manner| {
            let (lines, holder) = begun?;
            let before = [&lines.readers, &lines.writers];
            let held = lines.writers.try_enter(&holder, &before, manner).await?;
            Ok(held.map(|held| WriteGuard { held }))
        };
        TryAcquireWrite { call: Task::new(self.store.gate(), "it was known", acquire) }
    }

    fn begin(&self, session: &Session) -> Result<(Lines, super::lease::Holder)> {
        let directory = place::directory(&self.name)?;
        let line = |kind: &[u8]| {
            let directory = [&directory[..], kind].concat().into();
            Line { store: self.store.clone(), directory }
        };
        let lines = Lines { readers: line(b"read/"), writers: line(b"write/") };
        let holder = lines.readers.holder(session)?;
        Ok((lines, holder))
    }
}

fn keys(line: &Line) -> KeyRange {
    KeyRange::prefix(line.directory.clone())
}

/// The newest place in these that is before this one: when it is gone is time to look again.
fn newest(sight: &Sight<'_>, lines: &[&Line]) -> Result<Option<KeyRange>> {
    let mut newest = None;
    for line in lines {
        let older = sight.newest_older(keys(line))?;
        newest = newest.max(older.map(|kv| (kv.create_revision(), kv.key().to_vec())));
    }
    Ok(newest.map(|(_, key)| KeyRange::key(key)))
}

impl fmt::Debug for RwLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = format_args!("\"{}\"", self.name.escape_ascii());
        f.debug_struct("RwLock").field("store", &self.store).field("name", &name).finish()
    }
}

/// The four calls, which differ in whom they wait for: their errors are those of a lock's.
macro_rules! acquisition {
    ($(#[$doc:meta])* $call:ident -> $guard:ty, $make:literal) => {
        $(#[$doc])*
        ///
        /// # Errors
        ///
        /// Those of [`Acquire`](crate::Acquire). After none of them it is held.
        ///
        /// ```no_run
        /// # async fn example(store: quorate::Store, session: quorate::Session)
        /// # -> quorate::Result<()> {
        #[doc = concat!("let guard = ", $make, ".await?;")]
        /// # Ok(())
        /// # }
        /// ```
        #[derive(Debug)]
        #[must_use = "nothing happens before it is awaited or waited for"]
        pub struct $call {
            call: Task<$guard>,
        }

        impl_task!($call -> $guard, $make);
    };
}

acquisition!(
    /// Waits until a lock may be read under: made by [`RwLock::read`]. It costs one write, and
    /// waits for the writers that came before, each in its turn.
    AcquireRead -> ReadGuard, "store.rw_lock(\"stock\").read(&session)"
);
acquisition!(
    /// Waits until a lock may be written under: made by [`RwLock::write`]. It costs one write, and
    /// waits for everybody who came before.
    AcquireWrite -> WriteGuard, "store.rw_lock(\"stock\").write(&session)"
);
acquisition!(
    /// Acquires a lock to read, or does not: made by [`RwLock::try_read`]. It looks, and takes
    /// a place by one write if there is no writer; it leaves again if one came in between.
    TryAcquireRead -> Option<ReadGuard>, "store.rw_lock(\"stock\").try_read(&session)"
);
acquisition!(
    /// Acquires a lock to write, or does not: made by [`RwLock::try_write`]. It looks, and
    /// takes a place by one write if there is nobody; it leaves again if one came in between.
    TryAcquireWrite -> Option<WriteGuard>, "store.rw_lock(\"stock\").try_write(&session)"
);

/// Holds a [`RwLock`] to read: made by [`RwLock::read`]. Nobody writes under the lock meanwhile.
///
/// What it promises and what not is as with a [`LockGuard`](crate::LockGuard). Dropped, it is given
/// back in the background.
///
/// ```no_run
/// # async fn example(store: quorate::Store, session: quorate::Session) -> quorate::Result<()> {
/// let guard = store.rw_lock("stock").read(&session).await?;
/// println!("nobody writes before {:?}", guard.valid_until());
/// # Ok(())
/// # }
/// ```
#[must_use = "the lock is released when it is dropped"]
pub struct ReadGuard {
    held: Held,
}

/// Holds a [`RwLock`] to write: made by [`RwLock::write`]. Nobody else holds the lock meanwhile.
///
/// What it promises and what not is as with a [`LockGuard`](crate::LockGuard). Dropped, it is given
/// back in the background.
///
/// ```no_run
/// # async fn example(store: quorate::Store, session: quorate::Session) -> quorate::Result<()> {
/// let guard = store.rw_lock("stock").write(&session).await?;
/// guard.txn().then(quorate::Op::put("shoes", "41")).await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "the lock is released when it is dropped"]
pub struct WriteGuard {
    held: Held,
}

impl_guard!(ReadGuard, "store.rw_lock(\"stock\").read(&session)");
impl_guard!(WriteGuard, "store.rw_lock(\"stock\").write(&session)");
