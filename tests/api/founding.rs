//! How a member begins, and goes on from there.

use std::time::Duration;

use quorate::{InitialState, LocalNetwork, Node, Role};

use super::cluster::{Cluster, PATIENCE};

/// `BST-9`, `INV-2`: what was acknowledged is there when calls are served, and revisions go on.
#[test]
fn a_lone_member_goes_on_where_it_was_closed() {
    let mut cluster = Cluster::closed(1, |_, config| config);
    let mut last = 1;
    for round in 0..4 {
        cluster.reopen(0);
        let store = cluster.store(0);
        let read = store.range(..).wait().unwrap();
        assert_eq!((read.count, read.header.revision.get()), (round, last));
        let put = store.put(format!("key {round}"), "value").wait().unwrap();
        assert!(put.header.revision.get() > last);
        last = put.header.revision.get();
        cluster.close(0);
    }
}

/// `BST-1`, `BST-3`, `CFG-12`: a member that should have data and has none founds nothing; with
/// data it makes no difference.
#[test]
fn an_existing_member_without_its_data_is_not_opened() {
    let mut cluster = Cluster::closed(1, |_, config| config);
    let config = cluster.config(0).initial_state(InitialState::Existing);
    let network = LocalNetwork::new();
    let open = || Node::open(config.clone(), network.endpoint(config.node_id()?));
    let error = open().unwrap_err();
    assert!(error.is_config(), "{error}");
    assert!(!cluster.dir(0).exists(), "something was created");
    cluster.reopen(0);
    cluster.close(0);
    open().unwrap().close(PATIENCE).unwrap();
}

/// `MNT-1`, `LIN-8`, `ERR-31`: alone among three, a member says what it is and what it has, and
/// promises nothing.
#[test]
fn a_member_without_a_quorum_answers_for_itself() {
    let mut cluster = Cluster::closed(3, |_, config| config);
    cluster.reopen(0);
    let (node, store) = (cluster.node(0), cluster.store(0));
    let status = node.status();
    assert_eq!((status.name.as_str(), status.leader), ("a", None));
    assert_ne!(status.role, Role::Leader);
    assert_eq!((status.revision.get(), status.applied.get()), (1, 1));
    assert_eq!(store.get("a").serializable().wait().unwrap().header.revision.get(), 1);
    let soon = Duration::from_millis(20);
    let error = store.put("a", "1").wait_timeout(soon).unwrap_err();
    assert!(error.is_timeout() && !error.is_unknown(), "{error}");
    assert!(store.get("a").wait_timeout(soon).unwrap_err().is_timeout());
    assert!(node.transfer_leader(node.id()).wait().unwrap_err().is_unavailable());
}
