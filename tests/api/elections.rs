//! Elections over members with threads and clocks.

use std::thread;
use std::time::Duration;

use futures_executor::block_on;
use quorate::{KeyRange, Observed, Op, Session, Store};

use super::cluster::{Cluster, value};

fn session(store: &Store) -> Session {
    store.session(Duration::from_secs(60)).wait().unwrap()
}

fn candidates(store: &Store) -> u64 {
    store.range(KeyRange::prefix("e/")).wait().unwrap().count
}

/// `REC-17`, `REC-23`: candidates of all members lead one after the other, and an observer of each
/// member sees all of them, in the same order.
#[test]
fn rec_23_observers_of_all_members_see_the_same_leaders() {
    const ROUNDS: usize = 4;
    let cluster = Cluster::open(3);
    let last = cluster.store(0).put("x", "1").wait().unwrap().header.revision;
    let observers = [0, 1, 2].map(|member| {
        let store = cluster.store(member);
        store.get("x").at_least(last).wait().unwrap();
        store.election("e").observe().wait().unwrap()
    });
    let mut told: Vec<(u64, String)> = thread::scope(|scope| {
        let campaigns = [0, 1, 2].map(|member| {
            let store = cluster.store(member);
            scope.spawn(move || {
                let session = session(&store);
                let mut led = Vec::new();
                for round in 0..ROUNDS {
                    let name = format!("{member}-{round}");
                    let lead = store.election("e").campaign(&session, name.clone()).wait().unwrap();
                    led.push((lead.token().get(), name.clone()));
                    let warm = format!("{name}, warm");
                    lead.proclaim(warm.clone()).wait().unwrap();
                    led.push((lead.token().get(), warm));
                    assert!(lead.resign().wait().unwrap());
                }
                led
            })
        });
        campaigns.into_iter().flat_map(|it| it.join().unwrap()).collect()
    });
    told.sort();
    let end = session(&cluster.store(0));
    let _last = cluster.store(0).election("e").campaign(&end, "end").wait().unwrap();
    for observer in observers {
        let mut seen = Vec::new();
        let mut vacant = false;
        for observed in observer {
            match observed.unwrap() {
                Observed::Vacant => {
                    assert!(!vacant, "said twice");
                    vacant = true;
                }
                Observed::Elected(leader) if leader.value == "end" => break,
                Observed::Elected(leader) => {
                    vacant = false;
                    let value = String::from_utf8_lossy(&leader.value).into_owned();
                    seen.push((leader.token.get(), value));
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(seen, told);
    }
}

/// `REC-25`, `REC-22`: a leader's node is lost; another one leads, and what the first has on its
/// mind is refused everywhere.
#[test]
fn rec_25_leadership_falls_to_the_next_when_a_member_is_lost() {
    let mut cluster = Cluster::open(3);
    let first = cluster.leader();
    let (store, next) = (cluster.store(first), cluster.store((first + 1) % 3));
    let short = store.session(Duration::from_millis(1)).wait().unwrap();
    let lead = store.election("e").campaign(&short, "one").wait().unwrap();
    let session = session(&next);
    let second = thread::scope(|scope| {
        let second = scope.spawn(|| next.election("e").campaign(&session, "two").wait().unwrap());
        while candidates(&next) < 2 {
            thread::yield_now();
        }
        drop(cluster.take(first));
        second.join().unwrap()
    });
    assert!(lead.is_lost() && second.token() > lead.token());
    let leader = next.election("e").leader().wait().unwrap().unwrap();
    assert_eq!((leader.token, &leader.value[..]), (second.token(), &b"two"[..]));
    second.txn().then(Op::put("k", "two")).wait().unwrap();
    assert_eq!(value(&next, "k").unwrap(), b"two");
}

/// The preferred member leads as soon as it is there, and the others make room.
#[test]
fn the_preferred_candidate_is_made_room_for() {
    let cluster = Cluster::open(3);
    let (store, better) = (cluster.store(0), cluster.store(1));
    let (session, other) = (session(&store), self::session(&better));
    let lead = store.election("e").campaign(&session, "plain").wait().unwrap();
    thread::scope(|scope| {
        let run =
            scope.spawn(|| block_on(lead.run(async |_: &_| std::future::pending::<()>().await)));
        let preferred = better.election("e").priority(1).campaign(&other, "preferred");
        let preferred = preferred.wait().unwrap();
        assert!(run.join().unwrap().unwrap_err().is_lost());
        assert!(!preferred.is_lost());
    });
}

/// `REC-24`: with its lease, its key and its token a leader goes on in another handle; here through
/// another member.
#[test]
#[expect(clippy::mem_forget, reason = "a process that ends without a word")]
fn rec_24_a_leadership_outlives_its_process() {
    let cluster = Cluster::open(3);
    let store = cluster.store(0);
    let session = session(&store);
    let lead = store.election("e").campaign(&session, "one").wait().unwrap();
    let (key, token, lease) = (lead.key().clone(), lead.token(), session.lease());
    session.orphan();
    std::mem::forget(lead);
    let store = cluster.store(1);
    let heir = store.session(Duration::ZERO).lease(lease).wait().unwrap();
    let lead = store.election("e").resume(&heir, key, token).wait().unwrap();
    lead.proclaim("still").wait().unwrap();
    assert!(!lead.lost().wait_timeout(Duration::ZERO));
    assert!(lead.resign().wait().unwrap());
    assert_eq!(store.election("e").leader().wait().unwrap(), None);
}
