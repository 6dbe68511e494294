//! What the host is refused, and when elections wait.

use super::harness::*;
use super::*;

#[test]
fn a_lone_voter_waits_for_its_disk_before_it_campaigns() {
    let mut cluster = Cluster::new(5, &conf_of(&[1], &[2]), &[]);
    cluster.elect(1);
    cluster.propose(1, &["a"]).unwrap();
    assert_eq!(cluster.nodes[&1].disk.queue.len(), 1);
    // One message of a later term, and it follows while its tail is not durable.
    let term = cluster.status(1).term.get() + 1;
    let m = eraftpb::Message { msg_type: MessageType::MsgHeartbeat, term, ..Default::default() };
    cluster.core(1).step(NodeId::new(2), Message(m)).unwrap();
    cluster.process(1);
    for _ in 0..50 {
        cluster.tick(1);
    }
    assert_eq!(cluster.status(1).role, Role::Follower);
    cluster.elect_with_disk(1);
}

#[test]
fn an_overdue_disk_stops_elections_and_proposals() {
    let mut cluster = Cluster::new(5, &conf_of(&[1, 2, 3], &[]), &[]);
    cluster.elect(1);
    cluster.core(1).disk_overdue(true);
    assert_eq!(cluster.propose(1, &["a"]), Err(ProposeError::Stalled));
    // It still leads: its heartbeats go on.
    cluster.drop_network();
    cluster.tick(1);
    cluster.tick(1);
    assert!(!cluster.network.is_empty());
    cluster.core(1).disk_overdue(false);
    cluster.propose(1, &["a"]).unwrap();
    cluster.core(2).disk_overdue(true);
    for _ in 0..100 {
        cluster.tick(2);
    }
    assert_eq!(cluster.status(2).role, Role::Follower);
    cluster.core(2).disk_overdue(false);
    for _ in 0..100 {
        cluster.tick(2);
    }
    assert_eq!(cluster.status(2).role, Role::PreCandidate);
}

#[test]
fn too_many_uncommitted_bytes_are_refused_whole() {
    let mut cluster = Cluster::new(5, &conf_of(&[1, 2, 3], &[]), &[]);
    cluster.elect(1);
    let big = "x".repeat(1 << 15);
    cluster.propose(1, &[&big]).unwrap();
    let last = cluster.status(1).last_index;
    assert_eq!(cluster.propose(1, &["small", &big]), Err(ProposeError::Full));
    assert_eq!(cluster.status(1).last_index, last);
    assert_eq!(cluster.propose(1, &[]), Ok(()));
    cluster.settle();
    cluster.propose(1, &["small", &big]).unwrap();
    cluster.settle();
    assert_eq!(cluster.nodes[&3].applied, last.get() + 2);
}

#[test]
fn leadership_moves_to_a_voter_that_is_close() {
    let mut cluster = Cluster::new(5, &conf_of(&[1, 2, 3], &[4]), &[]);
    cluster.elect(1);
    cluster.heartbeat(1);
    let refused = |cluster: &mut Cluster, id: u64, to: u64| {
        cluster.core(id).transfer(NodeId::new(to)).unwrap_err().to_string()
    };
    assert!(refused(&mut cluster, 2, 1).contains("does not lead"));
    assert!(refused(&mut cluster, 1, 4).contains("not a voter"));
    assert!(refused(&mut cluster, 1, 8).contains("not a voter"));
    cluster.core(1).transfer(NodeId::new(1)).unwrap();
    assert_eq!(cluster.status(1).transferring, None);
    cluster.propose(1, &["a"]).unwrap();
    cluster.core(1).transfer(NodeId::new(2)).unwrap();
    cluster.process(1);
    assert_eq!(cluster.status(1).transferring, Some(NodeId::new(2)));
    assert_eq!(cluster.propose(1, &["b"]), Err(ProposeError::Transferring));
    cluster.settle();
    assert_eq!(cluster.leader(), Some(2));
    assert_eq!(cluster.nodes[&3].applied, 4);
}

#[test]
fn conf_changes_that_would_hurt_are_refused() {
    let mut cluster = Cluster::new(5, &conf_of(&[1, 2], &[3]), &[]);
    let change = |steps: &[ConfStep]| ConfChange { steps: steps.to_vec(), ..Default::default() };
    let [one, two, three, new] = [1, 2, 3, 4].map(NodeId::new);
    let promote = change(&[ConfStep::Voter(three)]);
    assert_eq!(cluster.core(1).propose_conf(&promote), Err(ConfRefused::NotLeader));
    cluster.isolate(3);
    cluster.elect(1);
    let leader = cluster.core(1);
    assert_eq!(leader.propose_conf(&promote), Err(ConfRefused::NotCaughtUp(three)));
    let add = change(&[ConfStep::Voter(new)]);
    assert_eq!(leader.propose_conf(&add), Err(ConfRefused::NotCaughtUp(new)));
    let leave = change(&[ConfStep::Remove(one)]);
    assert_eq!(leader.propose_conf(&leave), Err(ConfRefused::Leader));
    let none = change(&[]);
    assert!(matches!(leader.propose_conf(&none), Err(ConfRefused::Unfit(_))));
    cluster.cut.clear();
    cluster.heartbeat(1);
    cluster.heartbeat(1);
    cluster.core(1).propose_conf(&promote).unwrap();
    cluster.process(1);
    cluster.settle();
    assert_eq!(cluster.nodes[&3].conf, conf_of(&[1, 2, 3], &[]));
    // Back to two, then the other one is gone: the last change could not commit.
    cluster.core(1).propose_conf(&change(&[ConfStep::Remove(three)])).unwrap();
    cluster.process(1);
    cluster.settle();
    cluster.crash(2, 0);
    for _ in 0..12 {
        cluster.core(1).core.raft.mut_prs().get_mut(2).unwrap().recent_active = false;
    }
    let shrink = change(&[ConfStep::Remove(two)]);
    assert_eq!(cluster.core(1).propose_conf(&shrink), Err(ConfRefused::Unheard(two)));
}

#[test]
fn a_change_that_cannot_be_applied_is_an_entry_without_effect() {
    let mut cluster = Cluster::new(5, &conf_of(&[1, 2, 3], &[]), &[]);
    cluster.elect(1);
    // Removes every voter: the crate takes the proposal and fails when it is applied.
    let steps = [1, 2, 3].map(|id| ConfStep::Remove(NodeId::new(id))).to_vec();
    let entry = eraftpb::Entry {
        entry_type: eraftpb::EntryType::EntryConfChangeV2,
        data: ConfChange { steps, ..Default::default() }.encode(),
        ..Default::default()
    };
    cluster.core(1).propose_entries(vec![entry]).unwrap();
    cluster.process(1);
    cluster.settle();
    assert!(cluster.nodes.values().all(|n| n.applied == 3 && n.conf == conf_of(&[1, 2, 3], &[])));
    let change = ConfChange { steps: vec![ConfStep::Remove(NodeId::new(3))], ..Default::default() };
    cluster.core(1).propose_conf(&change).unwrap();
}

/// Our bytes of a change are the crate's, so that its leader reads what we wrote.
#[test]
fn the_bytes_of_a_change_are_those_of_the_crate() {
    let steps = vec![
        ConfStep::Voter(NodeId::new(1)),
        ConfStep::Remove(NodeId::new(300)),
        ConfStep::Learner(NodeId::new(u64::MAX)),
    ];
    let change = ConfChange { steps, context: Bytes::from_static(b"member record") };
    let mut cluster = Cluster::new(5, &conf_of(&[1], &[]), &[]);
    cluster.elect(1);
    let core = &mut cluster.core(1).core;
    let mut theirs = change.to_raft();
    theirs.context = change.context.clone();
    core.propose_conf_change(Vec::new(), theirs).unwrap();
    let written = core.raft.raft_log.unstable_entries().last().unwrap().data.clone();
    assert_eq!(change.encode(), written);
    assert_eq!(ConfChange::decode(written), Ok(change));
    assert_eq!(ConfChange::decode(Bytes::new()), Ok(ConfChange::default()));
    for bad in [&[0x08, 1][..], &[0x12, 0], &[0x12, 2, 0x10, 0], &[0x22, 0], &[0x1a, 9], &[0x80]] {
        assert!(ConfChange::decode(Bytes::copy_from_slice(bad)).is_err(), "{bad:?}");
    }
}
