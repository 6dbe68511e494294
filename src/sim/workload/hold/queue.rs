//! Queues: who puts items into them, and what a holder does with what it is given.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::ask::WAITS_AT_MOST;
use super::{Held, Holder, Place, Shared};
use crate::error::{Error, Result};
use crate::ids::Revision;
use crate::service::{ClaimedItem, Op, PriorityQueue, Queue, QueueItem, Session};
use crate::sim::check::queue::{Item, Told, done_key};
use crate::sim::held::{Boot, Relied};
use crate::sim::marks::Mark;
use crate::sim::workload::bell::within;

/// Queues of each kind.
const NAMES: u64 = 2;

/// Priorities that are asked for: few, so that items are as urgent as others.
const PRIORITIES: u64 = 4;

/// A handle, which others of its process may have too.
#[derive(Clone)]
pub(super) struct Handle {
    boot: Boot,
    queue: Bytes,
    /// What was the newest when it was made: nobody who has it has seen anything older.
    since: Revision,
    what: What,
}

#[derive(Clone)]
enum What {
    Plain(Queue),
    Ranked(PriorityQueue),
}

type Call<T> = Pin<Box<dyn Future<Output = Result<T>> + Send>>;

impl What {
    fn dequeue(&self, waits: bool, timeout: Duration) -> Call<Option<QueueItem>> {
        match (self, waits) {
            (Self::Plain(queue), true) => some(queue.dequeue()),
            (Self::Ranked(queue), true) => some(queue.dequeue()),
            (Self::Plain(queue), false) => Box::pin(queue.try_dequeue().timeout(timeout)),
            (Self::Ranked(queue), false) => Box::pin(queue.try_dequeue().timeout(timeout)),
        }
    }

    fn claim(
        &self,
        session: &Session,
        waits: bool,
        timeout: Duration,
    ) -> Call<Option<ClaimedItem>> {
        match (self, waits) {
            (Self::Plain(queue), true) => some(queue.claim(session)),
            (Self::Ranked(queue), true) => some(queue.claim(session)),
            (Self::Plain(queue), false) => Box::pin(queue.try_claim(session).timeout(timeout)),
            (Self::Ranked(queue), false) => Box::pin(queue.try_claim(session).timeout(timeout)),
        }
    }
}

fn some<T>(call: impl Future<Output = Result<T>> + Send + 'static) -> Call<Option<T>> {
    Box::pin(async move { call.await.map(Some) })
}

/// Somebody waits for an item, or for a barrier, as long as this is there.
pub(super) struct Hungry(Arc<Shared>, Bytes);

impl Hungry {
    pub(super) fn new(shared: &Arc<Shared>, queue: &Bytes) -> Self {
        shared.hungry.lock().push(queue.clone());
        Self(Arc::clone(shared), queue.clone())
    }
}

impl Drop for Hungry {
    fn drop(&mut self) {
        let mut hungry = self.0.hungry.lock();
        let place = hungry.iter().position(|queue| *queue == self.1);
        place.into_iter().for_each(|place| drop(hungry.swap_remove(place)));
    }
}

impl Holder {
    // ---- items come in

    /// Enqueues now and then; and when others begin nothing any more, as long as anybody waits, for
    /// an item or a barrier.
    pub(super) async fn feed(mut self) {
        let clock = self.cluster.clock();
        while clock.now() < self.holders.until + WAITS_AT_MOST && !self.cluster.has_failed() {
            let queue = if clock.now() < self.holders.until {
                self.pause(Duration::from_secs(1)).await;
                Some(self.queue())
            } else if self.shared.busy.load(Ordering::Relaxed) == 0 {
                return;
            } else {
                self.pause(Duration::from_millis(200)).await;
                let hungry = self.shared.hungry.lock().clone();
                self.dice.pick(&hungry).cloned()
            };
            let (Some(queue), Some(place)) = (queue, self.place()) else { continue };
            if self.let_pass(&place, &queue).await {
                continue;
            }
            self.enqueue(&place, &queue, None).await;
        }
    }

    async fn enqueue(&mut self, place: &Place, queue: &Bytes, session: Option<&Session>) {
        let value = Bytes::from(self.value());
        let timeout = self.holders.timeout;
        self.notes.queues.lock().enqueues(queue, value.clone(), session.is_some());
        let call = match what(place, queue) {
            What::Plain(queue) => queue.enqueue(value.clone()),
            What::Ranked(queue) => {
                let priority = u16::try_from(self.dice.below(PRIORITIES)).unwrap_or_default();
                queue.enqueue(priority, value.clone())
            }
        };
        let call = match session {
            Some(session) => call.session(session),
            None => call,
        };
        let told = told(call.timeout(timeout).await.map(|done| done.revision));
        self.notes.queues.lock().enqueued(&value, told);
    }

    // ---- items go out

    fn queue(&mut self) -> Bytes {
        self.dice.pick(&queue_names()).cloned().unwrap_or_default()
    }

    /// A handle of this process: mostly one that others have too.
    fn handle(&mut self, place: &Place) -> Handle {
        let queue = self.queue();
        let mut handles = self.shared.handles.lock();
        handles.retain(|handle| self.cluster.is_running(handle.boot));
        let same = |it: &&Handle| it.boot == place.boot && it.queue == queue;
        if let Some(handle) = handles.iter().find(same).filter(|_| self.dice.chance(700_000)) {
            return handle.clone();
        }
        let (since, what) = (self.notes.newest(), what(place, &queue));
        let handle = Handle { boot: place.boot, queue, since, what };
        handles.push(handle.clone());
        handle
    }

    /// Takes an item or claims one; or puts one in that goes with its session.
    pub(super) async fn consume(&mut self, held: &mut Held) {
        held.stood = true;
        let place = held.place.clone();
        let handle = self.handle(&place);
        match self.dice.below(10) {
            0 => self.enqueue(&place, &handle.queue, Some(&held.session)).await,
            1..5 => self.dequeue(handle).await,
            _ => self.claim(held, handle).await,
        }
    }

    async fn dequeue(&mut self, handle: Handle) {
        let Handle { queue, since, what, .. } = handle;
        let waits = self.dice.chance(700_000);
        let call = what.dequeue(waits, self.holders.timeout);
        match self.wait_for_item(&queue, call).await {
            Some(Ok(Some(item))) => self.notes.taken(&self.cluster, &item_of(&queue, item), since),
            Some(Ok(None)) => {}
            Some(Err(error)) if !error.is_unknown() => {}
            // It may be somebody else's then, or nobody's.
            Some(Err(_)) | None => {
                self.cluster.mark(Mark::DequeueUnknown);
                self.notes.queues.lock().doubt(&queue);
            }
        }
    }

    /// Whoever waits is given something in the end, as long as somebody puts it in.
    async fn wait_for_item<T>(&mut self, queue: &Bytes, call: Call<T>) -> Option<Result<T>> {
        let leaves = self.dice.chance(250_000);
        let limit = self.dice.span(Duration::ZERO, self.holders.kept);
        let limit = if leaves { limit } else { WAITS_AT_MOST };
        let hungry = Hungry::new(&self.shared, queue);
        let given = within(&self.cluster.clock(), limit, call).await;
        drop(hungry);
        if given.is_none() && !leaves {
            let queue = queue.escape_ascii();
            self.cluster.fail(format!("REC-40: nobody who waits for {queue} is given anything"));
        }
        given
    }

    async fn claim(&mut self, held: &mut Held, handle: Handle) {
        let Handle { queue, since, what, .. } = handle;
        let waits = self.dice.chance(700_000);
        let call = what.claim(&held.session, waits, self.holders.timeout);
        let claimed = match self.wait_for_item(&queue, call).await {
            Some(Ok(Some(claimed))) => Arc::new(claimed),
            Some(Err(error)) => return self.refused(held, &error),
            Some(Ok(None)) | None => return,
        };
        let (item, token) = (item_of(&queue, claimed.item().clone()), claimed.token());
        self.note(|| format!("has claimed {item:?} with token {token}"));
        let whose = (held.place.boot, held.session.lease());
        let relied: Arc<dyn Relied> = Arc::<ClaimedItem>::clone(&claimed);
        self.notes.claimed(&self.cluster, (&item, since), whose, &relied);
        drop(relied);
        self.deal_with(held, item, claimed).await;
    }

    async fn deal_with(&mut self, held: &mut Held, item: Item, claimed: Arc<ClaimedItem>) {
        let (ttl, mut was_lost) = (held.session.ttl(), false);
        for _ in 0..=self.dice.below(3) {
            let (over, lost) = (self.looks(held), claimed.is_lost());
            if (over || was_lost) && !lost {
                self.cluster.fail(format!("REC-40: {claimed:?} is held again"));
            }
            was_lost = lost;
            self.notes.rivals(&self.cluster);
            match self.dice.below(4) {
                0 => self.stop(held, ttl).await,
                1 => self.pause(ttl / 2).await,
                _ => {}
            }
        }
        if self.dice.chance(150_000) {
            held.leaks = true;
            return self.leaked.push(claimed);
        }
        let Ok(claimed) = Arc::try_unwrap(claimed) else {
            return self.cluster.fail("a claim is kept by somebody else");
        };
        let timeout = self.holders.timeout;
        match self.dice.below(6) {
            0 => drop(claimed),
            1 => drop(claimed.release().timeout(timeout).await),
            _ => {
                let token = claimed.token();
                let done = Bytes::from(format!("{token} {}", self.value()));
                let put = Op::put(within_scope(done_key(&item.queue), &item.queue), done.clone());
                self.notes.queues.lock().acks(item, token, done.clone());
                let acked = claimed.ack().then(put).timeout(timeout).await;
                if acked.as_ref().is_err_and(Error::is_lost) {
                    self.cluster.mark(Mark::AckTooLate);
                }
                self.notes.queues.lock().acked(&done, told(acked.map(|_| ())));
            }
        }
    }
}

/// All queues that there are.
pub(in crate::sim) fn queue_names() -> Vec<Bytes> {
    let of = |kind| (0..NAMES).map(move |number| Bytes::from(format!("k/{kind}/{number}")));
    of("jobs").chain(of("urgent")).collect()
}

/// Has this queue priorities?
pub(in crate::sim) fn is_ranked(queue: &Bytes) -> bool {
    queue.starts_with(b"k/urgent/")
}

fn what(place: &Place, queue: &Bytes) -> What {
    if !is_ranked(queue) {
        return What::Plain(place.store.queue(queue.clone()));
    }
    let name = within_scope(queue.clone(), queue);
    What::Ranked(place.store.scoped("k/").priority_queue(name))
}

/// A key as the handle of a queue has it: of the one kind they have a scope.
fn within_scope(key: Bytes, queue: &Bytes) -> Bytes {
    if is_ranked(queue) { key.slice(2..) } else { key }
}

fn item_of(queue: &Bytes, item: QueueItem) -> Item {
    let QueueItem { revision, priority, value, .. } = item;
    Item { queue: queue.clone(), revision, priority, value }
}

/// What a call that failed says of what became of it.
fn told<T>(done: Result<T, Error>) -> Told<T> {
    match done {
        Ok(done) => Told::Done(done),
        Err(error) if error.is_unknown() => Told::Unknown,
        Err(_) => Told::Not,
    }
}
