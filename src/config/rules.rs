//! The rules, one error each.

use std::fmt::Display;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::{Config, KIB, MIB};
use crate::error::{Error, Result};

/// The longest name and token.
pub(super) const MAX_WORD_BYTES: usize = 255;
/// What an entry's own header, the append's and the envelope's may take, with room to grow.
const MESSAGE_HEADROOM_BYTES: usize = 4 * KIB;

/// A whole number with its unit, as an error shows it.
struct Bytes(u64);

impl Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0)
    }
}

impl Config {
    /// The rules of everything but the founding members: these hold for a reopened directory too
    /// (`CFG-41`).
    pub(crate) fn check_settings(&self) -> Result<()> {
        self.check_places()?;
        self.check_times()?;
        self.check_snapshots()?;
        self.check_sizes()?;
        self.check_queues()
    }

    fn check_places(&self) -> Result<()> {
        word("name", &self.name, MAX_WORD_BYTES)?;
        word("cluster_token", &self.cluster_token, MAX_WORD_BYTES)?;
        if self.data_dir.as_os_str().is_empty() {
            return Err(Error::config("data_dir is empty: it must name a directory"));
        }
        let Some(wal_dir) = &self.wal_dir else { return Ok(()) };
        if wal_dir.as_os_str().is_empty() {
            return Err(Error::config("wal_dir is empty: it must name a directory"));
        }
        if plain(wal_dir) == plain(&self.data_dir) {
            let dir = wal_dir.display();
            return Err(Error::config(format!("wal_dir is {dir}: it must not be the data_dir")));
        }
        if plain(wal_dir).starts_with(plain(&self.data_dir).join("snapshots")) {
            let dir = wal_dir.display();
            return Err(Error::config(format!("wal_dir is {dir}: the snapshots are in there")));
        }
        Ok(())
    }

    fn check_times(&self) -> Result<()> {
        const SHORTEST_HEARTBEAT: Duration = Duration::from_millis(2);
        const LONGEST_ELECTION: Duration = Duration::from_millis(50_000);
        let (heartbeat, election) = (self.heartbeat_interval, self.election_timeout);
        if heartbeat < SHORTEST_HEARTBEAT {
            return Err(below("heartbeat_interval", time(heartbeat), time(SHORTEST_HEARTBEAT), ""));
        }
        // Before the rule of five, whose bound a very long heartbeat would put out of reach.
        if election > LONGEST_ELECTION {
            return Err(above("election_timeout", time(election), time(LONGEST_ELECTION), ""));
        }
        let five = heartbeat.saturating_mul(5);
        if election < five {
            let why = ", 5 times the heartbeat_interval";
            return Err(below("election_timeout", time(election), time(five), why));
        }
        if self.request_timeout == Some(Duration::ZERO) {
            return Err(Error::config("request_timeout is 0ns: it must be more than 0ns"));
        }
        Ok(())
    }

    fn check_snapshots(&self) -> Result<()> {
        const MAX_CATCHUP_ENTRIES: u64 = 1_000_000;
        const MAX_SNAPSHOTS: usize = 100;
        const MIN_SEGMENT_BYTES: u64 = 64 << 10;
        const MAX_SEGMENT_BYTES: u64 = 1 << 30;
        if self.snapshot_count == 0 {
            return Err(below("snapshot_count", 0, 1, ""));
        }
        let log = self.snapshot_log_bytes;
        let message = long(self.max_message_bytes);
        if log < message {
            let why = ", the max_message_bytes";
            return Err(below("snapshot_log_bytes", Bytes(log), Bytes(message), why));
        }
        let catchup = self.snapshot_catchup_entries;
        if catchup > MAX_CATCHUP_ENTRIES {
            return Err(above("snapshot_catchup_entries", catchup, MAX_CATCHUP_ENTRIES, ""));
        }
        within("max_snapshots", self.max_snapshots, 1, MAX_SNAPSHOTS)?;
        let bounds = (Bytes(MIN_SEGMENT_BYTES), Bytes(MAX_SEGMENT_BYTES));
        match self.segment_bytes {
            small if small < MIN_SEGMENT_BYTES => {
                Err(below("segment_bytes", Bytes(small), bounds.0, ""))
            }
            large if large > MAX_SEGMENT_BYTES => {
                Err(above("segment_bytes", Bytes(large), bounds.1, ""))
            }
            _ => Ok(()),
        }
    }

    fn check_sizes(&self) -> Result<()> {
        const MIN_MESSAGE_BYTES: usize = 64 * KIB;
        const MAX_MESSAGE_BYTES: usize = 64 * MIB;
        const MIN_REQUEST_BYTES: usize = KIB;
        /// Each is checked against each that writes before a transaction is proposed.
        const MAX_TXN_OPS: usize = 10_000;
        let (request, message) = (self.max_request_bytes, self.max_message_bytes);
        if message < MIN_MESSAGE_BYTES {
            return Err(below("max_message_bytes", size(message), size(MIN_MESSAGE_BYTES), ""));
        }
        if message > MAX_MESSAGE_BYTES {
            return Err(above("max_message_bytes", size(message), size(MAX_MESSAGE_BYTES), ""));
        }
        if request < MIN_REQUEST_BYTES {
            return Err(below("max_request_bytes", size(request), size(MIN_REQUEST_BYTES), ""));
        }
        let most = message.saturating_sub(MESSAGE_HEADROOM_BYTES);
        if request > most {
            let why = ", the max_message_bytes less 4 KiB";
            return Err(above("max_request_bytes", size(request), size(most), why));
        }
        within("max_txn_ops", self.max_txn_ops, 1, MAX_TXN_OPS)
    }

    fn check_queues(&self) -> Result<()> {
        /// As many outcomes as the machine keeps of one member: with more in flight, a write
        /// would be refused that it could not remember.
        const MAX_PENDING_REQUESTS: usize = 65_536;
        const MAX_PENDING_BYTES: usize = 2_048 * MIB;
        const MAX_INFLIGHT_APPENDS: usize = 4_096;
        within("max_pending_requests", self.max_pending_requests, 1, MAX_PENDING_REQUESTS)?;
        let pending = self.max_pending_bytes;
        if pending < self.max_message_bytes {
            let (value, bound) = (size(pending), size(self.max_message_bytes));
            return Err(below("max_pending_bytes", value, bound, ", the max_message_bytes"));
        }
        if pending > MAX_PENDING_BYTES {
            return Err(above("max_pending_bytes", size(pending), size(MAX_PENDING_BYTES), ""));
        }
        within("max_inflight_appends", self.max_inflight_appends, 1, MAX_INFLIGHT_APPENDS)
    }
}

/// A text that must be there and be short.
/// A path without its empty steps: `./a//b` is `a/b`.
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|step| *step != Component::CurDir).collect()
}

pub(super) fn word(knob: &str, value: &str, most: usize) -> Result<()> {
    if value.is_empty() {
        return Err(Error::config(format!("{knob} is empty: it must be 1 to {most} bytes")));
    }
    if value.len() > most {
        return Err(above(knob, size(value.len()), size(most), ""));
    }
    Ok(())
}

fn within(knob: &str, value: usize, least: usize, most: usize) -> Result<()> {
    match value {
        _ if value < least => Err(below(knob, value, least, "")),
        _ if value > most => Err(above(knob, value, most, "")),
        _ => Ok(()),
    }
}

fn below(knob: &str, value: impl Display, bound: impl Display, why: &str) -> Error {
    Error::config(format!("{knob} is {value}: it must be at least {bound}{why}"))
}

pub(super) fn above(knob: &str, value: impl Display, bound: impl Display, why: &str) -> Error {
    Error::config(format!("{knob} is {value}: it must be at most {bound}{why}"))
}

fn size(bytes: usize) -> Bytes {
    Bytes(long(bytes))
}

fn long(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// As `Duration` shows itself: `100ms`, `1.5s`.
fn time(duration: Duration) -> String {
    format!("{duration:?}")
}
