//! Waiting for a loss.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::{Place, Stir};
use crate::error::Result;
use crate::service::pending::block_on;

/// Waits until what was held is held no more: made by [`LockGuard::lost`](crate::LockGuard::lost)
/// and [`Leadership::lost`](crate::Leadership::lost).
///
/// That is when the deadline of the session passes, when its lease or the key is gone as far as
/// this member has heard, when it is given back, or when the node ends. Awaited, or waited for.
///
/// ```no_run
/// # async fn example(guard: quorate::LockGuard) {
/// guard.lost().await;
/// println!("stop everything");
/// # }
/// ```
#[must_use = "it does nothing unless it is awaited or waited for"]
pub struct Lost {
    place: Arc<Place>,
    stir: Option<Stir>,
}

impl Lost {
    pub(in crate::service) fn new(place: &Arc<Place>) -> Self {
        Self { place: Arc::clone(place), stir: None }
    }

    /// Blocks the thread until it is so. Not for a thread that runs futures: await it there.
    ///
    /// ```no_run
    /// # fn example(guard: quorate::LockGuard) {
    /// guard.lost().wait();
    /// # }
    /// ```
    pub fn wait(mut self) {
        let gate = Arc::clone(self.place.gate());
        block_on(&*gate, None, |context| Pin::new(&mut self).poll(context));
    }

    /// As [`wait`](Self::wait), but for so long at most. Says whether it is lost.
    ///
    /// ```no_run
    /// # fn example(guard: quorate::LockGuard) {
    /// while !guard.lost().wait_timeout(std::time::Duration::from_secs(1)) {
    ///     println!("still held");
    /// }
    /// # }
    /// ```
    pub fn wait_timeout(mut self, timeout: Duration) -> bool {
        let gate = Arc::clone(self.place.gate());
        block_on(&*gate, Some(timeout), |context| Pin::new(&mut self).poll(context)).is_some()
    }

    /// Watches from what is seen now; nothing if it is lost.
    fn begin(&self) -> Result<Stir> {
        let (revision, ()) = self.place.look(|_| Ok(()))?;
        self.place.stir(revision, [])
    }
}

impl Future for Lost {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.place.is_lost() {
                return Poll::Ready(());
            }
            if self.stir.is_none() {
                self.stir = self.begin().ok();
            }
            let Some(stir) = &mut self.stir else { return Poll::Ready(()) };
            if Pin::new(stir).poll(context).is_pending() {
                return Poll::Pending;
            }
            self.stir = None;
        }
    }
}

impl fmt::Debug for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lost").field("place", &self.place).finish_non_exhaustive()
    }
}
