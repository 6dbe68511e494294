//! Work that is done as long as one leads.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use super::Leadership;
use crate::error::Result;
use crate::planted::{Bug, planted};

impl Leadership {
    /// Does the work of a leader for as long as this one leads: when it is lost the work is dropped
    /// where it is, and when it is [outranked](Self::outranked) it is dropped and resigns. When the
    /// work is done, it resigns. A loss is told at once: what is left to give back then is given
    /// back in the background.
    ///
    /// To be dropped takes effect at the work's next `await`: what it does between two of them goes
    /// on. So what two must never do goes through [`txn`](Self::txn) all the same.
    ///
    /// # Errors
    ///
    /// [`is_lost`](crate::Error::is_lost) if the work was dropped, or if the leadership was lost by
    /// the time at which it was done: what the work gave is dropped then. So a work that ends with
    /// an error because it was lost ends `run` as a loss, too. If it was lost because its node has
    /// ended, that: [`is_closed`](crate::Error::is_closed) or
    /// [`is_halted`](crate::Error::is_halted).
    ///
    /// ```no_run
    /// # async fn example(
    /// #     store: quorate::Store, session: quorate::Session,
    /// # ) -> quorate::Result<()> {
    /// use quorate::Op;
    ///
    /// loop {
    ///     let leadership = store.election("cron").campaign(&session, "node 3").await?;
    ///     let work = async |lead: &quorate::Leadership| {
    ///         for job in ["backup", "report"] {
    ///             lead.txn().then(Op::put("last-job", job)).await?;
    ///         }
    ///         quorate::Result::Ok(())
    ///     };
    ///     match leadership.run(work).await {
    ///         Ok(done) => return done,
    ///         Err(error) if error.is_lost() && !session.is_lost() => continue,
    ///         Err(error) => return Err(error),
    ///     }
    /// }
    /// # }
    /// ```
    pub async fn run<T>(self, work: impl AsyncFnOnce(&Self) -> T) -> Result<T> {
        let done = {
            let mut work = pin!(work(&self));
            let (mut lost, mut outranked) = (self.lost(), self.outranked());
            poll_fn(|context| {
                // Before the work: it does nothing more once it is known to be lost.
                let over = std::pin::Pin::new(&mut lost).poll(context).is_ready()
                    || std::pin::Pin::new(&mut outranked).poll(context).is_ready();
                let over = over && !planted(Bug::WorkOn);
                if over { Poll::Ready(None) } else { work.as_mut().poll(context).map(Some) }
            })
            .await
        };
        let (lost, loss) = (self.is_lost(), self.loss());
        if !lost {
            // If it is not taken back in time, that goes on in the background.
            drop(self.resign().await);
        }
        done.filter(|_| !lost).ok_or(loss)
    }

    /// Does the work of a leader on this thread, and resigns when it is done. Nothing can stop a
    /// thread: the work is to ask [`is_lost`](Self::is_lost) before each step, and
    /// [`outranked`](Self::outranked) now and then if there are priorities.
    ///
    /// # Errors
    ///
    /// [`is_lost`](crate::Error::is_lost) if the leadership was lost before the work ended: what it
    /// has done since, outside of [`txn`](Self::txn), somebody else may have done too.
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store, session: quorate::Session) -> quorate::Result<()> {
    /// use quorate::Op;
    ///
    /// let leadership = store.election("cron").campaign(&session, "node 3").wait()?;
    /// leadership.run_blocking(|lead| {
    ///     while !lead.is_lost() {
    ///         lead.txn().then(Op::put("last-job", "backup")).wait()?;
    ///     }
    ///     quorate::Result::Ok(())
    /// })?
    /// # }
    /// ```
    pub fn run_blocking<T>(self, work: impl FnOnce(&Self) -> T) -> Result<T> {
        let done = work(&self);
        if self.is_lost() {
            return Err(self.loss());
        }
        drop(self.resign().wait());
        Ok(done)
    }
}
