//! A member before it has threads: opened, driven by hand, and then given to those of a scenario.

use std::sync::Arc;
use std::time::Duration;

use super::super::open::{self, Opened};
use super::super::shared::Shared;
use super::PATIENCE;
use super::disk::Disk;
use crate::core::machine::txn::Put;
use crate::core::machine::{Command, Outcome};
use crate::gate::{Gate, Request, Then};
use crate::store::Store;
use crate::sync::oneshot::{self, Receiver};
use crate::{Config, Lane, Node, NodeId, Peer, Result, Transport, sync};

/// Nobody is there to be sent to.
struct Nobody;

impl Transport for Nobody {
    fn send(&self, _to: NodeId, _lane: Lane, _envelope: bytes::Bytes) {}

    fn members_changed(&self, _peers: &[Peer]) {}
}

pub(super) struct Lone {
    pub(super) shared: Arc<Shared>,
    pub(super) disk: Disk,
    opened: Opened,
}

/// The settings of the member `name` of these.
pub(super) fn config(name: &str, members: &[&str], disk: &Disk) -> Config {
    Config::new(name, format!("/{name}"))
        .initial_cluster(members.iter().map(|member| (*member, *member)))
        .segment_bytes(64 << 10)
        .election_seed(1)
        .request_timeout(PATIENCE)
        .vfs(Arc::new(disk.clone()))
}

impl Lone {
    /// Begins a run with a member that is alone in its cluster, leads, and owes nobody anything.
    pub(super) fn lead() -> Self {
        Self::lead_with(|config| config)
    }

    pub(super) fn lead_with(set: impl FnOnce(Config) -> Config) -> Self {
        sync::begin();
        let disk = Disk::default();
        Self::lead_on(&disk, set(config("a", &["a"], &disk)))
    }

    /// As [`lead`](Self::lead) within a run, on files that may be there.
    pub(super) fn lead_again(disk: &Disk) -> Self {
        Self::lead_on(disk, config("a", &["a"], disk))
    }

    fn lead_on(disk: &Disk, config: Config) -> Self {
        let lone = Self::open(disk, config, Box::new(Nobody));
        while !lone.shared.leads_alone() || lone.shared.mailbox.is_filled() {
            lone.settle();
        }
        lone
    }

    /// Begins a run with one of two members, whose other is not there.
    pub(super) fn half() -> Self {
        sync::begin();
        let disk = Disk::default();
        Self::open(&disk, config("a", &["a", "b"], &disk), Box::new(Nobody))
    }

    pub(super) fn open(disk: &Disk, config: Config, transport: Box<dyn Transport>) -> Self {
        let opened = open::open(config, transport).expect("the directory is good");
        Self { shared: Arc::clone(&opened.shared), disk: disk.clone(), opened }
    }

    /// Gives it its threads.
    pub(super) fn run(self) -> Node {
        Node::run(self.opened).expect("there are threads")
    }

    /// Does on this thread what there is to do.
    pub(super) fn settle(&self) {
        Shared::drive(&self.shared);
        while self.shared.log.work(&self.shared).expect("the disk is well") {
            Shared::drive(&self.shared);
        }
    }

    pub(super) fn store(&self) -> Store {
        Store::new(Arc::clone(&self.shared) as Arc<dyn Gate>)
    }
}

/// Posts a question that needs no disk.
pub(super) fn ask(shared: &Shared, then: Then) -> Result<Receiver<Result<()>>> {
    let (reply, answer) = oneshot::channel();
    shared.submit(Request::Read { timeout: PATIENCE, reply }, then)?;
    Ok(answer)
}

/// Posts a write.
pub(super) fn write(
    shared: &Shared,
    then: Then,
    timeout: Duration,
) -> Result<Receiver<Result<Outcome>>> {
    let (key, value) = (b"k"[..].into(), b"v"[..].into());
    let payload = Command::Put(Put::new(key, value)).encode();
    let (reply, answer) = oneshot::channel();
    shared.submit(Request::Write { payload, timeout, reply }, then)?;
    Ok(answer)
}
