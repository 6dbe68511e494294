//! One transaction that takes what is first when it is applied.
//!
//! ```text
//!   the first is still there, and nobody's?   take it
//!     else the second is?                     take it
//!       else ..                               nothing is taken
//! ```
//!
//! Items are only ever added behind those that were seen, so the first of them that is still there
//! is the first of all, whoever took what meanwhile. With priorities it could be otherwise: there
//! it is a condition too that nothing more urgent has come since.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::QueueItem;
use super::head::{Head, Item};
use super::line::{Line, Wish};
use crate::core::lease::Leftover;
use crate::core::machine::{Command, txn};
use crate::error::{Error, Kind, Result};
use crate::ids::Revision;
use crate::keys::KeyRange;
use crate::planted::{Bug, planted};
use crate::service::lease::Holder;
use crate::service::place::until_answered;
use crate::service::{Branch, Compare, Op, OpResponse, Txn, TxnOp, TxnResponse};
use crate::sync::atomic::{AtomicBool, Ordering};

/// Levels of the transaction at most: transactions may be nested sixteen deep.
const MAX_LEVELS: usize = 12;

/// Attempts that are foiled by what is more urgent, before one takes what it has seen all the same.
const STRICT_ATTEMPTS: u32 = 8;

/// What becomes of the item.
#[derive(Clone)]
pub(super) enum What {
    /// It is deleted: nobody else will ever see it.
    Take,
    /// It is marked as somebody's for as long as his lease lives.
    Claim(Holder),
}

impl What {
    pub(super) fn takes(&self) -> bool {
        matches!(self, Self::Take)
    }
}

/// An item that was got.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) item: QueueItem,
    pub(super) key: Bytes,
    /// When it was got: of a claim, what says that it is this one.
    pub(super) at: Revision,
}

type Levels = Txn<Vec<Op>, Vec<Op>>;
type Answer = Result<TxnResponse<Vec<OpResponse>, Vec<OpResponse>>>;

/// One that may be under way.
pub(super) struct Attempt {
    line: Arc<Line>,
    under_way: Option<UnderWay>,
    /// Set while it is under way: its caller, if he goes, does not know what he leaves behind.
    doubt: Arc<AtomicBool>,
    /// Somebody else has begun it: what it failed of may be long ago.
    is_anothers: bool,
}

/// What is left of one whose caller has gone: it may get an item, which is somebody else's then.
pub(super) struct UnderWay {
    what: What,
    /// Who it would be, in the order in which they are asked for.
    items: Vec<Item>,
    /// What a claim says, so that it is known among others.
    mark: Bytes,
    txn: Levels,
    /// It was handed over.
    is_asked: bool,
    answer: Option<Answer>,
}

/// Levels that a transaction may have, for so large keys.
pub(super) fn most_levels(max_ops: usize, max_bytes: usize, key_bytes: usize) -> usize {
    let by_ops = max_ops.saturating_sub(1) / 3;
    // Five keys in each, and what is around them; half of the bytes are left for the rest.
    let by_bytes = max_bytes / 2 / key_bytes.saturating_mul(5).saturating_add(100);
    by_ops.min(by_bytes).clamp(1, MAX_LEVELS)
}

impl Attempt {
    /// To get one of these; `tried` times there were others.
    pub(super) fn new(line: Arc<Line>, wish: &Wish, mut head: Head, tried: u32) -> Self {
        if planted(Bug::TakeLast) {
            head.items.reverse();
        }
        let (what, mark) = (wish.what.clone(), line.mark());
        let strict = (tried < STRICT_ATTEMPTS).then_some(head.revision);
        let mut ops: Vec<Op> = Vec::new();
        for item in head.items.iter().rev() {
            let conditions = conditions(&line, item, strict);
            let level = conditions.into_iter().fold(Op::txn(), TxnOp::when);
            let level = level.then(line.ops(&what, item, &mark)).or_else(ops);
            ops = vec![level.into()];
        }
        let txn = line.store.txn().then(ops).or_else(Vec::new());
        let items = head.items;
        let under_way = UnderWay { what, items, mark, txn, is_asked: false, answer: None };
        let doubt = Arc::clone(&wish.doubt);
        Self { line, under_way: Some(under_way), doubt, is_anothers: false }
    }

    /// Goes on with one that was left.
    pub(super) fn of(line: Arc<Line>, under_way: UnderWay, wish: &Wish) -> Self {
        let doubt = Arc::clone(&wish.doubt);
        Self { line, under_way: Some(under_way), doubt, is_anothers: true }
    }
}

/// Under which an item is the one.
fn conditions(line: &Line, item: &Item, strict: Option<Revision>) -> Vec<Compare> {
    let key = item.key.clone();
    let mut all = vec![
        Compare::create_revision(key).equals(item.created),
        Compare::absent(line.layout.claim(&item.key)),
    ];
    let strict = strict.filter(|_| !planted(Bug::MissUrgent));
    if let (Some(range), Some(seen)) = (line.layout.more_urgent(item.priority), strict) {
        all.push(Compare::create_revision(range).less_than(seen.next()));
    }
    all
}

impl Line {
    fn ops(&self, what: &What, item: &Item, mark: &Bytes) -> Vec<Op> {
        let key = item.key.clone();
        match what {
            What::Take => vec![Op::delete(key).prev_values().into()],
            What::Claim(holder) => {
                let claim = Op::put(self.layout.claim(&key), mark.clone());
                vec![Op::get(key).into(), claim.lease(holder.kept.lease()).into()]
            }
        }
    }
}

impl UnderWay {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Answer> {
        self.is_asked = true;
        if let Some(answer) = self.answer.take() {
            return Poll::Ready(answer);
        }
        Pin::new(&mut self.txn).poll(context)
    }

    fn got(&self, answer: Answer) -> Result<Option<Got>> {
        let response = answer.map_err(|error| match self.what {
            // Nothing has been claimed under a lease that is gone.
            What::Claim(_) if error.is_lease_not_found() => {
                Error::new(Kind::Lost, "the session under which an item was to be claimed is over")
            }
            _ => error,
        })?;
        let at = response.header.revision;
        let mut items = self.items.iter();
        let mut responses = response.branch.into_result().unwrap_or_default();
        loop {
            let Some(OpResponse::Txn(level)) = responses.pop() else { return Ok(None) };
            let item = items.next();
            match *level {
                Branch::Else(next) => responses = next,
                Branch::Then(done) => return got(item, done, at).map(Some),
            }
        }
    }

    /// Gives back what is claimed for nobody, once it is known: before that the claim may come to
    /// be applied behind what gives it back.
    fn give_back(mut self, line: &Arc<Line>) {
        let Some(reply) = self.txn.take_reply() else { return };
        let of = Arc::clone(line);
        until_answered(line.gate(), reply, move |answer| {
            // If the node is gone, nobody renews the lease.
            let Ok(answer) = answer else { return };
            let answer = answer.and_then(|outcome| self.txn.answer(outcome));
            match self.got(answer) {
                Ok(Some(got)) => {
                    if let What::Claim(holder) = &self.what {
                        of.give_back(holder, &of.layout.claim(&got.key), got.at);
                    }
                }
                Err(error) if error.is_unknown() => self.unclaim(&of),
                Ok(None) | Err(_) => {}
            }
        });
    }

    /// Gives back what may have been claimed, or may be yet, where that is not known: the node does
    /// so when no claim of this attempt can come behind it (`core/replica/leftovers.rs`). What may
    /// have been taken is gone.
    ///
    /// It is one transaction as the attempt was, and smaller than that: so it may be proposed.
    fn unclaim(&self, line: &Line) {
        let What::Claim(holder) = &self.what else { return };
        let claims = self.items.iter().map(|item| line.layout.claim(&item.key));
        // None of them is without a name.
        let ranges = claims.filter_map(|claim| line.store.scope().key(claim).ok());
        let unclaim = |range: KeyRange| {
            // Nobody else's claim, and no other one of this holder's: marks are told apart on one
            // member as long as it is open, leases everywhere.
            let targets =
                [txn::Target::Value(self.mark.clone()), txn::Target::Lease(holder.kept.lease())];
            let compares = targets.map(|target| {
                let (range, operator) = (range.clone(), txn::Operator::Equal);
                txn::Compare { range, operator, target }
            });
            let success = vec![txn::Op::Delete(txn::Delete { range, prev: false })];
            txn::Op::Txn(txn::Txn { compares: compares.into(), success, failure: Vec::new() })
        };
        let success = ranges.map(|whole| unclaim(KeyRange::key(whole))).collect();
        let deletion = Command::Txn(txn::Txn { success, ..txn::Txn::default() });
        holder.kept.leave_behind(Leftover { deletion, made: false });
    }
}

/// Of what the operations on this item gave back.
fn got(item: Option<&Item>, done: Vec<OpResponse>, at: Revision) -> Result<Got> {
    let kv = match done.into_iter().next() {
        Some(OpResponse::Delete(deleted)) => deleted.prev_kvs.into_iter().next(),
        Some(OpResponse::Get(got)) => got.kv,
        _ => None,
    };
    let (Some(item), Some(kv)) = (item, kv) else {
        return Err(Error::corrupt("an item was taken that is not there").with_unknown_outcome());
    };
    let Item { priority, created, key } = item.clone();
    let item = QueueItem { revision: created, priority, value: kv.value_bytes() };
    Ok(Got { item, key, at })
}

impl Future for Attempt {
    type Output = Result<Option<Got>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { line, under_way, doubt, is_anothers } = &mut *self;
        let Some(it) = under_way else {
            let text = "the call has ended already: it was polled once too often";
            return Poll::Ready(Err(Error::invalid(text)));
        };
        doubt.store(true, Ordering::SeqCst);
        let answer = std::task::ready!(it.poll(context));
        doubt.store(false, Ordering::SeqCst);
        let got = it.got(answer);
        let is_unknown = got.as_ref().is_err_and(Error::is_unknown);
        if is_unknown {
            it.unclaim(line);
        }
        *under_way = None;
        line.ended();
        // Nothing was done, and this caller has asked for nothing yet.
        let is_stale = got.is_err() && !is_unknown && *is_anothers;
        Poll::Ready(if is_stale { Ok(None) } else { got })
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let Some(mut it) = self.under_way.take() else { return };
        if !it.is_asked {
            self.line.ended();
            return;
        }
        if matches!(it.what, What::Claim(_)) {
            self.line.ended();
            it.give_back(&self.line);
            return;
        }
        // Once more, so that it is driven: whoever takes it over may come late.
        if let Poll::Ready(answer) = it.poll(&mut Context::from_waker(Waker::noop())) {
            it.answer = Some(answer);
        }
        self.line.leave(it);
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").finish_non_exhaustive()
    }
}
