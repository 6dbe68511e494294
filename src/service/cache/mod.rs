//! A range, kept at hand: always current, and told of by callbacks.
//!
//! ```text
//!   any call ──► catch up: mark what is published     nothing is locked: others may be woken
//!                  │
//!                  ▼ locked
//!                the watcher gives batches ──► keys and values ──► what the call asks for
//!                  │                                  │
//!                  │ Compacted: list anew, and take   ▼ if there are callbacks
//!                  └─ the difference ─────────────► news, in order
//!                                                     │
//!                  ◄──────────────────────────────────┘ not locked: whoever comes first tells
//! ```
//!
//! There is no thread behind it and nothing that runs by itself. Whoever calls pulls what has
//! happened first, which is a look at one watcher; so what a call sees is what the member has
//! published when it was made, or newer. A cache that nobody calls is a watcher that is behind.
//!
//! # Callbacks
//!
//! News are queued under the lock under which they were applied, so their order is that of the
//! revisions. Telling them is done by one at a time, outside of the lock: who finds that another is
//! at it leaves its news to that one. The other may be itself, one callback up; so a callback may
//! read the cache, and what it pulls is told when it has returned. A new callback is news too: it
//! is told what was there when it came, then what comes behind it.
//!
//! # Who waits
//!
//! A watcher has one waker, and a cache many who wait; so the watcher's wakes all of them
//! (`wait.rs`). Each looks at the watcher again before it goes on waiting, by which the waker is
//! put back; one who has pulled something wakes the others.
//!
//! # Invariants
//!
//! - The keys and values are those of the range at `revision`, exactly.
//! - Each callback has been told every change up to what is still in the queue, once.
//! - No lock is held while a waker or a callback runs.

mod state;
mod tell;
#[cfg(test)]
mod tests;
mod wait;

use std::fmt;
use std::sync::Arc;
use std::task::Waker;

use self::state::{State, bounds};
use self::tell::Callback;
use self::wait::Waiters;
use super::options::impl_freshness;
use super::pending::{Ask, Call, Counter, Started, impl_call};
use super::scope::Scope;
use super::watch::{ListAsk, Listing, Watch};
use crate::core::mvcc::KeyValue;
use crate::error::{Error, Result};
use crate::gate::Gate;
use crate::ids::Revision;
use crate::keys::KeyRange;
use crate::sync::Mutex;

pub use self::tell::CacheChange;
pub use self::wait::{CacheChanged, CacheRun, CacheWait};

/// Makes a [`Cache`] of a range: made by [`Store::cache`](crate::Store::cache).
///
/// It lists the range once, and how recent that must be is asked as of a
/// [`RangeRead`](crate::RangeRead); from there on nobody is asked.
///
/// # Errors
///
/// Those of [`ListAndWatch`](crate::ListAndWatch).
///
/// ```no_run
/// # async fn example(store: quorate::Store) -> quorate::Result<()> {
/// use quorate::KeyRange;
///
/// let config = store.cache(KeyRange::prefix("config/")).await?;
/// let color = config.get("config/color")?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct CacheBuilder {
    call: Call<CacheAsk>,
}

struct CacheAsk {
    gate: Arc<dyn Gate>,
    /// As the caller says it.
    range: KeyRange,
    list: ListAsk,
}

impl CacheBuilder {
    pub(crate) fn new(gate: &Arc<dyn Gate>, scope: &Scope, range: KeyRange) -> Self {
        let list = ListAsk::new(Watch::new(gate, scope, range.clone()));
        Self { call: Call::new(gate, CacheAsk { gate: Arc::clone(gate), range, list }) }
    }
}

impl_freshness!(
    CacheBuilder, builder => builder.call.ask_mut().list.freshness,
    "store.cache(\"color\")", ".await?"
);
impl_call!(CacheBuilder -> Cache, "store.cache(\"color\")");

impl CacheAsk {
    fn cache(&self, listing: Listing) -> Cache {
        let inner = Inner {
            gate: Arc::clone(&self.gate),
            range: self.range.clone(),
            state: Mutex::new(State::new(listing)),
            waiters: Arc::default(),
        };
        Cache { inner: Arc::new(inner) }
    }
}

impl Ask for CacheAsk {
    type Answer = ();
    type Response = Cache;

    const WRITES: bool = false;

    fn start(&mut self, counter: &Counter<'_>) -> Result<Started<Self>> {
        Ok(match self.list.start(counter)? {
            Started::Answered(listing) => Started::Answered(self.cache(listing)),
            Started::HandedOver(reply) => Started::HandedOver(reply),
        })
    }

    fn finish(&mut self, gate: &dyn Gate, (): ()) -> Result<Cache> {
        let listing = self.list.finish(gate, ())?;
        Ok(self.cache(listing))
    }
}

impl fmt::Debug for CacheAsk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheAsk").field("list", &self.list).finish_non_exhaustive()
    }
}

/// A range of the store, kept at hand: made by [`Store::cache`](crate::Store::cache).
///
/// It is local, ordered and always current: a call sees all that this member had published when it
/// was made, without waiting for anybody and without asking the leader. So it is what a
/// [`serializable`](crate::RangeRead::serializable) read sees; [`wait_for`](Self::wait_for) makes
/// it at least as new as what somebody else has seen. What it has beyond such reads are
/// [callbacks](Self::on_change), and [waiting](Self::changed) for a change.
///
/// Nothing runs by itself: whoever calls brings it up to date first, and calls the callbacks. Where
/// nobody calls for long, let a task or a thread [`run`](Self::run) it. One that falls behind a
/// compaction lists its range anew, by itself, and callbacks are told the difference.
///
/// Cheap to clone; all clones are one. Use it from any thread.
///
/// # Memory
///
/// About 40 bytes for each key. The keys and values are the store's own, and not copied; only
/// current versions are held, as of the last call. But where the store lays records out anew behind
/// a compaction, the cache holds on to where they were: that is a second copy, and with it what
/// stood beside it, up to 64 KiB for each value.
///
/// # Errors
///
/// Calls end with [`is_closed`](crate::Error::is_closed) and
/// [`is_halted`](crate::Error::is_halted) when the node has.
///
/// ```no_run
/// # fn example(store: quorate::Store) -> quorate::Result<()> {
/// use quorate::{CacheChange, KeyRange};
///
/// let config = store.cache(KeyRange::prefix("config/")).wait()?;
/// config.on_change(|_, change| match change {
///     CacheChange::Put { kv, .. } => println!("{kv:?}"),
///     CacheChange::Delete { prev, .. } => println!("{:?} is gone", prev.key()),
/// })?;
/// let color = config.get("config/color")?;
/// let some = config.range("config/a".."config/d")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Cache {
    inner: Arc<Inner>,
}

struct Inner {
    gate: Arc<dyn Gate>,
    /// As the caller says it.
    range: KeyRange,
    state: Mutex<State>,
    waiters: Arc<Waiters>,
}

impl Cache {
    /// One key.
    ///
    /// # Errors
    ///
    /// [`is_invalid`](crate::Error::is_invalid) for a key that is not in the range of the cache: of
    /// that it knows nothing; and those of the type.
    ///
    /// ```no_run
    /// # fn example(cache: quorate::Cache) -> quorate::Result<()> {
    /// if let Some(kv) = cache.get("color")? {
    ///     println!("{:?}", kv.value());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<KeyValue>> {
        let key = key.as_ref();
        if !self.inner.range.contains(key) {
            let (key, range) = (key.escape_ascii(), &self.inner.range);
            return Err(Error::invalid(format!("the cache has {range:?}, and not \"{key}\"")));
        }
        self.see(|state| state.get(key).cloned())
    }

    /// The keys of `range` that are in the cache, in ascending order, all as of one revision. `..`
    /// is all that is in the cache.
    ///
    /// # Errors
    ///
    /// [`is_invalid`](crate::Error::is_invalid) for an empty key (`SEL-4`); and those of the type.
    ///
    /// ```no_run
    /// # fn example(cache: quorate::Cache) -> quorate::Result<()> {
    /// for kv in cache.range("a".."c")? {
    ///     println!("{kv:?}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn range(&self, range: impl Into<KeyRange>) -> Result<Vec<KeyValue>> {
        let range = range.into();
        range.check()?;
        let bounds = bounds(&range);
        self.see(|state| bounds.map_or_else(Vec::new, |bounds| state.range(bounds)))
    }

    /// How many keys there are.
    ///
    /// # Errors
    ///
    /// Those of the type.
    ///
    /// ```no_run
    /// # fn example(cache: quorate::Cache) -> quorate::Result<()> {
    /// println!("{} keys", cache.len()?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn len(&self) -> Result<usize> {
        self.see(State::len)
    }

    /// Is there no key?
    ///
    /// # Errors
    ///
    /// Those of the type.
    ///
    /// ```no_run
    /// # fn example(cache: quorate::Cache) -> quorate::Result<()> {
    /// assert_eq!(cache.is_empty()?, cache.len()? == 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// The revision that it has come to. What is read behind this call is as of this one, or newer.
    ///
    /// # Errors
    ///
    /// Those of the type.
    ///
    /// ```no_run
    /// # fn example(cache: quorate::Cache) -> quorate::Result<()> {
    /// println!("as of {}", cache.revision()?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn revision(&self) -> Result<Revision> {
        self.see(State::revision)
    }

    /// Waits until this member has come to `revision`, of which the caller has heard from
    /// elsewhere, and the cache with it: see [`CacheWait`].
    ///
    /// ```no_run
    /// # async fn example(cache: quorate::Cache, store: quorate::Store) -> quorate::Result<()> {
    /// let written = store.put("color", "blue").await?.header.revision;
    /// cache.wait_for(written).await?;
    /// let blue = cache.get("color")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait_for(&self, revision: Revision) -> CacheWait {
        CacheWait::new(self, revision)
    }

    /// Waits until something in the range has changed behind the revision `since`: see
    /// [`CacheChanged`].
    ///
    /// ```no_run
    /// # async fn example(cache: quorate::Cache) -> quorate::Result<()> {
    /// let mut seen = cache.revision()?;
    /// loop {
    ///     println!("{} keys", cache.len()?);
    ///     seen = cache.changed(seen).await?;
    /// }
    /// # }
    /// ```
    pub fn changed(&self, since: Revision) -> CacheChanged {
        CacheChanged::new(self, since)
    }

    /// Keeps it up to date, and calls its callbacks, for as long as the node is there: see
    /// [`CacheRun`].
    ///
    /// ```no_run
    /// # fn example(cache: quorate::Cache) {
    /// let thread = std::thread::spawn(move || cache.run().wait());
    /// # }
    /// ```
    pub fn run(&self) -> CacheRun {
        CacheRun::new(self)
    }

    /// Has a function told of every change: first of each key that is there now, as a put, then of
    /// what happens from here on. So whoever builds something of what it is told misses nothing.
    ///
    /// - It is told each change once, in the order of the revisions; within one, of the
    ///   transaction. Behind a compaction that the cache has missed there may be less: what is new
    ///   or other, and what is gone, in the order of the keys.
    /// - It runs on the thread of whoever brings the cache up to date: a call of the cache, or a
    ///   task that [`run`](Self::run)s it. Nothing is locked meanwhile, and no two callbacks of one
    ///   cache run at a time. It should not take long: who called waits for it.
    /// - It may do anything, also call the cache, which it is given. What it reads may be newer
    ///   than what it is told, and what it pulls so is told when it has returned. While it runs on
    ///   one thread, calls on others do not wait for it: what they see may be ahead of what it has
    ///   been told, and what they pull waits for it in memory.
    /// - If it panics, that goes to whoever called. The change counts as told.
    ///
    /// It stays for as long as the cache. One that holds a clone of the cache keeps it for ever.
    ///
    /// # Errors
    ///
    /// Those of the type.
    ///
    /// ```no_run
    /// # fn example(cache: quorate::Cache) -> quorate::Result<()> {
    /// cache.on_change(|cache, change| {
    ///     println!("{:?}, {:?} keys", change, cache.len());
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_change(
        &self,
        callback: impl FnMut(&Self, &CacheChange) + Send + 'static,
    ) -> Result<()> {
        let callback: Callback = Box::new(callback);
        self.pull(|state| state.join(callback))
    }

    /// What is there, brought up to date.
    fn see<T>(&self, look: impl FnOnce(&State) -> T) -> Result<T> {
        let inner = &*self.inner;
        inner.gate.reader()?;
        let published = inner.gate.watches().catch_up();
        {
            let state = inner.state.lock();
            if state.revision() >= published {
                return Ok(look(&state));
            }
        }
        self.pull(|state| look(state))
    }

    /// Brings it up to date, whatever is known already: by that its waker is in place. Then looks,
    /// then tells.
    fn pull<T>(&self, look: impl FnOnce(&mut State) -> T) -> Result<T> {
        let inner = &*self.inner;
        // Nothing is locked: this may wake others.
        inner.gate.watches().catch_up();
        let mut state = inner.state.lock();
        let before = state.newest();
        let pulled = state.pull(&Waker::from(Arc::clone(&inner.waiters)));
        let seen = pulled.map(|()| look(&mut state));
        let news = state.newest() > before;
        drop(state);
        if news {
            // They may have missed that the watcher rang.
            inner.waiters.wake_all();
        }
        self.tell();
        seen
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("range", &self.inner.range).finish_non_exhaustive()
    }
}
