//! Disks that wait, disks that fail, host code that panics.

use std::error::Error as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use quorate::{Error, Lane, LocalEndpoint, Node, NodeId, Peer, Put, PutResponse, Transport};

use super::cluster::{Cluster, PATIENCE, value};
use super::faults::{FaultyDisk, Switch};

/// Looks at a call without waiting for it.
pub(crate) fn poll(call: &mut Put) -> Poll<Result<PutResponse, Error>> {
    Pin::new(call).poll(&mut Context::from_waker(Waker::noop()))
}

/// Three members on disks of the test's.
fn on_faulty_disks() -> (Cluster, Vec<Arc<Switch>>) {
    let disks: Vec<_> = (0..3).map(|_| FaultyDisk::new()).collect();
    let cluster = Cluster::open_with(3, |member, config| config.vfs(disks[member].0.clone()));
    (cluster, disks.into_iter().map(|(_, switch)| switch).collect())
}

/// `DUR-9`, `LIN-5`, `LIN-12`: the leader's own sync is not a majority, and a follower's answer is
/// worth nothing before its sync has returned.
#[test]
fn nothing_is_acknowledged_before_a_quorum_synced() {
    let (cluster, switches) = on_faulty_disks();
    let leader = cluster.leader();
    let followers: Vec<_> = (0..3).filter(|member| *member != leader).collect();
    let store = cluster.store(leader);
    store.put("before", "v").wait().unwrap();

    followers.iter().for_each(|follower| switches[*follower].hold());
    let mut put = store.put("held", "v");
    assert!(poll(&mut put).is_pending());
    for follower in &followers {
        switches[*follower].wait_for_a_sync();
    }
    // Both have the entry and say nothing of it. They do answer the leader otherwise: this read
    // needs one of them.
    assert_eq!(value(&store, "held"), None);
    assert!(poll(&mut put).is_pending());

    switches[followers[0]].release();
    futures_executor::block_on(&mut put).unwrap();
    assert_eq!(value(&store, "held").as_deref(), Some(&b"v"[..]));
    switches[followers[1]].release();
    cluster.assert_same_everywhere();
}

/// `DUR-21`: never retried, never acknowledged; the cause is at the end of the chain.
#[test]
fn a_failed_sync_halts_the_node_with_its_cause() {
    let (disk, switch) = FaultyDisk::new();
    let mut cluster = Cluster::open_with(1, |_, config| config.vfs(disk.clone()));
    let store = cluster.store(0);
    store.put("k", "v").wait().unwrap();

    switch.fail("injected failure of the disk");
    let error = store.put("lost", "v").wait().unwrap_err();
    assert!(error.is_halted(), "{error:?}");
    assert!(error.is_unknown(), "it may be on the disk: {error:?}");
    for error in [error, store.put("next", "v").wait().unwrap_err()] {
        let mut chain = vec![error.to_string()];
        let mut source = error.source();
        while let Some(cause) = source {
            chain.push(cause.to_string());
            source = cause.source();
        }
        let last = chain.last().unwrap();
        assert!(error.is_halted() && last.contains("injected failure of the disk"), "{chain:#?}");
    }
    let halted = cluster.node(0).status().halted.expect("it says so");
    assert!(halted.contains("sync"), "{halted}");
    assert!(cluster.take(0).close(PATIENCE).unwrap_err().is_halted());

    // Another disk, the same directory.
    let config = cluster.config(0).vfs(FaultyDisk::new().0);
    let node = Node::open(config, cluster.network.endpoint(cluster.id(0))).unwrap();
    cluster.adopt(0, node);
    assert!(value(&cluster.store(0), "k").is_some());
    assert!(value(&cluster.store(0), "next").is_none());
}

/// One member of three on a disk that fails: the others go on.
#[test]
fn a_halted_member_is_one_member_less() {
    let (cluster, switches) = on_faulty_disks();
    let leader = cluster.leader();
    switches[leader].fail("injected failure of the disk");
    // Through the leader it fails; whether it happened is for the others to say.
    drop(cluster.store(leader).put("k", "v").wait());
    let store = cluster.store((leader + 1) % 3);
    store.put("k", "w").wait().unwrap();
    assert_eq!(value(&store, "k").as_deref(), Some(&b"w"[..]));
    assert!(cluster.node(leader).status().halted.is_some());
    assert!(cluster.store(leader).get("k").wait().unwrap_err().is_halted());
}

/// A transport that panics when it is told to.
struct Panicking {
    endpoint: LocalEndpoint,
    armed: Arc<AtomicBool>,
}

impl Transport for Panicking {
    fn send(&self, to: NodeId, lane: Lane, envelope: Bytes) {
        assert!(!self.armed.load(Ordering::SeqCst), "a bug of the host");
        self.endpoint.send(to, lane, envelope);
    }

    fn members_changed(&self, peers: &[Peer]) {
        self.endpoint.members_changed(peers);
    }
}

#[test]
fn a_panic_of_the_host_halts_one_node_and_nothing_else() {
    let mut cluster = Cluster::closed(3, |_, config| config);
    cluster.reopen(0);
    cluster.reopen(1);
    let armed = Arc::new(AtomicBool::new(false));
    let endpoint = cluster.network.endpoint(cluster.id(2));
    let transport = Panicking { endpoint, armed: Arc::clone(&armed) };
    let node = Node::open(cluster.config(2), transport).unwrap();
    cluster.adopt(2, node);
    cluster.store(2).put("k", "v").wait().unwrap();

    armed.store(true, Ordering::SeqCst);
    // Whatever it does next, it sends.
    let error = cluster.store(2).get("k").wait().unwrap_err();
    assert!(error.is_halted(), "{error:?}");
    assert!(cluster.store(2).put("k", "w").wait().unwrap_err().is_halted());
    let halted = cluster.node(2).status().halted.expect("it says so");
    assert!(halted.contains("a bug of the host"), "{halted}");
    assert!(cluster.take(2).close(PATIENCE).unwrap_err().is_halted());

    cluster.store(0).put("k", "x").wait().unwrap();
    cluster.reopen(2);
    assert_eq!(value(&cluster.store(2), "k").as_deref(), Some(&b"x"[..]));
    cluster.assert_same_everywhere();
}
