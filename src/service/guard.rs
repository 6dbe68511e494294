//! What every holder of a place is given, under the name of what is held.

/// For a guard with a field `held`, a [`Held`](super::place::Held): `$guard` is made by `$make`.
macro_rules! impl_guard {
    ($guard:ident, $make:literal) => {
        impl $guard {
            /// The fencing token: the revision at which the place in the line was taken. Whoever
            /// comes behind this one has a greater one (`REC-14`).
            ///
            /// To be sent along to what is not in this store, and to be kept there: what has seen a
            /// token refuses whatever comes with a smaller one.
            ///
            /// ```no_run
            /// # async fn example(store: quorate::Store, session: quorate::Session)
            /// # -> quorate::Result<()> {
            #[doc = concat!("let guard = ", $make, ".await?;")]
            /// println!("write to the disk array, as of {}", guard.token());
            /// # Ok(())
            /// # }
            /// ```
            pub fn token(&self) -> $crate::Revision {
                self.held.place().since
            }

            /// The key that stands in the line, as the handle shows it (`REC-5`).
            ///
            /// ```no_run
            /// # async fn example(store: quorate::Store, session: quorate::Session)
            /// # -> quorate::Result<()> {
            #[doc = concat!("let guard = ", $make, ".await?;")]
            /// println!("{}", guard.key().escape_ascii());
            /// # Ok(())
            /// # }
            /// ```
            pub fn key(&self) -> &::bytes::Bytes {
                &self.held.place().key
            }

            /// A transaction that commits only while this is held: see
            /// [`HeldTxn`](crate::HeldTxn).
            ///
            /// ```no_run
            /// # async fn example(store: quorate::Store, session: quorate::Session)
            /// # -> quorate::Result<()> {
            #[doc = concat!("let guard = ", $make, ".await?;")]
            /// guard.txn().then(quorate::Op::put("shoes", "41")).await?;
            /// # Ok(())
            /// # }
            /// ```
            pub fn txn(&self) -> $crate::service::HeldTxn {
                $crate::service::HeldTxn::new(self.held.place())
            }

            /// Until when it is held if the session is not renewed any more, by this process' own
            /// clock: known without asking anybody, see
            /// [`Session::deadline`](crate::Session::deadline). No later than now once it is lost.
            ///
            /// ```no_run
            /// # async fn example(store: quorate::Store, session: quorate::Session)
            /// # -> quorate::Result<()> {
            #[doc = concat!("let guard = ", $make, ".await?;")]
            /// println!("for {:?} at least", guard.valid_until() - std::time::Instant::now());
            /// # Ok(())
            /// # }
            /// ```
            pub fn valid_until(&self) -> ::std::time::Instant {
                self.held.place().valid_until()
            }

            /// Is it held no more, as far as this process and this member know? For good then.
            ///
            /// ```no_run
            /// # async fn example(store: quorate::Store, session: quorate::Session)
            /// # -> quorate::Result<()> {
            #[doc = concat!("let guard = ", $make, ".await?;")]
            /// while !guard.is_lost() {
            ///     // a short piece of work
            /// }
            /// # Ok(())
            /// # }
            /// ```
            pub fn is_lost(&self) -> bool {
                self.held.place().is_lost()
            }

            /// Waits until it is held no more: see [`Lost`](crate::Lost).
            ///
            /// ```no_run
            /// # async fn example(store: quorate::Store, session: quorate::Session)
            /// # -> quorate::Result<()> {
            #[doc = concat!("let guard = ", $make, ".await?;")]
            /// guard.lost().await;
            /// # Ok(())
            /// # }
            /// ```
            pub fn lost(&self) -> $crate::service::Lost {
                $crate::service::Lost::new(self.held.place())
            }

            /// Gives it back, and waits until it is: see [`Release`](crate::Release).
            ///
            /// ```no_run
            /// # async fn example(store: quorate::Store, session: quorate::Session)
            /// # -> quorate::Result<()> {
            #[doc = concat!("let guard = ", $make, ".await?;")]
            /// guard.release().await?;
            /// # Ok(())
            /// # }
            /// ```
            pub fn release(self) -> $crate::service::Release {
                $crate::service::Release::new(self.held)
            }
        }

        impl ::std::fmt::Debug for $guard {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.debug_struct(stringify!($guard)).field("held", &self.held).finish()
            }
        }
    };
}

pub(super) use impl_guard;
