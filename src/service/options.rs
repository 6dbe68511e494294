//! Options that more than one builder has: one text and one implementation for each.
//!
//! A macro and not a trait, so that users find them on the builder and import nothing. Each takes
//! the builder, how it reaches what is set (`builder => expression`), and how an example of it
//! begins and ends.

use std::time::Duration;

use crate::core::mvcc::Reader;
use crate::error::{Error, Result};
use crate::gate::Gate;
use crate::ids::Revision;

/// How recent the state must be that a read sees. By default as recent as any (`LIN-1`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Freshness {
    /// Whatever is here will do, if it keeps the bounds below.
    pub(super) serializable: bool,
    /// 0: no bound.
    pub(super) at_least: Revision,
    pub(super) max_staleness: Option<Duration>,
}

impl Freshness {
    /// May this member's state be read here and now, without asking anybody?
    pub(super) fn is_met(&self, gate: &dyn Gate) -> Result<bool> {
        if gate.leads_alone() {
            return Ok(true);
        }
        if self.at_least.get() == 0 && self.max_staleness.is_none() {
            return Ok(self.serializable);
        }
        let reached = gate.reader()?.revision() >= self.at_least;
        Ok(reached && self.max_staleness.is_none_or(|age| gate.is_current_within(age)))
    }

    /// For a state that a round has made the newest there is: a revision that is not there
    /// now has not happened.
    pub(super) fn check(&self, reader: &Reader) -> Result<()> {
        let current = reader.revision();
        if current < self.at_least {
            return Err(Error::future_revision(self.at_least, current));
        }
        Ok(())
    }
}

/// The revision to read: `$at` reaches an `Option<Revision>`.
macro_rules! impl_at {
    ($builder:ident, $this:ident => $at:expr, $open:literal, $close:literal) => {
        impl $builder {
            /// Reads the state as it was at `revision`. Revision 0 stands for the newest (`KV-2`).
            ///
            /// What is older than the last compaction is
            /// [`is_compacted`](crate::Error::is_compacted), what has not happened yet
            /// [`is_future_revision`](crate::Error::is_future_revision).
            ///
            /// ```no_run
            /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
            /// let then = store.put("color", "green").await?.header.revision;
            #[doc = concat!("let read = ", $open, ".at(then)", $close, ";")]
            /// # Ok(())
            /// # }
            /// ```
            pub fn at(mut self, revision: crate::Revision) -> Self {
                let $this = &mut self;
                *$at = (revision.get() > 0).then_some(revision);
                self
            }
        }
    };
}

/// How recent the state must be: `$freshness` reaches a [`Freshness`].
macro_rules! impl_freshness {
    (
        $builder:ident $(<$($param:ident: $bound:path),+>)?, $this:ident => $freshness:expr,
        $open:literal, $close:literal
    ) => {
        impl $(<$($param: $bound),+>)? $builder $(<$($param),+>)? {
            /// Reads what this member has, at once and without asking the leader (`KV-16`). It may
            /// be old, but it was true once, and it is there without a leader.
            ///
            /// ```no_run
            /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
            #[doc = concat!("let maybe_old = ", $open, ".serializable()", $close, ";")]
            /// # Ok(())
            /// # }
            /// ```
            pub fn serializable(mut self) -> Self {
                let $this = &mut self;
                $freshness.serializable = true;
                self
            }

            /// A state is recent enough if it has reached `revision`: one that the caller has
            /// heard of, from any member. 0 stands for none.
            ///
            /// If this member has come that far, it is read at once, without the leader; if not,
            /// the call waits as a linearizable one does. With
            /// [`max_staleness`](Self::max_staleness) both must hold; beside these two
            /// [`serializable`](Self::serializable) says nothing more.
            ///
            /// A revision that has not happened anywhere yet is
            /// [`is_future_revision`](crate::Error::is_future_revision).
            ///
            /// ```no_run
            /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
            /// // By whatever member this was written: it is seen.
            /// let written = store.put("color", "green").await?.header.revision;
            #[doc = concat!("let read = ", $open, ".at_least(written)", $close, ";")]
            /// # Ok(())
            /// # }
            /// ```
            pub fn at_least(mut self, revision: crate::Revision) -> Self {
                let $this = &mut self;
                $freshness.at_least = revision;
                self
            }

            /// A state is recent enough if it has everything that was acknowledged, by any
            /// member, longer than `age` before the call is made.
            ///
            /// If this member knows that of its state, it is read at once, without the leader; if
            /// not, the call waits as a linearizable one does, and what comes of that counts for
            /// the calls after it. So members that read often ask the leader once in `age`. A
            /// member that is cut off from the majority refuses when `age` has passed, where a
            /// [`serializable`](Self::serializable) read goes on.
            ///
            /// The age is measured by this member's own clock from before it asked, so nothing
            /// that is late on the way makes a state seem younger than it is. On Linux that clock
            /// stands still while the whole machine is suspended.
            ///
            /// ```no_run
            /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
            /// use std::time::Duration;
            ///
            /// let second = Duration::from_secs(1);
            #[doc = concat!("let recent = ", $open, ".max_staleness(second)", $close, ";")]
            /// # Ok(())
            /// # }
            /// ```
            pub fn max_staleness(mut self, age: ::std::time::Duration) -> Self {
                let $this = &mut self;
                $freshness.max_staleness = Some(age);
                self
            }
        }
    };
}

/// What a range read gives back, and in which order: `$query` reaches a `Query`.
macro_rules! impl_range_options {
    ($builder:ident, $this:ident => $query:expr, $open:literal, $close:literal) => {
        impl $builder {
            /// Gives back at most so many keys, the first ones in the order asked for, of those
            /// that the filters leave (`KV-4`, `KV-9`). 0 stands for no limit.
            ///
            /// ```no_run
            /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
            #[doc = concat!("let page = ", $open, ".limit(100)", $close, ";")]
            /// # Ok(())
            /// # }
            /// ```
            pub fn limit(mut self, keys: usize) -> Self {
                let $this = &mut self;
                $query.limit = keys;
                self
            }

            /// Sorts by something other than the key (`KV-10`). Keys that are equal in it come in
            /// ascending order, whichever way the others go (`KV-13`).
            ///
            /// All keys of the range are looked at before the first is given back, whatever the
            /// limit.
            ///
            /// ```no_run
            /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
            /// use quorate::SortBy;
            ///
            #[doc = concat!(
                "let oldest = ", $open, ".sort_by(SortBy::CreateRevision).limit(1)", $close, ";"
            )]
            /// # Ok(())
            /// # }
            /// ```
            pub fn sort_by(mut self, by: crate::SortBy) -> Self {
                let $this = &mut self;
                $query.sort = by;
                self
            }

            /// Says which end comes first; by default the smallest (`KV-10`, `KV-11`).
            ///
            /// ```no_run
            /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
            /// use quorate::Order;
            ///
            #[doc = concat!(
                "let last = ", $open, ".order(Order::Descending).limit(1)", $close, ";"
            )]
            /// # Ok(())
            /// # }
            /// ```
            pub fn order(mut self, order: crate::Order) -> Self {
                let $this = &mut self;
                $query.order = order;
                self
            }

            /// Leaves out keys that were last written before `revision` (`KV-8`). 0 stands for no
            /// bound. The count is still that of the whole range (`KV-5`).
            ///
            /// ```no_run
            /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
            /// let seen = store.get("color").await?.header.revision;
            #[doc = concat!("let news = ", $open, ".min_mod_revision(seen.next())", $close, ";")]
            /// # Ok(())
            /// # }
            /// ```
            pub fn min_mod_revision(mut self, revision: crate::Revision) -> Self {
                let $this = &mut self;
                $query.mod_revision.min = revision;
                self
            }

            /// Leaves out keys that were last written after `revision` (`KV-8`). 0 stands for no
            /// bound. The count is still that of the whole range (`KV-5`).
            ///
            /// ```no_run
            /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
            /// let seen = store.get("color").await?.header.revision;
            #[doc = concat!("let untouched = ", $open, ".max_mod_revision(seen)", $close, ";")]
            /// # Ok(())
            /// # }
            /// ```
            pub fn max_mod_revision(mut self, revision: crate::Revision) -> Self {
                let $this = &mut self;
                $query.mod_revision.max = revision;
                self
            }

            /// Leaves out keys whose current life began before `revision` (`KV-8`). 0 stands for
            /// no bound. The count is still that of the whole range (`KV-5`).
            ///
            /// ```no_run
            /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
            /// let seen = store.get("color").await?.header.revision;
            #[doc = concat!("let new = ", $open, ".min_create_revision(seen.next())", $close, ";")]
            /// # Ok(())
            /// # }
            /// ```
            pub fn min_create_revision(mut self, revision: crate::Revision) -> Self {
                let $this = &mut self;
                $query.create_revision.min = revision;
                self
            }

            /// Leaves out keys whose current life began after `revision` (`KV-8`). 0 stands for no
            /// bound. The count is still that of the whole range (`KV-5`).
            ///
            /// ```no_run
            /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
            /// let seen = store.get("color").await?.header.revision;
            #[doc = concat!("let known = ", $open, ".max_create_revision(seen)", $close, ";")]
            /// # Ok(())
            /// # }
            /// ```
            pub fn max_create_revision(mut self, revision: crate::Revision) -> Self {
                let $this = &mut self;
                $query.create_revision.max = revision;
                self
            }

            /// Gives back keys without their values; all else is there (`KV-7`).
            ///
            /// ```no_run
            /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
            #[doc = concat!("let keys = ", $open, ".keys_only()", $close, ";")]
            /// # Ok(())
            /// # }
            /// ```
            pub fn keys_only(mut self) -> Self {
                let $this = &mut self;
                $query.keys_only = true;
                self
            }

            /// Counts the keys of the range and gives back none of them; the limit and the filters
            /// do not matter (`KV-6`).
            ///
            /// ```no_run
            /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
            #[doc = concat!("let counted = ", $open, ".count_only()", $close, ";")]
            /// # Ok(())
            /// # }
            /// ```
            pub fn count_only(mut self) -> Self {
                let $this = &mut self;
                $query.count_only = true;
                self
            }
        }
    };
}

/// What a put keeps, and what it gives back: `$put` reaches a `txn::Put`.
macro_rules! impl_put_options {
    (
        $builder:ident, $this:ident => $put:expr, $open:literal, $shut:literal, $close:literal
    ) => {
        impl $builder {
            /// Gives back what the key held just before (`KV-33`).
            ///
            /// ```no_run
            /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
            #[doc = concat!("let put = ", $open, "\"blue\"", $shut, ".prev_value()", $close, ";")]
            /// # Ok(())
            /// # }
            /// ```
            pub fn prev_value(mut self) -> Self {
                let $this = &mut self;
                $put.prev = true;
                self
            }

            /// Attaches the key to a lease: it ends with it (`KV-32`). 0 stands for none, and a put
            /// without one makes a key permanent that was attached before.
            ///
            /// A lease that does not exist when the put is applied is
            /// [`is_lease_not_found`](crate::Error::is_lease_not_found), and nothing changes
            /// (`KV-31`, `KV-39`).
            ///
            /// ```no_run
            /// # async fn example(store: quorate::Store, lease: quorate::LeaseId)
            /// # -> quorate::Result<()> {
            #[doc = concat!("let put = ", $open, "\"blue\"", $shut, ".lease(lease)", $close, ";")]
            /// # Ok(())
            /// # }
            /// ```
            pub fn lease(mut self, lease: crate::LeaseId) -> Self {
                let $this = &mut self;
                $put.lease = lease;
                self
            }

            /// Keeps the value that the key has (`KV-34`); the value given must be empty. The key
            /// gets a new version all the same, and without
            /// [`ignore_lease`](Self::ignore_lease) it loses its lease (`KV-36`).
            ///
            /// A key that is not there is
            /// [`is_key_not_found`](crate::Error::is_key_not_found).
            ///
            /// ```no_run
            /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
            /// // Only a new version of what is there (KV-37).
            #[doc = concat!(
                "let put = ", $open, "\"\"", $shut, ".ignore_value().ignore_lease()", $close, ";"
            )]
            /// # Ok(())
            /// # }
            /// ```
            pub fn ignore_value(mut self) -> Self {
                let $this = &mut self;
                $put.ignore_value = true;
                self
            }

            /// Keeps the lease that the key has, or none if it has none (`KV-35`); no lease may be
            /// given.
            ///
            /// A key that is not there is
            /// [`is_key_not_found`](crate::Error::is_key_not_found).
            ///
            /// ```no_run
            /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
            #[doc = concat!("let put = ", $open, "\"blue\"", $shut, ".ignore_lease()", $close, ";")]
            /// # Ok(())
            /// # }
            /// ```
            pub fn ignore_lease(mut self) -> Self {
                let $this = &mut self;
                $put.ignore_lease = true;
                self
            }
        }
    };
}

/// What a delete gives back: `$delete` reaches a `txn::Delete`.
macro_rules! impl_delete_options {
    ($builder:ident, $this:ident => $delete:expr, $open:literal, $close:literal) => {
        impl $builder {
            /// Gives back what the keys held (`KV-50`).
            ///
            /// ```no_run
            /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
            #[doc = concat!("let gone = ", $open, ".prev_values()", $close, ";")]
            /// # Ok(())
            /// # }
            /// ```
            pub fn prev_values(mut self) -> Self {
                let $this = &mut self;
                $delete.prev = true;
                self
            }
        }
    };
}

pub(super) use {
    impl_at, impl_delete_options, impl_freshness, impl_put_options, impl_range_options,
};
