//! What a host may choose about a node. Every limit of the library is a field here.
//!
//! Nothing is read from the environment and nothing has a meaning of its own when it is zero.
//! [`Config::validate`] is called before anything is created on disk (`CFG-39`); each rule has an
//! error of its own, which names the setting, its value and the bound that it broke.
//!
//! ```text
//!   heartbeat_interval ──x5──► election_timeout ──x2 + 5 s──► request_timeout (its default)
//!   max_request_bytes ──+4 KiB──► max_message_bytes ──► max_pending_bytes, snapshot_log_bytes
//!   initial_cluster + cluster_token ──SHA-1──► member ids ──SHA-1──► cluster id
//! ```

#[cfg(feature = "serde")]
mod file;
mod founding;
mod history;
mod rules;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::ids::{ClusterId, NodeId};
use crate::vfs::Vfs;

pub(crate) use self::founding::Founding;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// How a member begins that has no data yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize), serde(rename_all = "lowercase"))]
pub enum InitialState {
    /// It founds the cluster together with everybody else in the list (`BST-2`).
    #[default]
    New,
    /// The cluster runs already and this member has been part of it: a directory without its
    /// data is an error, not a new beginning (`BST-3`). Say this once a cluster is founded, and a
    /// lost disk cannot pass for a fresh one.
    Existing,
}

/// The settings of a node.
///
/// A name, a directory and the list of members are needed; everything else has a default that
/// suits three members in one building.
///
/// ```
/// use std::time::Duration;
/// use quorate::Config;
///
/// let config = Config::new("a", "/var/lib/app/a")
///     .initial_cluster([("a", "10.0.0.1:7000"), ("b", "10.0.0.2:7000"), ("c", "10.0.0.3:7000")])
///     .heartbeat_interval(Duration::from_millis(50))
///     .election_timeout(Duration::from_millis(500));
/// assert!(config.validate().is_ok());
///
/// let wrong = config.election_timeout(Duration::from_millis(200));
/// assert_eq!(
///     wrong.validate().unwrap_err().to_string(),
///     "election_timeout is 200ms: it must be at least 250ms, 5 times the heartbeat_interval"
/// );
/// ```
///
/// With the feature `serde` it is read from a file: the fields are named as the methods here,
/// durations are `"100ms"`, `"5s"`, `"2m"` or `"1h"`, sizes are bytes or `"64KiB"`, `"1MiB"` or
/// `"1GiB"`, and `initial_cluster` is a table of name to address.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) name: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) wal_dir: Option<PathBuf>,
    /// Name and address, as given: order and repeats are the rules' business.
    pub(crate) initial_cluster: Vec<(String, String)>,
    pub(crate) initial_state: InitialState,
    pub(crate) cluster_token: String,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) election_timeout: Duration,
    pub(crate) request_timeout: Option<Duration>,
    pub(crate) snapshot_count: u64,
    pub(crate) snapshot_log_bytes: u64,
    pub(crate) snapshot_catchup_entries: u64,
    pub(crate) max_snapshots: usize,
    pub(crate) segment_bytes: u64,
    pub(crate) max_request_bytes: usize,
    pub(crate) max_txn_ops: usize,
    pub(crate) max_message_bytes: usize,
    pub(crate) max_pending_requests: usize,
    pub(crate) max_pending_bytes: usize,
    pub(crate) max_inflight_appends: usize,
    pub(crate) retain_revisions: Option<u64>,
    pub(crate) retain_time: Option<Duration>,
    pub(crate) retain_bytes: Option<u64>,
    pub(crate) max_pinned_revisions: u64,
    pub(crate) election_seed: Option<u64>,
    pub(crate) files: Files,
}

/// The files to keep data in; none for those of the operating system.
#[derive(Clone, Default)]
pub(crate) struct Files(pub(crate) Option<Arc<dyn Vfs>>);

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "the host's" } else { "the system's" })
    }
}

impl Config {
    /// The defaults, for the member `name` with its data in `data_dir`.
    ///
    /// - `name` (`CFG-1`): 1 to 255 bytes, and one of the names in
    ///   [`initial_cluster`](Self::initial_cluster). There is no default: it decides which member
    ///   this is.
    /// - `data_dir` (`CFG-2`): created with mode 0700 if it is missing. One node at a time has it
    ///   open.
    ///
    /// ```
    /// # use quorate::Config;
    /// let config = Config::new("a", "a.data").initial_cluster([("a", "here")]);
    /// assert!(config.validate().is_ok());
    /// ```
    #[must_use]
    pub fn new(name: impl Into<String>, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            data_dir: data_dir.into(),
            wal_dir: None,
            initial_cluster: Vec::new(),
            initial_state: InitialState::New,
            cluster_token: "quorate".into(),
            heartbeat_interval: Duration::from_millis(100),
            election_timeout: Duration::from_millis(1_000),
            request_timeout: None,
            snapshot_count: 100_000,
            snapshot_log_bytes: 256 << 20,
            snapshot_catchup_entries: 5_000,
            max_snapshots: 5,
            segment_bytes: 64 << 20,
            max_request_bytes: 960 * KIB,
            max_txn_ops: 128,
            max_message_bytes: MIB,
            max_pending_requests: 16_384,
            max_pending_bytes: 64 * MIB,
            max_inflight_appends: 128,
            retain_revisions: None,
            retain_time: None,
            retain_bytes: None,
            max_pinned_revisions: 1_000_000,
            election_seed: None,
            files: Files::default(),
        }
    }

    /// A directory of its own for the log (`CFG-3`), on a disk that syncs fast. Default: inside
    /// the data directory. Must not be the data directory itself.
    ///
    /// ```
    /// # use quorate::Config;
    /// let config = Config::new("a", "a.data").initial_cluster([("a", "here")]);
    /// assert!(config.clone().wal_dir("/fast/a.log").validate().is_ok());
    /// assert!(config.wal_dir("a.data").validate().is_err());
    /// ```
    #[must_use]
    pub fn wal_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.wal_dir = Some(dir.into());
        self
    }

    /// The founding members (`CFG-11`): name and address of each, this one among them. 1 to 32,
    /// the same list on every member, in any order; replaces an earlier one.
    ///
    /// An address is 1 to 1,024 bytes that only the host's
    /// [`Transport`](crate::Transport) understands. It is part of the member's id (`MEM-2`).
    /// It stays the same for the life of the cluster: the ids are made of the addresses, and a
    /// directory of other ids is refused (`BST-1`).
    ///
    /// ```
    /// # use quorate::Config;
    /// let members = [("a", "10.0.0.1:7000"), ("b", "10.0.0.2:7000")];
    /// assert!(Config::new("a", "a.data").initial_cluster(members).validate().is_ok());
    /// assert!(Config::new("c", "c.data").initial_cluster(members).validate().is_err());
    /// ```
    #[must_use]
    pub fn initial_cluster<N, A>(mut self, members: impl IntoIterator<Item = (N, A)>) -> Self
    where
        N: Into<String>,
        A: Into<String>,
    {
        self.initial_cluster =
            members.into_iter().map(|(name, address)| (name.into(), address.into())).collect();
        self
    }

    /// Whether this member may found the cluster, or must hold its data already (`CFG-12`).
    /// Default: [`InitialState::New`].
    ///
    /// ```
    /// # use quorate::{Config, InitialState};
    /// let config = Config::new("a", "a.data").initial_cluster([("a", "here")]);
    /// let config = config.initial_state(InitialState::Existing);
    /// assert!(config.validate().is_ok());
    /// ```
    #[must_use]
    pub fn initial_state(mut self, state: InitialState) -> Self {
        self.initial_state = state;
        self
    }

    /// A word that keeps clusters apart whose members have the same addresses (`CFG-13`): it is
    /// part of all ids. 1 to 255 bytes, default "quorate". It stays the same for the life of the
    /// cluster.
    ///
    /// ```
    /// # use quorate::Config;
    /// let config = Config::new("a", "a.data").initial_cluster([("a", "here")]);
    /// let other = config.clone().cluster_token("other");
    /// assert_ne!(config.cluster_id()?, other.cluster_id()?);
    /// # Ok::<(), quorate::Error>(())
    /// ```
    #[must_use]
    pub fn cluster_token(mut self, token: impl Into<String>) -> Self {
        self.cluster_token = token.into();
        self
    }

    /// How often a leader lets the others hear from it (`CFG-8`). Default 100 ms, at least 2 ms.
    /// About the round trip between members; the same on all of them (`CFG-40`).
    ///
    /// ```
    /// # use quorate::Config;
    /// # use std::time::Duration;
    /// let config = Config::new("a", "a.data").initial_cluster([("a", "here")]);
    /// assert!(config.clone().heartbeat_interval(Duration::from_millis(20)).validate().is_ok());
    /// assert!(config.heartbeat_interval(Duration::from_millis(1)).validate().is_err());
    /// ```
    #[must_use]
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.heartbeat_interval = interval;
        self
    }

    /// How long a member hears nothing before it calls an election (`CFG-9`); each draws between
    /// this and twice this. Default 1 s, at least 5 heartbeats, at most 50 s. Shorter finds a new
    /// leader sooner, and calls elections over a slow disk or a busy machine. The same on all
    /// members (`CFG-40`).
    ///
    /// ```
    /// # use quorate::Config;
    /// # use std::time::Duration;
    /// let config = Config::new("a", "a.data").initial_cluster([("a", "here")]);
    /// assert!(config.clone().election_timeout(Duration::from_millis(500)).validate().is_ok());
    /// assert!(config.election_timeout(Duration::from_millis(499)).validate().is_err());
    /// ```
    #[must_use]
    pub fn election_timeout(mut self, timeout: Duration) -> Self {
        self.election_timeout = timeout;
        self
    }

    /// How long a call may take that sets no deadline of its own (`SEL-12`). Default 5 s and
    /// twice the election timeout (`CFG-38`), which outlasts an election; must not be zero.
    ///
    /// ```
    /// # use quorate::Config;
    /// # use std::time::Duration;
    /// let config = Config::new("a", "a.data").initial_cluster([("a", "here")]);
    /// assert!(config.clone().request_timeout(Duration::from_secs(2)).validate().is_ok());
    /// assert!(config.request_timeout(Duration::ZERO).validate().is_err());
    /// ```
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = Some(timeout);
        self
    }

    /// After how many applied entries a snapshot is taken (`CFG-4`). Default 100,000, at least 1.
    /// Fewer reopen faster and write more. Not before the log since the last snapshot is as long
    /// as that one, either: a snapshot holds the whole state.
    ///
    /// ```
    /// # use quorate::Config;
    /// let config = Config::new("a", "a.data").initial_cluster([("a", "here")]);
    /// assert!(config.clone().snapshot_count(10_000).validate().is_ok());
    /// assert!(config.snapshot_count(0).validate().is_err());
    /// ```
    #[must_use]
    pub fn snapshot_count(mut self, entries: u64) -> Self {
        self.snapshot_count = entries;
        self
    }

    /// After how many bytes of log a snapshot is taken, should that come first: it bounds the disk
    /// that large values take. Default 256 MiB, at least
    /// [`max_message_bytes`](Self::max_message_bytes).
    ///
    /// ```
    /// # use quorate::Config;
    /// let config = Config::new("a", "a.data").initial_cluster([("a", "here")]);
    /// assert!(config.clone().snapshot_log_bytes(64 << 20).validate().is_ok());
    /// assert!(config.snapshot_log_bytes(1 << 10).validate().is_err());
    /// ```
    #[must_use]
    pub fn snapshot_log_bytes(mut self, bytes: u64) -> Self {
        self.snapshot_log_bytes = bytes;
        self
    }

    /// How many entries before a snapshot stay in memory for members that are a little behind
    /// (`CFG-5`). Default 5,000, at most 1,000,000. Who is further behind is sent the snapshot.
    ///
    /// ```
    /// # use quorate::Config;
    /// let config = Config::new("a", "a.data").initial_cluster([("a", "here")]);
    /// assert!(config.clone().snapshot_catchup_entries(0).validate().is_ok());
    /// assert!(config.snapshot_catchup_entries(1_000_001).validate().is_err());
    /// ```
    #[must_use]
    pub fn snapshot_catchup_entries(mut self, entries: u64) -> Self {
        self.snapshot_catchup_entries = entries;
        self
    }

    /// How many snapshots are kept (`CFG-7`), with the log since the oldest. Default 5, at least
    /// 1, at most 100. A damaged one is survived by opening the one before.
    ///
    /// ```
    /// # use quorate::Config;
    /// let config = Config::new("a", "a.data").initial_cluster([("a", "here")]);
    /// assert!(config.clone().max_snapshots(2).validate().is_ok());
    /// assert!(config.max_snapshots(0).validate().is_err());
    /// ```
    #[must_use]
    pub fn max_snapshots(mut self, count: usize) -> Self {
        self.max_snapshots = count;
        self
    }

    /// The size of a file of the log. Default 64 MiB, at least 64 KiB, at most 1 GiB. The log
    /// is given back in pieces of this size.
    ///
    /// ```
    /// # use quorate::Config;
    /// let config = Config::new("a", "a.data").initial_cluster([("a", "here")]);
    /// assert!(config.clone().segment_bytes(16 << 20).validate().is_ok());
    /// assert!(config.segment_bytes(1 << 10).validate().is_err());
    /// ```
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// The largest write (`CFG-17`), keys and values and what stands around them. Default 960
    /// KiB, at least 1 KiB, at most [`max_message_bytes`](Self::max_message_bytes) less 4 KiB:
    /// an entry of the log travels in one envelope.
    ///
    /// ```
    /// # use quorate::Config;
    /// let config = Config::new("a", "a.data").initial_cluster([("a", "here")]);
    /// assert!(config.clone().max_request_bytes(64 << 10).validate().is_ok());
    /// assert!(config.max_request_bytes(1 << 20).validate().is_err());
    /// ```
    #[must_use]
    pub fn max_request_bytes(mut self, bytes: usize) -> Self {
        self.max_request_bytes = bytes;
        self
    }

    /// How many conditions, and operations in each branch, a transaction may have (`CFG-16`,
    /// `TXN-6`). Default 128, at least 1, at most 10,000.
    ///
    /// ```
    /// # use quorate::Config;
    /// let config = Config::new("a", "a.data").initial_cluster([("a", "here")]);
    /// assert!(config.clone().max_txn_ops(1_000).validate().is_ok());
    /// assert!(config.max_txn_ops(0).validate().is_err());
    /// ```
    #[must_use]
    pub fn max_txn_ops(mut self, count: usize) -> Self {
        self.max_txn_ops = count;
        self
    }

    /// The largest envelope that is handed to [`Transport::send`](crate::Transport::send)
    /// (`CFG-42`), and the largest that is taken. Default 1 MiB, at least 64 KiB, at most 64 MiB.
    /// The same on all members.
    ///
    /// ```
    /// # use quorate::Config;
    /// let config = Config::new("a", "a.data").initial_cluster([("a", "here")]);
    /// assert!(config.clone().max_message_bytes(4 << 20).validate().is_ok());
    /// assert!(config.max_message_bytes(1 << 10).validate().is_err());
    /// ```
    #[must_use]
    pub fn max_message_bytes(mut self, bytes: usize) -> Self {
        self.max_message_bytes = bytes;
        self
    }

    /// How many calls may wait at once; the next is refused with
    /// [`is_overloaded`](crate::Error::is_overloaded). Default 16,384, at least 1, at most 65,536:
    /// the machine remembers the outcomes of so many writes of one member.
    ///
    /// ```
    /// # use quorate::Config;
    /// let config = Config::new("a", "a.data").initial_cluster([("a", "here")]);
    /// assert!(config.clone().max_pending_requests(1_000).validate().is_ok());
    /// assert!(config.max_pending_requests(0).validate().is_err());
    /// ```
    #[must_use]
    pub fn max_pending_requests(mut self, count: usize) -> Self {
        self.max_pending_requests = count;
        self
    }

    /// How many bytes may wait at once in calls and envelopes; the next is refused with
    /// [`is_overloaded`](crate::Error::is_overloaded). Default 64 MiB, at least
    /// [`max_message_bytes`](Self::max_message_bytes), at most 2 GiB.
    ///
    /// ```
    /// # use quorate::Config;
    /// let config = Config::new("a", "a.data").initial_cluster([("a", "here")]);
    /// assert!(config.clone().max_pending_bytes(16 << 20).validate().is_ok());
    /// assert!(config.max_pending_bytes(1 << 10).validate().is_err());
    /// ```
    #[must_use]
    pub fn max_pending_bytes(mut self, bytes: usize) -> Self {
        self.max_pending_bytes = bytes;
        self
    }

    /// How many messages with entries a leader sends a member ahead of its answers (`CFG-42`).
    /// Default 128, at least 1, at most 4,096. Times half of
    /// [`max_message_bytes`](Self::max_message_bytes), it is what one slow member may hold in
    /// the transport's queues.
    ///
    /// ```
    /// # use quorate::Config;
    /// let config = Config::new("a", "a.data").initial_cluster([("a", "here")]);
    /// assert!(config.clone().max_inflight_appends(16).validate().is_ok());
    /// assert!(config.max_inflight_appends(0).validate().is_err());
    /// ```
    #[must_use]
    pub fn max_inflight_appends(mut self, count: usize) -> Self {
        self.max_inflight_appends = count;
        self
    }

    /// Fixes what election timeouts are drawn from, so that a test repeats: the draw is a pure
    /// function of seed, member, term and attempt. Default: from the random number that the data
    /// directory got when it was made.
    ///
    /// ```
    /// # use quorate::Config;
    /// let config = Config::new("a", "a.data").initial_cluster([("a", "here")]).election_seed(7);
    /// assert!(config.validate().is_ok());
    /// ```
    #[must_use]
    pub fn election_seed(mut self, seed: u64) -> Self {
        self.election_seed = Some(seed);
        self
    }

    /// Keeps data in files of the host's making instead of the operating system's: in memory, or
    /// with faults, for tests. What such files must guarantee is written at [`Vfs`].
    ///
    /// ```
    /// # use std::sync::Arc;
    /// use quorate::{Config, Disk};
    ///
    /// let config = Config::new("a", "a.data").vfs(Arc::new(Disk::new()));
    /// ```
    #[must_use]
    pub fn vfs(mut self, files: Arc<dyn Vfs>) -> Self {
        self.files = Files(Some(files));
        self
    }

    /// Checks every rule, as for a directory without data. Touches nothing.
    ///
    /// ```
    /// # use quorate::Config;
    /// let error = Config::new("a", "a.data").max_snapshots(0).validate().unwrap_err();
    /// assert_eq!(error.to_string(), "max_snapshots is 0: it must be at least 1");
    /// ```
    ///
    /// # Errors
    ///
    /// [`is_config`](crate::Error::is_config), for the first rule that is broken: the text names
    /// the setting, its value and the bound.
    pub fn validate(&self) -> Result<()> {
        self.check_settings()?;
        self.founding().map(drop)
    }

    /// The id of this member (`MEM-2`), which a transport is set up with before the node opens.
    ///
    /// ```
    /// # use quorate::Config;
    /// let members = [("n1", "http://n1:1"), ("n2", "http://n2:1"), ("n3", "http://n3:1")];
    /// let config = Config::new("n1", "n1.data").initial_cluster(members).cluster_token("tok");
    /// assert_eq!(config.node_id()?.get(), 1001782367932460303);
    /// # Ok::<(), quorate::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`is_config`](crate::Error::is_config) when the name or the list of members breaks a rule.
    pub fn node_id(&self) -> Result<NodeId> {
        Ok(self.founding()?.node)
    }

    /// The id of the cluster (`MEM-3`).
    ///
    /// ```
    /// # use quorate::Config;
    /// let members = [("n1", "http://n1:1"), ("n2", "http://n2:1"), ("n3", "http://n3:1")];
    /// let config = Config::new("n1", "n1.data").initial_cluster(members).cluster_token("tok");
    /// assert_eq!(config.cluster_id()?.get(), 11524436730432810691);
    /// # Ok::<(), quorate::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`node_id`](Self::node_id).
    pub fn cluster_id(&self) -> Result<ClusterId> {
        Ok(self.founding()?.cluster)
    }

    /// What time is counted in: finer than a heartbeat, so that election timeouts spread.
    pub(crate) fn tick(&self) -> Duration {
        self.heartbeat_interval / HEARTBEAT_TICKS
    }

    /// The shortest TTL of a lease (`LSE-4`): a holder renews it three times in it, and a leader
    /// that is busy for a moment ends nothing. A session so short may be lost when its leader dies:
    /// two thirds of its TTL are left at least, and the next leader stands after one to two
    /// election timeouts. One of four or more outlives that.
    pub(crate) fn min_ttl(&self) -> Duration {
        self.election_timeout * 3 / 2
    }

    /// The election timeout in ticks, rounded up: at least 5 heartbeats stay 5 heartbeats.
    pub(crate) fn election_ticks(&self) -> usize {
        let tick = self.tick().as_nanos().max(1);
        usize::try_from(self.election_timeout.as_nanos().div_ceil(tick)).unwrap_or(usize::MAX)
    }

    /// The deadline of a call that sets none.
    pub(crate) fn effective_request_timeout(&self) -> Duration {
        let default =
            Duration::from_secs(5).saturating_add(self.election_timeout.saturating_mul(2));
        self.request_timeout.unwrap_or(default)
    }

    /// How many bytes of entries go into one append. Half a message: entries are counted as the
    /// consensus crate encodes them, and ours of the same entry is a few bytes longer, which adds
    /// up when they are small. One that is larger travels alone, and fits by `max_request_bytes`.
    pub(crate) fn max_append_bytes(&self) -> usize {
        self.max_message_bytes / 2
    }

    /// Where the log lies.
    pub(crate) fn effective_wal_dir(&self) -> PathBuf {
        self.wal_dir.clone().unwrap_or_else(|| self.data_dir.join("wal"))
    }
}

/// A heartbeat is this many ticks.
pub(crate) const HEARTBEAT_TICKS: u32 = 2;
