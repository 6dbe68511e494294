//! Time: it goes on when a scenario says so, and a little whenever a node looks.
//!
//! A little, so that a thread which looks on for some microseconds comes to the end of them. It is
//! far too little to end anybody's wait: those end by [`pass`] alone.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::time::Instant;

/// What one look at the clock takes: three of them make the 60 µs for which a lent thread looks on.
const LOOK: Duration = Duration::from_micros(20);

/// Who waits for a moment.
pub(crate) trait Sleeper: Send + Sync {
    /// Comes when the moment has come.
    fn ring(&self);
}

struct Time {
    now: Instant,
    /// By when they want to be woken.
    sleepers: Vec<(Instant, Arc<dyn Sleeper>)>,
    /// When each thread looked last.
    looks: BTreeMap<usize, Instant>,
}

impl Time {
    const fn begin() -> Self {
        let now = Instant::from_nanos(0);
        Self { now, sleepers: Vec::new(), looks: BTreeMap::new() }
    }
}

thread_local! {
    static TIME: RefCell<Time> =
        const { RefCell::new(Time::begin()) };
}

pub(super) fn begin() {
    // What a run that failed has left went with it.
    std::mem::forget(TIME.replace(Time::begin()));
}

/// A node looks at the clock.
pub(crate) fn read() -> Instant {
    let me = me();
    TIME.with_borrow_mut(|time| {
        time.now = time.now.after(LOOK);
        time.looks.insert(me, time.now);
        time.now
    })
}

/// When a wait of this span ends that the calling thread begins. It counts from when the thread
/// looked at the clock to find the span: a thread may be held up between the two, but the only
/// harm would be that it wakes later by as much, and a scenario need not allow for that.
pub(super) fn after(span: Duration) -> Instant {
    let me = me();
    TIME.with_borrow(|time| time.looks.get(&me).copied().unwrap_or(time.now).after(span))
}

fn me() -> usize {
    super::thread::current().id().into()
}

/// The moment, for those who wait for one.
pub(super) fn now() -> Instant {
    TIME.with_borrow(|time| time.now)
}

pub(super) fn enter(until: Instant, sleeper: &Arc<dyn Sleeper>) {
    TIME.with_borrow_mut(|time| time.sleepers.push((until, Arc::clone(sleeper))));
}

pub(super) fn leave(sleeper: &Arc<dyn Sleeper>) {
    TIME.with_borrow_mut(|time| {
        let place = time.sleepers.iter().position(|(_, other)| Arc::ptr_eq(other, sleeper));
        if let Some(place) = place {
            time.sleepers.swap_remove(place);
        }
    });
}

/// Lets a span of time pass: whoever waits for a moment in it wakes.
pub(crate) fn pass(span: Duration) {
    super::step();
    let due: Vec<_> = TIME.with_borrow_mut(|time| {
        time.now = time.now.after(span);
        let due = time.sleepers.iter().filter(|(until, _)| *until <= time.now);
        due.map(|(_, sleeper)| Arc::clone(sleeper)).collect()
    });
    due.iter().for_each(|sleeper| sleeper.ring());
}
