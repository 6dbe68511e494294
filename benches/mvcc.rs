//! What the store's data structure costs, beside the map of the standard library.
//!
//! ```text
//! cargo bench -p quorate-mvcc
//! ```
//!
//! Both hold a million keys of 32 bytes with values of 256 and the same facts about each
//! ([`Entry`]), in the same order of arrival: random. The map keeps one version, for one thread.
//! `docs/performance.md` has the bounds and what was measured.

// The lints keep the library from reading clocks. This is a program.
#![allow(clippy::disallowed_methods, reason = "a program at a terminal, not the library")]

#[path = "mvcc/keys.rs"]
mod keys;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput};
use quorate_mvcc::{Alone, KeyRange};

use keys::{key, scatter};

const KEYS: u64 = 1_000_000;
const VALUE: [u8; 256] = [7; 256];
/// Keys inserted before they are taken out again, outside of the time measured. The next ones are
/// others: what was just taken out is still in the caches.
const FRESH: u64 = 10_000;

/// What the map holds for each key: what a record does.
#[derive(Clone)]
#[allow(dead_code, reason = "some of it is only kept")]
struct Entry {
    create: u64,
    modified: u64,
    version: u64,
    lease: u64,
    value: Bytes,
}

/// The map, doing what the store does but for the past.
#[derive(Default)]
struct Map {
    keys: BTreeMap<Bytes, Entry>,
    revision: u64,
}

impl Map {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.revision += 1;
        let value = Bytes::copy_from_slice(value);
        let entry = self.keys.entry(Bytes::copy_from_slice(key)).or_insert(Entry {
            create: self.revision,
            modified: 0,
            version: 0,
            lease: 0,
            value: Bytes::new(),
        });
        entry.modified = self.revision;
        entry.version += 1;
        entry.value = value;
    }
}

/// A fresh key, or one that is there, for the nth call.
fn nth_key(nth: &mut u64) -> Vec<u8> {
    *nth += 1;
    key(scatter(*nth) % KEYS)
}

fn main() {
    let mut criterion = Criterion::default()
        .configure_from_args()
        .sample_size(30)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(4));
    let (mut map, mut store) = (Map::default(), Alone::default());
    let begun = Instant::now();
    (0..KEYS).for_each(|number| map.put(&key(number), &VALUE));
    let filled = Instant::now();
    (0..KEYS).for_each(|number| store.put(&key(number), &VALUE));
    eprintln!("filled: the map in {:?}, the store in {:?}", filled - begun, filled.elapsed());
    get(&mut criterion, &map, &store);
    range(&mut criterion, &map, &store);
    count(&mut criterion, &map, &store);
    insert(&mut criterion, &mut map, &mut store);
    update(&mut criterion, &mut map, &mut store);
    criterion.final_summary();
}

fn get(criterion: &mut Criterion, map: &Map, store: &Alone) {
    let mut group = criterion.benchmark_group("get");
    let mut nth = 0;
    group.bench_function("map", |bench| {
        bench.iter_batched(
            || nth_key(&mut nth),
            |key| black_box(map.keys.get(key.as_slice()).cloned()),
            BatchSize::NumIterations(1000),
        );
    });
    group.bench_function("mvcc", |bench| {
        bench.iter_batched(
            || nth_key(&mut nth),
            |key| black_box(store.get(&key).unwrap()),
            BatchSize::NumIterations(1000),
        );
    });
}

fn range(criterion: &mut Criterion, map: &Map, store: &Alone) {
    let mut group = criterion.benchmark_group("range-1000");
    group.throughput(Throughput::Elements(1000));
    let mut nth = 0;
    group.bench_function("map", |bench| {
        bench.iter_batched(
            || Bytes::from(nth_key(&mut nth)),
            |start| {
                let found = map.keys.range(start..).take(1000);
                black_box(found.map(|(k, v)| (k.clone(), v.clone())).collect::<Vec<_>>())
            },
            BatchSize::SmallInput,
        );
    });
    group.bench_function("mvcc", |bench| {
        bench.iter_batched(
            || KeyRange::starting_at(nth_key(&mut nth)),
            |range| black_box(store.range(range, 1000).unwrap()),
            BatchSize::SmallInput,
        );
    });
}

fn count(criterion: &mut Criterion, map: &Map, store: &Alone) {
    let mut group = criterion.benchmark_group("count-100000");
    let range = KeyRange::prefix("dir3/");
    let counted = store.count(&range).unwrap();
    assert_eq!(counted, KEYS / 10, "a tenth of the keys");
    group.bench_function("mvcc", |bench| bench.iter(|| store.count(black_box(&range)).unwrap()));
    group.sample_size(10).bench_function("map", |bench| {
        let (start, end) = (Bytes::from_static(b"dir3/"), Bytes::from_static(b"dir30"));
        bench.iter(|| map.keys.range(start.clone()..end.clone()).count());
    });
}

/// Times so many calls, each with a key that is not there, which is taken out again afterwards.
fn time_inserts(
    iterations: u64,
    mut insert: impl FnMut(&[u8]),
    mut clear: impl FnMut(&[Vec<u8>]),
) -> Duration {
    static NEXT: AtomicU64 = AtomicU64::new(KEYS);
    let mut spent = Duration::ZERO;
    let mut left = iterations;
    while left > 0 {
        let now = left.min(FRESH);
        let first = NEXT.fetch_add(now, Relaxed);
        let fresh: Vec<_> = (first..first + now).map(key).collect();
        let begun = Instant::now();
        fresh.iter().for_each(|key| insert(key));
        spent += begun.elapsed();
        clear(&fresh);
        left -= now;
    }
    spent
}

fn insert(criterion: &mut Criterion, map: &mut Map, store: &mut Alone) {
    let mut group = criterion.benchmark_group("insert");
    group.bench_function("map", |bench| {
        bench.iter_custom(|iterations| {
            let map = std::cell::RefCell::new(&mut *map);
            time_inserts(
                iterations,
                |key| map.borrow_mut().put(key, &VALUE),
                |fresh| fresh.iter().for_each(|key| drop(map.borrow_mut().keys.remove(&key[..]))),
            )
        });
    });
    group.bench_function("mvcc", |bench| {
        bench.iter_custom(|iterations| {
            let store = std::cell::RefCell::new(&mut *store);
            time_inserts(
                iterations,
                |key| store.borrow_mut().put(key, &VALUE),
                |fresh| {
                    fresh.iter().for_each(|key| store.borrow_mut().delete(key));
                    store.borrow_mut().put(b"warm", b"");
                    store.borrow_mut().compact().unwrap();
                },
            )
        });
    });
}

fn update(criterion: &mut Criterion, map: &mut Map, store: &mut Alone) {
    let mut group = criterion.benchmark_group("update");
    let mut nth = 0;
    group.bench_function("map", |bench| {
        bench.iter_batched(
            || nth_key(&mut nth),
            |key| map.put(&key, &VALUE),
            BatchSize::NumIterations(1000),
        );
    });
    // What it keeps of the past is forgotten between the batches, outside of the time measured.
    group.bench_function("mvcc", |bench| {
        bench.iter_custom(|iterations| {
            let mut spent = Duration::ZERO;
            let mut left = iterations;
            while left > 0 {
                let now = left.min(FRESH);
                let keys: Vec<_> = (0..now).map(|_| nth_key(&mut nth)).collect();
                let begun = Instant::now();
                keys.iter().for_each(|key| store.put(key, &VALUE));
                spent += begun.elapsed();
                store.compact().unwrap();
                left -= now;
            }
            spent
        });
    });
}
