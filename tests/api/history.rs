//! Compaction and the hash, over members with threads.

use quorate::{Revision, Store};

use crate::cluster::Cluster;

/// Writes `keys` keys `times` times over.
fn fill(store: &Store, keys: usize, times: usize) -> Revision {
    let mut last = Revision::new(1);
    for number in 0..keys * times {
        let key = format!("key/{:05}", number % keys);
        last = store.put(key, number.to_string()).wait().unwrap().header.revision;
    }
    last
}

#[test]
fn cmp_9_a_physical_compaction_answers_when_the_memory_is_free() {
    let cluster = Cluster::open(1);
    let (node, store) = (cluster.node(0), cluster.store(0));
    let last = fill(&store, 50, 20);
    assert_eq!(node.status().versions, 1_000);
    store.compact(last).physical().wait().unwrap();
    let status = node.status();
    assert_eq!((status.compacted, status.removed), (Some(last), Some(last)));
    assert_eq!((status.keys, status.versions), (50, 50));
    let again = store.compact(last).physical().wait().unwrap_err();
    assert!(again.is_compacted() && !again.is_unknown(), "{again}");
}

#[test]
fn cmp_8_a_member_removes_what_was_compacted_by_itself() {
    let cluster = Cluster::open(1);
    let store = cluster.store(0);
    let last = fill(&store, 10, 200);
    store.compact(last).wait().unwrap();
    // No call asks for it, and it does not need any.
    while cluster.node(0).status().removed != Some(last) {
        std::thread::yield_now();
    }
    let status = cluster.node(0).status();
    assert_eq!(status.versions, 10);
    assert!(!status.removal_pause.is_zero(), "how long it kept writers waiting is told");
}

#[test]
fn hsh_4_members_agree_on_a_hash_wherever_their_removal_is() {
    let cluster = Cluster::open(3);
    let store = cluster.store(0);
    let last = fill(&store, 20, 40);
    store.compact(Revision::new(last.get() - 100)).wait().unwrap();
    let hashes: Vec<_> = (0..3)
        .map(|member| {
            let store = cluster.store(member);
            // The read waits until this member has applied all of it.
            store.get("key/00000").wait().unwrap();
            store.hash().at(last).wait().unwrap()
        })
        .collect();
    for hash in &hashes {
        assert_eq!((hash.hash, hash.compacted), (hashes[0].hash, hashes[0].compacted), "HSH-4");
        assert_eq!(hash.revision, last, "HSH-1");
    }
    store.put("one", "more").wait().unwrap();
    let newest = store.hash().wait().unwrap();
    assert_eq!(newest.revision, newest.header.revision, "HSH-2");
    assert_ne!(newest.hash, hashes[0].hash);
    assert_eq!(store.hash().at(last).wait().unwrap().hash, hashes[0].hash, "HSH-1");
    let compacted = hashes[0].compacted.unwrap();
    assert!(store.hash().at(compacted).wait().is_ok(), "HSH-2");
    let below = store.hash().at(Revision::new(compacted.get() - 1)).wait().unwrap_err();
    assert!(below.is_compacted(), "HSH-2: {below}");
    let above = store.hash().at(Revision::new(u64::MAX)).wait().unwrap_err();
    assert!(above.is_future_revision(), "HSH-2: {above}");
}

#[test]
fn cmp_15_the_leader_compacts_by_itself() {
    let cluster = Cluster::open_with(1, |_, config| config.retain_revisions(100));
    let last = fill(&cluster.store(0), 10, 50);
    while cluster.node(0).status().removed.is_none_or(|it| it.get() < last.get() - 110) {
        std::thread::yield_now();
    }
    assert!(cluster.node(0).status().versions <= 120);
}
