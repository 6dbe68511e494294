//! A hash by which members compare their data.

use super::Pinned;
use crate::codec::checksum;
use crate::error::{Error, Result};
use crate::ids::Revision;

/// What the data hash to. Two members whose `revision` and `compacted` are equal must have an
/// equal `value`; with different `compacted` the values say nothing about each other (`HSH-4`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hash {
    pub(crate) value: u32,
    pub(crate) revision: Revision,
    pub(crate) compacted: Option<Revision>,
}

impl Pinned {
    /// Hashes all records up to `at`, in order, or all there are (`HSH-1`, `HSH-2`).
    ///
    /// A tombstone exactly at the compacted revision is left out, as etcd does, and so is whatever
    /// the compaction does not keep, removed or not (`HSH-3`). The checksum is the one of our
    /// files, over our stored form: it is not comparable with etcd's.
    pub(crate) fn hash(&self, at: Option<Revision>) -> Result<Hash> {
        let (current, compacted) = (self.revision(), self.compacted());
        let revision = at.filter(|at| at.get() > 0).unwrap_or(current);
        if let Some(compacted) = compacted.filter(|compacted| revision < *compacted) {
            return Err(Error::compacted(revision, compacted));
        }
        if revision > current {
            return Err(Error::future_revision(revision, current));
        }
        let value = self
            .records()
            .take_while(|record| record.main() <= revision)
            .filter(|record| !(record.is_tombstone() && Some(record.main()) == compacted))
            .fold(0, |hash, record| checksum(hash, record.as_bytes()));
        Ok(Hash { value, revision, compacted })
    }
}
