//! Who is to be told of progress, and when (`WAT-24`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::topic::Slot;
use crate::time::Instant;

/// Those that asked for it, by the moment that is next.
#[derive(Default)]
pub(super) struct Schedule {
    due: BTreeMap<(Instant, u64), (Arc<Slot>, Duration)>,
    /// Where each is in `due`.
    moments: BTreeMap<u64, Instant>,
}

impl Schedule {
    /// A slot's turn comes `every` so often from `now` on.
    pub(super) fn add(&mut self, now: Instant, slot: &Arc<Slot>, every: Duration) {
        let moment = now.after(every);
        self.due.insert((moment, slot.id), (Arc::clone(slot), every));
        self.moments.insert(slot.id, moment);
    }

    pub(super) fn remove(&mut self, id: u64) {
        if let Some(moment) = self.moments.remove(&id) {
            self.due.remove(&(moment, id));
        }
    }

    /// One whose turn has come. Its next turn is counted from `now`.
    pub(super) fn next(&mut self, now: Instant) -> Option<Arc<Slot>> {
        let first = self.due.first_entry().filter(|first| first.key().0 <= now)?;
        let (slot, every) = first.remove();
        self.add(now, &slot, every);
        Some(slot)
    }
}
