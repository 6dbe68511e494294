//! Queues over members with threads and clocks.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use quorate::{LeaseId, Queue, Revision};

use super::cluster::Cluster;

const ITEMS: u32 = 60;

/// What a consumer got until it was told to stop.
fn consume(queue: &Queue) -> Vec<(Revision, u32)> {
    let mut got = Vec::new();
    loop {
        let item = queue.dequeue().wait().unwrap();
        let Ok(number) = std::str::from_utf8(&item.value).unwrap().parse() else { return got };
        got.push((item.revision, number));
    }
}

/// `REC-40`: consumers on all members, several to a handle; each item is one's.
#[test]
fn rec_40_each_item_is_given_to_one_consumer_in_order() {
    let cluster = Cluster::open(3);
    let consumers: Vec<Queue> = (0..3)
        .flat_map(|at| {
            let queue = cluster.store(at).queue("jobs");
            [queue.clone(), queue]
        })
        .collect();
    let got: Vec<Vec<(Revision, u32)>> = thread::scope(|scope| {
        let running: Vec<_> =
            consumers.iter().map(|queue| scope.spawn(move || consume(queue))).collect();
        let producers: Vec<_> = (0_u32..2)
            .map(|at| {
                let queue = cluster.store(at as usize).queue("jobs");
                scope.spawn(move || {
                    for number in 0..ITEMS {
                        queue.enqueue((number * 2 + at).to_string()).wait().unwrap();
                    }
                })
            })
            .collect();
        producers.into_iter().for_each(|it| it.join().unwrap());
        for _ in &consumers {
            cluster.store(0).queue("jobs").enqueue("stop").wait().unwrap();
        }
        running.into_iter().map(|it| it.join().unwrap()).collect()
    });
    for one in &got {
        assert!(one.is_sorted(), "{one:?}");
    }
    let all: Vec<u32> = got.iter().flatten().map(|(_, number)| *number).collect();
    assert_eq!(all.len(), 2 * ITEMS as usize);
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), (0..2 * ITEMS).collect());
    cluster.assert_same_everywhere();
}

/// `REC-41`, and what is said of an empty one.
#[test]
fn rec_41_the_most_urgent_item_comes_first_on_any_member() {
    let cluster = Cluster::open(3);
    let queues = [0, 1, 2].map(|at| cluster.store(at).priority_queue("jobs"));
    for (at, priority) in [(0, 9), (1, 3), (2, 7), (0, 3)] {
        queues[at].enqueue(priority, format!("{priority} of {at}")).wait().unwrap();
    }
    let mut got = Vec::new();
    while let Some(item) = queues[got.len() % 3].try_dequeue().wait().unwrap() {
        got.push(String::from_utf8(item.value.to_vec()).unwrap());
    }
    assert_eq!(got, ["3 of 1", "3 of 0", "7 of 2", "9 of 0"]);
    let late = queues[0].dequeue().wait_timeout(Duration::from_millis(1));
    assert!(late.unwrap_err().is_timeout());
}

/// `REC-42`: an item goes with its lease; one that is claimed comes back without the claimant.
#[test]
fn rec_42_what_is_leased_goes_and_what_is_claimed_comes_back() {
    let mut cluster = Cluster::open(3);
    let leader = cluster.leader();
    let (here, there) = ((leader + 1) % 3, (leader + 2) % 3);
    let (queue, other) = (cluster.store(here).queue("jobs"), cluster.store(there).queue("jobs"));
    let mine = cluster.store(here).session(Duration::from_secs(60)).wait().unwrap();
    let leased = cluster.store(here).grant(Duration::from_secs(60)).wait().unwrap();
    queue.enqueue("leased").lease(leased.id).wait().unwrap();
    let kept = queue.enqueue("kept").wait().unwrap().revision;
    cluster.store(there).revoke(leased.id).wait().unwrap();
    assert!(queue.enqueue("x").lease(LeaseId::new(77)).wait().unwrap_err().is_lease_not_found());
    // Its member goes, and nobody renews the session.
    let session = cluster.store(there).session(Duration::from_millis(1)).wait().unwrap();
    let claimed = other.claim(&session).wait().unwrap();
    assert_eq!(claimed.item().revision, kept);
    assert!(queue.try_dequeue().wait().unwrap().is_none());
    drop(cluster.take(there));
    assert!(claimed.is_lost());
    let again = queue.claim(&mine).wait().unwrap();
    assert!(again.item().revision == kept && again.token() > claimed.token());
    again.ack().wait().unwrap();
    assert!(claimed.ack().wait().is_err());
    assert!(queue.try_dequeue().wait().unwrap().is_none());
}
