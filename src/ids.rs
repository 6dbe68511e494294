//! Ids are types: a revision is never passed where an index is meant.

use std::fmt;

/// Defines a number that means one thing.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// Wraps a plain number.
            ///
            /// ```
            /// # use quorate::Revision;
            /// assert!(Revision::new(2) > Revision::new(1));
            /// ```
            pub const fn new(value: u64) -> Self {
                Self(value)
            }

            /// The plain number.
            ///
            /// ```
            /// # use quorate::Revision;
            /// assert_eq!(Revision::new(2).get(), 2);
            /// ```
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

id! {
    /// A member of a cluster. Never 0 for a real member; made from the member's address and the
    /// cluster token (`MEM-2`), so every member derives the same ids from the same configuration.
    NodeId
}
id! {
    /// A cluster. Made from the ids of its first members (`MEM-3`) and never changed afterwards.
    ClusterId
}
id! {
    /// An election's number. Rises by at least one with every election; 0 before the first.
    Term
}
id! {
    /// A position in the replicated log. The first entry of a cluster stands at 2: the point 1 is
    /// where every member starts (see `docs/on-disk.md`).
    Index
}
id! {
    /// The main revision of the store: how many changes it has seen, plus one (`DM-2`, `DM-3`).
    Revision
}
id! {
    /// A lease. 0 stands for "no lease".
    LeaseId
}
id! {
    /// A watcher among those of one [`WatchSet`](crate::WatchSet) (`WAT-6`).
    WatchId
}
id! {
    /// A random number made when a data directory is created. A member that comes back with
    /// another one has lost its disk.
    Incarnation
}

impl Index {
    /// The position after this one.
    pub(crate) const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Revision {
    /// The revision after this one.
    ///
    /// ```
    /// # use quorate::Revision;
    /// assert_eq!(Revision::new(2).next(), Revision::new(3));
    /// ```
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}
