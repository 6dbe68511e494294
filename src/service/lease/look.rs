//! Looking at leases.

use std::sync::Arc;

use crate::core::lease::Look;
use crate::error::Result;
use crate::gate::Gate;
use crate::ids::{LeaseId, Revision};
use crate::service::pending::{Ask, Call, Counter, Started, impl_call, impl_wait};
use crate::service::response::{Header, LeasesResponse, TimeToLiveResponse};
use crate::service::scope::Scope;

/// Asks how long a lease has left: made by [`Store::time_to_live`](crate::Store::time_to_live).
///
/// The answer is as recent as any read (`LIN-1`), and counted by the lease clock of the cluster,
/// with what has passed by this member's own since that was moved last. A lease that does not
/// exist, or no longer, is no error: then nothing is said of it (`LSE-20`).
///
/// # Errors
///
/// Those of [`Get`](crate::Get).
///
/// ```no_run
/// # async fn example(store: quorate::Store, id: quorate::LeaseId) -> quorate::Result<()> {
/// let lease = store.time_to_live(id).keys().await?;
/// match lease.remaining {
///     Some(left) => println!("{left:?} left for {} keys", lease.keys.len()),
///     None => println!("it is gone"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct TimeToLive {
    call: Call<TimeToLiveAsk>,
}

#[derive(Debug)]
struct TimeToLiveAsk {
    scope: Scope,
    lease: LeaseId,
    keys: bool,
}

impl TimeToLive {
    pub(crate) fn new(gate: &Arc<dyn Gate>, scope: &Scope, lease: LeaseId) -> Self {
        let ask = TimeToLiveAsk { scope: scope.clone(), lease, keys: false };
        Self { call: Call::new(gate, ask) }
    }

    /// And which keys are attached to it, in order. A scoped handle is told of those that it
    /// reaches.
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store, id: quorate::LeaseId) -> quorate::Result<()> {
    /// let keys = store.time_to_live(id).keys().await?.keys;
    /// # Ok(())
    /// # }
    /// ```
    pub fn keys(mut self) -> Self {
        self.call.ask_mut().keys = true;
        self
    }
}

impl_call!(TimeToLive -> TimeToLiveResponse, "store.time_to_live(quorate::LeaseId::new(7))");

impl Ask for TimeToLiveAsk {
    type Answer = (Revision, Option<Look>);
    type Response = TimeToLiveResponse;

    const WRITES: bool = false;

    fn start(&mut self, counter: &Counter<'_>) -> Result<Started<Self>> {
        counter.look_at_lease(self.lease, self.keys)
    }

    fn finish(
        &mut self,
        gate: &dyn Gate,
        (revision, look): (Revision, Option<Look>),
    ) -> Result<TimeToLiveResponse> {
        let (header, id) = (Header::at(gate, revision), self.lease);
        let (granted, remaining) = look.as_ref().map(|look| (look.granted, look.remaining)).unzip();
        let keys = look.map(|look| self.scope.show_keys(&look.keys)).unwrap_or_default();
        Ok(TimeToLiveResponse { header, id, granted, remaining, keys })
    }
}

/// Lists the leases: made by [`Store::leases`](crate::Store::leases).
///
/// Those that this member knows, without asking any other, in the order in which they end unless
/// they are renewed (`LSE-21`). Also on a scoped handle those of the whole store.
///
/// # Errors
///
/// [`is_overloaded`](crate::Error::is_overloaded), [`is_closed`](crate::Error::is_closed) and
/// [`is_halted`](crate::Error::is_halted).
///
/// ```no_run
/// # async fn example(store: quorate::Store) -> quorate::Result<()> {
/// for id in store.leases().await?.leases {
///     println!("{id}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct Leases {
    call: Call<LeasesAsk>,
}

#[derive(Debug)]
struct LeasesAsk;

impl Leases {
    pub(crate) fn new(gate: &Arc<dyn Gate>) -> Self {
        Self { call: Call::new(gate, LeasesAsk) }
    }
}

impl_wait!(Leases -> LeasesResponse, "store.leases()");

impl Ask for LeasesAsk {
    type Answer = (Revision, Vec<LeaseId>);
    type Response = LeasesResponse;

    const WRITES: bool = false;

    fn start(&mut self, counter: &Counter<'_>) -> Result<Started<Self>> {
        counter.leases()
    }

    fn finish(
        &mut self,
        gate: &dyn Gate,
        (revision, leases): (Revision, Vec<LeaseId>),
    ) -> Result<LeasesResponse> {
        Ok(LeasesResponse { header: Header::at(gate, revision), leases })
    }
}
