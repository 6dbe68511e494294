//! What a caller may not ask: a clear error each, and nothing changed.

use std::time::Duration;

use quorate::{Config, Error, KeyRange, LocalNetwork, Node, NodeId, Revision, WriteOutcome};

use super::cluster::Cluster;

#[track_caller]
fn says(error: &Error, parts: &[&str]) {
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    assert_eq!(error.outcome(), WriteOutcome::NotApplied, "{text}");
}

/// `SEL-4`, `SEL-10`, `KV-2`, `CMP-1`, `ERR-10`
#[test]
fn a_wrong_request_changes_nothing() {
    let cluster = Cluster::open_with(1, |_, config| config.max_request_bytes(2_048));
    let store = cluster.store(0);
    let now = store.put("k", "v").wait().unwrap().header.revision;
    let before = cluster.node(0).hash();

    for empty in [
        store.put("", "v").wait().map(drop),
        store.get("").wait().map(drop),
        store.delete("").wait().map(drop),
        store.range(KeyRange::key("")).wait().map(drop),
    ] {
        let error = empty.unwrap_err();
        assert!(error.is_invalid(), "{error}");
        says(&error, &["empty"]);
    }
    let error = store.put("k", vec![0; 2_048]).wait().unwrap_err();
    assert!(error.is_invalid() && error.is_too_large(), "{error}");
    says(&error, &["max_request_bytes", "2048"]);

    let future = Revision::new(now.get() + 1);
    for error in [
        store.get("k").at(future).wait().unwrap_err(),
        store.range(..).at(future).wait().unwrap_err(),
        store.compact(future).wait().unwrap_err(),
    ] {
        assert!(error.is_future_revision(), "{error}");
        says(&error, &[&future.to_string(), &now.to_string()]);
    }
    assert_eq!(cluster.node(0).status().revision, now);
    // Refused on the way or by the machine, it makes no difference to the data.
    assert_eq!(store.get("k").wait().unwrap().kv.unwrap().value(), b"v");
    assert_eq!(cluster.node(0).hash().revision, before.revision);
}

/// `CMP-1`, `KV-2`, `ERR-9`
#[test]
fn what_was_compacted_is_gone() {
    let cluster = Cluster::open(1);
    let store = cluster.store(0);
    let first = store.put("k", "one").wait().unwrap().header.revision;
    let second = store.put("k", "two").wait().unwrap().header.revision;
    store.compact(second).wait().unwrap();
    for error in [
        store.get("k").at(first).wait().unwrap_err(),
        store.range(..).at(first).wait().unwrap_err(),
        store.compact(first).wait().unwrap_err(),
        store.compact(second).wait().unwrap_err(),
    ] {
        assert!(error.is_compacted(), "{error}");
        assert_eq!(error.compacted_revision(), Some(second));
        says(&error, &["compacted", &second.to_string()]);
    }
}

/// `CFG-9`, `CFG-39`; the other rules are tested beside them.
#[test]
fn a_wrong_setting_leaves_nothing_on_disk() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("a");
    let config = Config::new("a", &dir)
        .initial_cluster([("a", "local:a")])
        .heartbeat_interval(Duration::from_millis(100))
        .election_timeout(Duration::from_millis(499));
    let network = LocalNetwork::new();
    let error = Node::open(config, network.endpoint(NodeId::new(1))).unwrap_err();
    assert!(error.is_config(), "{error}");
    says(&error, &["election_timeout", "499ms", "500ms"]);
    assert!(!dir.exists());
}
