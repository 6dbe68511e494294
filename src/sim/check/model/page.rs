//! What a range read shows.

use super::{Doubt, Model, length, shown};
use crate::core::mvcc::{Bounds, Order, Query, SortBy};
use crate::ids::Revision;
use crate::sim::history::{Answer, Kv};

impl Model {
    /// Select at a revision, filter, sort, limit, blank: in this order (`KV-9`). The count is of
    /// the range alone (`KV-5`); who only counts is shown nothing (`KV-6`).
    pub(super) fn page(&self, query: &Query, at: Revision) -> Answer {
        let mut kvs: Vec<Kv> = self.live(&query.range, at).map(shown).collect();
        let count = length(&kvs);
        if query.count_only {
            let (revision, kvs) = (self.revision, Vec::new());
            return Answer::Ranged { revision, kvs, more: false, count };
        }
        kvs.retain(|kv| {
            within(kv.modified, query.mod_revision) && within(kv.create, query.create_revision)
        });
        // Stable: equals stay in the order of their keys (`KV-13`).
        kvs.sort_by(|a, b| {
            let by = match query.sort {
                SortBy::Key => a.key.cmp(&b.key),
                SortBy::Version => a.version.cmp(&b.version),
                SortBy::CreateRevision => a.create.cmp(&b.create),
                SortBy::ModRevision => a.modified.cmp(&b.modified),
                SortBy::Value => a.value.cmp(&b.value),
            };
            if query.order == Order::Descending { by.reverse() } else { by }
        });
        let more = query.limit > 0 && kvs.len() > query.limit;
        if more {
            kvs.truncate(query.limit);
        }
        if query.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value.clear());
        }
        Answer::Ranged { revision: self.revision, kvs, more, count }
    }
}

/// Both ends included, and 0 is none (`KV-8`).
fn within(revision: Revision, bounds: Bounds) -> bool {
    let (min, max) = (bounds.min.get(), bounds.max.get());
    (min == 0 || revision.get() >= min) && (max == 0 || revision.get() <= max)
}

/// All of a range, or its beginning, as it is: each key that is shown tells of those before it.
pub(crate) fn is_plain(query: &Query) -> bool {
    query.count_only || (is_in_order(query) && !query.keys_only)
}

/// Are keys shown in their own order, and none left out?
fn is_in_order(query: &Query) -> bool {
    let off = Bounds::default();
    (query.sort, query.order) == (SortBy::Key, Order::Ascending)
        && (query.mod_revision, query.create_revision) == (off, off)
}

/// Which key a read was told something wrong about, if its records are not those that it should
/// have been told.
pub(crate) fn page_doubt(query: &Query, told: &[Kv], shown: &[Kv]) -> Option<Doubt> {
    let place = (0..told.len().max(shown.len())).find(|at| told.get(*at) != shown.get(*at))?;
    Some(match (told.get(place), shown.get(place)) {
        // Whatever else is wrong, that key is.
        (Some(kv), Some(shown)) if kv.key == shown.key => Doubt::Key(kv.key.clone()),
        // In other orders either may stand in the wrong place.
        _ if !is_in_order(query) => Doubt::Some,
        (Some(kv), Some(shown)) => Doubt::Key(kv.key.clone().min(shown.key.clone())),
        (Some(kv), None) => Doubt::Key(kv.key.clone()),
        (None, Some(_)) if query.limit > 0 && shown.len() > query.limit => Doubt::Some,
        (None, Some(kv)) => Doubt::Key(kv.key.clone()),
        (None, None) => Doubt::Some,
    })
}
