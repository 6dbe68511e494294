//! Members of one cluster, in temporary directories, over a [`LocalNetwork`].

use std::path::PathBuf;
use std::time::Duration;

use quorate::{Config, LocalNetwork, Node, NodeId, Role, StateHash, Store};
use tempfile::TempDir;

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Longer than anything here takes, so that only a call that hangs ends by it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Cluster {
    pub(crate) network: LocalNetwork,
    configs: Vec<Config>,
    nodes: Vec<Option<Node>>,
    // After the nodes, which are dropped before it.
    root: TempDir,
}

impl Cluster {
    /// So many members, all open.
    pub(crate) fn open(members: usize) -> Self {
        Self::open_with(members, |_, config| config)
    }

    /// The same, with the settings changed for each.
    pub(crate) fn open_with(members: usize, change: impl Fn(usize, Config) -> Config) -> Self {
        let mut cluster = Self::closed(members, change);
        (0..members).for_each(|member| cluster.reopen(member));
        cluster
    }

    /// The same, with none of them open.
    pub(crate) fn closed(members: usize, change: impl Fn(usize, Config) -> Config) -> Self {
        let root = tempfile::tempdir().unwrap();
        let names = &NAMES[..members];
        let configs = names.iter().enumerate().map(|(member, name)| {
            let config = Config::new(*name, root.path().join(name))
                .initial_cluster(names.iter().map(|name| (*name, format!("local:{name}"))))
                .heartbeat_interval(Duration::from_millis(20))
                .election_timeout(Duration::from_millis(200))
                .request_timeout(PATIENCE);
            change(member, config)
        });
        let configs = configs.collect();
        let nodes = names.iter().map(|_| None).collect();
        Self { network: LocalNetwork::new(), configs, nodes, root }
    }

    /// Shows something through each member in turn, beginning with no key, and that all of them
    /// hold the same afterwards.
    pub(crate) fn show_through_each(&self, works: impl Fn(&Store)) {
        for member in 0..self.nodes.len() {
            let store = self.store(member);
            works(&store);
            store.delete(..).wait().unwrap();
        }
        self.assert_same_everywhere();
    }

    pub(crate) fn reopen(&mut self, member: usize) {
        assert!(self.nodes[member].is_none(), "it is open");
        let config = self.configs[member].clone();
        let node = Node::open(config, self.network.endpoint(self.id(member))).unwrap();
        self.adopt(member, node);
    }

    /// Takes a node that was opened with a transport of the test's own.
    pub(crate) fn adopt(&mut self, member: usize, node: Node) {
        self.network.connect(node.inbox());
        self.nodes[member] = Some(node);
    }

    pub(crate) fn close(&mut self, member: usize) {
        self.take(member).close(PATIENCE).unwrap();
    }

    /// The node, out of the cluster's hands: to drop it, which hands no leadership over, or to
    /// close it.
    pub(crate) fn take(&mut self, member: usize) -> Node {
        self.nodes[member].take().expect("it is open")
    }

    pub(crate) fn node(&self, member: usize) -> &Node {
        self.nodes[member].as_ref().expect("it is open")
    }

    pub(crate) fn store(&self, member: usize) -> Store {
        self.node(member).store()
    }

    pub(crate) fn id(&self, member: usize) -> NodeId {
        self.configs[member].node_id().unwrap()
    }

    pub(crate) fn config(&self, member: usize) -> Config {
        self.configs[member].clone()
    }

    pub(crate) fn dir(&self, member: usize) -> PathBuf {
        self.root.path().join(NAMES[member])
    }

    pub(crate) fn members(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|member| self.nodes[*member].is_some()).collect()
    }

    /// Waits until a member has applied all that was acknowledged before: a linearizable read
    /// does.
    pub(crate) fn catch_up(&self, member: usize) {
        self.store(member).get("any").wait().unwrap();
    }

    /// Who leads, as soon as somebody does.
    pub(crate) fn leader(&self) -> usize {
        self.leader_among(&self.members())
    }

    /// Who of these leads; the others may be cut off.
    pub(crate) fn leader_among(&self, members: &[usize]) -> usize {
        let leads = |member: &usize| self.node(*member).status().role == Role::Leader;
        // Each round ends with a leader there; it takes a second one if that has just been lost.
        for _ in 0..100 {
            members.iter().for_each(|member| self.catch_up(*member));
            if let Some(leader) = members.iter().copied().find(leads) {
                return leader;
            }
        }
        panic!("no leader stays: {:#?}", members.iter().map(|member| self.node(*member).status()));
    }

    /// Somebody else.
    pub(crate) fn follower(&self) -> usize {
        let leader = self.leader();
        self.members().into_iter().find(|member| *member != leader).expect("there are several")
    }

    /// All members' hashes, at one point of the log (`INV-11`).
    pub(crate) fn hashes(&self) -> Vec<StateHash> {
        for _ in 0..100 {
            self.members().into_iter().for_each(|member| self.catch_up(member));
            let hashes: Vec<_> = self.members().iter().map(|m| self.node(*m).hash()).collect();
            if hashes.iter().all(|hash| hash.applied == hashes[0].applied) {
                return hashes;
            }
        }
        panic!("the members never stand at one point, though nobody writes");
    }

    #[track_caller]
    pub(crate) fn assert_same_everywhere(&self) {
        let hashes = self.hashes();
        assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:#?}");
    }
}

/// A key's value, by a linearizable read.
pub(crate) fn value(store: &Store, key: impl Into<String>) -> Option<Vec<u8>> {
    store.get(key.into()).wait().unwrap().kv.map(|kv| kv.value().to_vec())
}
