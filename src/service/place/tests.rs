//! Lines in simulated clusters: whoever wants to gets in, and nobody who has gone stands in the
//! way.

mod loss;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use futures_executor::block_on;

use super::{Entry, Line, Manner, Stir};
use crate::core::mvcc::Event;
use crate::ids::LeaseId;
use crate::keys::KeyRange;
use crate::service::Op;
use crate::service::fake::{self, fake};
use crate::sim::{Builder, Clock, Cluster, Faults, Seed};
use crate::store::Store;
use crate::time::Instant;

/// What concerns nobody who waits wakes nobody to look.
#[test]
fn rec_17_only_a_reason_stirs() {
    let (node, store) = fake(fake::Manner::AnswerAtOnce);
    let session = store.session(Duration::from_secs(10)).wait().unwrap();
    let line = Line { store: store.clone(), directory: "l/".into() };
    let holder = line.holder(&session).unwrap();
    let entry = Entry::default();
    let held = block_on(line.enter_last(&holder, &entry, Manner::Awaited)).unwrap();
    let begin = || {
        let (revision, ()) = held.place().look(|_| Ok(())).unwrap();
        let judged = store.watch(line.range());
        let is_reason = |event: &Event| event.kv().value() == b"2";
        held.place().stir_if(revision, [], judged, is_reason).unwrap()
    };
    let mut stir = begin();
    let is_stirred = |stir: &mut Stir| {
        node.advance(Instant::default());
        Pin::new(stir).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    };
    store.put("l/a", "1").wait().unwrap();
    assert!(!is_stirred(&mut stir));
    store.put("l/b", "1").wait().unwrap();
    store.put("l/a", "2").wait().unwrap();
    assert!(is_stirred(&mut stir));
    let mut stir = begin();
    store.delete(held.place().key.clone()).wait().unwrap();
    assert!(is_stirred(&mut stir), "its own key");
}

#[test]
fn rec_5_a_place_is_told_by_its_name_and_its_lease() {
    let (_, store) = fake(fake::Manner::AnswerAtOnce);
    let lease = store.grant(Duration::from_secs(10)).id(LeaseId::new(0x1f)).wait().unwrap().id;
    let is_place = |name: &str, lease| {
        let key = format!("l/{name}");
        store.put(key.clone(), "").lease(lease).wait().unwrap();
        let kv = store.get(key).wait().unwrap().kv.unwrap();
        super::is_place(b"l/", &kv)
    };
    for name in ["1f", "1f-a-7", "1f-a-7-p5", "1f-a-7-3"] {
        assert!(is_place(name, lease), "{name}");
        assert!(!is_place(name, LeaseId::new(0)), "{name} without a lease");
    }
    for name in [
        "",
        "0",
        "1F",
        "01f",
        "2f",
        "1f/",
        "1f-",
        "1f-a",
        "1f-a-",
        "1f--7",
        "1f-a-7/x",
        "1f-a-7-p/5",
        "1f-a-7-p5-6",
        "1f-x-7",
        "x/1f-a-7",
        "2f-a-7",
    ] {
        assert!(!is_place(name, lease), "{name}");
    }
}

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
