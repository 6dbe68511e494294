//! What a replica is set up with.

use std::time::Duration;

use super::consensus::Start;
use super::envelope::HEADER_BYTES;
use super::io::SnapshotFile;
use super::proposals::Me;
use super::retention::Retain;
use crate::core::machine::Machine;
use crate::ids::ClusterId;

/// The configuration, as far as the core goes.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Half a heartbeat.
    pub(crate) tick: Duration,
    pub(crate) heartbeat: Duration,
    pub(crate) election: Duration,
    pub(crate) snapshot_count: u64,
    pub(crate) snapshot_log_bytes: u64,
    pub(crate) snapshot_catchup_entries: u64,
    pub(crate) max_message_bytes: usize,
    pub(crate) max_request_bytes: usize,
    /// How far behind the current revision a pinned read is waited for.
    pub(crate) max_pinned_revisions: u64,
    pub(crate) retain: Retain,
}

/// What a member's disk held, or the beginning of a new one.
pub(crate) struct Restored {
    pub(crate) me: Me,
    pub(crate) cluster: ClusterId,
    pub(crate) start: Start,
    pub(crate) machine: Machine,
    pub(crate) saved: Option<SnapshotFile>,
}

/// Room that a body needs beside its payload.
const BODY_OVERHEAD: usize = 256;

impl Settings {
    /// How long to wait for an answer before asking again: two heartbeats, since what is lost
    /// on the way is noticed by nothing sooner.
    pub(crate) fn retry(&self) -> Duration {
        self.heartbeat * 2
    }

    /// How long a snapshot transfer may stand still: ten election timeouts.
    pub(crate) fn patience(&self) -> Duration {
        self.election * 10
    }

    /// A chunk of a snapshot: a quarter of an envelope, so that others fit between.
    pub(crate) fn chunk_bytes(&self) -> u32 {
        u32::try_from(self.max_message_bytes / 4).unwrap_or(u32::MAX)
    }

    /// What forwarded writes may take together.
    pub(crate) fn forward_bytes(&self) -> usize {
        // Each write takes a length beside its bytes, and is never shorter than its stamp.
        (self.max_message_bytes - HEADER_BYTES - BODY_OVERHEAD) / 12 * 11
    }

    /// The largest entry that any member may propose.
    pub(crate) fn max_entry_bytes(&self) -> usize {
        self.max_request_bytes + BODY_OVERHEAD
    }

    /// How many entries to keep behind a snapshot for members that are a little late, when the
    /// log since the last one was `entries` long and took `bytes`: no more than a quarter of
    /// what makes a snapshot due, however large the entries are.
    pub(crate) fn catchup(&self, entries: u64, bytes: u64) -> u64 {
        let each = (bytes / entries.max(1)).max(1);
        self.snapshot_catchup_entries.min(self.snapshot_log_bytes / 4 / each)
    }
}
