//! What is done to the store. Keys, values, checks and names are those of the peer's program.

use std::sync::atomic::{AtomicU64, Ordering};

use quorate::{
    Delete, DeleteResponse, Get, GetResponse, KeyRange, Put, PutResponse, RangeRead, RangeResponse,
};

use crate::callers::{Caller, Workload};

const KEY_BYTES: usize = 32;

/// The keys that are read and overwritten: `bench/` and digits, 32 bytes.
pub(crate) fn key(at: u64) -> Vec<u8> {
    numbered(b"bench/", at)
}

/// The keys that are deleted: `del/` and digits, 32 bytes.
pub(crate) fn doomed_key(at: u64) -> Vec<u8> {
    numbered(b"del/", at)
}

/// The keys that have a watcher each: `watch/` and digits, 32 bytes.
pub(crate) fn watched_key(at: u64) -> Vec<u8> {
    numbered(b"watch/", at)
}

/// By hand, because `format!` would be a fifth of a read.
pub(crate) fn numbered(prefix: &[u8], mut at: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(KEY_BYTES);
    key.extend_from_slice(prefix);
    key.resize(KEY_BYTES, b'0');
    for digit in key.iter_mut().rev() {
        if at == 0 {
            break;
        }
        // Below ten, so it fits.
        *digit += u8::try_from(at % 10).unwrap_or(0);
        at /= 10;
    }
    key
}

/// Overwrites keys at random.
pub(crate) struct Puts {
    pub(crate) keys: u64,
}

impl Workload for Puts {
    type Call = Put;

    fn begin(&self, caller: &mut Caller) -> Option<Put> {
        let key = key(caller.random.below(self.keys));
        Some(caller.store.put(key, caller.value.clone()))
    }

    fn is_right(&self, _caller: &mut Caller, response: &PutResponse) -> bool {
        response.header.revision.get() > 1
    }
}

/// Writes each key once.
pub(crate) struct Fill {
    pub(crate) count: u64,
    pub(crate) next: AtomicU64,
    pub(crate) name: fn(u64) -> Vec<u8>,
}

impl Fill {
    pub(crate) fn new(count: u64, name: fn(u64) -> Vec<u8>) -> Self {
        Self { count, next: AtomicU64::new(0), name }
    }
}

impl Workload for Fill {
    type Call = Put;

    fn begin(&self, caller: &mut Caller) -> Option<Put> {
        let at = self.next.fetch_add(1, Ordering::Relaxed);
        (at < self.count).then(|| caller.store.put((self.name)(at), caller.value.clone()))
    }

    fn is_right(&self, _caller: &mut Caller, response: &PutResponse) -> bool {
        response.header.revision.get() > 1
    }
}

/// Reads keys at random; all of them are there.
pub(crate) struct Gets {
    pub(crate) keys: u64,
    pub(crate) serializable: bool,
    pub(crate) value_bytes: usize,
}

impl Workload for Gets {
    type Call = Get;

    fn begin(&self, caller: &mut Caller) -> Option<Get> {
        let get = caller.store.get(key(caller.random.below(self.keys)));
        Some(if self.serializable { get.serializable() } else { get })
    }

    fn is_right(&self, _caller: &mut Caller, response: &GetResponse) -> bool {
        response.kv.as_ref().is_some_and(|kv| kv.value().len() == self.value_bytes)
    }
}

/// Reads a thousand keys in a row, from a place at random.
pub(crate) struct Ranges {
    pub(crate) keys: u64,
    pub(crate) serializable: bool,
    /// No end, only a limit: the count of what lies behind is part of the answer.
    pub(crate) open_end: bool,
}

pub(crate) const RANGE: u64 = 1000;

impl Workload for Ranges {
    type Call = RangeRead;

    fn begin(&self, caller: &mut Caller) -> Option<RangeRead> {
        let first = caller.random.below(self.keys.saturating_sub(RANGE));
        let range = if self.open_end {
            caller.store.range(key(first)..)
        } else {
            caller.store.range(key(first)..key(first + RANGE))
        };
        let range = range.limit(1000);
        Some(if self.serializable { range.serializable() } else { range })
    }

    fn is_right(&self, _caller: &mut Caller, response: &RangeResponse) -> bool {
        response.kvs.len() as u64 == RANGE
    }
}

/// Counts keys, at once and from the local state.
pub(crate) struct Counts {
    pub(crate) keys: u64,
    /// A thousand keys in a row from a place at random, not all.
    pub(crate) some: bool,
}

impl Workload for Counts {
    type Call = RangeRead;

    fn begin(&self, caller: &mut Caller) -> Option<RangeRead> {
        let range = if self.some {
            let first = caller.random.below(self.keys.saturating_sub(RANGE));
            KeyRange::from(key(first)..key(first + RANGE))
        } else {
            KeyRange::prefix("bench/")
        };
        Some(caller.store.range(range).count_only().serializable())
    }

    fn is_right(&self, _caller: &mut Caller, response: &RangeResponse) -> bool {
        response.count == if self.some { RANGE } else { self.keys }
    }
}

/// Deletes keys that are there, each once.
pub(crate) struct Deletes {
    pub(crate) count: u64,
    pub(crate) next: AtomicU64,
}

impl Workload for Deletes {
    type Call = Delete;

    fn begin(&self, caller: &mut Caller) -> Option<Delete> {
        let at = self.next.fetch_add(1, Ordering::Relaxed);
        (at < self.count).then(|| caller.store.delete(KeyRange::key(doomed_key(at))))
    }

    fn is_right(&self, _caller: &mut Caller, response: &DeleteResponse) -> bool {
        response.deleted == 1
    }
}
