//! What callbacks are told, by whom and when.

use std::collections::VecDeque;
use std::mem;

use super::Cache;
use crate::core::mvcc::KeyValue;
use crate::ids::Revision;

/// One change of a [`Cache`]: what its [callbacks](Cache::on_change) are told.
///
/// ```no_run
/// # fn example(change: quorate::CacheChange) {
/// use quorate::CacheChange;
///
/// match change {
///     CacheChange::Put { kv, prev: None } => println!("new: {kv:?}"),
///     CacheChange::Put { kv, prev: Some(prev) } => println!("{prev:?} has become {kv:?}"),
///     CacheChange::Delete { prev, revision } => println!("{prev:?} is gone since {revision}"),
/// }
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheChange {
    /// A key has a value that it did not have.
    Put {
        /// What it is now.
        kv: KeyValue,
        /// What the cache had before.
        prev: Option<KeyValue>,
    },
    /// A key is gone.
    Delete {
        /// What the cache had.
        prev: KeyValue,
        /// The revision that deleted it; behind a compaction, one at which it was gone.
        revision: Revision,
    },
}

impl CacheChange {
    /// The key.
    ///
    /// ```no_run
    /// # fn example(change: quorate::CacheChange) {
    /// println!("{} has changed", change.key().escape_ascii());
    /// # }
    /// ```
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Put { kv, .. } => kv.key(),
            Self::Delete { prev, .. } => prev.key(),
        }
    }
}

pub(super) type Callback = Box<dyn FnMut(&Cache, &CacheChange) + Send>;

/// What has yet to be told, and to whom.
#[derive(Default)]
pub(super) struct Telling {
    queue: VecDeque<News>,
    /// With whoever tells, while somebody does.
    callbacks: Vec<Callback>,
    is_told: bool,
    /// There is a callback, wherever.
    is_wanted: bool,
}

pub(super) enum News {
    Change(CacheChange),
    /// A new callback, and what was there when it came.
    Callback(Callback, Vec<KeyValue>),
}

impl Telling {
    pub(super) fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    pub(super) fn push(&mut self, news: News) {
        self.is_wanted |= matches!(news, News::Callback(..));
        self.queue.push_back(news);
    }
}

/// Has the callbacks while it tells them. Also one that panics leaves them to the next.
struct Teller<'a> {
    cache: &'a Cache,
    callbacks: Vec<Callback>,
    is_done: bool,
}

impl Cache {
    /// Tells what is in the queue, unless somebody else is at it, who will.
    pub(super) fn tell(&self) {
        let mut teller = {
            let mut state = self.inner.state.lock();
            let telling = &mut state.telling;
            if telling.is_told || telling.queue.is_empty() {
                return;
            }
            telling.is_told = true;
            let callbacks = mem::take(&mut telling.callbacks);
            Teller { cache: self, callbacks, is_done: false }
        };
        while let Some(news) = teller.next() {
            match news {
                News::Change(change) => {
                    teller.callbacks.iter_mut().for_each(|callback| callback(self, &change));
                }
                News::Callback(mut callback, kvs) => {
                    for kv in kvs {
                        callback(self, &CacheChange::Put { kv, prev: None });
                    }
                    teller.callbacks.push(callback);
                }
            }
        }
    }
}

impl Teller<'_> {
    /// What is next. At the end the callbacks are put back under the lock under which that was
    /// seen: whoever comes with more from then on tells it.
    fn next(&mut self) -> Option<News> {
        let mut state = self.cache.inner.state.lock();
        let news = state.telling.queue.pop_front();
        if news.is_none() {
            self.is_done = true;
            state.telling.callbacks = mem::take(&mut self.callbacks);
            state.telling.is_told = false;
        }
        news
    }
}

impl Drop for Teller<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            let mut state = self.cache.inner.state.lock();
            state.telling.callbacks = mem::take(&mut self.callbacks);
            state.telling.is_told = false;
        }
    }
}
