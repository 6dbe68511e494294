//! The owner of a running member.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;

use crate::config::Config;
use crate::core::replica::Replica;
use crate::error::{Error, Kind, Result};
use crate::gate::{Gate, Request, Then};
use crate::ids::NodeId;
use crate::service::TransferLeader;
use crate::store::Store;
use crate::sync::atomic::Ordering;
use crate::sync::oneshot;
use crate::time::Instant;
use crate::transport::Transport;

use super::open::{self, Opened};
use super::shared::Shared;
use super::status::{StateHash, Status};
use super::threads::Threads;

/// How long a node that is dropped, not closed, may take to end.
const DROP_DEADLINE: Duration = Duration::from_secs(10);

/// A running member of a cluster: opens a directory, takes part, and closes it again.
///
/// The node is the owner; [`Store`] handles are cheap and outlive it harmlessly (they answer that
/// the node is closed). Several nodes, of one cluster or of many, live in one process without
/// knowing of each other.
///
/// ```no_run
/// use quorate::{Config, LocalNetwork, Node};
/// use std::time::Duration;
///
/// # fn main() -> quorate::Result<()> {
/// let config = Config::new("a", "/var/lib/app/a").initial_cluster([("a", "here")]);
/// let network = LocalNetwork::new();
/// let node = Node::open(config.clone(), network.endpoint(config.node_id()?))?;
/// network.connect(node.inbox());
///
/// node.store().put("greeting", "hello").wait()?;
/// node.close(Duration::from_secs(5))
/// # }
/// ```
pub struct Node {
    shared: Arc<Shared>,
    name: String,
    /// `None` once closed.
    threads: Option<Threads>,
}

impl Node {
    /// Opens a member: recovers what its directory holds, or bootstraps an empty one (`BST-1`,
    /// `BST-2`), and starts to take part.
    ///
    /// Blocks for as long as recovery reads; it waits for no other member.
    ///
    /// ```no_run
    /// # fn example(transport: impl quorate::Transport) -> quorate::Result<()> {
    /// use quorate::{Config, Node};
    ///
    /// let config = Config::new("a", "/var/lib/app/a").initial_cluster([("a", "here")]);
    /// let node = Node::open(config, transport)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`is_config`](Error::is_config) for settings that break a rule, before anything is
    /// touched; [`is_locked`](Error::is_locked) when another process has the directory;
    /// [`is_foreign`](Error::is_foreign), [`is_newer_format`](Error::is_newer_format) and
    /// [`is_corrupt`](Error::is_corrupt) for what is in it; [`is_io`](Error::is_io) when the
    /// operating system refuses.
    pub fn open(config: Config, transport: impl Transport) -> Result<Self> {
        Self::run(open::open(config, Box::new(transport))?)
    }

    /// Gives a member its threads.
    pub(super) fn run(opened: Opened) -> Result<Self> {
        let Opened { shared, name, parker, snapshotter, patience, lock } = opened;
        let mut node = Self { shared, name, threads: Some(Threads::new(lock)) };
        if let Some(threads) = &mut node.threads {
            // On failure the drop ends those that were started.
            threads.start(&node.shared, parker, snapshotter, patience)?;
        }
        Ok(node)
    }

    /// This member's id.
    ///
    /// ```no_run
    /// # fn example(node: quorate::Node) {
    /// let leads = node.status().leader == Some(node.id());
    /// # }
    /// ```
    pub fn id(&self) -> NodeId {
        self.shared.address.node
    }

    /// A handle to the data.
    ///
    /// ```no_run
    /// # fn example(node: quorate::Node) -> quorate::Result<()> {
    /// let store = node.store();
    /// std::thread::spawn(move || store.put("color", "green").wait());
    /// # Ok(())
    /// # }
    /// ```
    pub fn store(&self) -> Store {
        Store::new(Arc::clone(&self.shared) as Arc<dyn Gate>)
    }

    /// What a transport delivers into. Holding it does not keep the node open.
    ///
    /// ```no_run
    /// # fn example(network: quorate::LocalNetwork, node: quorate::Node) -> quorate::Result<()> {
    /// network.connect(node.inbox());
    /// # Ok(())
    /// # }
    /// ```
    pub fn inbox(&self) -> Inbox {
        Inbox { id: self.id(), shared: Arc::downgrade(&self.shared) }
    }

    /// Takes an envelope that arrived from `from`. See [`Inbox::deliver`].
    ///
    /// ```no_run
    /// # fn example(node: quorate::Node, from: quorate::NodeId, bytes: bytes::Bytes) {
    /// if let Err(error) = node.deliver(from, bytes) {
    ///     println!("{from} sent something strange: {error}");
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Inbox::deliver`].
    pub fn deliver(&self, from: NodeId, envelope: impl Into<Bytes>) -> Result<()> {
        self.shared.deliver(from, envelope.into())
    }

    /// Says that the connection to a peer broke. See [`Inbox::report_unreachable`].
    ///
    /// ```no_run
    /// # fn example(node: quorate::Node, peer: quorate::NodeId) {
    /// node.report_unreachable(peer);
    /// # }
    /// ```
    pub fn report_unreachable(&self, peer: NodeId) {
        self.shared.unreachable(peer);
    }

    /// Hands leadership to another member (`MEM-25`).
    ///
    /// ```no_run
    /// # fn example(node: quorate::Node, other: quorate::NodeId) -> quorate::Result<()> {
    /// node.transfer_leader(other).wait()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn transfer_leader(&self, to: NodeId) -> TransferLeader {
        let gate: Arc<dyn Gate> = Arc::clone(&self.shared) as Arc<dyn Gate>;
        TransferLeader::new(&gate, to)
    }

    /// A moment's view of this member; needs no quorum (`MNT-1`).
    ///
    /// ```no_run
    /// # fn example(node: quorate::Node) -> quorate::Result<()> {
    /// let status = node.status();
    /// println!("{} is {} at revision {}", status.name, status.role, status.revision);
    /// # Ok(())
    /// # }
    /// ```
    pub fn status(&self) -> Status {
        Status::of(&self.shared, &self.name)
    }

    /// A hash of the whole state, with the revision and the log index that it is of. Members with
    /// equal indexes have equal hashes (`INV-11`).
    ///
    /// Goes through all of the data on the calling thread; the node goes on meanwhile.
    ///
    /// ```no_run
    /// # fn example(one: quorate::Node, other: quorate::Node) -> quorate::Result<()> {
    /// let (here, there) = (one.hash(), other.hash());
    /// assert!(here.applied != there.applied || here == there);
    /// # Ok(())
    /// # }
    /// ```
    pub fn hash(&self) -> StateHash {
        StateHash::of(&self.shared)
    }

    /// Ends the member: leadership goes to another voter if there is one to take it (`LIN-14`),
    /// every pending call is answered, every thread is joined, every file is closed. The
    /// directory can be opened again at once.
    ///
    /// ```no_run
    /// # fn example(node: quorate::Node) -> quorate::Result<()> {
    /// node.close(std::time::Duration::from_secs(5))
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`is_timeout`](Error::is_timeout) when a thread was still in the disk at the deadline: it
    /// ends by itself when the disk lets it, and the directory stays locked until then.
    /// [`is_halted`](Error::is_halted) when the node had halted before; it is closed all the same.
    pub fn close(mut self, deadline: Duration) -> Result<()> {
        let until = self.shared.clock.now().after(deadline);
        self.hand_over(deadline / 4);
        self.end(until)?;
        match self.shared.halted.get() {
            Some(_) => Err(self.shared.ending()),
            None => Ok(()),
        }
    }

    /// Lets another voter lead, if this one does.
    fn hand_over(&self, timeout: Duration) {
        let Some(to) = self.shared.look(Replica::successor) else { return };
        let (reply, answer) = oneshot::channel();
        if self.shared.submit(Request::Transfer { to, timeout, reply }, Then::Leave).is_ok() {
            // Whether it went well makes no difference: the others elect one if not.
            drop(answer.recv_timeout(timeout));
        }
    }

    fn end(&mut self, until: Instant) -> Result<()> {
        let Some(threads) = self.threads.take() else { return Ok(()) };
        let clock = self.shared.clock;
        self.shared.stop();
        let joined = threads.join(until.since(clock.now()));
        self.shared.abandon();
        let closed = self.shared.log.close(until.since(clock.now()));
        joined.and(closed)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Err(error) = self.end(self.shared.clock.now().after(DROP_DEADLINE)) {
            tracing::warn!(%error, "a dropped node did not end in time");
        }
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("name", &self.name).field("id", &self.id()).finish()
    }
}

/// Where a transport puts what arrives for a node. Cheap to clone; does not keep the node open.
#[derive(Clone)]
pub struct Inbox {
    id: NodeId,
    shared: Weak<Shared>,
}

impl Inbox {
    /// The member that it belongs to.
    ///
    /// ```no_run
    /// # fn example(inbox: quorate::Inbox) {
    /// println!("listening for member {}", inbox.id());
    /// # }
    /// ```
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Takes an envelope that arrived from `from`, and usually acts on it before it returns: the
    /// calling thread drives the node if no other does. It waits for no disk and no lock, and it
    /// may call [`Transport::send`]. Envelopes that do not fit into the bounded mailbox are
    /// dropped, as a network would.
    ///
    /// ```no_run
    /// # fn example(inbox: quorate::Inbox, from: quorate::NodeId, bytes: bytes::Bytes) {
    /// if inbox.deliver(from, bytes).is_err_and(|error| error.is_closed()) {
    ///     println!("stop listening");
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// What was wrong with the envelope: [`is_newer_format`](Error::is_newer_format),
    /// [`is_corrupt`](Error::is_corrupt) for changed bytes, [`is_foreign`](Error::is_foreign)
    /// for another cluster, [`is_invalid`](Error::is_invalid) for anything else. It has been
    /// dropped and counted; a transport need not do anything about it. And
    /// [`is_closed`](Error::is_closed) or [`is_halted`](Error::is_halted) when the node takes
    /// nothing any more.
    pub fn deliver(&self, from: NodeId, envelope: impl Into<Bytes>) -> Result<()> {
        match self.shared.upgrade() {
            Some(shared) => shared.deliver(from, envelope.into()),
            None => Err(Error::new(Kind::Closed, "the node is closed")),
        }
    }

    /// Says that the connection to a peer broke: once for each loss, not for each envelope. What
    /// was on its way is sent again sooner.
    ///
    /// ```no_run
    /// # fn example(inbox: quorate::Inbox, peer: quorate::NodeId) {
    /// inbox.report_unreachable(peer);
    /// # }
    /// ```
    pub fn report_unreachable(&self, peer: NodeId) {
        if let Some(shared) = self.shared.upgrade() {
            shared.unreachable(peer);
        }
    }
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Shared {
    /// Lets the threads end.
    pub(super) fn stop(&self) {
        self.end();
        self.closing.store(true, Ordering::Release);
        self.log.stop();
        self.jobs.stop();
        self.node_thread.unpark();
    }
}
