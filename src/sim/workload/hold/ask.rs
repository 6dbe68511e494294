//! How a holder comes to what is held in turn: what it wants, and for how long it waits.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use super::{Held, Holder, Place};
use crate::error::{Error, Result};
use crate::service::{Election, Lock, RwLock, Semaphore, Session};
use crate::sim::check::lock::{Name, Share};
use crate::sim::dice::Dice;
use crate::sim::held::Thing;
use crate::sim::workload::bell::within;
use crate::store::Store;

/// Names of each kind: few, so that holders meet.
const NAMES: u64 = 3;

/// Nobody stands in a line for longer.
pub(super) const WAITS_AT_MOST: Duration = Duration::from_secs(600);

/// What somebody stands in a line for.
pub(super) struct Wanted {
    /// The whole name; `scope` is the part of it that its handle adds.
    pub(super) name: Name,
    pub(super) scope: &'static str,
    pub(super) share: Share,
    what: What,
}

enum What {
    Lock(Lock),
    Election(Election),
    RwLock(RwLock),
    Semaphore(Semaphore),
}

/// How it came out that something was asked for.
pub(super) enum Asked {
    Given(Option<Thing>),
    Refused(Error),
    /// It was not waited for any longer.
    Left,
}

/// For how long somebody waits.
#[derive(Clone, Copy)]
enum Patience {
    /// Not at all.
    Try(Duration),
    /// So long at most.
    Timeout(Duration),
    Wait,
}

/// An election, and how it is called in the scope that it is asked in.
pub(super) fn draw_election(dice: &mut Dice, place: &Place) -> (String, &'static str, Election) {
    let (_, name, scope, store) = named(dice, place, "seats");
    (name.clone(), scope, store.election(name))
}

/// A name of a kind, the same in two scopes: its number, how it is called in the one, and that.
fn named(dice: &mut Dice, place: &Place, kind: &str) -> (u64, String, &'static str, Store) {
    let number = dice.below(NAMES);
    if dice.chance(500_000) {
        return (number, format!("{kind}/{number}"), "k/", place.store.scoped("k/"));
    }
    (number, format!("k/{kind}/{number}"), "", place.store.clone())
}

impl Wanted {
    pub(super) fn drawn(dice: &mut Dice, place: &Place) -> Self {
        match dice.below(20) {
            0..7 => {
                let (_, name, scope, store) = named(dice, place, "lines");
                let what = What::Lock(store.lock(name.clone()));
                Self::new((name, scope), Share::Alone, what)
            }
            7..13 => {
                let (name, scope, election) = draw_election(dice, place);
                let priority = u32::try_from(dice.below(6).saturating_sub(3)).unwrap_or_default();
                let election = election.priority(priority);
                Self::new((name, scope), Share::Alone, What::Election(election))
            }
            13..17 => {
                let (_, name, scope, store) = named(dice, place, "stocks");
                let share = if dice.chance(600_000) { Share::Reading } else { Share::Alone };
                Self::new((name.clone(), scope), share, What::RwLock(store.rw_lock(name)))
            }
            _ => {
                let (number, name, scope, store) = named(dice, place, "permits");
                // As all others say; but for who is wrong, and is refused or alone.
                let usual = usize::try_from(number).unwrap_or_default() + 1;
                let permits = if dice.chance(50_000) { usual + 1 } else { usual };
                let what = What::Semaphore(store.semaphore(name.clone(), permits));
                Self::new((name, scope), Share::Permit(permits), what)
            }
        }
    }

    fn new((name, scope): (String, &'static str), share: Share, what: What) -> Self {
        Self { name: Name([scope, &name].concat().into()), scope, share, what }
    }

    fn ask(&self, session: &Session, value: String, patience: Patience) -> Call {
        match &self.what {
            What::Lock(lock) => match patience {
                Patience::Try(most) => {
                    call(lock.try_acquire(session).timeout(most), |it| it.map(Thing::Lock))
                }
                Patience::Timeout(most) => {
                    call(lock.acquire_timeout(session, most), |it| Some(Thing::Lock(it)))
                }
                Patience::Wait => call(lock.acquire(session), |it| Some(Thing::Lock(it))),
            },
            What::Election(election) => {
                let campaign = election.campaign(session, value);
                call(campaign, |it| Some(Thing::Lead(it)))
            }
            What::RwLock(lock) if self.share == Share::Reading => match patience {
                Patience::Try(most) => {
                    call(lock.try_read(session).timeout(most), |it| it.map(Thing::Read))
                }
                Patience::Timeout(most) => {
                    call(lock.read(session).timeout(most), |it| Some(Thing::Read(it)))
                }
                Patience::Wait => call(lock.read(session), |it| Some(Thing::Read(it))),
            },
            What::RwLock(lock) => match patience {
                Patience::Try(most) => {
                    call(lock.try_write(session).timeout(most), |it| it.map(Thing::Write))
                }
                Patience::Timeout(most) => {
                    call(lock.write(session).timeout(most), |it| Some(Thing::Write(it)))
                }
                Patience::Wait => call(lock.write(session), |it| Some(Thing::Write(it))),
            },
            What::Semaphore(permits) => match patience {
                Patience::Try(most) => {
                    call(permits.try_acquire(session).timeout(most), |it| it.map(Thing::Permit))
                }
                Patience::Timeout(most) => {
                    call(permits.acquire(session).timeout(most), |it| Some(Thing::Permit(it)))
                }
                Patience::Wait => call(permits.acquire(session), |it| Some(Thing::Permit(it))),
            },
        }
    }
}

type Call = Pin<Box<dyn Future<Output = Result<Option<Thing>>> + Send>>;

fn call<T: 'static>(
    call: impl Future<Output = Result<T>> + Send + 'static,
    into: fn(T) -> Option<Thing>,
) -> Call {
    Box::pin(async move { call.await.map(into) })
}

impl Holder {
    /// Waits for its turn; now and then only for so long. Whoever waits is told, in the end.
    pub(super) async fn ask_for(&mut self, held: &Held, wanted: &Wanted) -> Asked {
        let limit = self.dice.span(Duration::ZERO, held.session.ttl() * 2);
        let (patience, value) = match self.dice.below(5) {
            0 => (Patience::Try(self.holders.timeout), self.value()),
            1 => (Patience::Timeout(limit), self.value()),
            _ => (Patience::Wait, self.value()),
        };
        let call = wanted.ask(&held.session, value, patience);
        let leaves = self.dice.chance(250_000);
        let limit = if leaves { limit } else { WAITS_AT_MOST };
        match within(&self.cluster.clock(), limit, call).await {
            Some(Ok(given)) => Asked::Given(given),
            Some(Err(error)) => Asked::Refused(error),
            None if leaves => Asked::Left,
            None => {
                let lease = held.session.lease();
                self.cluster.fail(format!("REC-8: nobody tells {lease} whether it is its turn"));
                Asked::Left
            }
        }
    }
}
