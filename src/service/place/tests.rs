//! Lines in simulated clusters: whoever wants to gets in, and nobody who has gone stands in the
//! way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::keys::KeyRange;
use crate::service::Op;
use crate::sim::{Builder, Clock, Cluster, Faults, Seed};
use crate::store::Store;

/// Acquisitions of each task.
const TURNS: usize = 6;

#[derive(Default)]
struct Seen {
    inside: AtomicBool,
    token: AtomicU64,
    gave_up: AtomicUsize,
    broken: AtomicBool,
}

#[expect(clippy::mem_forget, reason = "its session is to outlive the judging")]
async fn take_turns(store: Store, clock: Clock, task: u64, seen: Arc<Seen>) {
    // Longer than anything here: what stands in the way cannot go with its session.
    let mut session = None;
    let mut turns = 0;
    let mut tries = 0;
    while turns < TURNS {
        if session.is_none() {
            session = store.session(Duration::from_secs(3600)).await.ok();
        }
        let Some(held) = &session else { continue };
        tries += 1;
        let patience = Duration::from_millis((task * 37 + tries * 13) % 120 + 1);
        let Ok(guard) = store.lock("l").acquire_timeout(held, patience).await else {
            seen.gave_up.fetch_add(1, Ordering::SeqCst);
            if tries % 8 == 0 {
                clock.sleep(Duration::from_millis(200)).await;
            }
            continue;
        };
        let inside = seen.inside.swap(true, Ordering::SeqCst);
        let last = seen.token.swap(guard.token().get(), Ordering::SeqCst);
        if inside || last >= guard.token().get() {
            seen.broken.store(true, Ordering::SeqCst);
        }
        clock.sleep(Duration::from_millis(2)).await;
        drop(guard.txn().then(Op::put("k", "1")).timeout(Duration::from_millis(500)).await);
        seen.inside.store(false, Ordering::SeqCst);
        turns += 1;
        if turns % 2 == 0 {
            drop(guard.release().timeout(Duration::from_millis(20)).await);
        }
    }
    // It outlives the judging.
    std::mem::forget(session);
}

/// `REC-8`, `REC-10`: under loss, delays and changes of leaders, with calls that are given up at
/// any moment: one at a time, everybody in the end, and an empty line after that.
#[test]
fn rec_10_no_key_stays_of_those_who_gave_up() {
    for seed in 0..12 {
        let delay = Duration::from_micros(50)..Duration::from_millis(8);
        let faults = Faults::none().delay(delay).loss(60_000);
        let cluster = Builder::new(Seed::new(seed)).faults(faults).build().unwrap();
        cluster.wait_for_leader().unwrap();
        let seen = Arc::new(Seen::default());
        for (at, name) in cluster.names().iter().cycle().take(6).enumerate() {
            let store = cluster.store(name).unwrap();
            let task = take_turns(store, cluster.clock(), at as u64, Arc::clone(&seen));
            cluster.spawn(task);
        }
        for _ in 0..3 {
            cluster.run_for(Duration::from_millis(150)).unwrap();
            let leader = cluster.leader();
            leader.iter().for_each(|leader| cluster.isolate(leader).unwrap());
            cluster.run_for(Duration::from_secs(2)).unwrap();
            cluster.heal();
        }
        let done = |cluster: &Cluster| cluster.tasks() == 0;
        assert!(cluster.run_until(Duration::from_secs(600), done).unwrap(), "seed {seed}: stuck");
        assert!(!seen.broken.load(Ordering::SeqCst), "seed {seed}: two at once");
        assert!(seen.gave_up.load(Ordering::SeqCst) > 0, "seed {seed}: nobody gave up");
        cluster.run_for(Duration::from_secs(20)).unwrap();
        let store = cluster.store("a").unwrap();
        let line = store.range(KeyRange::prefix("l/"));
        let left = cluster.block_on(async move { line.await.unwrap().kvs }).unwrap();
        assert!(left.is_empty(), "seed {seed}: {left:?}");
    }
}
