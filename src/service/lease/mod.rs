//! Leases: keys that go when nobody says in time that they should stay.
//!
//! ```text
//!   calls        grant, revoke, keep_alive      one entry each, or one for all that wait together
//!                time_to_live                   a read round, then a look at the machine
//!                leases                         a look at the machine
//!   Session      a lease that its node keeps    grant, then renewals by the node's own timers
//! ```
//!
//! What a lease is, and when it ends, is the machine's (`core/machine/lease.rs`); until when a
//! holder may rely on it, `core/lease/mod.rs` says. Here are only the ways to ask.
//!
//! # What holds
//!
//! - A TTL is rounded up to whole milliseconds and raised to the shortest one before it is proposed
//!   (`LSE-4`): every member takes what is proposed as it is.
//! - Ids are those of the whole store, also on a scoped handle; keys are shown within its scope.
//! - A [`Session`] that is gone renews nothing: closed, dropped, orphaned or lost, it ends first.

mod look;
mod session;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

pub use self::look::{Leases, TimeToLive};
pub(super) use self::session::Holder;
pub use self::session::{CloseSession, OpenSession, Session, SessionLost};
use super::kv::{encode, failed};
use super::pending::{Ask, Call, Counter, Started, impl_call};
use super::response::{GrantResponse, Header, KeepAliveResponse, RevokeResponse};
use crate::core::machine::lease::MAX_TTL_MS;
use crate::core::machine::{Command, Outcome};
use crate::error::{Error, Result};
use crate::gate::Gate;
use crate::ids::{Index, LeaseId, Revision};

/// Makes a lease: made by [`Store::grant`](crate::Store::grant).
///
/// Keys are attached to it by [`Put::lease`](crate::Put::lease), and go with it: when it is
/// [revoked](crate::Store::revoke), or when its TTL has passed since it was granted or
/// [renewed](crate::Store::keep_alive) last, never before that (`LSE-11`). A grant makes no
/// revision (`LSE-5`).
///
/// The TTL is rounded up to whole milliseconds, and raised to the shortest that there is, one and a
/// half times the [election timeout](crate::Config::election_timeout) (`LSE-4`): the response says
/// which it is.
///
/// Who wants to hold something for as long as it is there takes a
/// [session](crate::Store::session), which is a lease that renews itself.
///
/// # Errors
///
/// [`is_invalid`](Error::is_invalid) for a TTL of more than nine thousand million seconds
/// (`LSE-3`), [`is_lease_exists`](Error::is_lease_exists) for an [`id`](Self::id) that is taken,
/// and those of [`Put`](crate::Put) that have nothing to do with keys.
///
/// ```no_run
/// # async fn example(store: quorate::Store) -> quorate::Result<()> {
/// use std::time::Duration;
///
/// let lease = store.grant(Duration::from_secs(10)).await?;
/// store.put("workers/7", "here").lease(lease.id).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct Grant {
    call: Call<GrantAsk>,
}

#[derive(Debug)]
struct GrantAsk {
    lease: LeaseId,
    ttl: Duration,
}

impl Grant {
    pub(crate) fn new(gate: &Arc<dyn Gate>, ttl: Duration) -> Self {
        Self { call: Call::new(gate, GrantAsk { lease: LeaseId::default(), ttl }) }
    }

    /// Under this id, instead of one that is chosen (`LSE-2`). 0 stands for one that is chosen. An
    /// id may be used again when its lease is gone.
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// use quorate::LeaseId;
    /// use std::time::Duration;
    ///
    /// let lease = store.grant(Duration::from_secs(10)).id(LeaseId::new(42)).await?;
    /// assert_eq!(lease.id.get(), 42);
    /// # Ok(())
    /// # }
    /// ```
    pub fn id(mut self, id: LeaseId) -> Self {
        self.call.ask_mut().lease = id;
        self
    }
}

impl_call!(Grant -> GrantResponse, "store.grant(std::time::Duration::from_secs(10))");

impl Ask for GrantAsk {
    type Answer = Outcome;
    type Response = GrantResponse;

    const WRITES: bool = true;

    fn start(&mut self, counter: &Counter<'_>) -> Result<Started<Self>> {
        let ttl = effective_ttl(self.ttl, counter.gate.limits().min_ttl)?;
        counter.write(encode(counter.gate, &Command::Grant { lease: self.lease, ttl })?)
    }

    fn finish(&mut self, gate: &dyn Gate, outcome: Outcome) -> Result<GrantResponse> {
        match outcome {
            Outcome::Granted { lease, ttl } => {
                Ok(GrantResponse { header: now(gate)?, id: lease, ttl: Duration::from_millis(ttl) })
            }
            other => Err(failed("grant", other)),
        }
    }
}

/// Ends a lease, and deletes the keys that are attached to it: made by
/// [`Store::revoke`](crate::Store::revoke).
///
/// All of them go at one revision, in order (`LSE-6`); without any there is none. Also those
/// outside of the scope of the handle: ids of leases are those of the whole store.
///
/// # Errors
///
/// [`is_lease_not_found`](Error::is_lease_not_found) if it is gone already, and those of
/// [`Put`](crate::Put) that have nothing to do with keys.
///
/// ```no_run
/// # async fn example(store: quorate::Store, id: quorate::LeaseId) -> quorate::Result<()> {
/// store.revoke(id).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct Revoke {
    call: Call<RevokeAsk>,
}

#[derive(Debug)]
struct RevokeAsk {
    lease: LeaseId,
}

impl Revoke {
    pub(crate) fn new(gate: &Arc<dyn Gate>, lease: LeaseId) -> Self {
        Self { call: Call::new(gate, RevokeAsk { lease }) }
    }
}

impl_call!(Revoke -> RevokeResponse, "store.revoke(quorate::LeaseId::new(7))");

impl Ask for RevokeAsk {
    type Answer = Outcome;
    type Response = RevokeResponse;

    const WRITES: bool = true;

    fn start(&mut self, counter: &Counter<'_>) -> Result<Started<Self>> {
        counter.write(encode(
            counter.gate,
            &Command::Revoke { lease: self.lease, grant: Index::default() },
        )?)
    }

    fn finish(&mut self, gate: &dyn Gate, outcome: Outcome) -> Result<RevokeResponse> {
        match outcome {
            Outcome::Revoked { revision, .. } => {
                Ok(RevokeResponse { header: Header::at(gate, revision) })
            }
            other => Err(failed("revocation", other)),
        }
    }
}

/// Gives a lease its whole TTL again, once (`LSE-12`): made by
/// [`Store::keep_alive`](crate::Store::keep_alive).
///
/// It is replicated, so whoever leads next knows of it. What many callers of a member ask for at
/// about the same time is one entry of the log.
///
/// # Errors
///
/// [`is_lease_not_found`](Error::is_lease_not_found) if there is no such lease (`LSE-13`), also if
/// its time is over and it has not been removed yet (`LSE-14`); and those of [`Put`](crate::Put)
/// that have nothing to do with keys.
///
/// ```no_run
/// # async fn example(store: quorate::Store, id: quorate::LeaseId) -> quorate::Result<()> {
/// let again = store.keep_alive(id).await?.ttl;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct KeepAlive {
    call: Call<KeepAliveAsk>,
}

#[derive(Debug)]
struct KeepAliveAsk {
    lease: LeaseId,
}

impl KeepAlive {
    pub(crate) fn new(gate: &Arc<dyn Gate>, lease: LeaseId) -> Self {
        Self { call: Call::new(gate, KeepAliveAsk { lease }) }
    }
}

impl_call!(KeepAlive -> KeepAliveResponse, "store.keep_alive(quorate::LeaseId::new(7))");

impl Ask for KeepAliveAsk {
    type Answer = Outcome;
    type Response = KeepAliveResponse;

    const WRITES: bool = true;

    fn start(&mut self, counter: &Counter<'_>) -> Result<Started<Self>> {
        counter.keep_alive(self.lease)
    }

    fn finish(&mut self, gate: &dyn Gate, outcome: Outcome) -> Result<KeepAliveResponse> {
        if let Outcome::Renewed(ttls) = &outcome
            && let [Some(ttl)] = **ttls
        {
            return Ok(KeepAliveResponse { header: now(gate)?, ttl: Duration::from_millis(ttl) });
        }
        Err(failed("keep-alive", outcome))
    }
}

/// In milliseconds: rounded up, and as long as a lease must be (`LSE-3`, `LSE-4`).
fn effective_ttl(ttl: Duration, min: Duration) -> Result<u64> {
    let millis =
        |span: Duration| u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    let effective = millis(ttl.max(min));
    if effective > MAX_TTL_MS {
        let longest = Duration::from_millis(MAX_TTL_MS);
        let text = format!("a lease cannot have a TTL of {ttl:?}: the longest is {longest:?}");
        return Err(Error::invalid(text));
    }
    Ok(effective)
}

/// A header for what makes no revision (`LSE-5`).
fn now(gate: &dyn Gate) -> Result<Header> {
    let revision: Revision = gate.reader()?.revision();
    Ok(Header::at(gate, revision))
}
