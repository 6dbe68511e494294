//! Leases: granted, kept alive, revoked, left to expire, and kept by sessions that do nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quorate::{
    Grant, GrantResponse, KeepAlive, KeepAliveResponse, KeyRange, LeaseId, Revoke, RevokeResponse,
    Session, Store,
};

use crate::Outcome;
use crate::bench::{Bench, gather};
use crate::callers::{Caller, Window, Workload};
use crate::hist::Hist;
use crate::report::{Figures, Meter, Record};

const CALLERS: [usize; 2] = [1, 64];
/// So long that none of them ends meanwhile.
const LONG: Duration = Duration::from_secs(3600);
/// The TTL of leases that are left to expire.
const SHORT: Duration = Duration::from_secs(10);
/// How long after that the last of them must be gone.
const PATIENCE: Duration = Duration::from_secs(120);
/// TTLs of sessions that do nothing: the recipes' own, and a short one.
const IDLE: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(10)];

/// Grants leases, and remembers them.
#[derive(Default)]
struct Grants {
    ids: Mutex<Vec<LeaseId>>,
}

impl Workload for Grants {
    type Call = Grant;

    fn begin(&self, caller: &mut Caller) -> Option<Grant> {
        Some(caller.store.grant(LONG))
    }

    fn is_right(&self, _caller: &mut Caller, response: &GrantResponse) -> bool {
        self.ids.lock().push(response.id);
        response.ttl == LONG
    }
}

/// Keeps leases alive, at random.
struct KeepAlives {
    ids: Vec<LeaseId>,
}

impl Workload for KeepAlives {
    type Call = KeepAlive;

    fn begin(&self, caller: &mut Caller) -> Option<KeepAlive> {
        let at = caller.random.below(self.ids.len() as u64);
        self.ids.get(usize::try_from(at).ok()?).map(|id| caller.store.keep_alive(*id))
    }

    fn is_right(&self, _caller: &mut Caller, response: &KeepAliveResponse) -> bool {
        response.ttl == LONG
    }
}

/// Revokes leases, each once.
struct Revokes {
    ids: Vec<LeaseId>,
    next: AtomicU64,
}

impl Workload for Revokes {
    type Call = Revoke;

    fn begin(&self, caller: &mut Caller) -> Option<Revoke> {
        let at = usize::try_from(self.next.fetch_add(1, Ordering::Relaxed)).ok()?;
        self.ids.get(at).map(|id| caller.store.revoke(*id))
    }

    fn is_right(&self, _caller: &mut Caller, response: &RevokeResponse) -> bool {
        response.header.revision.get() >= 1
    }
}

/// What has been seen of leases that end.
struct Endings {
    lateness: Hist,
    early: u64,
    first: Instant,
    last: Instant,
}

impl Bench {
    /// Grants, keep-alives and revocations.
    pub(crate) fn leases(&self) -> Outcome<()> {
        let grants = Arc::new(Grants::default());
        for concurrency in self.options.concurrency(&CALLERS) {
            for _ in 0..self.options.repeat {
                self.measure("lease-grant", concurrency, &grants, || Ok(Record::new()))?;
            }
        }
        // Some are left for the keep-alives: as many as the peer's program has by then, about.
        let mut ids = std::mem::take(&mut *grants.ids.lock());
        let kept = usize::try_from(self.options.leases)?.min(ids.len());
        let left = ids.split_off(ids.len() - kept);
        let revokes = Arc::new(Revokes { ids, next: AtomicU64::new(0) });
        self.measure("lease-revoke", 64, &revokes, || Ok(Record::new()))?;
        let keep_alives = Arc::new(KeepAlives { ids: left.clone() });
        let left: BTreeSet<LeaseId> = left.into_iter().collect();
        self.revoke_all_but(&left)?;
        for concurrency in self.options.concurrency(&CALLERS) {
            for _ in 0..self.options.repeat {
                let name = "lease-keepalive-once";
                let more = || {
                    let mut more = Record::new();
                    more.set("leases", left.len());
                    Ok(more)
                };
                self.measure(name, concurrency, &keep_alives, more)?;
            }
        }
        self.revoke_all_but(&BTreeSet::new())
    }

    /// Revokes what there is, but for some.
    fn revoke_all_but(&self, left: &BTreeSet<LeaseId>) -> Outcome<()> {
        let store = self.store()?;
        let mut ids = store.leases().wait()?.leases;
        ids.retain(|id| !left.contains(id));
        let revokes = Arc::new(Revokes { ids, next: AtomicU64::new(0) });
        let window = Arc::new(Window::new(Instant::now(), PATIENCE));
        let tallies = self.callers.run(self.crew(CALLERS[1])?, &window, &revokes);
        match gather(tallies.iter()).first_error {
            Some(error) => Err(format!("revoking leases: {error}").into()),
            None => Ok(()),
        }
    }

    fn store(&self) -> Outcome<Store> {
        let stores = self.cluster.stores()?;
        stores.into_iter().next().ok_or_else(|| "there is no member to ask".into())
    }

    /// Leases with a key each, all of which end within a short time: how late are they?
    pub(crate) fn expiry(&self) -> Outcome<()> {
        let count = self.options.leases;
        let store = self.store()?;
        let mut endings = store.watch(KeyRange::prefix("lease/")).no_puts().start()?;
        let begun = Instant::now();
        let due = self.grant_with_keys(&store, count)?;
        let granted = begun.elapsed();
        let meter = Meter::start(&self.cluster);
        let now = Instant::now();
        let mut seen = Endings { lateness: Hist::new(), early: 0, first: now, last: now };
        let (mut ended, end) = (0, now + SHORT + PATIENCE);
        while ended < count && Instant::now() < end {
            let batch = endings.next_timeout(Duration::from_secs(1));
            let Some(batch) = batch.map_err(quorate::Error::from)? else { continue };
            let now = Instant::now();
            for event in batch.events() {
                let key = String::from_utf8_lossy(event.kv().key()).into_owned();
                let at: usize = key.trim_start_matches("lease/").parse()?;
                let due = due.get(at).ok_or("a key ended that nobody has put")?;
                seen.early += u64::from(now < *due);
                seen.lateness.add(now.saturating_duration_since(*due));
                seen.first = if ended == 0 { now } else { seen.first };
                seen.last = now;
                ended += 1;
            }
        }
        if ended < count {
            return Err(format!("{ended} of {count} leases have ended {PATIENCE:?} later").into());
        }
        let mut more = Record::new();
        more.set("leases", count);
        more.set("early", seen.early);
        more.seconds("ttl_s", SHORT);
        more.seconds("grant_and_put_s", granted);
        let elapsed = seen.last - seen.first;
        more.seconds("drain_s", elapsed);
        let latencies = Some(&seen.lateness);
        let figures =
            Figures { workload: "lease-expiry", concurrency: 64, ops: count, elapsed, latencies };
        meter.emit(&self.cluster, &self.options, &figures, more);
        Ok(())
    }

    /// Grants leases and puts a key with each; says when each is due: its TTL after it was asked
    /// for.
    fn grant_with_keys(&self, store: &Store, count: u64) -> Outcome<Vec<Instant>> {
        let next = Arc::new(AtomicU64::new(0));
        let due: Arc<Mutex<Vec<(u64, Instant)>>> = Arc::default();
        let (done, ended) = std::sync::mpsc::channel();
        for _ in 0..64 {
            let (store, next) = (store.clone(), Arc::clone(&next));
            let (due, done) = (Arc::clone(&due), done.clone());
            self.callers.spawn(async move {
                let result = async {
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        if at >= count {
                            return Ok(());
                        }
                        let asked = Instant::now();
                        let lease = store.grant(SHORT).await?.id;
                        due.lock().push((at, asked + SHORT));
                        store.put(format!("lease/{at:08}"), "x").lease(lease).await?;
                    }
                };
                let result: quorate::Result<()> = result.await;
                // Nobody listens if another one has failed.
                drop(done.send(result));
            });
        }
        drop(done);
        for result in ended {
            result?;
        }
        let mut due = std::mem::take(&mut *due.lock());
        due.sort_unstable();
        Ok(due.into_iter().map(|(_, due)| due).collect())
    }

    /// Sessions that nobody uses: what does it cost to keep them?
    pub(crate) fn idle_sessions(&self) -> Outcome<()> {
        let (store, count) = (self.store()?, self.options.leases);
        for ttl in IDLE {
            let begun = Instant::now();
            let opening: Vec<_> = (0..count).map(|_| store.session(ttl)).collect();
            let (done, opened) = std::sync::mpsc::channel();
            for session in opening {
                let done = done.clone();
                self.callers.spawn(async move { drop(done.send(session.await)) });
            }
            drop(done);
            let sessions: Vec<Session> = opened.iter().collect::<quorate::Result<_>>()?;
            let opened = begun.elapsed();
            // Whole periods of their renewals, a third of the TTL.
            let span = (ttl / 3).max(self.options.span);
            let meter = Meter::start(&self.cluster);
            thread::sleep(span);
            let mut more = Record::new();
            more.set("sessions", count);
            more.seconds("ttl_s", ttl);
            more.seconds("open_s", opened);
            more.set("lost", sessions.iter().filter(|session| session.is_lost()).count());
            let figures = Figures {
                workload: "idle-sessions",
                concurrency: 0,
                ops: count * 3,
                elapsed: ttl,
                latencies: None,
            };
            meter.emit(&self.cluster, &self.options, &figures, more);
            drop(sessions);
            thread::sleep(Duration::from_secs(1));
            self.revoke_all_but(&BTreeSet::new())?;
        }
        Ok(())
    }
}
