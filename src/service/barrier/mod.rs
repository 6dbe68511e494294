//! Barriers: what many wait for together.
//!
//! ```text
//!   Barrier          one key                  there: held.  gone: everybody who waits may pass
//!   DoubleBarrier    name/waiters/..          a place for each participant (`place/`)
//!                    name/ready               there: as many as were wanted have entered
//! ```
//!
//! # What holds
//!
//! - Who waits for a barrier passes if it was ever seen to be gone since, also if it is held again
//!   at once (`REC-37`).
//! - Nobody enters a double barrier while others are in it that are enough (`REC-38`): that is
//!   judged by the state in which he entered, not by what a member happens to know. All that were
//!   wanted are there at the moment when it opens: that is a condition of the entry that opens it.
//! - What a participant was that died counts for nothing: his place goes with his session
//!   (`REC-39`).
//! - Everything else that is waited for is seen in this member's own state. It may be a moment old,
//!   but what it waits for does not come back.

mod double;
#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;

pub use self::double::{DoubleBarrier, EnterBarrier, Entered, LeaveBarrier};
use super::lease::Session;
use super::once::{Once, impl_once, lease_of};
use super::place::{Task, impl_task};
use super::txn::{Branch, DeleteOp, PutOp, Txn};
use super::watch::{Watch, WatchEnd};
use crate::core::mvcc::Event;
use crate::error::{Error, Result};
use crate::ids::{LeaseId, Revision};
use crate::planted::{Bug, planted};
use crate::service::{Compare, DeleteResponse, Op};
use crate::store::Store;

/// Something that others wait for: made by [`Store::barrier`](crate::Store::barrier). Cheap to
/// clone.
///
/// It is one key (`REC-37`): held while the key is there, whoever has made it. Everybody who waits
/// goes on when it is released; who comes when it is not held does not wait at all.
///
/// ```no_run
/// # async fn example(store: quorate::Store) -> quorate::Result<()> {
/// let migrated = store.barrier("migrated");
/// migrated.hold().await?;
/// // Meanwhile, elsewhere: store.barrier("migrated").pass().await?;
/// migrated.release().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Barrier {
    store: Store,
    name: Bytes,
}

impl Barrier {
    pub(crate) fn new(store: &Store, name: Bytes) -> Self {
        Self { store: store.clone(), name }
    }

    /// Puts it up: see [`HoldBarrier`].
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// if !store.barrier("migrated").hold().await? {
    ///     println!("somebody else holds it");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn hold(&self) -> HoldBarrier {
        let txn = self.put_up(LeaseId::default());
        let call = Once::new(txn, |branch| branch.succeeded());
        HoldBarrier { call, barrier: self.clone() }
    }

    /// Takes it down: see [`ReleaseBarrier`].
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// store.barrier("migrated").release().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn release(&self) -> ReleaseBarrier {
        let txn = self.store.txn().then(Op::delete(self.name.clone()));
        let settle =
            |branch: Branch<DeleteResponse, ()>| branch.then().is_some_and(|it| it.deleted > 0);
        ReleaseBarrier { call: Once::new(txn, settle) }
    }

    /// Waits until it is not held: see [`PassBarrier`].
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// store.barrier("migrated").pass().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn pass(&self) -> PassBarrier {
        let (store, name) = (self.store.clone(), self.name.clone());
        let what = "the barrier was released";
        PassBarrier { call: Task::new(self.store.gate(), what, move |_| pass(store, name)) }
    }

    fn put_up(&self, lease: LeaseId) -> Txn<PutOp> {
        let put = Op::put(self.name.clone(), Bytes::new()).lease(lease);
        self.store.txn().when(Compare::absent(self.name.clone())).then(put)
    }
}

async fn pass(store: Store, name: Bytes) -> Result<()> {
    // Which barrier it is, of several of that name: this member has heard of it then.
    let Some(held) = store.get(name.clone()).await?.kv else { return Ok(()) };
    if planted(Bug::PassHeld) {
        return Ok(());
    }
    loop {
        let got = store.get(name.clone()).serializable().await?;
        let is_same = |kv: &crate::KeyValue| kv.create_revision() == held.create_revision();
        if !got.kv.as_ref().is_some_and(is_same) {
            return Ok(());
        }
        until(store.watch(name.clone()).no_puts(), got.header.revision, |_| true).await?;
    }
}

/// Waits until something happens behind `seen` that is a reason to look, or it is not known any
/// more what did.
async fn until(watch: Watch, seen: Revision, is_reason: fn(&Event) -> bool) -> Result<()> {
    let mut watcher = watch.from_revision(seen.next()).start()?;
    loop {
        match watcher.next().await {
            Some(Ok(batch)) if !batch.events().iter().any(is_reason) => {}
            Some(Ok(_) | Err(WatchEnd::Compacted(_))) | None => return Ok(()),
            Some(Err(end)) => return Err(Error::from(end)),
        }
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = format_args!("\"{}\"", self.name.escape_ascii());
        f.debug_struct("Barrier").field("store", &self.store).field("name", &name).finish()
    }
}

/// Puts a barrier up: made by [`Barrier::hold`].
///
/// It says whether it did: `false` if the barrier was held already, which is no error. Without a
/// [session](Self::session) it stays until somebody releases it, whatever becomes of this process.
///
/// # Errors
///
/// [`is_lost`](crate::Error::is_lost) for a session that is over,
/// [`is_invalid`](crate::Error::is_invalid) for one of another node, and those of
/// [`Put`](crate::Put). After one that [`is_unknown`](crate::Error::is_unknown) it may be held; to
/// ask again says `false` then, although it was this caller who put it up.
///
/// ```no_run
/// # async fn example(store: quorate::Store) -> quorate::Result<()> {
/// let mine = store.barrier("migrated").hold().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct HoldBarrier {
    call: Once<PutOp, bool>,
    barrier: Barrier,
}

impl HoldBarrier {
    /// Only for as long as this session is there: nobody waits for a holder that has died. It is to
    /// be one of the same node.
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store, session: quorate::Session)
    /// # -> quorate::Result<()> {
    /// store.barrier("migrated").hold().session(&session).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn session(self, session: &Session) -> Self {
        let Self { call, barrier } = self;
        let txn = lease_of(&barrier.store, session).map(|lease| barrier.put_up(lease));
        Self { call: call.under(txn), barrier }
    }
}

impl_once!(HoldBarrier -> bool, "store.barrier(\"migrated\").hold()");

/// Takes a barrier down, so that everybody passes: made by [`Barrier::release`].
///
/// It says whether the barrier was held until then. Anybody may do it.
///
/// # Errors
///
/// Those of [`Delete`](crate::Delete).
///
/// ```no_run
/// # async fn example(store: quorate::Store) -> quorate::Result<()> {
/// let was_held = store.barrier("migrated").release().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct ReleaseBarrier {
    call: Once<DeleteOp, bool>,
}

impl_once!(ReleaseBarrier -> bool, "store.barrier(\"migrated\").release()");

/// Waits until a barrier is not held: made by [`Barrier::pass`].
///
/// Whether it is held now is asked as recently as by any read (`LIN-1`). Of a barrier that is
/// released and held again meanwhile it is the release that counts.
///
/// # Errors
///
/// [`is_timeout`](crate::Error::is_timeout) with a [`timeout`](Self::timeout), and those of
/// [`Get`](crate::Get).
///
/// ```no_run
/// # async fn example(store: quorate::Store) -> quorate::Result<()> {
/// store.barrier("migrated").pass().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct PassBarrier {
    call: Task<()>,
}

impl_task!(PassBarrier -> (), "store.barrier(\"migrated\").pass()");
