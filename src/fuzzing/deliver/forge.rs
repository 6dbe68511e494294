//! Envelopes that no replica has sent: bodies of every kind, with numbers near those that hold.

use bytes::{BufMut, Bytes, BytesMut};

use super::super::input::Input;
use super::host::{CLUSTER, LEARNER, STRANGER, VOTERS, frame, incarnation};
use crate::codec::put_bytes;
use crate::core::machine::txn::{Delete, Put};
use crate::core::machine::{Command, Origin, stamp};
use crate::core::replica::Replica;
use crate::core::replica::envelope::Address;
use crate::ids::{Incarnation, LeaseId, NodeId, Revision};
use crate::keys::KeyRange;

pub(super) const RAFT: u8 = 1;
const FORWARD: u8 = 2;
pub(super) const OFFER: u8 = 5;

/// A forged envelope, and who is meant to have sent it.
pub(super) struct Forged {
    pub(super) from: NodeId,
    pub(super) envelope: Bytes,
    pub(super) kind: u8,
}

/// Anybody: mostly members.
fn anybody(input: &mut Input<'_>) -> NodeId {
    let everybody = [VOTERS[0], VOTERS[1], VOTERS[2], LEARNER, STRANGER];
    everybody[input.below(everybody.len())]
}

/// Makes an envelope for the node `to`, whose state the numbers in it are near to.
pub(super) fn envelope(input: &mut Input<'_>, to: NodeId, replica: &Replica) -> Option<Forged> {
    let from = anybody(input);
    let shape = input.byte();
    if from == to {
        return None;
    }
    let kind = shape % 8;
    let mut body = BytesMut::new();
    match kind {
        _ if shape & 0x80 != 0 => body.put_slice(input.bytes()),
        RAFT => message(input, replica, &mut body),
        FORWARD => forward(input, from, &mut body),
        OFFER => offer(input, replica, &mut body),
        // A read, its answer, a chunk, its acknowledgement: their numbers stand in a row.
        _ => {
            for _ in 0..input.below(3) {
                body.put_u64_le(near(input, replica));
            }
            if input.flag() {
                put_bytes(&mut body, input.bytes());
            } else {
                body.put_slice(input.bytes());
            }
        }
    }
    // A member whose disk was lost, or an envelope to one that was.
    let lost = |is: bool| if is { 1_000 } else { 0 };
    let sender = Incarnation::new(incarnation(from).get() + lost(shape & 0x10 != 0));
    let meant = match shape & 0x60 {
        0x60 => Incarnation::new(incarnation(to).get() + 1_000),
        0x40 => Incarnation::default(),
        _ => incarnation(to),
    };
    let sender = Address { cluster: CLUSTER, node: from, incarnation: sender };
    let envelope = frame(kind, &sender, (to, meant), &body);
    Some(Forged { from, envelope, kind })
}

/// A number at, or a little beside, one that means something to the replica.
fn near(input: &mut Input<'_>, replica: &Replica) -> u64 {
    let status = replica.status();
    let byte = input.byte();
    let base = match byte >> 5 {
        0 => 0,
        1 => status.term.get(),
        2 => status.last_index.get(),
        3 => status.commit.get(),
        4 => status.snapshot.get(),
        // As the questions, the transfers and the rounds of a first boot are numbered.
        5 => 1 << 40,
        6 => status.first_index.get(),
        _ => return input.number(),
    };
    // From eight below to twenty-three above.
    base.wrapping_add(u64::from(byte & 0x1f)).wrapping_sub(8 * u64::from(byte >> 5 != 0))
}

/// A message of the consensus protocol, as `wire.rs` lays it out.
fn message(input: &mut Input<'_>, replica: &Replica, body: &mut BytesMut) {
    let kind = input.byte() % 11;
    body.put_u8(kind);
    body.put_u64_le(near(input, replica));
    let mut numbers = |count: usize, body: &mut BytesMut| {
        for _ in 0..count {
            body.put_u64_le(near(input, replica));
        }
    };
    match kind {
        1 => {
            numbers(3, body);
            entries(input, replica, body);
        }
        2 => {
            numbers(4, body);
            body.put_u8(input.byte() % 2);
        }
        3 | 4 => {
            numbers(1, body);
            let context = if input.flag() { input.take(32) } else { &[] };
            let mut context = context.to_vec();
            context.resize(context.len().next_multiple_of(32), 0);
            put_bytes(body, &context);
        }
        5 | 7 => {
            numbers(4, body);
            body.put_u8(input.byte() % 2);
        }
        6 | 8 => {
            numbers(2, body);
            body.put_u8(input.byte() % 2);
        }
        9 => {
            numbers(2, body);
            configuration(input, body);
        }
        _ => {}
    }
}

fn entries(input: &mut Input<'_>, replica: &Replica, body: &mut BytesMut) {
    let count = input.below(5);
    body.put_u32_le(u32::try_from(count).unwrap());
    for _ in 0..count {
        body.put_u64_le(near(input, replica));
        let data = match input.byte() % 4 {
            0 => Bytes::new(),
            1 => command(input, VOTERS[1]),
            2 => Bytes::copy_from_slice(input.bytes()),
            _ => {
                body.put_u8(1);
                put_bytes(body, &conf_change(input));
                continue;
            }
        };
        body.put_u8(0);
        put_bytes(body, &data);
    }
}

/// The bytes of a `ConfChangeV2`: up to three steps.
fn conf_change(input: &mut Input<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..input.below(4) {
        let (kind, id) = (input.byte() % 4, input.byte() % 10);
        bytes.extend_from_slice(&[2 << 3 | 2, 4, 1 << 3, kind, 2 << 3, id]);
    }
    bytes
}

/// Four lists, each a set of the ids 1 to 8.
fn configuration(input: &mut Input<'_>, body: &mut BytesMut) {
    for _ in 0..4 {
        let set = input.byte();
        body.put_u32_le(set.count_ones());
        (1..=8).filter(|id| set & 1 << (id - 1) != 0).for_each(|id| body.put_u64_le(id));
    }
    body.put_u8(input.byte() % 2);
}

/// Writes for the leader, mostly with a stamp that the sender may use.
fn forward(input: &mut Input<'_>, from: NodeId, body: &mut BytesMut) {
    let count = input.below(6);
    body.put_u32_le(u32::try_from(count).unwrap());
    for _ in 0..count {
        let payload = match input.byte() % 4 {
            0 => Bytes::copy_from_slice(input.bytes()),
            1 => command(input, VOTERS[0]),
            _ => command(input, from),
        };
        put_bytes(body, &payload);
    }
}

/// A snapshot that nobody has taken.
fn offer(input: &mut Input<'_>, replica: &Replica, body: &mut BytesMut) {
    body.put_u64_le(near(input, replica));
    let mut mark = BytesMut::new();
    mark.put_u64_le(near(input, replica));
    mark.put_u64_le(near(input, replica));
    configuration(input, &mut mark);
    body.put_slice(&mark);
    body.put_u64_le(near(input, replica));
    body.put_u64_le(input.number());
    let mut message = BytesMut::new();
    if input.flag() {
        message.put_u8(9);
        message.put_u64_le(near(input, replica));
        message.put_slice(&mark);
    } else {
        self::message(input, replica, &mut message);
    }
    put_bytes(body, &message);
}

/// A stamped command of `from`.
pub(super) fn command(input: &mut Input<'_>, from: NodeId) -> Bytes {
    let mut payload = write(input).encode();
    let watermark = input.number();
    let sequence = watermark.saturating_add(input.number());
    let (boot, incarnation) = (u64::from(input.byte() % 3), incarnation(from));
    stamp(&mut payload, &Origin { node: from, incarnation, boot, sequence, watermark });
    payload.freeze()
}

/// What a caller may ask for.
pub(super) fn write(input: &mut Input<'_>) -> Command {
    let byte = input.byte();
    let key = Bytes::from(vec![b'a' + byte % 4]);
    let (lease, prev) = (LeaseId::new(u64::from(byte == 0xff)), byte & 0x80 != 0);
    match byte >> 2 & 7 {
        0..4 => {
            let value = Bytes::from(vec![byte; usize::from(input.byte()) * 4]);
            Command::Put(Put { lease, prev, ..Put::new(key, value) })
        }
        4 => Command::Delete(Delete { range: KeyRange::key(key), prev }),
        5 => Command::Delete(Delete { range: KeyRange::starting_at(key), prev }),
        6 => Command::Compact { revision: Revision::new(input.number()) },
        _ => Command::Announce { node: VOTERS[0], incarnation: Incarnation::new(input.number()) },
    }
}
