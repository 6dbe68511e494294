//! Scenes with holders of locks and leaderships, each by name: what `tests/scripts/cluster` has for
//! members, for those who hold something through them.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::{Cluster, Seed};
use crate::error::Result;
use crate::ids::Revision;
use crate::service::{LockGuard, Op, Session};
use crate::store::Store;

const TTL: Duration = Duration::from_secs(3);

/// Three members, a leader, and two others that are not.
struct Scene {
    cluster: Cluster,
    leader: String,
    others: [String; 2],
}

impl Scene {
    fn new() -> Self {
        let cluster = Cluster::new(Seed::new(7)).unwrap();
        let leader = cluster.wait_for_leader().unwrap();
        cluster.run_for(Duration::from_secs(1)).unwrap();
        let mut others = cluster.names();
        others.retain(|name| *name != leader);
        Self { cluster, leader, others: others.try_into().unwrap() }
    }

    fn store(&self, name: &str) -> Store {
        self.cluster.store(name).unwrap()
    }

    fn session(&self, name: &str) -> Session {
        self.wait(self.store(name).session(TTL)).unwrap()
    }

    fn wait<F>(&self, future: F) -> F::Output
    where
        F: IntoFuture<IntoFuture: Send + 'static, Output: Send> + Send + 'static,
    {
        self.cluster.block_on(async move { future.await }).unwrap()
    }

    fn run(&self, span: Duration) {
        self.cluster.run_for(span).unwrap();
    }

    fn lock(&self, name: &str, session: &Session) -> LockGuard {
        self.wait(self.store(name).lock("l").acquire(session)).unwrap()
    }

    /// Somebody who waits for the lock, and what came of it.
    fn waiter(&self, name: &str, session: &Session) -> Told {
        let told = Told::default();
        let (slot, acquire) = (Arc::clone(&told), self.store(name).lock("l").acquire(session));
        self.cluster.spawn(async move {
            let acquired = acquire.await;
            *slot.lock() = Some(acquired);
        });
        self.run(Duration::from_millis(100));
        assert!(told.lock().is_none(), "it waits");
        told
    }
}

type Told = Arc<Mutex<Option<Result<LockGuard>>>>;

fn write(guard: &LockGuard) -> impl Future<Output = Result<bool>> + Send + use<> {
    let call = guard.txn().then(Op::put("fenced", guard.token().to_string()));
    async move { Ok(call.await?.succeeded()) }
}

fn told(told: &Told) -> Result<LockGuard> {
    told.lock().take().expect("it was told")
}

#[test]
fn rec_14_a_holder_stopped_past_its_ttl_knows_when_it_goes_on() {
    let scene = Scene::new();
    let [stopped, other] = &scene.others;
    let (mine, theirs) = (scene.session(stopped), scene.session(other));
    let guard = scene.lock(stopped, &mine);
    assert!(scene.wait(write(&guard)).unwrap());
    let waiter = scene.waiter(other, &theirs);
    scene.cluster.pause(stopped, TTL * 2).unwrap();
    scene.run(TTL * 2 - Duration::from_millis(50));
    // Its member has not had a turn, and has heard nothing.
    assert!(guard.is_lost() && mine.is_lost() && mine.remaining().is_zero());
    let second = told(&waiter).unwrap();
    assert!(second.token() > guard.token() && !second.is_lost());
    scene.run(Duration::from_secs(1));
    assert!(scene.wait(write(&guard)).unwrap_err().is_lost());
    assert!(guard.is_lost() && scene.wait(write(&second)).unwrap());
}

#[test]
fn rec_9_a_session_lost_while_queued_is_told_and_the_line_goes_on() {
    let scene = Scene::new();
    let [cut, other] = &scene.others;
    let sessions = [&scene.leader, cut, other].map(|name| scene.session(name));
    let guard = scene.lock(&scene.leader, &sessions[0]);
    let lost = scene.waiter(cut, &sessions[1]);
    let last = scene.waiter(other, &sessions[2]);
    scene.cluster.isolate(cut).unwrap();
    scene.run(TTL * 2);
    assert!(told(&lost).unwrap_err().is_lost(), "though nobody can reach it");
    assert!(last.lock().is_none());
    assert!(scene.wait(guard.release()).unwrap());
    scene.run(Duration::from_millis(100));
    assert!(!told(&last).unwrap().is_lost());
}

#[test]
fn rec_8_a_compaction_under_a_waiter_takes_nothing_from_it() {
    let scene = Scene::new();
    let [one, other] = &scene.others;
    let (mine, theirs) = (scene.session(one), scene.session(other));
    let guard = scene.lock(one, &mine);
    let waiter = scene.waiter(other, &theirs);
    let store = scene.store(&scene.leader);
    for number in 0..50 {
        let at = scene.wait(store.put("k", number.to_string())).unwrap().header.revision;
        scene.wait(store.compact(at)).unwrap();
    }
    assert!(scene.wait(guard.release()).unwrap());
    scene.run(Duration::from_millis(100));
    assert!(!told(&waiter).unwrap().is_lost());
}

#[test]
fn rec_21_a_resignation_that_fails_halfway_is_made_again() {
    let scene = Scene::new();
    let [one, other] = &scene.others;
    let (mine, theirs) = (scene.session(one), scene.session(other));
    let lead = scene.wait(scene.store(one).election("e").campaign(&mine, "one")).unwrap();
    let next = scene.store(other).election("e").campaign(&theirs, "other");
    let elected = Arc::new(Mutex::new(None));
    let slot = Arc::clone(&elected);
    scene.cluster.spawn(async move {
        let campaign = next.await;
        *slot.lock() = Some(campaign);
    });
    scene.run(Duration::from_millis(100));
    scene.cluster.isolate(one).unwrap();
    let failed = scene.wait(lead.resign().timeout(Duration::from_millis(500)));
    assert!(failed.is_err() && elected.lock().is_none());
    scene.cluster.heal();
    scene.run(Duration::from_secs(1));
    assert!(scene.wait(lead.resign()).is_ok() && lead.is_lost());
    scene.run(Duration::from_millis(500));
    let leads = elected.lock().take().unwrap().unwrap();
    assert!(leads.token() > lead.token() && !leads.is_lost());
}

#[test]
fn rec_8_a_thousand_waiters_come_one_after_the_other() {
    let scene = Scene::new();
    let session = scene.session(&scene.leader);
    let order: Arc<Mutex<Vec<Revision>>> = Arc::default();
    for _ in 0..1_000 {
        let (acquire, order) =
            (scene.store(&scene.leader).lock("l").acquire(&session), order.clone());
        scene.cluster.spawn(async move {
            let guard = acquire.await.unwrap();
            order.lock().push(guard.token());
            assert!(guard.release().await.unwrap());
        });
    }
    let done = scene.cluster.run_until(Duration::from_secs(60), |cluster| cluster.tasks() == 0);
    assert!(done.unwrap(), "{} have come", order.lock().len());
    assert!(order.lock().is_sorted_by(|one, next| one < next) && order.lock().len() == 1_000);
}

#[test]
fn lse_18_a_lock_outlives_all_members_and_then_its_lease() {
    let scene = Scene::new();
    let [one, other] = &scene.others;
    let mine = scene.session(one);
    let guard = scene.lock(one, &mine);
    for name in scene.cluster.names() {
        scene.cluster.cut_power(&name).unwrap();
    }
    assert!(guard.is_lost() && mine.is_lost(), "its process is no more");
    for name in scene.cluster.names() {
        scene.cluster.start(&name).unwrap();
    }
    scene.cluster.wait_for_leader().unwrap();
    scene.run(Duration::from_secs(1));
    let session = scene.session(other);
    assert!(scene.wait(scene.store(other).lock("l").try_acquire(&session)).unwrap().is_none());
    let waiter = scene.waiter(other, &session);
    scene.run(TTL);
    assert!(told(&waiter).unwrap().token() > guard.token());
}
