//! Envelopes that no member sent: refused, counted, and without any effect.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use quorate::{Lane, LocalEndpoint, Node, NodeId, Peer, Transport};

use super::cluster::Cluster;

/// Keeps a copy of everything that is sent.
struct Recorder {
    endpoint: LocalEndpoint,
    sent: Arc<Mutex<Vec<(NodeId, Bytes)>>>,
}

impl Transport for Recorder {
    fn send(&self, to: NodeId, lane: Lane, envelope: Bytes) {
        self.sent.lock().push((to, envelope.clone()));
        self.endpoint.send(to, lane, envelope);
    }

    fn members_changed(&self, peers: &[Peer]) {
        self.endpoint.members_changed(peers);
    }
}

/// Three members, and what the last of them has sent to the first: heartbeats, votes, entries,
/// read rounds, forwarded writes, whatever there was.
fn recorded(token: &str) -> (Cluster, Vec<Bytes>) {
    let mut cluster = Cluster::closed(3, |_, config| config.cluster_token(token));
    cluster.reopen(0);
    cluster.reopen(1);
    let sent = Arc::new(Mutex::new(Vec::new()));
    let endpoint = cluster.network.endpoint(cluster.id(2));
    let recorder = Recorder { endpoint, sent: Arc::clone(&sent) };
    cluster.adopt(2, Node::open(cluster.config(2), recorder).unwrap());
    for leader in [0, 2] {
        let now = cluster.leader();
        cluster.node(now).transfer_leader(cluster.id(leader)).wait().unwrap();
        cluster.store(2).put("k", "v").wait().unwrap();
        cluster.store(2).get("k").wait().unwrap();
    }
    let to = cluster.id(0);
    let mut envelopes: Vec<_> =
        sent.lock().iter().filter(|sent| sent.0 == to).map(|sent| sent.1.clone()).collect();
    // The same sizes are mostly the same kinds; a few dozen are enough to damage in every way.
    envelopes.sort_by_key(Bytes::len);
    envelopes.dedup_by_key(|envelope| envelope.len());
    assert!(envelopes.len() >= 3, "{envelopes:?}");
    (cluster, envelopes)
}

#[test]
fn a_damaged_envelope_is_refused() {
    let (cluster, envelopes) = recorded("one");
    let (node, from) = (cluster.node(0), cluster.id(2));
    let before = (cluster.hashes(), node.status().dropped_envelopes);
    let mut refused = 0;
    let mut refuse = |bytes: Vec<u8>, what: String| {
        let error = node.deliver(from, bytes).expect_err(&what);
        assert!(!error.to_string().is_empty() && !error.is_halted(), "{what}: {error:?}");
        refused += 1;
    };
    for envelope in &envelopes {
        let size = envelope.len();
        for length in 0..size {
            refuse(envelope[..length].to_vec(), format!("{length} bytes of {size}"));
        }
        for bit in 0..size * 8 {
            let mut bytes = envelope.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            refuse(bytes, format!("bit {bit} of {size} bytes flipped"));
        }
        refuse([envelope, &b"more"[..]].concat(), format!("{size} bytes and more"));
    }
    assert_eq!(node.status().dropped_envelopes, before.1 + refused);
    assert_eq!(cluster.hashes(), before.0);
    assert_eq!(node.status().halted, None);
}

#[test]
fn an_envelope_for_somebody_else_is_refused() {
    let (cluster, envelopes) = recorded("one");
    let (_other, foreign) = recorded("two");
    let before = cluster.hashes();
    for envelope in &envelopes {
        let error = cluster.node(0).deliver(cluster.id(1), envelope.clone()).unwrap_err();
        assert!(error.is_invalid(), "it is not from there: {error:?}");
        let error = cluster.node(1).deliver(cluster.id(2), envelope.clone()).unwrap_err();
        assert!(error.is_invalid(), "it is not for this member: {error:?}");
    }
    for envelope in &foreign {
        let error = cluster.node(0).deliver(cluster.id(2), envelope.clone()).unwrap_err();
        assert!(error.is_foreign(), "{error:?}");
    }
    assert_eq!(cluster.hashes(), before);
}

/// The network may repeat whatever it likes, as late as it likes.
#[test]
fn an_old_envelope_changes_nothing() {
    let (cluster, envelopes) = recorded("one");
    let before = cluster.store(0).get("k").wait().unwrap();
    for envelope in envelopes.iter().chain(envelopes.iter().rev()) {
        cluster.node(0).deliver(cluster.id(2), envelope.clone()).unwrap();
    }
    let after = cluster.store(0).get("k").wait().unwrap();
    assert_eq!((after.kv, after.header.revision), (before.kv, before.header.revision));
    cluster.assert_same_everywhere();
}

/// A member that comes back without its disk is not the member that voted (design 4.2).
#[test]
fn a_member_without_its_disk_is_not_heard() {
    let mut cluster = Cluster::open(3);
    let lost = cluster.follower();
    cluster.store(lost).put("k", "v").wait().unwrap();
    cluster.hashes();
    drop(cluster.take(lost));
    std::fs::remove_dir_all(cluster.dir(lost)).unwrap();
    cluster.reopen(lost);
    let error = cluster.store(lost).get("k").wait_timeout(std::time::Duration::from_secs(1));
    assert!(error.unwrap_err().is_timeout());
    let others: Vec<_> = (0..3).filter(|member| *member != lost).collect();
    cluster.store(others[0]).put("k", "w").wait().unwrap();
    let dropped = |member: &usize| cluster.node(*member).status().dropped_identities;
    assert!(others.iter().map(dropped).sum::<u64>() > 0);
    assert_eq!(cluster.node(lost).status().keys, 0);
}
