//! What each corpus begins with: cases made of what the real code writes and says.
//!
//! The files are compared with what the code would make today, so "real" stays true. After a
//! change that is meant to change them:
//!
//! ```sh
//! UPDATE_GOLDENFILES=1 cargo test --lib fuzzing::corpus
//! ```
//!
//! Other files may lie beside them: cases that have found something.
#![expect(clippy::disallowed_methods, reason = "reads and writes the repository's own files")]

use std::collections::BTreeMap;

use super::bounded::{corpus, folder};
use super::cluster::{LEADER, step as upset, switch};
use super::command::{self, entry};
use super::damage;
use super::deliver::{self, LED, SLOW, VOTERS, address, framed, step};
use super::mvcc::op;
use super::snapshot::{self, edit};
use super::store::kind;
use super::wal::{self, deed, record, wound};
use crate::core::machine::decode;
use crate::sim::Fault;

type Cases = BTreeMap<String, Vec<u8>>;
type Target = (&'static str, fn() -> Cases);

/// A target's name, and what makes its first cases.
const TARGETS: [Target; 9] = [
    ("envelope", envelopes),
    ("deliver", deliveries),
    ("wal_scan", logs),
    ("snapshot_read", snapshots),
    ("command_decode", commands),
    ("config", configs),
    ("mvcc_model", operations),
    ("store_model", programs),
    ("cluster", clusters),
];

/// The largest file that is kept: more slows the fuzzer down and says nothing new.
const MAX_BYTES: usize = 40 << 10;

#[test]
fn first_cases_are_what_the_code_makes_today() {
    let update = std::env::var_os("UPDATE_GOLDENFILES").is_some();
    for (target, make) in TARGETS {
        let folder = folder(target);
        if update {
            std::fs::create_dir_all(&folder).unwrap();
        }
        for (name, bytes) in make() {
            assert!(bytes.len() <= MAX_BYTES, "{target}/{name}: {} bytes", bytes.len());
            let path = folder.join(&name);
            if update {
                std::fs::write(path, bytes).unwrap();
            } else {
                let kept = std::fs::read(&path).unwrap_or_default();
                assert!(kept == bytes, "{} is not what the code makes", path.display());
            }
        }
        let sizes: Vec<_> = corpus(target).iter().map(|(_, bytes)| bytes.len()).collect();
        let total: usize = sizes.iter().sum();
        assert!(
            sizes.len() <= 40 && total <= 200 << 10,
            "{target}: {} files, {total}",
            sizes.len()
        );
    }
}

fn named<const N: usize>(cases: [(&str, Vec<u8>); N]) -> Cases {
    cases.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect()
}

/// Steps in a row.
fn steps(switches: u8, steps: &[&[u8]]) -> Vec<u8> {
    [&[switches], steps.concat().as_slice()].concat()
}

fn deliveries() -> Cases {
    use step::{
        CHANGE, CUT, DELIVER, ELECT, FORGE, LOSE, OVERDUE, PERSIST, READ, REPEAT, SETTLE, TICK,
        TICK_ALL, TRANSFER, UNREACHABLE, WORK, WRITE,
    };
    let calls = [
        [WRITE, 0, 1, 9, WRITE, 1, 2, 200, READ, 2, SETTLE].as_slice(),
        &[WRITE, 2, 0x90, READ, 0, WRITE, 1, 0x18, 2, TICK_ALL, SETTLE, TICK_ALL, SETTLE],
    ]
    .concat();
    let many: Vec<u8> = (0..12).flat_map(|n| [WRITE, 0, n, 40 + n, SETTLE]).collect();
    let tick: &[u8] = &[TICK_ALL, SETTLE];
    // One is cut off until the others have given back what it lacks.
    let behind = [&[CUT, 2], many.as_slice(), &[CUT, 2], &tick.repeat(6)].concat();
    let slowly = [&[CUT, 2], many.as_slice(), &[WORK, 0, CUT, 2], &tick.repeat(6)].concat();
    let work = [TICK_ALL, SETTLE, WORK, 0, WORK, 2, DELIVER, 0, WORK, 2, WORK, 0].repeat(6);
    let pieces = [
        [WRITE, 0, 3, 50, PERSIST, 0, 1, DELIVER, 1, PERSIST, 1, 1, REPEAT, 0, LOSE, 0].as_slice(),
        &[DELIVER, 0, DELIVER, 0, PERSIST, 2, 4, OVERDUE, 1, 1, DELIVER, 0, OVERDUE, 1, 0],
        &[UNREACHABLE, 0, 1, TICK, 0, TICK, 1, DELIVER, 2, DELIVER, 1, DELIVER, 0],
    ]
    .concat();
    let moves = [ELECT, 1, TRANSFER, 1, 2, SETTLE, TICK_ALL, SETTLE, ELECT, 0, READ, 0, SETTLE];
    let changed: Vec<u8> =
        (0..9).flat_map(|n| [TICK_ALL, CHANGE, n, 1 + 8 * n, 1, DELIVER, n]).collect();
    // To whom, from whom, of which kind, and numbers near those that hold.
    let forge = |kind: u8, rest: &[u8]| [&[FORGE, 1, 2, kind], rest, &[SETTLE]].concat();
    let message = |kind: u8, rest: &[u8]| forge(1, &[&[kind, 0x28], rest].concat());
    named([
        ("calls", steps(LED, &[&calls])),
        ("elections", steps(0, &[&moves, &calls])),
        ("behind", steps(LED, &[&behind, &calls])),
        ("behind-slowly", steps(LED | SLOW, &[&slowly, &work])),
        ("piece-by-piece", steps(LED, &[&pieces, &pieces])),
        ("changed", steps(LED, &[&calls, &changed])),
        ("forged-append", steps(LED, &[&message(1, &[0x48, 0x28, 0x48, 1, 0x29, 2, 1, 0, b'x'])])),
        ("forged-heartbeat", steps(LED, &[&message(3, &[0x48, 0])])),
        ("forged-change", steps(LED, &[&message(1, &[0x48, 0x28, 0x49, 1, 0x28, 3, 1, 0, 3])])),
        ("forged-vote", steps(LED, &[&message(5, &[0x48, 0x28, 0x68, 0x28, 1])])),
        ("forged-answer", steps(LED, &[&[FORGE, 0, 1, 1, 2, 0x28, 0x49, 0x28, 0x68, 0x48, 1]])),
        ("forged-timeout", steps(LED, &[&[FORGE, 1, 0, 1, 10, 0x28, SETTLE]])),
        ("forged-forward", steps(LED, &[&[FORGE, 0, 1, 2, 3, 2, 4, 9, 1, 0, 1, 0, 0, 0, SETTLE]])),
        (
            "forged-offer",
            steps(LED, &[&forge(5, &[0xa9, 0x4f, 0x28, 7, 8, 0, 0, 0, 9, 3, 1, 0x28])]),
        ),
        ("forged-read", steps(LED, &[&[FORGE, 0, 4, 3, 1, 0xa9, 0, 0, 0, SETTLE]])),
        ("forged-chunk", steps(LED, &[&[FORGE, 1, 0, 6, 2, 0xa9, 0, 1, 3, 0, 1, 2, 3, SETTLE]])),
        ("forged-ack", steps(LED, &[&behind, &[FORGE, 0, 2, 7, 2, 0xa9, 8, 0, 1, 0, 2, SETTLE]])),
    ])
}

/// One envelope of each sort that replicas say to each other in the cases above.
fn envelopes() -> Cases {
    let mut sorts = BTreeMap::new();
    for (_, case) in deliveries() {
        for (kind, body) in deliver::heard(&case) {
            let first = body.first().copied().unwrap_or_default();
            sorts.entry((kind, first)).or_insert(body);
        }
    }
    let (from, to) = (address(VOTERS[1]), address(VOTERS[0]));
    let frames = sorts.into_iter().map(|((kind, first), body)| {
        let envelope = framed(kind, &from, (to.node, to.incarnation), &body);
        (format!("{kind}-{first}"), envelope.to_vec())
    });
    frames.collect()
}

/// Bytes behind their length.
fn long(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_le_bytes(), bytes].concat()
}

/// An entry with a put: who, watermark, how far above it, key, value.
fn put(who: u8, sequence: u8, key: &[u8], value: &[u8]) -> Vec<u8> {
    [&[entry::PUT, who, 1, sequence], long(key).as_slice(), &long(value)].concat()
}

fn delete(who: u8, sequence: u8, key: &[u8], end: &[u8]) -> Vec<u8> {
    [&[entry::DELETE, who, 1, sequence], long(key).as_slice(), &long(end)].concat()
}

/// Entries that leave something of everything in a machine.
fn entries() -> [Vec<u8>; 2] {
    let first = [
        vec![entry::EMPTY, entry::ANNOUNCE, 0, 1, 0, 0, 100],
        put(0, 1, b"a", b"one"),
        put(1, 0, b"b", b"two"),
        put(0x80, 2, b"a", b"three"),
        delete(1, 1, b"b", b""),
    ];
    let second = [
        put(0, 3, b"c", &[7; 300]),
        vec![entry::COMPACT, 2, 1, 0, 4],
        // Once more, and from an older boot.
        put(0, 3, b"c", &[7; 300]),
        put(0x10, 9, b"d", b"boot 2"),
        put(0x08, 10, b"d", b"boot 1"),
        put(0x60, 11, b"e", b"no such lease"),
        delete(0x90, 12, b"", b"\0"),
        // If k0 is not there: puts k1, and an empty one inside. Then one that keeps what is not.
        vec![entry::TXN, 0, 1, 12, 1, 0, 0, 0, 2, 3, 1, 2, 0, 0, 0, 0, 0],
        vec![entry::TXN, 0, 1, 13, 0, 2, 11, 2, 1, 0, 0],
        // Time passes, a lease is granted, given a key, renewed; another goes with the next tick.
        vec![entry::TICK, 0, 1, 0, 100],
        vec![entry::GRANT, 0, 1, 14, 9, 7],
        vec![entry::GRANT, 0, 1, 15, 20, 8],
        [&[entry::PUT, 0x60, 1, 16], long(b"l").as_slice(), &long(b"leased"), &[8]].concat(),
        vec![entry::RENEW, 0, 1, 17, 3, 8, 9, 0],
        vec![entry::TICK, 0, 1, 0, 10],
        vec![entry::REVOKE, 0, 1, 18, 7],
    ];
    [first.concat(), second.concat()]
}

fn commands() -> Cases {
    let [first, second] = entries();
    let configured = [
        first.as_slice(),
        &[entry::CONFIGURE, 0b11, 0b1000, 0b111, entry::RESTORE],
        &second,
        &[entry::CONFIGURE, 0b11, 0b1000, 0, entry::RESTORE],
        &put(2, 1, b"f", b"of nobody"),
    ];
    let far = [put(0, 1, b"a", b""), vec![entry::COMPACT, 0, 1, 0xf8, 0xfe, 0xff, 9]];
    let edges = [
        vec![entry::COMPACT, 0, 0xfb, 0, 0xfb, 0, 0xfb, 0],
        vec![entry::ANNOUNCE, 1, 0xf9, 62, 0, 4, 0xfb, 0],
        put(1, 1, b"", b""),
    ];
    let mut cases = named([
        ("plain", [first.as_slice(), &second].concat()),
        ("configured", configured.concat()),
        ("far-ahead", far.concat()),
        ("edges", edges.concat()),
    ]);
    // As they lie in the log: the payload alone, and as an entry.
    for (kind, name) in [(entry::PUT, "put"), (entry::COMPACT, "compact")] {
        let step = [&[kind, 0x80, 1, 2], long(b"key").as_slice(), &long(b"value")].concat();
        let payload = command::payload(&step);
        assert!(decode(payload.clone()).is_ok());
        cases.insert(format!("payload-{name}"), payload.to_vec());
        cases.insert(format!("raw-{name}"), [&[entry::RAW], long(&payload).as_slice()].concat());
    }
    cases
}

fn snapshots() -> Cases {
    let [first, second] = entries();
    let all = [first.as_slice(), &second].concat();
    let received = |entries: &[u8]| [&[snapshot::RECEIVED], &*snapshot::file(entries)].concat();
    let on_disk = |rest: &[u8]| {
        [&[snapshot::ON_DISK], long(&first).as_slice(), &long(&second), rest].concat()
    };
    let sections =
        |rest: &[u8]| [&[snapshot::SECTIONS], long(&all).as_slice(), rest, &long(&second)].concat();
    named([
        ("received", received(&all)),
        ("received-small", received(&first)),
        ("on-disk-newest", on_disk(&[0, 0, 0, damage::FLIP, 40, 0, 3])),
        ("on-disk-cut", on_disk(&[1, 0, 0, damage::CUT, 100, 0])),
        (
            "on-disk-both",
            on_disk(&[1, 1, 0, damage::ADD, 60, 0, 1, 0, damage::FILL, 9, 0, 9, 0, 0]),
        ),
        ("on-disk-longer", on_disk(&[0, 0, 0, damage::EXTEND, 0, 0, 3, 0, 1, 2, 3])),
        ("sections-head", sections(&[0, 0, edit::ADD, 13, 0, 1])),
        ("sections-lost", sections(&[0, 2, edit::LOSE])),
        ("sections-repeated", sections(&[0, 3, edit::REPEAT])),
        ("sections-records", sections(&[1, 3, edit::ADD, 20, 0, 1, 3, edit::ADD, 60, 0, 255])),
        ("sections-session", sections(&[0, 2, edit::DAMAGE, damage::ADD, 30, 0, 1])),
        ("sections-member", sections(&[0, 1, edit::DAMAGE, damage::WRITE, 14, 0, 2, 0, 1, 1])),
    ])
}

fn configs() -> Cases {
    let file = r#"{"name": "b", "data_dir": "d", "wal_dir": "w", "cluster_token": "t",
        "initial_cluster": {"b": "x:1", "a": "x:2"}, "initial_state": "existing",
        "heartbeat_interval": "50ms", "election_timeout": "2s", "request_timeout": "1 m",
        "snapshot_count": 7, "snapshot_log_bytes": "1GiB", "snapshot_catchup_entries": 8,
        "max_snapshots": 3, "segment_bytes": 65536, "max_request_bytes": "64KiB",
        "max_message_bytes": "2 MiB", "max_pending_requests": 9,
        "max_pending_bytes": "32MiB", "max_inflight_appends": 10}"#;
    let small = r#"{"name": "a", "data_dir": "d", "initial_cluster": {"a": "x"}}"#;
    let twice = r#"{"name": "a", "data_dir": "d", "initial_cluster": {"a": "x", "a": "y"}}"#;
    named([
        ("file", file.into()),
        ("file-small", small.into()),
        ("file-name-twice", twice.into()),
        ("members", vec![3, 2, 0, 1, 1, 2, 5, 64, 4, 1]),
        ("member-missing", vec![0, 3, 3, 4, 0, 1, 1, 2, 2, 0, 3]),
        ("places", vec![1, 2, 2, 80, 2, 1, 0, 70]),
        ("times", vec![6, 0, 20, 7, 0, 100, 8, 1, 1, 6, 1, 0xf9, 25, 7, 2, 50]),
        ("sizes", vec![15, 0xf9, 20, 14, 0xf9, 19, 17, 0xf9, 26, 13, 0xf9, 16, 10, 0xf9, 30]),
        ("counts", vec![9, 1, 11, 0, 12, 1, 16, 1, 18, 1, 19, 0xfb, 0]),
        ("edges", vec![9, 0xfb, 0, 10, 0xfb, 0, 13, 0xf9, 30, 15, 0xf9, 26, 17, 0xf9, 31]),
    ])
}

fn operations() -> Cases {
    let op = |op: u8, from: u16, to: u16, number: u8| {
        let ([a, b], [c, d]) = (from.to_le_bytes(), to.to_le_bytes());
        vec![op, a, b, c, d, number]
    };
    let many = op(op::PUT_MANY, 3, 700, 255);
    let puts: Vec<u8> = (0..8).flat_map(|n| op(op::PUT + op::COUNT * n, 5, 9, 1)).collect();
    let life = [op(op::PUT, 4, 4, 1), op(op::DELETE, 4, 9, 2), op(op::PUT, 4, 5, 3)].concat();
    let wide = [many.clone(), op(op::DELETE, 100, 600, 0), op(op::COMPACT, 1, 899, 10)].concat();
    let pinned =
        [op(op::PIN, 0, 899, 3), life.clone(), op(op::COMPACT + 5 * op::COUNT, 2, 8, 5)].concat();
    let some = [op(op::COMPACT, 0, 9, 5), op(op::TIDY, 2, 700, 90), op(op::READ, 0, 9, 3)].concat();
    named([
        ("life", life.clone()),
        ("puts", [puts.as_slice(), &op(op::COMPACT, 0, 9, 5), &life].concat()),
        ("wide", [wide.as_slice(), &many, &op(op::PIN, 0, 0, 0), &wide].concat()),
        ("pinned", [pinned.as_slice(), &puts, &pinned].concat()),
        (
            "restored",
            [life.as_slice(), &op(op::RESTORE, 7, 9, 40), &puts, &op(op::RESTORE, 0, 0, 2)]
                .concat(),
        ),
        ("removing", [many.as_slice(), &many, &life, &some, &many, &some, &puts, &some].concat()),
        (
            "emptied",
            [many.as_slice(), &op(op::DELETE, 899, 0, 0), &op(op::COMPACT, 0, 0, 10)].concat(),
        ),
    ])
}

/// For programs: a revision, so many before the newest; and ranges.
const NOW: u8 = 0x41;
const ALL: u8 = 4;
const PREFIX: u8 = 5;

/// Transactions that read at revisions, before and behind their own writes.
fn past() -> Vec<u8> {
    use kind::TXN;
    let read = |at: u8| [2, ALL, at, 0, 0].as_slice().to_vec();
    [
        [TXN, 0, 3, 0].as_slice(),
        &read(NOW + 2),
        &[0, 1, 1, 9],
        &read(NOW),
        [TXN, 0, 2, 0].as_slice(),
        &[0, 1, 1, 9],
        &read(NOW - 1),
        [TXN, 0, 2, 0].as_slice(),
        &[0, 1, 1, 9],
        &read(0xc8),
    ]
    .concat()
}

/// Programs for the whole store.
fn programs() -> Cases {
    use kind::{
        BOOT, COMPACT, DELETE, GET, MANY, PIN, PUT, RANGE, REPEAT, RESTORE, TIDY, TXN, UNPIN,
    };
    let puts: Vec<u8> = (0..8).flat_map(|key| [PUT, key, key % 2, key]).collect();
    let life = [PUT, 0, 0, 1, PUT, 0, 1, 2, DELETE, 0, 0, 1, GET, 0, NOW, PUT, 0, 1, 3];
    let kept = [PUT, 0, 6, PUT, 1, 0x19, 7, PUT, 2, 6, PUT, 1, 0xe0, 2].as_slice();
    let reads: Vec<u8> = (0..16)
        .flat_map(|n| [RANGE, ALL, [0, NOW + n][usize::from(n % 2)], n * 17, n % 5, NOW, NOW + 9])
        .collect();
    // Of each target one compare, of a key, a prefix or all; a put and a deletion on both sides.
    let compared: Vec<u8> = (0..20)
        .flat_map(|what| {
            let range = [[0, 1], [PREFIX, 6], [ALL, 0]][usize::from(what % 3)];
            let range = if range[0] == ALL { &range[..1] } else { &range[..] };
            let branches = [0, 1, 1, what, 1, PREFIX, 5, 1, 0, what % 8, 0, what];
            [&[TXN, 1, 2, 1, what], range, &[NOW + what % 4], &branches].concat()
        })
        .collect();
    let past = past();
    // The inner compare holds of what the put before it has made, and must not see it (TXN-5).
    let late = [TXN, 0, 2, 0, 0, 0, 0, 1, 4, 1, 1, 1, 0, 0, 0, 1, 0, 1, 0, 1, 0, 2, 0, 2];
    let nested = [TXN, 0, 2, 0, 0, 0, 0, 1, 4, 1, 1, 2, 4, 0, ALL, 0, 0, 1, 3, 5, 0, 3, 4, 0, 0, 0];
    let forget = |back: u8| [COMPACT, NOW + back, TIDY, 1, TIDY, 200];
    let fill: Vec<u8> = (0..6).flat_map(|n| [MANY, n * 40, 250]).collect();
    let sparse = [fill.as_slice(), &fill, &forget(3), &[TIDY, 255].repeat(12)].concat();
    let held = [PIN, NOW + 3, PIN, NOW, COMPACT, NOW, TIDY, 9];
    named([
        ("life", [life.as_slice(), &puts, kept, &reads].concat()),
        ("compares", [compared.as_slice(), &puts, &compared].concat()),
        ("past", [puts.as_slice(), &forget(4), &past, &past].concat()),
        ("nested", [late.as_slice(), &puts, &nested.repeat(3), &reads].concat()),
        ("forgotten", [life.as_slice(), &puts, &forget(3), &life, &forget(0), &reads].concat()),
        ("packed", [sparse.as_slice(), &[RESTORE, 2], &forget(1), &reads].concat()),
        ("deleted", [fill.as_slice(), &[DELETE, ALL, 1], &forget(0), &life, &forget(1)].concat()),
        (
            "held",
            [puts.as_slice(), &held, &life, &[TIDY, 90, UNPIN, 1], &life, &forget(0)].concat(),
        ),
        (
            "repeated",
            [
                life.as_slice(),
                &[REPEAT, 0, REPEAT, 2, BOOT, PUT, 0, 0, 1, REPEAT, 1],
                &life,
                &[REPEAT, 1],
            ]
            .concat(),
        ),
        (
            "late",
            [
                puts.as_slice(),
                &[REPEAT, 9, REPEAT, 7],
                &nested,
                &[REPEAT, 0, RESTORE, 0, REPEAT, 0],
            ]
            .concat(),
        ),
        (
            "restored",
            [life.as_slice(), &held, &[RESTORE, 1], &life, &[RESTORE, 0], &puts, &held].concat(),
        ),
    ])
}

fn clusters() -> Cases {
    use switch::{CLOCKS, TWICE, UNRULY};
    // A seed, one member less than there are, one call less, one tick less, and what is switched.
    let like = |seed: u8, members: u8, calls: u8, ticks: u16, rest: &[u8]| {
        let [low, high] = ticks.to_le_bytes();
        [&[seed, members, calls, low, high], rest].concat()
    };
    let calm = |seed, members, steps: &[&[u8]]| {
        like(seed, members, 80, 250, &[&[0, 0], steps.concat().as_slice()].concat())
    };
    let bouts = |seed: u8, faults: [Fault; 3]| {
        let each = faults.map(|fault| [upset::of(fault), 12, 20]);
        like(seed, 2, 120, 300, &[&[0, 3], each.concat().as_slice()].concat())
    };
    // What, whom, after how many quarters of a tick, for how many ticks.
    let now = |fault, whom, wait, lasts| [upset::of(fault), whom, wait, lasts];
    let led = |fault, wait, lasts| now(fault, LEADER, wait, lasts);
    let lose = [Fault::Partition, Fault::OneWay, Fault::SlowLink];
    let end = [Fault::Crash, Fault::PowerLoss, Fault::Blackout];
    let hang = [Fault::SlowDisk, Fault::StalledDisk, Fault::Pause];
    let fail = [Fault::FailedRead, Fault::PowerLoss, Fault::Rot];
    let full = [Fault::FailedWrite, Fault::FullDisk, Fault::Crash];
    let rot = [Fault::RotAnywhere, Fault::Crash, Fault::Partition];
    let unruly = [UNRULY | CLOCKS, 60, 60, 60, 100, 60, 90, 1, upset::of(Fault::Pause), 20, 30];
    let again = [UNRULY | TWICE, 20, 20, 20, 20, 20, 1, upset::of(Fault::PowerLoss), 20, 10];
    let cut = led(Fault::Partition, 160, 80);
    let crash = led(Fault::Crash, 120, 30);
    let power = [now(Fault::PowerLoss, 0, 150, 20), now(Fault::PowerLoss, 1, 30, 20)].concat();
    let black = now(Fault::Blackout, 0, 200, 20);
    let stall = [led(Fault::StalledDisk, 160, 60), led(Fault::PowerLoss, 30, 20)].concat();
    let hand = [upset::TRANSFER, 1, 200, 0, upset::TRANSFER, 2, 60, 0, upset::TRANSFER, 0, 1, 0];
    let heal = [now(Fault::Partition, 0, 150, 255), [upset::HEAL, 0, 100, 0]].concat();
    let clock = [led(Fault::ClockJump, 160, 90), led(Fault::Pause, 60, 60)].concat();
    let behind = [now(Fault::Crash, 2, 100, 200), now(Fault::Crash, 1, 250, 20)].concat();
    named([
        ("calm", calm(1, 2, &[])),
        ("alone", calm(2, 0, &[&power])),
        ("two", calm(3, 1, &[&crash, &cut])),
        ("five", calm(4, 4, &[&cut, &crash, &power])),
        ("leader-cut", calm(5, 2, &[&cut, &cut])),
        ("leader-crash", calm(6, 2, &[&crash, &crash, &crash])),
        ("power", calm(7, 2, &[&power, &power])),
        ("blackout", calm(8, 2, &[&black, &black])),
        ("stall", calm(9, 2, &[&stall])),
        ("transfers", calm(10, 2, &[&hand, &hand])),
        ("healed", calm(11, 2, &[&heal, &heal])),
        ("clocks", calm(12, 2, &[&clock])),
        ("behind", calm(13, 2, &[&behind])),
        ("bouts-links", bouts(14, lose)),
        ("bouts-ends", bouts(15, end)),
        ("bouts-hangs", bouts(16, hang)),
        ("bouts-fails", bouts(17, fail)),
        ("bouts-full", bouts(21, full)),
        ("bouts-rot", bouts(18, rot)),
        ("unruly", like(19, 2, 140, 390, &unruly)),
        ("twice", like(20, 3, 90, 200, &again)),
    ])
}

fn logs() -> Cases {
    use deed::{APPEND, RELEASE, REMEMBER, REOPEN, REPLACE, SNAPSHOT, VOTE};
    use record::{ENTRY, HARD_STATE, MARK, NEXT, SEAL};
    use wound::{BLANK, DAMAGE, FORGE, MISPLACE, OLD, REMOVE};
    let short = [APPEND, 1, 30, 40, 1, APPEND, 0, 5, 0].as_slice();
    let long = [
        [APPEND, 3, 100, 0xff, 100, 7, 1, VOTE, 2, REMEMBER, APPEND, 2, 90, 80, 70, 0].as_slice(),
        &[REPLACE, 1, 1, 110, 60, 1, APPEND, 0, 20, 1, SNAPSHOT, APPEND, 1, 120, 120, 1],
        &[REOPEN, APPEND, 0, 40, 1, RELEASE, APPEND, 2, 100, 100, 100, 1, SNAPSHOT, RELEASE],
        &[REOPEN, APPEND, 0, 9, 0, APPEND, 0, 9, 1],
    ]
    .concat();
    let harmed =
        |deeds: &[u8], rest: &[u8]| [&[wal::HARMED], self::long(deeds).as_slice(), rest].concat();
    let crafted = |rest: &[u8]| [&[wal::CRAFTED], rest].concat();
    let entries = [[ENTRY, 0, 3].repeat(4), vec![HARD_STATE, 0, 9, SEAL, 0, NEXT]].concat();
    let replaced = [ENTRY, 0, 90, ENTRY, 0, 90, ENTRY, 0x21, 80, ENTRY, 0, 1];
    let mut cases = named([
        ("whole", harmed(&long, &[0, DAMAGE, 0, damage::ADD, 0, 0, 0])),
        ("flipped-record", harmed(short, &[0, DAMAGE, 0, damage::FLIP, 0x20, 0x10, 3])),
        ("flipped-marker", harmed(&long, &[0, DAMAGE, 2, damage::FLIP, 0, 2, 0])),
        ("cut", harmed(&long, &[0, DAMAGE, 2, damage::CUT, 0, 0x12])),
        ("blank-tail", harmed(short, &[0, BLANK, 0, 9, 0])),
        (
            "blank-tail-and-marker",
            harmed(short, &[1, BLANK, 0, 9, 0, DAMAGE, 0, damage::FLIP, 0, 2, 0]),
        ),
        ("old-sector", harmed(&long, &[0, OLD, 0, 10])),
        ("misplaced-marker", harmed(short, &[0, MISPLACE, 0, 8, 1])),
        ("removed-last", harmed(&long, &[0, REMOVE, 2])),
        ("removed-identity", harmed(&long, &[0, REMOVE, 3])),
        ("forged-header", harmed(&long, &[0, FORGE, 1, 0, damage::ADD, 56, 0, 1])),
        ("forged-marker", harmed(short, &[0, FORGE, 0, 1, damage::ADD, 8, 0, 64])),
        ("crafted-entries", crafted(&[&[0], entries.as_slice(), &[0], &entries].concat())),
        ("crafted-replaced", crafted(&[&[0], replaced.as_slice()].concat())),
        ("crafted-mark", crafted(&[0, ENTRY, 0, 9, MARK, 2, 40, 3, ENTRY, 0, 9, HARD_STATE, 0, 1])),
        ("crafted-bare", crafted(&[2, MARK, 8, ENTRY, 2, 0xfb, 0, 1, 3])),
        ("crafted-behind", crafted(&[1, 40, 2, ENTRY, 2, 30, 3, 9, ENTRY, 0, 9])),
        ("crafted-marker", crafted(&[4, ENTRY, 0, 3, NEXT, 5, 0xf8, 0, 16, 0xf8, 0, 17, 0, 9, 9])),
    ]);
    for (at, file) in wal::files(&long).into_iter().take(2).enumerate() {
        cases.insert(format!("file-{at}"), [&[wal::RAW], file.as_slice()].concat());
    }
    cases
}
