//! The one error of the library.
//!
//! It is opaque on purpose: what failed is asked with `is_*`, so that finer causes can be added
//! without breaking anybody, and the text is for people. Two finer designs were weighed: an enum
//! per family (families meet in every caller and need one more enum to hold them), and a public
//! kind (every new kind is a break). What a caller must *act* on beyond that is a type of its
//! own: [`WriteOutcome`].

use std::fmt;

use crate::ids::Revision;

/// The result of almost everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What failed. Ask with the `is_*` methods; print it for the details.
///
/// The text names the value that was wrong and the bound it broke. A cause from below (the
/// operating system, mostly) is behind [`std::error::Error::source`].
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
    outcome: WriteOutcome,
}

/// What a failed write has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WriteOutcome {
    /// The write has not happened and never will.
    NotApplied,
    /// The write may have happened, once, or may yet happen (`INV-6`). Read to find out, or
    /// repeat it guarded by a compare on the modification revision.
    Unknown,
}

/// Why, for the predicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The caller passed something that can never be accepted (`SEL-4`, `SEL-10`).
    Invalid,
    /// Larger than a configured limit.
    TooLarge,
    /// A setting breaks a rule.
    Config,
    /// The revision asked for has been compacted (`ERR-9`).
    Compacted(Revision),
    /// The revision asked for has not happened yet (`ERR-10`).
    FutureRevision(Revision),
    /// The lease named does not exist (`ERR-13`).
    LeaseNotFound,
    /// There is a lease of that id already (`LSE-2`).
    LeaseExists,
    /// A put was to keep what its key has, and the key is not there (`KV-34`, `KV-35`).
    KeyNotFound,
    /// A transaction writes a key twice (`TXN-9`).
    DuplicateKey,
    /// A transaction met others in every attempt.
    Conflict,
    /// What was held is held no more: a lock, a leadership, a place in a line (`REC-9`, `REC-20`).
    Lost,
    /// A queue is full (`ERR-12`).
    Overloaded,
    /// The deadline passed (`ERR-34`).
    Timeout,
    /// No leader, or not this one; try again (`ERR-31`, `ERR-32`).
    Unavailable,
    /// The node is closed or closing (`ERR-33`).
    Closed,
    /// The node stopped itself after a failure.
    Halted,
    /// Another process has the directory open (`BST-7`).
    Locked,
    /// What is on disk belongs to another cluster or member.
    Foreign,
    /// What is on disk was written by a newer version (`BST-12`).
    NewerFormat,
    /// Bytes that should be ours are not what was written (`DUR-12`).
    Corrupt,
    /// A value is not of the type that it was read as.
    Undecodable,
    /// The operating system refused.
    Io,
}

impl Error {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            source: None,
            outcome: WriteOutcome::NotApplied,
        }))
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::new(Kind::Config, message)
    }

    pub(crate) fn corrupt(message: impl Into<String>) -> Self {
        Self::new(Kind::Corrupt, message)
    }

    pub(crate) fn io(message: impl Into<String>, source: std::io::Error) -> Self {
        Self::new(Kind::Io, message).because(source)
    }

    pub(crate) fn compacted(asked: Revision, compacted: Revision) -> Self {
        Self::new(
            Kind::Compacted(compacted),
            format!("revision {asked} has been compacted: the oldest readable one is {compacted}"),
        )
    }

    pub(crate) fn future_revision(asked: Revision, current: Revision) -> Self {
        Self::new(
            Kind::FutureRevision(current),
            format!("revision {asked} has not happened yet: the current one is {current}"),
        )
    }

    /// Adds the cause from below.
    pub(crate) fn because(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Says that the write it ended may have happened.
    pub(crate) fn with_unknown_outcome(mut self) -> Self {
        self.0.outcome = WriteOutcome::Unknown;
        self
    }

    /// The same for another who waited for the same; without the cause from below.
    pub(crate) fn again(&self) -> Self {
        let mut again = Self::new(self.0.kind, self.0.message.clone());
        again.0.outcome = self.0.outcome;
        again
    }

    pub(crate) fn kind(&self) -> Kind {
        self.0.kind
    }

    /// What the failed write has done. For anything but a write it is
    /// [`WriteOutcome::NotApplied`].
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) {
    /// use quorate::WriteOutcome;
    ///
    /// if let Err(error) = store.put("color", "green").wait() {
    ///     match error.outcome() {
    ///         WriteOutcome::NotApplied => println!("surely not written: {error}"),
    ///         _ => println!("read to find out: {error}"),
    ///     }
    /// }
    /// # }
    /// ```
    pub fn outcome(&self) -> WriteOutcome {
        self.0.outcome
    }

    /// The write may have happened: [`WriteOutcome::Unknown`].
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) {
    /// if store.put("color", "green").wait().is_err_and(|error| error.is_unknown()) {
    ///     println!("it may have happened, once, or may yet");
    /// }
    /// # }
    /// ```
    pub fn is_unknown(&self) -> bool {
        self.0.outcome == WriteOutcome::Unknown
    }

    /// The caller's own mistake: the same call will always fail.
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) {
    /// assert!(store.get("").wait().is_err_and(|error| error.is_invalid()));
    /// # }
    /// ```
    pub fn is_invalid(&self) -> bool {
        matches!(self.0.kind, Kind::Invalid | Kind::TooLarge)
    }

    /// Larger than a limit of the configuration.
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) {
    /// let huge = vec![0; 1 << 30];
    /// assert!(store.put("color", huge).wait().is_err_and(|error| error.is_too_large()));
    /// # }
    /// ```
    pub fn is_too_large(&self) -> bool {
        self.0.kind == Kind::TooLarge
    }

    /// A setting, or settings together, break a rule of [`Config`](crate::Config).
    ///
    /// ```
    /// let config = quorate::Config::new("a", "a.data"); // without a list of members
    /// assert!(config.validate().is_err_and(|error| error.is_config()));
    /// ```
    pub fn is_config(&self) -> bool {
        self.0.kind == Kind::Config
    }

    /// The revision asked for has been compacted.
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) {
    /// use quorate::Revision;
    ///
    /// let old = store.get("color").at(Revision::new(7)).wait();
    /// if old.is_err_and(|error| error.is_compacted()) {
    ///     println!("nobody remembers");
    /// }
    /// # }
    /// ```
    pub fn is_compacted(&self) -> bool {
        matches!(self.0.kind, Kind::Compacted(_))
    }

    /// The oldest revision that can still be read, if that is why it failed.
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) {
    /// use quorate::Revision;
    ///
    /// let old = store.get("color").at(Revision::new(7)).wait();
    /// let oldest = old.err().and_then(|error| error.compacted_revision());
    /// # }
    /// ```
    pub fn compacted_revision(&self) -> Option<Revision> {
        match self.0.kind {
            Kind::Compacted(revision) => Some(revision),
            _ => None,
        }
    }

    /// The revision asked for has not happened yet, or not yet on this member.
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) {
    /// use quorate::Revision;
    ///
    /// let next = store.get("color").at(Revision::new(u64::MAX)).wait();
    /// assert!(next.is_err_and(|error| error.is_future_revision()));
    /// # }
    /// ```
    pub fn is_future_revision(&self) -> bool {
        matches!(self.0.kind, Kind::FutureRevision(_))
    }

    /// The lease named by a put does not exist.
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) {
    /// if store.put("color", "green").wait().is_err_and(|error| error.is_lease_not_found()) {
    ///     println!("the lease has ended");
    /// }
    /// # }
    /// ```
    pub fn is_lease_not_found(&self) -> bool {
        self.0.kind == Kind::LeaseNotFound
    }

    /// A lease was to be granted under an id that another one has (`LSE-2`).
    ///
    /// ```no_run
    /// # fn example(error: quorate::Error) {
    /// if error.is_lease_exists() {
    ///     println!("somebody else has that id");
    /// }
    /// # }
    /// ```
    pub fn is_lease_exists(&self) -> bool {
        self.0.kind == Kind::LeaseExists
    }

    /// A put was to keep the value or the lease of its key, and there is no such key (`KV-34`,
    /// `KV-35`).
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) {
    /// let touched = store.put("color", "").ignore_value().wait();
    /// if touched.is_err_and(|error| error.is_key_not_found()) {
    ///     println!("there is no color to keep");
    /// }
    /// # }
    /// ```
    pub fn is_key_not_found(&self) -> bool {
        self.0.kind == Kind::KeyNotFound
    }

    /// A transaction writes the same key twice (`TXN-9`).
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) {
    /// use quorate::Op;
    ///
    /// let twice = store.txn().then((Op::put("a", "1"), Op::delete("a"))).wait();
    /// assert!(twice.is_err_and(|error| error.is_duplicate_key()));
    /// # }
    /// ```
    pub fn is_duplicate_key(&self) -> bool {
        self.0.kind == Kind::DuplicateKey
    }

    /// A [`transact`](crate::Store::transact) met others in every attempt that it was allowed.
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) {
    /// let once = store.transact(|tx| tx.put("color", "green")).max_attempts(1).wait();
    /// if once.is_err_and(|error| error.is_conflict()) {
    ///     println!("somebody else was faster");
    /// }
    /// # }
    /// ```
    pub fn is_conflict(&self) -> bool {
        self.0.kind == Kind::Conflict
    }

    /// What was held is held no more, or the session is over that was to hold it: a
    /// [lock](crate::LockGuard) or a [leadership](crate::Leadership). Nothing was done.
    ///
    /// ```no_run
    /// # fn example(guard: quorate::LockGuard) {
    /// use quorate::Op;
    ///
    /// let written = guard.txn().then(Op::put("stock", "41")).wait();
    /// if written.is_err_and(|error| error.is_lost()) {
    ///     println!("somebody else may hold it by now: stop");
    /// }
    /// # }
    /// ```
    pub fn is_lost(&self) -> bool {
        self.0.kind == Kind::Lost
    }

    /// A bounded queue is full. Nothing was taken; try again after a pause.
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) {
    /// if store.put("color", "green").wait().is_err_and(|error| error.is_overloaded()) {
    ///     println!("more is waiting than there is room for");
    /// }
    /// # }
    /// ```
    pub fn is_overloaded(&self) -> bool {
        self.0.kind == Kind::Overloaded
    }

    /// The deadline passed first.
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) {
    /// if store.put("color", "green").wait().is_err_and(|error| error.is_timeout()) {
    ///     println!("the deadline passed first");
    /// }
    /// # }
    /// ```
    pub fn is_timeout(&self) -> bool {
        self.0.kind == Kind::Timeout
    }

    /// No leader is known, or leadership moved; trying again later may work.
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) {
    /// if store.get("color").wait().is_err_and(|error| error.is_unavailable()) {
    ///     println!("nobody leads at the moment");
    /// }
    /// # }
    /// ```
    pub fn is_unavailable(&self) -> bool {
        self.0.kind == Kind::Unavailable
    }

    /// The node was closed.
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) {
    /// if store.get("color").wait().is_err_and(|error| error.is_closed()) {
    ///     println!("the node is gone");
    /// }
    /// # }
    /// ```
    pub fn is_closed(&self) -> bool {
        self.0.kind == Kind::Closed
    }

    /// The node stopped itself after a failure of its disk or its code; the text and the source
    /// say which. Close it and open it again to verify the directory from the start.
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) {
    /// if store.get("color").wait().is_err_and(|error| error.is_halted()) {
    ///     println!("close it, and look at its disk");
    /// }
    /// # }
    /// ```
    pub fn is_halted(&self) -> bool {
        self.0.kind == Kind::Halted
    }

    /// Another process (or another node of this one) has the directory open.
    ///
    /// ```no_run
    /// # fn example(config: quorate::Config, endpoint: quorate::LocalEndpoint) {
    /// use quorate::Node;
    ///
    /// if Node::open(config, endpoint).is_err_and(|error| error.is_locked()) {
    ///     println!("it is running already");
    /// }
    /// # }
    /// ```
    pub fn is_locked(&self) -> bool {
        self.0.kind == Kind::Locked
    }

    /// The directory belongs to another cluster or another member.
    ///
    /// ```no_run
    /// # fn example(config: quorate::Config, endpoint: quorate::LocalEndpoint) {
    /// use quorate::Node;
    ///
    /// if Node::open(config, endpoint).is_err_and(|error| error.is_foreign()) {
    ///     println!("this is somebody else's directory");
    /// }
    /// # }
    /// ```
    pub fn is_foreign(&self) -> bool {
        self.0.kind == Kind::Foreign
    }

    /// The directory was written by a newer version of this library.
    ///
    /// ```no_run
    /// # fn example(config: quorate::Config, endpoint: quorate::LocalEndpoint) {
    /// use quorate::Node;
    ///
    /// if Node::open(config, endpoint).is_err_and(|error| error.is_newer_format()) {
    ///     println!("this program is too old for its data");
    /// }
    /// # }
    /// ```
    pub fn is_newer_format(&self) -> bool {
        self.0.kind == Kind::NewerFormat
    }

    /// Stored bytes are not what was written.
    ///
    /// ```no_run
    /// # fn example(config: quorate::Config, endpoint: quorate::LocalEndpoint) {
    /// use quorate::Node;
    ///
    /// if Node::open(config, endpoint).is_err_and(|error| error.is_corrupt()) {
    ///     println!("do not start: the data is damaged");
    /// }
    /// # }
    /// ```
    pub fn is_corrupt(&self) -> bool {
        self.0.kind == Kind::Corrupt
    }

    /// A value is not of the type that it was read as: the text names its key and the revision that
    /// wrote it, the source says what the codec found. Only reads of typed values fail so, with
    /// the feature `serde`.
    ///
    /// ```no_run
    /// # fn example(error: quorate::Error) {
    /// if error.is_undecodable() {
    ///     println!("somebody else has written there: {error}");
    /// }
    /// # }
    /// ```
    pub fn is_undecodable(&self) -> bool {
        self.0.kind == Kind::Undecodable
    }

    /// The operating system refused something; the source says what.
    ///
    /// ```no_run
    /// # fn example(config: quorate::Config, endpoint: quorate::LocalEndpoint) {
    /// use quorate::Node;
    ///
    /// if Node::open(config, endpoint).is_err_and(|error| error.is_io()) {
    ///     println!("the disk cannot be read");
    /// }
    /// # }
    /// ```
    pub fn is_io(&self) -> bool {
        self.0.kind == Kind::Io
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("outcome", &self.0.outcome)
            .field("source", &self.0.source)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
