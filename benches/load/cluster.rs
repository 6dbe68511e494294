//! The members under load: all in this process, each with a directory of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use quorate::{Config, LocalNetwork, Node, Store};

use crate::Outcome;
use crate::args::{Options, Via};
use crate::log_time::{LogWatch, WatchedDisk};
use crate::machine;
use crate::report::Record;

/// How long an election may take before the benchmark gives up.
const PATIENCE: Duration = Duration::from_secs(30);
const CLOSE: Duration = Duration::from_secs(30);

pub(crate) struct Cluster {
    network: LocalNetwork,
    configs: Vec<Config>,
    nodes: Vec<Node>,
    log: LogWatch,
    dir: PathBuf,
    via: Via,
}

impl Cluster {
    /// Opens fresh members and waits until they have a leader.
    pub(crate) fn open(options: &Options) -> Outcome<Self> {
        let dir = options.dir.join("quorate-load");
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => fs::create_dir_all(&dir)?,
        }
        let log = LogWatch::default();
        let names: Vec<String> = (0..options.members).map(|at| format!("m{at}")).collect();
        let configs = names
            .iter()
            .map(|name| {
                let list = names.iter().map(|name| (name.clone(), name.clone()));
                let config = Config::new(name.clone(), dir.join(name)).initial_cluster(list);
                let config = config.vfs(Arc::new(WatchedDisk(log.clone())));
                let config = config.heartbeat_interval(options.heartbeat);
                let config = config.election_timeout(options.election);
                match options.snapshot_count {
                    Some(count) => config.snapshot_count(count),
                    None => config,
                }
            })
            .collect();
        let network = LocalNetwork::new();
        let mut cluster = Self { network, configs, nodes: Vec::new(), log, dir, via: options.via };
        cluster.start()?;
        Ok(cluster)
    }

    /// Opens every member; says how long that took by itself.
    pub(crate) fn start(&mut self) -> Outcome<Duration> {
        let begun = Instant::now();
        for config in &self.configs {
            let node = Node::open(config.clone(), self.network.endpoint(config.node_id()?))?;
            self.network.connect(node.inbox());
            self.nodes.push(node);
        }
        let opened = begun.elapsed();
        self.leader()?;
        Ok(opened)
    }

    /// Cuts a member off from all others, and says when.
    pub(crate) fn cut_off(&self, place: usize) -> Outcome<Instant> {
        let node = self.nodes.get(place).ok_or("there is no such member")?;
        self.network.isolate(node.id());
        Ok(Instant::now())
    }

    /// A member that was cut off begins anew.
    pub(crate) fn revive(&mut self, place: usize) -> Outcome<()> {
        let config = self.configs.get(place).ok_or("there is no such member")?;
        let id = config.node_id()?;
        self.network.disconnect(id);
        self.nodes.remove(place).close(CLOSE)?;
        let node = Node::open(config.clone(), self.network.endpoint(id))?;
        self.network.connect(node.inbox());
        self.nodes.insert(place, node);
        self.network.heal_all();
        self.leader().map(drop)
    }

    pub(crate) fn store(&self, place: usize) -> Outcome<Store> {
        Ok(self.nodes.get(place).ok_or("there is no such member")?.store())
    }

    /// The handles of all members but one.
    pub(crate) fn stores_but(&self, place: usize) -> Vec<Store> {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter(|(at, _)| *at != place).map(|(_, node)| node.store()).collect()
    }

    /// Closes every member.
    pub(crate) fn stop(&mut self) -> Outcome<()> {
        for node in self.nodes.drain(..) {
            node.close(CLOSE)?;
        }
        Ok(())
    }

    /// Closes every member and removes what they wrote.
    pub(crate) fn remove(mut self) -> Outcome<()> {
        self.stop()?;
        Ok(fs::remove_dir_all(&self.dir)?)
    }

    /// The place of the leader, once all members agree on one.
    pub(crate) fn leader(&self) -> Outcome<usize> {
        let begun = Instant::now();
        loop {
            let seen: Vec<_> = self.nodes.iter().map(|node| node.status().leader).collect();
            let first = seen.first().copied().flatten();
            if first.is_some() && seen.iter().all(|leader| *leader == first) {
                let place = self.nodes.iter().position(|node| Some(node.id()) == first);
                return place.ok_or_else(|| "the leader is not a member".into());
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("no leader within {PATIENCE:?}").into());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The handles that callers are spread over.
    pub(crate) fn stores(&self) -> Outcome<Vec<Store>> {
        let leader = self.leader()?;
        let wanted = |place: usize| match self.via {
            Via::Leader => place == leader,
            Via::Follower => place != leader,
            Via::All => true,
        };
        let nodes = self.nodes.iter().enumerate();
        let stores: Vec<Store> =
            nodes.filter(|(place, _)| wanted(*place)).map(|(_, node)| node.store()).collect();
        if stores.is_empty() {
            return Err("there is no follower to talk to".into());
        }
        Ok(stores)
    }

    pub(crate) fn members(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn log(&self) -> &LogWatch {
        &self.log
    }

    /// Syncs of all logs since they were opened.
    pub(crate) fn syncs(&self) -> u64 {
        self.nodes.iter().map(|node| node.status().syncs).sum()
    }

    pub(crate) fn file_system(&self) -> String {
        machine::file_system(&self.dir)
    }

    /// Versions in the first member's memory that are not current.
    pub(crate) fn old_versions(&self) -> u64 {
        let status = self.nodes.first().map(quorate::Node::status);
        status.map_or(0, |status| status.versions.saturating_sub(status.keys))
    }

    /// The longest that removing has kept writers of the first member waiting so far.
    pub(crate) fn removal_pause(&self) -> Duration {
        self.nodes.first().map_or(Duration::ZERO, |node| node.status().removal_pause)
    }

    /// What the first member occupies on disk, and what it holds.
    pub(crate) fn disk(&self) -> Record {
        let mut record = Record::new();
        let Some(node) = self.nodes.first() else { return record };
        let status = node.status();
        let dir = self.dir.join(&status.name);
        let in_log = |path: &Path| path.components().any(|part| part.as_os_str() == "wal");
        record.set("wal_mb", machine::disk_mb(&dir, &in_log));
        record.set("snap_mb", machine::disk_mb(&dir, &|path| !in_log(path)));
        record.set("keys", status.keys);
        record.set("versions", status.versions);
        record
    }
}
