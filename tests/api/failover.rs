//! Leaders that go, members that come back.

use std::thread;
use std::time::Duration;

use quorate::Role;

use super::cluster::{Cluster, value};

#[test]
fn the_others_go_on_without_the_leader() {
    let mut cluster = Cluster::open(3);
    let leader = cluster.leader();
    let survivor = (leader + 1) % 3;
    cluster.store(leader).put("before", "v").wait().unwrap();
    drop(cluster.take(leader));
    cluster.store(survivor).put("after", "v").wait().unwrap();
    assert!(value(&cluster.store(survivor), "before").is_some());
    assert_ne!(cluster.leader(), leader);

    cluster.reopen(leader);
    assert!(value(&cluster.store(leader), "after").is_some());
    cluster.assert_same_everywhere();
}

/// `LIN-14`: no election timeout passes when a leader is closed.
#[test]
fn a_closed_leader_hands_over() {
    let mut cluster = Cluster::open(3);
    let leader = cluster.leader();
    let term = cluster.node(leader).status().term;
    cluster.close(leader);
    let next = cluster.leader();
    assert_eq!(cluster.node(next).status().term.get(), term.get() + 1);
}

/// `MEM-25`
#[test]
fn leadership_can_be_handed_over() {
    let cluster = Cluster::open(3);
    let leader = cluster.leader();
    let to = (leader + 1) % 3;
    cluster.node(leader).transfer_leader(cluster.id(to)).wait().unwrap();
    assert_eq!(cluster.leader(), to);
    cluster.store(leader).put("k", "v").wait().unwrap();

    let error = cluster.node(leader).transfer_leader(cluster.id(leader)).wait().unwrap_err();
    assert!(error.is_unavailable(), "only the leader can: {error:?}");
    let stranger = quorate::NodeId::new(7);
    let error = cluster.node(to).transfer_leader(stranger).wait().unwrap_err();
    assert!(error.is_invalid(), "{error:?}");
    // To whom leads already: nothing to do.
    cluster.node(to).transfer_leader(cluster.id(to)).wait().unwrap();
}

#[test]
fn all_members_restart() {
    for members in [1, 3, 5] {
        let mut cluster = Cluster::open(members);
        let mut last = None;
        for key in 0..50 {
            let store = cluster.store(key % members);
            last = Some(store.put(format!("k/{key}"), key.to_string()).wait().unwrap());
        }
        for round in 0..2 {
            (0..members).for_each(|member| drop(cluster.take(member)));
            (0..members).for_each(|member| cluster.reopen(member));
            let read = cluster.store(round % members).range(..).wait().unwrap();
            assert_eq!(read.count, 50);
            assert!(read.kvs.iter().all(|kv| kv.version() == 1));
            assert_eq!(Some(read.header.revision), last.as_ref().map(|put| put.header.revision));
        }
        cluster.assert_same_everywhere();
    }
}

/// `LIN-13`, `DUR-20`, `INV-3`: the entries that it misses are gone everywhere. It is sent a
/// snapshot, keeps it, and shows the state before or after to whoever reads meanwhile.
#[test]
fn a_member_far_behind_is_sent_a_snapshot() {
    let mut cluster = Cluster::open_with(3, |_, config| {
        config.snapshot_count(50).snapshot_catchup_entries(5).segment_bytes(64 << 10)
    });
    let late = cluster.follower();
    drop(cluster.take(late));
    let store = cluster.store((late + 1) % 3);
    for key in 0..500 {
        store.put(format!("k/{key}"), vec![7; 2_000]).wait().unwrap();
    }
    let leader = cluster.leader();
    let first = cluster.node(leader).status().first_index;
    cluster.reopen(late);
    assert!(cluster.node(late).status().last_index < first, "it could still be sent entries");
    let store = cluster.store(late);
    loop {
        let read = store.range(..).serializable().wait().unwrap();
        assert_eq!(read.kvs.len() as u64, read.count);
        // Every put made a key and a revision.
        assert_eq!(read.count + 1, read.header.revision.get());
        if read.count == 500 {
            break;
        }
        assert_eq!(cluster.node(late).status().halted, None);
    }
    assert!(cluster.node(late).status().snapshot_index >= first);
    cluster.assert_same_everywhere();

    drop(cluster.take(late));
    cluster.reopen(late);
    assert_eq!(cluster.store(late).range(..).wait().unwrap().count, 500);
    cluster.assert_same_everywhere();
}

/// `LIN-3`, `LIN-15`: lost and repeated envelopes; each write still happens, and once.
#[test]
fn a_bad_network_costs_time_and_nothing_else() {
    let cluster = Cluster::open(3);
    cluster.leader();
    for from in 0..3 {
        for to in (0..3).filter(|to| *to != from) {
            cluster.network.drop_one_in(cluster.id(from), cluster.id(to), 7);
            cluster.network.duplicate_one_in(cluster.id(from), cluster.id(to), 3);
        }
    }
    thread::scope(|scope| {
        for writer in 0..6 {
            let store = cluster.store(writer % 3);
            scope.spawn(move || {
                for key in 0..40 {
                    store.put(format!("k/{writer}/{key}"), "v").wait().unwrap();
                }
            });
        }
    });
    cluster.network.heal_all();
    let read = cluster.store(0).range(..).wait().unwrap();
    assert_eq!(read.count, 240);
    assert!(read.kvs.iter().all(|kv| kv.version() == 1), "a write was applied twice");
    cluster.assert_same_everywhere();
}

/// A leader that is cut off cannot answer: neither with a write that the others do not have, nor
/// with a read that may be old (`LIN-1`).
#[test]
fn a_leader_alone_answers_nothing_old() {
    let cluster = Cluster::open(3);
    let leader = cluster.leader();
    let other = (leader + 1) % 3;
    cluster.store(leader).put("k", "old").wait().unwrap();
    cluster.network.isolate(cluster.id(leader));
    let stale = thread::scope(|scope| {
        let stale = scope.spawn(|| value(&cluster.store(leader), "k"));
        cluster.store(other).put("k", "new").wait().unwrap();
        cluster.network.heal_all();
        stale.join().unwrap()
    });
    // It began before the new value was written, so it may show either; from now on only one.
    assert!(stale.is_some());
    assert_eq!(value(&cluster.store(leader), "k").as_deref(), Some(&b"new"[..]));
    cluster.assert_same_everywhere();
}

/// `LIN-4`, `INV-3`: a serializable read may be old, but it is a state that was, and time does
/// not run backwards.
#[test]
fn serializable_reads_are_past_states() {
    let cluster = Cluster::open(3);
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let first = cluster.store(leader).put("k", "0").wait().unwrap().header.revision.get();
    cluster.catch_up(follower);
    thread::scope(|scope| {
        let store = cluster.store(leader);
        scope.spawn(move || {
            for value in 1..=500 {
                store.put("k", value.to_string()).wait().unwrap();
            }
        });
        let (store, mut last) = (cluster.store(follower), 0);
        while last < 500 {
            let read = store.get("k").serializable().wait().unwrap();
            let text = String::from_utf8(read.kv.unwrap().value().to_vec()).unwrap();
            let value: u64 = text.parse().unwrap();
            assert_eq!(read.header.revision.get(), first + value, "not the state of its header");
            assert!(value >= last, "{value} after {last}");
            last = value;
        }
    });
}

/// `LIN-8`, `LIN-11`, `CFG-22`: who is cut off leads nobody, and coming back it disturbs nobody.
#[test]
fn a_member_that_comes_back_forces_no_election() {
    let cluster = Cluster::open(3);
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let term = cluster.node(leader).status().term;
    cluster.network.isolate(cluster.id(follower));
    // Two and a half election timeouts: it has been a candidate by then.
    let deadline = Duration::from_millis(500);
    assert!(cluster.store(follower).get("k").wait_timeout(deadline).unwrap_err().is_timeout());
    assert_eq!(cluster.node(follower).status().term, term, "it cannot win, and raises no term");
    cluster.network.heal_all();
    cluster.catch_up(follower);
    assert_eq!((cluster.leader(), cluster.node(leader).status().term), (leader, term));

    cluster.network.isolate(cluster.id(leader));
    assert!(cluster.store(leader).get("k").wait_timeout(deadline).unwrap_err().is_timeout());
    assert_ne!(cluster.node(leader).status().role, Role::Leader, "it cannot know that it leads");
    assert!(cluster.store(leader).get("k").serializable().wait().is_ok());
    cluster.network.heal_all();
    cluster.assert_same_everywhere();
}
