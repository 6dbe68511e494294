//! Files of a log that nobody has written: any records, with the right checksums.

use bytes::{BufMut, Bytes, BytesMut};

use super::super::input::Input;
use super::{CLUSTER, VOTERS, incarnation};
use crate::codec::checksum;

/// Kinds of records, by the byte that asks for them: as `docs/on-disk.md` numbers them.
pub(in crate::fuzzing) mod record {
    pub(in crate::fuzzing) const ENTRY: u8 = 1;
    pub(in crate::fuzzing) const HARD_STATE: u8 = 3;
    pub(in crate::fuzzing) const MARK: u8 = 4;
    pub(in crate::fuzzing) const SEAL: u8 = 5;
    /// The segment ends here, and another may follow.
    pub(in crate::fuzzing) const NEXT: u8 = 7;
    pub(super) const COUNT: u8 = 8;
}

const SEGMENTS: u64 = 4;
const RECORDS: usize = 60;
const CONTENT: usize = 504;
const RECORDS_AT: u64 = 4096;

/// The log so far, as an honest writer would have it.
struct Log {
    last: (u64, u64),
    /// The chain at the end of the segment before, its seal left out.
    link: u32,
    honest: bool,
}

/// Makes up to four segments and hands each out with its sequence. Whether their markers tell the
/// truth.
pub(super) fn files(input: &mut Input<'_>, mut put: impl FnMut(u64, Vec<u8>)) -> bool {
    let mut log = Log { last: (1, 1), link: 0, honest: true };
    for sequence in 1..=SEGMENTS {
        put(sequence, segment(input, sequence, &mut log));
        if input.is_empty() {
            break;
        }
    }
    log.honest
}

fn segment(input: &mut Input<'_>, sequence: u64, log: &mut Log) -> Vec<u8> {
    let oddities = input.byte();
    let mut before = log.last;
    if oddities & 1 != 0 {
        before = (input.number(), input.number());
    }
    let header = header(sequence, before, log.link);
    let seed = u32::from_le_bytes(*header.last_chunk().unwrap());
    let (mut records, mut chain) = (BytesMut::new(), seed);
    if oddities & 2 == 0 {
        // Every segment begins with the mark and the hard state.
        chain = put_record(&mut records, chain, (4, 1, 1), &mark(1, 1, true));
        chain = put_record(&mut records, chain, (3, 1, 1), &[0; 8]);
    }
    log.link = chain;
    let begin = Marker { number: 0, vouched: end_of(&records), end: end_of(&records), chain };
    for _ in 0..RECORDS {
        if input.is_empty() {
            break;
        }
        let kind = input.byte() % record::COUNT;
        if kind == record::NEXT {
            break;
        }
        let (head, payload) = any_record(input, kind, log);
        chain = put_record(&mut records, chain, head, &payload);
        if kind != record::SEAL {
            log.link = chain;
        }
    }
    let mut synced = Marker { number: 1, vouched: begin.end, end: end_of(&records), chain };
    if oddities & 4 != 0 {
        log.honest = false;
        (synced.number, synced.vouched, synced.end) =
            (input.number(), input.number(), input.number());
    }
    let mut file = sector(&header, 0);
    file.extend(begin.sector(log.last, seed));
    if synced.end != begin.end {
        file.extend(synced.sector(log.last, seed));
    }
    file.resize(4096, 0);
    records.chunks(CONTENT).for_each(|content| file.extend(sector(content, seed)));
    // As a batch that was never written leaves it.
    file.resize(file.len() + 512, 0);
    file
}

/// Where in the file the records end.
fn end_of(records: &[u8]) -> u64 {
    RECORDS_AT + (records.len() / CONTENT * 512 + records.len() % CONTENT) as u64
}

struct Marker {
    number: u64,
    vouched: u64,
    end: u64,
    chain: u32,
}

impl Marker {
    fn sector(&self, last: (u64, u64), seed: u32) -> Vec<u8> {
        let mut out = BytesMut::new();
        for number in [self.number, self.vouched, self.end, 0, last.0, last.1] {
            out.put_u64_le(number);
        }
        out.put_u32_le(self.chain);
        sector(&out, seed)
    }
}

type Head = (u8, u64, u64);

/// A record that goes on where the log is, or anywhere.
fn any_record(input: &mut Input<'_>, kind: u8, log: &mut Log) -> (Head, Bytes) {
    let how = input.byte();
    let (index, term) = match how & 3 {
        0 => (log.last.0.saturating_add(1), log.last.1),
        1 => (log.last.0.saturating_sub(u64::from(how >> 4)), log.last.1.saturating_add(1)),
        _ => (input.number(), input.number()),
    };
    let payload = match kind {
        record::HARD_STATE => Bytes::copy_from_slice(&input.number().to_le_bytes()),
        record::MARK if how & 8 != 0 => mark(1, 1, true),
        record::MARK => mark(index, term, how & 4 != 0),
        record::SEAL => Bytes::new(),
        _ => Bytes::from(vec![how; usize::from(input.byte()) * 5]),
    };
    let payload = if how & 0x80 == 0 { payload } else { Bytes::copy_from_slice(input.bytes()) };
    if matches!(kind, 1 | 2 | record::MARK) {
        log.last = (index, term);
    }
    ((kind, index, term), payload)
}

/// Magic to seed.
fn header(sequence: u64, before: (u64, u64), previous: u32) -> Bytes {
    let mut out = BytesMut::from(b"QUORWAL\n".as_slice());
    out.put_u32_le(1);
    out.put_u32_le(previous);
    let owner = [CLUSTER.get(), VOTERS[0].get(), incarnation(VOTERS[0]).get()];
    for number in owner.into_iter().chain([1, sequence, before.0, before.1]) {
        out.put_u64_le(number);
    }
    let seed = checksum(0, &out);
    out.put_u32_le(seed);
    out.freeze()
}

fn mark(index: u64, term: u64, genesis: bool) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(u8::from(genesis));
    out.put_u64_le(index);
    out.put_u64_le(term);
    out.put_u32_le(1);
    out.put_u64_le(VOTERS[0].get());
    out.put_bytes(0, 12);
    out.put_u8(0);
    out.freeze()
}

fn put_record(out: &mut BytesMut, chain: u32, head: Head, payload: &[u8]) -> u32 {
    let mut covered = BytesMut::new();
    covered.put_u32_le(u32::try_from(payload.len()).unwrap());
    covered.put_slice(&[head.0, 0, 0, 0]);
    covered.put_u64_le(head.1);
    covered.put_u64_le(head.2);
    let chain = checksum(checksum(chain, &covered), payload);
    out.put_slice(&covered);
    out.put_u32_le(chain);
    out.put_slice(payload);
    out.resize(out.len().next_multiple_of(8), 0);
    chain
}

/// A sector with its stamp.
fn sector(content: &[u8], tag: u32) -> Vec<u8> {
    let mut out = content.to_vec();
    out.resize(CONTENT, 0);
    out.extend_from_slice(&tag.to_le_bytes());
    out.extend_from_slice(&checksum(0, &out).to_le_bytes());
    out
}
