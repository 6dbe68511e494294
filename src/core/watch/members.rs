//! The watchers of one topic: a list that takes no memory of its own for a single one.
//!
//! Most topics have one: a hundred thousand watchers of as many keys are as many lists.

use std::sync::Arc;
use std::{mem, slice};

use super::topic::Slot;

#[derive(Default)]
pub(super) enum Members {
    #[default]
    None,
    One(Arc<Slot>),
    /// Two at least.
    #[expect(clippy::box_collection, reason = "it makes the others of one word more three")]
    Many(Box<Vec<Arc<Slot>>>),
}

impl Members {
    pub(super) fn as_slice(&self) -> &[Arc<Slot>] {
        match self {
            Self::None => &[],
            Self::One(slot) => slice::from_ref(slot),
            Self::Many(slots) => slots,
        }
    }

    pub(super) fn push(&mut self, slot: Arc<Slot>) {
        *self = match mem::take(self) {
            Self::None => Self::One(slot),
            Self::One(first) => Self::Many(Box::new(vec![first, slot])),
            Self::Many(mut slots) => {
                slots.push(slot);
                Self::Many(slots)
            }
        };
    }

    /// Takes out the last one.
    pub(super) fn pop(&mut self) -> Option<Arc<Slot>> {
        let (rest, last) = match mem::take(self) {
            Self::None => (Self::None, None),
            Self::One(slot) => (Self::None, Some(slot)),
            Self::Many(mut slots) => {
                let last = slots.pop();
                match slots.pop() {
                    Some(first) if slots.is_empty() => (Self::One(first), last),
                    Some(next) => {
                        slots.push(next);
                        (Self::Many(slots), last)
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
        if let Self::Many(slots) = self
            && one.max(other) < slots.len()
        {
            slots.swap(one, other);
        }
    }
}
