use futures_executor::block_on;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::core::machine::lease::MAX_TTL_MS;
use crate::core::machine::{Command, Outcome};
use crate::error::Kind;
use crate::gate::Gate;
use crate::ids::{LeaseId, Revision};
use crate::keys::KeyRange;
use crate::service::fake::{Answer, Fake, MIN_TTL, Manner, fake};
use crate::service::{Session, SessionLost};
use crate::store::Store;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn id(id: u64) -> LeaseId {
    LeaseId::new(id)
}

fn node() -> (Arc<Fake>, Store) {
    fake(Manner::AnswerWhenLent)
}

#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll(lost: &mut SessionLost<'_>, bell: &Arc<Bell>) -> bool {
    let waker = Waker::from(Arc::clone(bell));
    Pin::new(lost).poll(&mut Context::from_waker(&waker)) == Poll::Ready(())
}

#[test]
fn lse_2_an_id_is_chosen_or_given() {
    let (_, store) = node();
    let chosen = store.grant(secs(10)).wait().unwrap();
    assert_ne!(chosen.id, id(0));
    assert_eq!(chosen.ttl, secs(10));
    assert_eq!(chosen.header.revision, Revision::new(1), "LSE-5");
    assert_eq!(store.grant(secs(10)).id(id(u64::MAX)).wait().unwrap().id, id(u64::MAX));
    let taken = store.grant(secs(10)).id(chosen.id).wait().unwrap_err();
    assert!(taken.is_lease_exists() && !taken.is_unknown(), "{taken}");
    store.revoke(chosen.id).wait().unwrap();
    store.grant(secs(10)).id(chosen.id).wait().unwrap();
}

#[test]
fn lse_3_a_ttl_has_an_end() {
    let (node, store) = node();
    let longest = Duration::from_millis(MAX_TTL_MS);
    assert_eq!(store.grant(longest).wait().unwrap().ttl, longest);
    node.take_log();
    for longer in [longest + Duration::from_nanos(1), Duration::MAX] {
        let error = store.grant(longer).wait().unwrap_err();
        assert!(error.is_invalid() && error.to_string().contains("longest"), "{error}");
        assert!(store.session(longer).wait().unwrap_err().is_invalid());
    }
    assert!(node.take_log().is_empty(), "nothing was proposed");
}

#[test]
fn lse_4_a_ttl_is_rounded_up_and_raised_to_the_shortest() {
    let (_, store) = node();
    let granted = |ttl| store.grant(ttl).wait().unwrap().ttl;
    assert_eq!(granted(Duration::ZERO), MIN_TTL);
    assert_eq!(granted(MIN_TTL), MIN_TTL);
    assert_eq!(granted(Duration::from_micros(2_000_001)), Duration::from_millis(2001));
    let session = store.session(Duration::ZERO).wait().unwrap();
    assert_eq!(session.ttl(), MIN_TTL);
}

#[test]
fn lse_6_a_revocation_takes_the_keys_along() {
    let (_, store) = node();
    let lease = store.grant(secs(10)).wait().unwrap().id;
    for key in ["b", "a"] {
        store.put(key, "1").lease(lease).wait().unwrap();
    }
    let refused = store.put("c", "1").lease(id(99)).wait().unwrap_err();
    assert!(refused.is_lease_not_found(), "KV-31");
    assert_eq!(store.revoke(lease).wait().unwrap().header.revision, Revision::new(4));
    assert_eq!(store.range(..).serializable().wait().unwrap().count, 0);
    assert!(store.revoke(lease).wait().unwrap_err().is_lease_not_found());
}

#[test]
fn kv_55_a_deleted_key_leaves_its_lease_and_the_lease_lives_on() {
    let (_, store) = node();
    let lease = store.grant(secs(10)).wait().unwrap().id;
    store.put("a", "1").lease(lease).wait().unwrap();
    store.put("b", "1").lease(lease).wait().unwrap();
    store.delete("a").wait().unwrap();
    assert_eq!(store.time_to_live(lease).keys().wait().unwrap().keys, ["b"]);
    store.delete(KeyRange::all()).wait().unwrap();
    assert_eq!(store.time_to_live(lease).keys().wait().unwrap().granted, Some(secs(10)));
}

#[test]
fn lse_13_a_keep_alive_of_what_is_not_there_says_so() {
    let (node, store) = node();
    let lease = store.grant(secs(10)).wait().unwrap().id;
    assert_eq!(store.keep_alive(lease).wait().unwrap().ttl, secs(10));
    assert_eq!(block_on_lent(&node, store.keep_alive(lease)).unwrap().ttl, secs(10));
    assert!(store.keep_alive(id(99)).wait().unwrap_err().is_lease_not_found());
    node.set_answer(Answer::Outcome(Outcome::Superseded));
    assert!(store.keep_alive(lease).wait().unwrap_err().is_unknown());
}

/// Awaits what nobody lends a thread to.
fn block_on_lent<T>(node: &Fake, future: impl Future<Output = T>) -> T {
    node.set_manner(Manner::AnswerAtOnce);
    let value = block_on(future);
    node.set_manner(Manner::AnswerWhenLent);
    value
}

#[test]
fn lse_20_time_to_live_says_what_is_left_and_nothing_of_what_is_not_there() {
    let (node, store) = node();
    let lease = store.grant(secs(10)).wait().unwrap().id;
    node.write(&Command::Tick { advance: 0 });
    node.write(&Command::Tick { advance: 4000 });
    store.put("a/1", "1").lease(lease).wait().unwrap();
    store.put("b", "1").lease(lease).wait().unwrap();
    node.take_log();
    let plain = store.time_to_live(lease).wait().unwrap();
    assert_eq!((plain.granted, plain.remaining), (Some(secs(10)), Some(secs(6))));
    assert!(plain.keys.is_empty());
    assert_eq!((plain.id, plain.header.revision), (lease, Revision::new(3)));
    assert_eq!(store.time_to_live(lease).keys().wait().unwrap().keys, ["a/1", "b"]);
    let inside = store.scoped("a/").time_to_live(lease).keys().wait().unwrap();
    assert_eq!(inside.keys, ["1"], "HLP-1");
    let log = node.take_log().join("\n");
    let (look, keys) = (format!("look at {lease},"), format!("look at {lease} and its keys"));
    assert!(log.contains(&look) && log.contains(&keys), "{log}");

    let nothing = store.time_to_live(id(99)).keys().wait().unwrap();
    assert_eq!((nothing.id, nothing.granted, nothing.remaining), (id(99), None, None));
    assert!(nothing.keys.is_empty());
    node.set_answer(Answer::Fail(Kind::Timeout));
    assert!(store.time_to_live(lease).wait().unwrap_err().is_timeout());
}

#[test]
fn lse_21_leases_are_listed_in_the_order_in_which_they_end() {
    let (node, store) = node();
    node.write(&Command::Tick { advance: 0 });
    for (lease, ttl) in [(5, 30), (6, 10), (4, 20)] {
        store.grant(secs(ttl)).id(id(lease)).wait().unwrap();
    }
    assert_eq!(store.leases().wait().unwrap().leases, [6, 4, 5].map(id));
    assert_eq!(store.scoped("a/").leases().wait().unwrap().leases.len(), 3);
}

fn open(store: &Store) -> Session {
    store.session(secs(10)).wait().unwrap()
}

#[test]
fn rec_2_a_session_is_over_when_its_time_is_and_stays_so() {
    let (node, store) = node();
    let session = open(&store);
    let zero = node.system_zero;
    assert_eq!(session.deadline() - zero, Duration::from_millis(9989), "a margin for the clocks");
    node.pass(Duration::from_millis(9988));
    assert!(!session.is_lost());
    assert_eq!(session.remaining(), Duration::from_millis(1));
    node.pass(Duration::from_millis(1));
    assert!(session.is_lost());
    assert_eq!(session.remaining(), Duration::ZERO);
    let kept = &node.kept_leases()[0];
    assert!(!kept.renewed(node.now(), node.now().after(secs(10))), "no renewal brings it back");
    assert!(session.is_lost());
    session.lost().wait();
}

#[test]
fn rec_2_who_waits_for_the_loss_is_woken() {
    let (node, store) = node();
    let session = open(&store);
    let bells: [Arc<Bell>; 2] = Default::default();
    let (mut one, mut gone) = (session.lost(), session.lost());
    assert!(!poll(&mut one, &bells[0]) && !poll(&mut gone, &bells[1]));
    assert!(!poll(&mut one, &bells[0]), "again");
    drop(gone);
    assert!(!session.lost().wait_timeout(Duration::ZERO));
    let kept = &node.kept_leases()[0];
    kept.end(node.now());
    kept.waiters.wake();
    assert_eq!(bells.map(|bell| bell.0.load(Ordering::SeqCst)), [1, 0]);
    assert!(poll(&mut one, &Arc::default()));
    assert!(session.lost().wait_timeout(Duration::ZERO));
}

/// Its own time is not over, and yet nothing may be done in it.
#[test]
fn rec_2_a_session_that_is_over_has_no_deadline_in_the_future() {
    let (node, store) = node();
    let session = open(&store);
    node.pass(secs(1));
    node.kept_leases()[0].end(node.now());
    assert!(session.is_lost());
    assert_eq!(session.deadline(), node.system_zero + secs(1));
    node.pass(secs(1));
    assert_eq!(session.deadline(), node.system_zero + secs(1));
}

#[test]
fn rec_3_what_could_not_ask_for_its_end_leaves_that_to_its_node() {
    let (node, store) = node();
    let sessions = [open(&store), open(&store)];
    let lease = sessions[0].lease();
    node.set_manner(Manner::Refuse(Kind::Overloaded));
    let [dropped, orphan] = sessions;
    drop(dropped);
    orphan.orphan();
    assert_eq!(node.left_to_revoke(), [lease]);
}

/// Its lease was revoked, and its id is somebody else's by now: this member may not have heard.
#[test]
fn rec_3_the_end_of_a_session_ends_no_lease_that_was_granted_anew() {
    let (node, store) = node();
    let anew = |session: &Session| {
        let (lease, grant) = (session.lease(), crate::ids::Index::default());
        node.write(&Command::Revoke { lease, grant });
        node.write(&Command::Grant { lease, ttl: 9000 });
        lease
    };
    let [closed, dropped] = [open(&store), open(&store)];
    let leases = [anew(&closed), anew(&dropped)];
    closed.close().wait().unwrap();
    node.set_manner(Manner::AnswerAtOnce);
    drop(dropped);
    let left = store.leases().wait().unwrap().leases;
    assert!(leases.iter().all(|lease| left.contains(lease)), "{left:?}");
}

/// REC-4: there is no context that ends a session with it; whoever does not wait for it any more
/// has none.
#[test]
fn rec_4_a_session_that_nobody_waits_for_any_more_is_given_up() {
    let (node, store) = node();
    let mut opening = store.session(secs(10));
    node.set_manner(Manner::Keep);
    let waker = Waker::from(Arc::<Bell>::default());
    let polled = Pin::new(&mut opening).poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    drop(opening);
    node.answer();
    let kept = node.kept_leases();
    assert!(kept.len() == 1 && kept[0].is_over(node.now()), "nobody renews it");
    assert_eq!(node.left_to_revoke(), [kept[0].lease()]);
}

#[test]
fn rec_1_a_session_may_adopt_a_lease() {
    let (node, store) = node();
    let lease = store.grant(secs(30)).wait().unwrap().id;
    let session = store.session(Duration::ZERO).lease(lease).wait().unwrap();
    assert_eq!((session.lease(), session.ttl()), (lease, secs(30)), "as it was granted");
    let refused = store.session(secs(10)).lease(id(99)).wait().unwrap_err();
    assert!(refused.is_lease_not_found());
    let log = node.take_log();
    assert!(log.iter().any(|line| line.starts_with("adopt 99")), "{log:?}");
}

#[test]
fn rec_3_closing_revokes_and_a_lease_that_is_gone_is_closed() {
    let (node, store) = node();
    let session = open(&store);
    store.put("a", "1").lease(session.lease()).wait().unwrap();
    session.close().wait().unwrap();
    assert_eq!(store.range(..).serializable().wait().unwrap().count, 0);
    assert!(node.kept_leases()[0].is_over(node.now()), "nobody renews it");

    let session = open(&store);
    store.revoke(session.lease()).wait().unwrap();
    session.close().wait().unwrap();

    // What is lost may be somebody else's by now.
    let session = open(&store);
    node.pass(secs(10));
    node.take_log();
    session.close().wait().unwrap();
    assert!(node.take_log().is_empty());
}

#[test]
fn rec_3_dropping_revokes_in_the_background_and_orphaning_does_not() {
    let (node, store) = node();
    let session = open(&store);
    node.take_log();
    drop(session);
    let log = node.take_log();
    assert!(log.len() == 1 && log[0].starts_with("write") && log[0].ends_with("Leave"), "{log:?}");
    node.answer();
    assert!(store.leases().wait().unwrap().leases.is_empty());

    let session = open(&store);
    node.take_log();
    session.orphan();
    assert!(node.take_log().is_empty());
    assert!(node.kept_leases()[1].is_over(node.now()));
    assert_eq!(store.leases().wait().unwrap().leases.len(), 1, "it is left to expire");

    // Closed, and then not waited for.
    let session = open(&store);
    node.take_log();
    drop(session.close());
    assert_eq!(node.take_log().len(), 1);
}

#[test]
fn a_session_that_did_not_come_to_be_says_why() {
    let (node, store) = node();
    node.set_answer(Answer::Fail(Kind::Overloaded));
    assert!(store.session(secs(10)).wait().unwrap_err().is_overloaded());
    node.set_answer(Answer::Gone);
    let error = store.session(secs(10)).wait().unwrap_err();
    assert!(error.is_closed() && error.is_unknown(), "{error}");
}

#[test]
fn sessions_can_go_anywhere() {
    fn shared<T: Send + Sync + 'static>(_: &T) {}
    fn movable<T: Send>(_: &T) {}
    let (_, store) = node();
    let session = open(&store);
    shared(&session);
    movable(&session.lost());
    movable(&store.session(secs(1)));
    movable(&store.grant(secs(1)));
    assert!(format!("{session:?}").contains("remaining"));
}

#[test]
fn rec_5_sessions_of_one_lease_have_keys_of_their_own() {
    let (_, store) = fake(Manner::AnswerAtOnce);
    let opener = store.session(secs(60)).wait().unwrap();
    let adopter = store.session(secs(60)).lease(opener.lease()).wait().unwrap();
    let guard = block_on(store.lock("a").acquire(&opener)).unwrap();
    let other = block_on(store.lock("b").acquire(&adopter)).unwrap();
    let name = |key: &[u8]| key.split(|byte| *byte == b'/').next_back().map(<[u8]>::to_vec);
    assert_ne!(name(guard.key()), name(other.key()), "whatever the line and its revision");
}

#[test]
fn rec_3_closing_that_is_refused_leaves_the_end_to_the_node() {
    let (node, store) = node();
    let session = store.session(secs(10)).wait().unwrap();
    let lease = session.lease();
    node.set_manner(Manner::Refuse(Kind::Overloaded));
    assert!(session.close().wait().unwrap_err().is_overloaded());
    assert_eq!(node.left_to_revoke(), [lease]);
}
