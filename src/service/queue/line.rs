//! The consumers of one handle, who stand in a line.
//!
//! Only the first of them looks at the queue and waits for it. When there are more items than are
//! being asked for already, he steps out and asks for one, and the next one is the first. So an
//! item wakes one of them, and is asked for by one; who asks in vain is first again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::attempt::{Attempt, Got, UnderWay, What, most_levels};
use super::head::Head;
use super::layout::{Layout, Name};
use crate::error::{Error, Result};
use crate::gate::Gate;
use crate::ids::{NodeId, Revision};
use crate::planted::{Bug, planted};
use crate::service::lease::Holder;
use crate::service::place::delete_in_background;
use crate::service::watch::WatchEnd;
use crate::service::{Compare, DeleteOp, Op, Txn};
use crate::store::Store;
use crate::sync::Mutex;
use crate::sync::atomic::AtomicBool;

/// Items that are asked for beside those that the others of this line ask for: so many consumers
/// elsewhere may be faster, the first time.
const SPARE: usize = 2;

pub(super) struct Line {
    pub(super) store: Store,
    pub(super) layout: Layout,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Numbers that were given.
    last: u64,
    /// Who waits to be the first, by number.
    waiting: BTreeMap<u64, Waits>,
    /// Attempts that are under way: no more than there are items.
    asking: usize,
    /// Attempts to take an item whose callers have gone. They may get something: it is for whoever
    /// wants the same next, and until then not among those that are under way.
    left: VecDeque<UnderWay>,
    /// Rises when what the first has seen of this may be otherwise.
    changes: u64,
}

/// Somebody who waits.
struct Waits {
    /// Whether he takes an item, and so may have one that another has left.
    takes: bool,
    /// Once he has waited.
    waker: Option<Waker>,
}

/// What a caller wants, and what he is not told of.
pub(super) struct Wish {
    pub(super) what: What,
    /// See [`Task::in_doubt_while`](crate::service::place::Task::in_doubt_while).
    pub(super) doubt: Arc<AtomicBool>,
}

/// Somebody's place.
struct Turn<'a> {
    line: &'a Line,
    number: u64,
    takes: bool,
}

impl Line {
    pub(super) fn new(store: &Store, layout: Layout) -> Arc<Self> {
        Arc::new(Self { store: store.clone(), layout, state: Mutex::default() })
    }

    pub(super) fn gate(&self) -> &Arc<dyn Gate> {
        self.store.gate()
    }

    /// What tells a claim apart from others under its lease: nobody else was given it since this
    /// member was opened.
    pub(super) fn mark(&self) -> Bytes {
        format!("{:x}-{:x}", self.member().get(), self.gate().number(0)).into()
    }

    /// Deletes the claim that was made then, however long that takes. Nobody waits for it.
    pub(super) fn give_back(&self, holder: &Holder, claim: &Bytes, token: Revision) {
        // It was put under this name.
        if let Ok(whole) = self.store.scope().key(claim.clone()) {
            delete_in_background(holder, &whole, token);
        }
    }

    /// The same, for whoever waits for it.
    pub(super) fn free(&self, claim: &Bytes, token: Revision) -> Txn<DeleteOp> {
        let mine = Compare::create_revision(claim.clone()).equals(token);
        self.store.txn().when(mine).then(Op::delete(claim.clone()))
    }

    /// A key for an item that is to be enqueued.
    pub(super) fn next_key(&self, priority: u16) -> Result<Bytes> {
        let name = Name { priority, behind: self.gate().reader()?.revision() };
        Ok(self.layout.item(name, self.member(), self.gate().number(0)))
    }

    /// Is a key there that was created then, as far as this member knows?
    pub(super) fn is_there(&self, key: &Bytes, created: Revision) -> bool {
        let seen = || -> Result<_> {
            let key = self.store.scope().key(key.clone())?;
            Ok(self.gate().reader()?.get(&key, None)?.1)
        };
        seen().is_ok_and(|kv| kv.is_some_and(|kv| kv.create_revision() == created))
    }

    fn member(&self) -> NodeId {
        self.gate().standing().member
    }

    /// Gets an item, once there is one.
    pub(super) async fn next(self: Arc<Self>, wish: Wish) -> Result<Got> {
        let turn = Turn::enter(&self, wish.what.takes());
        let mut tried = 0;
        'turn: loop {
            turn.comes().await;
            let attempt = loop {
                let seen = self.state.lock().changes;
                if let Some(left) = self.take_left(&wish) {
                    break left;
                }
                if !turn.is_first() {
                    // It had come for what was left, and another one was faster.
                    continue 'turn;
                }
                let head = self.look(tried)?;
                let revision = head.revision;
                match self.begin(&wish, head, tried)? {
                    Some(attempt) => break attempt,
                    None => self.news(revision, seen, &turn).await?,
                }
            };
            turn.step_out();
            if let Some(got) = attempt.await? {
                return Ok(got);
            }
            tried = tried.saturating_add(1);
            turn.step_in();
        }
    }

    /// Gets an item, if there is one.
    pub(super) async fn next_now(self: Arc<Self>, wish: Wish) -> Result<Option<Got>> {
        if let Some(left) = self.take_left(&wish)
            && let Some(got) = left.await?
        {
            return Ok(Some(got));
        }
        let mut tried = 0;
        let mut is_recent = false;
        loop {
            let head = self.look(tried)?;
            if head.items.is_empty() {
                if is_recent {
                    return Ok(None);
                }
                // This member may not have heard of it yet.
                self.recent().await?;
                is_recent = true;
                continue;
            }
            wish.check()?;
            self.begun();
            let attempt = Attempt::new(Arc::clone(&self), &wish, head, tried);
            if let Some(got) = attempt.await? {
                return Ok(Some(got));
            }
            tried = tried.saturating_add(1);
        }
    }

    /// Waits until this member has what had been acknowledged before.
    async fn recent(&self) -> Result<()> {
        self.store.range(self.layout.all()).count_only().await.map(drop)
    }

    /// The first items, as many as an attempt may concern.
    fn look(&self, tried: u32) -> Result<Head> {
        let limits = self.gate().limits();
        let key = self.layout.item(Name::LONGEST, NodeId::new(u64::MAX), u64::MAX);
        let bytes = key.len().saturating_add(self.store.scope().hidden());
        let most = most_levels(limits.max_txn_ops, limits.max_request_bytes, bytes);
        // Who was foiled meets more of others than was thought.
        let spare = SPARE.saturating_mul(usize::try_from(tried).unwrap_or(most).saturating_add(1));
        let wanted = self.state.lock().asking.saturating_add(spare).min(most);
        Head::read(self.gate().reader()?, self.store.scope(), &self.layout, wanted.max(1))
    }

    /// An attempt, if there is an item that no other one of this line is about to get.
    fn begin(self: &Arc<Self>, wish: &Wish, head: Head, tried: u32) -> Result<Option<Attempt>> {
        let mut state = self.state.lock();
        if head.items.len() <= state.asking {
            return Ok(None);
        }
        wish.check()?;
        state.asking = state.asking.saturating_add(1);
        drop(state);
        Ok(Some(Attempt::new(Arc::clone(self), wish, head, tried)))
    }

    fn begun(&self) {
        let mut state = self.state.lock();
        state.asking = state.asking.saturating_add(1);
    }

    /// An attempt to take an item that somebody has left, for whoever wants one.
    fn take_left(self: &Arc<Self>, wish: &Wish) -> Option<Attempt> {
        if !wish.what.takes() {
            return None;
        }
        let mut state = self.state.lock();
        let left = state.left.pop_front()?;
        state.asking = state.asking.saturating_add(1);
        drop(state);
        Some(Attempt::of(Arc::clone(self), left, wish))
    }

    /// Waits until the queue is otherwise than at a revision, or what is under way is otherwise
    /// than it was seen.
    async fn news(&self, revision: Revision, seen: u64, turn: &Turn<'_>) -> Result<()> {
        let from = if planted(Bug::WaitPastItem) { revision.next() } else { revision }.next();
        let watch = self.store.watch(self.layout.all()).from_revision(from);
        let mut watcher = watch.start()?;
        let mut next = watcher.next();
        let ended = std::future::poll_fn(|context| {
            if self.poll_change(seen, turn, context).is_ready() {
                return Poll::Ready(None);
            }
            std::pin::Pin::new(&mut next).poll(context).map(Some)
        });
        match ended.await {
            // What is compacted has happened: that is news too.
            None | Some(Some(Ok(_) | Err(WatchEnd::Compacted(_)))) => Ok(()),
            Some(Some(Err(end))) => Err(Error::from(end)),
            Some(None) => Err(self.gate().ending()),
        }
    }

    fn poll_change(&self, seen: u64, turn: &Turn<'_>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if state.changes != seen {
            return Poll::Ready(());
        }
        state.waiting.insert(turn.number, turn.waits(Some(context)));
        Poll::Pending
    }

    /// An attempt is over.
    pub(super) fn ended(&self) {
        self.change(|state| state.asking = state.asking.saturating_sub(1));
    }

    /// An attempt to take an item is whoever's wants one.
    pub(super) fn leave(&self, left: UnderWay) {
        self.change(|state| {
            state.asking = state.asking.saturating_sub(1);
            state.left.push_back(left);
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        change(&mut state);
        state.changes = state.changes.wrapping_add(1);
        let (first, taker) = (state.first_waker(), state.taker_waker());
        drop(state);
        first.into_iter().chain(taker).for_each(Waker::wake);
    }
}

impl Wish {
    /// May it be asked for?
    fn check(&self) -> Result<()> {
        match &self.what {
            What::Take => Ok(()),
            What::Claim(holder) => holder.check_litter(),
        }
    }
}

impl State {
    fn first_waker(&mut self) -> Option<Waker> {
        self.waiting.first_entry()?.get_mut().waker.take()
    }

    /// Of whoever is to have what somebody has left.
    fn taker_waker(&mut self) -> Option<Waker> {
        let number = self.taker()?;
        self.waiting.get_mut(&number)?.waker.take()
    }

    /// The first of those who take, if somebody has left something.
    fn taker(&self) -> Option<u64> {
        let mut waiting = self.waiting.iter().filter(|_| !self.left.is_empty());
        waiting.find(|(_, waits)| waits.takes).map(|(number, _)| *number)
    }
}

impl<'a> Turn<'a> {
    fn enter(line: &'a Line, takes: bool) -> Self {
        let mut state = line.state.lock();
        state.last = state.last.wrapping_add(1);
        let number = state.last;
        drop(state);
        let turn = Self { line, number, takes };
        turn.step_in();
        turn
    }

    /// Stands where its number says: who was there before is before those who came since.
    fn step_in(&self) {
        self.line.state.lock().waiting.insert(self.number, self.waits(None));
    }

    fn waits(&self, context: Option<&Context<'_>>) -> Waits {
        Waits { takes: self.takes, waker: context.map(|context| context.waker().clone()) }
    }

    fn is_first(&self) -> bool {
        self.line.state.lock().waiting.keys().next() == Some(&self.number)
    }

    /// Lets the next one be the first.
    fn step_out(&self) {
        self.line.change(|state| drop(state.waiting.remove(&self.number)));
    }

    /// Waits until it is the first, or to have what somebody has left: who is before it may want
    /// something else.
    async fn comes(&self) {
        std::future::poll_fn(|context| {
            let mut state = self.line.state.lock();
            state.waiting.insert(self.number, self.waits(Some(context)));
            let is_first = state.waiting.keys().next() == Some(&self.number);
            if is_first || state.taker() == Some(self.number) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.step_out();
    }
}
