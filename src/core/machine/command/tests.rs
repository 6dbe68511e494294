use proptest::prelude::*;

use super::*;
use crate::core::machine::txn::{Compare, MAX_ITEMS, Op, Operator, Target};
use crate::core::mvcc::{Bounds, Order, Query, SortBy};
use crate::ids::{Index, LeaseId};
use crate::keys::KeyRange;

const FIRST: &[u8] = include_bytes!("../../../../tests/fixtures/commands-v1");
const SECOND: &[u8] = include_bytes!("../../../../tests/fixtures/commands-v2");
const THIRD: &[u8] = include_bytes!("../../../../tests/fixtures/commands-v3");

fn origin() -> Origin {
    Origin {
        node: NodeId::new(0x0102_0304_0506_0708),
        incarnation: Incarnation::new(0xfedc),
        boot: 3,
        sequence: 9,
        watermark: 7,
    }
}

fn payload(command: &Command) -> Bytes {
    let mut payload = command.encode();
    stamp(&mut payload, &origin());
    payload.freeze()
}

fn put(key: &'static [u8], value: &'static [u8], lease: u64, prev: bool) -> Command {
    let (key, value) = (Bytes::from_static(key), Bytes::from_static(value));
    Command::Put(Put { lease: LeaseId::new(lease), prev, ..Put::new(key, value) })
}

/// What commands of the first version could say: one of each kind, and each field with and
/// without its default.
fn first_samples() -> Vec<Command> {
    let delete = |range, prev| Command::Delete(Delete { range, prev });
    let revision = Revision::new(1 << 40);
    let (node, incarnation) = (NodeId::new(u64::MAX), Incarnation::new(1 << 63));
    vec![
        put(b"key", b"value", 0, false),
        put(b"\0", b"", u64::MAX, true),
        delete(KeyRange::key("a"), false),
        delete(KeyRange::prefix("a/"), true),
        delete(KeyRange::all(), false),
        delete(KeyRange::from("b".."a"), false),
        Command::Compact { revision: Revision::new(0) },
        Command::Compact { revision },
        Command::Announce { node, incarnation },
    ]
}

fn compare(operator: Operator, target: Target) -> Compare {
    Compare { range: KeyRange::from("a".."c"), operator, target }
}

/// What the second version added.
fn second_samples() -> Vec<Command> {
    let (key, lease) = (|| Bytes::from_static(b"k"), LeaseId::new(9));
    let kept = Put { ignore_value: true, lease, ..Put::new(key(), Bytes::new()) };
    let touched = Put { ignore_value: true, ignore_lease: true, prev: true, ..kept.clone() };
    let touched = Put { lease: LeaseId::new(0), ..touched };
    let bounds = |min, max| Bounds { min: Revision::new(min), max: Revision::new(max) };
    let sorts = [SortBy::Key, SortBy::Version, SortBy::CreateRevision, SortBy::ModRevision];
    let query = |sort| Query {
        at: Some(Revision::new(7)),
        limit: 3,
        sort,
        order: Order::Descending,
        mod_revision: bounds(2, 3),
        create_revision: bounds(4, 5),
        keys_only: true,
        count_only: true,
        ..Query::new(KeyRange::prefix("a/"))
    };
    let inner = Txn { failure: vec![Op::Put(touched.clone())], ..Txn::default() };
    let revision = Revision::new(6);
    let txn = Txn {
        compares: vec![
            compare(Operator::Equal, Target::Version(0)),
            compare(Operator::NotEqual, Target::CreateRevision(revision)),
            compare(Operator::Greater, Target::ModRevision(revision)),
            compare(Operator::Less, Target::Lease(lease)),
            compare(Operator::Equal, Target::Value(Bytes::new())),
            compare(Operator::Less, Target::Value(key())),
        ],
        success: vec![
            Op::Put(Put::new(key(), key())),
            Op::Delete(Delete { range: KeyRange::all(), prev: true }),
            Op::Txn(inner),
        ],
        failure: sorts.into_iter().map(query).map(Op::Range).collect(),
    };
    let reads = vec![
        Op::Range(Query::new(KeyRange::key("a"))),
        Op::Range(Query { sort: SortBy::Value, ..Query::new(KeyRange::all()) }),
    ];
    vec![
        Command::Put(kept),
        Command::Put(touched),
        Command::Txn(Txn::default()),
        Command::Txn(txn),
        Command::Txn(Txn { success: reads, ..Txn::default() }),
    ]
}

/// What the third version added.
fn third_samples() -> Vec<Command> {
    let lease = LeaseId::new;
    vec![
        Command::Grant { lease: lease(0), ttl: 1 },
        Command::Grant { lease: lease(u64::MAX), ttl: MAX_TTL_MS },
        Command::Revoke { lease: lease(0), grant: Index::default() },
        Command::Revoke { lease: lease(7), grant: Index::new(u64::MAX) },
        Command::Renew { leases: Vec::new() },
        Command::Renew { leases: [1, 0, u64::MAX, 1].map(lease).to_vec() },
        Command::Tick { advance: 0 },
        Command::Tick { advance: u64::MAX },
    ]
}

fn samples() -> Vec<Command> {
    [first_samples(), second_samples(), third_samples()].concat()
}

/// The samples as they are stored, each behind its length.
pub(in super::super) fn fixture() -> Bytes {
    let mut out = BytesMut::new();
    let samples = third_samples();
    samples.iter().for_each(|command| crate::codec::put_bytes(&mut out, &payload(command)));
    out.freeze()
}

#[test]
fn a_command_comes_back_as_it_was() {
    for command in samples() {
        assert_eq!(decode(payload(&command)), Ok((origin(), command)));
    }
}

/// Every released format is read for ever: never change a file, add one for each version.
#[test]
fn the_first_format_is_still_read() {
    let mut reader = Reader::new(Bytes::from_static(FIRST));
    for command in first_samples() {
        let stored = reader.bytes("fixture").unwrap();
        assert_eq!(decode(stored.clone()), Ok((origin(), command.clone())));
        // The second one wrote what there was before in the same way.
        assert_eq!(payload(&command)[1..], stored[1..], "{command:?}");
    }
    reader.end("fixture").unwrap();
}

#[test]
fn the_second_format_is_still_read() {
    let mut reader = Reader::new(Bytes::from_static(SECOND));
    for command in second_samples() {
        let stored = reader.bytes("fixture").unwrap();
        assert_eq!(decode(stored.clone()), Ok((origin(), command.clone())));
        assert_eq!(payload(&command)[1..], stored[1..], "{command:?}");
    }
    reader.end("fixture").unwrap();
}

#[test]
fn the_third_format_is_still_read_and_written() {
    let mut reader = Reader::new(Bytes::from_static(THIRD));
    for command in third_samples() {
        let stored = reader.bytes("fixture").unwrap();
        assert_eq!(decode(stored.clone()), Ok((origin(), command.clone())));
        assert_eq!(payload(&command), stored, "{command:?}");
    }
    reader.end("fixture").unwrap();
}

#[test]
fn lse_3_a_ttl_that_cannot_be_is_refused() {
    for ttl in [0, MAX_TTL_MS + 1, u64::MAX] {
        let grant = Command::Grant { lease: LeaseId::new(1), ttl };
        assert_eq!(decode(payload(&grant)), Err(Malformed { what: "TTL of a lease" }));
    }
    let renew = |count| Command::Renew { leases: vec![LeaseId::new(1); count] };
    decode(payload(&renew(MAX_RENEWALS))).unwrap();
    let refused = Malformed { what: "number of leases to renew" };
    assert_eq!(decode(payload(&renew(MAX_RENEWALS + 1))), Err(refused));
}

/// The leader looks at bytes, not at commands.
#[test]
fn what_begins_the_time_of_a_lease_is_known_by_its_bytes() {
    for command in samples() {
        let begins = matches!(command, Command::Grant { .. } | Command::Renew { .. });
        assert_eq!(command.begins_leases(), begins, "{command:?}");
        assert_eq!(Command::begins_leases_encoded(&payload(&command)), begins, "{command:?}");
    }
    assert!(!Command::begins_leases_encoded(&[]));
}

/// Four bytes in the log, and hundreds in memory: they are counted before they are read.
#[test]
fn more_operations_than_anybody_may_propose_are_refused_before_they_are_read() {
    let empty = |count| Txn { success: vec![Op::Txn(Txn::default()); count], ..Txn::default() };
    let most = empty(MAX_ITEMS);
    most.check(MAX_ITEMS, 0).unwrap();
    let command = Command::Txn(most);
    assert_eq!(decode(payload(&command)), Ok((origin(), command)));
    let more = empty(MAX_ITEMS + 1);
    assert!(more.check(MAX_ITEMS + 1, 0).unwrap_err().is_too_large());
    let refused = Malformed { what: "number of operations in a transaction" };
    assert_eq!(decode(payload(&Command::Txn(more))), Err(refused));
    // Nested ones count too.
    let half = Txn { failure: empty(MAX_ITEMS / 2).success, ..empty(MAX_ITEMS / 2) };
    let nested = Txn { success: vec![Op::Txn(half)], ..Txn::default() };
    assert_eq!(decode(payload(&Command::Txn(nested))), Err(refused));
}

/// Two messages for each level: what may be proposed can always be decoded.
#[test]
fn the_deepest_transaction_comes_back_and_a_deeper_one_is_refused() {
    let nest = |txn| Txn { success: vec![Op::Txn(txn)], ..Txn::default() };
    let mut deepest = Txn::default();
    for _ in 0..MAX_DEPTH {
        deepest = nest(deepest);
    }
    deepest.check(100, 0).unwrap();
    let command = Command::Txn(deepest.clone());
    assert_eq!(decode(payload(&command)), Ok((origin(), command)));
    let deeper = nest(deepest);
    assert!(deeper.check(100, 0).unwrap_err().is_too_large());
    let refused = Malformed { what: "depth of a transaction" };
    assert_eq!(decode(payload(&Command::Txn(deeper))), Err(refused));
}

#[test]
fn keys_and_values_are_not_copied() {
    let payload = payload(&put(b"key", b"value", 0, false));
    let (_, command) = decode(payload.clone()).unwrap();
    let Command::Put(Put { key, value, .. }) = command else { panic!("{command:?}") };
    let inside = payload.as_ptr_range();
    assert!(inside.contains(&key.as_ptr()) && inside.contains(&value.as_ptr()));
}

#[test]
fn sel_4_an_empty_key_is_refused_again() {
    let delete = Command::Delete(Delete { range: KeyRange::key(""), prev: false });
    for command in [put(b"", b"value", 0, false), delete] {
        decode(payload(&command)).unwrap_err();
    }
    let (node, incarnation) = (NodeId::new(0), Incarnation::new(1));
    decode(payload(&Command::Announce { node, incarnation })).unwrap_err();
}

#[test]
fn a_frame_that_cannot_be_is_refused() {
    let good = payload(&put(b"key", b"value", 0, false));
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.to_vec();
        bytes[at] = byte;
        decode(bytes.into())
    };
    assert_eq!(changed(0, 0), Err(Malformed { what: "version of a command" }), "not stamped");
    assert_eq!(changed(0, 4), Err(Malformed { what: "version of a command" }), "newer");
    assert_eq!(changed(2, 1), Err(Malformed { what: "reserved bytes of a command" }));
    assert_eq!(changed(36, 10), Err(Malformed { what: "origin of a command" }), "watermark 10");
    let mut nobody = good.to_vec();
    nobody[4..12].fill(0);
    assert_eq!(decode(nobody.into()), Err(Malformed { what: "origin of a command" }));
    for cut in 0..good.len() {
        decode(good.slice(..cut)).unwrap_err();
    }
}

#[test]
fn what_this_version_does_not_know_is_never_skipped() {
    let good = payload(&put(b"key", b"value", 0, false));
    let with = |more: &[u8]| decode([&good, more].concat().into());
    let unknown = Malformed { what: "field of a command" };
    assert_eq!(with(&[0x50, 1]), Err(unknown), "field 10 of the command");
    assert_eq!(with(&good[FRAME_BYTES..]), Err(unknown), "the command twice");
    let explicit = [&good[..FRAME_BYTES], &[0x1a, 2, 0x08, 0]].concat();
    assert_eq!(decode(explicit.into()), Err(unknown), "a default that is written out");
    assert_eq!(decode(good.slice(..FRAME_BYTES)), Err(Malformed { what: "kind of a command" }));
}

proptest! {
    #[test]
    fn no_bytes_can_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(bytes.clone().into());
        // The same behind a good frame, to get at the command.
        let mut framed = BytesMut::zeroed(FRAME_BYTES);
        stamp(&mut framed, &origin());
        framed.extend_from_slice(&bytes);
        if let Ok((_, command)) = decode(framed.clone().freeze()) {
            prop_assert_eq!(payload(&command).len(), framed.len());
        }
        // And with a field's tag and length in front, to get further.
        bytes.truncate(127);
        for tag in [0x0a_u8, 0x12, 0x1a, 0x22, 0x2a, 0x32, 0x3a, 0x42, 0x4a] {
            let mut nested = framed[..FRAME_BYTES].to_vec();
            nested.extend_from_slice(&[tag, u8::try_from(bytes.len()).unwrap()]);
            nested.extend_from_slice(&bytes);
            let _ = decode(nested.into());
        }
    }

    #[test]
    fn a_changed_byte_is_refused_or_another_command(at in 0_usize..200, byte: u8, which: usize) {
        let samples = samples();
        let good = payload(&samples[which % samples.len()]);
        let mut bytes = good.to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok((origin, command)) = decode(bytes.clone().into()) {
            let mut again = command.encode();
            stamp(&mut again, &origin);
            prop_assert_eq!(again.len(), bytes.len());
        }
    }
}
