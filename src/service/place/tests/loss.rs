//! Who waits for a loss, or for his turn, and hears of it.

use std::mem::ManuallyDrop;
use std::task::Wake;

use crate::core::machine::Command;
use crate::error::Kind;
use crate::service::fake::by_hand::{node, now, open, told};
use crate::service::fake::{Answer, Manner};

use super::*;

#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A task that waits is told by another one that gives the thing back, though that takes for ever.
#[test]
fn rec_21_who_waits_for_the_loss_hears_of_a_resignation_when_it_is_asked_for() {
    let (node, store) = node();
    let session = open(&store);
    let leads = store.election("e").campaign(&session, "me").wait().unwrap();
    let bells: [Arc<Bell>; 3] = Default::default();
    let mut outranked = leads.outranked();
    let waker = Waker::from(Arc::clone(&bells[2]));
    assert!(Pin::new(&mut outranked).poll(&mut Context::from_waker(&waker)).is_pending());
    let mut waits = [(); 2].map(|()| leads.lost());
    for (bell, lost) in bells.iter().zip(&mut waits) {
        let waker = Waker::from(Arc::clone(bell));
        assert!(Pin::new(lost).poll(&mut Context::from_waker(&waker)).is_pending());
    }
    let [mut lost, given_up] = waits;
    drop(given_up);
    node.set_manner(Manner::Keep);
    let mut resign = leads.resign();
    assert!(now(&mut resign).is_none());
    assert_eq!(bells.map(|bell| bell.0.load(Ordering::SeqCst)), [1, 0, 1]);
    assert!(now(&mut lost).is_some() && now(&mut outranked).is_some());
}

/// Others pass over a key without its lease: whoever has it hears of that at once.
#[test]
fn rec_14_who_loses_the_lease_of_his_key_hears_of_it() {
    let (node, store) = node();
    let session = open(&store);
    let guard = store.lock("l").acquire(&session).wait().unwrap();
    let mut second = store.lock("l").acquire(&session);
    assert!(told(&node, &mut second).is_none());
    let mut lost = guard.lost();
    assert!(told(&node, &mut lost).is_none());
    let of_second = store.range(KeyRange::prefix("l/")).wait().unwrap().kvs[1].clone();
    let again = store.put(of_second.key().to_vec(), "again").lease(session.lease());
    again.wait().unwrap();
    assert!(told(&node, &mut second).is_none(), "with its lease it stands where it stood");
    store.put(of_second.key().to_vec(), "").wait().unwrap();
    assert!(told(&node, &mut second).unwrap().unwrap_err().is_lost());
    store.put(guard.key().clone(), "").wait().unwrap();
    assert!(told(&node, &mut lost).is_some());
}

/// A key without its lease goes with nobody: who waits for it would wait for ever.
#[test]
fn rec_8_who_has_lost_the_lease_of_his_key_is_waited_for_no_more() {
    let (node, store) = node();
    let session = open(&store);
    let (lock, semaphore) = (store.lock("l"), store.semaphore("s", 1));
    let (rw_lock, election) = (store.rw_lock("r"), store.election("e"));
    let held = lock.acquire(&session).wait().unwrap();
    let permit = semaphore.acquire(&session).wait().unwrap();
    let read = rw_lock.read(&session).wait().unwrap();
    let leads = election.campaign(&session, "").wait().unwrap();
    let mut next = (lock.acquire(&session), semaphore.acquire(&session));
    let mut more = (rw_lock.write(&session), election.campaign(&session, ""));
    assert!(told(&node, &mut next.0).is_none() && told(&node, &mut next.1).is_none());
    assert!(told(&node, &mut more.0).is_none() && told(&node, &mut more.1).is_none());
    leads.proclaim("with its lease").wait().unwrap();
    assert!(told(&node, &mut more.1).is_none());
    for key in [held.key(), permit.key(), read.key(), leads.key()] {
        store.put(key.clone(), "").wait().unwrap();
    }
    // Nobody gives them back.
    let _leaked = ManuallyDrop::new((held, permit, read, leads));
    assert!(told(&node, &mut next.0).unwrap().is_ok());
    assert!(told(&node, &mut next.1).unwrap().is_ok());
    assert!(told(&node, &mut more.0).unwrap().is_ok());
    assert!(told(&node, &mut more.1).unwrap().is_ok());
}

/// More leases are due than one tick ends: one that is due ends whatever is asked for with it.
#[test]
fn rec_20_who_proclaims_under_a_lease_that_is_due_has_lost() {
    let (node, store) = node();
    for _ in 0..1100 {
        store.grant(Duration::from_secs(9)).wait().unwrap();
    }
    let session = open(&store);
    let leads = store.election("e").campaign(&session, "me").wait().unwrap();
    // The first tick of a term is where the time of what is new begins.
    node.write(&Command::Tick { advance: 0 });
    node.write(&Command::Tick { advance: 10_001 });
    assert!(!leads.is_lost(), "as far as this member knows");
    let error = leads.proclaim("you").wait().unwrap_err();
    assert!(error.is_lost() && leads.is_lost(), "{error}");
}

/// A candidate that waits does so until its session is over, also where it has to step back and
/// does not know whether it has.
#[test]
fn rec_17_a_candidate_that_steps_back_in_doubt_begins_again() {
    let (node, store) = node();
    let sessions = [(); 3].map(|()| open(&store));
    let first = store.election("e").campaign(&sessions[0], "one").wait().unwrap();
    let mut second = store.election("e").campaign(&sessions[1], "two");
    assert!(told(&node, &mut second).is_none());
    let mut third = store.election("e").priority(5).campaign(&sessions[2], "three");
    assert!(told(&node, &mut third).is_none());
    node.set_manner(Manner::Keep);
    assert!(told(&node, &mut second).is_none(), "it steps back");
    // It has, and nobody tells it: or it has not.
    node.set_answer(Answer::Unknown);
    node.answer();
    node.set_answer(Answer::Honest);
    assert!(told(&node, &mut second).is_none(), "it takes a new place");
    node.set_answer(Answer::Fail(Kind::Timeout));
    node.answer();
    node.set_answer(Answer::Honest);
    node.set_manner(Manner::AnswerAtOnce);
    assert!(told(&node, &mut second).is_none(), "and again");
    for left in node.left_to_delete() {
        node.write(&left.deletion);
    }
    drop(first);
    drop(told(&node, &mut third).unwrap().unwrap());
    let leads = told(&node, &mut second).unwrap().unwrap();
    assert_eq!(store.election("e").leader().wait().unwrap().unwrap().token, leads.token());
    let left = store.range(KeyRange::prefix("e/")).wait().unwrap().count;
    assert_eq!(left, 1, "nothing of the place before");
}

#[test]
fn who_tries_in_vain_is_told_so_though_his_place_is_not_left_yet() {
    let (node, store) = node();
    let session = open(&store);
    let semaphore = store.semaphore("s", 1);
    let held = semaphore.acquire(&session).wait().unwrap();
    node.set_manner(Manner::Keep);
    let mut tries = semaphore.try_acquire(&session);
    assert!(told(&node, &mut tries).is_none());
    node.answer();
    node.set_manner(Manner::Refuse(Kind::Overloaded));
    assert!(told(&node, &mut tries).unwrap().unwrap().is_none());
    assert_eq!(node.left_to_delete().len(), 1);
    node.set_manner(Manner::AnswerAtOnce);
    drop(held);
}
