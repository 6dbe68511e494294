//! One version of a key: shared bytes that never change.

use std::fmt;

use triomphe::ThinArc;

use crate::ids::{LeaseId, Revision};

/// Bytes in front of the key: create, main and sub revision, version, lease, key length.
pub(crate) const HEADER_BYTES: usize = 40;

const CREATE_AT: usize = 0;
const MAIN_AT: usize = 8;
const SUB_AT: usize = 16;
const VERSION_AT: usize = 20;
const LEASE_AT: usize = 28;
const KEY_LEN_AT: usize = 36;

/// The position of a change: main revision, then place inside the transaction (`DM-2`).
pub(crate) type Position = (Revision, u32);

/// A packed block has at most so many bytes of records. Whoever holds one of them holds the block.
const BLOCK_BYTES: usize = 64 << 10;

/// Records from this length on are not packed: what they leave behind is whole pages.
const LARGE_BYTES: usize = 4 << 10;

/// What is written about one version of a key (`DM-6`).
///
/// Index, history, readers and watchers all hold the same bytes:
///
/// ```text
///   0        8      16    20        28      36        40
///   | create | main | sub | version | lease | key len | key | value |     little-endian
/// ```
///
/// A tombstone has version, create revision and lease 0 and no value (`DM-8`).
///
/// A new record is an allocation of its own. When most of those that were written with it are
/// gone, the ones left are scattered over pages that hold little else and cannot be given back;
/// [`Record::pack`] puts them together. A handle of two words serves both, which takes a pointer
/// that is one word: `Arc<[u8]>` is two already.
#[derive(Clone)]
pub(crate) struct Record {
    block: ThinArc<(), u8>,
    /// Where the record begins in the block, and its length. Within the block's bounds.
    at: u32,
    len: u32,
}

/// What [`Record::build`] puts together.
pub(crate) struct Draft<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
    pub(crate) position: Position,
    pub(crate) create: Revision,
    pub(crate) version: u64,
    pub(crate) lease: LeaseId,
}

impl Record {
    /// Builds a record. `scratch` is any vector: kept by the writer, it saves an allocation.
    ///
    /// The caller bounds key and value together far below 4 GiB (`SEL-10`).
    pub(crate) fn build(scratch: &mut Vec<u8>, draft: &Draft<'_>) -> Self {
        let key_len = u32::try_from(draft.key.len()).unwrap_or(u32::MAX);
        let (main, sub) = draft.position;
        scratch.clear();
        scratch.extend_from_slice(&draft.create.get().to_le_bytes());
        scratch.extend_from_slice(&main.get().to_le_bytes());
        scratch.extend_from_slice(&sub.to_le_bytes());
        scratch.extend_from_slice(&draft.version.to_le_bytes());
        scratch.extend_from_slice(&draft.lease.get().to_le_bytes());
        scratch.extend_from_slice(&key_len.to_le_bytes());
        scratch.extend_from_slice(draft.key);
        scratch.extend_from_slice(draft.value);
        Self::alone(scratch)
    }

    fn alone(bytes: &[u8]) -> Self {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        Self { block: ThinArc::from_header_and_slice((), bytes), at: 0, len }
    }

    /// Copies of these records, in the same order, next to each other in memory; large ones stay
    /// where they are.
    ///
    /// A block goes when all of its records have. So whoever drops some of them packs the others
    /// again once they are the smaller part.
    pub(crate) fn pack(records: &[Self]) -> Vec<Self> {
        let mut packed = Vec::with_capacity(records.len());
        let (mut bytes, mut first) = (Vec::new(), 0);
        for (nth, record) in records.iter().enumerate() {
            if !record.is_small() {
                continue;
            }
            if bytes.len().saturating_add(record.as_bytes().len()) > BLOCK_BYTES {
                Self::seal(records.get(first..nth).unwrap_or_default(), &mut bytes, &mut packed);
                first = nth;
            }
            bytes.extend_from_slice(record.as_bytes());
        }
        Self::seal(records.get(first..).unwrap_or_default(), &mut bytes, &mut packed);
        packed
    }

    fn is_small(&self) -> bool {
        self.as_bytes().len() < LARGE_BYTES
    }

    /// Makes a block of `bytes`, which the small ones of `records` have written one by one.
    fn seal(records: &[Self], bytes: &mut Vec<u8>, packed: &mut Vec<Self>) {
        let block = ThinArc::from_header_and_slice((), bytes);
        bytes.clear();
        let mut at = 0_u32;
        for record in records {
            if record.is_small() {
                packed.push(Self { block: ThinArc::clone(&block), at, len: record.len });
                at = at.saturating_add(record.len);
            } else {
                packed.push(record.clone());
            }
        }
    }

    /// Builds the record that ends a key's life (`DM-8`).
    pub(crate) fn tombstone(scratch: &mut Vec<u8>, key: &[u8], position: Position) -> Self {
        let (create, lease) = (Revision::new(0), LeaseId::new(0));
        Self::build(scratch, &Draft { key, value: &[], position, create, version: 0, lease })
    }

    /// The stored form: what an image holds and a hash covers.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        let index = |number| usize::try_from(number).unwrap_or(usize::MAX);
        let rest = self.block.slice.get(index(self.at)..).unwrap_or_default();
        rest.get(..index(self.len)).unwrap_or_default()
    }

    /// Reads the stored form. What the fields say about each other is checked; whether they fit
    /// the records before is for [`super::Mvcc::restore`] to say.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, &'static str> {
        if bytes.len() < HEADER_BYTES {
            return Err("a record is shorter than its header");
        }
        if u32::try_from(bytes.len()).is_err() {
            return Err("a record is longer than 4 GiB");
        }
        let record = Self::alone(bytes);
        let key_end = HEADER_BYTES.saturating_add(record.key_len());
        if key_end > bytes.len() {
            return Err("a record's key is cut short");
        }
        if record.key().is_empty() {
            return Err("a record has an empty key");
        }
        let (main, _) = record.position();
        let bare = record.create() == 0 && record.lease() == LeaseId::new(0);
        let fits = if record.is_tombstone() {
            bare && key_end == bytes.len()
        } else {
            record.create() > 1 && record.create() <= main.get()
        };
        if main.get() < 2 || !fits {
            return Err("a record's revisions contradict each other");
        }
        Ok(record)
    }

    fn u32_at(&self, at: usize) -> u32 {
        let field = self.as_bytes().get(at..).and_then(<[u8]>::first_chunk);
        field.map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    fn u64_at(&self, at: usize) -> u64 {
        let field = self.as_bytes().get(at..).and_then(<[u8]>::first_chunk);
        field.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    fn key_len(&self) -> usize {
        usize::try_from(self.u32_at(KEY_LEN_AT)).unwrap_or(usize::MAX)
    }

    fn create(&self) -> u64 {
        self.u64_at(CREATE_AT)
    }

    pub(crate) fn key(&self) -> &[u8] {
        let rest = self.as_bytes().get(HEADER_BYTES..).unwrap_or_default();
        rest.get(..self.key_len()).unwrap_or_default()
    }

    pub(crate) fn value(&self) -> &[u8] {
        self.as_bytes().get(HEADER_BYTES.saturating_add(self.key_len())..).unwrap_or_default()
    }

    pub(crate) fn main(&self) -> Revision {
        Revision::new(self.u64_at(MAIN_AT))
    }

    pub(crate) fn position(&self) -> Position {
        (self.main(), self.u32_at(SUB_AT))
    }

    pub(crate) fn create_revision(&self) -> Revision {
        Revision::new(self.create())
    }

    pub(crate) fn version(&self) -> u64 {
        self.u64_at(VERSION_AT)
    }

    pub(crate) fn lease(&self) -> LeaseId {
        LeaseId::new(self.u64_at(LEASE_AT))
    }

    pub(crate) fn is_tombstone(&self) -> bool {
        self.version() == 0
    }

    /// The same memory, not only the same content: none is touched to find out.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        std::ptr::eq(self.block.as_ptr(), other.block.as_ptr()) && self.at == other.at
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_version(f, self, self.key(), self.value())
    }
}

/// Writes a record as tests and people read it, with what is shown of its key and value.
pub(super) fn fmt_version(
    f: &mut fmt::Formatter<'_>,
    record: &Record,
    key: &[u8],
    value: &[u8],
) -> fmt::Result {
    let (main, sub) = record.position();
    write!(f, "({main},{sub}) {}", key.escape_ascii())?;
    if record.is_tombstone() {
        return f.write_str(" deleted");
    }
    let (create, version, lease) = (record.create(), record.version(), record.lease());
    write!(f, "={} create {create} version {version}", value.escape_ascii())?;
    if lease.get() == 0 { Ok(()) } else { write!(f, " lease {lease}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(create: u64, main: u64, version: u64) -> Record {
        let position = (Revision::new(main), 7);
        let (create, lease) = (Revision::new(create), LeaseId::new(9));
        let draft = Draft { key: b"key", value: b"value", position, create, version, lease };
        Record::build(&mut Vec::new(), &draft)
    }

    #[test]
    fn dm_6_a_record_carries_its_fields() {
        let record = record(2, 5, 3);
        assert_eq!((record.key(), record.value()), (b"key".as_slice(), b"value".as_slice()));
        assert_eq!(record.position(), (Revision::new(5), 7));
        assert_eq!(record.create_revision(), Revision::new(2));
        assert_eq!((record.version(), record.lease()), (3, LeaseId::new(9)));
        let read = Record::from_bytes(record.as_bytes()).unwrap();
        assert_eq!(read.as_bytes(), record.as_bytes());
    }

    #[test]
    fn dm_8_a_tombstone_has_a_key_and_a_revision_only() {
        let record = Record::tombstone(&mut Vec::new(), b"key", (Revision::new(4), 0));
        assert!(record.is_tombstone());
        assert_eq!((record.key(), record.value()), (b"key".as_slice(), b"".as_slice()));
        assert_eq!((record.create(), record.lease().get()), (0, 0));
        Record::from_bytes(record.as_bytes()).unwrap();
    }

    #[test]
    fn bytes_that_contradict_themselves_are_refused() {
        for (create, main, version) in [(0, 5, 1), (1, 5, 1), (6, 5, 1), (1, 1, 1), (2, 5, 0)] {
            Record::from_bytes(record(create, main, version).as_bytes()).unwrap_err();
        }
        let whole = record(2, 5, 3);
        for cut in 0..HEADER_BYTES + 3 {
            Record::from_bytes(&whole.as_bytes()[..cut]).unwrap_err();
        }
        let mut empty_key = whole.as_bytes().to_vec();
        empty_key[KEY_LEN_AT] = 0;
        Record::from_bytes(&empty_key).unwrap_err();
    }
    #[test]
    fn packed_records_are_the_same_elsewhere() {
        assert_eq!(size_of::<Record>(), 16, "two words, in every slot and block of the history");
        let (position, lease) = ((Revision::new(5), 0), LeaseId::new(0));
        // Small ones, large ones, and enough of both that there are several blocks.
        let lengths = (0..300).map(|nth| if nth % 50 == 7 { LARGE_BYTES } else { nth * 5 });
        let records: Vec<_> = lengths
            .map(|len| {
                let (key, value) = (len.to_string(), vec![b'v'; len]);
                let (key, value) = (key.as_bytes(), value.as_slice());
                let draft = Draft { key, value, position, create: position.0, version: 1, lease };
                Record::build(&mut Vec::new(), &draft)
            })
            .collect();
        let packed = Record::pack(&records);
        assert_eq!(packed.len(), records.len());
        for (packed, record) in packed.iter().zip(&records) {
            assert_eq!(packed.as_bytes(), record.as_bytes());
            assert_eq!((packed.key(), packed.value()), (record.key(), record.value()));
            assert_eq!(packed.is_same(record), !record.is_small());
            assert!(packed.block.slice.len() <= BLOCK_BYTES);
        }
        let same = |pair: &[Record]| pair[0].block.as_ptr() == pair[1].block.as_ptr();
        let blocks = packed.windows(2).filter(|pair| !same(pair)).count();
        assert!((5..20).contains(&blocks), "{blocks} times another block than the one before");
        let again = Record::pack(&packed[..3]);
        drop(packed);
        assert_eq!(again[2].as_bytes(), records[2].as_bytes(), "blocks are not left half empty");
        assert!(Record::pack(&[]).is_empty());
    }
}
