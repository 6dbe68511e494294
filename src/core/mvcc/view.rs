//! The store at one revision, to be asked several things.

use std::ops::ControlFlow;

use super::index::{Index, Replaced, Span};
use super::query::{Query, RangePage, readable};
use super::read::answer;
use super::{KeyValue, Record};
use crate::error::{Error, Result};
use crate::ids::Revision;
use crate::keys::KeyRange;

/// One state of the store. What it answers is of one moment, whatever is written beside it.
pub(crate) struct View<'a> {
    index: &'a Index,
    at: Revision,
    compacted: Option<Revision>,
}

/// Why a view has no answer.
pub(crate) enum Blind {
    /// The store was replaced meanwhile: who has the view starts again. Never inside a write.
    Replaced,
    /// The revision asked for cannot be read (`KV-2`).
    Unreadable(Error),
}

impl From<Replaced> for Blind {
    fn from(Replaced: Replaced) -> Self {
        Self::Replaced
    }
}

impl From<Blind> for Error {
    fn from(blind: Blind) -> Self {
        match blind {
            Blind::Replaced => Self::corrupt("the index was replaced inside a write"),
            Blind::Unreadable(error) => error,
        }
    }
}

impl<'a> View<'a> {
    pub(super) fn new(index: &'a Index, at: Revision, compacted: Option<Revision>) -> Self {
        Self { index, at, compacted }
    }

    /// The revision that is seen.
    pub(crate) fn revision(&self) -> Revision {
        self.at
    }

    /// Can `at` be read, with this state as the newest? (`KV-2`)
    pub(crate) fn readable(&self, at: Option<Revision>) -> Result<Revision> {
        readable(at, self.compacted, self.at)
    }

    /// One key.
    pub(crate) fn get(&self, key: &[u8]) -> Option<KeyValue> {
        self.index.get(key, self.at).map(KeyValue::new)
    }

    /// What `query` asks for, in this state or in an older one.
    pub(crate) fn query(&self, query: &Query) -> Result<RangePage, Blind> {
        let at = self.readable(query.at).map_err(Blind::Unreadable)?;
        Ok(answer(self.index, query, at)?)
    }

    /// Does `test` hold for all keys of a range? `None` if there are none.
    pub(crate) fn all(
        &self,
        range: &KeyRange,
        test: impl Fn(&Record) -> bool,
    ) -> Result<Option<bool>, Blind> {
        if let Some(key) = range.single() {
            return Ok(self.index.get(key, self.at).as_ref().map(test));
        }
        let mut all = None;
        self.index.walk(&Span::new(range), |leaf, slots| {
            for record in leaf.live(slots, self.at) {
                all = Some(test(record));
                if all == Some(false) {
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        Ok(all)
    }
}
