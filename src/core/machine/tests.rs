//! Properties of the machine that no script can show: any order of entries, any bytes.

use std::collections::BTreeSet;

use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;

use super::image::MAX_SECTION_BYTES;
use super::txn::{Compare, Delete, Op, Operator, Put, Target, Txn};
use super::*;
use crate::codec;
use crate::core::mvcc::Query;
use crate::ids::{Incarnation, Index, LeaseId, Revision};
use crate::keys::KeyRange;

const FIRST: &[u8] = include_bytes!("../../../tests/fixtures/image-v1");
const SECOND: &[u8] = include_bytes!("../../../tests/fixtures/image-v2");
const THIRD: &[u8] = include_bytes!("../../../tests/fixtures/image-v3");

/// Members 1, 2 and 3, as every member of a new cluster starts.
pub(super) fn genesis() -> Genesis {
    let ids = [1, 2, 3].map(NodeId::new);
    let member = |id: NodeId| Member {
        id,
        name: format!("n{id}"),
        address: format!("host:{id}"),
        incarnation: None,
        learner: false,
    };
    let conf = ConfState { voters: ids.to_vec(), ..ConfState::default() };
    Genesis {
        cluster: ClusterId::new(77),
        members: ids.map(member).to_vec(),
        mark: SnapshotMark { index: Index::new(1), term: Term::new(1), conf },
    }
}

pub(super) fn member_ids(ids: &[NodeId]) -> Vec<u64> {
    ids.iter().map(|id| id.get()).collect()
}

/// A proposal as its origin made it, whatever the log does with it.
#[derive(Clone, Debug)]
struct Proposal {
    origin: Origin,
    command: Command,
}

fn origin(node: u64, boot: u64, sequence: u64, watermark: u64) -> Origin {
    let (node, incarnation) = (NodeId::new(node), Incarnation::new(node * 11));
    Origin { node, incarnation, boot, sequence, watermark }
}

fn entry(machine: &Machine, proposal: &Proposal) -> Entry {
    let (index, term) = machine.applied();
    let mut data = proposal.command.encode();
    stamp(&mut data, &proposal.origin);
    Entry { index: index.next(), term, kind: EntryKind::Normal, data: data.freeze() }
}

fn apply(machine: &mut Machine, proposal: &Proposal) -> Outcome {
    let applied = machine.apply(&entry(machine, proposal)).unwrap();
    assert_eq!(applied.origin, Some(proposal.origin));
    applied.outcome
}

fn restored(image: &Image) -> Machine {
    Machine::restore(image.sections().map(Ok), image.mark()).unwrap()
}

fn key() -> impl Strategy<Value = Bytes> {
    (b'a'..=b'e').prop_map(|byte| Bytes::copy_from_slice(&[byte]))
}

fn put_command() -> impl Strategy<Value = Command> {
    let fields = (key(), any::<[u8; 2]>(), 0_u64..10, any::<bool>());
    fields.prop_map(|(key, value, lease, prev)| {
        let (value, lease) = (Bytes::copy_from_slice(&value), LeaseId::new(lease / 9));
        Command::Put(Put { lease, prev, ..Put::new(key, value) })
    })
}

fn range() -> impl Strategy<Value = KeyRange> {
    prop_oneof![
        2 => key().prop_map(KeyRange::key),
        1 => (key(), key()).prop_map(|(start, end)| KeyRange::from(start..end)),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    let delete = (range(), any::<bool>());
    prop_oneof![
        6 => put_command(),
        3 => delete.prop_map(|(range, prev)| Command::Delete(Delete { range, prev })),
        1 => (0_u64..40).prop_map(|at| Command::Compact { revision: Revision::new(at) }),
    ]
}

/// Proposals with distinct names: a node's sequences rise, with gaps for those that got lost, and
/// the watermark follows somewhere behind. Now and then the node is started again.
fn proposals() -> impl Strategy<Value = Vec<Proposal>> {
    let step = (1_u64..=3, command(), 0_u64..12, 1_u64..3, 0_u64..4);
    proptest::collection::vec(step, 1..60).prop_map(|steps| {
        let mut last = [(1, 0, 1); 3];
        let propose = |(node, command, reboot, gap, behind): (u64, _, u64, u64, u64)| {
            let (boot, sequence, watermark) = &mut last[usize::try_from(node).unwrap() - 1];
            if reboot == 0 {
                (*boot, *sequence, *watermark) = (*boot + 1, 0, 1);
            }
            *sequence += gap;
            *watermark = (*watermark).max(sequence.saturating_sub(behind));
            Proposal { origin: origin(node, *boot, *sequence, *watermark), command }
        };
        steps.into_iter().map(propose).collect()
    })
}

/// A log: the proposals as they were made, then each again at any later place. With luck the first
/// copy is lost or overtaken, so that the repeat is the one that counts.
fn log() -> impl Strategy<Value = Vec<Proposal>> {
    (proposals(), proptest::collection::vec((any::<prop::sample::Index>(), 0_usize..12), 0..80))
        .prop_map(|(proposals, moves)| {
            let mut log: Vec<_> = proposals.clone();
            for (which, distance) in moves {
                let repeat = which.index(log.len());
                let at = (repeat + distance).min(log.len());
                log.insert(at, log[repeat].clone());
                if distance % 3 == 0 {
                    // Swapping neighbours lets a later proposal overtake.
                    let at = at.min(log.len() - 2);
                    log.swap(at, at + 1);
                }
            }
            log
        })
}

type Name = (NodeId, u64, u64);

fn name(origin: &Origin) -> Name {
    (origin.node, origin.boot, origin.sequence)
}

/// Exactly once, said naively: a set of every name ever applied, and the rule that decides which
/// proposals come too late, without a window.
#[derive(Default)]
struct Twin {
    applied: BTreeSet<Name>,
    boots: [u64; 4],
    watermarks: [u64; 4],
}

impl Twin {
    fn admits(&mut self, origin: &Origin) -> bool {
        let node = usize::try_from(origin.node.get()).unwrap();
        if origin.boot > self.boots[node] {
            (self.boots[node], self.watermarks[node]) = (origin.boot, 0);
        }
        if origin.boot < self.boots[node] {
            return false;
        }
        self.watermarks[node] = self.watermarks[node].max(origin.watermark);
        origin.sequence >= self.watermarks[node] && self.applied.insert(name(origin))
    }
}

/// An outcome without what is not kept for a repeat.
fn short(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Put { revision, .. } => Outcome::Put { revision, prev: None },
        Outcome::Deleted { revision, count, .. } => {
            Outcome::Deleted { revision, count, prev: Vec::new() }
        }
        other => other,
    }
}

proptest! {
    /// Invariant 2. The second machine is fed only what the naive rule lets through, each proposal
    /// as the first of a boot of its own so that it must apply: the stores must be equal.
    #[test]
    fn each_proposal_is_applied_at_most_once(log in log()) {
        let (mut machine, mut plain) = (Machine::new(genesis()), Machine::new(genesis()));
        let mut twin = Twin::default();
        let mut outcomes = std::collections::BTreeMap::new();
        for (at, proposal) in log.iter().enumerate() {
            let outcome = apply(&mut machine, proposal);
            let Origin { node, boot, sequence, .. } = proposal.origin;
            if twin.admits(&proposal.origin) {
                let fresh = Origin { boot: at as u64 + 1, watermark: sequence, ..proposal.origin };
                let expected = Proposal { origin: fresh, command: proposal.command.clone() };
                let expected = apply(&mut plain, &expected);
                prop_assert_eq!(&outcome, &expected);
                outcomes.insert(name(&proposal.origin), short(outcome));
                prop_assert!(machine.outcome_of(node, boot, sequence).is_some());
            } else if outcome != Outcome::Superseded {
                prop_assert_eq!(Some(&outcome), outcomes.get(&name(&proposal.origin)));
                prop_assert_eq!(machine.outcome_of(node, boot, sequence), Some(outcome));
            }
        }
        let records = |machine: &Machine| -> Vec<Vec<u8>> {
            machine.mvcc().pin().records().map(|record| record.as_bytes().to_vec()).collect()
        };
        prop_assert_eq!(records(&machine), records(&plain));
        prop_assert_eq!(machine.mvcc().revision(), plain.mvcc().revision());
        prop_assert_eq!(machine.mvcc().compacted(), plain.mvcc().compacted());
    }

    /// DUR-14, HSH-6, invariant 6: an image taken at any entry, read while others apply, and then
    /// the rest of the log, is the same as the whole log (`INV-11`).
    #[test]
    fn an_image_and_the_rest_is_the_whole(log in log(), at: prop::sample::Index) {
        let mut machine = Machine::new(genesis());
        let (before, after) = log.split_at(at.index(log.len()));
        for proposal in before {
            apply(&mut machine, proposal);
        }
        let (image, hash) = (machine.pin(), machine.hash());
        let outcomes: Vec<_> = after.iter().map(|entry| apply(&mut machine, entry)).collect();
        prop_assert_eq!(image.hash(), hash, "what is pinned does not change");

        let mut other = restored(&image);
        prop_assert_eq!(other.hash(), hash);
        let others: Vec<_> = after.iter().map(|entry| apply(&mut other, entry)).collect();
        prop_assert_eq!(outcomes, others);
        prop_assert_eq!(machine.hash(), other.hash());
    }

    /// HSH-3, DM-18: whether what was compacted has been removed, and how far, shows in no hash, no
    /// image, and no outcome.
    #[test]
    fn hsh_3_an_image_is_the_same_wherever_a_removal_is(
        log in log(),
        slices in proptest::collection::vec(0_usize..4, 1..20),
    ) {
        let (mut lazy, mut busy) = (Machine::new(genesis()), Machine::new(genesis()));
        for (proposal, work) in log.iter().zip(slices.iter().cycle()) {
            prop_assert_eq!(apply(&mut lazy, proposal), apply(&mut busy, proposal));
            busy.tidy(Pace { work: work + 1, max_pinned: 0, watched: None });
            prop_assert_eq!(file_of(&lazy.pin()), file_of(&busy.pin()));
            prop_assert_eq!(restored(&lazy.pin()).hash(), busy.hash());
        }
    }

    /// An image that was changed anywhere is refused; nothing panics.
    #[test]
    fn a_damaged_image_is_refused(
        log in log(),
        which: prop::sample::Index,
        bit: prop::sample::Index,
    ) {
        let mut machine = Machine::new(genesis());
        log.iter().for_each(|proposal| drop(apply(&mut machine, proposal)));
        let image = machine.pin();
        let good: Vec<_> = image.sections().collect();
        let restore = |sections: Vec<Section>| {
            Machine::restore(sections.into_iter().map(Ok), image.mark()).map(|it| it.hash())
        };

        let mut flipped = good.clone();
        let section = &mut flipped[which.index(good.len())];
        let mut bytes = section.bytes.to_vec();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        section.bytes = bytes.into();
        prop_assert!(restore(flipped).is_err());

        let mut cut = good.clone();
        let section = &mut cut[which.index(good.len())];
        section.bytes.truncate(bit / 8);
        prop_assert!(restore(cut).is_err());

        let mut missing = good.clone();
        missing.remove(which.index(good.len()));
        prop_assert!(restore(missing).is_err());

        let mut twice = good.clone();
        twice.insert(which.index(good.len()), good[which.index(good.len())].clone());
        prop_assert!(restore(twice).is_err());
        prop_assert!(restore(good[..which.index(good.len())].to_vec()).is_err());
        prop_assert_eq!(restore(good).unwrap(), image.hash());
    }

    #[test]
    fn no_sections_can_make_it_panic(
        sections in proptest::collection::vec(
            (0_u8..7, proptest::collection::vec(any::<u8>(), 0..60)), 0..8),
    ) {
        let mark = genesis().mark;
        let sections = sections.into_iter().map(|(kind, mut bytes)| {
            if let Some(version) = bytes.first_mut() {
                *version = 1;
            }
            Ok(Section { kind, bytes: bytes.into() })
        });
        prop_assert!(Machine::restore(sections, &mark).is_err());
    }
}

proptest! {
    /// What is told from what a session has kept is what was told when it was applied; and puts and
    /// transactions that do nothing else can be told so, whichever branch they take.
    #[test]
    fn inv_6_what_is_told_from_memory_is_what_happened(
        steps in prop::collection::vec((0..6_usize, key(), 0..3_u64), 1..30),
    ) {
        let mut machine = Machine::new(genesis());
        for (at, (kind, key, lease)) in steps.into_iter().enumerate() {
            let lease = LeaseId::new(lease / 2);
            let one = || Put { lease, ..Put::new(key.clone(), key.clone()) };
            let (range, operator) = (KeyRange::key(key.clone()), Operator::Equal);
            let absent = Compare { range: range.clone(), operator, target: Target::Version(0) };
            let delete = Delete { range, prev: false };
            let txn = |success, failure| Txn { compares: vec![absent], success, failure };
            let (command, is_kept) = match kind {
                0 => (Command::Put(one()), true),
                1 => (Command::Put(Put { prev: true, ..one() }), false),
                2 => (Command::Delete(delete), true),
                3 => (Command::Txn(txn(vec![Op::Put(one()), Op::Put(one())], Vec::new())), true),
                4 => (Command::Txn(txn(vec![Op::Put(one())], vec![Op::Delete(delete)])), false),
                _ => (Command::Txn(txn(Vec::new(), vec![Op::Put(one())])), true),
            };
            let origin = origin(1, 1, at as u64 + 1, 1);
            let outcome = apply(&mut machine, &Proposal { origin, command: command.clone() });
            let kept = machine.outcome_of(origin.node, origin.boot, origin.sequence).unwrap();
            let told = command.told(kept);
            prop_assert!(told.is_some() || !is_kept, "{:?}", outcome);
            prop_assert!(told.is_none_or(|told| told == outcome), "{:?}", outcome);
        }
    }
}

fn put(sequence: u64, value: Vec<u8>) -> Proposal {
    let (key, value) = (Bytes::from(format!("key{sequence:05}")), Bytes::from(value));
    let command = Command::Put(Put::new(key, value));
    Proposal { origin: origin(1, 1, sequence, 1), command }
}

/// A state with one of everything that the image can hold.
fn rich() -> Machine {
    let mut machine = Machine::new(genesis());
    let delete = Command::Delete(Delete { range: KeyRange::key("key00001"), prev: true });
    let compact = |revision| Command::Compact { revision: Revision::new(revision) };
    let announce =
        |node| Command::Announce { node: NodeId::new(node), incarnation: Incarnation::new(99) };
    let lease = LeaseId::new(4);
    let leased = Command::Put(Put { lease, ..Put::new("k".into(), Bytes::new()) });
    for sequence in 1..=3 {
        apply(&mut machine, &put(sequence, vec![7; 3]));
    }
    let more = [delete, compact(4), compact(3), compact(99), announce(1), announce(9), leased];
    for (sequence, command) in (5_u64..).zip(more.into_iter().chain([announce(3)])) {
        apply(&mut machine, &Proposal { origin: origin(2, 6, sequence, 3), command });
    }
    let conf = ConfState {
        voters: [1, 2].map(NodeId::new).to_vec(),
        learners: vec![NodeId::new(4)],
        voters_outgoing: [1, 2, 3].map(NodeId::new).to_vec(),
        learners_next: vec![NodeId::new(3)],
        auto_leave: true,
    };
    let index = machine.applied().0.next();
    let (term, data) = (Term::new(8), Bytes::new());
    machine.apply_conf(&Entry { index, term, kind: EntryKind::ConfChange, data }, conf).unwrap();
    machine
}

fn file_of(image: &Image) -> Bytes {
    let mut file = BytesMut::new();
    for section in image.sections() {
        file.put_u8(section.kind);
        codec::put_bytes(&mut file, &section.bytes);
    }
    file.freeze()
}

fn sections_of(file: &'static [u8]) -> Vec<Result<Section>> {
    let mut reader = codec::Reader::new(Bytes::from_static(file));
    let mut sections = Vec::new();
    while reader.remaining() > 0 {
        let kind = reader.u8("kind").unwrap();
        sections.push(Ok(Section { kind, bytes: reader.bytes("section").unwrap() }));
    }
    sections
}

/// A machine with all that the second version can hold.
fn richer() -> Machine {
    let mut machine = rich();
    let read = || Op::Range(Query::new(KeyRange::key("key00003")));
    let absent = Compare {
        range: KeyRange::key("key00003"),
        operator: Operator::Equal,
        target: Target::Version(0),
    };
    let done = Txn { success: vec![read()], ..Txn::default() };
    let failed = Txn { compares: vec![absent], failure: vec![read()], ..Txn::default() };
    let kept = Put { ignore_value: true, ..Put::new("none".into(), Bytes::new()) };
    let more = [Command::Txn(done), Command::Txn(failed), Command::Put(kept)];
    for (sequence, command) in (13_u64..).zip(more) {
        apply(&mut machine, &Proposal { origin: origin(2, 6, sequence, 3), command });
    }
    machine
}

/// A machine with all that the third version can hold.
fn richest() -> Machine {
    let mut machine = richer();
    let lease = LeaseId::new;
    let leased = Command::Put(Put { lease: lease(5), ..Put::new("k".into(), Bytes::new()) });
    let more = [
        Command::Tick { advance: 1 << 33 },
        Command::Grant { lease: lease(5), ttl: 5000 },
        Command::Grant { lease: lease(6), ttl: 2000 },
        Command::Tick { advance: 700 },
        Command::Grant { lease: lease(5), ttl: 9 },
        leased,
        Command::Revoke { lease: lease(6), grant: Index::default() },
    ];
    for (sequence, command) in (16_u64..).zip(more) {
        apply(&mut machine, &Proposal { origin: origin(2, 6, sequence, 3), command });
    }
    // In a later term, so that it is fresh.
    let command = Command::Grant { lease: lease(u64::MAX), ttl: 1 };
    let next = entry(&machine, &Proposal { origin: origin(2, 6, 30, 3), command });
    machine.apply(&Entry { term: Term::new(11), ..next }).unwrap();
    machine
}

/// Every released format is read for ever: never change a file, add one for each version.
#[test]
fn every_image_format_is_still_read_and_the_third_written() {
    for (file, machine) in [(FIRST, rich()), (SECOND, richer()), (THIRD, richest())] {
        let image = machine.pin();
        let read = Machine::restore(sections_of(file).into_iter(), image.mark()).unwrap();
        assert_eq!(read.hash(), machine.hash());
        assert_eq!((read.conf(), read.members()), (machine.conf(), machine.members()));
        assert_eq!(read.sessions, machine.sessions);
        assert_eq!(read.leases, machine.leases);
    }
    assert_eq!(file_of(&richest().pin()), THIRD);
}

#[test]
fn sections_are_bounded_whatever_the_size_of_a_value() {
    let mut machine = Machine::new(genesis());
    for sequence in 1..=40 {
        let len = usize::try_from(sequence).unwrap() * 37_000;
        apply(&mut machine, &put(sequence, vec![b'x'; len]));
    }
    let image = machine.pin();
    let sizes: Vec<_> = image.sections().map(|section| section.bytes.len()).collect();
    assert!(sizes.iter().all(|size| *size <= MAX_SECTION_BYTES), "{sizes:?}");
    let full = sizes.iter().filter(|size| **size == MAX_SECTION_BYTES).count();
    assert_eq!(
        full + 6,
        sizes.len(),
        "head, members, sessions, leases, the last records and the end"
    );
    assert_eq!(restored(&image).hash(), machine.hash());
}

#[test]
fn a_wrong_place_or_a_newer_version_is_named() {
    let image = rich().pin();
    let elsewhere = SnapshotMark { index: Index::new(1), ..image.mark().clone() };
    let error = Machine::restore(image.sections().map(Ok), &elsewhere).err().unwrap();
    assert!(error.is_corrupt() && error.to_string().contains("index 1"), "{error}");
    let newer = image.sections().map(|section| {
        let mut bytes = section.bytes.to_vec();
        bytes[0] = 4;
        Ok(Section { bytes: bytes.into(), ..section })
    });
    let error = Machine::restore(newer, image.mark()).err().unwrap();
    assert!(error.is_newer_format(), "BST-12: {error}");
    let unread = || Err(Error::corrupt("bad sector"));
    let sections = image.sections().take(2).map(Ok).chain(std::iter::once_with(unread));
    let error = Machine::restore(sections, image.mark()).err().unwrap();
    assert_eq!(error.to_string(), "bad sector", "what the disk says is passed on");
}

#[test]
fn nothing_may_follow_the_end() {
    let image = rich().pin();
    for kind in [1, 4, 5, 9] {
        let bytes = Bytes::from_static(&[1, 1, 0, 0, 0, 7]);
        let more = image.sections().chain([Section { kind, bytes }]).map(Ok);
        let error = Machine::restore(more, image.mark()).err().unwrap();
        assert!(error.is_corrupt(), "{kind}: {error}");
    }
}

/// DM-12: what the log must never hand over is an error of this node, and changes nothing.
#[test]
fn an_entry_of_the_other_kind_is_refused() {
    let mut machine = Machine::new(genesis());
    let normal = entry(&machine, &put(1, vec![1]));
    let conf = Entry { kind: EntryKind::ConfChange, ..normal.clone() };
    assert!(machine.apply(&conf).unwrap_err().is_corrupt());
    assert!(machine.apply_conf(&normal, genesis().mark.conf).unwrap_err().is_corrupt());
    machine.apply(&normal).unwrap();
}

#[test]
fn dur_20_a_reader_sees_the_state_before_or_after_an_install() {
    let mut machine = Machine::new(genesis());
    apply(&mut machine, &put(1, vec![1]));
    machine.publish();
    let reader = machine.reader();
    let newer = rich();
    let revision = newer.mvcc().revision();
    let before = machine.replace(restored(&newer.pin()));
    assert_eq!(before.mvcc().revision(), Revision::new(2));
    assert_eq!(reader.revision(), revision);
    assert_eq!(machine.hash(), newer.hash());
    assert!(reader.get(b"key00001", None).unwrap().1.is_none());
    assert!(reader.get(b"key00003", None).unwrap().1.is_some());
}

/// Writes the fixtures of the newest formats; run by hand when a version is added, and never again.
#[test]
#[ignore = "writes files"]
#[expect(clippy::disallowed_methods, reason = "the fixtures are files of the system")]
fn write_fixtures() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
    let commands = command::tests::fixture();
    std::fs::write(format!("{directory}/commands-v3"), commands).unwrap();
    std::fs::write(format!("{directory}/image-v3"), file_of(&richest().pin())).unwrap();
}
