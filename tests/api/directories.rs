//! Directories that cannot be opened: which, why, and left as they were.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use quorate::{Config, Error, LocalNetwork, Node};

use super::cluster::{Cluster, PATIENCE, value};
use super::faults::FaultyDisk;

/// A directory that a node has been in, closed.
fn used() -> Cluster {
    let mut cluster = Cluster::open(1);
    cluster.store(0).put("k", "v").wait().unwrap();
    cluster.close(0);
    cluster
}

fn open(config: &Config) -> Result<Node, Error> {
    let network = LocalNetwork::new();
    Node::open(config.clone(), network.endpoint(config.node_id()?))
}

/// Every file below and what it holds.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    found
}

/// Opening fails, names what it is about, and changes nothing.
#[track_caller]
fn refused(cluster: &Cluster, config: &Config, names: &[&str]) -> Error {
    let before = contents(&cluster.dir(0));
    let error = open(config).map(drop).expect_err("it opened");
    assert!(contents(&cluster.dir(0)) == before, "something was changed: {error}");
    for name in names {
        assert!(error.to_string().contains(name), "{name:?} is not in {error}");
    }
    error
}

fn segment(cluster: &Cluster) -> PathBuf {
    let mut files = contents(&cluster.dir(0)).into_keys();
    files.rfind(|path| path.extension().is_some_and(|end| end == "wal")).unwrap()
}

#[test]
fn of_another_cluster() {
    let cluster = used();
    let config = cluster.config(0).cluster_token("another");
    assert!(refused(&cluster, &config, &["identity"]).is_foreign());
}

#[test]
fn of_another_member() {
    let mut cluster = Cluster::open(3);
    cluster.leader();
    (0..3).for_each(|member| drop(cluster.take(member)));
    let config = Config::new("b", cluster.dir(0)).initial_cluster([
        ("a", "local:a"),
        ("b", "local:b"),
        ("c", "local:c"),
    ]);
    assert!(refused(&cluster, &config, &["identity"]).is_foreign());
}

/// `BST-12`
#[test]
fn of_a_newer_format() {
    let cluster = used();
    let path = cluster.dir(0).join("identity");
    let mut bytes = fs::read(&path).unwrap();
    // The version behind the magic; the checksum at the end of the sector.
    bytes[8..12].copy_from_slice(&99_u32.to_le_bytes());
    let checksum = crc32fast::hash(&bytes[..508]);
    bytes[508..512].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let error = refused(&cluster, &cluster.config(0), &["identity", "99"]);
    assert!(error.is_newer_format(), "{error:?}");
}

/// `BST-5`
#[test]
fn half_deleted() {
    let cluster = used();
    fs::remove_file(cluster.dir(0).join("identity")).unwrap();
    assert!(refused(&cluster, &cluster.config(0), &["identity", "missing"]).is_corrupt());

    let cluster = used();
    fs::remove_dir_all(cluster.dir(0).join("wal")).unwrap();
    // The log's directory is made and locked again before it is found to be empty.
    fs::create_dir(cluster.dir(0).join("wal")).unwrap();
    fs::write(cluster.dir(0).join("wal/lock"), "").unwrap();
    assert!(refused(&cluster, &cluster.config(0), &["wal", "no log segment"]).is_corrupt());
}

/// `DUR-12`: never a shorter log.
#[test]
fn damaged() {
    let cluster = used();
    let path = segment(&cluster);
    let mut bytes = fs::read(&path).unwrap();
    let at = find(&bytes, b"v").expect("the value is in the log");
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(refused(&cluster, &cluster.config(0), &[name, "byte"]).is_corrupt());
}

/// Where a put of `k` = `value` lies in a segment: its command is the last thing with both.
fn find(bytes: &[u8], value: &[u8]) -> Option<usize> {
    let command = [b"k", &[0x12, 1][..], value].concat();
    let start = bytes.windows(command.len()).position(|window| window == command)?;
    Some(start + command.len() - 1)
}

/// `BST-7`, `DUR-22`
#[test]
fn already_open() {
    let mut cluster = used();
    cluster.reopen(0);
    let name = cluster.dir(0).display().to_string();
    let error = open(&cluster.config(0)).unwrap_err();
    assert!(error.is_locked() && error.to_string().contains(&name), "{error}");
    cluster.store(0).put("k", "w").wait().unwrap();
    cluster.close(0);
    open(&cluster.config(0)).unwrap().close(PATIENCE).unwrap();
}

/// `CFG-2`
#[test]
fn without_permission() {
    let cluster = used();
    let (disk, switch) = FaultyDisk::new();
    switch.deny();
    let name = cluster.dir(0).display().to_string();
    let error = refused(&cluster, &cluster.config(0).vfs(disk), &[&name]);
    assert!(error.is_io(), "{error:?}");
    let source = std::error::Error::source(&error).expect("the system's own words");
    assert!(source.to_string().contains("injected denial"));
}

/// `CFG-2`, `CFG-3`: for the owner only; and the log may lie elsewhere.
#[cfg(unix)]
#[test]
fn is_made_for_the_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let mut cluster = Cluster::closed(1, |_, config| config);
    let log = cluster.dir(0).with_file_name("log");
    let config = cluster.config(0).wal_dir(&log);
    for round in ["one", "two"] {
        let node = Node::open(config.clone(), cluster.network.endpoint(cluster.id(0))).unwrap();
        cluster.adopt(0, node);
        cluster.store(0).put(round, "v").wait().unwrap();
        cluster.close(0);
    }
    assert_eq!((mode(&cluster.dir(0)), mode(&log)), (0o700, 0o700));
    for path in contents(&cluster.dir(0)).keys().chain(contents(&log).keys()) {
        assert_eq!(mode(path), 0o600, "{}", path.display());
    }
    let node = Node::open(config, cluster.network.endpoint(cluster.id(0))).unwrap();
    cluster.adopt(0, node);
    assert!(value(&cluster.store(0), "one").is_some() && value(&cluster.store(0), "two").is_some());
}
