//! Many watchers, one consumer.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::task::Waker;

use super::pull::{Last, Look, Pull, impl_pull};
use super::{Watch, WatchBatch, WatchEnd, watcher};
use crate::core::watch::{Bell, Bells, Cursor, Has};
use crate::error::{Error, Result};
use crate::gate::Gate;
use crate::ids::{Revision, WatchId};
use crate::planted::{Bug, planted};
use crate::service::Scope;

/// Watchers that are looked at and have nothing, before others run.
const LOOKS: usize = 256;

/// Many watchers and one consumer: made by [`Store::watch_set`](crate::Store::watch_set).
///
/// Each watcher is as one by itself ([`Watcher`](crate::Watcher)), and is told apart by its
/// [`WatchId`]. Among different ones no order is promised, but in what the set says of its
/// [progress](Self::request_progress) (`WAT-15`). A busy one takes turns with the others, and the
/// consumer is woken once, however many have something: a hundred thousand that are idle cost it
/// nothing but memory, less than 500 bytes each.
///
/// It is a [`Stream`](futures_core::Stream), and with [`into_iter`](IntoIterator::into_iter) an
/// iterator for a thread. One without watchers has nothing to say, but is no end: only that of the
/// node is. Dropping it ends all of its watchers (`WAT-9`).
///
/// ```no_run
/// # async fn example(store: quorate::Store) -> quorate::Result<()> {
/// use quorate::{KeyRange, WatchUpdate};
///
/// let mut set = store.watch_set();
/// let colors = set.add(store.watch(KeyRange::prefix("colors/")))?;
/// let sizes = set.add(store.watch(KeyRange::prefix("sizes/")).prev_values())?;
/// while let Some(update) = set.next().await {
///     match update? {
///         WatchUpdate::Batch(id, batch) if id == colors => println!("{:?}", batch.events()),
///         WatchUpdate::Batch(_, batch) => println!("a size: {:?}", batch.events()),
///         WatchUpdate::Ended(id, end) => println!("{id} has ended: {end}"),
///         WatchUpdate::Progress(revision) => println!("all of them have come to {revision}"),
///         _ => {}
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "a set that is dropped watches nothing"]
pub struct WatchSet {
    gate: Arc<dyn Gate>,
    /// The number under which the node knows this set.
    shared: u64,
    bells: Arc<Bells>,
    members: BTreeMap<WatchId, Box<Member>>,
    /// Where the next id is looked for.
    next_id: u64,
    progress: Progress,
    last: Last,
}

/// All that is kept of one watcher.
struct Member {
    cursor: Cursor,
    scope: Scope,
}

/// A notification of progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Progress {
    #[default]
    NotAsked,
    /// It is to be given when nobody has anything else.
    Asked,
    /// As long as this one waits for a revision to come, there is none (`WAT-26`).
    HeldBackBy(WatchId),
}

/// What a [`WatchSet`] gives.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum WatchUpdate {
    /// What has happened for one of the watchers.
    Batch(WatchId, WatchBatch),
    /// One of them has ended, and its id is free. One that was [cancelled](WatchSet::cancel) is
    /// not named again.
    Ended(WatchId, WatchEnd),
    /// Everything up to this revision has been given, for all of them; what is given to any of them
    /// from here on is from behind it (`WAT-25`).
    Progress(Revision),
}

impl WatchSet {
    pub(crate) fn new(gate: &Arc<dyn Gate>) -> Self {
        let (shared, bells) = gate.watches().share();
        Self {
            gate: Arc::clone(gate),
            shared,
            bells,
            members: BTreeMap::new(),
            next_id: 0,
            progress: Progress::default(),
            last: Last::default(),
        }
    }

    /// Starts a watcher in this set. Its id is the one that the [`Watch`] was
    /// [given](Watch::id), or the next that is free, counting up from 0 (`WAT-6`).
    ///
    /// etcd takes 0 for "choose one"; here that is not to give any, and 0 is an id like others.
    /// The watch may come from any handle to the node, scoped or not.
    ///
    /// # Errors
    ///
    /// Those of [`Watch::start`]; and [`is_invalid`](crate::Error::is_invalid) if the id is taken
    /// in this set, or the watch is of another node. The set goes on.
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) -> quorate::Result<()> {
    /// use quorate::WatchId;
    ///
    /// let mut set = store.watch_set();
    /// assert_eq!(set.add(store.watch("a").id(WatchId::new(1)))?, WatchId::new(1));
    /// assert!(set.add(store.watch("b").id(WatchId::new(1))).is_err(), "it is taken");
    /// assert_eq!(set.add(store.watch("b"))?, WatchId::new(0));
    /// assert_eq!(set.add(store.watch("c"))?, WatchId::new(2));
    /// # Ok(())
    /// # }
    /// ```
    pub fn add(&mut self, watch: Watch) -> Result<WatchId> {
        if !Arc::ptr_eq(self.gate.watches(), watch.gate.watches()) {
            return Err(Error::invalid("the watch is of another node than the set"));
        }
        let id = match watch.id {
            Some(id) if self.members.contains_key(&id) => {
                return Err(Error::invalid(format!("the watch id {id} is taken in this set")));
            }
            Some(id) => id,
            None => self.free_id(),
        };
        let bell = Bell::Shared(Arc::clone(&self.bells), id.get());
        let mut cursor = watch.open(bell)?;
        // Puts it to sleep if there is nothing for it yet; else it rings.
        cursor.has(cursor.created());
        if watch.id.is_none() {
            self.next_id = id.get().saturating_add(1);
        }
        self.members.insert(id, Box::new(Member { cursor, scope: watch.scope }));
        Ok(id)
    }

    /// Ends one of the watchers: nothing more is given for it (`WAT-8`). Says whether there was
    /// one.
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let mut set = store.watch_set();
    /// let id = set.add(store.watch("color"))?;
    /// assert!(set.cancel(id));
    /// assert!(!set.cancel(id), "it is gone");
    /// # Ok(())
    /// # }
    /// ```
    pub fn cancel(&mut self, id: WatchId) -> bool {
        self.members.remove(&id).is_some()
    }

    /// Makes the set say how far all of its watchers have come: one
    /// [`WatchUpdate::Progress`], as soon as none of them has anything else to give (`WAT-25`).
    ///
    /// As long as one waits for a revision to come there is none, since that one has been given
    /// nothing (`WAT-26`), and a set without watchers never says any. Where etcd drops the request
    /// then and is asked again, here it stands until it can be answered. Asked twice before, it is
    /// answered once. It costs a look at each watcher.
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let mut set = store.watch_set();
    /// set.add(store.watch("color"))?;
    /// set.request_progress();
    /// println!("{:?}", set.next().wait());
    /// # Ok(())
    /// # }
    /// ```
    pub fn request_progress(&mut self) {
        if !self.members.is_empty() {
            self.progress = Progress::Asked;
        }
    }

    /// How many watchers there are.
    ///
    /// ```no_run
    /// # fn example(set: quorate::WatchSet) {
    /// println!("{} watchers", set.len());
    /// # }
    /// ```
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Is there none?
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) {
    /// assert!(store.watch_set().is_empty());
    /// # }
    /// ```
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    fn free_id(&self) -> WatchId {
        let mut id = self.next_id;
        // There are fewer watchers than numbers.
        while self.members.contains_key(&WatchId::new(id)) {
            id = id.wrapping_add(1);
        }
        WatchId::new(id)
    }

    /// Looks at one that rang. Nothing: it has nothing for now.
    fn look_at(&mut self, id: WatchId, waker: Option<&Waker>) -> Look<WatchUpdate> {
        // It may have rung before it was cancelled.
        let Some(member) = self.members.get_mut(&id) else { return Look::Nothing };
        let told = member.cursor.poll(waker);
        match watcher::show(&self.gate, &member.scope, told, &member.cursor) {
            Look::Item(batch) => {
                // There may be more. The others come first.
                if !planted(Bug::ForgetServed) {
                    member.cursor.settle();
                }
                Look::Item(WatchUpdate::Batch(id, batch))
            }
            Look::Nothing => Look::Nothing,
            Look::Later => {
                member.cursor.ring();
                Look::Later
            }
            Look::End(end) => {
                self.members.remove(&id);
                Look::Item(WatchUpdate::Ended(id, end))
            }
        }
    }

    /// Nobody has rung: is that to be told?
    fn settle(&mut self) -> Option<WatchUpdate> {
        if self.members.is_empty() {
            self.progress = Progress::NotAsked;
        }
        if self.progress == Progress::NotAsked {
            return None;
        }
        // No lower than any event that was given.
        let matched = self.gate.watches().catch_up();
        if let Progress::HeldBackBy(id) = self.progress {
            let member = self.members.get_mut(&id);
            if member.is_some_and(|it| it.cursor.has(matched) == Has::NotBegun) {
                return None;
            }
            self.progress = Progress::Asked;
        }
        let mut all = true;
        for (id, member) in &mut self.members {
            match member.cursor.has(matched) {
                Has::All => {}
                Has::NotAll => all = planted(Bug::SetTooSoon),
                Has::NotBegun => {
                    self.progress = Progress::HeldBackBy(*id);
                    return None;
                }
            }
        }
        if !all {
            return None;
        }
        self.progress = Progress::NotAsked;
        Some(WatchUpdate::Progress(matched))
    }
}

impl Pull for WatchSet {
    type Item = WatchUpdate;

    fn look(&mut self, waker: Option<&Waker>) -> Look<WatchUpdate> {
        for _ in 0..LOOKS {
            if self.gate.watches().has_ended() {
                return Look::End(watcher::ended(&*self.gate));
            }
            if let Some(id) = self.bells.next(waker) {
                match self.look_at(WatchId::new(id), waker) {
                    Look::Nothing => continue,
                    found => return found,
                }
            }
            if let Some(progress) = self.settle() {
                return Look::Item(progress);
            }
            // Who had to be looked at has rung since; and so has an end, if it came since.
            if self.bells.is_silent() && !self.gate.watches().has_ended() {
                return Look::Nothing;
            }
        }
        Look::Later
    }

    fn gate(&self) -> &Arc<dyn Gate> {
        &self.gate
    }

    fn last(&mut self) -> &mut Last {
        &mut self.last
    }
}

impl_pull!(
    WatchSet, NextUpdate, WatchUpdates -> WatchUpdate, "update", "store.watch_set()"
);

impl Drop for WatchSet {
    fn drop(&mut self) {
        self.gate.watches().unshare(self.shared);
    }
}

impl fmt::Debug for WatchSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchSet")
            .field("watchers", &self.members.len())
            .field("progress", &self.progress)
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}
