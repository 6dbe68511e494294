//! Who comes first.
//!
//! Items come in the order of their create revisions, within one priority, and names cannot say
//! these: they are given when a put is applied. But a name says a revision that its item is behind.
//! So whoever goes through the names in order knows of an item that it is the next one, as soon as
//! it meets a name that is behind that item's own revision: whatever follows is newer. What is held
//! until then are the items that were enqueued while one member had not yet heard of another's.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::layout::{Layout, Name};
use crate::core::mvcc::{Blind, Query, Reader, View};
use crate::error::Result;
use crate::ids::Revision;
use crate::keys::KeyRange;
use crate::service::scope::Scope;

/// Names that are read at once.
const CHUNK: usize = 16;

/// The first items of a queue, as one state has them.
#[derive(Debug)]
pub(super) struct Head {
    /// The state.
    pub(super) revision: Revision,
    /// In order, without those that are claimed.
    pub(super) items: Vec<Item>,
}

/// An item that is there. In the order in which items come.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Item {
    pub(super) priority: u16,
    pub(super) created: Revision,
    /// Within the scope.
    pub(super) key: Bytes,
}

impl Head {
    /// The first items that are not claimed, so many at most, in the newest state of this member.
    pub(super) fn read(
        reader: &Reader,
        scope: &Scope,
        layout: &Layout,
        most: usize,
    ) -> Result<Self> {
        let range = scope.range(layout.items())?;
        reader.view(|view| {
            let mut search = Search { view, scope, layout, most, found: Vec::new() };
            search.run(&range)?;
            Ok(Self { revision: view.revision(), items: search.found })
        })
    }
}

struct Search<'a> {
    view: &'a View<'a>,
    scope: &'a Scope,
    layout: &'a Layout,
    most: usize,
    found: Vec<Item>,
}

impl Search<'_> {
    fn run(&mut self, range: &KeyRange) -> Result<(), Blind> {
        // Items of which it is not known yet that nothing comes before them.
        let mut held: BTreeSet<Item> = BTreeSet::new();
        let mut query = Query { limit: CHUNK, keys_only: true, ..Query::new(range.clone()) };
        loop {
            let page = self.view.query(&query)?;
            let last = page.kvs.last().filter(|_| page.more).map(|kv| kv.key().to_vec());
            for kv in page.kvs {
                let kv = self.scope.show(kv);
                let Some(name) = self.layout.parse(kv.key()) else { continue };
                while held.first().is_some_and(|first| comes_before(first, &name)) {
                    held.pop_first().into_iter().for_each(|item| self.take(item));
                    if self.found.len() >= self.most {
                        return Ok(());
                    }
                }
                let (created, key) = (kv.create_revision(), Bytes::copy_from_slice(kv.key()));
                held.insert(Item { priority: name.priority, created, key });
            }
            let Some(last) = last else { break };
            let end = query.range.end().map(Bytes::copy_from_slice).unwrap_or_default();
            query.range = (Bytes::from([&last[..], b"\0"].concat())..end).into();
        }
        for item in held {
            if self.found.len() >= self.most {
                break;
            }
            self.take(item);
        }
        Ok(())
    }

    fn take(&mut self, item: Item) {
        // A key of this scope, and not empty: it has a name in the whole store.
        let claim = self.scope.key(self.layout.claim(&item.key));
        if claim.is_ok_and(|claim| self.view.get(&claim).is_none()) {
            self.found.push(item);
        }
    }
}

/// Does it come before everything that is called so, or follows in the order of names?
fn comes_before(item: &Item, name: &Name) -> bool {
    item.priority < name.priority || item.created <= name.behind
}
