//! Running nodes from outside: how they open and close, and what they say meanwhile.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test may fail by panic")]

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use quorate::{Config, InitialState, LocalNetwork, Node, NodeId, Role, Transport};
use tempfile::TempDir;

/// Longer than anything here takes; nobody waits for it to pass.
const LONG: Duration = Duration::from_secs(60);

/// Members of one cluster, on real directories and a network in memory.
struct Cluster {
    network: LocalNetwork,
    configs: Vec<Config>,
    dir: TempDir,
}

impl Cluster {
    fn new(names: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let list: Vec<_> = names.iter().map(|name| (*name, format!("at-{name}"))).collect();
        let config = |name: &&str| {
            Config::new(*name, dir.path().join(name))
                .initial_cluster(list.clone())
                .heartbeat_interval(Duration::from_millis(20))
                .election_timeout(Duration::from_millis(200))
        };
        let configs = names.iter().map(config).collect();
        Self { network: LocalNetwork::new(), configs, dir }
    }

    fn endpoint(&self, config: &Config) -> impl Transport + use<> {
        self.network.endpoint(config.node_id().unwrap())
    }

    fn open(&self, config: &Config) -> quorate::Result<Node> {
        let node = Node::open(config.clone(), self.endpoint(config))?;
        self.network.connect(node.inbox());
        Ok(node)
    }

    fn open_all(&self) -> Vec<Node> {
        self.configs.iter().map(|config| self.open(config).unwrap()).collect()
    }
}

/// Starts a call, whose answer must not be there yet.
fn begin<T>(call: &mut (impl Future<Output = T> + Unpin)) {
    let polled = Pin::new(call).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Pending));
}

fn leader(nodes: &[Node]) -> usize {
    let id = nodes[0].status().leader.unwrap();
    nodes.iter().position(|node| node.id() == id).unwrap()
}

/// BST-1, BST-9, INV-2: what was acknowledged is there again, and revisions go on from there.
#[test]
fn a_lone_member_goes_on_where_it_was_closed() {
    let cluster = Cluster::new(&["a"]);
    let config = &cluster.configs[0];
    let mut last = 1;
    for round in 0..4 {
        let node = cluster.open(config).unwrap();
        let read = node.store().range(..).wait().unwrap();
        assert_eq!((read.count, read.header.revision.get()), (round, last));
        let put = node.store().put(format!("key {round}"), "value").wait().unwrap();
        assert!(put.header.revision.get() > last);
        last = put.header.revision.get();
        node.close(LONG).unwrap();
    }
    // It is this member's directory, and nobody else's.
    let other = Config::new("b", cluster.dir.path().join("a")).initial_cluster([("b", "at-b")]);
    assert!(cluster.open(&other).unwrap_err().is_foreign());
}

/// BST-3, CFG-12, CFG-39: a member that should have data and has none creates nothing.
#[test]
fn an_existing_member_without_its_data_is_not_opened() {
    let cluster = Cluster::new(&["a"]);
    let config = cluster.configs[0].clone().initial_state(InitialState::Existing);
    let error = cluster.open(&config).unwrap_err();
    assert!(error.is_config(), "{error}");
    assert_eq!(cluster.dir.path().read_dir().unwrap().count(), 0);
    cluster.open(&cluster.configs[0]).unwrap().close(LONG).unwrap();
    cluster.open(&config).unwrap().close(LONG).unwrap();
}

/// BST-7, DUR-22.
#[test]
fn a_directory_has_one_node() {
    let cluster = Cluster::new(&["a"]);
    let node = cluster.open(&cluster.configs[0]).unwrap();
    assert!(cluster.open(&cluster.configs[0]).unwrap_err().is_locked());
    node.close(LONG).unwrap();
    cluster.open(&cluster.configs[0]).unwrap().close(LONG).unwrap();
}

/// ERR-33: what outlives its node answers that it is closed.
#[test]
fn handles_outlive_their_node_harmlessly() {
    let cluster = Cluster::new(&["a"]);
    let node = cluster.open(&cluster.configs[0]).unwrap();
    let (store, inbox) = (node.store(), node.inbox());
    node.close(LONG).unwrap();
    assert!(store.put("a", "1").wait().unwrap_err().is_closed());
    assert!(store.get("a").serializable().wait().unwrap_err().is_closed());
    drop(store);
    assert!(inbox.deliver(NodeId::new(1), "bytes").unwrap_err().is_closed());
}

/// MNT-1, LIN-8, ERR-31, ERR-34: alone among three, a member says what it is and reads what it
/// has, and promises nothing.
#[test]
fn a_member_without_a_quorum_answers_for_itself() {
    let cluster = Cluster::new(&["a", "b", "c"]);
    let node = cluster.open(&cluster.configs[0]).unwrap();
    let status = node.status();
    assert_eq!((status.name.as_str(), status.leader), ("a", None));
    assert_ne!(status.role, Role::Leader);
    assert_eq!((status.revision.get(), status.applied.get()), (1, 1));
    assert_eq!(node.store().get("a").serializable().wait().unwrap().header.revision.get(), 1);
    let soon = Duration::from_millis(20);
    let error = node.store().put("a", "1").wait_timeout(soon).unwrap_err();
    assert!(error.is_timeout() && !error.is_unknown(), "{error}");
    assert!(node.store().get("a").wait_timeout(soon).unwrap_err().is_timeout());
    assert!(node.transfer_leader(node.id()).wait().unwrap_err().is_unavailable());
    node.close(LONG).unwrap();
}

/// SEL-11: what waits is counted, and no more is taken than there is room for.
#[test]
fn a_member_with_too_much_waiting_refuses() {
    let cluster = Cluster::new(&["a", "b", "c"]);
    let config = cluster.configs[0].clone().max_pending_requests(2);
    let node = cluster.open(&config).unwrap();
    let store = node.store();
    let (mut put, mut get) = (store.put("a", "1"), store.get("a"));
    begin(&mut put);
    begin(&mut get);
    let error = store.put("b", "2").wait().unwrap_err();
    assert!(error.is_overloaded() && !error.is_unknown(), "{error}");
    node.close(LONG).unwrap();
    assert!(put.wait().unwrap_err().is_closed());
}

/// LIN-14: a leader that is closed has made another one first, so nobody waits for an election.
#[test]
fn a_leader_that_closes_hands_over() {
    let cluster = Cluster::new(&["a", "b", "c"]);
    let mut nodes = cluster.open_all();
    nodes[0].store().put("a", "1").wait().unwrap();
    let leaving = nodes.swap_remove(leader(&nodes));
    let term = leaving.status().term;
    leaving.close(LONG).unwrap();
    let new = nodes.iter().find(|node| node.status().role == Role::Leader).unwrap();
    assert_eq!(new.status().term.get(), term.get() + 1);
    for node in &nodes {
        assert_eq!(node.store().get("a").wait().unwrap().kv.unwrap().value(), b"1");
    }
}

/// INV-11: members that applied the same index have the same state.
#[test]
fn members_that_applied_the_same_have_equal_hashes() {
    let cluster = Cluster::new(&["a", "b", "c"]);
    let nodes = cluster.open_all();
    for (node, key) in nodes.iter().zip(["a", "b", "c"]) {
        node.store().put(key, "value").wait().unwrap();
    }
    // A linearizable read waits until this member has applied all of it.
    let read = |node: &Node| node.store().range(..).count_only().wait().unwrap().count;
    assert!(nodes.iter().all(|node| read(node) == 3));
    let hashes: Vec<_> = nodes.iter().map(Node::hash).collect();
    assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]), "{hashes:?}");
}
