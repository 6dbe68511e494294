//! What a range read asks for, beyond the range.
//!
//! The order of work is select, filter, sort, limit, blank (`KV-9`), whatever the options: so a
//! limit counts what is left by the filters, in the order asked for, while the count tells of the
//! range alone (`KV-5`).

use std::cmp::Ordering;

use super::KeyValue;
use crate::error::{Error, Result};
use crate::ids::Revision;
use crate::keys::KeyRange;

/// What keys are sorted by (`KV-10`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SortBy {
    /// The key, bytewise.
    #[default]
    Key,
    /// How often the key was put in its current life.
    Version,
    /// The revision of the put that began its current life.
    CreateRevision,
    /// The revision of its last put.
    ModRevision,
    /// The value, bytewise. With keys only it sorts all the same (`KV-14`).
    Value,
}

/// Which end comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// The smallest first.
    #[default]
    Ascending,
    /// The greatest first.
    Descending,
}

/// Both ends included; 0 leaves an end open (`KV-8`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) min: Revision,
    pub(crate) max: Revision,
}

impl Bounds {
    fn admit(self, revision: Revision) -> bool {
        revision >= self.min && (self.max.get() == 0 || revision <= self.max)
    }
}

/// A range read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Query {
    pub(crate) range: KeyRange,
    /// `None`: the newest state (`KV-2`).
    pub(crate) at: Option<Revision>,
    /// 0: none (`KV-4`).
    pub(crate) limit: usize,
    pub(crate) sort: SortBy,
    pub(crate) order: Order,
    pub(crate) mod_revision: Bounds,
    pub(crate) create_revision: Bounds,
    pub(crate) keys_only: bool,
    /// Wins over `keys_only` (`KV-6`).
    pub(crate) count_only: bool,
}

/// What a range read has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RangePage {
    /// The revision that was read.
    pub(crate) revision: Revision,
    /// In the order asked for, by default ascending by key (`KV-1`).
    pub(crate) kvs: Vec<KeyValue>,
    /// The limit has cut something off (`KV-4`).
    pub(crate) more: bool,
    /// How many keys are in the range, whatever the limit and the filters (`KV-5`).
    pub(crate) count: u64,
}

impl Query {
    pub(crate) fn new(range: KeyRange) -> Self {
        Self {
            range,
            at: None,
            limit: 0,
            sort: SortBy::Key,
            order: Order::Ascending,
            mod_revision: Bounds::default(),
            create_revision: Bounds::default(),
            keys_only: false,
            count_only: false,
        }
    }

    /// Refuses what can never be answered (`SEL-4`).
    pub(crate) fn check(&self) -> Result<()> {
        self.range.check()
    }

    /// Keys in the order of the index, none left out: what is read can end at the limit.
    pub(super) fn is_plain(&self) -> bool {
        (self.sort, self.order) == (SortBy::Key, Order::Ascending) && !self.filters()
    }

    fn filters(&self) -> bool {
        let none = Bounds::default();
        (self.mod_revision, self.create_revision) != (none, none)
    }

    /// Is the key one of those asked for? (`KV-8`)
    pub(super) fn admits(&self, kv: &KeyValue) -> bool {
        self.mod_revision.admit(kv.mod_revision())
            && self.create_revision.admit(kv.create_revision())
    }

    /// Equals are in key order, whichever way the others go (`KV-13`).
    fn compare(&self, a: &KeyValue, b: &KeyValue) -> Ordering {
        let by = match self.sort {
            SortBy::Key => a.key().cmp(b.key()),
            SortBy::Version => a.version().cmp(&b.version()),
            SortBy::CreateRevision => a.create_revision().cmp(&b.create_revision()),
            SortBy::ModRevision => a.mod_revision().cmp(&b.mod_revision()),
            SortBy::Value => a.value().cmp(b.value()),
        };
        match self.order {
            Order::Ascending => by,
            Order::Descending => by.reverse(),
        }
        .then_with(|| a.key().cmp(b.key()))
    }

    /// Makes the answer of the keys that were admitted, of `count` in the range at `revision`.
    pub(super) fn arrange(
        &self,
        revision: Revision,
        mut kvs: Vec<KeyValue>,
        count: u64,
    ) -> RangePage {
        let limit = if self.limit == 0 { usize::MAX } else { self.limit };
        let more = kvs.len() > limit;
        if self.sort != SortBy::Key {
            if more {
                kvs.select_nth_unstable_by(limit, |a, b| self.compare(a, b));
                kvs.truncate(limit);
            }
            kvs.sort_unstable_by(|a, b| self.compare(a, b));
        } else if self.order == Order::Descending {
            kvs.reverse();
        }
        kvs.truncate(limit);
        self.blank(RangePage { revision, kvs, more, count })
    }

    /// Leaves the values out, if only keys were asked for (`KV-7`).
    pub(super) fn blank(&self, mut page: RangePage) -> RangePage {
        if self.keys_only {
            page.kvs = page.kvs.into_iter().map(KeyValue::keys_only).collect();
        }
        page
    }
}

/// Is `at` readable where `compacted` is the oldest revision and `current` the newest? (`KV-2`)
pub(crate) fn readable(
    at: Option<Revision>,
    compacted: Option<Revision>,
    current: Revision,
) -> Result<Revision> {
    let at = at.filter(|at| at.get() > 0).unwrap_or(current);
    if let Some(compacted) = compacted.filter(|compacted| at < *compacted) {
        return Err(Error::compacted(at, compacted));
    }
    if at > current { Err(Error::future_revision(at, current)) } else { Ok(at) }
}
