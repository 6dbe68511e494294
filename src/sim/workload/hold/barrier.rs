//! Barriers: who puts them up, passes them and takes them down, and who enters and leaves together.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::ask::WAITS_AT_MOST;
use super::queue::Hungry;
use super::{Held, Holder, Place};
use crate::service::{Barrier, Entered};
use crate::sim::check::lock::Name;
use crate::sim::held::Relied;
use crate::sim::marks::Mark;
use crate::sim::workload::bell::within;

/// Barriers of each kind.
const NAMES: u64 = 2;

/// A barrier, whose keys are below these.
const GATES: &[u8] = b"k/gates/";

fn gate(place: &Place, name: &Bytes) -> Barrier {
    place.store.scoped("k/").barrier(name.slice(2..))
}

impl Holder {
    /// Does one of the things that there are to do with barriers.
    pub(super) async fn meet(&mut self, held: &mut Held) {
        if self.dice.chance(500_000) {
            held.stood = true;
            return self.enter(held).await;
        }
        let name = [GATES, self.dice.below(NAMES).to_string().as_bytes()].concat().into();
        match self.dice.below(6) {
            0 | 1 => self.put_up(held, &name).await,
            2 => self.take_down(&held.place, &name).await,
            _ => self.pass(&held.place, &name).await,
        }
    }

    async fn put_up(&mut self, held: &Held, name: &Bytes) {
        let since = self.notes.newest();
        let hold = gate(&held.place, name).hold().timeout(self.holders.timeout);
        let under = self.dice.chance(500_000);
        let hold = if under { hold.session(&held.session) } else { hold };
        let Ok(mine) = hold.await else { return };
        if mine {
            // It was not there, or nobody could have made it.
            self.notes.was_absent(&self.cluster, name, since);
        }
    }

    /// Takes a barrier down: what was not held was not there.
    pub(super) async fn take_down(&mut self, place: &Place, name: &Bytes) {
        let since = self.notes.newest();
        let released = gate(place, name).release().timeout(self.holders.timeout).await;
        if released.is_ok() {
            self.notes.was_absent(&self.cluster, name, since);
        }
    }

    /// Whoever waits passes in the end, as long as somebody takes it down.
    async fn pass(&mut self, place: &Place, name: &Bytes) {
        let leaves = self.dice.chance(250_000);
        let limit = self.dice.span(Duration::ZERO, self.holders.kept);
        let limit = if leaves { limit } else { WAITS_AT_MOST };
        let since = self.notes.newest();
        let waiting = Hungry::new(&self.shared, name);
        let passed = within(&self.cluster.clock(), limit, gate(place, name).pass()).await;
        drop(waiting);
        match passed {
            Some(Ok(())) => self.notes.was_absent(&self.cluster, name, since),
            None if !leaves => {
                let name = name.escape_ascii();
                self.cluster.fail(format!("REC-37: nobody who waits for {name} passes"));
            }
            _ => {}
        }
    }

    // ---- together

    /// Enters with as many as the barrier is for; now and then with another number, and is refused
    /// or is the first to say so.
    async fn enter(&mut self, held: &mut Held) {
        let number = self.dice.below(NAMES);
        let usual = usize::try_from(number).unwrap_or_default() + 2;
        let count = if self.dice.chance(50_000) { usual + 1 } else { usual };
        let name = Bytes::from(format!("k/parties/{number}"));
        let limit = self.dice.span(Duration::ZERO, held.session.ttl() * 2);
        let enter = held.place.store.double_barrier(name.clone(), count).enter(&held.session);
        let entered = match within(&self.cluster.clock(), limit, enter).await {
            Some(Ok(entered)) => Arc::new(entered),
            Some(Err(error)) => return self.refused(held, &error),
            None => return,
        };
        self.note(|| format!("has entered {name:?}: {entered:?}"));
        let whose = (held.place.boot, held.session.lease());
        let relied: Arc<dyn Relied> = Arc::<Entered>::clone(&entered);
        let round = self.notes.entered(&self.cluster, (&name, count), whose, &relied);
        drop(relied);
        let Some(round) = round else { return };
        let ttl = held.session.ttl();
        match self.dice.below(4) {
            0 => self.stop(held, ttl).await,
            1 => {}
            _ => self.pause(ttl / 2).await,
        }
        self.notes.rivals(&self.cluster);
        if self.dice.chance(150_000) {
            held.leaks = true;
            return self.leaked.push(entered);
        }
        let Ok(entered) = Arc::try_unwrap(entered) else {
            return self.cluster.fail("a place in a barrier is kept by somebody else");
        };
        if self.dice.chance(150_000) {
            return drop(entered);
        }
        let leave = entered.leave();
        match within(&self.cluster.clock(), WAITS_AT_MOST, leave).await {
            Some(Ok(was_in)) => {
                if !was_in {
                    self.cluster.mark(Mark::ParticipantLost);
                }
                self.notes.left(&self.cluster, &round);
            }
            Some(Err(_)) => {}
            None => {
                let name = Name(name);
                self.cluster.fail(format!("REC-38: nobody is told that all have left {name:?}"));
            }
        }
    }

    /// Lets those pass who wait for this, if it is a barrier.
    pub(super) async fn let_pass(&mut self, place: &Place, name: &Bytes) -> bool {
        let is_barrier = name.starts_with(GATES);
        if is_barrier {
            self.take_down(place, name).await;
        }
        is_barrier
    }
}
