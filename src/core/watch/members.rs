//! The watchers of one topic: a list that takes no memory of its own for a single one.
//!
//! Most topics have one: a hundred thousand watchers of as many keys are as many lists.

use std::sync::Arc;
use std::{mem, slice};

use super::topic::{Read, Slot};

#[derive(Default)]
pub(super) enum Members {
    #[default]
    None,
    One(Arc<Slot>),
    Several(Box<Several>),
}

/// Two at least.
pub(super) struct Several {
    slots: Vec<Arc<Slot>>,
    /// What was read last: most of those who are rung want to read the same. Only while some are
    /// awake.
    read: Option<Arc<Read>>,
}

impl Members {
    pub(super) fn as_slice(&self) -> &[Arc<Slot>] {
        match self {
            Self::None => &[],
            Self::One(slot) => slice::from_ref(slot),
            Self::Several(several) => &several.slots,
        }
    }

    pub(super) fn push(&mut self, slot: Arc<Slot>) {
        *self = match mem::take(self) {
            Self::None => Self::One(slot),
            Self::One(first) => {
                Self::Several(Box::new(Several { slots: vec![first, slot], read: None }))
            }
            Self::Several(mut several) => {
                several.slots.push(slot);
                Self::Several(several)
            }
        };
    }

    /// Takes out the last one.
    pub(super) fn pop(&mut self) -> Option<Arc<Slot>> {
        let (rest, last) = match mem::take(self) {
            Self::None => (Self::None, None),
            Self::One(slot) => (Self::None, Some(slot)),
            Self::Several(mut several) => {
                let last = several.slots.pop();
                match several.slots.pop() {
                    Some(first) if several.slots.is_empty() => (Self::One(first), last),
                    Some(next) => {
                        several.slots.push(next);
                        (Self::Several(several), last)
                    }
                    None => (Self::None, last),
                }
            }
        };
        *self = rest;
        last
    }

    /// Exchanges two of them. A place where none is, is left alone.
    pub(super) fn swap(&mut self, one: usize, other: usize) {
        if let Self::Several(several) = self
            && one.max(other) < several.slots.len()
        {
            several.slots.swap(one, other);
        }
    }

    /// What was read last.
    pub(super) fn read(&self) -> Option<&Arc<Read>> {
        match self {
            Self::Several(several) => several.read.as_ref(),
            Self::None | Self::One(_) => None,
        }
    }

    /// Keeps this as what was read last, if there are several. Gives back what is not kept.
    pub(super) fn set_read(&mut self, read: Option<Arc<Read>>) -> Option<Arc<Read>> {
        match self {
            Self::Several(several) => mem::replace(&mut several.read, read),
            Self::None | Self::One(_) => read,
        }
    }
}
