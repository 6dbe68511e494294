//! The history as a whole: compact, hash.

use std::sync::Arc;

use super::kv::{encode, failed};
use super::pending::{Ask, Call, Counter, Started, impl_call, impl_wait};
use super::response::{CompactResponse, HashResponse, Header};
use super::scope::Scope;
use crate::core::machine::{Command, Outcome};
use crate::core::mvcc::Pinned;
use crate::error::Result;
use crate::gate::Gate;
use crate::ids::Revision;

/// Forgets history: made by [`Store::compact`](crate::Store::compact).
///
/// What was overwritten or deleted before the revision can no longer be read; what is there at
/// the revision and after it stays (`CMP-4`). That holds on every member from the moment that it
/// applies the compaction (`CMP-3`); each gives back the memory on its own time, in small steps
/// (`CMP-8`).
///
/// # Errors
///
/// [`is_compacted`](crate::Error::is_compacted) if it was compacted up to there already,
/// [`is_future_revision`](crate::Error::is_future_revision) if the revision has not happened yet
/// (`CMP-1`), and those of [`Put`](crate::Put) that have nothing to do with keys.
///
/// ```no_run
/// # async fn example(store: quorate::Store) -> quorate::Result<()> {
/// let now = store.get("color").await?.header.revision;
/// store.compact(now).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct Compact {
    call: Call<CompactAsk>,
}

#[derive(Debug)]
struct CompactAsk {
    scope: Scope,
    revision: Revision,
    physical: bool,
}

impl Compact {
    pub(crate) fn new(gate: &Arc<dyn Gate>, scope: &Scope, revision: Revision) -> Self {
        let ask = CompactAsk { scope: scope.clone(), revision, physical: false };
        Self { call: Call::new(gate, ask) }
    }

    /// Answers only when this member has removed what was forgotten (`CMP-9`).
    ///
    /// That takes a few seconds for a million versions, and longer while a long read needs some of
    /// them. If it takes longer than the call may, the call fails with
    /// [`is_timeout`](crate::Error::is_timeout) and the removal goes on.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let now = store.get("color").wait()?.header.revision;
    /// store.compact(now).physical().wait_timeout(Duration::from_secs(60))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn physical(mut self) -> Self {
        self.call.ask_mut().physical = true;
        self
    }
}

impl_call!(Compact -> CompactResponse, "store.compact(quorate::Revision::new(100))");

impl Ask for CompactAsk {
    type Answer = Outcome;
    type Response = CompactResponse;

    const WRITES: bool = true;

    fn start(&mut self, counter: &Counter<'_>) -> Result<Started<Self>> {
        self.scope.check_whole("a compaction")?;
        let payload = encode(counter.gate, &Command::Compact { revision: self.revision })?;
        if self.physical { counter.compact(payload) } else { counter.write(payload) }
    }

    fn finish(&mut self, gate: &dyn Gate, outcome: Outcome) -> Result<CompactResponse> {
        match outcome {
            Outcome::Compacted { revision } => {
                Ok(CompactResponse { header: Header::at(gate, revision) })
            }
            other => Err(failed("compaction", other)),
        }
    }
}

/// Hashes the data of this member: made by [`Store::hash`](crate::Store::hash).
///
/// It covers every key with all the versions that are kept, up to a revision, by default the one
/// that this member is at (`HSH-1`, `HSH-2`). Members that have compacted up to the same revision
/// and are hashed at the same revision must have the same hash (`HSH-4`), wherever each of them is
/// with removing what was compacted (`HSH-3`). If they have not, their data differ.
///
/// The history is gone through on the caller's thread, at about a gigabyte a second, without
/// letting go of it: where that is long, not on a thread that runs other futures. Reads and writes
/// go on meanwhile. No leader is needed. To hash what this member has been told only just
/// now, [`at`](Self::at) a revision that a call has answered with.
///
/// # Errors
///
/// With [`at`](Self::at) [`is_compacted`](crate::Error::is_compacted) and
/// [`is_future_revision`](crate::Error::is_future_revision), if *this member* has compacted it or
/// has not come to it; [`is_overloaded`](crate::Error::is_overloaded),
/// [`is_closed`](crate::Error::is_closed) and [`is_halted`](crate::Error::is_halted).
///
/// ```no_run
/// # async fn example(here: quorate::Store, there: quorate::Store) -> quorate::Result<()> {
/// let revision = here.get("color").await?.header.revision;
/// let (one, other) = (here.hash().at(revision).await?, there.hash().at(revision).await?);
/// if one.compacted == other.compacted {
///     assert_eq!(one.hash, other.hash);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct HashRead {
    call: Call<HashAsk>,
}

#[derive(Debug)]
struct HashAsk {
    scope: Scope,
    at: Option<Revision>,
}

impl HashRead {
    pub(crate) fn new(gate: &Arc<dyn Gate>, scope: &Scope) -> Self {
        Self { call: Call::new(gate, HashAsk { scope: scope.clone(), at: None }) }
    }

    /// Leaves out what was written after `revision`. Revision 0 stands for the newest (`HSH-2`).
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let written = store.put("color", "green").wait()?;
    /// let hash = store.hash().at(written.header.revision).wait()?.hash;
    /// # Ok(())
    /// # }
    /// ```
    pub fn at(mut self, revision: Revision) -> Self {
        self.call.ask_mut().at = Some(revision);
        self
    }
}

impl_wait!(HashRead -> HashResponse, "store.hash()");

impl Ask for HashAsk {
    type Answer = Pinned;
    type Response = HashResponse;

    const WRITES: bool = false;

    fn start(&mut self, counter: &Counter<'_>) -> Result<Started<Self>> {
        self.scope.check_whole("a hash")?;
        counter.pin()
    }

    fn finish(&mut self, gate: &dyn Gate, pinned: Pinned) -> Result<HashResponse> {
        let header = Header::at(gate, pinned.revision());
        let hash = pinned.hash(self.at)?;
        let (revision, compacted) = (hash.revision, hash.compacted);
        Ok(HashResponse { header, hash: hash.value, revision, compacted })
    }
}
