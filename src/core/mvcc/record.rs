//! One version of a key: a single shared allocation that never changes.

use std::fmt;
use std::sync::Arc;

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

/// What is written about one version of a key (`DM-6`).
///
/// Index, history, readers and watchers all hold the same allocation:
///
/// ```text
///   0        8      16    20        28      36        40
///   | create | main | sub | version | lease | key len | key | value |     little-endian
/// ```
///
/// A tombstone has version, create revision and lease 0 and no value (`DM-8`).
#[derive(Clone)]
pub(crate) struct Record(Arc<[u8]>);

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
    /// The caller bounds the key far below 4 GiB (`SEL-10`).
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
        Self(Arc::from(scratch.as_slice()))
    }

    /// Builds the record that ends a key's life (`DM-8`).
    pub(crate) fn tombstone(scratch: &mut Vec<u8>, key: &[u8], position: Position) -> Self {
        let (create, lease) = (Revision::new(0), LeaseId::new(0));
        Self::build(scratch, &Draft { key, value: &[], position, create, version: 0, lease })
    }

    /// The stored form: what an image holds and a hash covers.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads the stored form. What the fields say about each other is checked; whether they fit
    /// the records before is for [`super::Mvcc::restore`] to say.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, &'static str> {
        if bytes.len() < HEADER_BYTES {
            return Err("a record is shorter than its header");
        }
        let record = Self(Arc::from(bytes));
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
        let field = self.0.get(at..).and_then(<[u8]>::first_chunk);
        field.map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    fn u64_at(&self, at: usize) -> u64 {
        let field = self.0.get(at..).and_then(<[u8]>::first_chunk);
        field.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    fn key_len(&self) -> usize {
        usize::try_from(self.u32_at(KEY_LEN_AT)).unwrap_or(usize::MAX)
    }

    fn create(&self) -> u64 {
        self.u64_at(CREATE_AT)
    }

    pub(crate) fn key(&self) -> &[u8] {
        let rest = self.0.get(HEADER_BYTES..).unwrap_or_default();
        rest.get(..self.key_len()).unwrap_or_default()
    }

    pub(crate) fn value(&self) -> &[u8] {
        self.0.get(HEADER_BYTES.saturating_add(self.key_len())..).unwrap_or_default()
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

    /// The same allocation, not only the same content: no memory is touched to find out.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
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
}
