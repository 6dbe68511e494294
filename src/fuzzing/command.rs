//! Commands as they lie in the log, and what a machine makes of them.
//!
//! What is promised:
//! - A payload is refused by the name of what is wrong, or it is a command that encodes to as many
//!   bytes and is read back as the same: nothing in it was skipped.
//! - A machine applies every command that can be read, and refuses every other as corrupt, as
//!   `deliver` relies on. It never panics.
//! - A machine that went through an image at any moment, and one that did not, have the same state
//!   and the same hash in the end (`INV-11`).

use bytes::Bytes;

use super::deliver::{VOTERS, genesis};
use super::input::Input;
use crate::core::machine::lease::MAX_TTL_MS;
use crate::core::machine::txn::{self, Compare, Delete, Operator, Put, Target, Txn};
use crate::core::machine::{Command, Machine, Origin, decode, stamp};
use crate::core::mvcc::Query;
use crate::entry::{ConfState, Entry, EntryKind};
use crate::ids::{Incarnation, Index, LeaseId, NodeId, Revision};
use crate::keys::KeyRange;

/// Entries, by the byte that asks for them.
pub(super) mod entry {
    pub(in super::super) const RAW: u8 = 0;
    pub(in super::super) const PUT: u8 = 1;
    pub(in super::super) const DELETE: u8 = 2;
    pub(in super::super) const COMPACT: u8 = 3;
    pub(in super::super) const ANNOUNCE: u8 = 4;
    pub(in super::super) const EMPTY: u8 = 5;
    pub(in super::super) const CONFIGURE: u8 = 6;
    pub(in super::super) const RESTORE: u8 = 7;
    pub(in super::super) const TXN: u8 = 8;
    pub(in super::super) const GRANT: u8 = 9;
    pub(in super::super) const REVOKE: u8 = 10;
    pub(in super::super) const RENEW: u8 = 11;
    pub(in super::super) const TICK: u8 = 12;
    pub(super) const COUNT: u8 = 13;
}

/// Entries that one case applies: sessions hold one outcome each, and an image holds them all.
const ENTRIES: usize = 100;
const IMAGES: usize = 6;

/// Transactions are nested so deep at most.
const NESTED: usize = 2;

/// Runs a case: entries in a row.
pub fn command_decode(data: &[u8]) {
    // All of it as one payload first, so that a file of a log's entry is a case.
    check(&Bytes::copy_from_slice(data));
    let mut input = Input::new(data);
    let mut pair =
        Pair { machine: Machine::new(genesis()), twin: Machine::new(genesis()), images: IMAGES };
    for _ in 0..ENTRIES {
        if input.is_empty() || !pair.step(&mut input) {
            break;
        }
    }
    pair.compare();
}

/// Decodes, and if that goes well encodes again. Whether it went well.
fn check(payload: &Bytes) -> bool {
    let (origin, command) = match decode(payload.clone()) {
        Ok(decoded) => decoded,
        Err(malformed) => {
            assert!(!malformed.what.is_empty());
            return false;
        }
    };
    let mut again = command.encode();
    stamp(&mut again, &origin);
    assert_eq!(again.len(), payload.len(), "{command:?}");
    assert_eq!(decode(again.freeze()), Ok((origin, command)));
    true
}

/// Applies the commands of a case that can be read, and notes their entries.
pub(super) fn apply(machine: &mut Machine, input: &mut Input<'_>, entries: &mut Vec<Entry>) {
    for _ in 0..ENTRIES {
        if input.is_empty() {
            break;
        }
        let kind = input.byte() % entry::COUNT;
        let data = match kind {
            entry::PUT..=entry::ANNOUNCE | entry::TXN.. => command(input, kind),
            _ => Bytes::new(),
        };
        let (index, term) = machine.applied();
        let entry = Entry { index: index.next(), term, kind: EntryKind::Normal, data };
        if let Err(error) = machine.apply(&entry) {
            assert!(error.is_corrupt(), "{error:?}");
            break;
        }
        entries.push(entry);
    }
}

/// The machine that comes of the commands of a case.
pub(super) fn machine(input: &mut Input<'_>) -> Machine {
    let mut machine = Machine::new(genesis());
    apply(&mut machine, input, &mut Vec::new());
    machine
}

/// The payload of an entry with a command, as it lies in the log.
#[cfg(test)]
pub(super) fn payload(case: &[u8]) -> Bytes {
    let mut input = Input::new(case);
    let kind = input.byte();
    command(&mut input, kind)
}

/// Two machines that are given the same. The first goes through images on the way.
struct Pair {
    machine: Machine,
    twin: Machine,
    /// So many more may be taken.
    images: usize,
}

impl Pair {
    /// False once the machine cannot go on.
    fn step(&mut self, input: &mut Input<'_>) -> bool {
        let kind = input.byte() % entry::COUNT;
        match kind {
            entry::RAW => {
                let payload = Bytes::copy_from_slice(input.bytes());
                self.apply(payload)
            }
            entry::EMPTY => self.apply(Bytes::new()),
            entry::CONFIGURE => {
                self.configure(input.byte(), input.byte(), input.byte());
                true
            }
            entry::RESTORE => {
                if let Some(left) = self.images.checked_sub(1) {
                    self.images = left;
                    self.restore();
                }
                true
            }
            _ => self.apply(command(input, kind)),
        }
    }

    fn next(&self, data: Bytes, kind: EntryKind) -> Entry {
        let (index, term) = self.twin.applied();
        Entry { index: index.next(), term, kind, data }
    }

    fn apply(&mut self, data: Bytes) -> bool {
        let readable = data.is_empty() || check(&data);
        let entry = self.next(data, EntryKind::Normal);
        for machine in [&mut self.machine, &mut self.twin] {
            match machine.apply(&entry) {
                Ok(_) => assert!(readable),
                Err(error) => {
                    assert!(!readable && error.is_corrupt(), "{error:?}");
                    assert!(error.to_string().contains(&entry.index.to_string()), "{error}");
                }
            }
        }
        readable
    }

    /// Consensus makes configurations that fit: somebody votes, and nobody is two things.
    fn configure(&mut self, voters: u8, learners: u8, outgoing: u8) {
        let ids =
            |set: u8| (0..8).filter(move |id| set & 1 << id != 0).map(|id| NodeId::new(id + 1));
        let voters = voters | 1;
        let conf = ConfState {
            voters: ids(voters).collect(),
            learners: ids(learners & !voters & !outgoing).collect(),
            voters_outgoing: ids(outgoing).collect(),
            ..ConfState::default()
        };
        let entry = self.next(Bytes::new(), EntryKind::ConfChange);
        self.machine.apply_conf(&entry, conf.clone()).unwrap();
        self.twin.apply_conf(&entry, conf).unwrap();
    }

    fn restore(&mut self) {
        let image = self.machine.pin();
        let restored = Machine::restore(image.sections().map(Ok), image.mark()).unwrap();
        assert_eq!(restored.pin().hash(), image.hash());
        self.machine = restored;
    }

    fn compare(mut self) {
        self.restore();
        assert_eq!(self.machine.applied(), self.twin.applied());
        assert_eq!(self.machine.pin().hash(), self.twin.pin().hash(), "INV-11");
    }
}

/// A transaction on few keys. It may write one of them twice: who decodes it does not look.
fn transaction(input: &mut Input<'_>, nested: usize) -> Txn {
    let mut txn = Txn::default();
    for _ in 0..input.below(3) {
        txn.compares.push(compare(input));
    }
    for branch in [&mut txn.success, &mut txn.failure] {
        for _ in 0..input.below(4) {
            branch.push(operation(input, nested));
        }
    }
    txn
}

fn operation(input: &mut Input<'_>, nested: usize) -> txn::Op {
    let (what, key) = (input.byte(), key(input));
    match what % 4 {
        0 => {
            let query = Query { limit: usize::from(what >> 6), ..Query::new(KeyRange::key(key)) };
            txn::Op::Range(Query { at: (what & 4 != 0).then_some(Revision::new(2)), ..query })
        }
        1 => txn::Op::Delete(Delete { range: KeyRange::starting_at(key), prev: what & 4 != 0 }),
        2 if nested > 0 => txn::Op::Txn(transaction(input, nested - 1)),
        _ => {
            let (prev, ignore_value) = (what & 4 != 0, what & 8 != 0);
            let value = if ignore_value { Bytes::new() } else { vec![what].into() };
            txn::Op::Put(Put { prev, ignore_value, ..Put::new(key, value) })
        }
    }
}

fn compare(input: &mut Input<'_>) -> Compare {
    let (what, key, given) = (input.byte(), key(input), input.number());
    let operator = match what % 4 {
        0 => Operator::Equal,
        1 => Operator::NotEqual,
        2 => Operator::Greater,
        _ => Operator::Less,
    };
    let target = match what >> 2 & 7 {
        0 => Target::Version(given),
        1 => Target::CreateRevision(Revision::new(given)),
        2 => Target::ModRevision(Revision::new(given)),
        3 => Target::Lease(LeaseId::new(given)),
        _ => Target::Value(vec![what].into()),
    };
    let range = if what & 0x80 == 0 { KeyRange::key(key) } else { KeyRange::starting_at(key) };
    Compare { range, operator, target }
}

fn key(input: &mut Input<'_>) -> Bytes {
    Bytes::from(vec![b'k', b'0' + input.byte() % 4])
}

/// A stamped command.
fn command(input: &mut Input<'_>, kind: u8) -> Bytes {
    let who = input.byte();
    let node = VOTERS.get(usize::from(who % 4)).copied().unwrap_or(NodeId::new(6));
    let incarnation = Incarnation::new(100 + u64::from(who >> 2 & 1));
    let watermark = input.number();
    let sequence = watermark.saturating_add(input.number());
    let origin = Origin { node, incarnation, boot: u64::from(who >> 3 & 3), sequence, watermark };
    let prev = who & 0x80 != 0;
    let command = match kind {
        entry::PUT => {
            let key = [b"k", input.bytes()].concat().into();
            let value = Bytes::copy_from_slice(input.bytes());
            let lease = LeaseId::new(if who & 0x60 == 0x60 { input.number() } else { 0 });
            Command::Put(Put { lease, prev, ..Put::new(key, value) })
        }
        entry::DELETE => {
            let (key, end) = (input.bytes(), input.bytes());
            let key = Bytes::from([b"k", key].concat());
            Command::Delete(Delete {
                range: KeyRange::from_selector(key, end.to_vec().into()),
                prev,
            })
        }
        entry::COMPACT => Command::Compact { revision: Revision::new(input.number()) },
        entry::TXN => Command::Txn(transaction(input, NESTED)),
        entry::GRANT => {
            let ttl = input.number().clamp(1, MAX_TTL_MS);
            Command::Grant { lease: LeaseId::new(input.number()), ttl }
        }
        entry::REVOKE => {
            let lease = LeaseId::new(input.number());
            Command::Revoke { lease, grant: Index::default() }
        }
        entry::RENEW => {
            let leases = (0..input.below(4)).map(|_| LeaseId::new(input.number()));
            Command::Renew { leases: leases.collect() }
        }
        entry::TICK => Command::Tick { advance: input.number() },
        _ => Command::Announce {
            node: NodeId::new(1 + u64::from(input.byte() % 5)),
            incarnation: Incarnation::new(input.number()),
        },
    };
    let mut payload = command.encode();
    stamp(&mut payload, &origin);
    let payload = payload.freeze();
    assert!(check(&payload), "{command:?}");
    payload
}
