use std::cell::RefCell;

use proptest::prelude::*;

use super::super::fake::{MAX_REQUEST_BYTES, Manner, fake};
use super::*;
use crate::core::machine::FRAME_BYTES;
use crate::core::mvcc::{Order, SortBy};
use crate::ids::Revision;
use crate::service::{Branch, Cache, Compare, Watcher};
use crate::store::Store;

fn store() -> Store {
    let (node, store) = fake(Manner::AnswerAtOnce);
    node.set_leads_alone(true);
    store
}

#[test]
fn hlp_1_keys_are_joined_on_the_way_in_and_stripped_on_the_way_out() {
    let store = store();
    let inside = store.scoped("a/").scoped("b/");
    inside.put("k", "v").wait().unwrap();
    assert_eq!(store.get("a/b/k").wait().unwrap().kv.unwrap().value(), b"v");
    assert_eq!(inside.get("k").wait().unwrap().kv.unwrap().key(), b"k");
    assert_eq!(inside.range(..).wait().unwrap().kvs.first().unwrap().key(), b"k");
    let again = inside.put("k", "v").prev_value().wait().unwrap();
    assert_eq!(again.prev_kv.unwrap().key(), b"k");
    let gone = inside.delete(..).prev_values().wait().unwrap();
    assert_eq!(gone.prev_kvs.first().unwrap().key(), b"k");
}

#[test]
fn sel_4_the_empty_key_is_none_within_a_scope_either() {
    let store = store();
    store.put("a/", "the prefix alone").wait().unwrap();
    let inside = store.scoped("a/");
    for error in [
        inside.get("").wait().unwrap_err(),
        inside.put("", "v").wait().unwrap_err(),
        inside.range("").wait().unwrap_err(),
        inside.range("".."b").wait().unwrap_err(),
        inside.delete("").wait().unwrap_err(),
        inside.stream("").into_iter().next().unwrap().unwrap_err(),
    ] {
        assert_eq!(error.to_string(), "the key is empty: a key has at least one byte");
        assert!(error.is_invalid());
    }
    assert_eq!(inside.range(..).wait().unwrap().count, 0);
    assert_eq!(inside.delete(..).wait().unwrap().deleted, 0);
}

#[test]
fn what_concerns_the_whole_store_is_refused_on_a_part_of_it() {
    let (node, store) = fake(Manner::AnswerAtOnce);
    store.put("a/k", "v").wait().unwrap();
    node.take_log();
    let error = store.scoped("a/").compact(Revision::new(2)).wait().unwrap_err();
    assert!(error.is_invalid() && !error.is_unknown());
    let text = "a compaction concerns the whole store, and this handle is scoped";
    assert_eq!(error.to_string(), text);
    assert_eq!(node.take_log(), [""; 0]);
    store.scoped("").compact(Revision::new(2)).wait().unwrap();
}

/// SEL-10: what is replicated counts.
#[test]
fn a_prefix_counts_for_the_size_of_a_request() {
    let store = store();
    let value = vec![0; MAX_REQUEST_BYTES - FRAME_BYTES - 24];
    store.put("k", value.clone()).wait().unwrap();
    assert!(store.scoped([b'p'; 24].to_vec()).put("k", value).wait().unwrap_err().is_too_large());
}

#[test]
fn a_handle_says_what_it_is_confined_to() {
    let store = store();
    assert!(!format!("{store:?}").contains("scope"));
    assert!(format!("{:?}", store.scoped("a/").scoped([0xff].to_vec())).contains(r#""a/\xff""#));
}

/// What is asked through a scoped handle, and of its twin.
#[derive(Clone, Debug)]
enum Op {
    Put(Vec<u8>, u8),
    Get(Vec<u8>, u64),
    Range(Picked, Dials),
    Stream(Picked, usize),
    Delete(Picked),
    /// If the first have nothing, puts the key and reads them; otherwise deletes them.
    Txn(Picked, Vec<u8>),
    /// What a watcher of everything is given since.
    Watch,
    /// Also what cannot be watched.
    List(Picked),
    /// Of a cache of everything.
    Cached(Picked),
}

#[derive(Clone, Debug)]
enum Picked {
    Key(Vec<u8>),
    Between(Vec<u8>, Vec<u8>),
    From(Vec<u8>),
    Prefix(Vec<u8>),
    All,
}

#[derive(Clone, Copy, Debug)]
struct Dials {
    limit: usize,
    descending: bool,
    by_value: bool,
    keys_only: bool,
    back: u64,
}

impl Picked {
    fn range(&self) -> KeyRange {
        match self.clone() {
            Self::Key(key) => KeyRange::key(key),
            Self::Between(start, end) => KeyRange::from(start..end),
            Self::From(start) => KeyRange::starting_at(start),
            Self::Prefix(prefix) => KeyRange::prefix(prefix),
            Self::All => KeyRange::all(),
        }
    }
}

/// Short, and of bytes at which prefixes end: the empty key is among them.
fn key() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![Just(0), Just(b'a'), Just(b'b'), Just(0xff)];
    proptest::collection::vec(byte, 0..4)
}

fn picked() -> impl Strategy<Value = Picked> {
    prop_oneof![
        key().prop_map(Picked::Key),
        (key(), key()).prop_map(|(start, end)| Picked::Between(start, end)),
        key().prop_map(Picked::From),
        key().prop_map(Picked::Prefix),
        Just(Picked::All),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let dials = (0..4_usize, any::<[bool; 3]>(), 0..6_u64);
    let dials = dials.prop_map(|(limit, [descending, by_value, keys_only], back)| Dials {
        limit,
        descending,
        by_value,
        keys_only,
        back,
    });
    prop_oneof![
        4 => (key(), any::<u8>()).prop_map(|(key, value)| Op::Put(key, value)),
        1 => (key(), 0..6_u64).prop_map(|(key, back)| Op::Get(key, back)),
        2 => (picked(), dials).prop_map(|(range, dials)| Op::Range(range, dials)),
        1 => (picked(), 1..4_usize).prop_map(|(range, keys)| Op::Stream(range, keys)),
        1 => picked().prop_map(Op::Delete),
        2 => (picked(), key()).prop_map(|(range, key)| Op::Txn(range, key)),
        1 => Just(Op::Watch),
        1 => picked().prop_map(Op::List),
        1 => picked().prop_map(Op::Cached),
    ]
}

/// A handle, and the revision that its store had when nothing had been done through it.
struct Side {
    store: Store,
    base: u64,
    watcher: RefCell<Watcher>,
    cache: Cache,
}

impl Side {
    fn new(store: Store, whole: &Store) -> Self {
        let base = whole.range(..).wait().unwrap().header.revision.get();
        let watcher = RefCell::new(store.watch(..).prev_values().start().unwrap());
        let cache = store.cache(..).wait().unwrap();
        Self { store, base, watcher, cache }
    }

    fn own(&self, revision: Revision) -> u64 {
        // A tombstone has none.
        revision.get().saturating_sub(self.base)
    }

    fn show(&self, kv: &KeyValue) -> String {
        let (create, last) = (self.own(kv.create_revision()), self.own(kv.mod_revision()));
        format!("{:?}={:?}@{create}/{last}/{}", kv.key(), kv.value(), kv.version())
    }

    fn events(&self) -> crate::Result<String> {
        let mut shown = String::new();
        while let Some(batch) = self.watcher.borrow_mut().try_next()? {
            for event in &batch {
                let prev = event.prev().map(|kv| self.show(kv));
                shown += &format!("{} was {prev:?}, ", self.show(event.kv()));
            }
            shown += &format!("up to {}; ", self.own(batch.revision()));
        }
        Ok(shown)
    }

    /// Everything that is answered, with revisions counted from the first of its own.
    fn answer(&self, op: &Op) -> crate::Result<String> {
        let show = |kv: &KeyValue| self.show(kv);
        let all = |kvs: &[KeyValue]| kvs.iter().map(show).collect::<Vec<_>>();
        let current = self.store.range(..).count_only().wait()?.header.revision.get();
        let back = |by: u64| Revision::new(current.saturating_sub(by).max(self.base));
        Ok(match op {
            Op::Put(key, value) => {
                let put = self.store.put(key.clone(), vec![*value]).prev_value().wait()?;
                let at = put.header.revision.get() - self.base;
                format!("{at} {:?}", put.prev_kv.as_ref().map(show))
            }
            Op::Get(key, by) => {
                let get = self.store.get(key.clone()).at(back(*by)).wait()?;
                format!("{:?}", get.kv.as_ref().map(show))
            }
            Op::Range(range, dials) => {
                let mut read = self.store.range(range.range()).limit(dials.limit);
                if dials.descending {
                    read = read.order(Order::Descending);
                }
                if dials.by_value {
                    read = read.sort_by(SortBy::Value);
                }
                if dials.keys_only {
                    read = read.keys_only();
                }
                let read = read.at(back(dials.back)).wait()?;
                format!("{:?} {} {}", all(&read.kvs), read.more, read.count)
            }
            Op::Stream(range, keys) => {
                let stream = self.store.stream(range.range()).chunk_keys(*keys);
                let chunks = stream.into_iter().collect::<crate::Result<Vec<_>>>()?;
                chunks.iter().map(|chunk| format!("{:?}", all(chunk))).collect()
            }
            Op::Delete(range) => {
                let gone = self.store.delete(range.range()).prev_values().wait()?;
                let at = gone.header.revision.get() - self.base;
                format!("{at} {} {:?}", gone.deleted, all(&gone.prev_kvs))
            }
            Op::Txn(range, key) => {
                use crate::service::Op;

                let then = (Op::put(key.clone(), "txn").prev_value(), Op::range(range.range()));
                let done = self
                    .store
                    .txn()
                    .when(Compare::absent(range.range()))
                    .then(then)
                    .or_else(Op::delete(range.range()).prev_values())
                    .wait()?;
                let at = done.header.revision.get() - self.base;
                match done.branch {
                    Branch::Then((put, range)) => {
                        format!("{at} {:?} {:?}", put.prev_kv.as_ref().map(show), all(&range.kvs))
                    }
                    Branch::Else(gone) => format!("{at} {:?}", all(&gone.prev_kvs)),
                }
            }
            Op::Watch => self.events()?,
            Op::List(range) => {
                let listing = self.store.list_and_watch(range.range()).wait()?;
                let next = self.own(listing.watcher.next_revision());
                format!("{:?} and from {next} on", all(&listing.kvs))
            }
            Op::Cached(range) => format!("{:?}", all(&self.cache.range(range.range())?)),
        })
    }
}

proptest! {
    /// HLP-1: inside it is a store of its own, and outside nothing has happened.
    #[test]
    fn hlp_1_a_scope_is_a_store_of_its_own(
        outer in key(),
        inner in key(),
        outside in proptest::collection::vec(key(), 0..12),
        ops in proptest::collection::vec(op(), 0..40),
    ) {
        let prefix = [outer.clone(), inner.clone()].concat();
        let whole = store();
        // Also what is inside by its beginning alone: the prefix itself.
        let is_inside = |key: &[u8]| key.starts_with(&prefix) && key.len() > prefix.len();
        for key in outside.iter().chain([&prefix]).filter(|key| !key.is_empty()) {
            if !is_inside(key) {
                whole.put(key.clone(), "outside").wait().unwrap();
            }
        }
        let before = whole.range(..).wait().unwrap().kvs;
        let scoped = Side::new(whole.scoped(outer).scoped(inner), &whole);
        let alone = store();
        let twin = Side::new(alone.clone(), &alone);
        for op in ops.iter().chain([&Op::Watch, &Op::Cached(Picked::All)]) {
            match (scoped.answer(op), twin.answer(op)) {
                (Ok(found), Ok(wanted)) => prop_assert_eq!(found, wanted, "{:?}", op),
                (Err(found), Err(wanted)) => {
                    prop_assert_eq!(found.to_string(), wanted.to_string(), "{:?}", op);
                }
                (found, wanted) => prop_assert!(false, "{op:?}: {found:?} and not {wanted:?}"),
            }
        }
        let after = whole.range(..).wait().unwrap().kvs;
        let outside = after.into_iter().filter(|kv| !is_inside(kv.key()));
        prop_assert_eq!(outside.collect::<Vec<_>>(), before);
    }
}

#[test]
fn a_scope_costs_nothing_where_there_is_none() {
    let key = Bytes::from_static(b"key");
    assert_eq!(Scope::default().key(key.clone()).unwrap().as_ptr(), key.as_ptr());
}
