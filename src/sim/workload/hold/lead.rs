//! What only leaders do: work that ends with their leadership, and leaderships that outlive the
//! session under which they came to be.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::lock::Guarded;
use super::{Held, Holder, Place, WOKEN_WITHIN};
use crate::ids::{LeaseId, Revision};
use crate::service::{Leadership, Op};
use crate::sim::check::lock::{Name, Share};
use crate::sim::cluster::Cluster;
use crate::sim::dice::Dice;
use crate::sim::held::{Boot, Holdings, Relied, Thing};
use crate::sim::marks::Mark;
use crate::sim::workload::bell::within;

/// A leadership whose holder has gone, and whose lease has not: whoever adopts that may resume it.
pub(super) struct Legacy {
    pub(super) name: Name,
    pub(super) scope: &'static str,
    pub(super) key: Bytes,
    pub(super) token: Revision,
    pub(super) lease: LeaseId,
    /// It was given up all the same: nobody leads with it.
    is_void: bool,
}

/// The work of a leader, which is told nothing: it is dropped when it is to stop.
struct Work {
    cluster: Cluster,
    notes: Holdings,
    dice: Dice,
    name: Name,
    boot: Boot,
    lease: LeaseId,
    timeout: Duration,
    /// What it writes, one after the other.
    values: Vec<Bytes>,
    /// It is done, or was dropped.
    over: Arc<AtomicBool>,
}

impl Drop for Work {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

impl Work {
    /// Whenever it goes on, it leads, and nobody else relies on the same.
    async fn run(mut self, leads: &Leadership) {
        let line = (&self.name, Share::Alone);
        for value in std::mem::take(&mut self.values) {
            self.look(leads);
            self.notes.lines.lock().writes(line, leads.token(), value.clone());
            let put = Op::put(self.name.fenced(), value.clone());
            let done = leads.txn().then(put).timeout(self.timeout).await;
            let told = match done {
                Ok(done) => Some(done.succeeded()),
                Err(error) => (!error.is_unknown()).then_some(false),
            };
            told.into_iter().for_each(|told| self.notes.lines.lock().wrote(&value, told));
            self.look(leads);
            let span = self.dice.span(Duration::ZERO, self.timeout);
            self.cluster.clock().sleep(span).await;
        }
        self.look(leads);
    }

    fn look(&self, leads: &Leadership) {
        if leads.is_lost() {
            self.cluster.fail(format!("REC-25: work goes on, and it leads no more: {leads:?}"));
        }
        let whose = (self.boot, self.lease);
        self.notes.alone(&self.cluster, &self.name, whose, leads.valid_until());
    }
}

impl Holder {
    /// Works as long as it leads, for so long at most.
    pub(super) async fn run_work(&mut self, held: &mut Held, name: Name, leads: Leadership) {
        let token = leads.token();
        self.note(|| format!("works with token {token}"));
        let values = (0..self.dice.below(6)).map(|_| format!("{token} {}", self.value()).into());
        let work = Work {
            values: values.collect(),
            cluster: self.cluster.clone(),
            notes: self.notes.clone(),
            dice: self.dice.fork(),
            name,
            boot: held.place.boot,
            lease: held.session.lease(),
            timeout: self.holders.timeout,
            over: Arc::default(),
        };
        let over = Arc::clone(&work.over);
        let limit = self.dice.span(Duration::ZERO, held.session.ttl() * 3);
        let run = leads.run(async move |leads: &Leadership| work.run(leads).await);
        let (mut run, boot) = (Box::pin(run), held.place.boot);
        match within(&self.cluster.clock(), limit, run.as_mut()).await {
            Some(Ok(())) => {}
            // It may be outranked instead.
            Some(Err(error)) if error.is_lost() => {
                let is_there = !self.looks(held) && self.cluster.is_running(boot);
                if is_there && !self.notes.tenures.lock().has_ended(held.session.lease()) {
                    self.cluster.mark(Mark::LeaderOutranked);
                }
            }
            Some(Err(error)) if self.cluster.is_running(boot) => {
                self.cluster.fail(format!("REC-25: work ends with {error}"));
            }
            Some(Err(_)) => {}
            // Where it is over there may be something to give back, which takes its time.
            None if !over.load(Ordering::Relaxed) && self.overslept(held, boot) => {
                let within = WOKEN_WITHIN;
                self.cluster
                    .fail(format!("REC-2: {token} leads no more, and {within:?} later works"));
            }
            None => {}
        }
    }

    // ---- what is left to others

    /// Leaves its leadership to whoever adopts its lease. What it had itself it never gives back
    /// while others rely on it; or does so now, and there is nothing to resume.
    pub(super) fn bequeath(&mut self, held: &mut Held, legacy: (Name, &'static str), guard: Thing) {
        let ((name, scope), lease) = (legacy, held.session.lease());
        let (key, token) = (guard.key().clone(), guard.token());
        self.note(|| format!("leaves {token} to others"));
        let is_void = self.dice.chance(200_000);
        self.shared.legacies.lock().push(Legacy { name, scope, key, token, lease, is_void });
        if is_void {
            drop(guard);
        } else {
            self.shared.kept.lock().push(Arc::new(guard));
        }
        held.leaks = true;
        held.bequeaths = true;
    }

    /// Resumes a leadership under a session that has adopted its lease (`REC-24`).
    pub(super) async fn resume(&mut self, held: &mut Held, legacy: Legacy) {
        let Legacy { name, scope, key, token, is_void, .. } = legacy;
        let Place { store, boot, .. } = held.place.clone();
        let inner = name.0.slice(scope.len()..);
        let election = store.scoped(scope).election(inner);
        let whole = Bytes::from([scope.as_bytes(), &key[..]].concat());
        let since = self.notes.newest();
        let resume = election.resume(&held.session, key, token).timeout(self.holders.timeout);
        let whose = (boot, held.session.lease());
        match resume.await {
            Ok(leads) => {
                self.note(|| format!("resumes {name:?} with token {token}"));
                self.cluster.mark(Mark::LeadershipResumed);
                let guard = Arc::new(Thing::Lead(leads));
                let relied: Arc<dyn Relied> = Arc::<Thing>::clone(&guard);
                self.notes.resumed(&self.cluster, (&name, &whole), (whose, since), &relied);
                drop(relied);
                self.work(held, Guarded::new((name, scope), Share::Alone, guard)).await;
            }
            Err(_) if is_void => {}
            Err(error) => self.refused(held, &error),
        }
    }
}
