//! One watcher: where it is, and what comes next.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::topic::{Bell, Read, Rest, SharedTopic, Slot, Topic};
use super::{SHORTEST_PROGRESS, Step, Watches};
use crate::core::mvcc::{Changed, Changes, Event, Filter, Position};
use crate::ids::Revision;
use crate::keys::KeyRange;
use crate::planted::{Bug, planted};
use crate::sync::atomic::{Ordering, fence};
use crate::time::Instant;

/// Events that are kept for others of a topic, at most.
const SHARED_EVENTS: usize = 256;

/// What is watched, and how.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) range: KeyRange,
    /// The first revision; `None`: the one behind the current one (`WAT-2`).
    pub(crate) from: Option<Revision>,
    pub(crate) filter: Filter,
    pub(crate) prev: bool,
    /// How often to tell of progress (`WAT-24`).
    pub(crate) progress: Option<Duration>,
    /// A revision of more bytes comes in pieces (`WAT-21`).
    pub(crate) fragment_bytes: Option<NonZeroUsize>,
    pub(crate) needs_leader: bool,
}

/// What a watcher is told next.
#[derive(Debug)]
pub(crate) enum Told {
    /// Everything up to and including `upto` that it has not been given before; of the revision
    /// behind that, if it is a fragment, only some (`WAT-16`, `WAT-21`).
    Events {
        events: Vec<Event>,
        upto: Revision,
        fragment: bool,
    },
    /// There was nothing up to here (`WAT-23`).
    Progress(Revision),
    /// Not now: the waker is called when there is more.
    Nothing,
    /// It has looked at much and found nothing. It should let others run, and come again.
    Later,
    /// What it needs next has been compacted (`WAT-11`).
    Compacted(Revision),
    /// `WAT-33`.
    NoLeader,
    Cancelled,
    /// The node has ended.
    Ended,
}

/// A watcher. The chapter is in `mod.rs`.
pub(crate) struct Cursor {
    watches: Arc<Watches>,
    topic: SharedTopic,
    slot: Arc<Slot>,
    /// The first revision that was asked for; 0: the one behind `created`.
    from: Revision,
    filter: Filter,
    prev: bool,
    /// The caller has asked for a notification of progress.
    asked: bool,
    fragment_bytes: Option<NonZeroUsize>,
    /// The revision that was current when it was made (`WAT-1`).
    created: Revision,
    /// Everything before was given or is in `buffer`.
    next: Position,
    /// Events that were read and not given yet: of a revision that is not whole yet, or behind a
    /// fragment.
    buffer: Vec<Event>,
    /// What it needed was gone before it began.
    lost: bool,
    /// It has left its topic.
    left: bool,
}

/// How much a watcher has of what has happened up to some revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Has {
    /// Everything of it has been given.
    All,
    /// It has to be looked at, and rings for that.
    NotAll,
    /// It waits for a revision behind it.
    NotBegun,
}

impl Watches {
    /// Adds a watcher. Everything that is published from here on is for it (`WAT-1`).
    pub(crate) fn watch(self: &Arc<Self>, spec: &Spec, bell: Bell) -> Cursor {
        let mut state = self.state.lock();
        let first = self.count.fetch_add(1, Ordering::SeqCst) == 0;
        // See `count`.
        fence(Ordering::SeqCst);
        let created = self.reader.revision();
        if first {
            state.next = (created.next(), 0);
            self.matched.store(created.get(), Ordering::Release);
        }
        let from = spec.from.filter(|from| *from <= created || !planted(Bug::FireEarly));
        let from = from.unwrap_or_else(|| created.next());
        let every = spec.progress.map_or(0, |every| every.max(SHORTEST_PROGRESS).as_millis());
        let every = u32::try_from(every).unwrap_or(u32::MAX);
        let slot = Slot::new(state.next_id(), bell, from, (spec.needs_leader, every));
        let slot = Arc::new(slot);
        let topic = state.matcher.entry(&spec.range, || SharedTopic::new(Topic::new(&spec.range)));
        let topic = SharedTopic::clone(topic);
        topic.join(&slot);
        if every > 0 {
            let now = Instant::from_nanos(self.now.load(Ordering::Relaxed));
            state.progress.add(now, &slot, millis(every));
        }
        drop(state);
        // What is compacted from here on waits for it.
        let lost = self.reader.compacted().is_some_and(|compacted| from < compacted);
        Cursor {
            watches: Arc::clone(self),
            topic,
            slot,
            from: spec.from.unwrap_or_default(),
            filter: spec.filter,
            prev: spec.prev,
            asked: false,
            fragment_bytes: spec.fragment_bytes,
            created,
            next: (from, 0),
            buffer: Vec::new(),
            lost,
            left: false,
        }
    }
}

impl Cursor {
    /// What is watched, and how; but from when it is made on.
    pub(crate) fn spec(&self) -> Spec {
        Spec {
            range: self.range(),
            from: None,
            filter: self.filter,
            prev: self.prev,
            progress: (self.slot.every > 0).then(|| millis(self.slot.every)),
            fragment_bytes: self.fragment_bytes,
            needs_leader: self.slot.needs_leader,
        }
    }

    /// What is watched.
    pub(crate) fn range(&self) -> KeyRange {
        self.topic.range()
    }

    /// The revision that was current when it was made.
    pub(crate) fn created(&self) -> Revision {
        self.created
    }

    /// Every event before this revision has been given, and none from it on, but for fragments.
    pub(crate) fn next_revision(&self) -> Revision {
        self.buffer.first().map_or(self.next.0, Event::revision)
    }

    /// Leaves out what happened before `revision`, which the caller knows already.
    pub(crate) fn skip_to(&mut self, revision: Revision) {
        self.next = self.next.max((revision, 0));
        self.slot.move_to(self.next.0);
        self.buffer.retain(|event| event.revision() >= revision);
    }

    /// The next time that there is nothing to tell, that is told (`WAT-25`).
    pub(crate) fn ask_progress(&mut self) {
        self.asked = true;
    }

    /// Something that ends it from elsewhere.
    pub(crate) fn canceller(&self) -> Canceller {
        Canceller { slot: Arc::clone(&self.slot) }
    }

    /// As if there were something to look at. For one that shares its bell.
    pub(crate) fn ring(&self) {
        self.slot.wake();
    }

    /// Has everything up to `matched` been given, up to where all is [marked](Watches::catch_up)?
    /// If so, and also if it waits for a revision to come, it sleeps.
    pub(crate) fn has(&mut self, matched: Revision) -> Has {
        let is_read = self.buffer.is_empty() && self.may_rest();
        let rest = (is_read && self.ending().is_none())
            .then(|| self.topic.rest(&self.slot, self.next.0, matched));
        let Some(Rest::Asleep(from)) = rest else {
            self.ring();
            return Has::NotAll;
        };
        self.next = self.next.max((from, 0));
        if self.from > matched { Has::NotBegun } else { Has::All }
    }

    /// It has been given something: it sleeps, if that was all, and rings otherwise. For one that
    /// shares its bell.
    pub(crate) fn settle(&mut self) {
        let matched = self.watches.matched();
        self.has(matched);
    }

    /// What comes next. If that is nothing yet, `waker` is called when it may be something. Who
    /// has none only looks, and takes nobody's place who waits.
    pub(crate) fn poll(&mut self, waker: Option<&Waker>) -> Told {
        let told = self.look(waker);
        if let Told::Compacted(_) | Told::NoLeader | Told::Cancelled | Told::Ended = told {
            // It holds nothing back any more, however long its owner keeps it (`WAT-28`).
            self.leave();
        }
        told
    }

    fn look(&mut self, waker: Option<&Waker>) -> Told {
        self.slot.answer();
        let mut looked = false;
        loop {
            if let Some(told) = self.ending() {
                return told;
            }
            if let Some(told) = self.give() {
                return told;
            }
            if self.may_rest()
                && let Some(told) = self.rest(waker)
            {
                return told;
            }
            if looked {
                return Told::Later;
            }
            looked = true;
            if let Err(compacted) = self.read() {
                return Told::Compacted(compacted);
            }
        }
    }

    /// It has looked at whole revisions, and at all that was there before it came: that has rung
    /// nobody.
    fn may_rest(&self) -> bool {
        self.next.1 == 0 && self.next.0 > self.created
    }

    /// Falls asleep, if it has been given all there is, and says what is to be told of that; or
    /// finds where to read on.
    fn rest(&mut self, waker: Option<&Waker>) -> Option<Told> {
        if let Some(from) = self.topic.news(&self.slot, self.next.0) {
            self.read_on(from);
            return None;
        }
        if let Some(waker) = waker {
            // Before it sleeps: what is missing afterwards rings.
            self.slot.listen(waker);
        }
        match self.topic.rest(&self.slot, self.next.0, self.watches.matched()) {
            Rest::Behind(from) => {
                if waker.is_none() {
                    // It slept, perhaps, and will not be rung any more: who waits comes now.
                    self.slot.wake();
                }
                self.read_on(from);
                None
            }
            Rest::Asleep(from) => {
                self.next = self.next.max((from, 0));
                // Between looking for an end and falling asleep one may have come.
                self.ending().or_else(|| Some(self.progress()))
            }
        }
    }

    /// Nothing before concerns it.
    fn read_on(&mut self, from: Revision) {
        let twice = planted(Bug::GiveTwice);
        self.next = if twice { (before(from), 0) } else { self.next.max((from, 0)) };
    }

    fn ending(&self) -> Option<Told> {
        if self.slot.is_cancelled() {
            return Some(Told::Cancelled);
        }
        if self.left || self.watches.ended.load(Ordering::SeqCst) {
            return Some(Told::Ended);
        }
        if self.lost {
            let compacted = self.watches.reader.compacted();
            return Some(Told::Compacted(compacted.unwrap_or_default()));
        }
        let leaderless = || self.watches.leaderless.load(Ordering::SeqCst);
        (self.slot.needs_leader && leaderless()).then_some(Told::NoLeader)
    }

    /// It sleeps; is that to be told? Not of one that waits for a revision to come (`WAT-26`).
    fn progress(&mut self) -> Told {
        let upto = Revision::new(self.next.0.get().saturating_sub(1));
        let has_begun = self.from <= upto;
        if has_begun && (self.slot.is_due() || self.asked) {
            self.slot.set_due(false);
            self.asked = false;
            return Told::Progress(if planted(Bug::ProgressTooFar) { upto.next() } else { upto });
        }
        Told::Nothing
    }

    /// Looks at what comes next; what others of the topic have just found need not be looked for.
    fn read(&mut self) -> Result<(), Revision> {
        let (from, options) = (self.next, (self.filter, self.prev));
        if let Some(read) = self.topic.shared(from, options) {
            // It would end if it were alone: others make no difference.
            self.watches.reader.check(from.0)?;
            let known = read.events.partition_point(|event| event.position() < from);
            self.buffer.extend(read.events.iter().skip(known).cloned());
            self.next = read.next;
        } else {
            let Step { looks, bytes } = self.watches.step.get().copied().unwrap_or_default();
            let range = self.topic.range();
            let (filter, prev) = options;
            let asked = Changes { range: &range, from, filter, prev, looks, bytes };
            let Changed { events, next } = self.watches.reader.changes(&asked)?;
            if (1..=SHARED_EVENTS).contains(&events.len()) && self.topic.has_several() {
                let events = events.iter().cloned().collect();
                self.topic.share(Read { filter, prev, from, next, events });
            }
            self.buffer.extend(events);
            self.next = next;
        }
        self.slot.move_to(self.next.0);
        Ok(())
    }

    /// Gives what is whole, or a fragment, if there is some.
    fn give(&mut self) -> Option<Told> {
        let revision_at = |at: usize| self.buffer.get(at).map(Event::revision);
        let next = self.next.0;
        // Of revisions that are known to the end.
        let is_whole = |event: &Event| event.revision() < next || planted(Bug::SplitRevision);
        let whole = self.buffer.partition_point(is_whole);
        let (mut upto, mut len, mut fragment) = (before(next), whole, false);
        if let Some(bytes) = self.fragment_bytes {
            let fitting = self.fitting(bytes.get());
            if let Some(cut) = revision_at(fitting) {
                // The revision that does not fit waits, unless it is the first.
                let begin = self.buffer.partition_point(|event| event.revision() < cut);
                (len, upto, fragment) = match begin {
                    0 => (fitting, before(cut), true),
                    begin => (begin, before(cut), false),
                };
            }
        }
        if len == 0 {
            return None;
        }
        self.slot.give();
        // Not a part of what was read: it would keep the memory of all of it.
        let all = len == self.buffer.len();
        let events =
            if all { std::mem::take(&mut self.buffer) } else { self.buffer.drain(..len).collect() };
        Some(Told::Events { events, upto, fragment })
    }

    /// How many events have no more than so many bytes together; at least one.
    fn fitting(&self, bytes: usize) -> usize {
        let mut total = 0_usize;
        let fits = |event: &&Event| {
            total = total.saturating_add(event.bytes());
            total <= bytes
        };
        self.buffer.iter().take_while(fits).count().max(1)
    }

    /// Nobody is to tell it anything any more. Again, it does nothing.
    fn leave(&mut self) {
        if std::mem::replace(&mut self.left, true) {
            return;
        }
        let mut state = self.watches.state.lock();
        if self.topic.leave(&self.slot) == 0 {
            state.matcher.remove(&self.topic.range());
        }
        if self.slot.every > 0 {
            state.progress.remove(self.slot.id);
        }
        drop(state);
        self.watches.count.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Ends a watcher from elsewhere.
#[derive(Clone)]
pub(crate) struct Canceller {
    slot: Arc<Slot>,
}

impl Canceller {
    pub(crate) fn cancel(&self) {
        self.slot.cancel();
        self.slot.wake();
    }
}

fn millis(every: u32) -> Duration {
    Duration::from_millis(u64::from(every))
}

fn before(revision: Revision) -> Revision {
    Revision::new(revision.get().saturating_sub(1))
}
