//! `core/mvcc` alone, compiled a second time and with a door: for the programs in `benches/` that
//! measure it. What is measured is what ships.
// It has no tests of its own, and the product's are the product's.
#![cfg(not(test))]
#![allow(dead_code, reason = "the product's own package says what is dead")]
#![allow(unused_imports, reason = "as above: what it exports, nobody imports here")]
#![allow(unfulfilled_lint_expectations, reason = "as above, for what it expects")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the product's own package holds it to its bans"
)]

#[path = "../../../src/codec.rs"]
mod codec;
#[path = "../../../src/entry.rs"]
mod entry;
#[path = "../../../src/error.rs"]
mod error;
#[path = "../../../src/ids.rs"]
mod ids;
#[path = "../../../src/keys.rs"]
mod keys;
#[path = "../../../src/planted.rs"]
mod planted;

#[path = "../../../src/core"]
mod core {
    pub(crate) mod mvcc;
}

use bytes::Bytes;

use crate::core::mvcc::{Mvcc, Pace, Query, Reader};

pub use crate::core::mvcc::KeyValue;
pub use crate::error::Result;
pub use crate::ids::{LeaseId, Revision};
pub use crate::keys::KeyRange;

const SLICE: Pace = Pace { work: 256, max_pinned: 0, watched: None };

/// The store, one thread of which writes and reads. Every write is published at once.
pub struct Alone {
    mvcc: Mvcc,
    reader: Reader,
}

impl Default for Alone {
    fn default() -> Self {
        let mvcc = Mvcc::new();
        Self { reader: mvcc.reader(), mvcc }
    }
}

impl Alone {
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.mvcc.begin().put(key, value, LeaseId::new(0));
        self.mvcc.publish();
    }

    pub fn delete(&mut self, key: &[u8]) {
        self.mvcc.begin().delete(&KeyRange::key(Bytes::copy_from_slice(key)));
        self.mvcc.publish();
    }

    pub fn get(&self, key: &[u8]) -> Result<Option<KeyValue>> {
        Ok(self.reader.get(key, None)?.1)
    }

    /// The first keys of a range, and how many there are.
    pub fn range(&self, range: KeyRange, limit: usize) -> Result<(Vec<KeyValue>, u64)> {
        let page = self.reader.query(&Query { limit, ..Query::new(range) })?;
        Ok((page.kvs, page.count))
    }

    pub fn count(&self, range: &KeyRange) -> Result<u64> {
        let query = Query { count_only: true, ..Query::new(range.clone()) };
        Ok(self.reader.query(&query)?.count)
    }

    /// Forgets everything but the newest state, and removes what that was: in slices, as a member
    /// does, but with nothing between them.
    pub fn compact(&mut self) -> Result<()> {
        self.mvcc.compact(self.mvcc.revision())?;
        while self.mvcc.tidy(SLICE) {}
        Ok(())
    }
}
