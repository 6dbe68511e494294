//! What is watched, through which handle, and how well its consumer keeps up.

use std::time::Duration;

use bytes::Bytes;

use super::{Consumer, Style};
use crate::ids::Revision;
use crate::keys::KeyRange;
use crate::service::{ListAndWatch, Watch};
use crate::sim::check::watch::Asked;
use crate::sim::workload::draw;
use crate::store::Store;

/// Scopes of handles: of many keys, of some of them, and of the accounts.
const SCOPES: [&str; 3] = ["k", "k00", "bank/"];

impl Consumer {
    pub(super) fn style(&mut self) -> Style {
        let asks = self.dice.chance(500_000);
        let (slow, stalls) = match self.dice.below(4) {
            0 => (self.watchers.slow, 0),
            1 => (Duration::ZERO, 1 + self.dice.below(20)),
            _ => (Duration::ZERO, 0),
        };
        Style { until: self.moment(), slow, stalls, asks }
    }

    /// Until when a watcher is kept.
    pub(super) fn moment(&mut self) -> Duration {
        self.cluster.clock().now() + self.dice.span(Duration::ZERO, self.watchers.kept)
    }

    pub(super) fn draw(&mut self) -> Asked {
        let (scope, range) = self.range();
        let newest = self.newest.get();
        let (near, back) = (self.dice.below(50), self.dice.below(200));
        let from = match self.dice.below(8) {
            0 | 1 => Some(newest.saturating_sub(back).max(1)),
            2 => Some(newest + 1 + near),
            3 => Some(1),
            _ => None,
        };
        Asked {
            scope,
            range,
            from: from.map(Revision::new),
            no_puts: self.dice.chance(100_000),
            no_deletes: self.dice.chance(100_000),
            prev: self.dice.chance(500_000),
            progress: self.dice.chance(300_000),
            fragment: self.dice.chance(250_000).then(|| self.dice.place(400) + 1),
            leader: self.dice.chance(150_000),
        }
    }

    /// A range, and the scope in which it is called so.
    fn range(&mut self) -> (Bytes, KeyRange) {
        let key = draw::name(self.dice.below(self.keys));
        if self.dice.chance(250_000) {
            let scope = self.dice.pick(&SCOPES).copied().unwrap_or_default();
            let inner = key.strip_prefix(scope.as_bytes()).unwrap_or(b"a");
            let inner = Bytes::copy_from_slice(inner);
            return (Bytes::from_static(scope.as_bytes()), self.range_around(inner, 1));
        }
        if self.dice.below(6) == 0 {
            return (Bytes::new(), KeyRange::prefix("bank/"));
        }
        (Bytes::new(), self.range_around(key, 4))
    }

    /// A range with a key in it, or all that begins with so many bytes of it.
    fn range_around(&mut self, key: Bytes, shared: usize) -> KeyRange {
        match self.dice.below(5) {
            0 | 1 => KeyRange::key(key),
            2 => KeyRange::prefix(key.slice(..shared.min(key.len()))),
            3 => KeyRange::starting_at(key),
            _ => KeyRange::all(),
        }
    }
}

/// Sets the options that were asked for, but for where it begins and how often it is told of its
/// progress.
macro_rules! with_options {
    ($watch:expr, $asked:expr) => {{
        let (mut watch, asked) = ($watch, $asked);
        if asked.no_puts {
            watch = watch.no_puts();
        }
        if asked.no_deletes {
            watch = watch.no_deletes();
        }
        if asked.prev {
            watch = watch.prev_values();
        }
        if let Some(bytes) = asked.fragment {
            watch = watch.fragment_bytes(bytes);
        }
        if asked.leader { watch.require_leader() } else { watch }
    }};
}

/// The handle through which it is asked.
pub(super) fn handle(store: &Store, asked: &Asked) -> Store {
    if asked.scope.is_empty() { store.clone() } else { store.scoped(asked.scope.clone()) }
}

/// The same in a user's words, but for how often it is told of progress.
pub(in crate::sim) fn watch(store: &Store, asked: &Asked) -> Watch {
    let watch = handle(store, asked).watch(asked.range.clone());
    with_options!(watch.from_revision(asked.from.unwrap_or_default()), asked)
}

/// As [`watch`], with what there is now before what comes.
pub(super) fn list_and_watch(store: &Store, asked: &Asked) -> ListAndWatch {
    with_options!(handle(store, asked).list_and_watch(asked.range.clone()), asked)
}
