//! What a store keeps of everything that the model remembers.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Model, Version, shown};
use crate::ids::Revision;
use crate::sim::history::Kv;

/// A change that is kept: where it stands (`DM-2`), of which key, and what it made of it, if it
/// was no deletion.
pub(crate) type Kept = ((Revision, u32), Bytes, Option<Kv>);

impl Model {
    pub(crate) fn compacted(&self) -> Option<Revision> {
        self.compacted
    }

    /// The records of the store once everything that was compacted is removed, as they were
    /// written: those above the compacted revision, and of each key the last one at or before it,
    /// unless that is a deletion from before (`CMP-4`, `CMP-5`).
    pub(crate) fn kept(&self) -> Vec<Kept> {
        let mut met: BTreeMap<&Bytes, usize> = BTreeMap::new();
        let (mut kept, mut main, mut sub) = (Vec::new(), Revision::default(), 0);
        for (revision, key) in &self.changes {
            sub = if *revision == main { sub + 1 } else { 0 };
            main = *revision;
            let place = met.entry(key).or_default();
            let versions = self.keys.get(key).map_or(&[][..], Vec::as_slice);
            if let Some(version) = versions.get(*place).filter(|_| self.keeps(versions, *place)) {
                let live = version.live.as_ref();
                let kv = live.map(|live| shown((key, version, live)));
                kept.push(((main, sub), key.clone(), kv));
            }
            *place += 1;
        }
        kept
    }

    fn keeps(&self, versions: &[Version], place: usize) -> bool {
        let (Some(at), Some(version)) = (self.compacted, versions.get(place)) else { return true };
        let is_last = versions.get(place + 1).is_none_or(|next| next.revision > at);
        version.revision > at || (is_last && (version.live.is_some() || version.revision == at))
    }
}
