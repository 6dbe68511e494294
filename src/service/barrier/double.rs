//! Barriers that as many enter as were wanted, and leave together.

use std::fmt;
use std::time::Instant;

use bytes::Bytes;

use super::until;
use crate::core::mvcc::KeyValue;
use crate::error::{Error, Kind, Result};
use crate::ids::Revision;
use crate::keys::KeyRange;
use crate::planted::{Bug, planted};
use crate::service::lease::{Holder, Session};
use crate::service::place::{self, Entry, Held, Line, Lost, Manner, Task, impl_task};
use crate::service::{Compare, Op, Release};
use crate::store::Store;

/// A barrier with a count: made by [`Store::double_barrier`](crate::Store::double_barrier). It is
/// cheap to clone.
///
/// Those who [`enter`](Self::enter) wait until as many have entered, then all go on; those who
/// [`leave`](Entered::leave) wait until all have left (`REC-38`). A participant whose session ends
/// is in it no more, and nobody waits for him (`REC-39`). When all have left it may be entered
/// again.
///
/// Those who are in it stand under `name/waiters/`: nothing else that is held should be called
/// `name/waiters`.
///
/// Who may go through is decided by who was in it when each entered. Where that has been compacted
/// before a member gets to look, it is decided by who of them is still in it: somebody who was one
/// too many may go through then, if another one has left meanwhile.
///
/// ```no_run
/// # async fn example(store: quorate::Store, session: quorate::Session) -> quorate::Result<()> {
/// let computation = store.double_barrier("computation", 3);
/// let entered = computation.enter(&session).await?;
/// // All three are here.
/// entered.leave().await?;
/// // All three are done.
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct DoubleBarrier {
    store: Store,
    name: Bytes,
    count: usize,
}

impl DoubleBarrier {
    pub(crate) fn new(store: &Store, name: Bytes, count: usize) -> Self {
        Self { store: store.clone(), name, count }
    }

    /// Enters, and waits until as many have: see [`EnterBarrier`].
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store, session: quorate::Session)
    /// # -> quorate::Result<()> {
    /// let entered = store.double_barrier("computation", 3).enter(&session).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn enter(&self, session: &Session) -> EnterBarrier {
        let begun = self.keys().and_then(|keys| Ok((keys.line.holder(session)?, keys)));
        let enter = async move |manner| {
            let (holder, keys) = begun?;
            keys.enter(&holder, manner).await
        };
        EnterBarrier { call: Task::new(self.store.gate(), "all had entered", enter) }
    }

    fn keys(&self) -> Result<Keys> {
        if self.count == 0 {
            return Err(Error::invalid("a barrier for nobody cannot be entered: its count is 0"));
        }
        let (count, most) = (self.count, self.store.gate().limits().max_txn_ops);
        if count > most {
            let text = format!("a barrier for {count} is too large: max_txn_ops is {most}");
            return Err(Error::new(Kind::TooLarge, text));
        }
        let directory = place::directory(&self.name)?;
        let under = |rest: &[u8]| Bytes::from([&directory[..], rest].concat());
        let line = Line { store: self.store.clone(), directory: under(b"waiters/") };
        Ok(Keys { line, ready: under(b"ready"), count: self.count })
    }
}

/// Where participants are, and what tells them that they are enough.
struct Keys {
    line: Line,
    ready: Bytes,
    count: usize,
}

impl Keys {
    fn waiters(&self) -> KeyRange {
        KeyRange::prefix(self.line.directory.clone())
    }

    async fn enter(self, holder: &Holder, manner: Manner) -> Result<Entered> {
        // In the name, since it is looked at by all who come later.
        let ending = ending(self.count);
        let unless = vec![KeyRange::key(self.ready.clone())];
        let entry = Entry { ending, unless, ..Entry::default() };
        let held = loop {
            match self.line.enter(holder, &entry, manner).await? {
                Some(held) => break held,
                None if self.tidy().await? => {}
                None => return Err(self.full()),
            }
        };
        let since = held.place().since;
        if let Some(error) = self.refusal(&self.before(&held, since).await?) {
            // If it is not done in time, it goes on in the background.
            drop(Release::new(held).await);
            return Err(error);
        }
        loop {
            let (revision, older) = held.place().look(|sight| sight.older(self.waiters()))?;
            let ready = self.line.store.get(self.ready.clone()).serializable().await?;
            if let Some(kv) = ready.kv {
                return Ok(Entered { held, keys: self, round: kv.create_revision() });
            }
            if let Some(others) = self.enough(&held, older).await? {
                if let Some(round) = self.open(&held, &others).await? {
                    return Ok(Entered { held, keys: self, round: round.max(since) });
                }
                // Somebody has left meanwhile: this member sees it by now.
                continue;
            }
            let opened = self.line.store.watch(self.ready.clone()).no_deletes();
            held.place().stir_if(revision, [], opened, |_| true)?.await?;
        }
    }

    /// Those who were in when one entered; if that is forgotten, those of them who still are.
    ///
    /// Who may go through is decided by this alone, for good and for everybody the same, whatever
    /// happens until a member gets to look: at no time are there more who may than are wanted.
    async fn before(&self, held: &Held, since: Revision) -> Result<Vec<KeyValue>> {
        let older = Revision::new(since.get().saturating_sub(1));
        let then = self.line.store.range(self.waiters()).at(since).serializable().keys_only();
        match then.max_create_revision(older).await {
            Err(error) if error.is_compacted() => {
                let (_, mut still) = held.place().look(|sight| sight.older(self.waiters()))?;
                still.retain(|kv| kv.create_revision() < since);
                Ok(still)
            }
            answer => {
                let mut then = answer?.kvs;
                then.retain(|kv| place::is_place(&self.line.directory, kv));
                Ok(then)
            }
        }
    }

    /// The others, if they are as many as are wanted with this one: not counting those who are
    /// about to leave since they were refused.
    async fn enough(&self, held: &Held, older: Vec<KeyValue>) -> Result<Option<Vec<KeyValue>>> {
        let wanted = self.count.saturating_sub(if planted(Bug::OpenEarly) { 2 } else { 1 });
        if older.len() < wanted {
            return Ok(None);
        }
        let mut others = Vec::with_capacity(older.len());
        for kv in older {
            let before = self.before(held, kv.create_revision()).await?;
            if self.refusal(&before).is_none() {
                others.push(kv);
            }
        }
        Ok((others.len() == wanted).then_some(others))
    }

    /// Why one is not to be in, of those that were when he entered.
    fn refusal(&self, older: &[KeyValue]) -> Option<Error> {
        let ending = ending(self.count);
        if older.iter().any(|kv| !kv.key().ends_with(ending.as_bytes())) {
            let text = format!("others have entered for another count than {}", self.count);
            return Some(Error::invalid(text));
        }
        (older.len() >= self.count).then(|| self.full())
    }

    fn full(&self) -> Error {
        let text = format!("{} have entered the barrier, and not yet left it", self.count);
        Error::new(Kind::Conflict, text)
    }

    /// Lets everybody go on, if all of them are still there when that is applied.
    async fn open(&self, held: &Held, others: &[KeyValue]) -> Result<Option<Revision>> {
        let place = held.place();
        let is_there = |key: Bytes, since| Compare::create_revision(key).equals(since);
        let mut txn = self.line.store.txn().when(is_there(place.key.clone(), place.since));
        for kv in others {
            let key = Bytes::copy_from_slice(kv.key());
            txn = txn.when(is_there(key, kv.create_revision()));
        }
        let done = txn.then(Op::put(self.ready.clone(), Bytes::new())).await?;
        Ok(done.succeeded().then_some(done.header.revision))
    }

    /// Removes what says that they are enough, if nobody is in any more. False if somebody is.
    async fn tidy(&self) -> Result<bool> {
        let ready = self.line.store.get(self.ready.clone()).serializable().await?;
        let Some(ready) = ready.kv else { return Ok(true) };
        // As long as it is there nobody enters: who is not in now will not be before it goes.
        if self.line.newest(None).await?.1.is_some() {
            return Ok(false);
        }
        let same = Compare::create_revision(self.ready.clone()).equals(ready.create_revision());
        self.line.store.txn().when(same).then(Op::delete(self.ready.clone())).await?;
        Ok(true)
    }

    /// Waits until nobody is in who was in up to a revision.
    async fn left_by_all(&self, round: Revision) -> Result<()> {
        let mut is_last = true;
        if planted(Bug::LeaveAlone) {
            return Ok(());
        }
        loop {
            let (seen, other) = self.line.newest(Some(round)).await?;
            let Some(other) = other else { break };
            is_last = false;
            let other = self.line.store.watch(Bytes::copy_from_slice(other.key()));
            until(other, seen, |event| !place::stands(event.kv())).await?;
        }
        if is_last {
            // All have left, whatever comes of this: who enters next tidies too.
            drop(self.tidy().await);
        }
        Ok(())
    }
}

fn ending(count: usize) -> String {
    format!("-{count}")
}

impl fmt::Debug for DoubleBarrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = format_args!("\"{}\"", self.name.escape_ascii());
        let mut barrier = f.debug_struct("DoubleBarrier");
        barrier.field("store", &self.store).field("name", &name).field("count", &self.count);
        barrier.finish()
    }
}

/// Enters a double barrier, and waits until as many have as were wanted: made by
/// [`DoubleBarrier::enter`].
///
/// Dropped, or out of time, it is as if it had not entered. Who is refused is in it until he has
/// left again: whoever enters at the same moment may be refused because of him.
///
/// # Errors
///
/// [`is_conflict`](crate::Error::is_conflict) if as many have entered and not yet left;
/// [`is_invalid`](crate::Error::is_invalid) for a count of 0, and for another count than that of
/// those who are in; [`is_too_large`](crate::Error::is_too_large) for a count above `max_txn_ops`,
/// since that they are all there is one transaction; [`is_lost`](crate::Error::is_lost) if the
/// session is over; [`is_timeout`](crate::Error::is_timeout) with a [`timeout`](Self::timeout); and
/// those of
/// [`Txn`](crate::Txn).
///
/// ```no_run
/// # async fn example(store: quorate::Store, session: quorate::Session) -> quorate::Result<()> {
/// let entered = store.double_barrier("computation", 3).enter(&session).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct EnterBarrier {
    call: Task<Entered>,
}

impl_task!(EnterBarrier -> Entered, "store.double_barrier(\"computation\", 3).enter(&session)");

/// Is in a [`DoubleBarrier`], together with as many others as were wanted: made by
/// [`DoubleBarrier::enter`].
///
/// Dropped, it is in it no more, and waits for nobody.
///
/// ```no_run
/// # async fn example(entered: quorate::Entered) -> quorate::Result<()> {
/// // Everybody's work.
/// entered.leave().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "it leaves when it is dropped"]
pub struct Entered {
    held: Held,
    keys: Keys,
    /// Whoever is in it came before this.
    round: Revision,
}

impl Entered {
    /// Leaves, and waits until all have: see [`LeaveBarrier`].
    ///
    /// ```no_run
    /// # async fn example(entered: quorate::Entered) -> quorate::Result<()> {
    /// entered.leave().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn leave(self) -> LeaveBarrier {
        let Self { held, keys, round } = self;
        let gate = std::sync::Arc::clone(keys.line.store.gate());
        let leave = async move |_| {
            let was_in = Release::new(held).await?;
            keys.left_by_all(round).await?;
            Ok(was_in)
        };
        LeaveBarrier { call: Task::new(&gate, "all had left", leave) }
    }

    /// When its place was made.
    #[cfg(feature = "sim")]
    pub(crate) fn since(&self) -> Revision {
        self.held.place().since
    }

    /// Until when nobody else thinks that this one has left: see
    /// [`Session::deadline`](crate::Session::deadline). No later than now once it is lost.
    ///
    /// ```no_run
    /// # fn example(entered: quorate::Entered) {
    /// println!("for {:?} at least", entered.valid_until() - std::time::Instant::now());
    /// # }
    /// ```
    pub fn valid_until(&self) -> Instant {
        self.held.place().valid_until()
    }

    /// Is it in no more, as far as this process and this member know? For good then.
    ///
    /// ```no_run
    /// # fn example(entered: quorate::Entered) {
    /// while !entered.is_lost() {
    ///     // a short piece of work
    /// }
    /// # }
    /// ```
    pub fn is_lost(&self) -> bool {
        self.held.place().is_lost()
    }

    /// Waits until it is in no more: see [`Lost`](crate::Lost).
    ///
    /// ```no_run
    /// # async fn example(entered: quorate::Entered) {
    /// entered.lost().await;
    /// # }
    /// ```
    pub fn lost(&self) -> Lost {
        Lost::new(self.held.place())
    }
}

impl fmt::Debug for Entered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut entered = f.debug_struct("Entered");
        entered.field("held", &self.held).field("round", &self.round).finish_non_exhaustive()
    }
}

/// Leaves a double barrier, and waits until all have: made by [`Entered::leave`].
///
/// It says whether this one was in it until then: `false` if its session had ended, and so others
/// may have gone on without it. Dropped, or out of time, it has left, and waits for nobody.
///
/// # Errors
///
/// [`is_timeout`](crate::Error::is_timeout) with a [`timeout`](Self::timeout), and those of
/// [`Delete`](crate::Delete).
///
/// ```no_run
/// # async fn example(entered: quorate::Entered) -> quorate::Result<()> {
/// let was_in = entered.leave().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is waited for before it is awaited or waited for"]
pub struct LeaveBarrier {
    call: Task<bool>,
}

impl_task!(
    LeaveBarrier -> bool,
    "store.double_barrier(\"computation\", 1).enter(&session).wait()?.leave()"
);
