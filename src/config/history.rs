//! How much of the past is kept.

use std::time::Duration;

use super::Config;

impl Config {
    /// Compacts by itself, keeping so many revisions before the current one readable (`CMP-15`);
    /// up to a tenth more gather before the next time. Default: never. At least 1.
    ///
    /// The leader does it, with the settings that *it* has: give all members the same. Where
    /// [`retain_time`](Self::retain_time) is set too, what either asks for is kept.
    ///
    /// ```
    /// # use quorate::Config;
    /// let config = Config::new("a", "a.data").initial_cluster([("a", "here")]);
    /// assert!(config.clone().retain_revisions(10_000).validate().is_ok());
    /// assert!(config.retain_revisions(0).validate().is_err());
    /// ```
    #[must_use]
    pub fn retain_revisions(mut self, revisions: u64) -> Self {
        self.retain_revisions = Some(revisions);
        self
    }

    /// Compacts by itself, keeping readable what was current within this time (`CMP-14`); up to a
    /// tenth more gathers before the next time. Default: never. At least 1 s.
    ///
    /// Counted from when the leader opened: the first compaction comes when it has been running
    /// for so long. It measures time by a clock that is not set back and forth.
    ///
    /// ```
    /// # use quorate::Config;
    /// # use std::time::Duration;
    /// let config = Config::new("a", "a.data").initial_cluster([("a", "here")]);
    /// assert!(config.clone().retain_time(Duration::from_secs(3600)).validate().is_ok());
    /// assert!(config.retain_time(Duration::ZERO).validate().is_err());
    /// ```
    #[must_use]
    pub fn retain_time(mut self, time: Duration) -> Self {
        self.retain_time = Some(time);
        self
    }

    /// Compacts by itself when overwritten and deleted versions take more than so many bytes, until
    /// they take three quarters of it. It wins over the other two, so that history has a bound
    /// whatever is written. Default: no bound. At least 64 KiB.
    ///
    /// What the live keys take does not count.
    ///
    /// ```
    /// # use quorate::Config;
    /// let config = Config::new("a", "a.data").initial_cluster([("a", "here")]);
    /// assert!(config.clone().retain_bytes(256 << 20).validate().is_ok());
    /// assert!(config.retain_bytes(1 << 10).validate().is_err());
    /// ```
    #[must_use]
    pub fn retain_bytes(mut self, bytes: u64) -> Self {
        self.retain_bytes = Some(bytes);
        self
    }

    /// How many revisions a long read may be behind the current one and still hold what it needs
    /// against a compaction. Default 1,000,000; 0: a compaction waits for nobody.
    ///
    /// A read in many pieces keeps its revision on the member where it runs, though the revision
    /// has been compacted. What it holds stays in memory: at most so many revisions, however slow
    /// it is. Further behind, it fails with [`is_compacted`](crate::Error::is_compacted).
    ///
    /// ```
    /// # use quorate::Config;
    /// let config = Config::new("a", "a.data").initial_cluster([("a", "here")]);
    /// assert!(config.max_pinned_revisions(100_000).validate().is_ok());
    /// ```
    #[must_use]
    pub fn max_pinned_revisions(mut self, revisions: u64) -> Self {
        self.max_pinned_revisions = revisions;
        self
    }
}
