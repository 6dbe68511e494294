//! Entering a line.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;

use super::leave::{Which, delete, delete_in_background, leave_behind};
use super::{End, Held, Leave, MORE, Manner, Place, Sight, is_place, loss, until_answered};
use crate::core::machine::txn::{Compare, Op, Operator, Put, Target, Txn};
use crate::core::machine::{Command, Outcome, Refusal};
use crate::core::mvcc::{KeyValue, Order, SortBy};
use crate::error::{Error, Kind, Result};
use crate::gate::Gate;
use crate::ids::{LeaseId, Revision};
use crate::keys::KeyRange;
use crate::service::kv::{encode, failed};
use crate::service::lease::{Holder, Session};
use crate::service::pending::{Ask, Call, Counter, Started};
use crate::service::read::RangeRead;
use crate::store::Store;

/// How many names are tried. One is taken only if an earlier life of this member has used the same
/// lease and more numbers than there are revisions here.
const NAMES: usize = 8;

/// Where places are: a directory in a store.
#[derive(Clone)]
pub(in crate::service) struct Line {
    pub(in crate::service) store: Store,
    /// With its slash at the end.
    pub(in crate::service) directory: Bytes,
}

/// How a line is entered.
#[derive(Clone, Default)]
pub(in crate::service) struct Entry {
    pub(in crate::service) value: Bytes,
    /// What the key's name ends with.
    pub(in crate::service) ending: String,
    /// Only if no key is in any of these: judged by the entry itself.
    pub(in crate::service) unless: Vec<KeyRange>,
    /// In exchange for this place: by one entry, and only if that is there.
    pub(in crate::service) instead_of: Option<Arc<Place>>,
}

impl Entry {
    /// Behind one of this kind whose fate is unknown another one can be made: it waits until the
    /// key of the first is deleted, if there is one.
    fn may_follow_itself(&self) -> bool {
        self.unless.is_empty() && self.instead_of.is_none()
    }
}

impl Line {
    /// Who enters with `session`. Refused if that is another node's, or over.
    pub(in crate::service) fn holder(&self, session: &Session) -> Result<Holder> {
        let holder = session.holder();
        if !Arc::ptr_eq(holder.gate.watches(), self.store.gate().watches()) {
            return Err(Error::invalid("the session is of another node than the store"));
        }
        Ok(holder)
    }

    /// Takes a place behind all others. Nothing if it is not free, where that is asked for. When it
    /// has answered, this member sees the place.
    ///
    /// Each write has the deadline that all have, and is followed by another one where it matters
    /// only that one is made: so it is given up with the session. Dropped on its way, or failed,
    /// nothing is left behind.
    pub(in crate::service) async fn enter(
        &self,
        holder: &Holder,
        entry: &Entry,
        manner: Manner,
    ) -> Result<Option<Held>> {
        let mut taken = 0;
        while taken < NAMES {
            if holder.is_over() {
                return Err(over(holder));
            }
            holder.check_litter()?;
            let seen = holder.gate.reader()?.revision();
            let lease = holder.kept.lease();
            let number = holder.gate.number(seen.get());
            let member = holder.gate.standing().member;
            let name = format!("{:x}-{:x}-{number:x}{}", lease.get(), member.get(), entry.ending);
            let key = Bytes::from([&self.directory[..], name.as_bytes()].concat());
            let whole = self.store.scope().key(key.clone())?;
            let put = Put { lease, ..Put::new(whole.clone(), entry.value.clone()) };
            let txn = self.txn(put, entry)?;
            let call = Call::new(self.store.gate(), EnterAsk { txn, whole, lease, seen });
            let mut entering = Entering { call, holder };
            match entering.ended(manner).await {
                Ok(Some(since)) => {
                    entry.instead_of.iter().for_each(|place| place.set_replaced());
                    let place = Place::new(&self.store, holder.clone(), key, since)?;
                    return Ok(Some(Held::new(place)));
                }
                Ok(None) if !entry.unless.is_empty() => return Ok(None),
                Ok(None) => taken += 1,
                Err(error) if error.is_timeout() && entry.may_follow_itself() => {}
                Err(error) => return Err(error),
            }
            if let Some(place) = entry.instead_of.as_ref().filter(|place| place.is_lost()) {
                return Err(place.loss());
            }
        }
        Err(Error::invalid(format!("{NAMES} names for a place in a line are taken")))
    }

    /// As [`enter`](Self::enter), for an entry that asks for nothing to be free.
    pub(in crate::service) async fn enter_last(
        &self,
        holder: &Holder,
        entry: &Entry,
        manner: Manner,
    ) -> Result<Held> {
        let held = self.enter(holder, entry, manner).await?;
        held.ok_or_else(|| Error::corrupt("a line was not entered that everybody may enter"))
    }

    /// Takes a place if nobody stands in these lines, which it is to be first in (`REC-11`).
    ///
    /// They are looked at before, so nobody waits behind who tries in vain; but for a moment, if
    /// somebody came in between: then the place is left again.
    pub(in crate::service) async fn try_enter(
        &self,
        holder: &Holder,
        before: &[&Self],
        manner: Manner,
    ) -> Result<Option<Held>> {
        if holder.is_over() {
            return Err(over(holder));
        }
        for line in before {
            if line.first(manner).await?.is_some() {
                return Ok(None);
            }
        }
        let held = self.enter_last(holder, &Entry::default(), manner).await?;
        let is_late = |sight: &Sight<'_>| {
            let older = |line: &&Self| sight.newest_older(line.range()).transpose();
            before.iter().find_map(older).transpose().map(|older| older.is_some())
        };
        let (_, is_late) = held.place().look(is_late)?;
        if !is_late {
            return Ok(Some(held));
        }
        let mut leave = Leave::new(held);
        // If it is not done in time, it goes on in the background.
        drop(poll_fn(|context| leave.poll(context)).await);
        Ok(None)
    }

    /// Who stands first, as of now: the oldest place, as recent as any read. Without its value.
    pub(in crate::service) async fn first(&self, manner: Manner) -> Result<Option<KeyValue>> {
        Ok(self.find(|| self.oldest().keys_only(), manner).await?.1)
    }

    pub(in crate::service) async fn first_with_value(
        &self,
        manner: Manner,
    ) -> Result<Option<KeyValue>> {
        Ok(self.find(|| self.oldest(), manner).await?.1)
    }

    fn oldest(&self) -> RangeRead {
        self.store.range(self.range()).sort_by(SortBy::CreateRevision)
    }

    /// Who stands last of those that were made up to a revision, as far as this member knows; and
    /// as of when.
    pub(in crate::service) async fn newest(
        &self,
        upto: Option<Revision>,
    ) -> Result<(Revision, Option<KeyValue>)> {
        let newest = || {
            let all = self.store.range(self.range()).serializable().keys_only();
            let all = all.sort_by(SortBy::CreateRevision).order(Order::Descending);
            upto.into_iter().fold(all, RangeRead::max_create_revision)
        };
        self.find(newest, Manner::Awaited).await
    }

    /// The first that is a place of those that a read names.
    async fn find(
        &self,
        read: impl Fn() -> RangeRead,
        manner: Manner,
    ) -> Result<(Revision, Option<KeyValue>)> {
        let mut limit = 1;
        loop {
            let read = read().limit(limit);
            let page = if manner == Manner::Blocking { read.wait()? } else { read.await? };
            let found = page.kvs.into_iter().find(|kv| is_place(&self.directory, kv));
            if found.is_some() || !page.more {
                return Ok((page.header.revision, found));
            }
            limit = limit.saturating_mul(MORE);
        }
    }

    pub(in crate::service) fn range(&self) -> KeyRange {
        KeyRange::prefix(self.directory.clone())
    }

    fn txn(&self, put: Put, entry: &Entry) -> Result<Txn> {
        let scope = self.store.scope();
        let mut compares = vec![is_absent(KeyRange::key(put.key.clone()))];
        for range in &entry.unless {
            compares.push(is_absent(scope.range(range.clone())?));
        }
        let mut success = vec![Op::Put(put)];
        if let Some(place) = &entry.instead_of {
            let (condition, deletion) = delete(&place.whole, Which::MadeAt(place.since));
            compares.push(condition);
            success.push(Op::Delete(deletion));
        }
        Ok(Txn { compares, success, failure: Vec::new() })
    }
}

fn is_absent(range: KeyRange) -> Compare {
    Compare { range, operator: Operator::Equal, target: Target::Version(0) }
}

fn over(holder: &Holder) -> Error {
    let lease = holder.kept.lease();
    loss(holder, format!("the session of lease {lease} is over: it holds nothing any more"))
}

/// The write, and who is to know what became of it.
struct Entering<'a> {
    call: Call<EnterAsk>,
    holder: &'a Holder,
}

#[derive(Debug)]
struct EnterAsk {
    txn: Txn,
    whole: Bytes,
    lease: LeaseId,
    /// The revision of this member before: whatever key of this name was made up to here was made
    /// by somebody else.
    seen: Revision,
}

impl Entering<'_> {
    /// When the key was made, or nothing if a condition did not hold.
    async fn ended(&mut self, manner: Manner) -> Result<Option<Revision>> {
        let holder = self.holder;
        let mut end = End::new(holder);
        let answer = {
            let call = &mut self.call;
            let mut begun = manner.begin(call);
            poll_fn(|context| {
                let over = end.poll(context);
                if let Some(answer) = begun.take() {
                    return std::task::Poll::Ready(Some(answer));
                }
                match call.poll(context) {
                    std::task::Poll::Pending if over => std::task::Poll::Ready(None),
                    answer => answer.map(Some),
                }
            })
            .await
        };
        let Some(answer) = answer else { return Err(over(holder)) };
        if answer.as_ref().is_err_and(Error::is_unknown) {
            self.call.ask().undo(holder);
        }
        answer
    }
}

impl Drop for Entering<'_> {
    fn drop(&mut self) {
        let Some(reply) = self.call.take_reply() else { return };
        let EnterAsk { txn, whole, lease, seen } = self.call.ask();
        let ask = EnterAsk { txn: txn.clone(), whole: whole.clone(), lease: *lease, seen: *seen };
        let holder = self.holder.clone();
        until_answered(&self.holder.gate, reply, move |answer| {
            match answer.map(|answer| answer.and_then(|outcome| ask.entered(outcome))) {
                Ok(Ok(Some(since))) => delete_in_background(&holder, &ask.whole, since),
                Ok(Err(error)) if error.is_unknown() => ask.undo(&holder),
                // It was not made; or the node is gone, and nobody renews the lease.
                Ok(Ok(None) | Err(_)) | Err(_) => {}
            }
        });
    }
}

impl EnterAsk {
    fn entered(&self, outcome: Outcome) -> Result<Option<Revision>> {
        match outcome {
            Outcome::Txn(done) => Ok(done.succeeded.then_some(done.revision)),
            Outcome::Refused(Refusal::LeaseNotFound(lease)) if lease == self.lease => {
                let text = format!("the session is over: its lease {lease} is gone");
                Err(Error::new(Kind::Lost, text))
            }
            other => Err(failed("place in a line", other)),
        }
    }

    /// Deletes what may have been made for nobody, or may be made yet: the node does so when that
    /// cannot come behind it any more (`core/replica/leftovers.rs`).
    fn undo(&self, holder: &Holder) {
        leave_behind(holder, &self.whole, Which::MadeAfter(self.seen));
    }
}

impl Ask for EnterAsk {
    type Answer = Outcome;
    type Response = Option<Revision>;

    const WRITES: bool = true;

    fn start(&mut self, counter: &Counter<'_>) -> Result<Started<Self>> {
        counter.write(encode(counter.gate, &Command::Txn(self.txn.clone()))?)
    }

    fn finish(&mut self, _gate: &dyn Gate, outcome: Outcome) -> Result<Option<Revision>> {
        self.entered(outcome)
    }
}
