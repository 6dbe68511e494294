//! Put, get, range, delete, compact, on one member and through every one of three.

use quorate::{KeyRange, KeyValue, Order, RangeResponse, Revision, SortBy, Store};

use super::cluster::{Cluster, value};

#[test]
fn one_member_does_it_all() {
    Cluster::open(1).show_through_each(everything_works);
}

#[test]
fn so_does_any_of_three() {
    Cluster::open(3).show_through_each(everything_works);
}

/// `HLP-1`: and leaves nothing where it cannot be seen.
#[test]
fn so_does_a_handle_that_is_confined() {
    let cluster = Cluster::open(3);
    let whole = cluster.store(0);
    whole.put("tenant-b/k", "not theirs").wait().unwrap();
    for member in 0..3 {
        let store = cluster.store(member).scoped("tenant-").scoped("a/");
        puts_and_gets(&store);
        ranges(&store);
        deletes(&store);
    }
    let left = whole.range(..).wait().unwrap();
    assert_eq!(keys(&left), ["tenant-b/k"]);
    assert_eq!(left.kvs[0].version(), 1);
}

fn keys(read: &RangeResponse) -> Vec<&str> {
    read.kvs.iter().map(|kv| std::str::from_utf8(kv.key()).unwrap()).collect()
}

/// Begins and ends with no key.
fn everything_works(store: &Store) {
    puts_and_gets(store);
    ranges(store);
    deletes(store);
    history(store);
}

/// `KV-30`, `KV-33`, `DM-9`, `KV-16`, `SEL-7`
fn puts_and_gets(store: &Store) {
    assert_eq!(value(store, "k"), None);
    let first = store.put("k", "one").wait().unwrap();
    assert_eq!(first.prev_kv, None);
    let second = store.put("k", "two").prev_value().wait().unwrap();
    assert_eq!(second.prev_kv.as_ref().map(KeyValue::value), Some(&b"one"[..]));
    assert_eq!(second.header.revision.get(), first.header.revision.get() + 1);
    let read = store.get("k").wait().unwrap();
    let kv = read.kv.unwrap();
    assert_eq!((kv.key(), kv.value(), kv.version()), (&b"k"[..], &b"two"[..], 2));
    assert_eq!(kv.create_revision(), first.header.revision);
    assert_eq!(kv.mod_revision(), second.header.revision);
    assert_eq!(read.header.revision, second.header.revision);
    assert_eq!(read.header.cluster, first.header.cluster);
    // Its own write is what a member shows even without asking the others.
    assert!(store.get("k").serializable().wait().unwrap().kv.is_some());
    // Keys and values are bytes.
    let odd = [0xff, 0, 0xfe];
    store.put(odd.to_vec(), Vec::new()).wait().unwrap();
    let kv = store.get(odd.to_vec()).wait().unwrap().kv.unwrap();
    assert_eq!((kv.key(), kv.value()), (&odd[..], &b""[..]));
    store.delete(KeyRange::all()).wait().unwrap();
}

/// `KV-1`, `KV-4`, `KV-5`, `KV-7`, `KV-8`, `KV-10`, `SEL-1`, `SEL-3`
fn ranges(store: &Store) {
    for key in ["r/3", "r/1", "r/2", "s"] {
        store.put(key, "v").wait().unwrap();
    }
    let all = store.range(..).wait().unwrap();
    assert_eq!(keys(&all), ["r/1", "r/2", "r/3", "s"]);
    assert!(!all.more);
    assert_eq!(keys(&store.range(KeyRange::prefix("r/")).wait().unwrap()), ["r/1", "r/2", "r/3"]);
    assert_eq!(keys(&store.range("r/2".."s").wait().unwrap()), ["r/2", "r/3"]);
    assert_eq!(keys(&store.range("r/3"..).wait().unwrap()), ["r/3", "s"]);
    assert_eq!(keys(&store.range("s".."r").wait().unwrap()), [""; 0]);
    let page = store.range(..).limit(2).wait().unwrap();
    assert_eq!((keys(&page), page.more, page.count), (vec!["r/1", "r/2"], true, 4));
    let count = store.range(..).count_only().wait().unwrap();
    assert_eq!((count.kvs.len(), count.count), (0, 4));
    let first = all.kvs[0].create_revision();
    let last = store.range(..).order(Order::Descending).limit(1).wait().unwrap();
    assert_eq!((keys(&last), last.more), (vec!["s"], true));
    let oldest = store.range(..).sort_by(SortBy::CreateRevision).keys_only().wait().unwrap();
    assert_eq!(keys(&oldest), ["r/3", "r/1", "r/2", "s"]);
    assert!(oldest.kvs.iter().all(|kv| kv.value().is_empty()));
    let later = store.range(..).min_create_revision(first.next()).wait().unwrap();
    assert_eq!((keys(&later), later.count), (vec!["r/2", "s"], 4));
}

/// `KV-50`, `KV-51`, `KV-52`
fn deletes(store: &Store) {
    let before = store.get("s").wait().unwrap().header.revision;
    let none = store.delete(KeyRange::key("absent")).wait().unwrap();
    assert_eq!((none.deleted, none.header.revision), (0, before));
    let some = store.delete(KeyRange::prefix("r/")).prev_values().wait().unwrap();
    let gone: Vec<_> = some.prev_kvs.iter().map(KeyValue::key).collect();
    assert_eq!((some.deleted, gone), (3, vec![&b"r/1"[..], b"r/2", b"r/3"]));
    assert_eq!(some.header.revision.get(), before.get() + 1);
    assert_eq!(store.delete(..).wait().unwrap().deleted, 1);
}

/// `KV-2`, `DM-8`, `CMP-4`
fn history(store: &Store) {
    let first = store.put("h", "one").wait().unwrap().header.revision;
    let second = store.put("h", "two").wait().unwrap().header.revision;
    let gone = store.delete("h").wait().unwrap().header.revision;
    let at = |revision: Revision| {
        let read = store.get("h").at(revision).wait().unwrap();
        assert_eq!(read.header.revision, gone, "the header is about now");
        read.kv.map(|kv| kv.value().to_vec())
    };
    assert_eq!(at(first), Some(b"one".to_vec()));
    assert_eq!(at(second), Some(b"two".to_vec()));
    assert_eq!(at(gone), None);
    let compacted = store.compact(second).wait().unwrap();
    assert_eq!(compacted.header.revision, gone);
    assert_eq!(at(second), Some(b"two".to_vec()));
    let error = store.get("h").at(first).wait().unwrap_err();
    assert!(error.is_compacted(), "{error}");
    assert_eq!(error.compacted_revision(), Some(second));
}
