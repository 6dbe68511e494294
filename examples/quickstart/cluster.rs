//! Three members in this process, in directories that are removed in the end.

use std::error::Error;
use std::time::Duration;

use parking_lot::RwLock;
use quorate::{Config, LocalNetwork, Node, Role, Store};
use tempfile::TempDir;

pub(crate) const MEMBERS: usize = 3;
pub(crate) const NAMES: [&str; MEMBERS] = ["a", "b", "c"];
/// What a put may have; files above it are left out.
pub(crate) const MAX_REQUEST_BYTES: usize = 960 << 10;
/// How long to wait for a member that has a lot to catch up with.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Cluster {
    network: LocalNetwork,
    /// `None` for a member that is lost.
    nodes: RwLock<[Option<Node>; MEMBERS]>,
    // Behind the nodes: the directories go when nobody uses them any more.
    dir: TempDir,
}

impl Cluster {
    /// Opens the members and waits until they have a leader.
    pub(crate) fn open() -> Result<Self, Box<dyn Error>> {
        let cluster = Self {
            network: LocalNetwork::new(),
            nodes: RwLock::new([const { None }; MEMBERS]),
            dir: tempfile::tempdir()?,
        };
        for member in 0..MEMBERS {
            cluster.reopen(member)?;
        }
        cluster.catch_up(0)?;
        Ok(cluster)
    }

    /// Opens a member; says by how many revisions it is behind the others.
    pub(crate) fn reopen(&self, member: usize) -> quorate::Result<u64> {
        let config = self.config(member);
        let node = Node::open(config.clone(), self.network.endpoint(config.node_id()?))?;
        self.network.connect(node.inbox());
        let mut nodes = self.nodes.write();
        let newest = nodes.iter().flatten().map(|node| node.status().revision.get()).max();
        let behind = newest.unwrap_or_default().saturating_sub(node.status().revision.get());
        nodes[member] = Some(node);
        Ok(behind)
    }

    fn config(&self, member: usize) -> Config {
        let name = NAMES[member];
        // The addresses are for a transport to understand, and this one needs none; they are part
        // of the members' ids.
        let list = NAMES.map(|name| (name, format!("local:{name}")));
        Config::new(name, self.dir.path().join(name))
            .initial_cluster(list)
            .heartbeat_interval(Duration::from_millis(50))
            .election_timeout(Duration::from_millis(500))
            .max_request_bytes(MAX_REQUEST_BYTES)
            // Few, so that even a small import takes snapshots.
            .snapshot_count(500)
    }

    /// Drops a member's node. Nothing is handed over and nobody is told; `Node::close` would.
    pub(crate) fn drop_member(&self, member: usize) {
        let node = self.nodes.write()[member].take();
        // Not under the lock: the callers of the others go on meanwhile.
        drop(node);
    }

    /// The data, through a member; `None` if it is lost.
    pub(crate) fn store(&self, member: usize) -> Option<Store> {
        self.nodes.read()[member].as_ref().map(Node::store)
    }

    /// Waits until a member has all that was acknowledged anywhere before: that is what a
    /// linearizable read does.
    pub(crate) fn catch_up(&self, member: usize) -> quorate::Result<()> {
        let Some(store) = self.store(member) else { return Ok(()) };
        store.get("any key will do").timeout(PATIENCE).wait().map(drop)
    }

    /// Who leads.
    pub(crate) fn leader(&self) -> quorate::Result<usize> {
        loop {
            let leads = |node: &Option<Node>| {
                node.as_ref().is_some_and(|node| node.status().role == Role::Leader)
            };
            if let Some(member) = self.nodes.read().iter().position(leads) {
                return Ok(member);
            }
            // Between two leaders: the next read is answered when there is one again.
            for member in 0..MEMBERS {
                self.catch_up(member)?;
            }
        }
    }

    /// Does something with each member that is there.
    pub(crate) fn each<T>(&self, act: impl Fn(&Node) -> T) -> Vec<T> {
        self.nodes.read().iter().flatten().map(act).collect()
    }
}
