//! Barriers over members with threads and clocks.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::cluster::Cluster;

/// `REC-37`: whoever waits on any member passes when another one releases.
#[test]
fn rec_37_a_barrier_lets_everybody_pass_on_all_members() {
    let cluster = Cluster::open(3);
    assert!(cluster.store(0).barrier("b").hold().wait().unwrap());
    assert!(!cluster.store(1).barrier("b").hold().wait().unwrap());
    let late = cluster.store(2).barrier("b").pass().wait_timeout(Duration::from_millis(1));
    assert!(late.unwrap_err().is_timeout());
    thread::scope(|scope| {
        let waiting = [0, 1, 2].map(|at| {
            let barrier = cluster.store(at).barrier("b");
            scope.spawn(move || barrier.pass().wait())
        });
        assert!(cluster.store(1).barrier("b").release().wait().unwrap());
        waiting.into_iter().for_each(|it| it.join().unwrap().unwrap());
    });
}

/// `REC-38`: nobody is through before all are there, and nobody has left before all have.
#[test]
fn rec_38_participants_on_all_members_enter_and_leave_together() {
    let cluster = Cluster::open(3);
    let (begun, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for at in 0..3 {
            let (store, begun, ended) = (cluster.store(at), &begun, &ended);
            scope.spawn(move || {
                let session = store.session(Duration::from_secs(60)).wait().unwrap();
                let barrier = store.double_barrier("d", 3);
                for round in 1..4 {
                    begun.fetch_add(1, Ordering::SeqCst);
                    // The others may still be on their way out of the round before.
                    let entered = loop {
                        match barrier.enter(&session).wait() {
                            Ok(entered) => break entered,
                            Err(error) => assert!(error.is_conflict(), "{error}"),
                        }
                    };
                    assert!(begun.load(Ordering::SeqCst) >= 3 * round);
                    ended.fetch_add(1, Ordering::SeqCst);
                    assert!(entered.leave().wait().unwrap());
                    assert!(ended.load(Ordering::SeqCst) >= 3 * round);
                }
            });
        }
    });
    cluster.assert_same_everywhere();
}

/// `REC-39`: the member of one goes, and the others leave without it.
#[test]
fn rec_39_who_is_gone_is_not_waited_for() {
    let mut cluster = Cluster::open(3);
    let gone = (cluster.leader() + 1) % 3;
    let stays = (gone + 1) % 3;
    let short = cluster.store(gone).session(Duration::from_millis(1)).wait().unwrap();
    let long = cluster.store(stays).session(Duration::from_secs(60)).wait().unwrap();
    let (first, second) = thread::scope(|scope| {
        let barrier = cluster.store(gone).double_barrier("d", 2);
        let entering = barrier.enter(&short);
        let first = scope.spawn(move || entering.wait().unwrap());
        let second = cluster.store(stays).double_barrier("d", 2).enter(&long).wait().unwrap();
        (first.join().unwrap(), second)
    });
    drop(cluster.take(gone));
    assert!(first.is_lost());
    assert!(second.leave().wait().unwrap());
}
