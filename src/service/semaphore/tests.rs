use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_executor::block_on;
use proptest::prelude::*;

use super::{AcquirePermit, NEAR, Permit};
use crate::Op;
use crate::keys::KeyRange;
use crate::service::fake::by_hand::{node, open, told};
use crate::store::Store;
use crate::time::Instant;

fn count(store: &Store) -> u64 {
    block_on(store.range(KeyRange::prefix("s/"))).unwrap().count
}

#[test]
fn a_permit_is_given_back_and_is_somebody_elses() {
    let (node, store) = node();
    let (semaphore, session) = (store.semaphore("s", 2), open(&store));
    let first = block_on(semaphore.acquire(&session)).unwrap();
    let second = block_on(semaphore.acquire(&session)).unwrap();
    assert!(second.token() > first.token());
    assert!(block_on(semaphore.try_acquire(&session)).unwrap().is_none());
    assert_eq!(count(&store), 2, "who tries in vain leaves nothing behind");
    let mut third = semaphore.acquire(&session);
    assert!(told(&node, &mut third).is_none());
    assert!(block_on(first.release()).unwrap());
    let third = told(&node, &mut third).unwrap().unwrap();
    block_on(third.txn().then(Op::put("k", "v"))).unwrap();
    drop(second);
    assert!(block_on(semaphore.try_acquire(&session)).unwrap().is_some());
    block_on(session.close()).unwrap();
    assert!(third.is_lost() && count(&store) == 0);
}

#[test]
fn who_names_another_number_is_refused() {
    let (node, store) = node();
    let session = open(&store);
    let held = block_on(store.semaphore("s", 2).acquire(&session)).unwrap();
    for permits in [0, 1, 3, 12] {
        let other = store.semaphore("s", permits);
        assert!(block_on(other.acquire(&session)).unwrap_err().is_invalid());
        assert!(block_on(other.try_acquire(&session)).unwrap_err().is_invalid());
    }
    assert_eq!(count(&store), 1, "who was refused is not in the line");
    // Nobody is bound by it when all have gone; and names that begin alike are not the same.
    drop(block_on(store.semaphore("s2", 9).acquire(&session)).unwrap());
    drop(held);
    let mut other = store.semaphore("s", 3).acquire(&session);
    drop(told(&node, &mut other).unwrap().unwrap());
}

/// A task that waits for a permit, and is polled only when it was woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

struct Waiting {
    call: AcquirePermit,
    bell: Arc<Bell>,
}

impl Waiting {
    fn poll(&mut self) -> Option<Permit> {
        self.bell.0.store(0, Ordering::SeqCst);
        let waker = Waker::from(Arc::clone(&self.bell));
        match Pin::new(&mut self.call).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(permit) => Some(permit.unwrap()),
            Poll::Pending => None,
        }
    }

    fn was_woken(&self) -> bool {
        self.bell.0.load(Ordering::SeqCst) > 0
    }
}

#[test]
fn who_leaves_wakes_those_for_whom_it_may_matter() {
    let (node, store) = node();
    let (semaphore, session) = (store.semaphore("s", 2), open(&store));
    let mut holders = Vec::from([(); 2].map(|()| block_on(semaphore.acquire(&session)).unwrap()));
    let mut waiting: Vec<Waiting> = (0..6)
        .map(|_| Waiting { call: semaphore.acquire(&session), bell: Arc::default() })
        .collect();
    waiting.iter_mut().for_each(|one| assert!(one.poll().is_none()));
    // The second of those who hold, then the first, and so on.
    for (at, woken) in [(1, 2), (0, 1), (1, 2), (0, 1)] {
        drop(holders.remove(at));
        node.advance(Instant::default());
        let were: Vec<bool> = waiting.iter().map(Waiting::was_woken).collect();
        assert_eq!(were.iter().filter(|woken| **woken).count(), woken, "{were:?}");
        assert!(were[..woken].iter().all(|woken| *woken), "{were:?}");
        holders.push(waiting[0].poll().expect("it is its turn"));
        waiting.remove(0);
        waiting.iter_mut().filter(|one| one.was_woken()).for_each(|one| {
            assert!(one.poll().is_none());
        });
    }
}

#[test]
fn who_waits_for_many_permits_waits_for_any() {
    let (node, store) = node();
    let (semaphore, session) = (store.semaphore("s", NEAR + 1), open(&store));
    let mut holders: Vec<Permit> =
        (0..=NEAR).map(|_| block_on(semaphore.acquire(&session)).unwrap()).collect();
    let mut waiting = [(); 2].map(|()| semaphore.acquire(&session));
    assert!(waiting.iter_mut().all(|one| told(&node, one).is_none()));
    for one in &mut waiting {
        drop(holders.remove(7));
        holders.push(told(&node, one).unwrap().unwrap());
    }
}

/// Whoever stands in the line.
enum One {
    Waits(AcquirePermit),
    Holds(#[expect(dead_code, reason = "it is held")] Permit),
}

proptest! {
    /// The rule, as a list has it: the first so many hold.
    #[test]
    fn who_holds_is_as_in_a_list(
        permits in 1..4_usize,
        steps in prop::collection::vec(prop_oneof![Just(None), (0..6_usize).prop_map(Some)], 0..40),
    ) {
        let (node, store) = node();
        let (semaphore, session) = (store.scoped("x/").semaphore("s", permits), open(&store));
        let mut line: Vec<One> = Vec::new();
        for step in steps {
            match step {
                Some(at) if at < line.len() => drop(line.remove(at)),
                _ => line.push(One::Waits(semaphore.acquire(&session))),
            }
            for one in line.iter_mut().rev() {
                if let One::Waits(call) = one
                    && let Some(permit) = told(&node, call)
                {
                    *one = One::Holds(permit.unwrap());
                }
            }
            for (at, one) in line.iter().enumerate() {
                prop_assert_eq!(matches!(one, One::Holds(_)), at < permits);
            }
        }
    }
}
