//! What goes wrong when, and the count of what happened.

use std::io;

/// What goes wrong with the operations that change something: creating, writing, syncing,
/// renaming, removing. Their numbers begin with 0 where the plan is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Plan {
    #[default]
    Nothing,
    /// The operation of this number fails, and only that.
    FailAt(u64),
    /// The power fails during the operation of this number: it fails, and every later one.
    StopAt(u64),
}

/// What happened on a disk since it was made. Operations count also if they failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Everything that changes something: the writes and syncs below, and what changes names.
    pub(crate) operations: u64,
    pub(crate) writes: u64,
    pub(crate) written_bytes: u64,
    pub(crate) syncs: u64,
    pub(crate) dir_syncs: u64,
    pub(crate) reads: u64,
    pub(crate) read_bytes: u64,
    /// Operations that the plan failed or stopped, syncs among them.
    pub(crate) failed_operations: u64,
    /// Syncs of files that failed while the power was on.
    pub(crate) failed_syncs: u64,
    pub(crate) failed_reads: u64,
    /// Operations for which there was no room.
    pub(crate) refused_as_full: u64,
    pub(crate) kills: u64,
    pub(crate) power_failures: u64,
    /// Sectors that came back from a power failure as they were at their last sync.
    pub(crate) lost_sectors: u64,
    /// Sectors that came back as they had been between their last sync and the power failure.
    pub(crate) older_sectors: u64,
    /// Files that came back shorter.
    pub(crate) shortened_files: u64,
    /// Changes of names that did not come back.
    pub(crate) lost_names: u64,
    pub(crate) flipped_bits: u64,
}

/// What is to become of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes well.
    Passes,
    /// It fails, as an operation may at any time.
    Fails,
    /// The power fails during it.
    Stops,
    /// The power had failed before.
    Off,
}

impl Verdict {
    pub(super) fn result(self) -> io::Result<()> {
        match self {
            Self::Passes => Ok(()),
            Self::Fails => Err(io::Error::other("injected")),
            Self::Stops | Self::Off => Err(io::Error::other("injected: the power is off")),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    plan: Plan,
    /// Operations since the plan was made.
    operations: u64,
    /// The plan has stopped the power.
    off: bool,
    /// So many go well before one fails.
    syncs_until_failure: Option<u64>,
    reads_until_failure: Option<u64>,
    /// What all files may hold together.
    pub(super) capacity: Option<u64>,
}

impl Faults {
    pub(super) fn plan(&mut self, plan: Plan) {
        self.plan = plan;
        self.operations = 0;
        self.off = false;
    }

    /// Nothing more is to go wrong.
    pub(super) fn mend(&mut self) {
        *self = Self { operations: self.operations, ..Self::default() };
    }

    #[cfg(test)]
    pub(super) fn operations(&self) -> u64 {
        self.operations
    }

    pub(super) fn is_off(&self) -> bool {
        self.off
    }

    /// The power is back: a plan that stopped it is over.
    pub(super) fn power_on(&mut self) {
        if self.off {
            self.plan(Plan::Nothing);
        }
    }

    pub(super) fn fail_sync(&mut self, after: u64) {
        self.syncs_until_failure = Some(after);
    }

    pub(super) fn fail_read(&mut self, after: u64) {
        self.reads_until_failure = Some(after);
    }

    /// Counts an operation that changes something.
    pub(super) fn judge(&mut self) -> Verdict {
        let number = self.operations;
        self.operations += 1;
        if self.off {
            return Verdict::Off;
        }
        match self.plan {
            Plan::FailAt(at) if number == at => Verdict::Fails,
            Plan::StopAt(at) if number >= at => {
                self.off = true;
                Verdict::Stops
            }
            _ => Verdict::Passes,
        }
    }

    /// Counts a sync that would go well.
    pub(super) fn judge_sync(&mut self) -> Verdict {
        if falls_due(&mut self.syncs_until_failure) { Verdict::Fails } else { Verdict::Passes }
    }

    /// Counts a read.
    pub(super) fn judge_read(&mut self) -> Verdict {
        if falls_due(&mut self.reads_until_failure) { Verdict::Fails } else { Verdict::Passes }
    }
}

/// Counts down to a failure that happens once.
fn falls_due(left: &mut Option<u64>) -> bool {
    match left {
        None => false,
        Some(0) => {
            *left = None;
            true
        }
        Some(count) => {
            *count -= 1;
            false
        }
    }
}
