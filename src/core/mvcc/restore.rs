//! From records back to a store: a restart, or an image from another member.

use super::record::{Position, Record};
use super::{FIRST, Mvcc, Removal};
use crate::error::{Error, Result};
use crate::ids::Revision;

/// Beyond this the index has no room for a revision; no store gets there by writing.
const LAST: Revision = Revision::new(u64::MAX >> 1);

impl Mvcc {
    /// Rebuilds a store from its records, which must come by position (`DM-16`). All of it is
    /// readable at once.
    ///
    /// Nothing is taken on trust. Above the compacted revision every record must follow from the
    /// ones before it; up to it, each key has one record left at most, and a tombstone only
    /// exactly there (`CMP-4`, `CMP-5`).
    ///
    /// # Errors
    ///
    /// `is_corrupt` if the records are not what a store could have written.
    pub(crate) fn restore(
        compacted: Option<Revision>,
        revision: Revision,
        records: impl Iterator<Item = Result<Record>>,
    ) -> Result<Self> {
        let possible = FIRST..=LAST;
        if !possible.contains(&revision) || compacted.is_some_and(|compacted| compacted > revision)
        {
            let compacted = compacted.unwrap_or_default();
            let bounds = format!("a store at revision {revision}, compacted at {compacted}");
            return Err(Error::corrupt(bounds));
        }
        let removal = Removal::done(compacted);
        let mut mvcc = Self { revision, removal, ..Self::new() };
        let mut last: Option<Position> = None;
        for record in records {
            let record = record?;
            let position = record.position();
            if last.is_some_and(|last| position <= last) || position.0 > revision {
                let (main, sub) = position;
                let what = format!("the record at ({main},{sub}) is out of order");
                return Err(Error::corrupt(what));
            }
            last = Some(position);
            mvcc.restore_record(record, compacted)?;
        }
        mvcc.index.set_compacted(compacted);
        mvcc.index.pins.set_removed(compacted);
        mvcc.publish();
        Ok(mvcc)
    }

    fn restore_record(&mut self, record: Record, compacted: Option<Revision>) -> Result<()> {
        let known = self.index.newest(record.key());
        let live = known.as_ref().filter(|known| !known.is_tombstone());
        let follows = match live {
            _ if compacted.is_some_and(|compacted| record.main() <= compacted) => {
                known.is_none() && (!record.is_tombstone() || Some(record.main()) == compacted)
            }
            Some(live) if !record.is_tombstone() => {
                record.create_revision() == live.create_revision()
                    && live.version().checked_add(1) == Some(record.version())
            }
            Some(_) => true,
            None => record.version() == 1 && record.create_revision() == record.main(),
        };
        if !follows {
            let (main, sub) = record.position();
            let key = record.key().escape_ascii();
            let what = format!("the record of \"{key}\" at ({main},{sub}) does not follow");
            return Err(Error::corrupt(what));
        }
        match (live.is_some(), record.is_tombstone()) {
            (false, false) => self.keys = self.keys.saturating_add(1),
            (true, true) => self.keys = self.keys.saturating_sub(1),
            _ => {}
        }
        self.supersede(known.as_ref().filter(|known| !known.is_tombstone()));
        self.supersede(Some(&record).filter(|record| record.is_tombstone()));
        self.index.insert(&record);
        self.push(record);
        Ok(())
    }
}
