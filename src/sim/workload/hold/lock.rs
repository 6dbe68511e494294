//! What a holder does with locks while it has a session: how it comes to one, what it writes under
//! it, and how it lets go.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Held, Holder, Place, WOKEN_WITHIN};
use crate::error::{Error, Result};
use crate::service::{Election, Lock, Op};
use crate::sim::check::lock::Name;
use crate::sim::dice::Dice;
use crate::sim::held::{Boot, Thing};
use crate::sim::workload::bell::within;

/// Names of locks: few, so that holders meet.
const NAMES: u64 = 3;

/// Nobody stands in a line for longer.
const WAITS_AT_MOST: Duration = Duration::from_secs(600);

/// A lock that is held, and what was seen of it.
struct Guarded {
    name: Name,
    guard: Arc<Thing>,
    was_lost: bool,
}

/// How it came out that a lock was asked for.
enum Asked {
    Given(Option<Thing>),
    Refused(Error),
    /// It was not waited for any longer.
    Left,
}

impl<T: Into<Option<Thing>>> From<Result<T>> for Asked {
    fn from(asked: Result<T>) -> Self {
        asked.map_or_else(Self::Refused, |thing| Self::Given(thing.into()))
    }
}

/// An election, and how it is called in the scope that it is asked in.
pub(super) fn draw_election(dice: &mut Dice, place: &Place) -> (String, &'static str, Election) {
    let number = dice.below(NAMES);
    if dice.chance(500_000) {
        let name = format!("seats/{number}");
        let election = place.store.scoped("k/").election(name.clone());
        return (name, "k/", election);
    }
    let name = format!("k/seats/{number}");
    let election = place.store.election(name.clone());
    (name, "", election)
}

impl Holder {
    /// Comes to a lock or a leadership in one of the ways that there are, does things with it, and
    /// lets go.
    pub(super) async fn lock(&mut self, held: &mut Held) {
        let limit = self.dice.span(Duration::ZERO, held.session.ttl() * 2);
        held.stood = true;
        let (name, scope, asked) = if self.dice.chance(400_000) {
            let (name, scope, election) = draw_election(&mut self.dice, &held.place);
            let value = self.value();
            let campaign = election.campaign(&held.session, value);
            let campaign = async { campaign.await.map(Thing::Lead) };
            (name, scope, self.wait(held, campaign, limit).await)
        } else {
            let (name, scope, lock) = self.draw_lock(held);
            (name, scope, self.ask_for(held, &lock, limit).await)
        };
        let name = Name([scope, &name].concat().into());
        let given = match asked {
            Asked::Given(given) => given,
            Asked::Left => None,
            Asked::Refused(error) => {
                self.refused(held, &error);
                None
            }
        };
        let Some(guard) = given else { return };
        let key = [scope.as_bytes(), guard.key()].concat();
        let guard = Arc::new(guard);
        self.note(|| format!("holds {name:?} with token {}", guard.token()));
        let whose = (held.place.boot, held.session.lease());
        self.notes.acquired(&self.cluster, (&name, &key), whose, &guard);
        self.work(held, Guarded { name, guard, was_lost: false }).await;
    }

    /// The same lock may be called by another name in another scope.
    fn draw_lock(&mut self, held: &Held) -> (String, &'static str, Lock) {
        let number = self.dice.below(NAMES);
        if self.dice.chance(500_000) {
            let name = format!("lines/{number}");
            return (name.clone(), "k/", held.place.store.scoped("k/").lock(name));
        }
        let name = format!("k/lines/{number}");
        (name.clone(), "", held.place.store.lock(name))
    }

    async fn ask_for(&mut self, held: &Held, lock: &Lock, limit: Duration) -> Asked {
        let session = &held.session;
        match self.dice.below(5) {
            0 => {
                let timeout = self.holders.timeout;
                let tried = lock.try_acquire(session).timeout(timeout).await;
                tried.map(|guard| guard.map(Thing::Lock)).into()
            }
            1 => {
                let call = lock.acquire_timeout(session, limit);
                self.wait(held, async { call.await.map(Thing::Lock) }, limit).await
            }
            _ => {
                let call = lock.acquire(session);
                self.wait(held, async { call.await.map(Thing::Lock) }, limit).await
            }
        }
    }

    /// Waits for its turn; now and then only for so long. Whoever waits is told, in the end.
    async fn wait(
        &mut self,
        held: &Held,
        call: impl Future<Output = Result<Thing>>,
        limit: Duration,
    ) -> Asked {
        let leaves = self.dice.chance(250_000);
        let limit = if leaves { limit } else { WAITS_AT_MOST };
        match within(&self.cluster.clock(), limit, call).await {
            Some(asked) => asked.into(),
            None if leaves => Asked::Left,
            None => {
                let lease = held.session.lease();
                self.cluster.fail(format!("REC-8: nobody tells {lease} whether it is its turn"));
                Asked::Left
            }
        }
    }

    /// Whoever is told that it lost its place has lost its session: nobody deletes keys here.
    fn refused(&self, held: &mut Held, error: &Error) {
        self.note(|| format!("is refused: {error}"));
        let is_there = self.cluster.is_running(held.place.boot)
            && !self.notes.tenures.lock().has_ended(held.session.lease());
        if error.is_lost() && is_there && !self.looks(held) {
            self.cluster.fail(format!("REC-9: {:?} is there, and: {error}", held.session));
        }
    }

    // ---- under the lock

    async fn work(&mut self, held: &mut Held, mut guarded: Guarded) {
        let ttl = held.session.ttl();
        for _ in 0..self.dice.below(6) {
            if self.look_at(held, &mut guarded) && self.dice.chance(500_000) {
                break;
            }
            match self.dice.below(7) {
                0 | 1 => self.write(&guarded).await,
                6 => self.proclaim(&guarded).await,
                2 => self.stop(held, ttl).await,
                3 => {
                    let limit = self.dice.span(Duration::ZERO, ttl);
                    self.wait_for_guard(held, &mut guarded, limit).await;
                }
                _ => self.pause(ttl / 2).await,
            }
            if self.cluster.has_failed() {
                return;
            }
        }
        self.look_at(held, &mut guarded);
        self.let_go(held, guarded).await;
    }

    /// Looks at its guard: what is lost stays lost, and a guard is held no longer than its session.
    fn look_at(&self, held: &mut Held, guarded: &mut Guarded) -> bool {
        let (over, lost) = (self.looks(held), guarded.guard.is_lost());
        if (over || guarded.was_lost) && !lost {
            self.cluster.fail(format!("REC-14: {:?} is held again", guarded.guard));
        }
        guarded.was_lost = lost;
        self.notes.rivals(&self.cluster);
        lost
    }

    /// Writes under the lock. Who knows that it is lost writes nothing.
    async fn write(&mut self, guarded: &Guarded) {
        let token = guarded.guard.token();
        let value = Bytes::from(format!("{token} {}", self.value()));
        let knew = guarded.guard.is_lost();
        self.notes.lines.lock().writes(&guarded.name, token, value.clone());
        let put = Op::put(guarded.name.fenced(), value.clone());
        let call = guarded.guard.txn().then(put).timeout(self.holders.timeout);
        let told = match call.await {
            Ok(done) => Some(done.succeeded()),
            Err(error) if error.is_lost() => Some(false),
            Err(error) => (!error.is_unknown()).then_some(false),
        };
        if let Some(written) = told {
            self.notes.lines.lock().wrote(&value, written);
        }
        if knew && told != Some(false) {
            self.cluster.fail(format!("REC-14: {:?} was lost, and writes", guarded.guard));
        }
    }

    /// Says something else as a leader.
    async fn proclaim(&mut self, guarded: &Guarded) {
        let value = self.value();
        if let Thing::Lead(leads) = &*guarded.guard {
            drop(leads.proclaim(value).timeout(self.holders.timeout).await);
        }
    }

    /// Waits for the loss of the lock, for so long at most.
    async fn wait_for_guard(&mut self, held: &mut Held, guarded: &mut Guarded, limit: Duration) {
        let woken = within(&self.cluster.clock(), limit, guarded.guard.lost()).await;
        let boot = held.place.boot;
        if woken.is_none() && self.overslept(held, boot) {
            self.cluster.fail(format!("REC-2: nobody is told that {:?} is lost", guarded.guard));
        }
        if !self.look_at(held, guarded) && woken.is_some() {
            self.cluster.fail("REC-2: a guard is said to be lost and is not");
        }
    }

    /// Has whoever waits for a loss not been woken, though there was one?
    pub(super) fn overslept(&self, held: &Held, boot: Boot) -> bool {
        let over = held.session.kept().deadline().after(WOKEN_WITHIN);
        let is_late =
            self.cluster.own_time(boot) > over && !self.cluster.is_drowsy(boot, WOKEN_WITHIN);
        is_late || !self.cluster.is_running(boot)
    }

    /// Lets go in one of the ways in which guards are let go of.
    async fn let_go(&mut self, held: &mut Held, guarded: Guarded) {
        let Guarded { guard, was_lost, .. } = guarded;
        self.note(|| format!("lets go of {}", guard.token()));
        let Ok(guard) = Arc::try_unwrap(guard) else {
            return self.cluster.fail("a guard is kept by somebody else");
        };
        match self.dice.below(6) {
            0 => {
                // It goes with the session, and nobody gives it back before.
                held.leaks = true;
                self.leaked.push(guard);
            }
            1 | 2 => drop(guard),
            _ => {
                let timeout = self.holders.timeout;
                let released = match guard {
                    Thing::Lock(guard) => guard.release().timeout(timeout).await,
                    Thing::Lead(leads) => {
                        let resigned = leads.resign().timeout(timeout).await;
                        // Again does no harm (REC-21).
                        drop(leads.resign().timeout(timeout).await);
                        resigned
                    }
                };
                let is_excused = self.notes.tenures.lock().is_excused(held.session.lease());
                let still_held = !is_excused && !self.looks(held) && !was_lost;
                if still_held && released.is_ok_and(|held| !held) {
                    self.cluster.fail("REC-12: a lock that was held was not released");
                }
            }
        }
    }
}
