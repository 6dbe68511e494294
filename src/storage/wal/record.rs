//! One record of the log: its frame, its kinds, and the checksum that chains it to the last.
//!
//! ```text
//!   0        4      5         8            16          24         28
//!   ├ length ┼ kind ┼ 0 0 0   ┼ index      ┼ term      ┼ checksum ┼ payload … ┼ zeros to 8 ┤
//! ```
//!
//! The checksum continues from the previous record's (from the segment's seed for the first) over
//! the 24 bytes before it and the payload. So a record is valid only behind exactly the records
//! it was written behind, and nothing stale can follow a valid one.

use bytes::{BufMut, Bytes, BytesMut};

use super::super::mark::{put_mark, read_mark};
use super::super::sector::SectorWriter;
use crate::codec::{Malformed, Reader, checksum};
use crate::entry::{Entry, EntryKind, HardState, SnapshotMark};
use crate::ids::{Index, NodeId, Term};

pub(super) const HEADER_BYTES: usize = 28;
const COVERED_BYTES: usize = 24;
const ALIGN_BYTES: usize = 8;

/// Zero is what a reader finds where nothing was written.
const KIND_END: u8 = 0;
const KIND_ENTRY: u8 = 1;
const KIND_CONF_ENTRY: u8 = 2;
const KIND_HARD_STATE: u8 = 3;
const KIND_MARK: u8 = 4;
const KIND_SEAL: u8 = 5;

/// Where a log begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) mark: SnapshotMark,
    /// The state at the mark is what every member of the cluster starts with: no snapshot file is
    /// needed to begin there.
    pub(super) genesis: bool,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    Entry(Entry),
    HardState(HardState),
    /// The log begins anew behind this mark; or, if it is the mark that already holds, a
    /// repetition at a segment's head.
    Mark(Base),
    /// The segment ends here and the next one exists.
    Seal,
}

/// A record's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    kind: u8,
    pub(super) length: u32,
    index: u64,
    term: u64,
    stored: u32,
    /// Of the covered bytes, continuing from the record before.
    covered: u32,
}

/// Puts an entry behind a record with checksum `chain`; returns its own.
pub(super) fn put_entry(out: &mut SectorWriter, chain: u32, entry: &Entry) -> u32 {
    let kind = match entry.kind {
        EntryKind::Normal => KIND_ENTRY,
        EntryKind::ConfChange => KIND_CONF_ENTRY,
    };
    put(out, chain, (kind, entry.index, entry.term), &entry.data)
}

pub(super) fn put_hard_state(out: &mut SectorWriter, chain: u32, state: &HardState) -> u32 {
    put(out, chain, (KIND_HARD_STATE, state.commit, state.term), &state.vote.get().to_le_bytes())
}

pub(super) fn put_base(out: &mut SectorWriter, chain: u32, base: &Base) -> u32 {
    let mut payload = BytesMut::new();
    payload.put_u8(u8::from(base.genesis));
    put_mark(&mut payload, &base.mark);
    put(out, chain, (KIND_MARK, base.mark.index, base.mark.term), &payload)
}

pub(super) fn put_seal(out: &mut SectorWriter, chain: u32, last: (Index, Term)) -> u32 {
    put(out, chain, (KIND_SEAL, last.0, last.1), &[])
}

fn put(out: &mut SectorWriter, chain: u32, head: (u8, Index, Term), payload: &[u8]) -> u32 {
    let (kind, index, term) = head;
    // Callers bound the payload far below 4 GiB; a length that lies would fail the next reading.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut covered = [0; COVERED_BYTES];
    (&mut covered[..]).put_u32_le(length);
    covered[4] = kind;
    (&mut covered[8..]).put_u64_le(index.get());
    (&mut covered[16..]).put_u64_le(term.get());
    let chain = checksum(checksum(chain, &covered), payload);
    out.put(&covered);
    out.put(&chain.to_le_bytes());
    out.put(payload);
    out.put([0; ALIGN_BYTES].get(..padding(payload.len())).unwrap_or_default());
    chain
}

/// How many zeros follow a payload of this length.
fn padding(payload: usize) -> usize {
    (ALIGN_BYTES - payload.wrapping_add(HEADER_BYTES) % ALIGN_BYTES) % ALIGN_BYTES
}

impl Header {
    /// Reads the header of a record behind one with checksum `chain`; `None` where the log ends.
    pub(super) fn decode(bytes: Bytes, chain: u32) -> Result<Option<Self>, Malformed> {
        let covered = bytes.get(..COVERED_BYTES).map(|covered| checksum(chain, covered));
        let covered = covered.ok_or(Malformed { what: "record header" })?;
        let mut reader = Reader::new(bytes);
        let length = reader.u32("record length")?;
        let kind = reader.u8("record kind")?;
        let reserved = reader.take(3, "record header")?;
        let index = reader.u64("record index")?;
        let term = reader.u64("record term")?;
        let stored = reader.u32("record checksum")?;
        if kind == KIND_END && length == 0 {
            // These bytes are in one sector. The others may be in the next one, which may have
            // been written later: they say nothing.
            return Ok(None);
        }
        if reserved != [0; 3].as_slice() {
            return Err(Malformed { what: "record header" });
        }
        Ok(Some(Self { kind, length, index, term, stored, covered }))
    }

    /// Bytes of the whole record, padding included.
    pub(super) fn record_bytes(&self) -> usize {
        let payload = usize::try_from(self.length).unwrap_or(usize::MAX);
        payload.saturating_add(HEADER_BYTES).saturating_add(padding(payload))
    }

    /// The checksum that the next record continues from; `None` if this one, with this payload,
    /// does not continue from the one before.
    pub(super) fn chain(&self, payload: &[u8]) -> Option<u32> {
        (checksum(self.covered, payload) == self.stored).then_some(self.stored)
    }

    /// What the record says.
    pub(super) fn record(&self, payload: Bytes) -> Result<Record, Malformed> {
        let (index, term) = (Index::new(self.index), Term::new(self.term));
        let entry = |kind, data| Record::Entry(Entry { index, term, kind, data });
        let record = match self.kind {
            KIND_ENTRY => entry(EntryKind::Normal, payload),
            KIND_CONF_ENTRY => entry(EntryKind::ConfChange, payload),
            KIND_HARD_STATE => {
                let mut reader = Reader::new(payload);
                let vote = NodeId::new(reader.u64("vote")?);
                reader.end("hard state")?;
                Record::HardState(HardState { term, vote, commit: index })
            }
            KIND_MARK => Record::Mark(decode_base(payload)?),
            KIND_SEAL => {
                Reader::new(payload).end("seal")?;
                Record::Seal
            }
            _ => return Err(Malformed { what: "record kind" }),
        };
        Ok(record)
    }
}

fn decode_base(payload: Bytes) -> Result<Base, Malformed> {
    let mut reader = Reader::new(payload);
    let genesis = match reader.u8("snapshot mark")? {
        0 => false,
        1 => true,
        _ => return Err(Malformed { what: "snapshot mark" }),
    };
    let mark = read_mark(&mut reader)?;
    reader.end("snapshot mark")?;
    Ok(Base { mark, genesis })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(bytes: &[u8], chain: u32) -> Option<(Record, u32)> {
        let header = bytes.get(..HEADER_BYTES)?;
        let header = Header::decode(Bytes::copy_from_slice(header), chain).ok()??;
        let end = HEADER_BYTES.checked_add(usize::try_from(header.length).ok()?)?;
        let payload = bytes.get(HEADER_BYTES..end)?;
        Some((header.record(Bytes::copy_from_slice(payload)).ok()?, header.chain(payload)?))
    }

    proptest! {
        /// Lengths up to one sector: the stream is then the sector's content.
        #[test]
        fn reads_what_it_puts_behind_the_same_record_only(
            chain: u32, other: u32, index: u64, term: u64, conf: bool,
            data in prop::collection::vec(any::<u8>(), 0..400),
        ) {
            let kind = if conf { EntryKind::ConfChange } else { EntryKind::Normal };
            let (index, term) = (Index::new(index), Term::new(term));
            let entry = Entry { index, term, kind, data: data.into() };
            let mut writer = SectorWriter::new(0, 0);
            let own = put_entry(&mut writer, chain, &entry);
            prop_assert_eq!(writer.position() % 8, 0);
            let bytes = writer.finish().1.to_vec();
            prop_assert_eq!(decode(&bytes, chain), Some((Record::Entry(entry), own)));
            if other != chain {
                prop_assert_eq!(decode(&bytes, other), None);
            }
        }

        #[test]
        fn survives_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..100), kind in 0..9u8) {
            let _ = decode(&bytes, 0);
            let header = Header { kind, length: 0, index: 0, term: 0, stored: 0, covered: 5 };
            let _ = header.record(Bytes::from(bytes));
        }
    }
}
