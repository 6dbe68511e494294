//! What a turn owes the clock.

use std::cell::Cell;
use std::time::Duration;

use super::*;
use crate::core::machine::{Command, Genesis, Machine, Member};
use crate::core::replica::consensus::{Start, Ticket};
use crate::core::replica::{Me, Restored, Retain, Settings};
use crate::driver::mailbox::Bounds;
use crate::entry::{ConfState, HardState, SnapshotMark};
use crate::ids::{ClusterId, Incarnation, Term};
use crate::sync::oneshot;

const ME: NodeId = NodeId::new(1);
const LEASE: LeaseId = LeaseId::new(7);

/// Syncs at once what it is handed, and forgets everything else.
#[derive(Default)]
struct Hands(Vec<Ticket>);

impl Host for Hands {
    fn publish(&mut self, _: &Replica) {}

    fn send(&mut self, _: NodeId, _: Lane, _: Bytes) {}

    fn persist(&mut self, persist: Persist) {
        self.0.push(persist.ticket);
    }

    fn release_log(&mut self, _: Index) {}

    fn job(&mut self, _: Output) -> Result<()> {
        Ok(())
    }

    fn members_changed(&mut self, _: &[Peer]) {}
}

/// A member that leads alone, and its clock.
struct Alone {
    driver: Driver,
    mailbox: Mailbox,
    hands: Hands,
    now: Cell<Instant>,
}

impl Alone {
    fn new() -> Self {
        let conf = ConfState { voters: vec![ME], ..ConfState::default() };
        let mark = SnapshotMark { index: Index::new(1), term: Term::new(1), conf };
        let incarnation = Incarnation::new(9);
        let me = Me { node: ME, incarnation, boot: 1 };
        let (name, address) = ("a".to_owned(), String::new());
        let member = Member { id: ME, name, address, incarnation: None, learner: false };
        let cluster = ClusterId::new(3);
        let genesis = Genesis { cluster, members: vec![member], mark: mark.clone() };
        let tick = Duration::from_millis(50);
        let settings = Settings {
            tick,
            heartbeat: tick * 2,
            election: tick * 20,
            snapshot_count: 1_000_000,
            snapshot_log_bytes: 1 << 30,
            snapshot_catchup_entries: 0,
            max_message_bytes: 1 << 20,
            max_request_bytes: 1 << 16,
            max_pinned_revisions: 0,
            retain: Retain::default(),
        };
        let hard_state = HardState { term: mark.term, commit: mark.index, ..HardState::default() };
        let start = Start {
            id: ME,
            seed: 1,
            election_ticks: 20,
            heartbeat_ticks: 2,
            max_append_bytes: 1 << 16,
            max_inflight: 64,
            max_uncommitted_bytes: 1 << 20,
            max_apply_bytes: 1 << 20,
            hard_state,
            applied: mark.index,
            mark,
            entries: Vec::new(),
        };
        let machine = Machine::new(genesis);
        let restored = Restored { me, cluster, start, machine, saved: None };
        let bounds =
            Bounds { max_requests: 10, max_request_bytes: 1 << 20, max_envelope_bytes: 1 << 20 };
        let mut alone = Self {
            driver: Driver::new(Replica::new(settings, restored, Instant::default()).unwrap()),
            mailbox: Mailbox::new(bounds),
            hands: Hands::default(),
            now: Cell::default(),
        };
        alone.rest();
        alone
    }

    /// A turn, in which `meanwhile` happens while the clock is read: behind the reading.
    fn turn(&mut self, meanwhile: impl FnOnce(&Mailbox, &Cell<Instant>)) {
        let Self { driver, mailbox, hands, now } = self;
        let clock = || {
            let read = now.get();
            meanwhile(mailbox, now);
            read
        };
        let answers = driver.turn(clock, mailbox, hands).unwrap();
        answers.give(mailbox);
        hands.0.drain(..).for_each(|ticket| mailbox.report(Input::Persisted(ticket)));
    }

    /// Turns until nothing is left to do.
    fn rest(&mut self) {
        loop {
            self.turn(|_, _| ());
            if !self.mailbox.is_filled() {
                return;
            }
        }
    }

    fn pass(&self, span: Duration) {
        self.now.set(self.now.get().after(span));
    }

    fn ask(
        &self,
        request: impl FnOnce(Reply<Outcome>) -> Request,
    ) -> oneshot::Receiver<Result<Outcome>> {
        ask((&self.mailbox, self.now.get()), request)
    }

    fn is_there(&self) -> bool {
        self.driver.replica.machine().leases().get(LEASE).is_some()
    }
}

fn ask(
    (mailbox, at): (&Mailbox, Instant),
    request: impl FnOnce(Reply<Outcome>) -> Request,
) -> oneshot::Receiver<Result<Outcome>> {
    let (reply, answer) = oneshot::channel();
    mailbox.post(Posted { request: request(reply), at }).unwrap();
    answer
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// What comes between a look at the clock and a look into the mailbox must not be taken for older
/// than it is.
#[test]
fn lse_11_a_turn_is_not_earlier_than_what_it_takes() {
    let timeout = Duration::from_secs(60);
    let mut alone = Alone::new();
    let payload = Command::Grant { lease: LEASE, ttl: 2000 }.encode();
    let granted = alone.ask(|reply| Request::Write { payload, timeout, reply });
    alone.rest();
    assert!(alone.is_there());
    drop(granted);

    alone.pass(ms(500));
    let mut asked = None;
    alone.turn(|mailbox, now| {
        // The thread that drives is stopped for a second, between the two looks.
        now.set(now.get().after(ms(1000)));
        let keep = |reply| Request::KeepAlive { lease: LEASE, timeout, reply };
        asked = Some((now.get(), ask((mailbox, now.get()), keep)));
    });
    let (asked, renewed) = asked.unwrap();
    alone.rest();
    drop(renewed);

    let deadline = crate::core::lease::deadline(asked, ms(2000));
    alone.now.set(deadline);
    alone.rest();
    assert!(alone.is_there(), "its holder relies on it until now");
    alone.pass(ms(10));
    alone.rest();
    assert!(!alone.is_there());
}

#[test]
fn who_sleeps_is_not_in_the_way_of_who_asks() {
    let mut alone = Alone::new();
    let hour = Duration::from_secs(3600);
    let mut answers = Vec::new();
    for _ in 0..20 {
        let (reply, answer) = oneshot::channel();
        let request = Request::Sleep { timeout: hour, reply };
        alone.mailbox.post(Posted { request, at: alone.now.get() }).unwrap();
        alone.turn(|_, _| ());
        answers.push(answer);
    }
    let refused = |answer: &mut oneshot::Receiver<Result<()>>| {
        answer.try_recv().is_ok_and(|answer| answer.unwrap_err().is_overloaded())
    };
    let refused = answers.iter_mut().map(refused).filter(|refused| *refused).count();
    assert_eq!(refused, 10, "as many sleep as may ask");
    assert!(!alone.mailbox.is_busy(), "nobody waits for an answer of the node");
    let (reply, answer) = oneshot::channel();
    let request = Request::Read { timeout: hour, reply };
    alone.mailbox.post(Posted { request, at: alone.now.get() }).unwrap();
    alone.rest();
    assert!(answer.has_message());
}
