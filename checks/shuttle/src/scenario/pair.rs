//! Two nodes of one process that deliver to each other on whatever thread drives them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use shuttle::future::block_on;

use super::super::shared::Shared;
use super::disk::Disk;
use super::lone::{Lone, config};
use super::{TICK, all_answered, end, start, told, while_time_passes};
use crate::core::replica::Replica;
use crate::sync::{self, time};
use crate::{Lane, Node, NodeId, Peer, Store, Transport};

/// Who is there. Its lock is held for a look: nobody meets another thread under it.
type Wires = Arc<Mutex<BTreeMap<NodeId, Weak<Shared>>>>;

/// Delivers on the thread that sends, and says at once when nobody takes it.
struct Wire {
    from: NodeId,
    wires: Wires,
}

impl Wire {
    fn end_of(&self, id: NodeId) -> Option<Arc<Shared>> {
        let wires = self.wires.lock().unwrap_or_else(PoisonError::into_inner);
        wires.get(&id).and_then(Weak::upgrade)
    }
}

impl Transport for Wire {
    fn send(&self, to: NodeId, _lane: Lane, envelope: Bytes) {
        let taken = self.end_of(to).is_some_and(|there| there.deliver(self.from, envelope).is_ok());
        if !taken && let Some(here) = self.end_of(self.from) {
            here.unreachable(to);
        }
    }

    fn members_changed(&self, _peers: &[Peer]) {}
}

/// Begins a run with two members, one of which leads.
fn pair() -> [Lone; 2] {
    sync::begin();
    let wires = Wires::default();
    let nodes = ["a", "b"].map(|name| {
        let disk = Disk::default();
        let config = config(name, &["a", "b"], &disk);
        let from = config.node_id().expect("it is good");
        let wire = Wire { from, wires: Arc::clone(&wires) };
        let lone = Lone::open(&disk, config, Box::new(wire));
        let mut wires = wires.lock().unwrap_or_else(PoisonError::into_inner);
        wires.insert(from, Arc::downgrade(&lone.shared));
        drop(wires);
        lone
    });
    while !nodes.iter().all(|node| {
        let status = node.shared.look(|replica| replica.status());
        status.leader.is_some() && status.commit == status.last_index
    }) {
        time::pass(TICK);
        nodes.iter().for_each(Lone::settle);
    }
    nodes
}

/// Writes and reads at both: each goes to the other and back, on many threads at once, and no time
/// passes that could cover up for a loss.
pub fn both_serve() {
    let pair = pair();
    let disks = pair.each_ref().map(|node| node.disk.clone());
    let stores = pair.each_ref().map(Lone::store);
    let nodes = pair.map(Lone::run);
    let writes = stores.each_ref().map(|store| {
        let store = store.clone();
        start(move || drop(store.put("a", "v").wait().expect("both are there")))
    });
    let reads =
        stores.map(|store| start(move || drop(block_on(store.get("a")).expect("both are there"))));
    writes.into_iter().chain(reads).for_each(end);
    all_answered(0);
    // Not closed, which takes time: dropped, which hands nothing over.
    drop(nodes);
    disks.iter().for_each(Disk::check);
}

/// How long a leader that closes waits for the other is a quarter of it. Long enough for threads
/// that others go before.
const DEADLINE: Duration = Duration::from_secs(20);

/// A caller at one of two of which the other closes, or its own.
fn calls(store: &Store) {
    if let Err(error) = told(store.put("a", "v").wait_timeout(Duration::from_secs(1))) {
        let gone = error.is_timeout() || error.is_unavailable() || error.is_closed();
        assert!(gone, "{error:?}");
    }
}

/// The leader closes while both are asked.
pub fn the_leader_closes() {
    closes(|[leader, other]| {
        leader.close(DEADLINE).expect("it is well");
        Some(other)
    });
}

/// Both close at once, each on a thread of its own: what they still have to say to each other
/// meets nodes that are half gone.
pub fn both_close() {
    closes(|nodes| {
        let closing = nodes.map(|node| start(move || node.close(DEADLINE)));
        closing.into_iter().for_each(|closes| end(closes).expect("it is well"));
        None
    });
}

fn closes(close: impl FnOnce([Node; 2]) -> Option<Node> + Send + 'static) {
    let mut pair = pair();
    if pair[1].shared.look(Replica::successor).is_some() {
        pair.swap(0, 1);
    }
    let disks = pair.each_ref().map(|node| node.disk.clone());
    let stores = pair.each_ref().map(Lone::store);
    let nodes = pair.map(Lone::run);
    while_time_passes(move || {
        let callers = stores.map(|store| start(move || calls(&store)));
        let left = close(nodes);
        callers.into_iter().for_each(end);
        drop(left);
    });
    assert!(disks.iter().all(Disk::is_free), "a directory is still held");
    disks.iter().for_each(Disk::check);
}
