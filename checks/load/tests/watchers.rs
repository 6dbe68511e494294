//! What an idle watcher takes: a hundred thousand of as many keys, in one set.
//!
//! Everything that there is for one is counted: the key, the entry that finds it, what the node
//! knows, and what the set keeps. Resident memory is what the system says. Nothing else happens in
//! this process meanwhile, and the allocator gives nothing back, so that what is counted is rather
//! too much.
#![allow(clippy::disallowed_methods, reason = "a test: it reads what the system says")]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test says, and may fail by panic")]

use quorate::{Config, KeyRange, LocalNetwork, Node, WatchUpdate};

const WATCHERS: u64 = 100_000;

/// At most so many bytes for each: 50 MB for all.
const MOST_BYTES: u64 = 500;

fn key(number: u64) -> String {
    format!("tenant/{number:06}/config")
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "only Linux says what is resident in this way")]
fn a_hundred_thousand_idle_watchers_take_less_than_50_mb() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new("solo", dir.path()).initial_cluster([("solo", "here")]);
    let network = LocalNetwork::new();
    let node = Node::open(config.clone(), network.endpoint(config.node_id().unwrap())).unwrap();
    let store = node.store();
    store.put("warm", "up").wait().unwrap();
    let mut set = store.watch_set();
    // What the first one alone makes, and what waits for it.
    set.add(store.watch(KeyRange::prefix("warm"))).unwrap();
    assert!(set.try_next().unwrap().is_none());

    let before = resident();
    for number in 0..WATCHERS {
        set.add(store.watch(key(number))).unwrap();
    }
    assert!(set.try_next().unwrap().is_none(), "all of them sleep");
    let bytes = (resident() - before) / WATCHERS;
    println!("{bytes} bytes for each idle watcher");

    let last = key(WATCHERS - 1);
    store.put(last.clone(), "now").wait().unwrap();
    let Some(WatchUpdate::Batch(_, batch)) = set.try_next().unwrap() else { panic!("no event") };
    assert_eq!(batch.events().first().unwrap().key(), last.as_bytes());
    assert!(bytes <= MOST_BYTES, "{bytes} bytes for each");
}
