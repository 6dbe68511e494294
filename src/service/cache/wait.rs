//! Who waits for a cache.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use std::{fmt, mem};

use futures_core::stream::Stream;

use super::Cache;
use crate::error::{Error, Kind, Result};
use crate::ids::Revision;
use crate::keys::KeyRange;
use crate::service::pending::block_on;
use crate::service::scope::Scope;
use crate::service::watch::{Watch, WatchEnd, Watcher};
use crate::sync::Mutex;

/// All who wait for the watcher of a cache to be rung. It is what the watcher wakes.
#[derive(Default)]
pub(super) struct Waiters {
    state: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// Each has to come again to be woken again.
    wakers: BTreeMap<u64, Waker>,
    last: u64,
}

impl Waiters {
    /// Wakes this one too, when there is something; under the number that it has, or a new one.
    fn enter(&self, number: Option<u64>, waker: &Waker) -> u64 {
        let mut state = self.state.lock();
        let number = number.unwrap_or_else(|| {
            state.last = state.last.saturating_add(1);
            state.last
        });
        let before = state.wakers.insert(number, waker.clone());
        drop((state, before));
        number
    }

    fn leave(&self, number: u64) {
        let mut state = self.state.lock();
        let waker = state.wakers.remove(&number);
        drop((state, waker));
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.state.lock().wakers.is_empty()
    }

    /// Nothing may be locked.
    pub(super) fn wake_all(&self) {
        let wakers = mem::take(&mut self.state.lock().wakers);
        wakers.into_values().for_each(Waker::wake);
    }
}

impl Wake for Waiters {
    fn wake(self: Arc<Self>) {
        self.wake_all();
    }
}

/// Blocks until there is something; with a timeout, for so long at most.
fn wait<T>(
    cache: &Cache,
    timeout: Option<Duration>,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<Result<T>>,
) -> Result<T> {
    let gate = Arc::clone(&cache.inner.gate);
    block_on(&*gate, timeout, &mut poll)
        .unwrap_or_else(|| Err(Error::new(Kind::Timeout, "the cache has not come so far in time")))
}

/// Gives a future with a function `poll_it` its ways to be waited for.
macro_rules! impl_waits {
    ($waiting:ident -> $output:ty, $make:literal) => {
        impl $waiting {
            /// Blocks the thread until it is so. Not for a thread that runs futures: await it
            /// there.
            ///
            /// # Errors
            ///
            /// See the type.
            ///
            /// ```no_run
            /// # fn go(cache: quorate::Cache, seen: quorate::Revision) -> quorate::Result<()> {
            #[doc = concat!("let revision = ", $make, ".wait()?;")]
            /// # Ok(())
            /// # }
            /// ```
            pub fn wait(mut self) -> Result<$output> {
                let cache = self.cache.clone();
                wait(&cache, None, |context| self.poll_it(context))
            }

            /// As [`wait`](Self::wait), but for so long at most.
            ///
            /// # Errors
            ///
            /// [`is_timeout`](crate::Error::is_timeout); and see the type.
            ///
            /// ```no_run
            /// # fn go(cache: quorate::Cache, seen: quorate::Revision) -> quorate::Result<()> {
            /// use std::time::Duration;
            ///
            #[doc = concat!("let revision = ", $make, ".wait_timeout(Duration::from_secs(1))?;")]
            /// # Ok(())
            /// # }
            /// ```
            pub fn wait_timeout(mut self, timeout: Duration) -> Result<$output> {
                let cache = self.cache.clone();
                wait(&cache, Some(timeout), |context| self.poll_it(context))
            }
        }

        impl Future for $waiting {
            type Output = Result<$output>;

            fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
                self.poll_it(context)
            }
        }
    };
}

/// Waits until something in the range of a [`Cache`] has changed behind some revision, and brings
/// the cache up to date: made by [`Cache::changed`]. Gives the revision of the last change: what to
/// wait for a change behind, next.
///
/// A change that has happened already is one: between two of these, none is missed, whoever else
/// reads the cache meanwhile. A future that is dropped loses nothing, so a timeout of the caller's
/// runtime may be put around it.
///
/// # Errors
///
/// Those of [`Cache`].
///
/// ```no_run
/// # async fn example(cache: quorate::Cache) -> quorate::Result<()> {
/// let seen = cache.revision()?;
/// let changed = cache.changed(seen).await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct CacheChanged {
    cache: Cache,
    since: Revision,
    number: Option<u64>,
}

impl CacheChanged {
    pub(super) fn new(cache: &Cache, since: Revision) -> Self {
        Self { cache: cache.clone(), since, number: None }
    }

    fn poll_it(&mut self, context: &mut Context<'_>) -> Poll<Result<Revision>> {
        // Before looking: what is found to be missing afterwards wakes.
        let waiters = &self.cache.inner.waiters;
        self.number = Some(waiters.enter(self.number, context.waker()));
        match self.cache.pull(|state| state.newest()) {
            Ok(newest) if newest <= self.since => Poll::Pending,
            found => Poll::Ready(found),
        }
    }
}

impl Drop for CacheChanged {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.cache.inner.waiters.leave(number);
        }
    }
}

impl_waits!(CacheChanged -> Revision, "cache.changed(seen)");

/// Keeps a [`Cache`] up to date and its callbacks told, whenever something happens: made by
/// [`Cache::run`]. Ends when the node does, with an error that says how.
///
/// For a task, or with [`wait`](Self::wait) for a thread, where nobody else calls the cache for
/// long: without calls its callbacks are not called, and it falls behind. Dropping it only stops
/// this.
///
/// ```no_run
/// # async fn example(store: quorate::Store) -> quorate::Result<()> {
/// let cache = store.cache("color").await?;
/// cache.on_change(|_, change| println!("{change:?}"))?;
/// let end = cache.run().await;
/// println!("{end}");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct CacheRun {
    /// Behind every revision: it pulls and never comes to it.
    changed: CacheChanged,
}

impl CacheRun {
    pub(super) fn new(cache: &Cache) -> Self {
        Self { changed: CacheChanged::new(cache, Revision::new(u64::MAX)) }
    }

    /// Blocks the thread until the node ends, and says how it has.
    ///
    /// ```no_run
    /// # fn example(cache: quorate::Cache) {
    /// std::thread::spawn(move || println!("{}", cache.run().wait()));
    /// # }
    /// ```
    pub fn wait(self) -> Error {
        match self.changed.wait() {
            Ok(_) => Error::new(Kind::Closed, "the node is closed"),
            Err(end) => end,
        }
    }
}

impl Future for CacheRun {
    type Output = Error;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Error> {
        match self.changed.poll_it(context) {
            Poll::Ready(Err(end)) => Poll::Ready(end),
            Poll::Ready(Ok(_)) | Poll::Pending => Poll::Pending,
        }
    }
}

/// Waits until a [`Cache`], and so its member, has come to some revision: made by
/// [`Cache::wait_for`]. Gives the revision that it has come to, which may be a later one.
///
/// Nobody is asked: on a member that is cut off it waits until it is not. Use
/// [`wait_timeout`](Self::wait_timeout), or around the future a timeout of the caller's runtime:
/// one that is dropped loses nothing.
///
/// # Errors
///
/// Those of [`Cache`].
///
/// ```no_run
/// # fn example(cache: quorate::Cache, seen: quorate::Revision) -> quorate::Result<()> {
/// use std::time::Duration;
///
/// cache.wait_for(seen).wait_timeout(Duration::from_secs(1))?;
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct CacheWait {
    cache: Cache,
    revision: Revision,
    /// Rung by whatever happens at that revision, to any key.
    watcher: Option<Watcher>,
}

impl CacheWait {
    pub(super) fn new(cache: &Cache, revision: Revision) -> Self {
        Self { cache: cache.clone(), revision, watcher: None }
    }

    fn poll_it(&mut self, context: &mut Context<'_>) -> Poll<Result<Revision>> {
        loop {
            let current = self.cache.revision()?;
            if current >= self.revision {
                self.watcher = None;
                return Poll::Ready(Ok(current));
            }
            let watcher = match &mut self.watcher {
                Some(watcher) => watcher,
                None => {
                    let gate = &self.cache.inner.gate;
                    let all = Watch::new(gate, &Scope::default(), KeyRange::all());
                    self.watcher.insert(all.from_revision(self.revision).start()?)
                }
            };
            match std::task::ready!(Pin::new(watcher).poll_next(context)) {
                // It has come; or so much has happened since that some of it is forgotten.
                Some(Ok(_) | Err(WatchEnd::Compacted(_))) | None => self.watcher = None,
                Some(Err(end)) => return Poll::Ready(Err(end.into())),
            }
        }
    }
}

impl_waits!(CacheWait -> Revision, "cache.wait_for(seen)");

impl fmt::Debug for CacheChanged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut changed = f.debug_struct("CacheChanged");
        changed.field("cache", &self.cache).field("since", &self.since).finish_non_exhaustive()
    }
}

impl fmt::Debug for CacheWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut wait = f.debug_struct("CacheWait");
        wait.field("cache", &self.cache).field("revision", &self.revision).finish_non_exhaustive()
    }
}
