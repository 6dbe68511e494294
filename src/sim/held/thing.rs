//! What somebody holds, of whatever kind.

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::error::Result;
use crate::ids::Revision;
use crate::service::{
    ClaimedItem, Entered, HeldTxn, Leadership, LockGuard, Lost, Permit, ReadGuard, WriteGuard,
};

/// What may be relied on for a time.
pub(in crate::sim) trait Relied: fmt::Debug + Send + Sync {
    fn token(&self) -> Revision;
    fn is_lost(&self) -> bool;
    fn valid_until(&self) -> Instant;
}

/// What one comes to by standing in a line.
#[derive(Debug)]
pub(in crate::sim) enum Thing {
    Lock(LockGuard),
    Lead(Leadership),
    Read(ReadGuard),
    Write(WriteGuard),
    Permit(Permit),
}

/// All guards can do the same.
macro_rules! each {
    ($self:expr, $guard:ident => $do:expr) => {
        match $self {
            Thing::Lock($guard) => $do,
            Thing::Lead($guard) => $do,
            Thing::Read($guard) => $do,
            Thing::Write($guard) => $do,
            Thing::Permit($guard) => $do,
        }
    };
}

impl Relied for Thing {
    fn token(&self) -> Revision {
        each!(self, guard => guard.token())
    }

    fn is_lost(&self) -> bool {
        each!(self, guard => guard.is_lost())
    }

    fn valid_until(&self) -> Instant {
        each!(self, guard => guard.valid_until())
    }
}

impl Relied for ClaimedItem {
    fn token(&self) -> Revision {
        self.token()
    }

    fn is_lost(&self) -> bool {
        self.is_lost()
    }

    fn valid_until(&self) -> Instant {
        self.valid_until()
    }
}

impl Relied for Entered {
    fn token(&self) -> Revision {
        self.since()
    }

    fn is_lost(&self) -> bool {
        self.is_lost()
    }

    fn valid_until(&self) -> Instant {
        self.valid_until()
    }
}

impl Thing {
    pub(in crate::sim) fn key(&self) -> &Bytes {
        each!(self, guard => guard.key())
    }

    pub(in crate::sim) fn lost(&self) -> Lost {
        each!(self, guard => guard.lost())
    }

    pub(in crate::sim) fn txn(&self) -> HeldTxn {
        each!(self, guard => guard.txn())
    }

    /// Gives it back, and says whether it was held until then.
    pub(in crate::sim) async fn release(self, timeout: Duration) -> Result<bool> {
        match self {
            Self::Lock(guard) => guard.release().timeout(timeout).await,
            Self::Read(guard) => guard.release().timeout(timeout).await,
            Self::Write(guard) => guard.release().timeout(timeout).await,
            Self::Permit(guard) => guard.release().timeout(timeout).await,
            Self::Lead(leads) => {
                let resigned = leads.resign().timeout(timeout).await;
                // Again does no harm (REC-21).
                drop(leads.resign().timeout(timeout).await);
                resigned
            }
        }
    }
}
