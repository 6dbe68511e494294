//! Elections: one leads, and everybody can see who.
//!
//! ```text
//!   store.election("cron") ── campaign(&session, "node 3") ──► Leadership        (lead.rs)
//!                                                                │ run(work)       (run.rs)
//!                          ── leader() ──► Option<Leader>        │ txn, token, valid_until
//!                          ── observe() ─► Observer ─► Vacant,   │ proclaim, resign
//!                                          Elected, ..           └ lost, outranked
//!                             (observe.rs)
//! ```
//!
//! An election is a line (`place/`) in which the candidates stand with what they propose as values.
//! Whoever is first leads (`REC-16`); so whose leadership it is, and until which revision, is in
//! the order of all writes, and everybody who watches the directory sees the same.
//!
//! # Priorities
//!
//! A candidate's priority is at the end of its key's name: `cron/1f-a-7-p5`. Nobody is put in front
//! of others, since tokens must rise. Instead who waits and sees somebody of a higher priority
//! behind it steps behind that one: by one entry that deletes its key and makes another. A leader
//! stays where it is: it learns that it is [outranked](Leadership::outranked), and may resign.
//!
//! # What holds
//!
//! - Tokens of an election rise with every leadership: they are create revisions.
//! - An observer is told of every change of who leads, and of what the leader proclaims, in the
//!   order of revisions; and when nobody does. What was compacted before it was read is said to be
//!   missing ([`Observed::Skipped`]), not passed over.
//! - A candidate has one key, and what it does to it is on condition that it is still its own.
//!
//! Not here: what a value means. Nobody should take one for a command of the leader.

mod lead;
mod observe;
mod run;
#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;

pub use self::lead::{Leadership, Outranked, Proclaim, Resign};
pub use self::observe::{NextObserved, Observe, Observed, ObservedIter, Observer};
use super::lease::{Holder, Session};
use super::lock::the_one_before;
use super::place::{self, Entry, Held, Line, Manner, Place, Sight, Task, impl_task, is_place};
use crate::core::mvcc::{Event, KeyValue};
use crate::error::{Error, Kind, Result};
use crate::ids::Revision;
use crate::keys::KeyRange;
use crate::planted::{Bug, planted};
use crate::store::Store;

/// An election: made by [`Store::election`](crate::Store::election). Cheap to clone; it holds
/// nothing itself.
///
/// ```no_run
/// # async fn example(store: quorate::Store) -> quorate::Result<()> {
/// use quorate::Op;
/// use std::time::Duration;
///
/// let session = store.session(Duration::from_secs(10)).await?;
/// let leadership = store.election("cron").campaign(&session, "node 3").await?;
/// let done = leadership
///     .run(async |lead| lead.txn().then(Op::put("last-job", "backup")).await)
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Election {
    store: Store,
    name: Bytes,
    priority: u32,
}

/// Who leads: given by [`Election::leader`] and in [`Observed::Elected`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leader {
    /// The token of the leadership: greater than that of every one before.
    pub token: Revision,
    /// What the leader proposed, or has proclaimed since. Whoever can write to the store can have
    /// written it.
    pub value: Bytes,
    /// The leader's key, as the handle shows it.
    pub key: Bytes,
}

impl Leader {
    fn of(kv: &KeyValue) -> Self {
        let bytes = Bytes::copy_from_slice;
        Self { token: kv.create_revision(), value: bytes(kv.value()), key: bytes(kv.key()) }
    }
}

impl Election {
    pub(crate) fn new(store: &Store, name: Bytes) -> Self {
        Self { store: store.clone(), name, priority: 0 }
    }

    /// Campaigns with this priority, by default 0: candidates of a higher one lead first.
    ///
    /// Who leads is not deposed by a higher one; it is [told](Leadership::outranked), and
    /// [`run`](Leadership::run) makes room then.
    ///
    /// ```no_run
    /// # async fn example(
    /// #     store: quorate::Store, session: quorate::Session,
    /// # ) -> quorate::Result<()> {
    /// let near_the_disks = store.election("cron").priority(10);
    /// let leadership = near_the_disks.campaign(&session, "node 3").await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn priority(mut self, priority: u32) -> Self {
        self.priority = priority;
        self
    }

    /// Waits until this caller leads: see [`Campaign`].
    ///
    /// ```no_run
    /// # async fn example(
    /// #     store: quorate::Store, session: quorate::Session,
    /// # ) -> quorate::Result<()> {
    /// let leadership = store.election("cron").campaign(&session, "node 3").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn campaign(&self, session: &Session, value: impl Into<Bytes>) -> Campaign {
        let begun = self.line().and_then(|line| Ok((line.holder(session)?, line)));
        let (value, priority) = (value.into(), self.priority);
        let campaign = async move |manner| {
            let (holder, line) = begun?;
            let entry = Entry { value, ending: ending(priority), ..Entry::default() };
            campaign(line, &holder, entry, priority, manner).await
        };
        Campaign { call: Task::new(self.store.gate(), "this caller was elected", campaign) }
    }

    /// Who leads now, if anybody does: see [`GetLeader`].
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// if let Some(leader) = store.election("cron").leader().await? {
    ///     println!("{:?} leads, with token {}", leader.value, leader.token);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn leader(&self) -> GetLeader {
        let line = self.line();
        let look =
            async move |manner| Ok(line?.first_with_value(manner).await?.as_ref().map(Leader::of));
        GetLeader { call: Task::new(self.store.gate(), "it was known who leads", look) }
    }

    /// Observes who leads, from now on: see [`Observer`].
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let mut observer = store.election("cron").observe().await?;
    /// while let Some(observed) = observer.next().await.transpose()? {
    ///     println!("{observed:?}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn observe(&self) -> Observe {
        Observe::new(&self.store, self.line().map(|line| line.directory))
    }

    /// Takes a leadership up again, after a restart with the same lease: see [`Resume`].
    ///
    /// ```no_run
    /// # async fn example(
    /// #     store: quorate::Store, lease: quorate::LeaseId,
    /// #     key: Vec<u8>, token: quorate::Revision,
    /// # ) -> quorate::Result<()> {
    /// use std::time::Duration;
    ///
    /// let session = store.session(Duration::ZERO).lease(lease).await?;
    /// let leadership = store.election("cron").resume(&session, key, token).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn resume(&self, session: &Session, key: impl Into<Bytes>, token: Revision) -> Resume {
        let begun = self.line().and_then(|line| Ok((line.holder(session)?, line)));
        let key = key.into();
        let resume = async move |manner| {
            let (holder, line) = begun?;
            let lease = holder.kept.lease();
            let same = |kv: &&KeyValue| {
                kv.key() == key && kv.create_revision() == token && kv.lease() == lease
            };
            let leads = line.first(manner).await?.as_ref().filter(same).is_some();
            if !leads && !planted(Bug::ResumeUnseen) {
                let text = "the key does not lead: it is gone, of another revision or lease, or \
                            not the first";
                return Err(Error::new(Kind::Lost, text));
            }
            // What it campaigned with, whatever this handle has.
            let priority = priority_of(&key);
            let held = Held::new(Place::new(&line.store, holder, key, token)?);
            Ok(Leadership::new(held, line.directory, priority))
        };
        Resume { call: Task::new(self.store.gate(), "it was known who leads", resume) }
    }

    fn line(&self) -> Result<Line> {
        Ok(Line { store: self.store.clone(), directory: place::directory(&self.name)? })
    }
}

async fn campaign(
    line: Line,
    holder: &Holder,
    mut entry: Entry,
    priority: u32,
    manner: Manner,
) -> Result<Leadership> {
    let mut held = line.enter_last(holder, &entry, manner).await?;
    loop {
        let place = held.place();
        let look = |sight: &Sight<'_>| {
            let before = the_one_before(sight, &line.directory)?;
            Ok((before, is_outranked(sight, &line.directory, priority)?))
        };
        let (revision, (before, outranked)) = place.look(look)?;
        let Some(before) = before else { break };
        if outranked {
            entry.instead_of = Some(std::sync::Arc::clone(place));
            // What is stepped out of goes by the same entry.
            let stepped = line.enter_last(holder, &entry, manner).await;
            entry.instead_of = None;
            held = match stepped {
                Err(error) if error.is_timeout() || error.is_unknown() => {
                    // In which of the two places it stands nobody knows: it leaves both.
                    drop(held);
                    line.enter_last(holder, &entry, manner).await?
                }
                stepped => stepped?,
            };
            continue;
        }
        let come = place.store.watch(line.range()).no_deletes();
        let outranks = outranks(line.directory.clone(), priority);
        place.stir_if(revision, [before], come, outranks)?.await?;
    }
    Ok(Leadership::new(held, line.directory, priority))
}

/// Is somebody of a higher priority behind?
fn is_outranked(sight: &Sight<'_>, directory: &Bytes, priority: u32) -> Result<bool> {
    let behind = sight.younger(KeyRange::prefix(directory.clone()))?;
    let ignores = planted(Bug::IgnorePriority);
    Ok(!ignores && behind.iter().any(|kv| priority_of(kv.key()) > priority))
}

/// Is an event the coming of somebody of a higher priority? What others proclaim, and who comes
/// with no higher one, is no reason to look at the whole line again.
fn outranks(directory: Bytes, priority: u32) -> impl Fn(&Event) -> bool + Send + Sync + 'static {
    move |event| {
        let kv = event.kv();
        kv.version() == 1 && priority_of(kv.key()) > priority && is_place(&directory, kv)
    }
}

fn ending(priority: u32) -> String {
    if priority == 0 { String::new() } else { format!("-p{priority}") }
}

/// What a key's name says; 0 if it says nothing.
fn priority_of(key: &[u8]) -> u32 {
    let digits = key.len() - key.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (before, digits) = key.split_at(digits);
    if !before.ends_with(b"-p") {
        return 0;
    }
    std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).unwrap_or_default()
}

impl fmt::Debug for Election {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = format_args!("\"{}\"", self.name.escape_ascii());
        let mut election = f.debug_struct("Election");
        election.field("store", &self.store).field("name", &name);
        election.field("priority", &self.priority).finish()
    }
}

/// Waits until a candidate leads: made by [`Election::campaign`].
///
/// The place in the line is taken when it is first polled, and costs one write. Dropped, or out of
/// time, the candidate withdraws in the background (`REC-18`). After any error it is safe to
/// campaign again. Each campaign is a candidate of its own, also those of one session (`REC-19`).
///
/// # Errors
///
/// Those of [`Acquire`](crate::Acquire).
///
/// ```no_run
/// # async fn example(store: quorate::Store, session: quorate::Session) -> quorate::Result<()> {
/// let leadership = store.election("cron").campaign(&session, "node 3").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct Campaign {
    call: Task<Leadership>,
}

impl_task!(Campaign -> Leadership, "store.election(\"cron\").campaign(&session, \"node 3\")");

/// Reads who leads: made by [`Election::leader`].
///
/// It is as recent as a [`Get`](crate::Get) (`REC-22`); by the time that it is looked at somebody
/// else may lead. `None`: nobody does.
///
/// # Errors
///
/// [`is_invalid`](crate::Error::is_invalid) for an empty name, and those of [`Get`](crate::Get).
///
/// ```no_run
/// # async fn example(store: quorate::Store) -> quorate::Result<()> {
/// let leader = store.election("cron").leader().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct GetLeader {
    call: Task<Option<Leader>>,
}

impl_task!(GetLeader -> Option<Leader>, "store.election(\"cron\").leader()");

/// Takes a leadership up again: made by [`Election::resume`].
///
/// For a process that was restarted, and has kept the id of its lease, its key and its token: with
/// a session that [adopts](crate::OpenSession::lease) the lease before it ends (`REC-24`). Its
/// priority is the one that it campaigned with.
///
/// **Only when the old process is certainly gone.** If it was but paused, or its network cut, there
/// are two that lead with one lease, one key and one token: neither is told of the other, and
/// neither [`txn`](Leadership::txn) nor the token tells them apart. Where that cannot be ruled out,
/// campaign anew: the old one is out then when its lease has ended.
///
/// # Errors
///
/// [`is_lost`](crate::Error::is_lost) if that key does not lead any more, or not with this lease;
/// it is left as it is then. Those of [`Get`](crate::Get).
///
/// ```no_run
/// # async fn example(
/// #     store: quorate::Store, session: quorate::Session, token: quorate::Revision,
/// # ) -> quorate::Result<()> {
/// let leadership = store.election("cron").resume(&session, "cron/1f-a-7", token).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct Resume {
    call: Task<Leadership>,
}

impl_task!(
    Resume -> Leadership,
    "store.election(\"cron\").resume(&session, \"cron/1f-a-7\", quorate::Revision::new(7))"
);
