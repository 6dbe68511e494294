//! Opening, closing, and being in the way.

use std::task::Poll;
use std::time::Duration;

use quorate::WriteOutcome;

use super::cluster::{Cluster, PATIENCE, value};
use super::halting::poll;

/// Reopening works at once and leaves nothing behind: neither locks nor files.
#[test]
fn opens_and_closes_a_thousand_times() {
    let mut cluster = Cluster::closed(1, |_, config| {
        config
            .heartbeat_interval(Duration::from_millis(2))
            .election_timeout(Duration::from_millis(10))
            .segment_bytes(64 << 10)
            .snapshot_count(100)
            .max_snapshots(2)
    });
    for round in 1..=1_000_u64 {
        cluster.reopen(0);
        // Not every time, so that some rounds end before there is a leader.
        if round % 5 == 0 {
            cluster.store(0).put("round", round.to_string()).wait().unwrap();
        }
        cluster.close(0);
    }
    cluster.reopen(0);
    let read = cluster.store(0).get("round").wait().unwrap();
    let kv = read.kv.unwrap();
    assert_eq!((kv.value(), kv.version()), (&b"1000"[..], 200));
    let status = cluster.node(0).status();
    assert!(status.snapshots <= 2, "{status:#?}");
    // Each round begins a segment, and snapshots let the old ones go.
    assert!(status.segments < 500, "{status:#?}");
}

/// `ERR-33`
#[test]
fn a_handle_outlives_its_node_harmlessly() {
    let mut cluster = Cluster::open(1);
    let store = cluster.store(0);
    let inbox = cluster.node(0).inbox();
    store.put("k", "v").wait().unwrap();
    cluster.close(0);
    let error = store.put("k", "w").wait().unwrap_err();
    assert!(error.is_closed() && error.outcome() == WriteOutcome::NotApplied, "{error:?}");
    assert!(store.get("k").wait().unwrap_err().is_closed());
    assert!(inbox.deliver(cluster.id(0), vec![1, 2, 3]).unwrap_err().is_closed());
    cluster.reopen(0);
    assert_eq!(value(&cluster.store(0), "k").as_deref(), Some(&b"v"[..]));
}

/// A member of three whose others are not there can do nothing, and says so in the end.
#[test]
fn close_answers_every_pending_call() {
    let mut cluster = Cluster::closed(3, |_, config| config);
    cluster.reopen(0);
    let store = cluster.store(0);
    let mut puts: Vec<_> = (0..100).map(|call| store.put(format!("k/{call}"), "v")).collect();
    assert!(puts.iter_mut().all(|put| poll(put).is_pending()));
    let blocked = std::thread::spawn({
        let store = store.clone();
        move || store.get("k").wait()
    });
    assert_eq!(cluster.node(0).status().revision.get(), 1);
    cluster.close(0);
    for put in &mut puts {
        let Poll::Ready(Err(error)) = poll(put) else { panic!("it is not answered") };
        assert!(error.is_closed(), "{error:?}");
    }
    assert!(blocked.join().unwrap().unwrap_err().is_closed());
}

/// `SEL-12`, `ERR-34`, `LIN-8`, `MNT-1`: what needs the others ends, what needs nobody is there.
#[test]
fn a_deadline_ends_a_call() {
    let mut cluster = Cluster::closed(3, |_, config| config);
    cluster.reopen(0);
    let store = cluster.store(0);
    let error = store.put("k", "v").wait_timeout(Duration::from_millis(50)).unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    assert!(store.get("k").wait_timeout(Duration::from_millis(50)).unwrap_err().is_timeout());
    assert!(store.get("k").serializable().wait().unwrap().kv.is_none());
    assert_eq!(cluster.node(0).status().leader, None);
}

/// `SEL-11`, `ERR-12`
#[test]
fn a_full_mailbox_refuses_and_takes_nothing() {
    let mut cluster = Cluster::closed(3, |_, config| config.max_pending_requests(8));
    cluster.reopen(0);
    let store = cluster.store(0);
    let mut puts: Vec<_> = (0..8).map(|call| store.put(format!("k/{call}"), "v")).collect();
    assert!(puts.iter_mut().all(|put| poll(put).is_pending()));
    let error = store.put("one more", "v").wait().unwrap_err();
    assert!(error.is_overloaded() && error.outcome() == WriteOutcome::NotApplied, "{error:?}");
    assert!(store.get("k").wait().unwrap_err().is_overloaded());

    // With the others there, those that were taken go through, and there is room again.
    cluster.reopen(1);
    cluster.reopen(2);
    for put in puts {
        futures_executor::block_on(put).unwrap();
    }
    assert_eq!(value(&store, "one more"), None);
    store.put("one more", "v").wait_timeout(PATIENCE).unwrap();
    assert_eq!(store.range(..).count_only().wait().unwrap().count, 9);
}
