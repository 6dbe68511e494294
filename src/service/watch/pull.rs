//! What watchers and sets of them have in common: items are pulled, until the last word.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::WatchEnd;
use crate::gate::Gate;
use crate::service::pending::block_on;

/// What is pulled.
pub(super) trait Pull {
    type Item;

    /// The next item, looked for on the caller's thread. Who has no waker does not wait for it.
    fn look(&mut self, waker: Option<&Waker>) -> Look<Self::Item>;

    fn gate(&self) -> &Arc<dyn Gate>;

    fn last(&mut self) -> &mut Last;

    fn poll_item(&mut self, context: &mut Context<'_>) -> Poll<Result<Self::Item, WatchEnd>> {
        if let Some(end) = &self.last().end {
            return Poll::Ready(Err(end.clone()));
        }
        match self.look(Some(context.waker())) {
            Look::Item(item) => Poll::Ready(Ok(item)),
            Look::Nothing => Poll::Pending,
            Look::Later => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Look::End(end) => {
                self.last().end = Some(end.clone());
                Poll::Ready(Err(end))
            }
        }
    }

    fn poll_stream(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Self::Item, WatchEnd>>> {
        if self.last().said {
            return Poll::Ready(None);
        }
        let item = std::task::ready!(self.poll_item(context));
        self.last().said = item.is_err();
        Poll::Ready(Some(item))
    }

    /// What there is now: all that is published.
    fn pull(&mut self) -> Result<Option<Self::Item>, WatchEnd> {
        // Who was answered may come before those who watch are told.
        self.gate().watches().catch_up();
        self.pull_marked(None)
    }

    /// What there is now of what is marked. `waker` is called when there is more.
    fn pull_marked(&mut self, waker: Option<&Waker>) -> Result<Option<Self::Item>, WatchEnd> {
        loop {
            if let Some(end) = &self.last().end {
                return Err(end.clone());
            }
            match self.look(waker) {
                Look::Item(item) => return Ok(Some(item)),
                Look::Nothing => return Ok(None),
                Look::Later => {}
                Look::End(end) => self.last().end = Some(end),
            }
        }
    }

    fn pull_timeout(&mut self, timeout: Duration) -> Result<Option<Self::Item>, WatchEnd> {
        let gate = Arc::clone(self.gate());
        block_on(&*gate, Some(timeout), |context| self.poll_item(context)).transpose()
    }

    fn pull_waiting(&mut self) -> Option<Result<Self::Item, WatchEnd>> {
        let gate = Arc::clone(self.gate());
        block_on(&*gate, None, |context| self.poll_stream(context)).flatten()
    }
}

/// What is found.
pub(super) enum Look<T> {
    Item(T),
    /// Not now: the waker is called when there is something.
    Nothing,
    /// Much was looked at, and nothing found. Others should run; then it may be asked again.
    Later,
    End(WatchEnd),
}

/// The last word.
#[derive(Debug, Default)]
pub(super) struct Last {
    pub(super) end: Option<WatchEnd>,
    /// The stream has said it.
    pub(super) said: bool,
}

/// The ways in which items are pulled: for what implements [`Pull`], the future of its next item
/// and its iterator.
macro_rules! impl_pull {
    ($puller:ident, $next:ident, $iter:ident -> $item:ident, $what:literal, $make:literal) => {
        impl $puller {
            #[doc = concat!("The next ", $what, ", once there is one; after the end nothing.")]
            ///
            #[doc = concat!("Await it, or [`wait`](", stringify!($next), "::wait) for it.")]
            /// Dropping it before loses nothing.
            ///
            /// ```no_run
            /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
            #[doc = concat!("let mut this = ", $make, ";")]
            /// while let Some(next) = this.next().await {
            ///     println!("{:?}", next?);
            /// }
            /// # Ok(())
            /// # }
            /// ```
            #[expect(clippy::should_implement_trait, reason = "a future, as streams have it")]
            pub fn next(&mut self) -> $next<'_> {
                $next { puller: self }
            }

            #[doc = concat!("The next ", $what, ", if it comes in time. Blocks the thread for as")]
            /// long.
            ///
            /// # Errors
            ///
            /// Why it has ended, each time.
            ///
            /// ```no_run
            /// # fn example(store: quorate::Store) -> quorate::Result<()> {
            /// use std::time::Duration;
            ///
            #[doc = concat!("let mut this = ", $make, ";")]
            /// match this.next_timeout(Duration::from_secs(1))? {
            ///     Some(next) => println!("{next:?}"),
            ///     None => println!("nothing for a second"),
            /// }
            /// # Ok(())
            /// # }
            /// ```
            pub fn next_timeout(
                &mut self,
                timeout: ::std::time::Duration,
            ) -> ::std::result::Result<Option<$item>, WatchEnd> {
                self.pull_timeout(timeout)
            }

            #[doc = concat!("The next ", $what, ", if there is one now: of all that is there to")]
            /// be read on this member.
            ///
            /// # Errors
            ///
            /// Why it has ended, each time.
            ///
            /// ```no_run
            /// # fn example(store: quorate::Store) -> quorate::Result<()> {
            #[doc = concat!("let mut this = ", $make, ";")]
            /// while let Some(next) = this.try_next()? {
            ///     println!("{next:?}");
            /// }
            /// # Ok(())
            /// # }
            /// ```
            pub fn try_next(&mut self) -> ::std::result::Result<Option<$item>, WatchEnd> {
                self.pull()
            }
        }

        impl ::futures_core::stream::Stream for $puller {
            type Item = ::std::result::Result<$item, WatchEnd>;

            fn poll_next(
                mut self: ::std::pin::Pin<&mut Self>,
                context: &mut ::std::task::Context<'_>,
            ) -> ::std::task::Poll<Option<Self::Item>> {
                self.poll_stream(context)
            }
        }

        impl ::futures_core::stream::FusedStream for $puller {
            fn is_terminated(&self) -> bool {
                self.last.said
            }
        }

        impl IntoIterator for $puller {
            type Item = ::std::result::Result<$item, WatchEnd>;
            type IntoIter = $iter;

            fn into_iter(self) -> $iter {
                $iter { puller: self }
            }
        }

        #[doc = concat!("The next ", $what, ": made by [`", stringify!($puller), "::next`].")]
        ///
        /// ```no_run
        /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
        #[doc = concat!("let mut this = ", $make, ";")]
        /// let next = this.next().await;
        /// # Ok(())
        /// # }
        /// ```
        #[derive(Debug)]
        #[must_use = "nothing happens before it is awaited or waited for"]
        pub struct $next<'a> {
            puller: &'a mut $puller,
        }

        impl $next<'_> {
            /// Blocks the thread until there is one. Not for a thread that runs futures.
            ///
            /// ```no_run
            /// # fn example(store: quorate::Store) -> quorate::Result<()> {
            #[doc = concat!("let mut this = ", $make, ";")]
            /// let next = this.next().wait();
            /// # Ok(())
            /// # }
            /// ```
            pub fn wait(self) -> Option<::std::result::Result<$item, WatchEnd>> {
                self.puller.pull_waiting()
            }
        }

        impl ::std::future::Future for $next<'_> {
            type Output = Option<::std::result::Result<$item, WatchEnd>>;

            fn poll(
                mut self: ::std::pin::Pin<&mut Self>,
                context: &mut ::std::task::Context<'_>,
            ) -> ::std::task::Poll<Self::Output> {
                self.puller.poll_stream(context)
            }
        }

        #[doc = concat!("What a [`", stringify!($puller), "`] gives, for a thread: it blocks")]
        #[doc = concat!("until the next ", $what, " is there.")]
        ///
        /// ```no_run
        /// # fn example(store: quorate::Store) -> quorate::Result<()> {
        #[doc = concat!("let this = ", $make, ";")]
        /// for next in this {
        ///     println!("{:?}", next?);
        /// }
        /// # Ok(())
        /// # }
        /// ```
        #[derive(Debug)]
        pub struct $iter {
            puller: $puller,
        }

        impl Iterator for $iter {
            type Item = ::std::result::Result<$item, WatchEnd>;

            fn next(&mut self) -> Option<Self::Item> {
                self.puller.pull_waiting()
            }
        }

        impl ::std::iter::FusedIterator for $iter {}
    };
}

pub(super) use impl_pull;
