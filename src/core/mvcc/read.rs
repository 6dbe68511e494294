//! Reads, on any thread, beside the writer.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::index::{Index, Replaced, Span};
use super::record::KeyValue;
use crate::error::Result;
use crate::ids::Revision;
use crate::keys::KeyRange;

/// Reads the store at revisions that have been published. Cheap to clone, made for many threads.
///
/// A read fixes its revision first and sees exactly the records at or before it, whatever is
/// written meanwhile (`DM-14`, `KV-18`). It never waits for a write, but for the moment that the
/// writer changes a slot of the same leaf.
#[derive(Clone)]
pub(crate) struct Reader {
    index: Arc<Index>,
}

/// What a range read has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RangePage {
    /// The revision that was read.
    pub(crate) revision: Revision,
    /// Ascending by key (`KV-1`).
    pub(crate) kvs: Vec<KeyValue>,
    /// The limit has cut something off (`KV-4`).
    pub(crate) more: bool,
    /// How many keys are in the range, whatever the limit (`KV-5`).
    pub(crate) count: u64,
}

impl Reader {
    pub(super) fn new(index: Arc<Index>) -> Self {
        Self { index }
    }

    /// The newest revision that can be read.
    pub(crate) fn revision(&self) -> Revision {
        self.index.published()
    }

    /// The oldest revision that can be read, if there has been a compaction.
    pub(crate) fn compacted(&self) -> Option<Revision> {
        self.index.compacted()
    }

    /// One key, and the revision that was read. `None` and revision 0 read the newest state
    /// (`KV-2`).
    pub(crate) fn get(
        &self,
        key: &[u8],
        at: Option<Revision>,
    ) -> Result<(Revision, Option<KeyValue>)> {
        let (revision, record) = self.index.read(at, |at| Ok(self.index.get(key, at)))?;
        Ok((revision, record.map(KeyValue::new)))
    }

    /// The keys of `range`, at most `limit` of them unless that is 0, and how many there are
    /// (`KV-1` to `KV-5`).
    pub(crate) fn range(
        &self,
        range: &KeyRange,
        at: Option<Revision>,
        limit: usize,
    ) -> Result<RangePage> {
        Ok(self.index.read(at, |at| page(&self.index, range, at, limit))?.1)
    }

    /// The next keys of `range` behind `after`, at most `max_keys`: a long range in bounded
    /// pieces. Pieces read at one revision make one snapshot.
    #[cfg_attr(
        not(any(test, fuzzing)),
        expect(dead_code, reason = "for streamed ranges, which no call asks yet")
    )]
    pub(crate) fn chunk(
        &self,
        range: &KeyRange,
        at: Revision,
        after: Option<&[u8]>,
        max_keys: usize,
    ) -> Result<Vec<KeyValue>> {
        let read = |at| {
            let mut kvs = Vec::with_capacity(max_keys.min(1024));
            let span = Span::after(range, after);
            self.index.walk(&span, |leaf, slots| {
                let room = max_keys.saturating_sub(kvs.len());
                kvs.extend(leaf.live(slots, at).take(room).cloned().map(KeyValue::new));
                if kvs.len() < max_keys {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            })?;
            Ok(kvs)
        };
        Ok(self.index.read(Some(at), read)?.1)
    }

    /// How many keys `range` has (`KV-5`, `KV-6`), and the revision that was read.
    pub(crate) fn count(&self, range: &KeyRange, at: Option<Revision>) -> Result<(Revision, u64)> {
        self.index.read(at, |at| {
            let mut count = 0;
            self.index.walk(&Span::new(range), |leaf, slots| {
                add(&mut count, leaf.count(slots, at));
                ControlFlow::Continue(())
            })?;
            Ok(count)
        })
    }
}

/// A page of `range` at a fixed revision. Keys behind the limit are counted, not copied (`KV-5`).
pub(super) fn page(
    index: &Index,
    range: &KeyRange,
    at: Revision,
    limit: usize,
) -> Result<RangePage, Replaced> {
    let limit = if limit == 0 { usize::MAX } else { limit };
    let mut page = RangePage { revision: at, kvs: Vec::new(), more: false, count: 0 };
    index.walk(&Span::new(range), |leaf, slots| {
        let room = limit.saturating_sub(page.kvs.len());
        if room == 0 {
            add(&mut page.count, leaf.count(slots, at));
            return ControlFlow::Continue(());
        }
        let before = page.kvs.len();
        page.kvs.extend(leaf.live(slots.clone(), at).take(room).cloned().map(KeyValue::new));
        let taken = page.kvs.len().saturating_sub(before);
        add(&mut page.count, if taken < room { taken } else { leaf.count(slots, at) });
        ControlFlow::Continue(())
    })?;
    page.more = page.count > u64::try_from(page.kvs.len()).unwrap_or(u64::MAX);
    Ok(page)
}

fn add(count: &mut u64, keys: usize) {
    *count = count.saturating_add(u64::try_from(keys).unwrap_or(u64::MAX));
}
