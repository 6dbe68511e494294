use std::future::{Future, pending};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_core::stream::Stream;
use futures_executor::block_on;

use super::priority_of;
use crate::core::machine::Command;
use crate::core::machine::txn::Delete;
use crate::gate::Gate;
use crate::ids::{LeaseId, Revision};
use crate::keys::KeyRange;
use crate::service::fake::{Answer, Fake, Manner, fake};
use crate::service::{Leadership, Observed, Observer, Op, Session, WatchEnd};
use crate::store::Store;
use crate::time::Instant;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn node() -> (Arc<Fake>, Store) {
    fake(Manner::AnswerAtOnce)
}

fn session(store: &Store) -> Session {
    store.session(secs(10)).wait().unwrap()
}

fn elected(store: &Store, session: &Session, value: &'static str) -> Leadership {
    store.election("e").campaign(session, value).wait().unwrap()
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// What it ends with, once those who watch have been told of what was written.
fn ready<F: Future + Unpin>(node: &Fake, future: &mut F) -> F::Output {
    node.advance(Instant::default());
    let Poll::Ready(output) = poll(future) else { panic!("it still waits") };
    output
}

fn candidates(store: &Store) -> u64 {
    store.range(KeyRange::prefix("e/")).serializable().wait().unwrap().count
}

/// What it has to say by now: values, and `-` for nobody.
fn seen(node: &Fake, observer: &mut Observer) -> Vec<String> {
    node.advance(Instant::default());
    let mut seen = Vec::new();
    let mut context = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(observed)) = Pin::new(&mut *observer).poll_next(&mut context) {
        seen.push(match observed.unwrap() {
            Observed::Vacant => "-".to_owned(),
            Observed::Skipped => "?".to_owned(),
            Observed::Elected(leader) => String::from_utf8_lossy(&leader.value).into_owned(),
        });
    }
    seen
}

#[test]
fn rec_16_the_first_candidate_leads_and_its_value_is_its_proposal() {
    let (_, store) = node();
    let sessions = [(); 2].map(|()| session(&store));
    let first = elected(&store, &sessions[0], "one");
    let mut second = store.election("e").campaign(&sessions[1], "two");
    assert!(poll(&mut second).is_pending());
    let leader = store.election("e").leader().wait().unwrap().unwrap();
    assert_eq!((leader.token, &leader.value[..]), (first.token(), &b"one"[..]));
    assert_eq!(&leader.key, first.key());
    assert!(leader.key.starts_with(format!("e/{:x}-7-", sessions[0].lease().get()).as_bytes()));
    assert_eq!(store.get(leader.key).wait().unwrap().kv.unwrap().lease(), sessions[0].lease());
}

#[test]
fn rec_17_a_candidate_leads_when_all_before_it_have_gone() {
    let (node, store) = node();
    let sessions = [(); 3].map(|()| session(&store));
    let first = elected(&store, &sessions[0], "one");
    let [mut second, mut third] = [1, 2].map(|at| store.election("e").campaign(&sessions[at], "x"));
    assert!(poll(&mut second).is_pending() && poll(&mut third).is_pending());
    drop(second);
    node.advance(Instant::default());
    assert!(poll(&mut third).is_pending());
    assert!(first.resign().wait().unwrap());
    assert!(ready(&node, &mut third).unwrap().token() > first.token());
}

#[test]
fn rec_18_who_gives_up_or_fails_is_no_candidate_and_may_campaign_again() {
    let (node, store) = node();
    let sessions = [(); 2].map(|()| session(&store));
    let first = elected(&store, &sessions[0], "one");
    let mut second = store.election("e").campaign(&sessions[1], "two").timeout(secs(1));
    assert!(poll(&mut second).is_pending());
    node.pass(secs(1));
    assert!(ready(&node, &mut second).unwrap_err().is_timeout());
    assert_eq!(candidates(&store), 1);
    node.set_answer(Answer::Unknown);
    let error = store.election("e").campaign(&sessions[1], "two").wait().unwrap_err();
    assert!(error.is_unknown());
    node.set_answer(Answer::Honest);
    node.left_to_delete().iter().for_each(|left| drop(node.write(&left.deletion)));
    assert_eq!(candidates(&store), 1, "what came to be for nobody is gone");
    drop(first);
    assert_eq!(candidates(&store), 0);
    elected(&store, &sessions[1], "two").resign().wait().unwrap();
}

#[test]
fn rec_19_each_campaign_is_a_candidate_of_its_own() {
    let (node, store) = node();
    let session = session(&store);
    let first = elected(&store, &session, "one");
    let mut second = store.election("e").campaign(&session, "two");
    assert!(poll(&mut second).is_pending());
    first.resign().wait().unwrap();
    assert!(ready(&node, &mut second).unwrap().token() > first.token());
}

#[test]
fn rec_20_to_proclaim_changes_the_value_and_nothing_else() {
    let (_, store) = node();
    let session = session(&store);
    let lead = elected(&store, &session, "one");
    let put = lead.proclaim("two").wait().unwrap();
    block_on(lead.proclaim("three")).unwrap();
    let kv = store.get(lead.key().clone()).wait().unwrap().kv.unwrap();
    assert_eq!((kv.value(), kv.create_revision()), (&b"three"[..], lead.token()));
    assert_eq!((kv.lease(), kv.mod_revision()), (session.lease(), put.header.revision.next()));
    // Gone, and made again by somebody.
    store.delete(lead.key().clone()).wait().unwrap();
    store.put(lead.key().clone(), "other").wait().unwrap();
    assert!(lead.proclaim("four").wait().unwrap_err().is_lost());
    assert_eq!(store.get(lead.key().clone()).wait().unwrap().kv.unwrap().value(), b"other");
}

#[test]
fn rec_21_to_resign_is_to_delete_ones_own_key_once() {
    let (node, store) = node();
    let session = session(&store);
    let lead = elected(&store, &session, "one");
    let mut lost = lead.lost();
    assert!(poll(&mut lost).is_pending());
    assert!(lead.resign().wait().unwrap());
    ready(&node, &mut lost);
    assert!(lead.is_lost() && lead.valid_until() <= node.system_time(node.now()));
    node.take_log();
    assert!(!lead.resign().wait().unwrap());
    assert!(!node.take_log().iter().any(|line| line.starts_with("write")));
    assert!(lead.txn().then(Op::put("k", "1")).wait().unwrap_err().is_lost());
    // What is somebody else's stays.
    let lead = elected(&store, &session, "two");
    store.delete(lead.key().clone()).wait().unwrap();
    store.put(lead.key().clone(), "other").wait().unwrap();
    assert!(!lead.resign().wait().unwrap());
    assert_eq!(candidates(&store), 1);
}

/// It fails half-way: the leader leads no more, and its key goes in the background.
#[test]
fn rec_21_to_resign_is_final() {
    let (node, store) = node();
    let session = session(&store);
    let lead = elected(&store, &session, "one");
    node.set_manner(Manner::Keep);
    let mut resign = lead.resign();
    assert!(poll(&mut resign).is_pending());
    assert!(lead.is_lost(), "from the moment it is asked");
    drop(resign);
    node.set_answer(Answer::Fail(crate::error::Kind::Timeout));
    node.answer();
    node.set_answer(Answer::Honest);
    node.left_to_delete().iter().for_each(|left| drop(node.write(&left.deletion)));
    assert_eq!(candidates(&store), 0);
}

#[test]
fn rec_22_nobody_leads_before_somebody_campaigns() {
    let (_, store) = node();
    assert_eq!(store.election("e").leader().wait().unwrap(), None);
    assert_eq!(block_on(store.election("e").leader()).unwrap(), None);
    assert!(store.election("").leader().wait().unwrap_err().is_invalid());
}

#[test]
fn rec_23_an_observer_sees_every_change_in_order_and_vacancy_too() {
    let (node, store) = node();
    let sessions = [(); 2].map(|()| session(&store));
    let mut observer = store.election("e").observe().wait().unwrap();
    assert_eq!(seen(&node, &mut observer), ["-"]);
    let first = elected(&store, &sessions[0], "one");
    let mut second = store.election("e").campaign(&sessions[1], "two");
    assert!(poll(&mut second).is_pending());
    assert_eq!(seen(&node, &mut observer), ["one"], "a candidate that waits is no news");
    first.proclaim("uno").wait().unwrap();
    drop(first);
    let second = ready(&node, &mut second).unwrap();
    drop(second);
    let third = elected(&store, &sessions[0], "three");
    let late = store.election("e").observe().wait().unwrap();
    drop(third);
    assert_eq!(seen(&node, &mut observer), ["uno", "two", "-", "three", "-"]);
    let first = late.into_iter().next().unwrap().unwrap();
    assert!(matches!(first, Observed::Elected(leader) if leader.value == "three"));
    // Two at once are one change.
    let leases = [5, 6, 7].map(LeaseId::new);
    for id in leases {
        store.grant(secs(10)).id(id).wait().unwrap();
    }
    let [five, six, seven] =
        leases.map(|id| move |value| Op::put(format!("e/{id}"), value).lease(id));
    store.txn().then((six("b"), five("a"))).wait().unwrap();
    let handed = (Op::delete("e/5"), Op::delete("e/6"), seven("c"));
    store.txn().then(handed).wait().unwrap();
    assert_eq!(seen(&node, &mut observer), ["a", "c"]);
    node.watches().end();
    let end = observer.next().wait().unwrap();
    assert!(matches!(end, Err(WatchEnd::Closed)));
    assert!(observer.next().wait().is_none());
}

#[test]
fn rec_23_an_observer_that_is_too_slow_says_so() {
    let (node, store) = node();
    let session = session(&store);
    let mut observer = store.election("e").observe().wait().unwrap();
    assert_eq!(seen(&node, &mut observer), ["-"]);
    drop(elected(&store, &session, "one"));
    let lead = elected(&store, &session, "two");
    store.compact(lead.token()).wait().unwrap();
    node.tidy(0);
    assert_eq!(seen(&node, &mut observer), ["?", "two"]);
    drop(lead);
    assert_eq!(seen(&node, &mut observer), ["-"]);
}

#[test]
#[expect(clippy::mem_forget, reason = "a process that ends without a word")]
fn rec_24_a_leadership_is_taken_up_again_with_its_lease() {
    let (_, store) = node();
    let session = session(&store);
    let lead = elected(&store, &session, "one");
    let (key, token, lease) = (lead.key().clone(), lead.token(), session.lease());
    session.orphan();
    std::mem::forget(lead);
    let heir = store.session(secs(1)).lease(lease).wait().unwrap();
    let election = store.election("e");
    let resumed = election.resume(&heir, key.clone(), token).wait().unwrap();
    resumed.proclaim("two").wait().unwrap();
    resumed.txn().then(Op::put("k", "1")).wait().unwrap();
    // Another revision, another key, another lease.
    let other = self::session(&store);
    for refused in [
        election.resume(&heir, key.clone(), token.next()),
        election.resume(&heir, "e/x", token),
        election.resume(&other, key.clone(), token),
    ] {
        assert!(refused.wait().unwrap_err().is_lost());
    }
    assert_eq!(candidates(&store), 1, "what is not resumed is left as it is");
    assert!(resumed.resign().wait().unwrap());
    assert!(election.resume(&heir, key, token).wait().unwrap_err().is_lost());
}

#[test]
fn rec_25_with_the_lease_goes_the_leadership() {
    let (node, store) = node();
    let sessions = [(); 2].map(|()| session(&store));
    let first = elected(&store, &sessions[0], "one");
    let mut second = store.election("e").campaign(&sessions[1], "two");
    assert!(poll(&mut second).is_pending());
    store.revoke(sessions[0].lease()).wait().unwrap();
    let second = ready(&node, &mut second).unwrap();
    assert!(first.is_lost() && !second.is_lost());
}

#[test]
fn rec_26_elections_whose_names_begin_alike_do_not_interfere() {
    let (_, store) = node();
    let session = session(&store);
    let campaign = |name: &'static str| {
        store.election(name).campaign(&session, "x").wait_timeout(Duration::ZERO).unwrap()
    };
    let (_test, _testa, _below) = (campaign("test"), campaign("testa"), campaign("test/a"));
    assert!(store.election("test").campaign(&session, "x").wait_timeout(Duration::ZERO).is_err());
}

/// What somebody keeps in the directory is no candidate, whatever its name.
#[test]
fn rec_16_data_in_the_directory_is_no_candidate() {
    let (node, store) = node();
    let session = session(&store);
    for key in ["e/last", "e/5", "e/1-2-3", "e/5-7-9-p9"] {
        store.put(key, "data").wait().unwrap();
    }
    let election = store.election("e");
    assert_eq!(election.leader().wait().unwrap(), None);
    let mut observer = election.observe().wait().unwrap();
    for round in 0..2_u8 {
        let lead = election.campaign(&session, "one").wait_timeout(Duration::ZERO).unwrap();
        lead.txn().then(Op::put("e/last", vec![round])).wait().unwrap();
        assert_eq!(election.leader().wait().unwrap().unwrap().token, lead.token());
        assert!(!lead.outranked().wait_timeout(Duration::ZERO));
        let resumed = election.resume(&session, lead.key().clone(), lead.token());
        drop(resumed.wait().unwrap());
    }
    assert_eq!(seen(&node, &mut observer), ["-", "one", "-", "one", "-"]);
    // Who keeps something there with his session is no candidate either.
    store.put("e/here", "").lease(session.lease()).wait().unwrap();
    assert_eq!(election.leader().wait().unwrap(), None);
}

#[test]
fn a_leader_is_told_that_it_is_outranked_and_those_who_wait_step_back() {
    let (node, store) = node();
    let sessions = [(); 3].map(|()| session(&store));
    let first = elected(&store, &sessions[0], "one");
    let mut outranked = first.outranked();
    assert!(poll(&mut outranked).is_pending());
    let mut second = store.election("e").campaign(&sessions[1], "two");
    assert!(poll(&mut second).is_pending());
    node.advance(Instant::default());
    assert!(poll(&mut outranked).is_pending(), "an equal");
    let mut third = store.election("e").priority(5).campaign(&sessions[2], "three");
    assert!(poll(&mut third).is_pending());
    ready(&node, &mut outranked);
    assert!(first.outranked().wait_timeout(Duration::ZERO));
    let before = store.range(KeyRange::prefix("e/")).wait().unwrap().header.revision;
    node.advance(Instant::default());
    node.take_log();
    assert!(poll(&mut second).is_pending());
    assert_eq!((candidates(&store), node.revision()), (3, before.next()), "by one entry");
    let log = node.take_log();
    assert_eq!(log.iter().filter(|line| line.starts_with("write")).count(), 1, "{log:?}");
    node.advance(Instant::default());
    assert!(poll(&mut third).is_pending() && poll(&mut second).is_pending());
    assert_eq!(node.revision(), before.next(), "once");
    drop(first);
    let third = ready(&node, &mut third).unwrap();
    node.advance(Instant::default());
    assert!(poll(&mut second).is_pending());
    assert!(third.key().ends_with(b"-p5"));
    drop(third);
    let _second = ready(&node, &mut second).unwrap();
    assert_eq!(candidates(&store), 1);
}

/// Between that it sees that it is to step back and that it does, somebody deletes its key.
#[test]
fn rec_9_who_has_lost_its_place_takes_none_by_stepping_back() {
    let (node, store) = node();
    let sessions = [(); 3].map(|()| session(&store));
    let _first = elected(&store, &sessions[0], "one");
    let mut second = store.election("e").campaign(&sessions[1], "two");
    assert!(poll(&mut second).is_pending());
    let all = store.range(KeyRange::prefix("e/")).wait().unwrap();
    let prefix = format!("e/{:x}-", sessions[1].lease().get());
    let place = all.kvs.iter().find(|kv| kv.key().starts_with(prefix.as_bytes())).unwrap();
    let mut third = store.election("e").priority(5).campaign(&sessions[2], "three");
    assert!(poll(&mut third).is_pending());
    node.set_manner(Manner::Keep);
    node.advance(Instant::default());
    assert!(poll(&mut second).is_pending(), "it steps back");
    let range = KeyRange::key(place.key().to_vec());
    node.write(&Command::Delete(Delete { range, prev: false }));
    node.set_manner(Manner::AnswerAtOnce);
    node.answer();
    assert!(ready(&node, &mut second).unwrap_err().is_lost());
    assert_eq!(candidates(&store), 2);
}

#[test]
fn a_priority_is_what_the_end_of_a_key_says() {
    for (key, priority) in [
        ("e/1f-a-7", 0),
        ("e/1f-a-7-p5", 5),
        ("e/1f-a-7-p4294967295", u32::MAX),
        ("e/1f-a-7-p99999999999", 0),
        ("e/1f-a-7-p", 0),
        ("-p7", 7),
        ("7", 0),
        ("", 0),
    ] {
        assert_eq!(priority_of(key.as_bytes()), priority, "{key}");
    }
}

#[test]
fn the_work_of_a_leader_is_dropped_with_the_leadership() {
    let (node, store) = node();
    let session = session(&store);
    let done = elected(&store, &session, "one").run(async |lead| lead.token());
    assert!(block_on(done).unwrap() > Revision::new(0));
    assert_eq!(candidates(&store), 0, "it has resigned");

    let dropped = Arc::new(());
    let held = Arc::clone(&dropped);
    let lead = elected(&store, &session, "one");
    let key = lead.key().clone();
    let mut run = pin!(lead.run(async move |_: &Leadership| {
        let _held = held;
        pending::<()>().await;
    }));
    assert!(poll(&mut run).is_pending());
    assert_eq!(Arc::strong_count(&dropped), 2);
    store.delete(key).wait().unwrap();
    assert!(ready(&node, &mut run).unwrap_err().is_lost());
    assert_eq!(Arc::strong_count(&dropped), 1);

    // Outranked: it resigns.
    let mut run = pin!(elected(&store, &session, "one").run(async |_: &Leadership| {
        pending::<()>().await;
    }));
    assert!(poll(&mut run).is_pending());
    let mut better = store.election("e").priority(1).campaign(&session, "better");
    assert!(poll(&mut better).is_pending());
    assert!(ready(&node, &mut run).unwrap_err().is_lost());
    let better = ready(&node, &mut better).unwrap();

    let lost = better.run_blocking(|lead| store.delete(lead.key().clone()).wait());
    assert!(lost.unwrap_err().is_lost());
    assert_eq!(
        elected(&store, &session, "x").run_blocking(|lead| !lead.is_lost()).ok(),
        Some(true)
    );
}

/// The cluster is out of reach: the loss is told when the session is over, not when a resignation
/// that cannot be delivered has been given up.
#[test]
fn a_loss_is_told_at_once_by_who_is_cut_off() {
    let (node, store) = node();
    let session = session(&store);
    let lead = elected(&store, &session, "one");
    let mut run = pin!(lead.run(async |_: &Leadership| pending::<()>().await));
    assert!(poll(&mut run).is_pending());
    node.set_manner(Manner::Keep);
    node.pass(secs(10));
    assert!(ready(&node, &mut run).unwrap_err().is_lost());
    assert_eq!(node.take_kept().len(), 1, "its deletion, in the background");

    node.set_manner(Manner::AnswerAtOnce);
    let session = self::session(&store);
    let lead = store.election("f").campaign(&session, "one").wait().unwrap();
    node.take_log();
    let lost = lead.run_blocking(|_| {
        node.pass(secs(10));
        node.set_manner(Manner::Keep);
    });
    assert!(lost.unwrap_err().is_lost());
    let log = node.take_log();
    let waited = log.iter().any(|line| line.starts_with("write") && !line.contains("Leave"));
    assert!(!waited, "{log:?}");
}

/// The work hears of the loss first, from a transaction of its own: the loop of the examples has to
/// see a loss, and not work that is done.
#[test]
fn work_that_ends_with_the_loss_is_lost() {
    let (_, store) = node();
    let session = session(&store);
    let run = elected(&store, &session, "one").run(async |lead: &Leadership| {
        store.delete(lead.key().clone()).await.unwrap();
        lead.txn().then(Op::put("k", "1")).await
    });
    assert!(block_on(run).unwrap_err().is_lost());
}

/// Whatever the handle says by which it is resumed.
#[test]
fn rec_24_a_leadership_is_resumed_with_its_own_priority() {
    let (node, store) = node();
    let session = session(&store);
    let lead = store.election("e").priority(5).campaign(&session, "one").wait().unwrap();
    let (key, token) = (lead.key().clone(), lead.token());
    let resumed = store.election("e").resume(&session, key, token).wait().unwrap();
    let mut outranked = resumed.outranked();
    for (priority, is_higher) in [(1, false), (5, false), (6, true)] {
        let mut next = store.election("e").priority(priority).campaign(&session, "two");
        assert!(poll(&mut next).is_pending());
        node.advance(Instant::default());
        assert_eq!(poll(&mut outranked).is_ready(), is_higher, "{priority}");
    }
}

/// It has to begin anew, and its node ends before it can.
#[test]
fn rec_23_an_observer_says_nothing_behind_its_end() {
    let (node, store) = node();
    let session = session(&store);
    let mut observer = store.election("e").observe().wait().unwrap();
    assert_eq!(seen(&node, &mut observer), ["-"]);
    drop(elected(&store, &session, "one"));
    let lead = elected(&store, &session, "two");
    store.compact(lead.token()).wait().unwrap();
    node.tidy(0);
    node.advance(Instant::default());
    node.watches().end();
    let mut context = Context::from_waker(Waker::noop());
    let mut next = || Pin::new(&mut observer).poll_next(&mut context);
    let Poll::Ready(Some(Err(end))) = next() else { panic!("it has not ended") };
    assert!(matches!(end, WatchEnd::Closed), "{end:?}");
    assert!(matches!(next(), Poll::Ready(None)));
}

#[test]
fn hlp_1_a_scoped_election_is_within_its_prefix() {
    let (node, store) = node();
    let session = session(&store);
    let scoped = store.scoped("t/");
    let mut observer = scoped.election("e").observe().wait().unwrap();
    let lead = scoped.election("e").priority(2).campaign(&session, "in").wait().unwrap();
    assert_eq!(scoped.election("e").leader().wait().unwrap().unwrap().key, lead.key());
    assert_eq!(store.election("e").leader().wait().unwrap(), None);
    assert_eq!(store.election("t/e").leader().wait().unwrap().unwrap().token, lead.token());
    assert_eq!(seen(&node, &mut observer), ["-", "in"]);
    let mut outranked = lead.outranked();
    assert!(poll(&mut outranked).is_pending(), "it sees its own priority");
}

#[test]
fn leaders_can_go_anywhere() {
    fn shared<T: Send + Sync + 'static>(_: &T) {}
    fn movable<T: Send>(_: T) {}
    let (_, store) = node();
    let session = session(&store);
    let election = store.election("e");
    shared(&election);
    movable(election.campaign(&session, "x"));
    movable(election.leader());
    let lead = elected(&store, &session, "x");
    shared(&lead);
    movable(lead.outranked());
    movable(lead.resign());
    movable(election.observe().wait().unwrap());
    assert!(format!("{election:?} {lead:?}").contains("is_lost: false"));
    movable(lead.run(async |lead: &Leadership| {
        let _ = lead.proclaim("y").await;
    }));
    assert_ne!(LeaseId::new(0), session.lease());
}
