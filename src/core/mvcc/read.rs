//! Reads, on any thread, beside the writer.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::KeyValue;
use super::index::{Index, Replaced, Span};
use super::query::{Query, RangePage};
use super::view::{Blind, View};
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

    /// What `query` asks for (`KV-1` to `KV-15`).
    pub(crate) fn query(&self, query: &Query) -> Result<RangePage> {
        Ok(self.index.read(query.at, |at| answer(&self.index, query, at))?.1)
    }

    /// Asks several things of one state, the newest (`KV-18`). `ask` may be called again.
    pub(crate) fn view<T>(&self, ask: impl Fn(&View<'_>) -> Result<T, Blind>) -> Result<T> {
        let read = |at| match ask(&View::new(&self.index, at, self.index.compacted())) {
            Ok(found) => Ok(Ok(found)),
            Err(Blind::Unreadable(error)) => Ok(Err(error)),
            Err(Blind::Replaced) => Err(Replaced),
        };
        self.index.read(None, read)?.1
    }

    /// The next keys of `range` behind `after`, at most `max_keys`: a long range in bounded
    /// pieces. Pieces read at one revision make one snapshot.
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
        self.index.read(at, |at| count(&self.index, range, at))
    }
}

/// Answers `query` at a fixed revision.
pub(super) fn answer(index: &Index, query: &Query, at: Revision) -> Result<RangePage, Replaced> {
    if query.count_only {
        let count = count(index, &query.range, at)?;
        return Ok(RangePage { revision: at, kvs: Vec::new(), more: false, count });
    }
    if query.is_plain() {
        return Ok(query.blank(page(index, &query.range, at, query.limit)?));
    }
    let (mut kvs, mut count) = (Vec::new(), 0);
    index.walk(&Span::new(&query.range), |leaf, slots| {
        let live = leaf.live(slots, at).inspect(|_| add(&mut count, 1));
        kvs.extend(live.cloned().map(KeyValue::new).filter(|kv| query.admits(kv)));
        ControlFlow::Continue(())
    })?;
    Ok(query.arrange(at, kvs, count))
}

fn count(index: &Index, range: &KeyRange, at: Revision) -> Result<u64, Replaced> {
    let mut count = 0;
    index.walk(&Span::new(range), |leaf, slots| {
        add(&mut count, leaf.count(slots, at));
        ControlFlow::Continue(())
    })?;
    Ok(count)
}

/// The first keys of `range` at a fixed revision. Those behind the limit are counted, not copied
/// (`KV-5`).
fn page(
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
