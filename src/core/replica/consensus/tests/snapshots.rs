//! R9, R14, R15, and the way of a snapshot.

use raft::eraftpb::MessageType::*;
use raft::{GetEntriesContext, Storage, StorageError};

use super::harness::*;
use super::*;

/// Member 3 was away while the others committed and dropped what it lacks.
fn behind() -> Cluster {
    let mut cluster = Cluster::new(5, &conf_of(&[1, 2, 3], &[]), &[]);
    cluster.elect(1);
    cluster.isolate(3);
    for _ in 0..5 {
        cluster.propose(1, &["a"]).unwrap();
        cluster.settle();
    }
    cluster.snapshot(1, 0);
    cluster.cut.clear();
    cluster
}

/// Heartbeats until the snapshot is on its way.
fn offer(cluster: &mut Cluster) -> usize {
    for _ in 0..20 {
        cluster.tick(1);
        for _ in 0..cluster.network.len() {
            match cluster.network.iter().position(|p| p.kind != MsgSnapshot) {
                Some(at) => cluster.deliver(at, true),
                None => break,
            }
        }
        cluster.sync(3, usize::MAX);
        if let Some(at) = cluster.network.iter().position(|p| p.kind == MsgSnapshot) {
            return at;
        }
    }
    panic!("no snapshot is sent");
}

fn state_of_3(cluster: &Cluster) -> PeerState {
    cluster.status(1).peers.iter().find(|peer| peer.id.get() == 3).unwrap().state
}

#[test]
fn r9_no_election_starts_while_a_snapshot_is_installed() {
    let mut cluster = behind();
    let at = offer(&mut cluster);
    cluster.deliver(at, true);
    let write = cluster.nodes[&3].disk.queue.back().unwrap().clone();
    assert_eq!(write.install.map(|mark| mark.index.get()), Some(7));
    assert_eq!((cluster.nodes[&3].installs, cluster.nodes[&3].applied), (0, 2));
    // Neither by the clock nor on request. Both panic inside the crate.
    for _ in 0..100 {
        cluster.tick(3);
    }
    let (term, kind) = (cluster.status(3).term.get(), MsgTimeoutNow);
    let m = eraftpb::Message { msg_type: kind, term, ..Default::default() };
    let called = cluster.core(3).step(NodeId::new(1), Message(m.clone()));
    assert!(matches!(called, Err(Rejected::Invalid(_))));
    assert_eq!(cluster.status(3).role, Role::Follower);
    // Its acknowledgement waits for the disk, and comes after the install.
    assert!(cluster.packets(MsgAppendResponse, 1).iter().all(|p| p.from != 3));
    cluster.sync(3, usize::MAX);
    assert_eq!((cluster.nodes[&3].installs, cluster.nodes[&3].applied), (1, 7));
    assert!(cluster.packets(MsgAppendResponse, 1).iter().any(|p| p.from == 3));
    assert_eq!(cluster.core(3).step(NodeId::new(1), Message(m)), Ok(()));
    cluster.process(3);
    assert_eq!(cluster.status(3).role, Role::Candidate);
}

#[test]
fn r9_a_second_snapshot_may_arrive_before_the_first_is_durable() {
    let mut cluster = behind();
    let at = offer(&mut cluster);
    cluster.deliver(at, true);
    cluster.propose(1, &["b"]).unwrap();
    cluster.sync(1, usize::MAX);
    while let Some(at) = cluster.network.iter().position(|p| p.to != 3) {
        cluster.sync(2, usize::MAX);
        cluster.deliver(at, true);
    }
    cluster.drop_network();
    cluster.sync(2, usize::MAX);
    cluster.settle_without(3);
    cluster.snapshot(1, 0);
    let mark = cluster.nodes[&1].disk.mark.clone();
    assert!(mark.index.get() >= 8);
    let term = cluster.status(1).term.get();
    let mut m = eraftpb::Message { msg_type: MsgSnapshot, term, ..Default::default() };
    m.set_snapshot(log::snapshot_of(&mark));
    cluster.core(3).step(NodeId::new(1), Message(m)).unwrap();
    cluster.process(3);
    assert_eq!(cluster.nodes[&3].disk.queue.len(), 2);
    cluster.sync(3, 1);
    for _ in 0..100 {
        cluster.tick(3);
    }
    assert_eq!(cluster.status(3).role, Role::Follower);
    cluster.sync(3, 1);
    assert_eq!((cluster.nodes[&3].installs, cluster.nodes[&3].applied), (2, mark.index.get()));
    cluster.run(5);
    assert_eq!(cluster.nodes[&3].applied, cluster.committed());
}

#[test]
fn r14_a_follower_waits_for_the_report() {
    for sent in [true, false] {
        let mut cluster = behind();
        let at = offer(&mut cluster);
        let packet = cluster.network.remove(at);
        for _ in 0..30 {
            cluster.tick(1);
            cluster.tick(2);
            cluster.settle();
        }
        assert_eq!(state_of_3(&cluster), PeerState::Snapshot);
        // What it is being sent is not dropped from under it.
        let first = cluster.status(1).first_index;
        cluster.propose(1, &["b"]).unwrap();
        cluster.settle();
        cluster.core(1).compact(Index::new(u64::MAX));
        assert_eq!(cluster.status(1).first_index, first);
        if sent {
            cluster.arrive(&packet);
        }
        cluster.core(1).report_snapshot(NodeId::new(3), sent);
        cluster.process(1);
        cluster.settle();
        cluster.run(5);
        assert_eq!(state_of_3(&cluster), PeerState::Replicate);
        assert_eq!(cluster.nodes[&3].installs, 1);
        assert_eq!(cluster.nodes[&3].applied, cluster.committed());
    }
}

#[test]
fn r14_a_snapshot_of_a_lost_leadership_is_not_handed_out() {
    let mut cluster = behind();
    offer(&mut cluster);
    cluster.drop_network();
    // It is ready to be sent again when the term ends in the same batch.
    let term = cluster.status(1).term.get();
    let answer = |term| eraftpb::Message {
        msg_type: MsgHeartbeatResponse,
        term,
        commit: 2,
        ..Default::default()
    };
    cluster.core(1).step(NodeId::new(3), Message(answer(term))).unwrap();
    let sent = |core: &Consensus| core.core.raft.msgs.iter().any(|m| m.msg_type == MsgSnapshot);
    assert!(sent(cluster.core(1)));
    cluster.core(1).step(NodeId::new(3), Message(answer(term + 1))).unwrap();
    cluster.process(1);
    cluster.sync(1, usize::MAX);
    assert!(cluster.packets(MsgSnapshot, 3).is_empty());
}

#[test]
fn r15_only_the_documented_errors() {
    let entry = |index| Entry {
        index: Index::new(index),
        term: Term::new(index / 2),
        kind: crate::entry::EntryKind::Normal,
        data: Bytes::from(vec![0; 100]),
    };
    let conf = conf_of(&[1, 2], &[]);
    let mark = mark_at(5, 2, conf.clone());
    let mut log = LogView::new(mark.clone(), HardState::default(), (6..=9).map(entry).collect());
    let get = |log: &LogView, low, high, max: Option<u64>| {
        let entries = log.entries(low, high, max, GetEntriesContext::empty(false));
        entries.map(|entries| entries.iter().map(|e| e.index).collect::<Vec<_>>())
    };
    assert_eq!(get(&log, 6, 10, None), Ok(vec![6, 7, 8, 9]));
    assert_eq!(get(&log, 6, 10, Some(300)), Ok(vec![6, 7]));
    assert_eq!(get(&log, 7, 10, Some(0)), Ok(vec![7]));
    assert_eq!(get(&log, 5, 7, None), Err(StorageError::Compacted.into()));
    assert_eq!(get(&log, 8, 11, None), Err(StorageError::Unavailable.into()));
    assert_eq!((log.term(5), log.term(9)), (Ok(2), Ok(4)));
    assert_eq!(log.term(4), Err(StorageError::Compacted.into()));
    assert_eq!(log.term(10), Err(StorageError::Unavailable.into()));
    // A later leader's entries replace a suffix; a gap is this member's own fault.
    log.append(&[Entry { term: Term::new(7), ..entry(8) }]).unwrap();
    assert_eq!((log.last(), log.term(8)), (8, Ok(7)));
    assert!(log.append(&[entry(10)]).is_err());
    assert!(log.append(&[entry(5)]).is_err());
    log.compact(7);
    assert_eq!((log.first(), log.last(), log.term(7)), (8, 8, Ok(3)));
    log.compact(3);
    assert_eq!(log.first(), 8);
}

#[test]
fn a_newer_snapshot_is_asked_for_once() {
    let conf = conf_of(&[1, 2], &[]);
    let mut log = LogView::new(mark_at(5, 2, conf.clone()), HardState::default(), Vec::new());
    let unavailable = || Err(StorageError::SnapshotTemporarilyUnavailable.into());
    for _ in 0..3 {
        assert_eq!(log.snapshot(0, 2), unavailable());
    }
    assert_eq!((log.take_want(), log.take_want()), (true, false));
    assert_eq!(log.snapshot(0, 2), unavailable());
    assert!(!log.take_want());
    // Too old, or without the follower: asked again, once.
    for (mark, to) in [(mark_at(4, 2, conf.clone()), 2), (mark_at(5, 2, conf.clone()), 3)] {
        log.saved(mark);
        assert_eq!(log.snapshot(0, to), unavailable());
        assert_eq!((log.take_want(), log.take_want()), (true, false));
    }
    assert_eq!(log.snapshot(6, 2), unavailable());
    let snapshot = log.snapshot(5, 2).unwrap();
    assert_eq!(log::mark_of(&snapshot), mark_at(5, 2, conf));
    assert!(snapshot.data.is_empty());
}

#[test]
fn a_mark_that_was_not_handed_out_is_not_offered() {
    let mut cluster = behind();
    let mark = cluster.nodes[&1].disk.mark.clone();
    cluster.core(1).snapshot_saved(SnapshotMark { index: Index::new(99), ..mark.clone() });
    assert_eq!(cluster.core(1).core.store().snapshot(0, 3), Ok(log::snapshot_of(&mark)));
}
