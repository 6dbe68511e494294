//! Random holders of leases: how they come to one, what they do while they rely on it, and how it
//! ends.
//!
//! A holder has one lease after the other, each through a member drawn anew. It opens sessions, or
//! adopts what another has left; puts keys with the lease, and takes them away from it; is stopped
//! with its process and goes on; and closes, drops, orphans or revokes, or waits until it is lost.
//! Whenever it looks at its session, what it sees is held against its own clock and against what
//! it has seen before (`REC-2`). With its session it takes locks and permits, and stands for
//! election (`ask.rs`, `lock.rs`, `lead.rs`), takes items from queues (`queue.rs`), and waits for
//! others at barriers (`barrier.rs`); others look on (`observe.rs`). Others hold leases without
//! sessions, and renew them, or do not.

mod ask;
mod barrier;
mod lead;
mod lock;
mod look;
mod observe;
mod queue;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use self::lead::Legacy;
use self::look::Looks;
pub(in crate::sim) use self::queue::{is_ranked, queue_names};
use super::bell::within;
use crate::core::lease::deadline;
use crate::error::Result;
use crate::ids::LeaseId;
use crate::service::{OpenSession, Session};
use crate::sim::check::lease::Until;
use crate::sim::cluster::Cluster;
use crate::sim::dice::{Dice, Seed};
use crate::sim::held::{Boot, Holdings, Relied};
use crate::sim::marks::Mark;
use crate::store::Store;

/// One of them enqueues.
const FEEDS: u64 = 1;

/// By its own clock, who waits for a loss is woken so soon at the latest.
const WOKEN_WITHIN: Duration = Duration::from_millis(50);

/// What those who hold leases in one run are like: drawn from its seed, with dice of their own.
#[derive(Clone, Debug)]
pub(in crate::sim) struct Holders {
    dice: Dice,
    count: u64,
    /// The shortest TTL that there is, and the longest that is asked for.
    floor: Duration,
    longest: Duration,
    /// How long a lease is kept at most.
    kept: Duration,
    /// How long a call may take.
    timeout: Duration,
    /// When they begin no more.
    until: Duration,
}

impl Holders {
    pub(in crate::sim) fn drawn(seed: Seed, floor: Duration, span: Duration) -> Self {
        let mut dice = Dice::of_part(seed, "holders");
        let times = u32::try_from(2 + dice.below(8)).unwrap_or(2);
        Self {
            count: 1 + dice.below(8),
            floor,
            longest: floor * times,
            kept: dice.span(span / 20, span / 2),
            timeout: dice.span(Duration::from_millis(300), Duration::from_secs(4)),
            until: span,
            dice,
        }
    }

    /// Starts them as tasks, which end by themselves.
    pub(in crate::sim) fn start(&mut self, cluster: &Cluster, notes: &Holdings) {
        cluster.set_zeros(&mut self.dice);
        let shared = Arc::<Shared>::default();
        for number in 0..self.count.max(FEEDS) + 1 {
            let holder = Holder {
                number,
                cluster: cluster.clone(),
                dice: self.dice.fork(),
                notes: notes.clone(),
                holders: self.clone(),
                shared: Arc::clone(&shared),
                puts: 0,
                leaked: Vec::new(),
            };
            if number % 3 == 2 {
                cluster.spawn(holder.observe());
            } else if number == FEEDS {
                cluster.spawn(holder.feed());
            } else {
                shared.busy.fetch_add(1, Ordering::Relaxed);
                cluster.spawn(holder.run());
            }
        }
    }
}

/// What all of a run share.
#[derive(Default)]
struct Shared {
    /// Leases that were left by somebody, for whoever wants them.
    left: Mutex<Vec<LeaseId>>,
    /// Leaderships that were, and what their holders had of them.
    legacies: Mutex<Vec<Legacy>>,
    kept: Mutex<Vec<Arc<dyn Relied>>>,
    /// Holders that have not ended.
    busy: AtomicUsize,
    /// Queues of which somebody waits for an item, and barriers that somebody waits for, each as
    /// often as there are such.
    hungry: Mutex<Vec<Bytes>>,
    /// Handles of queues that several consumers of a process have.
    handles: Mutex<Vec<queue::Handle>>,
}

/// Somebody who holds leases.
struct Holder {
    number: u64,
    cluster: Cluster,
    dice: Dice,
    notes: Holdings,
    holders: Holders,
    shared: Arc<Shared>,
    puts: u64,
    /// What it never gives back: what is held by it goes with its session.
    leaked: Vec<Arc<dyn Relied>>,
}

/// Where something is held.
#[derive(Clone)]
struct Place {
    name: String,
    boot: Boot,
    store: Store,
}

/// A session, and what was seen of it.
struct Held {
    session: Session,
    place: Place,
    looks: Looks,
    /// A place in some line is left to it: nobody would get it before the session ends.
    leaks: bool,
    /// It stood in some line. Who adopts its lease might wait for a place of its own, which the
    /// process that it adopts from has had no time to give back.
    stood: bool,
    /// It has left a leadership to whoever adopts its lease: nobody is to end that.
    bequeaths: bool,
    /// What it holds another has had before, with whom it may go.
    resumes: bool,
}

impl Held {
    fn new(session: Session, place: Place) -> Self {
        let (looks, leaks, stood) = (Looks::default(), false, false);
        Self { session, place, looks, leaks, stood, bequeaths: false, resumes: false }
    }
}

impl Holder {
    async fn run(mut self) {
        while self.cluster.clock().now() < self.holders.until && !self.cluster.has_failed() {
            self.pause(Duration::from_millis(200)).await;
            let Some(place) = self.place() else { continue };
            let legacy = self.shared.legacies.lock().pop();
            if let Some(legacy) = legacy {
                let session = place.store.session(Duration::ZERO).lease(legacy.lease);
                self.hold(place, session, Some(legacy)).await;
                continue;
            }
            match self.dice.below(10) {
                0 => self.open_and_leave(&place).await,
                1 | 2 => self.grant(&place).await,
                3 => {
                    let left = self.shared.left.lock().pop();
                    let Some(lease) = left else { continue };
                    let session = place.store.session(Duration::ZERO).lease(lease);
                    self.hold(place, session, None).await;
                }
                _ => {
                    let session = place.store.session(self.ttl());
                    self.hold(place, session, None).await;
                }
            }
        }
        self.shared.busy.fetch_sub(1, Ordering::Relaxed);
    }

    /// Some member that is up.
    fn place(&mut self) -> Option<Place> {
        let mut names = self.cluster.names();
        names.retain(|name| self.cluster.is_up(name).unwrap_or_default());
        let name = self.dice.pick(&names)?.clone();
        let (boot, store) = (self.cluster.boot(&name)?, self.cluster.store(&name).ok()?);
        Some(Place { name, boot, store })
    }

    /// Now and then below the shortest, which is raised (`LSE-4`).
    fn ttl(&mut self) -> Duration {
        if self.dice.chance(200_000) {
            return Duration::ZERO;
        }
        self.dice.span(self.holders.floor, self.holders.longest)
    }

    async fn pause(&mut self, most: Duration) {
        let span = self.dice.span(Duration::ZERO, most);
        self.cluster.clock().sleep(span).await;
    }

    fn key(&mut self) -> String {
        format!("k/held/{}/{}", self.number, self.dice.below(3))
    }

    fn value(&mut self) -> String {
        self.puts += 1;
        format!("{}-{}", self.number, self.puts)
    }

    fn note(&self, text: impl FnOnce() -> String) {
        self.cluster.note(format!("holder {} {}", self.number, text()));
    }

    // ---- leases without sessions

    /// Asks for a session, and goes away before it is there: nobody knows of its lease.
    async fn open_and_leave(&mut self, place: &Place) {
        let open = place.store.session(self.ttl()).timeout(self.holders.timeout);
        let most = self.dice.span(Duration::ZERO, Duration::from_millis(5));
        drop(within(&self.cluster.clock(), most, open).await);
    }

    /// Is granted a lease, and renews it for a while, or does not.
    async fn grant(&mut self, place: &Place) {
        let asked = self.cluster.own_time(place.boot);
        let call = place.store.grant(self.ttl()).timeout(self.holders.timeout);
        let Ok(granted) = call.await else { return };
        let (lease, ttl) = (granted.id, granted.ttl);
        self.note(|| format!("is granted {lease} for {ttl:?} at {}", place.name));
        let until = Until::Fixed(deadline(asked, ttl));
        self.notes.granted(&self.cluster, place.boot, (lease, ttl), until);
        for _ in 0..self.dice.below(4) {
            match self.dice.below(3) {
                0 => drop(self.put(place, lease).await),
                1 => self.keep_alive(place, lease).await,
                _ => self.pause(ttl).await,
            }
        }
        if self.dice.chance(200_000) {
            self.revoke(place, lease).await;
        }
    }

    /// One renewal, judged: what has ended is not renewed (`LSE-13`).
    async fn keep_alive(&mut self, place: &Place, lease: LeaseId) {
        let (asked, began) = (self.cluster.own_time(place.boot), self.cluster.instant());
        let call = place.store.keep_alive(lease).timeout(self.holders.timeout);
        let Ok(kept) = call.await else { return };
        let mut tenures = self.notes.tenures.lock();
        let is_late = tenures.had_ended(lease, began);
        let until = Until::Fixed(deadline(asked, kept.ttl));
        tenures.claim(place.boot.node, lease, until);
        drop(tenures);
        if is_late {
            self.cluster.fail(format!("LSE-13: lease {lease} is renewed, and had ended"));
        }
    }

    async fn put(&mut self, place: &Place, lease: LeaseId) -> Result<()> {
        let (key, value) = (self.key(), self.value());
        let put = place.store.put(key, value).timeout(self.holders.timeout);
        put.lease(lease).await.map(|_| ())
    }

    /// By any member.
    async fn revoke(&mut self, place: &Place, lease: LeaseId) {
        let other = self.place().unwrap_or_else(|| place.clone());
        self.note(|| format!("revokes {lease} at {}", other.name));
        self.notes.tenures.lock().revoking(lease);
        drop(other.store.revoke(lease).timeout(self.holders.timeout).await);
    }

    // ---- sessions

    /// Opens a session, holds it for a while, and ends it.
    async fn hold(&mut self, place: Place, open: OpenSession, legacy: Option<Legacy>) {
        let Ok(session) = open.timeout(self.holders.timeout).await else { return };
        let (lease, ttl) = (session.lease(), session.ttl());
        let until = Until::Kept(Arc::downgrade(session.kept()));
        self.notes.granted(&self.cluster, place.boot, (lease, ttl), until);
        self.note(|| format!("holds {lease} for {ttl:?} at {}", place.name));
        let mut held = Held::new(session, place);
        if let Some(legacy) = legacy {
            (held.resumes, held.stood) = (true, true);
            self.resume(&mut held, legacy).await;
            return self.end(held).await;
        }
        let end = self.cluster.clock().now() + self.dice.span(Duration::ZERO, self.holders.kept);
        while !held.leaks && self.cluster.clock().now() < end && !self.cluster.has_failed() {
            if self.looks(&mut held) {
                break;
            }
            self.step(&mut held).await;
        }
        self.end(held).await;
    }

    /// Does something with what it holds.
    async fn step(&mut self, held: &mut Held) {
        let (place, lease, ttl) = (&held.place, held.session.lease(), held.session.ttl());
        match self.dice.below(26) {
            12..20 => self.lock(held).await,
            20..24 => self.consume(held).await,
            24.. => self.meet(held).await,
            0 | 1 => drop(self.put(place, lease).await),
            2 => {
                // It is the lease's no more, and stays.
                let (key, value) = (self.key(), self.value());
                drop(place.store.put(key, value).timeout(self.holders.timeout).await);
            }
            3 => {
                let key = self.key();
                drop(place.store.delete(key).timeout(self.holders.timeout).await);
            }
            4 => self.ask_after(held).await,
            5 => self.keep_alive(&held.place.clone(), lease).await,
            8 => {
                // Not behind what everybody has: whoever waits or observes may meet it.
                let revision = self.notes.newest();
                drop(place.store.compact(revision).timeout(self.holders.timeout).await);
            }
            6 => self.stop(held, ttl).await,
            7 => {
                let limit = self.dice.span(Duration::ZERO, ttl);
                self.wait_for_loss(held, limit).await;
            }
            _ => self.pause(ttl / 2).await,
        }
    }

    /// The stopped process: its member and itself stand still, maybe for longer than the TTL. The
    /// first thing that it does then is to look.
    async fn stop(&mut self, held: &mut Held, ttl: Duration) {
        let span = self.dice.span(Duration::ZERO, ttl * 2);
        self.note(|| format!("is stopped with {} for {span:?}", held.place.name));
        // Nothing goes wrong any more when faults have ended.
        let ends = self.cluster.clock().now() + span;
        if self.cluster.is_running(held.place.boot) && ends < self.holders.until {
            drop(self.cluster.pause(&held.place.name, span));
        }
        self.cluster.clock().sleep(span).await;
        if !held.looks.was_lost() && self.looks(held) {
            self.cluster.mark(Mark::HolderStopped);
        }
    }

    /// What is known of its lease: all there is as long as nobody has ended it (`LSE-20`).
    async fn ask_after(&mut self, held: &mut Held) {
        let lease = held.session.lease();
        let began = self.cluster.instant();
        let look = held.place.store.time_to_live(lease).keys().timeout(self.holders.timeout);
        let Ok(told) = look.await else { return };
        let tenures = self.notes.tenures.lock();
        let (had_ended, has_ended) = (tenures.had_ended(lease, began), tenures.has_ended(lease));
        drop(tenures);
        let wrong = match told.remaining {
            None => !has_ended,
            Some(left) => had_ended || left > held.session.ttl(),
        };
        if wrong {
            self.cluster.fail(format!("LSE-20: lease {lease} is said to be {told:?}"));
        }
    }

    /// Waits for the loss, for so long at most. Who sleeps through it is found out (`REC-2`).
    async fn wait_for_loss(&mut self, held: &mut Held, limit: Duration) {
        let clock = self.cluster.clock();
        let woken = within(&clock, limit, held.session.lost()).await;
        let boot = held.place.boot;
        if woken.is_none() {
            let over = held.session.kept().deadline().after(WOKEN_WITHIN);
            let is_late =
                self.cluster.own_time(boot) > over && !self.cluster.is_drowsy(boot, WOKEN_WITHIN);
            if is_late || !self.cluster.is_running(boot) {
                let lease = held.session.lease();
                self.cluster.fail(format!("REC-2: nobody is told that {lease} is lost"));
            }
        }
        if self.looks(held) != woken.is_some() && woken.is_some() {
            self.cluster.fail("REC-2: a session is said to be lost and is not");
        }
    }

    /// Looks at its session, and says whether it is lost.
    fn looks(&self, held: &mut Held) -> bool {
        let now = self.cluster.own_time(held.place.boot);
        let is_running = self.cluster.is_running(held.place.boot);
        let has_ended = self.notes.tenures.lock().has_ended(held.session.lease());
        let judged = held.looks.look(&held.session, now, is_running && !has_ended);
        judged.unwrap_or_else(|what| {
            self.cluster.fail(format!("{what}: {:?}", held.session));
            true
        })
    }

    /// Ends it in one of the ways in which sessions end.
    async fn end(&mut self, mut held: Held) {
        let lease = held.session.lease();
        match self.dice.below(6) {
            _ if held.bequeaths => self.orphan(held),
            0 => self.orphan(held),
            1 => {
                let place = held.place.clone();
                self.revoke(&place, lease).await;
                let limit = held.session.ttl() * 2;
                self.wait_for_loss(&mut held, limit).await;
                self.drop(held);
            }
            2 | 3 => self.drop(held),
            _ => self.close(held).await,
        }
    }

    fn orphan(&mut self, held: Held) {
        let lease = held.session.lease();
        self.note(|| format!("orphans {lease}"));
        // Nobody revokes it: it lasts as long as its holder was told, and somebody may take it.
        let Held { session, stood, .. } = held;
        session.orphan();
        if !stood && self.dice.chance(500_000) {
            self.shared.left.lock().push(lease);
        }
    }

    fn drop(&self, held: Held) {
        self.note(|| format!("drops {}", held.session.lease()));
        self.notes.tenures.lock().revoking(held.session.lease());
        drop(held);
    }

    async fn close(&mut self, held: Held) {
        let lease = held.session.lease();
        self.note(|| format!("closes {lease}"));
        let began = self.cluster.instant();
        self.notes.tenures.lock().revoking(lease);
        let was_lost = held.session.is_lost();
        let closed = held.session.close().timeout(self.holders.timeout).await;
        if closed.is_ok() && !was_lost && !self.notes.tenures.lock().has_ended(lease) {
            self.cluster.fail(format!("REC-3: {lease} was closed at {began:?}, and is there"));
        }
    }
}
