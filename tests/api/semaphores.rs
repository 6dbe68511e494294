//! Semaphores over members with threads and clocks.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::cluster::Cluster;

#[test]
fn no_more_hold_a_permit_than_there_are() {
    let cluster = Cluster::open(3);
    let inside = AtomicUsize::new(0);
    thread::scope(|scope| {
        for at in 0..6 {
            let (store, inside) = (cluster.store(at % 3), &inside);
            scope.spawn(move || {
                let session = store.session(Duration::from_secs(60)).wait().unwrap();
                let semaphore = store.semaphore("s", 2);
                for _ in 0..4 {
                    let permit = semaphore.acquire(&session).wait().unwrap();
                    assert!(inside.fetch_add(1, Ordering::SeqCst) < 2);
                    inside.fetch_sub(1, Ordering::SeqCst);
                    assert!(permit.release().wait().unwrap());
                }
            });
        }
    });
    cluster.assert_same_everywhere();
}

#[test]
fn permits_of_a_member_that_is_gone_are_free_again() {
    let mut cluster = Cluster::open(3);
    let gone = (cluster.leader() + 1) % 3;
    let (leaving, store) = (cluster.store(gone), cluster.store((gone + 1) % 3));
    let short = leaving.session(Duration::from_millis(1)).wait().unwrap();
    let permits = [(); 2].map(|()| leaving.semaphore("s", 2).acquire(&short).wait().unwrap());
    let long = store.session(Duration::from_secs(60)).wait().unwrap();
    assert!(store.semaphore("s", 3).acquire(&long).wait().unwrap_err().is_invalid());
    assert!(store.semaphore("s", 2).try_acquire(&long).wait().unwrap().is_none());
    drop(cluster.take(gone));
    let permit = store.semaphore("s", 2).acquire(&long).wait().unwrap();
    assert!(permits.iter().all(quorate::Permit::is_lost) && !permit.is_lost());
}
