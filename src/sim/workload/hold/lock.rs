//! What a holder does with what is held in turn while it has a session: what it writes under it,
//! and how it lets go. How it comes to one is in `ask.rs`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::ask::{Asked, Wanted};
use super::{Held, Holder, WOKEN_WITHIN};
use crate::error::Error;
use crate::service::Op;
use crate::sim::check::lock::{Name, Share};
use crate::sim::held::{Boot, Relied, Thing};
use crate::sim::marks::Mark;
use crate::sim::workload::bell::within;

/// Something that is held, and what was seen of it.
pub(super) struct Guarded {
    name: Name,
    scope: &'static str,
    share: Share,
    guard: Arc<Thing>,
    was_lost: bool,
}

impl Guarded {
    pub(super) fn new(
        (name, scope): (Name, &'static str),
        share: Share,
        guard: Arc<Thing>,
    ) -> Self {
        Self { name, scope, share, guard, was_lost: false }
    }
}

impl Holder {
    /// Comes to something in one of the ways that there are, does things with it, and lets go.
    pub(super) async fn lock(&mut self, held: &mut Held) {
        held.stood = true;
        let wanted = Wanted::drawn(&mut self.dice, &held.place);
        let given = match self.ask_for(held, &wanted).await {
            Asked::Given(given) => given,
            Asked::Left => None,
            Asked::Refused(error) => {
                if error.is_invalid() {
                    self.cluster.mark(Mark::PermitsDiffer);
                }
                self.refused(held, &error);
                None
            }
        };
        let Some(guard) = given else { return };
        let Wanted { name, scope, share, .. } = wanted;
        let key = [scope.as_bytes(), guard.key()].concat();
        let guard = Arc::new(guard);
        self.note(|| format!("holds {name:?} ({share:?}) with token {}", guard.token()));
        let whose = (held.place.boot, held.session.lease());
        let relied: Arc<dyn Relied> = Arc::<Thing>::clone(&guard);
        self.notes.acquired(&self.cluster, (&name, share, &key), whose, &relied);
        drop(relied);
        let runs = matches!(*guard, Thing::Lead(_)) && self.dice.chance(300_000);
        let guard = match if runs { Arc::try_unwrap(guard) } else { Err(guard) } {
            Ok(Thing::Lead(leads)) => return self.run_work(held, name, leads).await,
            Ok(other) => Arc::new(other),
            Err(guard) => guard,
        };
        self.work(held, Guarded::new((name, scope), share, guard)).await;
    }

    /// Whoever is told that it lost its place has lost its session: nobody deletes keys here.
    pub(super) fn refused(&self, held: &mut Held, error: &Error) {
        self.note(|| format!("is refused: {error}"));
        let is_there = self.cluster.is_running(held.place.boot)
            && !self.notes.tenures.lock().has_ended(held.session.lease());
        if error.is_lost() && is_there && !self.looks(held) {
            self.cluster.fail(format!("REC-9: {:?} is there, and: {error}", held.session));
        }
        if error.is_lost() {
            self.cluster.mark(Mark::WaiterLost);
        }
    }

    // ---- while it is held

    pub(super) async fn work(&mut self, held: &mut Held, mut guarded: Guarded) {
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
        let line = (&guarded.name, guarded.share);
        self.notes.lines.lock().writes(line, token, value.clone());
        let put = Op::put(guarded.name.fenced(), value.clone());
        let call = guarded.guard.txn().then(put).timeout(self.holders.timeout);
        let (told, is_lost) = match call.await {
            Ok(done) => (Some(done.succeeded()), false),
            Err(error) => ((!error.is_unknown()).then_some(false), error.is_lost()),
        };
        if let Some(written) = told {
            self.notes.lines.lock().wrote(&value, written);
        }
        if !knew && is_lost {
            self.cluster.mark(Mark::GuardLostInTxn);
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
        let Guarded { name, scope, guard, was_lost, .. } = guarded;
        self.note(|| format!("lets go of {}", guard.token()));
        let Ok(guard) = Arc::try_unwrap(guard) else {
            return self.cluster.fail("a guard is kept by somebody else");
        };
        match self.dice.below(6) {
            0 if matches!(guard, Thing::Lead(_)) && self.dice.chance(700_000) => {
                self.bequeath(held, (name, scope), guard);
            }
            0 => {
                // It goes with the session, and nobody gives it back before.
                held.leaks = true;
                self.leaked.push(Arc::new(guard));
            }
            1 | 2 => drop(guard),
            _ => {
                let released = guard.release(self.holders.timeout).await;
                let is_excused = self.notes.tenures.lock().is_excused(held.session.lease());
                let is_own = !held.resumes;
                let still_held = is_own && !is_excused && !self.looks(held) && !was_lost;
                if still_held && released.is_ok_and(|held| !held) {
                    self.cluster.fail("REC-12: a lock that was held was not released");
                }
            }
        }
    }
}
