//! A network inside one process, for several nodes of it, with switches to break it.
//!
//! There is nothing between two nodes but a function call: `send` on one node's thread ends in
//! `deliver` of the other on the same thread. The switches belong to a *link*, which has a
//! direction: what `a` sends to `b` says nothing about what `b` sends to `a`.
//!
//! ```text
//!                        link a -> b
//!  node a                ┌───────────────────────────────┐              node b
//!  endpoint.send(b, ..) ─┤ cut? ─ one in n? ─ delay?     ├─ inbox of b ─ deliver(a, ..)
//!                        │  └ dropped ┘         │        │
//!                        └──────────────────────┼────────┘
//!                                     heap, by when it is due
//!                                     (thread `local-delay`)
//! ```
//!
//! What holds:
//!
//! - No lock is held while an inbox is called, so a node may send from within `deliver`.
//! - Nothing is drawn by lot: "one in `n`" counts, so the same sends meet the same fate.
//! - Nothing grows without bound: what is delayed has a limit, and beyond it is dropped, as a full
//!   queue of a real network would.
//!
//! What it is not: a simulator. Time and the order of threads are the machine's own.

mod delay;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use self::delay::{Delayer, Parcel};
use super::Inbox;
use crate::ids::NodeId;
use crate::time::nanos;
use crate::transport::{Lane, Peer, Transport};

/// A network for nodes of one process: for tests, examples, and services that keep all members
/// together. Clones are the same network.
///
/// Take an [`endpoint`](Self::endpoint) for each node, open the node with it, then
/// [`connect`](Self::connect) the node's inbox. Every link starts in order; the switches take
/// effect for what is sent from then on.
///
/// ```no_run
/// use quorate::{Config, LocalNetwork, Node};
///
/// # fn main() -> quorate::Result<()> {
/// let network = LocalNetwork::new();
/// let members = [("a", "addr-a"), ("b", "addr-b"), ("c", "addr-c")];
/// let mut nodes = Vec::new();
/// for (name, _) in members {
///     let config = Config::new(name, format!("/tmp/demo/{name}")).initial_cluster(members);
///     let node = Node::open(config.clone(), network.endpoint(config.node_id()?))?;
///     network.connect(node.inbox());
///     nodes.push(node);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct LocalNetwork {
    shared: Arc<Shared>,
}

/// One node's end of a [`LocalNetwork`]: the [`Transport`] to open it with.
pub struct LocalEndpoint {
    id: NodeId,
    shared: Arc<Shared>,
}

/// What has happened on one link so far, in envelopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkCounts {
    /// Handed to the receiver's inbox. One that was sent twice counts twice.
    pub sent: u64,
    /// Lost: the link was cut, it was the n-th, nobody was connected at the other end, or too
    /// much was waiting already.
    pub dropped: u64,
}

/// Where a node's envelopes go.
type Sink = Arc<dyn Fn(NodeId, Bytes) + Send + Sync>;

struct Shared {
    routes: Arc<Routes>,
    /// Started with the first envelope that is to be delayed; its thread ends with this.
    delayer: Mutex<Option<Delayer>>,
}

/// Who is there, and the state of every link. Apart from [`Shared`] because the delay thread
/// needs it and must not keep alive what joins it.
#[derive(Default)]
struct Routes(RwLock<Table>);

#[derive(Default)]
struct Table {
    /// Everybody who ever had an endpoint or an inbox here.
    known: BTreeSet<NodeId>,
    sinks: BTreeMap<NodeId, Sink>,
    /// By sender and receiver. Made when first named, never removed: a node that comes back finds
    /// its links as they were.
    links: BTreeMap<(NodeId, NodeId), Arc<Link>>,
}

/// One direction between two nodes.
#[derive(Debug, Default)]
struct Link {
    cut: AtomicBool,
    /// 0: no delay.
    delay_nanos: AtomicU64,
    drop: OneIn,
    duplicate: OneIn,
    sent: AtomicU64,
    dropped: AtomicU64,
}

/// Picks the n-th, the 2n-th and so on, counted from when `n` was set. 0: picks nothing.
#[derive(Debug, Default)]
struct OneIn {
    n: AtomicU64,
    seen: AtomicU64,
}

impl LocalNetwork {
    /// A network with nobody in it.
    ///
    /// ```
    /// let network = quorate::LocalNetwork::new();
    /// ```
    pub fn new() -> Self {
        let routes = Arc::new(Routes::default());
        Self { shared: Arc::new(Shared { routes, delayer: Mutex::new(None) }) }
    }

    /// The transport to open the node `id` with.
    ///
    /// ```
    /// use quorate::{LocalNetwork, NodeId};
    ///
    /// let network = LocalNetwork::new();
    /// let transport = network.endpoint(NodeId::new(1));
    /// ```
    pub fn endpoint(&self, id: NodeId) -> LocalEndpoint {
        self.shared.routes.0.write().known.insert(id);
        LocalEndpoint { id, shared: Arc::clone(&self.shared) }
    }

    /// Lets `inbox` receive what is sent to its node. An inbox that was connected for the same
    /// node before is replaced, which is what a node does that was closed and opened again.
    ///
    /// ```no_run
    /// # fn example(network: &quorate::LocalNetwork, node: &quorate::Node) {
    /// network.connect(node.inbox());
    /// # }
    /// ```
    pub fn connect(&self, inbox: Inbox) {
        let id = inbox.id();
        let deliver = move |from, envelope: Bytes| {
            // A refused envelope is a dropped one, and the node has counted it.
            drop(inbox.deliver(from, envelope));
        };
        self.attach(id, Arc::new(deliver));
    }

    /// Takes the inbox of `id` away: what is sent to it from now on is dropped.
    ///
    /// ```
    /// use quorate::{LocalNetwork, NodeId};
    ///
    /// let network = LocalNetwork::new();
    /// network.disconnect(NodeId::new(1)); // it was not there: nothing to do
    /// ```
    pub fn disconnect(&self, id: NodeId) {
        let taken = self.shared.routes.0.write().sinks.remove(&id);
        // Its last reference may go with it, and what runs then is not ours to run under a lock.
        drop(taken);
    }

    /// Drops everything that `from` sends to `to`, what is delayed on its way included.
    ///
    /// ```
    /// use quorate::{LocalNetwork, NodeId};
    ///
    /// let (a, b) = (NodeId::new(1), NodeId::new(2));
    /// let network = LocalNetwork::new();
    /// network.cut(a, b); // `b` still reaches `a`
    /// network.heal(a, b);
    /// ```
    pub fn cut(&self, from: NodeId, to: NodeId) {
        self.link(from, to).cut.store(true, Relaxed);
    }

    /// Puts the link in order again: neither cut nor delayed, nothing dropped, nothing repeated.
    ///
    /// ```
    /// # use quorate::{LocalNetwork, NodeId};
    /// # let (a, b) = (NodeId::new(1), NodeId::new(2));
    /// # let network = LocalNetwork::new();
    /// network.drop_one_in(a, b, 3);
    /// network.heal(a, b);
    /// ```
    pub fn heal(&self, from: NodeId, to: NodeId) {
        self.link(from, to).heal();
    }

    /// Cuts every link from `id` and to `id`, for all the nodes that have an endpoint by now.
    ///
    /// ```
    /// # use quorate::{LocalNetwork, NodeId};
    /// # let network = LocalNetwork::new();
    /// network.isolate(NodeId::new(1));
    /// network.heal_all();
    /// ```
    pub fn isolate(&self, id: NodeId) {
        let known = self.shared.routes.0.read().known.clone();
        for other in known.into_iter().filter(|&other| other != id) {
            self.cut(id, other);
            self.cut(other, id);
        }
    }

    /// Puts every link in order again, as [`heal`](Self::heal) does with one.
    ///
    /// ```
    /// # let network = quorate::LocalNetwork::new();
    /// network.heal_all();
    /// ```
    pub fn heal_all(&self) {
        self.shared.routes.0.read().links.values().for_each(|link| link.heal());
    }

    /// Holds back for `by` everything that `from` sends to `to` from now on. Zero: no delay.
    ///
    /// Envelopes that wait occupy memory: 64 MiB of them in the whole network, and what would
    /// exceed that is dropped. A delay that is made shorter lets later envelopes overtake earlier
    /// ones.
    ///
    /// ```
    /// # use quorate::{LocalNetwork, NodeId};
    /// # let (a, b) = (NodeId::new(1), NodeId::new(2));
    /// # let network = LocalNetwork::new();
    /// network.delay(a, b, std::time::Duration::from_millis(20));
    /// ```
    pub fn delay(&self, from: NodeId, to: NodeId, by: Duration) {
        self.link(from, to).delay_nanos.store(nanos(by), Relaxed);
    }

    /// Drops the `n`-th of what `from` sends to `to` from now on, and every `n`-th after it. 1
    /// drops everything, 0 nothing.
    ///
    /// ```
    /// # use quorate::{LocalNetwork, NodeId};
    /// # let (a, b) = (NodeId::new(1), NodeId::new(2));
    /// # let network = LocalNetwork::new();
    /// network.drop_one_in(a, b, 10);
    /// ```
    pub fn drop_one_in(&self, from: NodeId, to: NodeId, n: u64) {
        self.link(from, to).drop.set(n);
    }

    /// Hands over twice the `n`-th of what reaches `to` from `from` from now on, and every `n`-th
    /// after it. 1 repeats everything, 0 nothing.
    ///
    /// ```
    /// # use quorate::{LocalNetwork, NodeId};
    /// # let (a, b) = (NodeId::new(1), NodeId::new(2));
    /// # let network = LocalNetwork::new();
    /// network.duplicate_one_in(a, b, 10);
    /// ```
    pub fn duplicate_one_in(&self, from: NodeId, to: NodeId, n: u64) {
        self.link(from, to).duplicate.set(n);
    }

    /// What has happened so far to what `from` sent to `to`.
    ///
    /// ```
    /// # use quorate::{LocalNetwork, NodeId};
    /// # let (a, b) = (NodeId::new(1), NodeId::new(2));
    /// # let network = LocalNetwork::new();
    /// assert_eq!(network.counts(a, b).sent, 0);
    /// ```
    pub fn counts(&self, from: NodeId, to: NodeId) -> LinkCounts {
        let link = self.link(from, to);
        LinkCounts { sent: link.sent.load(Relaxed), dropped: link.dropped.load(Relaxed) }
    }

    fn attach(&self, id: NodeId, sink: Sink) {
        let replaced = {
            let mut table = self.shared.routes.0.write();
            table.known.insert(id);
            table.sinks.insert(id, sink)
        };
        drop(replaced); // not under the lock: see `disconnect`
    }

    fn link(&self, from: NodeId, to: NodeId) -> Arc<Link> {
        self.shared.routes.resolve(from, to).0
    }
}

impl Default for LocalNetwork {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for LocalNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.shared.routes.0.read();
        f.debug_struct("LocalNetwork")
            .field("connected", &table.sinks.keys())
            .field("links", &table.links)
            .finish()
    }
}

impl fmt::Debug for LocalEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalEndpoint").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Transport for LocalEndpoint {
    /// The lane makes no difference: there is no queue here to wait in.
    fn send(&self, to: NodeId, _lane: Lane, envelope: Bytes) {
        let (link, sink) = self.shared.routes.resolve(self.id, to);
        if link.is_cut() || link.drop.picks() {
            return link.count_dropped(1);
        }
        let copies = if link.duplicate.picks() { 2 } else { 1 };
        let delay = Duration::from_nanos(link.delay_nanos.load(Relaxed));
        if delay.is_zero() {
            return link.hand_over(sink, (self.id, envelope), copies);
        }
        let parcel = Parcel { link, from: self.id, to, envelope, copies };
        self.shared.delay(parcel, delay);
    }

    /// Nothing to prepare: everybody is found when first sent to.
    fn members_changed(&self, _peers: &[Peer]) {}
}

impl Shared {
    fn delay(&self, parcel: Parcel, by: Duration) {
        let mut slot = self.delayer.lock();
        if slot.is_none() {
            *slot = Delayer::start(Arc::clone(&self.routes)).ok();
        }
        let refused = match slot.as_ref() {
            Some(delayer) => delayer.push(by, parcel).err(),
            // The system gives no thread: what cannot be delayed is lost.
            None => Some(parcel),
        };
        if let Some(parcel) = refused {
            parcel.link.count_dropped(parcel.copies);
        }
    }
}

impl Routes {
    /// The link, and where its envelopes go if anybody is there: one shared lock, two counts.
    fn resolve(&self, from: NodeId, to: NodeId) -> (Arc<Link>, Option<Sink>) {
        let table = self.0.read();
        if let Some(link) = table.links.get(&(from, to)) {
            return (Arc::clone(link), table.sinks.get(&to).cloned());
        }
        drop(table);
        let mut table = self.0.write();
        let link = Arc::clone(table.links.entry((from, to)).or_default());
        (link, table.sinks.get(&to).cloned())
    }

    /// The way of a parcel whose time has come.
    fn arrive(&self, parcel: Parcel) {
        let (link, sink) = self.resolve(parcel.from, parcel.to);
        if link.is_cut() {
            return link.count_dropped(parcel.copies);
        }
        link.hand_over(sink, (parcel.from, parcel.envelope), parcel.copies);
    }
}

impl Link {
    fn is_cut(&self) -> bool {
        self.cut.load(Relaxed)
    }

    fn heal(&self) {
        self.cut.store(false, Relaxed);
        self.delay_nanos.store(0, Relaxed);
        self.drop.set(0);
        self.duplicate.set(0);
    }

    fn count_dropped(&self, envelopes: u64) {
        self.dropped.fetch_add(envelopes, Relaxed);
    }

    /// The caller holds no lock: whatever runs inside may send again.
    fn hand_over(&self, sink: Option<Sink>, (from, envelope): (NodeId, Bytes), copies: u64) {
        let Some(sink) = sink else { return self.count_dropped(copies) };
        for _ in 1..copies {
            self.sent.fetch_add(1, Relaxed);
            sink(from, envelope.clone());
        }
        self.sent.fetch_add(1, Relaxed);
        sink(from, envelope);
    }
}

impl OneIn {
    fn set(&self, n: u64) {
        self.seen.store(0, Relaxed);
        self.n.store(n, Relaxed);
    }

    /// Counts one more; is it the n-th?
    fn picks(&self) -> bool {
        match self.n.load(Relaxed) {
            0 => false,
            n => self.seen.fetch_add(1, Relaxed).wrapping_add(1).is_multiple_of(n),
        }
    }
}
