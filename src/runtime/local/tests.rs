use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use super::delay::{Parcel, Waiting};
use super::{LinkCounts, LocalNetwork, OneIn};
use crate::ids::NodeId;
use crate::time::Instant;
use crate::transport::{Lane, Transport};

const A: NodeId = NodeId::new(1);
const B: NodeId = NodeId::new(2);
const C: NodeId = NodeId::new(3);

/// What arrived at a node, as `from: text`.
type Arrived = Arc<Mutex<Vec<String>>>;

fn text(envelope: &[u8]) -> String {
    String::from_utf8_lossy(envelope).into_owned()
}

fn listen(network: &LocalNetwork, id: NodeId) -> Arrived {
    let arrived = Arrived::default();
    let sink = Arc::clone(&arrived);
    network.attach(
        id,
        Arc::new(move |from, envelope| sink.lock().push(format!("{from}: {}", text(&envelope)))),
    );
    arrived
}

fn send(network: &LocalNetwork, from: NodeId, to: NodeId, envelopes: &[&'static str]) {
    let endpoint = network.endpoint(from);
    for envelope in envelopes {
        endpoint.send(to, Lane::Bulk, Bytes::from_static(envelope.as_bytes()));
    }
}

fn counts(sent: u64, dropped: u64) -> LinkCounts {
    LinkCounts { sent, dropped }
}

#[test]
fn an_envelope_arrives_before_send_returns() {
    let network = LocalNetwork::new();
    let arrived = listen(&network, B);
    send(&network, A, B, &["x", "y"]);
    assert_eq!(*arrived.lock(), ["1: x", "1: y"]);
    assert_eq!(network.counts(A, B), counts(2, 0));
    assert_eq!(network.counts(B, A), counts(0, 0));
}

#[test]
fn a_node_may_send_change_and_leave_while_it_is_delivered_to() {
    let network = LocalNetwork::new();
    let arrived = listen(&network, A);
    let (inside, endpoint) = (network.clone(), network.endpoint(B));
    network.attach(
        B,
        Arc::new(move |from, envelope| {
            endpoint.send(from, Lane::Urgent, envelope);
            inside.cut(from, B);
            inside.disconnect(B);
        }),
    );
    send(&network, A, B, &["x"]);
    assert_eq!(*arrived.lock(), ["2: x"]);
    assert_eq!(network.counts(B, A), counts(1, 0));
}

#[test]
fn nobody_there_is_a_drop_and_who_connects_again_replaces() {
    let network = LocalNetwork::new();
    send(&network, A, B, &["lost"]);
    assert_eq!(network.counts(A, B), counts(0, 1));
    let first = listen(&network, B);
    send(&network, A, B, &["x"]);
    let second = listen(&network, B);
    send(&network, A, B, &["y"]);
    network.disconnect(B);
    send(&network, A, B, &["lost"]);
    assert_eq!(
        (first.lock().clone(), second.lock().clone()),
        (vec!["1: x".into()], vec!["1: y".into()])
    );
    assert_eq!(network.counts(A, B), counts(2, 2));
}

#[test]
fn a_cut_has_a_direction_and_outlives_the_endpoint() {
    let network = LocalNetwork::new();
    let (at_a, at_b) = (listen(&network, A), listen(&network, B));
    network.cut(A, B);
    send(&network, A, B, &["lost"]);
    send(&network, A, B, &["lost"]); // through a second endpoint of the same node
    send(&network, B, A, &["x"]);
    network.heal(A, B);
    send(&network, A, B, &["y"]);
    assert_eq!((at_a.lock().len(), at_b.lock().len()), (1, 1));
    assert_eq!(network.counts(A, B), counts(1, 2));
}

#[test]
fn isolation_cuts_both_ways_and_leaves_the_others_alone() {
    let network = LocalNetwork::new();
    let arrived = [A, B, C].map(|id| listen(&network, id));
    network.isolate(B);
    for (from, to) in [(A, B), (B, A), (C, B), (B, C), (A, C), (C, A)] {
        send(&network, from, to, &["x"]);
    }
    let lens = || arrived.iter().map(|arrived| arrived.lock().len()).collect::<Vec<_>>();
    assert_eq!(lens(), [1, 0, 1]);
    network.heal_all();
    for (from, to) in [(A, B), (B, A), (C, B), (B, C)] {
        send(&network, from, to, &["x"]);
    }
    assert_eq!(lens(), [2, 2, 2]);
}

#[test]
fn one_in_n_counts_from_when_it_was_set() {
    let third = OneIn::default();
    assert!(!(0..9).any(|_| third.picks()), "off");
    third.set(3);
    let picks = |times: usize| (0..times).map(|_| third.picks()).collect::<Vec<_>>();
    assert_eq!(picks(7), [false, false, true, false, false, true, false]);
    third.set(3);
    assert_eq!(picks(3), [false, false, true], "the count began anew");
    third.set(1);
    assert_eq!(picks(2), [true, true]);
}

#[test]
fn drops_and_repeats_follow_their_counts() {
    let network = LocalNetwork::new();
    let arrived = listen(&network, B);
    network.drop_one_in(A, B, 3);
    network.duplicate_one_in(A, B, 2);
    send(&network, A, B, &["1", "2", "3", "4", "5", "6"]);
    // 3 and 6 are lost; of 1 2 4 5 every second comes twice.
    assert_eq!(*arrived.lock(), ["1: 1", "1: 2", "1: 2", "1: 4", "1: 5", "1: 5"]);
    assert_eq!(network.counts(A, B), counts(6, 2));
    network.heal(A, B);
    send(&network, A, B, &["7", "8", "9"]);
    assert_eq!(network.counts(A, B), counts(9, 2));
}

fn parcel(network: &LocalNetwork, envelope: &'static str) -> Parcel {
    let envelope = Bytes::from_static(envelope.as_bytes());
    Parcel { link: network.link(A, B), from: A, to: B, envelope, copies: 1 }
}

fn at(nanos: u64) -> Instant {
    Instant::from_nanos(nanos)
}

#[test]
fn parcels_leave_when_they_are_due_and_in_order() {
    let network = LocalNetwork::new();
    let mut waiting = Waiting::new(1 << 20);
    assert_eq!(waiting.next_due(), None);
    for (due, envelope) in [(30, "c"), (10, "a1"), (20, "b"), (10, "a2"), (10, "a3")] {
        waiting.push(at(due), parcel(&network, envelope)).unwrap();
    }
    let mut due_by = |now| {
        let next = std::iter::from_fn(|| waiting.pop_due(at(now)));
        next.map(|parcel| text(&parcel.envelope)).collect::<Vec<_>>()
    };
    assert_eq!(due_by(9), [""; 0]);
    assert_eq!(due_by(10), ["a1", "a2", "a3"], "the same moment: as they came");
    assert_eq!(due_by(29), ["b"]);
    assert_eq!(waiting.next_due(), Some(at(30)));
    assert!(waiting.pop_due(at(u64::MAX)).is_some());
    assert!(waiting.pop_due(at(u64::MAX)).is_none());
}

#[test]
fn parcels_of_one_moment_leave_as_they_came() {
    let network = LocalNetwork::new();
    let mut waiting = Waiting::new(1 << 20);
    for number in 0..100 {
        let envelope = Bytes::from(number.to_string());
        waiting.push(at(1), Parcel { envelope, ..parcel(&network, "") }).unwrap();
    }
    for number in 0..100 {
        let parcel = waiting.pop_due(at(1)).unwrap();
        assert_eq!(text(&parcel.envelope), number.to_string());
    }
}

#[test]
fn what_waits_is_bounded_in_bytes() {
    let network = LocalNetwork::new();
    let mut waiting = Waiting::new(1000);
    let big: &'static str = Box::leak("x".repeat(700).into_boxed_str());
    waiting.push(at(1), parcel(&network, big)).unwrap();
    let refused = waiting.push(at(2), parcel(&network, big)).unwrap_err();
    assert_eq!(refused.envelope.len(), 700, "it comes back");
    assert!(waiting.pop_due(at(1)).is_some());
    waiting.push(at(2), parcel(&network, big)).unwrap();
    // Empty envelopes are not free either.
    let small = (0..1000).take_while(|_| waiting.push(at(3), parcel(&network, "")).is_ok());
    assert!(small.count() < 10);
}

#[test]
fn what_is_delayed_arrives_on_the_delay_thread() {
    let network = LocalNetwork::new();
    let (sender, arrived) = mpsc::channel();
    network.attach(
        B,
        Arc::new(move |_, envelope| {
            let thread = std::thread::current().name().unwrap_or_default().to_owned();
            sender.send((text(&envelope), thread)).unwrap();
        }),
    );
    network.delay(A, B, Duration::from_nanos(1));
    network.duplicate_one_in(A, B, 1);
    send(&network, A, B, &["x"]);
    for _ in 0..2 {
        assert_eq!(arrived.recv().unwrap(), ("x".to_owned(), "local-delay".to_owned()));
    }
    assert_eq!(network.counts(A, B), counts(2, 0));
}

#[test]
fn a_parcel_on_a_link_that_was_cut_meanwhile_is_lost() {
    let network = LocalNetwork::new();
    let arrived = listen(&network, B);
    network.cut(A, B);
    network.shared.routes.arrive(parcel(&network, "x"));
    network.heal(A, B);
    network.shared.routes.arrive(parcel(&network, "y"));
    assert_eq!(*arrived.lock(), ["1: y"]);
    assert_eq!(network.counts(A, B), counts(1, 1));
}

#[test]
fn a_network_ends_with_its_last_handle_and_takes_what_waits_along() {
    let network = LocalNetwork::new();
    let arrived = listen(&network, B);
    network.delay(A, B, Duration::MAX);
    let endpoint = network.endpoint(A);
    endpoint.send(B, Lane::Bulk, Bytes::from_static(b"never"));
    assert!(network.shared.delayer.lock().is_some());
    drop(network);
    drop(endpoint); // joins the thread: the test would hang if it did not end
    assert_eq!(Arc::strong_count(&arrived), 1, "the inbox was let go");
    assert!(arrived.lock().is_empty());
}

#[test]
fn the_last_handle_may_go_on_the_delay_thread() {
    let network = LocalNetwork::new();
    let (sender, gone) = mpsc::channel();
    let last = Mutex::new(Some(network.clone()));
    network.attach(
        B,
        Arc::new(move |_, _| {
            drop(last.lock().take());
            sender.send(()).unwrap();
        }),
    );
    network.delay(A, B, Duration::from_nanos(1));
    send(&network, A, B, &["x"]);
    drop(network);
    gone.recv().unwrap();
}
