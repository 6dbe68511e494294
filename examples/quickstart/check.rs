//! Everything out again, and compared.

use std::error::Error;

use quorate::{KeyValue, Node, Store};

use crate::cluster::{Cluster, MEMBERS, NAMES};
use crate::files;
use crate::import::Imported;

/// Keys that are read at a time.
const PAGE_KEYS: usize = 1_000;

/// Reads all keys from one member as of the whole cluster's newest state, and from each as of its
/// own; fails with the first difference.
pub(crate) fn everything(cluster: &Cluster, imported: &[Imported]) -> Result<(), Box<dyn Error>> {
    // What a member shows to a serializable read may be old: let each catch up first.
    for member in 0..MEMBERS {
        cluster.catch_up(member)?;
    }
    let reads = [(0, false)].into_iter().chain((0..MEMBERS).map(|member| (member, true)));
    for (member, serializable) in reads {
        let kind = if serializable { "serializable" } else { "linearizable" };
        let Some(store) = cluster.store(member) else { continue };
        let found = read(&store, serializable)?;
        if let Some(difference) = first_difference(imported, &found) {
            return Err(format!("{} ({kind} read): {difference}", NAMES[member]).into());
        }
        println!("read from {}, {kind}: all {} keys as imported", NAMES[member], found.len());
    }
    Ok(())
}

/// All keys, page by page, all pages of one revision. Values are not copied: what comes out is
/// shared with the store.
fn read(store: &Store, serializable: bool) -> quorate::Result<Vec<KeyValue>> {
    let mut found: Vec<KeyValue> = Vec::new();
    let mut revision = None;
    loop {
        // The first key that may follow: the last one and a zero byte.
        let start = found.last().map_or_else(|| vec![0], |last| [last.key(), &[0]].concat());
        let mut range = store.range(start..).limit(PAGE_KEYS);
        if serializable {
            range = range.serializable();
        }
        if let Some(revision) = revision {
            range = range.at(revision);
        }
        let page = range.wait()?;
        revision.get_or_insert(page.header.revision);
        found.extend(page.kvs);
        if !page.more {
            return Ok(found);
        }
    }
}

/// Both are sorted by key.
fn first_difference(imported: &[Imported], found: &[KeyValue]) -> Option<String> {
    let name = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
    for (file, kv) in imported.iter().zip(found) {
        if kv.key() < file.key.as_ref() {
            return Some(format!("{} is there, and was never imported", name(kv.key())));
        }
        if kv.key() > file.key.as_ref() {
            return Some(format!("{} is missing", name(&file.key)));
        }
        if kv.value() != file.value {
            let (have, want) = (kv.value().len(), file.value.len());
            let same = kv.value().iter().zip(&file.value).take_while(|(a, b)| a == b).count();
            let key = name(&file.key);
            return Some(format!("{key} has {have} bytes for {want}, and differs at byte {same}"));
        }
    }
    if let Some(file) = imported.get(found.len()) {
        return Some(format!("{} is missing", name(&file.key)));
    }
    let kv = found.get(imported.len())?;
    Some(format!("{} is there, and was never imported", name(kv.key())))
}

/// Compares with the files once more. One that has changed since it was imported is no fault of
/// the store: it holds what the file was.
pub(crate) fn files(imported: &[Imported]) {
    let mut changed = 0;
    for file in imported {
        match files::read(&file.path, file.value.len()) {
            Ok(content) if content == file.value => {}
            _ => {
                changed += 1;
                println!("  changed on disk since: {}", file.path.display());
            }
        }
    }
    println!(
        "compared with the files: {} equal, {changed} changed since",
        imported.len() - changed
    );
}

/// One line for each member; fails if their hashes differ.
pub(crate) fn table(cluster: &Cluster) -> Result<(), Box<dyn Error>> {
    let hashes = loop {
        for member in 0..MEMBERS {
            cluster.catch_up(member)?;
        }
        let hashes = cluster.each(Node::hash);
        // Hashes can be compared if they are of the same point of the log; nobody writes, so in a
        // moment they are.
        if hashes.iter().all(|hash| hash.applied == hashes[0].applied) {
            break hashes;
        }
    };
    println!(
        "\n{:<7}{:<10}{:>5}{:>10}{:>8}{:>12}{:>10}{:>11}  {:<8}",
        "member", "role", "term", "revision", "keys", "bytes", "segments", "snapshots", "hash"
    );
    for (status, hash) in cluster.each(Node::status).iter().zip(&hashes) {
        println!(
            "{:<7}{:<10}{:>5}{:>10}{:>8}{:>12}{:>10}{:>11}  {:08x}",
            status.name,
            status.role,
            status.term,
            status.revision,
            status.keys,
            status.data_bytes,
            status.segments,
            status.snapshots,
            hash.hash
        );
    }
    if hashes.iter().any(|hash| *hash != hashes[0]) {
        return Err("the members' hashes differ".into());
    }
    Ok(())
}
