//! Every rule, broken one at a time.

use super::*;

const MEMBERS: [(&str, &str); 3] =
    [("n1", "http://n1:1"), ("n2", "http://n2:1"), ("n3", "http://n3:1")];

fn good() -> Config {
    Config::new("n1", "data").initial_cluster(MEMBERS).cluster_token("tok")
}

/// Changes one knob and wants exactly this said about it.
#[track_caller]
fn breaks(change: impl FnOnce(Config) -> Config, text: &str) {
    let error = change(good()).validate().unwrap_err();
    assert!(error.is_config());
    assert_eq!(error.to_string(), text);
}

#[track_caller]
fn keeps(change: impl FnOnce(Config) -> Config) {
    change(good()).validate().unwrap();
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn the_defaults_are_valid_for_one_member_and_for_three() {
    keeps(|config| config);
    Config::new("a", "data").initial_cluster([("a", "here")]).validate().unwrap();
}

/// MEM-2, MEM-3: the vectors of the rules, which are etcd's own ids.
#[test]
fn ids_are_those_that_etcd_would_give() {
    let founding = good().founding().unwrap();
    let id = |name| founding.members.iter().find(|member| member.name == name).unwrap().id.get();
    assert_eq!(id("n1"), 1_001_782_367_932_460_303);
    assert_eq!(id("n2"), 1_088_181_163_392_690_592);
    assert_eq!(id("n3"), 17_159_977_820_337_813_462);
    assert_eq!(founding.cluster.get(), 11_524_436_730_432_810_691);
    assert_eq!(founding.node.get(), id("n1"));
}

/// MEM-2, MEM-3, CFG-13: what the ids follow from, and what they do not.
#[test]
fn ids_follow_from_addresses_and_token_alone() {
    let founding = good().founding().unwrap();
    let turned = good().initial_cluster(MEMBERS.into_iter().rev()).founding().unwrap();
    assert_eq!(turned, founding);
    let renamed = MEMBERS.map(|(name, address)| (name.replace('n', "m"), address));
    let renamed = Config::new("m1", "x").cluster_token("tok").initial_cluster(renamed);
    assert_eq!(renamed.cluster_id().unwrap(), founding.cluster);
    assert_eq!(renamed.node_id().unwrap(), founding.node);
    let other = good().cluster_token("other").founding().unwrap();
    assert_ne!(other.cluster, founding.cluster);
    assert_ne!(other.node, founding.node);
    let ids: Vec<_> = founding.members.iter().map(|member| member.id).collect();
    assert!(ids.is_sorted(), "MEM-5");
}

/// BST-2, CFG-11.
#[test]
fn the_list_of_members_has_rules() {
    breaks(
        |config| config.initial_cluster::<&str, &str>([]),
        "initial_cluster has 0 members: it must have at least 1, this one",
    );
    breaks(
        |config| config.initial_cluster([("n2", "x"), ("n3", "y")]),
        r#"initial_cluster names "n2", "n3": it must name "n1", which is the name of this member"#,
    );
    breaks(
        |config| config.initial_cluster([("n1", "x"), ("n2", "y"), ("n1", "z")]),
        r#"initial_cluster has the name "n1" twice: it must be there once"#,
    );
    breaks(
        |config| config.initial_cluster([("n1", "x"), ("n2", "y"), ("n3", "x")]),
        r#"initial_cluster has the address "x" twice: it must be there once"#,
    );
    breaks(
        |config| config.initial_cluster([("n1", "x"), ("", "y")]),
        "a name in initial_cluster is empty: it must be 1 to 255 bytes",
    );
    breaks(
        |config| config.initial_cluster([("n1", "x"), ("n2", "")]),
        r#"the address of "n2" in initial_cluster is empty: it must be 1 to 1024 bytes"#,
    );
    breaks(
        |config| config.initial_cluster([("n1", "x".repeat(1_025))]),
        r#"the address of "n1" in initial_cluster is 1025 bytes: it must be at most 1024 bytes"#,
    );
    let many = |count| (1..=count).map(|n| (format!("n{n}"), format!("x{n}")));
    keeps(|config| config.initial_cluster(many(32)));
    breaks(
        |config| config.initial_cluster(many(33)),
        "initial_cluster's count of members is 33: it must be at most 32",
    );
}

/// CFG-1, CFG-2, CFG-3, CFG-13.
#[test]
fn names_and_places_have_rules() {
    breaks(
        |config| Config { name: String::new(), ..config },
        "name is empty: it must be 1 to 255 bytes",
    );
    breaks(
        |config| Config { name: "n".repeat(256), ..config },
        "name is 256 bytes: it must be at most 255 bytes",
    );
    breaks(|config| config.cluster_token(""), "cluster_token is empty: it must be 1 to 255 bytes");
    breaks(
        |config| config.cluster_token("t".repeat(256)),
        "cluster_token is 256 bytes: it must be at most 255 bytes",
    );
    breaks(
        |config| Config { data_dir: PathBuf::new(), ..config },
        "data_dir is empty: it must name a directory",
    );
    breaks(|config| config.wal_dir(""), "wal_dir is empty: it must name a directory");
    breaks(|config| config.wal_dir("data/"), "wal_dir is data/: it must not be the data_dir");
    breaks(|config| config.wal_dir("./data"), "wal_dir is ./data: it must not be the data_dir");
    breaks(
        |config| config.wal_dir("data/snapshots"),
        "wal_dir is data/snapshots: the snapshots are in there",
    );
    keeps(|config| config.wal_dir("data/log"));
}

/// CFG-8, CFG-9.
#[test]
fn times_have_rules() {
    keeps(|config| config.heartbeat_interval(ms(2)).election_timeout(ms(10)));
    breaks(
        |config| config.heartbeat_interval(ms(1)),
        "heartbeat_interval is 1ms: it must be at least 2ms",
    );
    keeps(|config| config.election_timeout(ms(500)));
    breaks(
        |config| config.election_timeout(ms(499)),
        "election_timeout is 499ms: it must be at least 500ms, 5 times the heartbeat_interval",
    );
    breaks(
        |config| config.heartbeat_interval(Duration::MAX),
        &format!(
            "election_timeout is 1s: it must be at least {:?}, 5 times the heartbeat_interval",
            Duration::MAX
        ),
    );
    keeps(|config| config.election_timeout(ms(50_000)));
    breaks(
        |config| config.election_timeout(ms(50_001)),
        "election_timeout is 50.001s: it must be at most 50s",
    );
    breaks(
        |config| config.request_timeout(Duration::ZERO),
        "request_timeout is 0ns: it must be more than 0ns",
    );
}

/// CFG-4, CFG-5, CFG-7.
#[test]
fn snapshots_and_segments_have_rules() {
    keeps(|config| config.snapshot_count(1).snapshot_catchup_entries(0).max_snapshots(1));
    breaks(|config| config.snapshot_count(0), "snapshot_count is 0: it must be at least 1");
    keeps(|config| config.snapshot_log_bytes(1 << 20));
    breaks(
        |config| config.snapshot_log_bytes((1 << 20) - 1),
        "snapshot_log_bytes is 1048575 bytes: it must be at least 1048576 bytes, \
         the max_message_bytes",
    );
    breaks(
        |config| config.snapshot_catchup_entries(1_000_001),
        "snapshot_catchup_entries is 1000001: it must be at most 1000000",
    );
    keeps(|config| config.max_txn_ops(10_000));
    breaks(|config| config.max_txn_ops(0), "max_txn_ops is 0: it must be at least 1");
    breaks(|config| config.max_snapshots(0), "max_snapshots is 0: it must be at least 1");
    breaks(|config| config.max_snapshots(101), "max_snapshots is 101: it must be at most 100");
    keeps(|config| config.segment_bytes(64 << 10));
    breaks(
        |config| config.segment_bytes((64 << 10) - 1),
        "segment_bytes is 65535 bytes: it must be at least 65536 bytes",
    );
    keeps(|config| config.segment_bytes(1 << 30));
    breaks(
        |config| config.segment_bytes((1 << 30) + 1),
        "segment_bytes is 1073741825 bytes: it must be at most 1073741824 bytes",
    );
}

/// CFG-17, CFG-42, SEL-10.
#[test]
fn sizes_have_rules() {
    breaks(
        |config| config.max_message_bytes((64 << 10) - 1),
        "max_message_bytes is 65535 bytes: it must be at least 65536 bytes",
    );
    let lower = |config: Config| config.max_message_bytes(64 << 10).max_request_bytes(60 << 10);
    keeps(lower);
    let upper = |config: Config| config.max_message_bytes(64 << 20).max_pending_bytes(64 << 20);
    keeps(upper);
    breaks(
        |config| upper(config).max_message_bytes((64 << 20) + 1),
        "max_message_bytes is 67108865 bytes: it must be at most 67108864 bytes",
    );
    keeps(|config| config.max_request_bytes(1 << 10));
    breaks(
        |config| config.max_request_bytes((1 << 10) - 1),
        "max_request_bytes is 1023 bytes: it must be at least 1024 bytes",
    );
    breaks(
        |config| lower(config).max_request_bytes((60 << 10) + 1),
        "max_request_bytes is 61441 bytes: it must be at most 61440 bytes, \
         the max_message_bytes less 4 KiB",
    );
}

#[test]
fn queues_have_rules() {
    keeps(|config| config.max_pending_requests(1).max_inflight_appends(1));
    breaks(
        |config| config.max_pending_requests(0),
        "max_pending_requests is 0: it must be at least 1",
    );
    keeps(|config| config.max_pending_requests(65_536));
    breaks(
        |config| config.max_pending_requests(65_537),
        "max_pending_requests is 65537: it must be at most 65536",
    );
    keeps(|config| config.max_pending_bytes(1 << 20));
    breaks(
        |config| config.max_pending_bytes((1 << 20) - 1),
        "max_pending_bytes is 1048575 bytes: it must be at least 1048576 bytes, \
         the max_message_bytes",
    );
    breaks(
        |config| config.max_pending_bytes((1 << 31) + 1),
        "max_pending_bytes is 2147483649 bytes: it must be at most 2147483648 bytes",
    );
    breaks(
        |config| config.max_inflight_appends(0),
        "max_inflight_appends is 0: it must be at least 1",
    );
    breaks(
        |config| config.max_inflight_appends(4_097),
        "max_inflight_appends is 4097: it must be at most 4096",
    );
}

/// CFG-38.
#[test]
fn derived_values_follow() {
    let config = good();
    assert_eq!(config.tick(), ms(50));
    assert_eq!(config.election_ticks(), 20);
    assert_eq!(config.effective_request_timeout(), ms(7_000));
    assert_eq!(good().request_timeout(ms(9)).effective_request_timeout(), ms(9));
    let uneven = good().heartbeat_interval(ms(7)).election_timeout(ms(36));
    assert_eq!(uneven.election_ticks(), 11, "rounded up from 10.3");
    assert!(good().max_append_bytes() <= good().max_pending_bytes);
    assert_eq!(good().effective_wal_dir(), PathBuf::from("data/wal"));
    assert_eq!(good().wal_dir("log").effective_wal_dir(), PathBuf::from("log"));
}

/// CFG-41: a broken setting is told apart from a missing list.
#[test]
fn the_list_is_checked_after_the_settings() {
    let config = Config::new("n1", "data");
    config.check_settings().unwrap();
    assert!(config.validate().is_err());
}

/// CFG-39: a wrong setting is found before its directory is made.
#[test]
fn validation_touches_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("data");
    let config = Config::new("a", &dir).initial_cluster([("a", "x")]).snapshot_count(0);
    assert!(config.validate().is_err());
    assert!(!dir.exists());
}
