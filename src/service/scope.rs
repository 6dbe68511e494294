//! The part of the keys that a handle reaches.
//!
//! A scoped handle puts its prefix before every key that it is given and takes it off every key
//! that it shows (`HLP-1`). Here, and nowhere else: a builder asks its [`Scope`] for the key or
//! range that is meant, and what it does not ask for it cannot reach.
//!
//! ```text
//!   scope "a/"       given            meant               shown
//!   key              "k"              "a/k"               "k"
//!   interval         "k".."m"         "a/k".."a/m"
//!   from a key on    "k"..            "a/k".."a0"         the end of the prefix is the end
//!   every key        ..               "a/\0".."a0"        "a/" itself has no name in here
//!   the empty key    ""               refused (SEL-4)
//! ```
//!
//! Order is kept, since keys that begin alike differ behind the prefix; so limits, sorts and
//! intervals mean the same inside as outside.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use crate::core::mvcc::{Event, KeyValue};
use crate::error::{Error, Result};
use crate::keys::KeyRange;

/// A prefix that is before all keys. One word, since every watcher of a set has one.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Scope {
    /// Never empty; `None` is the whole store.
    prefix: Option<Arc<Bytes>>,
}

impl Scope {
    /// The scope `prefix` within this one.
    pub(crate) fn nested(&self, prefix: Bytes) -> Self {
        let prefix = self.join(prefix);
        Self { prefix: (!prefix.is_empty()).then(|| Arc::new(prefix)) }
    }

    /// Is it all there is?
    pub(crate) fn is_whole(&self) -> bool {
        self.prefix.is_none()
    }

    /// The key that is meant by `key`. An empty one is refused (`SEL-4`).
    pub(crate) fn key(&self, key: Bytes) -> Result<Bytes> {
        if key.is_empty() {
            return Err(Error::invalid("the key is empty: a key has at least one byte"));
        }
        Ok(self.join(key))
    }

    /// The keys that are meant by `range`: none outside of the scope. One that begins at the empty
    /// key is refused (`SEL-4`).
    pub(crate) fn range(&self, range: KeyRange) -> Result<KeyRange> {
        range.check()?;
        Ok(match &self.prefix {
            Some(prefix) => range.under(prefix),
            None => range,
        })
    }

    /// Of these keys of the whole store those that are within, as they are seen in here.
    pub(crate) fn show_keys(&self, keys: &[Bytes]) -> Vec<Bytes> {
        let within =
            keys.iter().filter(|key| key.starts_with(self.prefix()) && key.len() > self.hidden());
        within.map(|key| self.strip(key)).collect()
    }

    /// A range of this scope as it is seen in here.
    pub(crate) fn show_range(&self, range: &KeyRange) -> KeyRange {
        match &self.prefix {
            Some(prefix) => range.within(prefix),
            None => range.clone(),
        }
    }

    /// A key and its value as they are seen in here.
    pub(crate) fn show(&self, kv: KeyValue) -> KeyValue {
        match &self.prefix {
            Some(prefix) => kv.without_prefix(prefix),
            None => kv,
        }
    }

    /// As [`show`](Self::show), for many.
    pub(crate) fn show_all(&self, kvs: Vec<KeyValue>) -> Vec<KeyValue> {
        if self.is_whole() {
            return kvs;
        }
        kvs.into_iter().map(|kv| self.show(kv)).collect()
    }

    /// Events as they are seen in here.
    pub(crate) fn show_events(&self, events: Vec<Event>) -> Vec<Event> {
        match &self.prefix {
            Some(prefix) => events.into_iter().map(|it| it.without_prefix(prefix)).collect(),
            None => events,
        }
    }

    /// Refuses `call`, which concerns the whole store, on a handle that reaches a part of it.
    pub(crate) fn check_whole(&self, call: &str) -> Result<()> {
        if self.is_whole() {
            return Ok(());
        }
        let text = format!("{call} concerns the whole store, and this handle is scoped");
        Err(Error::invalid(text))
    }

    /// How many bytes at the front of a key are not seen in here.
    pub(crate) fn hidden(&self) -> usize {
        self.prefix().len()
    }

    /// A key of this scope as it is seen in here.
    pub(crate) fn strip(&self, key: &Bytes) -> Bytes {
        key.slice(self.hidden().min(key.len())..)
    }

    fn join(&self, key: Bytes) -> Bytes {
        let Some(prefix) = &self.prefix else { return key };
        let mut joined = BytesMut::with_capacity(prefix.len().saturating_add(key.len()));
        joined.put_slice(prefix);
        joined.put_slice(&key);
        joined.freeze()
    }

    fn prefix(&self) -> &[u8] {
        self.prefix.as_deref().map_or(&[], AsRef::as_ref)
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.prefix().escape_ascii())
    }
}
