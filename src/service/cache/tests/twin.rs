//! A cache beside a map to which the same is done.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::service::Op as TxnOp;

#[derive(Clone, Debug)]
enum Op {
    Put(u8, u8),
    Delete(u8, u8),
    /// Several keys at one revision.
    Puts(Vec<u8>, u8),
    /// Also removes what the cache has yet to look at.
    Compact,
    Pull,
    Join,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..8_u8, any::<u8>()).prop_map(|(key, value)| Op::Put(key, value)),
        2 => (0..8_u8, 0..8_u8).prop_map(|(start, end)| Op::Delete(start, end)),
        2 => (proptest::sample::subsequence((0..8_u8).collect::<Vec<_>>(), 1..4), any::<u8>())
            .prop_map(|(keys, value)| Op::Puts(keys, value)),
        1 => Just(Op::Compact),
        2 => Just(Op::Pull),
        1 => Just(Op::Join),
    ]
}

/// What a callback makes of what it is told.
#[derive(Clone, Default)]
struct Replay(Arc<Mutex<BTreeMap<Vec<u8>, KeyValue>>>);

impl Replay {
    /// What it is told follows from what it was told before.
    fn apply(&self, change: &CacheChange) {
        let mut map = self.0.lock();
        let key = change.key().to_vec();
        match change {
            CacheChange::Put { kv, prev } => {
                assert_eq!(map.insert(key, kv.clone()), *prev, "{change:?}");
            }
            CacheChange::Delete { prev, .. } => {
                assert_eq!(map.remove(&key).as_ref(), Some(prev), "{change:?}");
            }
        }
    }
}

proptest! {
    /// INV-7, INV-8: it is what the model is, and so is what callbacks make of what they are told.
    #[test]
    fn inv_7_a_cache_and_what_it_tells_are_the_model(
        ops in vec(op(), 1..60),
        bounds in (0..8_u8, 0..9_u8),
        is_scoped in any::<bool>(),
    ) {
        let (node, whole) = fake(Manner::AnswerAtOnce);
        node.set_leads_alone(true);
        let store = if is_scoped { whole.scoped("t/") } else { whole.clone() };
        let key = |number: u8| vec![b'a' + number];
        let (start, end) = (bounds.0.min(bounds.1), bounds.0.max(bounds.1) + 1);
        let range = KeyRange::from(key(start)..key(end));
        let cache = store.cache(range).wait().unwrap();
        let mut model = BTreeMap::new();
        let mut replays = Vec::<Replay>::new();
        for op in ops.iter().chain([&Op::Pull]) {
            match op {
                Op::Put(number, value) => {
                    store.put(key(*number), vec![*value]).wait().unwrap();
                    model.insert(key(*number), vec![*value]);
                }
                Op::Delete(start, end) => {
                    store.delete(key(*start)..key(*end)).wait().unwrap();
                    model.retain(|it, _| !(*it >= key(*start) && *it < key(*end)));
                }
                Op::Puts(numbers, value) => {
                    let puts = numbers.iter().map(|it| TxnOp::put(key(*it), vec![*value]));
                    store.txn().then(puts.collect::<Vec<_>>()).wait().unwrap();
                    model.extend(numbers.iter().map(|it| (key(*it), vec![*value])));
                }
                Op::Compact => {
                    // The same once more is refused, and may be.
                    let _ = whole.compact(node.revision()).wait();
                    node.tidy(0);
                }
                Op::Join => {
                    let replay = Replay::default();
                    replays.push(replay.clone());
                    cache.on_change(move |_, change| replay.apply(change)).unwrap();
                }
                Op::Pull => {
                    let found = cache.range(..).unwrap();
                    let pairs = found.iter().map(|kv| (kv.key().to_vec(), kv.value().to_vec()));
                    let wanted = model.range(key(start)..key(end));
                    let wanted = wanted.map(|(key, value)| (key.clone(), value.clone()));
                    prop_assert_eq!(pairs.collect::<Vec<_>>(), wanted.collect::<Vec<_>>());
                    prop_assert_eq!(cache.revision().unwrap(), node.revision());
                    for replay in &replays {
                        let told = replay.0.lock().values().cloned().collect::<Vec<_>>();
                        prop_assert_eq!(&told, &found);
                    }
                }
            }
        }
    }
}
