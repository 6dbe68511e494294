//! Reads, on any thread, beside the writer.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use super::KeyValue;
use super::count::Count;
use super::index::{Index, Replaced, Span};
use super::leaf::Leaf;
use super::pins::Pin;
use super::query::{Order, Query, RangePage};
use super::tree::Visitor;
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
    pub(super) index: Arc<Index>,
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
        let read = |at| {
            let compacted = self.index.compacted();
            let found = match ask(&View::new(&self.index, at, compacted)) {
                Ok(found) => Ok(found),
                Err(Blind::Unreadable(error)) => Err(error),
                Err(Blind::Replaced) => return Err(Replaced),
            };
            // What was asked of an older state may have been removed meanwhile.
            if self.index.compacted() == compacted { Ok(found) } else { Err(Replaced) }
        };
        self.index.read(None, read)?.1
    }

    /// Keeps `at` readable for a while, or the newest revision: for a read that is longer than one
    /// call.
    pub(crate) fn pin(&self, at: Option<Revision>) -> Result<Pin> {
        Pin::new(&self.index, at)
    }

    /// How many keys `range` has (`KV-5`, `KV-6`), and the revision that was read.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn count(&self, range: &KeyRange, at: Option<Revision>) -> Result<(Revision, u64)> {
        self.index.read(at, |at| count(&self.index, range, at))
    }
}

/// A long range in bounded pieces, all of one revision (`KV-19`).
impl Pin {
    /// The next keys of `range` behind `after`, at most `max_keys`, in order. Values are shared
    /// with the store, so a piece costs what its keys do.
    pub(crate) fn chunk(
        &self,
        range: &KeyRange,
        after: Option<&[u8]>,
        max_keys: usize,
    ) -> Result<Vec<KeyValue>> {
        self.read(|index, at| {
            let mut keys = Keys::new(at, max_keys, Order::Ascending);
            keys.counts = false;
            index.walk(&Span::after(range, after), &mut keys)?;
            Ok(keys.kvs)
        })
    }
}

/// Answers `query` at a fixed revision.
pub(super) fn answer(index: &Index, query: &Query, at: Revision) -> Result<RangePage, Replaced> {
    if query.count_only {
        let count = count(index, &query.range, at)?;
        return Ok(RangePage { revision: at, kvs: Vec::new(), more: false, count });
    }
    if query.is_plain() {
        let limit = if query.limit == 0 { usize::MAX } else { query.limit };
        let mut keys = Keys::new(at, limit, query.order);
        index.walk(&Span::ordered(&query.range, query.order), &mut keys)?;
        let Keys { kvs, count, .. } = keys;
        let more = count > u64::try_from(kvs.len()).unwrap_or(u64::MAX);
        return Ok(query.blank(RangePage { revision: at, kvs, more, count }));
    }
    let (mut kvs, mut count) = (Vec::new(), 0);
    index.walk(&Span::new(&query.range), &mut |leaf: &Leaf, slots| {
        let live = leaf.live(slots, at).inspect(|_| add(&mut count, 1));
        kvs.extend(live.cloned().map(KeyValue::new).filter(|kv| query.admits(kv)));
        ControlFlow::Continue(())
    })?;
    Ok(query.arrange(at, kvs, count))
}

fn count(index: &Index, range: &KeyRange, at: Revision) -> Result<u64, Replaced> {
    let mut keys = Keys::new(at, 0, Order::Ascending);
    index.walk(&Span::new(range), &mut keys)?;
    Ok(keys.count)
}

/// The first keys of a walk at a fixed revision. Those behind the limit are counted, not copied
/// (`KV-5`).
struct Keys {
    at: Revision,
    /// How many more keys are wanted.
    room: usize,
    order: Order,
    kvs: Vec<KeyValue>,
    count: u64,
    /// Those behind the limit are wanted by number: else the walk ends there.
    counts: bool,
}

impl Keys {
    fn new(at: Revision, limit: usize, order: Order) -> Self {
        let kvs = Vec::with_capacity(if limit == usize::MAX { 0 } else { limit.min(1024) });
        Self { at, room: limit, order, kvs, count: 0, counts: true }
    }
}

impl Visitor for Keys {
    fn leaf(&mut self, leaf: &Leaf, slots: Range<usize>) -> ControlFlow<()> {
        let before = self.kvs.len();
        let live = leaf.live(slots.clone(), self.at).cloned().map(KeyValue::new);
        match self.order {
            _ if self.room == 0 => {}
            Order::Ascending => self.kvs.extend(live.take(self.room)),
            Order::Descending => self.kvs.extend(live.rev().take(self.room)),
        }
        let taken = self.kvs.len().saturating_sub(before);
        self.room = self.room.saturating_sub(taken);
        add(&mut self.count, if self.room > 0 { taken } else { leaf.count(slots, self.at) });
        if self.room > 0 || self.counts {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    }

    fn node(&mut self, count: &Count) -> bool {
        let live = count.live_at(self.at).filter(|_| self.room == 0);
        live.map(|live| add(&mut self.count, live)).is_some()
    }
}

fn add(count: &mut u64, keys: usize) {
    *count = count.saturating_add(u64::try_from(keys).unwrap_or(u64::MAX));
}
