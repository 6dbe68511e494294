//! What users see of a version of a key.

use std::fmt;

use bytes::Bytes;

use super::record::{Position, Record, fmt_version};
use crate::ids::{LeaseId, Revision};

/// A key and its value, as of some revision. Cheap to clone; never changes.
#[derive(Clone)]
pub struct KeyValue {
    record: Record,
    /// So many bytes at the front of the key are not shown: the prefix of a scoped store. Never
    /// more than the key has.
    hidden: u32,
    /// The value is not shown: only keys were asked for (`KV-7`).
    blank: bool,
}

impl KeyValue {
    /// A version; a tombstone only as an event (`WAT-13`).
    pub(crate) fn new(record: Record) -> Self {
        Self { record, hidden: 0, blank: false }
    }

    /// Without its value (`KV-7`).
    pub(crate) fn keys_only(mut self) -> Self {
        self.blank = true;
        self
    }

    /// Without the first bytes of its key, which it has.
    pub(crate) fn without_prefix(mut self, prefix: &[u8]) -> Self {
        self.hidden = u32::try_from(prefix.len()).unwrap_or(u32::MAX);
        self
    }

    /// Where its change stands among all.
    pub(crate) fn position(&self) -> Position {
        self.record.position()
    }

    /// The key.
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let Some(kv) = store.get("color").wait()?.kv else { return Ok(()) };
    /// assert_eq!(kv.key(), b"color");
    /// # Ok(())
    /// # }
    /// ```
    pub fn key(&self) -> &[u8] {
        let hidden = usize::try_from(self.hidden).unwrap_or(usize::MAX);
        self.record.key().get(hidden..).unwrap_or_default()
    }

    /// The value. No value and an empty one are the same thing (`SEL-13`).
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let Some(kv) = store.get("color").wait()?.kv else { return Ok(()) };
    /// let text = String::from_utf8_lossy(kv.value());
    /// # Ok(())
    /// # }
    /// ```
    pub fn value(&self) -> &[u8] {
        if self.blank { &[] } else { self.record.value() }
    }

    /// The value as [`Bytes`]: a view of the store's own memory, not a copy.
    ///
    /// It keeps the whole record in memory for as long as it lives, and with it up to 64 KiB of
    /// others that a compaction has left beside it: what is kept for long is better copied.
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let Some(kv) = store.get("color").wait()?.kv else { return Ok(()) };
    /// let kept: bytes::Bytes = kv.value_bytes();
    /// # Ok(())
    /// # }
    /// ```
    pub fn value_bytes(&self) -> Bytes {
        if self.value().is_empty() {
            return Bytes::new();
        }
        Bytes::from_owner(Value(self.record.clone()))
    }

    /// The revision of the put that began the key's current life (`DM-7`).
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let Some(kv) = store.get("color").wait()?.kv else { return Ok(()) };
    /// assert!(kv.create_revision() <= kv.mod_revision());
    /// # Ok(())
    /// # }
    /// ```
    pub fn create_revision(&self) -> Revision {
        self.record.create_revision()
    }

    /// The revision of the put that wrote this version.
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let Some(kv) = store.get("color").wait()?.kv else { return Ok(()) };
    /// let then = store.get("color").at(kv.mod_revision()).wait()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn mod_revision(&self) -> Revision {
        self.record.main()
    }

    /// How many puts the key has seen in its current life, this one included: 1 for the first.
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let Some(kv) = store.get("color").wait()?.kv else { return Ok(()) };
    /// let is_new = kv.version() == 1;
    /// # Ok(())
    /// # }
    /// ```
    pub fn version(&self) -> u64 {
        self.record.version()
    }

    /// The lease that the key ends with, or 0 for none.
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let Some(kv) = store.get("color").wait()?.kv else { return Ok(()) };
    /// let is_permanent = kv.lease().get() == 0;
    /// # Ok(())
    /// # }
    /// ```
    pub fn lease(&self) -> LeaseId {
        self.record.lease()
    }
}

impl PartialEq for KeyValue {
    fn eq(&self, other: &Self) -> bool {
        let shown = |kv: &Self| (kv.create_revision(), kv.mod_revision(), kv.version(), kv.lease());
        let same = self.record.is_same(&other.record)
            && (self.hidden, self.blank) == (other.hidden, other.blank);
        same || (shown(self) == shown(other)
            && self.key() == other.key()
            && self.value() == other.value())
    }
}

impl Eq for KeyValue {}

impl fmt::Debug for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_version(f, &self.record, self.key(), self.value())
    }
}

/// Owns a record on behalf of a [`Bytes`] that shows its value.
struct Value(Record);

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        self.0.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::mvcc::record::Draft;

    fn shown(main: u64) -> KeyValue {
        let position = (Revision::new(main), 7);
        let (create, lease) = (Revision::new(2), LeaseId::new(9));
        let draft = Draft { key: b"key", value: b"value", position, create, version: 3, lease };
        KeyValue::new(Record::build(&mut Vec::new(), &draft))
    }

    #[test]
    fn the_value_is_shown_without_a_copy() {
        let shown = shown(5);
        let bytes = shown.value_bytes();
        assert_eq!(bytes.as_ptr(), shown.value().as_ptr());
        drop(shown);
        assert_eq!(bytes, "value");
    }

    #[test]
    fn kv_7_a_blank_one_shows_everything_but_its_value() {
        let blank = shown(5).keys_only();
        assert_eq!((blank.key(), blank.value()), (b"key".as_slice(), b"".as_slice()));
        assert!(blank.value_bytes().is_empty());
        assert_eq!((blank.version(), blank.lease()), (3, LeaseId::new(9)));
        assert_ne!(blank, shown(5));
    }

    #[test]
    fn what_is_hidden_of_a_key_is_not_shown() {
        let short = shown(5).without_prefix(b"k");
        assert_eq!(short.key(), b"ey");
        assert_eq!(format!("{short:?}"), "(5,7) ey=value create 2 version 3 lease 9");
    }

    #[test]
    fn what_shows_the_same_is_equal() {
        assert_eq!(shown(5), shown(5));
        assert_ne!(shown(5), shown(6));
        assert_ne!(shown(5), shown(5).without_prefix(b"k"));
    }
}
