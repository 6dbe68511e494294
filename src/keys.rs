//! Which keys a call is about: one key, an interval, or everything from a key on.

use std::fmt;
use std::ops::{Range, RangeFrom, RangeFull, RangeTo};

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::{Error, Result};

/// The smallest key there is: every legal key is at or after it (`SEL-2`).
const SMALLEST: &[u8] = &[0];

/// A set of keys: one key, a half-open interval, or all keys from one on (`SEL-1`).
///
/// Keys are byte strings, ordered bytewise. An interval whose end is not after its start selects
/// nothing; that is no mistake (`SEL-3`). What converts into a key converts into the range of that
/// one key, never into more: a prefix or "from here on" is always asked for by name.
///
/// ```
/// use quorate::KeyRange;
///
/// assert!(KeyRange::key("a").contains(b"a"));
/// assert!(!KeyRange::key("a").contains(b"ab"));
/// assert!(KeyRange::prefix("a").contains(b"ab"));
/// assert!(KeyRange::from("a".."c").contains(b"b"));
/// assert!(!KeyRange::from("a".."c").contains(b"c"));
/// assert!(KeyRange::from("a"..).contains(b"zzz"));
/// assert!(KeyRange::from(..).contains(&[0]));
/// assert_eq!(KeyRange::from("a"), KeyRange::key("a"));
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KeyRange {
    /// Empty only where the caller gave an empty key, which [`KeyRange::check`] refuses.
    start: Bytes,
    end: End,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum End {
    /// The start alone.
    Single,
    /// The first key that is not selected. Never empty and never the single byte 0: on the wire
    /// those two say [`End::Single`] and [`End::Open`].
    Before(Bytes),
    /// No end.
    Open,
}

impl KeyRange {
    /// Exactly this key.
    ///
    /// ```
    /// # use quorate::KeyRange;
    /// assert_eq!(KeyRange::key("a").single(), Some(b"a".as_slice()));
    /// ```
    pub fn key(key: impl Into<Bytes>) -> Self {
        Self { start: key.into(), end: End::Single }
    }

    /// Every key that begins with `prefix`; every key if it is empty (`SEL-5`).
    ///
    /// ```
    /// # use quorate::KeyRange;
    /// assert_eq!(KeyRange::prefix("jobs/"), KeyRange::from("jobs/".."jobs0"));
    /// assert_eq!(KeyRange::prefix(""), KeyRange::all());
    /// ```
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let start = prefix.into();
        // The last byte that can be raised is raised, and what stands behind it goes.
        let raised = start.iter().rposition(|&byte| byte != 0xff);
        let end = match raised.and_then(|at| start.get(..=at)).and_then(<[u8]>::split_last) {
            Some((last, head)) => {
                let mut end = BytesMut::with_capacity(head.len().saturating_add(1));
                end.put_slice(head);
                end.put_u8(last.saturating_add(1));
                End::Before(end.freeze())
            }
            None => End::Open,
        };
        if start.is_empty() { Self::all() } else { Self { start, end } }
    }

    /// Every key.
    ///
    /// ```
    /// # use quorate::KeyRange;
    /// assert!(KeyRange::all().contains(&[0xff, 0xff]));
    /// ```
    pub fn all() -> Self {
        Self { start: Bytes::from_static(SMALLEST), end: End::Open }
    }

    /// Every key at or after `start`; every key if it is empty (`SEL-5`).
    ///
    /// ```
    /// # use quorate::KeyRange;
    /// assert_eq!(KeyRange::starting_at("m"), KeyRange::from("m"..));
    /// ```
    pub fn starting_at(start: impl Into<Bytes>) -> Self {
        let start = start.into();
        if start.is_empty() { Self::all() } else { Self { start, end: End::Open } }
    }

    /// The keys at or after `start` and before `end`.
    fn between(start: Bytes, end: Bytes) -> Self {
        if end.as_ref() > SMALLEST {
            return Self { start, end: End::Before(end) };
        }
        // Nothing stands before the smallest key. On the wire such an end would mean a single key
        // or no end at all, so nothing is said in another way: an interval that ends at its start.
        let start = if start == SMALLEST { Bytes::from_static(&[0, 0]) } else { start };
        Self { end: End::Before(start.clone()), start }
    }

    /// Reads etcd's pair of `key` and `range_end` (`SEL-1`, `SEL-2`).
    pub(crate) fn from_selector(key: Bytes, range_end: Bytes) -> Self {
        let end = match range_end.as_ref() {
            [] => End::Single,
            SMALLEST => End::Open,
            _ => End::Before(range_end),
        };
        Self { start: key, end }
    }

    /// The pair of `key` and `range_end` that says the same (`SEL-1`).
    pub(crate) fn selector(&self) -> (Bytes, Bytes) {
        let end = match &self.end {
            End::Single => Bytes::new(),
            End::Before(end) => end.clone(),
            End::Open => Bytes::from_static(SMALLEST),
        };
        (self.start.clone(), end)
    }

    /// The same keys with `prefix` before each of them: where there is no end, the prefix has one
    /// (`HLP-1`).
    pub(crate) fn under(&self, prefix: &Bytes) -> Self {
        let join = |key: &[u8]| Bytes::from([prefix.as_ref(), key].concat());
        let end = match &self.end {
            End::Single => End::Single,
            End::Before(end) => End::Before(join(end)),
            End::Open => Self::prefix(prefix.clone()).end,
        };
        Self { start: join(&self.start), end }
    }

    /// What [`under`](Self::under) the prefix is this.
    pub(crate) fn within(&self, prefix: &[u8]) -> Self {
        let strip = |key: &Bytes| key.slice(prefix.len().min(key.len())..);
        let end = match &self.end {
            End::Single => End::Single,
            End::Before(end) if end.starts_with(prefix) => End::Before(strip(end)),
            End::Before(_) | End::Open => End::Open,
        };
        Self { start: strip(&self.start), end }
    }

    /// Refuses the empty key, which no request may name (`SEL-4`).
    pub(crate) fn check(&self) -> Result<()> {
        if self.start.is_empty() {
            return Err(Error::invalid("the key is empty: a key has at least one byte"));
        }
        Ok(())
    }

    /// The first key that may be selected.
    ///
    /// ```
    /// # use quorate::KeyRange;
    /// assert_eq!(KeyRange::prefix("jobs/").start(), b"jobs/");
    /// ```
    pub fn start(&self) -> &[u8] {
        &self.start
    }

    /// The key, if exactly one is selected by name.
    ///
    /// ```
    /// # use quorate::KeyRange;
    /// assert_eq!(KeyRange::key("a").single(), Some(b"a".as_slice()));
    /// assert_eq!(KeyRange::prefix("a").single(), None);
    /// ```
    pub fn single(&self) -> Option<&[u8]> {
        matches!(self.end, End::Single).then_some(self.start.as_ref())
    }

    /// The first key behind an interval. `None` for a single key and where there is no end.
    ///
    /// ```
    /// # use quorate::KeyRange;
    /// assert_eq!(KeyRange::prefix("jobs/").end(), Some(b"jobs0".as_slice()));
    /// assert_eq!(KeyRange::key("jobs/").end(), None);
    /// ```
    pub fn end(&self) -> Option<&[u8]> {
        match &self.end {
            End::Before(end) => Some(end),
            End::Single | End::Open => None,
        }
    }

    /// Is this key selected?
    ///
    /// ```
    /// # use quorate::KeyRange;
    /// assert!(!KeyRange::from("b".."a").contains(b"a"), "a backward interval selects nothing");
    /// ```
    pub fn contains(&self, key: &[u8]) -> bool {
        match &self.end {
            End::Single => key == self.start,
            End::Before(end) => key >= self.start.as_ref() && key < end.as_ref(),
            End::Open => key >= self.start.as_ref(),
        }
    }
}

/// What is a key stands for its range of one. Not for every `Into<Bytes>`: ranges would collide.
macro_rules! key_is_range {
    ($($key:ty),+) => {$(
        impl From<$key> for KeyRange {
            fn from(key: $key) -> Self {
                Self::key(key)
            }
        }
    )+};
}

key_is_range!(&'static str, &'static [u8], String, Vec<u8>, Bytes);

impl<K: Into<Bytes>> From<Range<K>> for KeyRange {
    fn from(range: Range<K>) -> Self {
        Self::between(range.start.into(), range.end.into())
    }
}

impl<K: Into<Bytes>> From<RangeFrom<K>> for KeyRange {
    fn from(range: RangeFrom<K>) -> Self {
        Self::starting_at(range.start)
    }
}

impl<K: Into<Bytes>> From<RangeTo<K>> for KeyRange {
    fn from(range: RangeTo<K>) -> Self {
        Self::between(Bytes::from_static(SMALLEST), range.end.into())
    }
}

impl From<RangeFull> for KeyRange {
    fn from(_: RangeFull) -> Self {
        Self::all()
    }
}

impl fmt::Debug for KeyRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = self.start.escape_ascii();
        match &self.end {
            End::Single => write!(f, "\"{start}\""),
            End::Before(end) => write!(f, "\"{start}\"..\"{}\"", end.escape_ascii()),
            End::Open => write!(f, "\"{start}\".."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sel_1_a_selector_is_a_key_an_interval_or_everything_from_a_key_on() {
        let read =
            |key, end| KeyRange::from_selector(Bytes::from_static(key), Bytes::from_static(end));
        assert_eq!(read(b"a", b""), KeyRange::key("a"));
        assert_eq!(read(b"a", b"\0"), KeyRange::from("a"..));
        assert_eq!(read(b"a", b"c"), KeyRange::from("a".."c"));
        assert_eq!(read(b"\0", b"\0"), KeyRange::all(), "SEL-2");
        assert!(KeyRange::all().contains(b"\0"), "SEL-2: the byte 0 is a legal key");
    }

    #[test]
    fn sel_3_an_end_that_is_not_after_the_start_selects_nothing() {
        for range in ["b".."a", "b".."b", "b".."\0", "b".."", "\0".."\0", "\0".."", "\0\0".."\0"] {
            let range = KeyRange::from(range);
            range.check().unwrap();
            let (key, end) = range.selector();
            let range = KeyRange::from_selector(key, end);
            for key in [b"\0".as_slice(), b"\0\0", b"a", b"b", b"c", b"\xff"] {
                assert!(!range.contains(key), "{range:?} selects {key:?}");
            }
        }
        assert!(!KeyRange::from(.."\0").contains(b"\0"));
    }

    #[test]
    fn sel_4_the_empty_key_is_refused() {
        assert!(KeyRange::key("").check().unwrap_err().is_invalid());
        assert!(KeyRange::from("".."b").check().unwrap_err().is_invalid());
        KeyRange::from("".."").check().unwrap_err();
    }

    #[test]
    fn sel_5_a_prefix_ends_where_its_last_byte_is_raised() {
        let end = |prefix: &'static [u8]| KeyRange::prefix(prefix).selector().1;
        assert_eq!(end(b"a"), "b");
        assert_eq!(end(b"a\xff\xff"), "b");
        assert_eq!(end(b"a\xfe\xff"), b"a\xff".as_slice());
        assert_eq!(end(b"\xff\xff"), b"\0".as_slice());
        assert_eq!(KeyRange::prefix(""), KeyRange::all());
        assert_eq!(KeyRange::starting_at(""), KeyRange::all());
    }

    fn keys() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![Just(0), Just(1), Just(0xfe), Just(0xff)], 1..4)
    }

    proptest! {
        #[test]
        fn sel_5_a_prefix_selects_what_begins_with_it(prefix in keys(), key in keys()) {
            let range = KeyRange::prefix(prefix.clone());
            prop_assert_eq!(range.contains(&key), key.starts_with(&prefix));
        }

        #[test]
        fn hlp_1_keys_under_a_prefix_are_those_keys_and_no_others(
            prefix in keys(),
            start in keys(),
            end in keys(),
            key in proptest::collection::vec(prop_oneof![Just(0), Just(1), Just(0xff)], 0..6),
        ) {
            let ranges = [
                KeyRange::key(start.clone()),
                KeyRange::from(start.clone()..end),
                KeyRange::prefix(start.clone()),
                KeyRange::from(start..),
                KeyRange::all(),
            ];
            for range in ranges {
                let under = range.under(&Bytes::from(prefix.clone()));
                // The prefix alone is no key in there: the empty one is none (SEL-4).
                let inside = key.strip_prefix(&prefix[..]).filter(|key| !key.is_empty());
                prop_assert_eq!(
                    under.contains(&key),
                    inside.is_some_and(|key| range.contains(key)),
                    "{:?} under {:?}", range, prefix.escape_ascii().to_string()
                );
                prop_assert_eq!(under.within(&prefix), range);
            }
        }

        #[test]
        fn sel_1_the_selector_says_the_same(start in keys(), end in keys(), key in keys()) {
            let range = KeyRange::from(start.clone()..end.clone());
            let (wire_key, wire_end) = range.selector();
            let read = KeyRange::from_selector(wire_key, wire_end);
            prop_assert_eq!(&read, &range);
            prop_assert_eq!(read.contains(&key), key >= start && key < end);
        }
    }
}
