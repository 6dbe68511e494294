//! Leases over members with threads and clocks: what ends by itself, and what is kept.

use std::time::{Duration, Instant};

use quorate::{EventKind, Store, Watcher};

use super::cluster::Cluster;

/// Shorter than the shortest, which members here raise to 300 ms.
const SHORT: Duration = Duration::from_millis(1);

fn deleted(watcher: &mut Watcher) {
    loop {
        let batch = watcher.next().wait().unwrap().unwrap();
        if batch.events().iter().any(|event| event.kind() == EventKind::Delete) {
            return;
        }
    }
}

fn held(store: &Store, key: &'static str, lease: quorate::LeaseId) -> Watcher {
    let watcher = store.watch(key).start().unwrap();
    store.put(key, "here").lease(lease).wait().unwrap();
    watcher
}

/// `LSE-4`, `LSE-8`, `LSE-11`: granted through a follower, seen through another.
#[test]
fn lse_11_a_lease_ends_by_itself_and_not_early() {
    let cluster = Cluster::open(3);
    let leader = cluster.leader();
    let (granting, watching) = (cluster.store((leader + 1) % 3), cluster.store((leader + 2) % 3));
    let begun = Instant::now();
    let lease = granting.grant(SHORT).wait().unwrap();
    assert_eq!(lease.ttl, Duration::from_millis(300));
    let mut watcher = held(&watching, "k", lease.id);
    assert_eq!(watching.time_to_live(lease.id).keys().wait().unwrap().keys, ["k"]);
    deleted(&mut watcher);
    assert!(begun.elapsed() >= lease.ttl, "{:?}", begun.elapsed());
    assert!(granting.keep_alive(lease.id).wait().unwrap_err().is_lease_not_found());
    assert_eq!(granting.time_to_live(lease.id).wait().unwrap().granted, None);
    cluster.assert_same_everywhere();
}

/// `LSE-15`, `LSE-26`: a session lives on through its TTL and the loss of the leader, and its keys
/// go with it.
#[test]
fn lse_26_a_session_is_kept_alive_through_the_loss_of_the_leader() {
    let mut cluster = Cluster::open(3);
    let leader = cluster.leader();
    let store = cluster.store((leader + 1) % 3);
    let session = store.session(Duration::from_secs(3)).wait().unwrap();
    store.keep_alive(session.lease()).wait().unwrap();
    let mut watcher = held(&store, "k", session.lease());
    drop(cluster.take(leader));
    let first = session.deadline();
    assert!(!session.lost().wait_timeout(session.ttl()), "it was lost");
    assert!(session.deadline() > first);
    assert!(session.remaining() <= session.ttl());
    assert_eq!(store.leases().wait().unwrap().leases, [session.lease()]);
    drop(session);
    deleted(&mut watcher);
}

/// `REC-2`: who is cut off knows that it holds nothing, before the others think so.
#[test]
fn rec_2_a_session_is_lost_without_a_quorum_and_with_its_node() {
    let mut cluster = Cluster::open(3);
    let leader = cluster.leader();
    let store = cluster.store(leader);
    let session = store.session(SHORT).wait().unwrap();
    let other = store.session(Duration::from_secs(60)).wait().unwrap();
    cluster.close((leader + 1) % 3);
    cluster.close((leader + 2) % 3);
    session.lost().wait();
    assert!(session.is_lost() && session.deadline() <= Instant::now());
    assert!(!other.is_lost());
    drop(cluster.take(leader));
    other.lost().wait();
    assert_eq!(other.remaining(), Duration::ZERO);
}
