//! Watchers: told of every change of a range, in order, once.
//!
//! # One cursor
//!
//! The invariant: *a watcher has been given every event of its range below its cursor, whole
//! revisions only, and none at or above it.* Nothing else is kept about it. All records are in
//! memory anyway, shared and immutable, by revision and by key (`core/mvcc`); so a watcher needs no
//! queue. It reads on from its cursor, on its own thread, when it is asked for the next batch:
//!
//! ```text
//!            a watcher's cursor            matched         published
//!   revisions ───────┼────────────────────────┼────────────────┼──►
//!     given to it    │  its next batch: what  │ may be read,   │ not yet
//!                    │  matches up to here ───┼──────────────► │
//!                                             │ nobody has been rung for it yet
//! ```
//!
//! A slow consumer therefore costs one cursor, never a copy of events, and no writer waits for it:
//! the less often it comes, the more it is given at a time. There is no set of those who are late,
//! and no loop that helps them. A snapshot that is installed is only a jump of `published`.
//!
//! # Who is rung
//!
//! What remains to be done for watchers is to wake those who sleep. That is what [`Watches`] is
//! for, and this is the whole of it:
//!
//! ```text
//!   writer     publish ── advance: each record since `matched`
//!                           │ matcher.rs: which ranges is this key in?
//!                           ▼
//!                         topic.rs: newest = 7; is anybody asleep? ── ring them, a few at a time
//!                                                                          │
//!   consumer   nothing to read: sleeps, unless newest >= cursor            ▼
//!              rung: cursor.rs reads on, from the first revision that matched
//! ```
//!
//! All watchers of one range share a topic, so a change costs the writer's side one lookup for
//! each *range* it is in, however many watch it. Ringing costs for each that sleeps; one that is
//! awake, or has been rung and has not come yet, is not touched. Whoever drove the node rings some;
//! if there are more, the node's own thread goes on.
//!
//! Who is answered may come before those who watch are rung. One that must see at once what it has
//! been told of does the marking itself ([`Watches::catch_up`]).
//!
//! # Who reads the same
//!
//! Those who are rung for one change want to read the same, one after the other. So what was read
//! last stays with the topic while anybody is awake there, up to some events: who comes to a place
//! in it is given the rest of it (`Topic::shared`), and reads on from its end. It makes a
//! difference to where batches end, and to time; never to what is given, nor to who is too late.
//!
//! # Many watchers, one consumer
//!
//! Watchers may share a [bell](Bells). It is a queue of those that rang, each once, and wakes its
//! consumer once; which looks at who is in the queue, and at nobody else.
//!
//! # Compaction
//!
//! What a watcher has yet to look at is not removed ([`Watches::oldest`]), up to a configured
//! distance. That is its own distance, and not that of what is marked: as long as this is further
//! behind, nothing within the distance is removed. One that falls further behind is told the
//! compacted revision and ends (`WAT-11`): never a silent gap, because who removes says so first,
//! and a read looks at that when it is done.
//!
//! # Invariants
//!
//! - Everything up to `matched` has been marked in the topics that it matches.
//! - Nobody sleeps whose topic's newest change is at or after its cursor, unless the topic is
//!   queued to be rung. Going to sleep and marking take the topic's lock.
//! - A watcher that sleeps and is not to be rung has been given everything up to `matched`: it
//!   holds nothing back, unless its topic is queued: then it may be rung for what comes, and reads
//!   on from its cursor. One that has ended is in no topic.
//! - A topic's sleepers are rung in rounds: whoever sleeps again before the round is over waits for
//!   the next, so none is passed over (`WAT-29`).
//!
//! # What is not here
//!
//! No thread, and no clock: whoever drives the node says what time it is. What a watcher is told
//! when its node ends is the affair of its handle (`service/watch`).

mod cursor;
mod matcher;
mod members;
mod schedule;
#[cfg(test)]
mod script;
mod topic;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use self::matcher::Matcher;
use self::schedule::Schedule;
use self::topic::{Round, SharedTopic, Slot};

pub(crate) use self::cursor::{Canceller, Cursor, Has, Spec, Told};
pub(crate) use self::topic::{Bell, Bells};
use crate::core::mvcc::{Position, Reader};
use crate::ids::Revision;
use crate::planted::{Bug, planted};
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use crate::sync::{Mutex, OnceLock};
use crate::time::Instant;

/// The shortest time between two notifications of progress (`WAT-24`).
pub(crate) const SHORTEST_PROGRESS: Duration = Duration::from_millis(100);

/// Sleepers that are taken out of a topic at a time.
const RING_STEP: usize = 64;

/// How much of what is to be done for watchers is done in one go: not much more than so many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// Published records that are looked at; that is cheap if nobody watches their keys.
    pub(crate) looks: usize,
    /// Watchers that are rung. Those that are passed over cost a look at their cursors.
    pub(crate) rings: usize,
}

/// Records that are looked at before others get at what is locked meanwhile.
const LOOK_STEP: usize = 256;

/// All watchers of a node. The chapter is at the head of this file.
pub(crate) struct Watches {
    reader: Reader,
    state: Mutex<State>,
    /// How many watchers there are: none cost nothing. Raised before a new one looks at what is
    /// published, and looked at after that has moved, with a fence between on both sides.
    count: AtomicUsize,
    /// Every change up to here has been marked.
    matched: AtomicU64,
    /// The latest moment heard of, in nanoseconds.
    now: AtomicU64,
    /// The node ends: nobody sleeps any more.
    ended: AtomicBool,
    /// There is a leader.
    led: AtomicBool,
    /// There has been none for too long (`WAT-33`).
    leaderless: AtomicBool,
    /// See [`Step`]. Set once, before there is a watcher, or never.
    step: OnceLock<Step>,
}

/// How much of a read is done at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// Records that one look goes through, at most.
    pub(crate) looks: usize,
    /// A batch ends behind the event that makes it so large.
    pub(crate) bytes: usize,
}

impl Default for Step {
    /// Some hundred microseconds, and what a consumer can hold.
    fn default() -> Self {
        Self { looks: 4096, bytes: 1 << 20 }
    }
}

#[derive(Default)]
struct State {
    matcher: Matcher<SharedTopic>,
    /// Where to look on.
    next: Position,
    /// Topics with sleepers that are to be rung, each once.
    queue: VecDeque<(SharedTopic, Round)>,
    progress: Schedule,
    /// Consumers of many watchers, who may have none: they too want to know when the node ends.
    shared: BTreeMap<u64, Arc<Bells>>,
    /// Those who want to know have been rung about `leaderless`.
    told_leaderless: bool,
    /// The number of the last watcher, or consumer of many.
    last_id: u64,
}

impl Watches {
    pub(crate) fn new(reader: Reader) -> Self {
        Self {
            reader,
            state: Mutex::default(),
            count: AtomicUsize::new(0),
            matched: AtomicU64::new(0),
            now: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            led: AtomicBool::new(false),
            leaderless: AtomicBool::new(false),
            step: OnceLock::new(),
        }
    }

    /// Smaller steps, so that a simulation sees what happens between two of them.
    #[cfg(feature = "sim")]
    pub(crate) fn set_step(&self, step: Step) {
        let _ = self.step.set(step);
    }

    /// Looks at what has been published and rings whom it concerns. Says whether there is more to
    /// do.
    ///
    /// To be called after every turn. Nothing may be locked that a waker could want. Who is not
    /// `patient` leaves it to another if somebody holds it up, and everything that is not about
    /// what has just been published.
    pub(crate) fn advance(&self, now: Instant, budget: Budget, patient: bool) -> bool {
        self.now.fetch_max(now.nanos(), Ordering::Relaxed);
        // See `count`.
        fence(Ordering::SeqCst);
        if self.count.load(Ordering::SeqCst) == 0 {
            return false;
        }
        let Budget { mut looks, mut rings } = budget;
        let mut wakers = Vec::new();
        loop {
            // Somebody else is at it, or registers: who comes back finds what is left.
            let state = if patient { Some(self.state.lock()) } else { self.state.try_lock() };
            let Some(mut state) = state else { return true };
            if patient {
                rings = rings.saturating_sub(state.tell_progress(now, rings, &mut wakers));
                self.tell_leaderless(&mut state, &mut wakers);
            }
            let looked = self.look(&mut state, looks.min(LOOK_STEP));
            looks = looks.saturating_sub(looked);
            let topic = if rings > 0 { state.queue.pop_front() } else { None };
            drop(state);
            let done = looks > 0 && looked == 0 && rings > 0 && topic.is_none();
            if let Some((topic, round)) = topic {
                rings = rings.saturating_sub(self.ring(&topic, round, rings, &mut wakers));
            }
            wake(&mut wakers);
            if done || looks == 0 || rings == 0 {
                return !done;
            }
        }
    }

    /// The oldest revision, not before `waited_for`, that a watcher has yet to look at: what
    /// happened from there on must stay. Those who are further behind harm nobody but themselves.
    pub(crate) fn oldest(&self, waited_for: Revision) -> Option<Revision> {
        // See `count`.
        fence(Ordering::SeqCst);
        if self.count.load(Ordering::SeqCst) == 0 {
            return None;
        }
        let state = self.state.lock();
        let behind = state.matcher.values().filter_map(|topic| topic.oldest(waited_for));
        // Who sleeps may be concerned by what is not marked yet, and nearer than where that begins.
        behind.chain(Some(state.next.0.max(waited_for))).min()
    }

    /// Is there a leader, and if not, for too long (`WAT-33`)? Who wants to know is rung by the
    /// next [`advance`](Self::advance).
    pub(crate) fn set_leader(&self, led: bool, leaderless: bool) {
        // In this order: who starts when there is one again must not end for lack of it.
        self.leaderless.store(leaderless, Ordering::SeqCst);
        self.led.store(led, Ordering::SeqCst);
    }

    pub(crate) fn has_leader(&self) -> bool {
        self.led.load(Ordering::SeqCst)
    }

    /// The node has ended: everybody looks up.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        if planted(Bug::EndInSilence) {
            return;
        }
        let mut wakers = Vec::new();
        let state = self.state.lock();
        state.nudge(|_| true, &mut wakers);
        wakers.extend(state.shared.values().filter_map(|bells| bells.ring()));
        drop(state);
        wake(&mut wakers);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// The bell of a consumer of many watchers, and the number under which it is known.
    pub(crate) fn share(&self) -> (u64, Arc<Bells>) {
        let bells = Arc::new(Bells::default());
        let mut state = self.state.lock();
        let id = state.next_id();
        state.shared.insert(id, Arc::clone(&bells));
        (id, bells)
    }

    /// That consumer is gone.
    pub(crate) fn unshare(&self, id: u64) {
        self.state.lock().shared.remove(&id);
    }

    /// Marks everything that is published now, unless that is done, and says how far that goes: a
    /// watcher that is looked at from here on misses nothing of it. Nothing may be locked that a
    /// waker could want.
    ///
    /// Who was answered may come back before whoever drove has come to this.
    pub(crate) fn catch_up(&self) -> Revision {
        let published = self.reader.revision();
        let budget = Budget { looks: LOOK_STEP, rings: LOOK_STEP };
        while self.matched() < published && self.advance(Instant::default(), budget, true) {}
        published
    }

    /// Marks what the next records match. Says how many it has looked at.
    fn look(&self, state: &mut State, looks: usize) -> usize {
        let State { matcher, next, queue, .. } = state;
        let (from, mut looked) = (*next, 0_usize);
        let replayed = self.reader.replay(from, looks, |record| {
            looked = looked.saturating_add(1);
            matcher.matching(record.key(), &mut |topic: &SharedTopic| {
                if topic.mark(record.main()) {
                    queue.push_back((SharedTopic::clone(topic), Round::default()));
                }
            });
        });
        *next = replayed.unwrap_or_else(|published| {
            // Not all that has happened is known here: they find out for themselves.
            for topic in matcher.values().filter(|_| !planted(Bug::SilentInstall)) {
                if topic.mark_all((from.0, published)) {
                    queue.push_back((SharedTopic::clone(topic), Round::default()));
                }
            }
            (published.next(), 0)
        });
        let matched = next.0.get().saturating_sub(1);
        self.matched.store(matched, Ordering::Release);
        looked
    }

    /// Takes some out of a topic to be woken. Says how many.
    fn ring(
        &self,
        topic: &SharedTopic,
        mut round: Round,
        left: usize,
        wakers: &mut Vec<Waker>,
    ) -> usize {
        let mut taken = Vec::new();
        if topic.take_sleepers(&mut round, left.min(RING_STEP), &mut taken) {
            // Behind the others: many watchers of one range keep nobody waiting.
            self.state.lock().queue.push_back((SharedTopic::clone(topic), round));
        }
        wakers.extend(taken.iter().filter_map(|slot| slot.ring()));
        taken.len()
    }

    fn tell_leaderless(&self, state: &mut State, wakers: &mut Vec<Waker>) {
        let leaderless = self.leaderless.load(Ordering::SeqCst);
        if std::mem::replace(&mut state.told_leaderless, leaderless) != leaderless && leaderless {
            state.nudge(|slot| slot.needs_leader, wakers);
        }
    }

    /// Every change up to here has been marked.
    fn matched(&self) -> Revision {
        Revision::new(self.matched.load(Ordering::Acquire))
    }
}

impl State {
    fn next_id(&mut self) -> u64 {
        self.last_id = self.last_id.saturating_add(1);
        self.last_id
    }

    /// Says how many it has looked at.
    fn tell_progress(&mut self, now: Instant, most: usize, wakers: &mut Vec<Waker>) -> usize {
        let mut told = 0_usize;
        while told < most
            && let Some(slot) = self.progress.next(now)
        {
            told = told.saturating_add(1);
            // One that was given events meanwhile knows how far it is.
            if !slot.take_given() {
                slot.set_due(true);
                wakers.extend(slot.ring());
            }
        }
        told
    }

    fn nudge(&self, which: impl Fn(&Slot) -> bool, wakers: &mut Vec<Waker>) {
        for topic in self.matcher.values() {
            topic.nudge(&which, wakers);
        }
    }
}

/// Nothing may be locked: who is woken may run at once, on this thread.
fn wake(wakers: &mut Vec<Waker>) {
    wakers.drain(..).for_each(Waker::wake);
}
