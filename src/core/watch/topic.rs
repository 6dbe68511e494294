//! Who watches a range, and who of them sleeps.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;

use super::members::Members;
use crate::core::mvcc::{Event, Filter, Position};
use crate::ids::Revision;
use crate::keys::KeyRange;
use crate::planted::{Bug, planted};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// All watchers of exactly one range.
pub(super) struct Topic {
    watched: Watched,
    /// The newest revision known to have changed something in the range. Watchers may have read
    /// further; nobody sleeps who has not read so far, unless `marked` says that it will be rung.
    /// Moves under the lock of `state`; who is awake looks at it without.
    newest: AtomicU64,
    state: Mutex<State>,
}

/// Has no count of weak references: with one, a topic would be of the allocator's next size.
pub(super) type SharedTopic = triomphe::Arc<Topic>;

/// A range, small where it is a single key, as most are.
enum Watched {
    Key(Bytes),
    Range(Box<KeyRange>),
}

#[derive(Default)]
struct State {
    /// The first revision of a change since everybody was last rung: sleepers who have not read so
    /// far are to be rung. 0: nobody is.
    marked: Revision,
    /// Those that sleep first.
    members: Members,
    asleep: u32,
}

/// All events of a topic, as its watchers with these options are given them, from one position up
/// to another.
pub(super) struct Read {
    pub(super) filter: Filter,
    pub(super) prev: bool,
    pub(super) from: Position,
    pub(super) next: Position,
    pub(super) events: Box<[Event]>,
}

/// One pass over the sleepers of a topic, in as many steps as it takes. It rings those who slept
/// when it began: who falls asleep meanwhile stands behind them, and waits for the next one.
#[derive(Clone, Copy, Default)]
pub(super) struct Round {
    /// The newest change when it began. 0: it has not.
    upto: Revision,
    /// Sleepers before this place have not been looked at.
    left: usize,
}

/// One watcher, as the node knows it.
pub(crate) struct Slot {
    pub(super) id: u64,
    bell: Bell,
    /// The first revision that it has yet to look at. Its own while it is awake; written when it
    /// is rung, to the first revision that is worth a look.
    cursor: AtomicU64,
    /// Where it is among its topic's members. Only under the topic's lock.
    place: AtomicU32,
    /// It is among those of them that sleep. Changes under the topic's lock.
    asleep: AtomicBool,
    /// Time for a notification of progress.
    due: AtomicBool,
    /// It was given events since it was last time for that.
    given: AtomicBool,
    cancelled: AtomicBool,
    /// It has rung the bell that it shares, and was not looked at since.
    rung: AtomicBool,
    pub(super) needs_leader: bool,
    /// How often it is told of progress, in milliseconds. 0: it is not.
    pub(super) every: u32,
}

/// How a watcher is told that there is something to look at.
pub(crate) enum Bell {
    /// It has a consumer of its own.
    Own(Box<Mutex<Option<Waker>>>),
    /// It shares one with others, which knows it by this number.
    Shared(Arc<Bells>, u64),
}

/// The bell of a consumer of many watchers, and who of them rang: each is there once, however
/// often it rang, and they come in the order in which they did. However many ring before the
/// consumer comes, it is woken once.
#[derive(Default)]
pub(crate) struct Bells {
    state: Mutex<Rung>,
}

#[derive(Default)]
struct Rung {
    /// Of a consumer that waits.
    waker: Option<Waker>,
    numbers: VecDeque<u64>,
    /// Somebody has rung, for whatever it was, since nobody was found.
    heard: bool,
}

/// What a watcher finds that has nothing to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// There is something to read from here on.
    Behind(Revision),
    /// It sleeps, and has seen everything before this revision.
    Asleep(Revision),
}

impl Slot {
    pub(super) fn new(id: u64, bell: Bell, cursor: Revision, options: (bool, u32)) -> Self {
        let (needs_leader, every) = options;
        Self {
            id,
            bell,
            cursor: AtomicU64::new(cursor.get()),
            place: AtomicU32::new(0),
            asleep: AtomicBool::new(false),
            due: AtomicBool::new(false),
            given: AtomicBool::new(false),
            cancelled: AtomicBool::new(false),
            rung: AtomicBool::new(false),
            needs_leader,
            every,
        }
    }

    fn cursor(&self) -> Revision {
        Revision::new(self.cursor.load(Ordering::Acquire))
    }

    /// It has looked at everything before.
    pub(super) fn move_to(&self, cursor: Revision) {
        self.cursor.store(cursor.get(), Ordering::Release);
    }

    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    pub(super) fn set_due(&self, due: bool) {
        self.due.store(due, Ordering::SeqCst);
    }

    pub(super) fn is_due(&self) -> bool {
        self.due.load(Ordering::SeqCst)
    }

    /// It is given events: they say how far it is (`WAT-24`).
    pub(super) fn give(&self) {
        self.set_due(false);
        self.given.store(true, Ordering::SeqCst);
    }

    pub(super) fn take_given(&self) -> bool {
        self.given.swap(false, Ordering::SeqCst)
    }

    /// It is about to be looked at: if it shares a bell, it may ring that again.
    pub(super) fn answer(&self) {
        if let Bell::Shared(..) = self.bell {
            self.rung.store(false, Ordering::SeqCst);
        }
    }

    /// It is about to fall asleep: who rings from here on wakes this. Of one that shares a bell it
    /// is the affair of that.
    pub(super) fn listen(&self, waker: &Waker) {
        let Bell::Own(own) = &self.bell else { return };
        let waker = waker.clone();
        let before = own.lock().replace(waker);
        // What it drops may want any lock.
        drop(before);
    }

    /// Notes that it was rung, and gives back whom to wake, outside of every lock.
    pub(super) fn ring(&self) -> Option<Waker> {
        match &self.bell {
            Bell::Own(own) => own.lock().take(),
            Bell::Shared(..) if self.rung.swap(true, Ordering::SeqCst) => None,
            Bell::Shared(bells, number) => {
                let mut rung = bells.state.lock();
                rung.numbers.push_back(*number);
                rung.heard = true;
                rung.waker.take()
            }
        }
    }

    /// Rings and wakes. Nothing may be locked.
    pub(super) fn wake(&self) {
        if let Some(waker) = self.ring() {
            waker.wake();
        }
    }

    fn is_asleep(&self) -> bool {
        self.asleep.load(Ordering::Acquire)
    }

    fn set_asleep(&self, asleep: bool) {
        self.asleep.store(asleep, Ordering::Release);
    }

    fn place(&self) -> usize {
        usize::try_from(self.place.load(Ordering::Relaxed)).unwrap_or(usize::MAX)
    }

    fn set_place(&self, place: usize) {
        self.place.store(u32::try_from(place).unwrap_or(u32::MAX), Ordering::Relaxed);
    }
}

impl Bells {
    /// The next watcher that rang, or nobody: then `waker` is woken when one does. Who has none
    /// only looks, and takes nobody's place who waits.
    pub(crate) fn next(&self, waker: Option<&Waker>) -> Option<u64> {
        let mut rung = self.state.lock();
        let next = rung.numbers.pop_front();
        let mut before = None;
        if next.is_none() {
            rung.heard = false;
            if let Some(waker) = waker {
                before = rung.waker.replace(waker.clone());
            }
        }
        drop((rung, before));
        next
    }

    /// Has nobody rung since the last [`next`](Self::next) found nobody?
    pub(crate) fn is_silent(&self) -> bool {
        !self.state.lock().heard
    }

    /// Whom to wake for something that is no watcher's, outside of every lock.
    pub(super) fn ring(&self) -> Option<Waker> {
        let mut rung = self.state.lock();
        rung.heard = true;
        rung.waker.take()
    }
}

impl Topic {
    pub(super) fn new(range: &KeyRange) -> Self {
        let watched = match range.single() {
            Some(_) => Watched::Key(range.selector().0),
            None => Watched::Range(Box::new(range.clone())),
        };
        Self { watched, newest: AtomicU64::new(0), state: Mutex::default() }
    }

    /// What is watched.
    pub(super) fn range(&self) -> KeyRange {
        match &self.watched {
            Watched::Key(key) => KeyRange::key(key.clone()),
            Watched::Range(range) => KeyRange::clone(range),
        }
    }

    fn newest(&self) -> Revision {
        Revision::new(self.newest.load(Ordering::Acquire))
    }

    /// Where one should read on that is awake and has looked at everything before `cursor`, if
    /// there is something. Waits for nobody; if it finds nothing, [`rest`](Self::rest) may.
    pub(super) fn news(&self, slot: &Slot, cursor: Revision) -> Option<Revision> {
        if slot.is_asleep() || cursor > self.newest() || planted(Bug::SleepOnNews) {
            return None;
        }
        Some(cursor.max(slot.cursor()))
    }

    /// Adds one that is awake.
    pub(super) fn join(&self, slot: &Arc<Slot>) {
        let mut state = self.state.lock();
        slot.set_place(state.members.as_slice().len());
        state.members.push(Arc::clone(slot));
    }

    /// Takes one out. Says how many are left.
    pub(super) fn leave(&self, slot: &Slot) -> usize {
        let mut state = self.state.lock();
        state.wake(slot);
        let last = state.members.as_slice().len().saturating_sub(1);
        state.swap(slot.place(), last);
        let gone = (state.members.set_read(None), state.members.pop());
        let left = state.members.as_slice().len();
        drop((state, gone));
        left
    }

    /// Something in the range has changed at `revision`. Says whether somebody has to be rung who
    /// was not to be before.
    pub(super) fn mark(&self, revision: Revision) -> bool {
        self.mark_all((revision, revision))
    }

    /// Something may have changed at any of these revisions.
    pub(super) fn mark_all(&self, (first, last): (Revision, Revision)) -> bool {
        let mut state = self.state.lock();
        self.newest.fetch_max(last.get(), Ordering::AcqRel);
        let news = state.marked().is_none() && state.asleep > 0;
        if news {
            state.marked = first;
        }
        news
    }

    /// Takes sleepers that are to be rung, at most `max`. Says whether there may be more.
    pub(super) fn take_sleepers(
        &self,
        round: &mut Round,
        max: usize,
        taken: &mut Vec<Arc<Slot>>,
    ) -> bool {
        let mut state = self.state.lock();
        let Some(marked) = state.marked() else { return false };
        if round.upto == Revision::new(0) {
            *round = Round { upto: self.newest(), left: state.asleep() };
        }
        let upto = round.upto;
        while taken.len() < max {
            let Some(at) = round.left.min(state.asleep()).checked_sub(1) else {
                // Who is left has read all of it, or waits for a revision that is not here yet.
                *round = Round::default();
                let more = self.newest() > upto;
                state.marked = if more { upto.next() } else { Revision::new(0) };
                return more;
            };
            round.left = at;
            if at == 0 && planted(Bug::ForgetSleeper) {
                continue;
            }
            let slot = state.members.as_slice().get(at).map(Arc::clone);
            if let Some(slot) = slot.filter(|slot| slot.cursor() <= upto) {
                slot.move_to(slot.cursor().max(marked));
                state.wake(&slot);
                taken.push(slot);
            }
        }
        true
    }

    /// What was read last, if it helps one that has come so far and has these options.
    pub(super) fn shared(&self, at: Position, options: (Filter, bool)) -> Option<Arc<Read>> {
        let state = self.state.lock();
        let read = state.members.read().filter(|read| read.from <= at && at < read.next)?;
        // That bug goes back, and would be given the same for ever.
        let helps = options == (read.filter, read.prev) && !planted(Bug::GiveTwice);
        helps.then(|| Arc::clone(read))
    }

    pub(super) fn has_several(&self) -> bool {
        self.state.lock().members.as_slice().len() > 1
    }

    /// Keeps what was read for the others, if there are any.
    pub(super) fn share(&self, read: Read) {
        let mut state = self.state.lock();
        let before = state.members.set_read(Some(Arc::new(read)));
        drop((state, before));
    }

    /// Lets a watcher sleep that has looked at everything before `cursor`, unless there is
    /// something to read. `matched`: every change up to there has been marked.
    pub(super) fn rest(&self, slot: &Arc<Slot>, cursor: Revision, matched: Revision) -> Rest {
        let mut state = self.state.lock();
        if slot.place() < state.asleep() {
            let cursor = slot.cursor();
            if cursor <= self.newest() {
                // It is to be rung, and has come by itself.
                let cursor = cursor.max(state.marked);
                slot.move_to(cursor);
                state.wake(slot);
                return Rest::Behind(cursor);
            }
        } else if cursor <= self.newest() && !planted(Bug::SleepOnNews) {
            return Rest::Behind(cursor.max(slot.cursor()));
        } else {
            let (place, asleep) = (slot.place(), state.asleep());
            state.swap(place, asleep);
            state.asleep = state.asleep.saturating_add(1);
            slot.set_asleep(true);
        }
        // There is nothing for it in between.
        let cursor = cursor.max(slot.cursor()).max(matched.next());
        slot.move_to(cursor);
        let all = state.asleep() == state.members.as_slice().len();
        let read = if all { state.members.set_read(None) } else { None };
        drop((state, read));
        Rest::Asleep(cursor)
    }

    /// The oldest revision, not before `waited_for`, that one of them has yet to look at and that
    /// may concern it.
    pub(super) fn oldest(&self, waited_for: Revision) -> Option<Revision> {
        let mut state = self.state.lock();
        // It is kept for those who come, and must not outlive what a removal takes for long.
        if state.members.read().is_some_and(|read| read.from.0 < waited_for) {
            state.members.set_read(None);
        }
        let (asleep, awake) = state.members.as_slice().split_at_checked(state.asleep())?;
        // Those who came by themselves too, and have it all: if there is more before all are rung,
        // they read on from where they are.
        let marked =
            state.marked().map(|marked| asleep.iter().map(move |slot| slot.cursor().max(marked)));
        let awake = awake.iter().map(|slot| slot.cursor());
        awake.chain(marked.into_iter().flatten()).filter(|cursor| *cursor >= waited_for).min()
    }

    /// Rings all members that `which` names, whatever for. Those that sleep, sleep on.
    pub(super) fn nudge(&self, which: impl Fn(&Slot) -> bool, wakers: &mut Vec<Waker>) {
        let state = self.state.lock();
        let members = state.members.as_slice().iter().filter(|slot| which(slot));
        wakers.extend(members.filter_map(|slot| slot.ring()));
    }
}

impl State {
    fn asleep(&self) -> usize {
        usize::try_from(self.asleep).unwrap_or(usize::MAX)
    }

    fn marked(&self) -> Option<Revision> {
        (self.marked.get() > 0).then_some(self.marked)
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.members.swap(one, other);
        for place in [one, other] {
            if let Some(slot) = self.members.as_slice().get(place) {
                slot.set_place(place);
            }
        }
    }

    /// It sleeps no more, if it did.
    fn wake(&mut self, slot: &Slot) {
        let place = slot.place();
        if place < self.asleep() {
            self.asleep = self.asleep.saturating_sub(1);
            let last = self.asleep();
            self.swap(place, last);
            // Behind what its cursor was moved to: it may read on at once.
            slot.set_asleep(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rev(revision: u64) -> Revision {
        Revision::new(revision)
    }

    /// A topic with sleepers that have read up to revision 1.
    fn asleep(count: u64) -> (Topic, Vec<Arc<Slot>>) {
        let topic = Topic::new(&KeyRange::key("k"));
        let slot = |id| Arc::new(Slot::new(id, Bell::Own(Box::default()), rev(2), (false, 0)));
        let slots: Vec<_> = (0..count).map(slot).collect();
        for slot in &slots {
            topic.join(slot);
            assert_eq!(topic.rest(slot, rev(2), rev(1)), Rest::Asleep(rev(2)));
        }
        (topic, slots)
    }

    #[test]
    fn wat_29_who_sleeps_again_at_once_takes_no_turn_of_another() {
        let (topic, slots) = asleep(50);
        assert!(topic.mark(rev(2)));
        let (mut rung, mut round) = (Vec::new(), Round::default());
        for now in 3..=12 {
            let mut taken = Vec::new();
            assert!(topic.take_sleepers(&mut round, 5, &mut taken));
            for slot in &taken {
                // It reads what there is, sleeps again, and something happens again.
                let next = rev(now);
                assert!(matches!(topic.rest(slot, next, rev(now - 1)), Rest::Asleep(_)));
            }
            rung.extend(taken.iter().map(|slot| slot.id));
            assert!(!topic.mark(rev(now)), "it is queued already");
        }
        rung.sort_unstable();
        assert_eq!(rung, (0..50).collect::<Vec<_>>(), "each once");
        let (mut again, mut more) = (Vec::new(), true);
        while more {
            again.clear();
            more = topic.take_sleepers(&mut round, 7, &mut again);
        }
        assert!(slots.iter().all(|slot| slot.cursor() > rev(2)));
    }

    #[test]
    fn wat_2_who_waits_for_a_revision_to_come_sleeps_on() {
        let (topic, slots) = asleep(3);
        topic.rest(&slots[1], rev(2), rev(8));
        assert!(topic.mark(rev(5)));
        let mut taken = Vec::new();
        assert!(!topic.take_sleepers(&mut Round::default(), 9, &mut taken));
        let ids: Vec<_> = taken.iter().map(|slot| slot.id).collect();
        assert_eq!(ids, [2, 0], "one has seen up to 8");
        assert_eq!(taken[0].cursor(), rev(5), "nothing before concerns it");
        assert!(topic.mark(rev(9)));
        assert!(!topic.take_sleepers(&mut Round::default(), 9, &mut taken));
        assert_eq!(taken.last().map(|slot| slot.cursor()), Some(rev(9)));
    }

    #[test]
    fn whoever_leaves_is_in_nobodys_way() {
        let (topic, slots) = asleep(9);
        assert!(topic.mark(rev(2)));
        let (mut taken, mut round) = (Vec::new(), Round::default());
        assert!(topic.take_sleepers(&mut round, 2, &mut taken));
        for slot in slots.iter().step_by(2) {
            topic.leave(slot);
        }
        while topic.take_sleepers(&mut round, taken.len() + 1, &mut taken) {}
        let left: Vec<_> = slots.iter().skip(1).step_by(2).map(|slot| slot.id).collect();
        let rung = |id: &u64| taken.iter().any(|slot| slot.id == *id);
        assert!(left.iter().all(rung), "{left:?}");
    }
}
