//! Readers and writers over members with threads and clocks.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use quorate::Op;

use super::cluster::Cluster;

/// `REC-36`: writers are alone, and each sees what the one before it wrote.
#[test]
fn rec_36_writers_on_all_members_are_alone_among_readers() {
    let cluster = Cluster::open(3);
    // The high half counts writers.
    let inside = AtomicUsize::new(0);
    let writer = 1 << 16;
    thread::scope(|scope| {
        for at in 0..6 {
            let (store, inside) = (cluster.store(at % 3), &inside);
            scope.spawn(move || {
                let session = store.session(Duration::from_secs(60)).wait().unwrap();
                let lock = store.rw_lock("l");
                for round in 0..4 {
                    if (at + round) % 2 == 0 {
                        let guard = lock.read(&session).wait().unwrap();
                        assert!(inside.fetch_add(1, Ordering::SeqCst) < writer);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        assert!(guard.release().wait().unwrap());
                    } else {
                        let guard = lock.write(&session).wait().unwrap();
                        assert_eq!(inside.fetch_add(writer, Ordering::SeqCst), 0);
                        guard.txn().then(Op::put("k", "v")).wait().unwrap();
                        inside.fetch_sub(writer, Ordering::SeqCst);
                        assert!(guard.release().wait().unwrap());
                    }
                }
            });
        }
    });
    cluster.assert_same_everywhere();
}

/// `REC-36`: a writer whose member goes is not waited for by those behind it.
#[test]
fn rec_36_a_writer_that_is_gone_is_not_waited_for() {
    let mut cluster = Cluster::open(3);
    let gone = (cluster.leader() + 1) % 3;
    let (leaving, store) = (cluster.store(gone), cluster.store((gone + 1) % 3));
    let short = leaving.session(Duration::from_millis(1)).wait().unwrap();
    let writer = leaving.rw_lock("l").write(&short).wait().unwrap();
    let long = store.session(Duration::from_secs(60)).wait().unwrap();
    assert!(store.rw_lock("l").try_read(&long).wait().unwrap().is_none());
    drop(cluster.take(gone));
    let reader = store.rw_lock("l").read(&long).wait().unwrap();
    assert!(writer.is_lost() && !reader.is_lost() && reader.token() > writer.token());
}
