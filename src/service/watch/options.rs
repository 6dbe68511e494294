//! Options that a watch has however it is started: one text and one implementation for each.

/// Which changes are told, and how: `$spec` reaches a `Spec`.
macro_rules! impl_watch_options {
    ($builder:ident, $this:ident => $spec:expr, $open:literal, $close:literal) => {
        impl $builder {
            /// With what each key was before: see [`Event::prev`](crate::Event::prev) (`WAT-19`).
            ///
            /// ```no_run
            /// # fn example(store: quorate::Store) -> quorate::Result<()> {
            #[doc = concat!("let watch = ", $open, ".prev_values()", $close, ";")]
            /// # Ok(())
            /// # }
            /// ```
            pub fn prev_values(mut self) -> Self {
                let $this = &mut self;
                $spec.prev = true;
                self
            }

            /// Leaves out puts (`WAT-20`).
            ///
            /// ```no_run
            /// # fn example(store: quorate::Store) -> quorate::Result<()> {
            #[doc = concat!("let watch = ", $open, ".no_puts()", $close, ";")]
            /// # Ok(())
            /// # }
            /// ```
            pub fn no_puts(mut self) -> Self {
                let $this = &mut self;
                $spec.filter.no_puts = true;
                self
            }

            /// Leaves out deletions (`WAT-20`).
            ///
            /// ```no_run
            /// # fn example(store: quorate::Store) -> quorate::Result<()> {
            #[doc = concat!("let watch = ", $open, ".no_deletes()", $close, ";")]
            /// # Ok(())
            /// # }
            /// ```
            pub fn no_deletes(mut self) -> Self {
                let $this = &mut self;
                $spec.filter.no_deletes = true;
                self
            }

            /// Says now and then how far it has come: a batch without events, after about so long
            /// in which there were none (`WAT-24`). In milliseconds; less than 100 counts as 100,
            /// more than 49 days as so many.
            ///
            /// For whoever keeps the revision to go on from: without it that grows old while
            /// nothing happens, and is compacted at last.
            ///
            /// ```no_run
            /// # fn example(store: quorate::Store) -> quorate::Result<()> {
            /// use std::time::Duration;
            ///
            /// let minute = Duration::from_secs(60);
            #[doc = concat!("let watch = ", $open, ".progress_every(minute)", $close, ";")]
            /// # Ok(())
            /// # }
            /// ```
            pub fn progress_every(mut self, every: ::std::time::Duration) -> Self {
                let $this = &mut self;
                $spec.progress = Some(every);
                self
            }

            /// Gives a revision of more than so many bytes in pieces, each but the last marked as
            /// [`is_fragment`](crate::WatchBatch::is_fragment) (`WAT-21`). By default a revision
            /// comes as a whole, however large. 0 counts as 1.
            ///
            /// ```no_run
            /// # fn example(store: quorate::Store) -> quorate::Result<()> {
            #[doc = concat!("let watch = ", $open, ".fragment_bytes(1 << 20)", $close, ";")]
            /// # Ok(())
            /// # }
            /// ```
            pub fn fragment_bytes(mut self, bytes: usize) -> Self {
                let $this = &mut self;
                $spec.fragment_bytes = ::std::num::NonZeroUsize::new(bytes.max(1));
                self
            }

            /// Does not start on a member that knows no leader, and ends with
            /// [`WatchEnd::NoLeader`](crate::WatchEnd::NoLeader) when it has known none for three
            /// election timeouts (`WAT-33`). Without it a member that is cut off is simply silent.
            ///
            /// ```no_run
            /// # fn example(store: quorate::Store) -> quorate::Result<()> {
            #[doc = concat!("let watch = ", $open, ".require_leader()", $close, ";")]
            /// # Ok(())
            /// # }
            /// ```
            pub fn require_leader(mut self) -> Self {
                let $this = &mut self;
                $spec.needs_leader = true;
                self
            }
        }
    };
}

pub(super) use impl_watch_options;
