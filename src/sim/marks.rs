//! What a simulation has seen: how often which fault came, and which rare paths were reached.

use std::collections::BTreeMap;

use super::faults::Fault;
use super::seen::Seen;

/// Counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) faults: BTreeMap<Fault, u64>,
    pub(crate) paths: BTreeMap<&'static str, u64>,
}

impl Marks {
    pub(super) fn fault(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
    }

    pub(super) fn hit(&mut self, path: &'static str) {
        *self.paths.entry(path).or_default() += 1;
    }

    pub(super) fn see(&mut self, _now: u64, seen: &Seen<'_>) {
        if let Seen::Durable { batch, .. } = seen
            && batch.iter().any(|persist| persist.install.is_some())
        {
            self.hit("a snapshot is installed");
        }
    }
}
