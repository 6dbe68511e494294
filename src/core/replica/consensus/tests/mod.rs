//! Tests of the whole room.

mod chaos;
mod codec;
mod guards;
mod harness;
mod rules;
mod snapshots;
mod table;

use self::harness::*;
use super::*;

/// LIN-12: a lone member makes an entry durable before it counts it.
#[test]
fn a_sole_voter_commits_with_one_sync() {
    let mut cluster = Cluster::new(1, &conf_of(&[1], &[]), &[]);
    cluster.elect(1);
    assert!(cluster.status(1).sole_voter && cluster.status(1).committed_in_term);
    let before = cluster.nodes[&1].applied;
    cluster.propose(1, &["a", "b"]).unwrap();
    assert_eq!(cluster.nodes[&1].applied, before);
    assert_eq!(cluster.nodes[&1].disk.queue.len(), 1);
    cluster.sync(1, 1);
    assert_eq!(cluster.nodes[&1].applied, before + 2);
    assert!(cluster.nodes[&1].disk.queue.is_empty());
    let round = cluster.read(1).unwrap();
    assert_eq!(cluster.nodes[&1].reads, [(round, before + 2)]);
}

#[test]
fn three_members_elect_commit_and_read() {
    let mut cluster = Cluster::new(1, &conf_of(&[1, 2, 3], &[]), &[]);
    cluster.elect(1);
    cluster.propose(1, &["a", "b"]).unwrap();
    cluster.settle();
    assert_eq!(cluster.committed(), 4);
    assert!(cluster.nodes.values().all(|node| node.applied == 4));
    let round = cluster.read(1).unwrap();
    cluster.settle();
    assert_eq!(cluster.nodes[&1].reads, [(round, 4)]);
    assert_eq!(cluster.read(2), None);
    assert_eq!(cluster.propose(2, &["c"]), Err(ProposeError::NotLeader));
}

/// Whoever drives the replica may do so from any thread, one at a time.
#[test]
fn it_moves_between_threads() {
    fn sends<T: Send>() {}
    sends::<Consensus>();
    sends::<Effect>();
}
