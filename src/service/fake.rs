//! A node without threads: a real machine behind a [`Gate`], and switches for how it answers.

pub(super) mod by_hand;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crate::core::lease::{Ends, Kept, Leftover, Look, Offered, Opened, Opening, Which, deadline};
use crate::core::machine::{Command, Genesis, Machine, Member, Origin, Outcome, Refusal, stamp};
use crate::core::mvcc::{Pace, Reader};
use crate::core::watch::{Budget, Watches};
use crate::entry::{ConfState, Entry, EntryKind, SnapshotMark};
use crate::error::{Error, Kind, Result};
use crate::gate::{Gate, Limits, Reply, Request, Standing, Then, next_number};
use crate::ids::{ClusterId, Incarnation, Index, LeaseId, NodeId, Revision, Term};
use crate::store::Store;
use crate::time::Instant;

pub(super) const MEMBER: NodeId = NodeId::new(7);
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
pub(super) const MIN_TTL: Duration = Duration::from_millis(1500);
pub(super) const MAX_REQUEST_BYTES: usize = 256;
pub(super) const MAX_TXN_OPS: usize = 6;

/// What becomes of a request.
#[derive(Clone, Debug)]
pub(super) enum Manner {
    /// Refused when it is handed in.
    Refuse(Kind),
    /// Taken, and kept until [`Fake::answer`].
    Keep,
    /// Taken, and answered as soon as the caller lends its thread.
    AnswerWhenLent,
    /// Answered while it is handed in, before the caller can wait.
    AnswerAtOnce,
}

/// How a request is answered.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// As a node would: the machine applies the write, a read may go on.
    Honest,
    /// A write is answered with this, and nothing is applied.
    Outcome(Outcome),
    Fail(Kind),
    /// It is done, and said to be unknown.
    Unknown,
    /// Not at all: the reply is dropped.
    Gone,
}

pub(super) struct Fake {
    reader: Reader,
    watches: Arc<Watches>,
    /// When its clock showed nothing.
    pub(super) system_zero: std::time::Instant,
    numbers: AtomicU64,
    /// Bytes of a request, and operations of a transaction.
    limits: Mutex<(usize, usize)>,
    state: Mutex<State>,
}

struct State {
    machine: Machine,
    manner: Manner,
    answer: Answer,
    kept: Vec<Request>,
    leads_alone: bool,
    /// How old its state is at most, as far as it knows.
    age: Option<Duration>,
    /// What its clock shows.
    now: Instant,
    /// Leases that it keeps: it never renews them.
    kept_leases: Vec<Arc<Kept>>,
    /// What their holders let go of.
    ends: Arc<Ends>,
    sleepers: Vec<(Instant, Reply<()>)>,
    /// Answers that are given when nothing is locked: who is told may ask at once.
    answers: Vec<Box<dyn FnOnce() + Send>>,
    /// The sequence of the last write; with the mark at 1 also what its index follows from.
    written: u64,
    log: Vec<String>,
}

/// A fake node and a handle to it.
#[expect(clippy::disallowed_methods, reason = "a zero for its clock, which nobody else reads")]
pub(super) fn fake(manner: Manner) -> (Arc<Fake>, Store) {
    let mark = SnapshotMark {
        index: Index::new(1),
        term: Term::new(1),
        conf: ConfState { voters: vec![MEMBER], ..ConfState::default() },
    };
    let member = Member {
        id: MEMBER,
        name: "a".to_owned(),
        address: "local".to_owned(),
        incarnation: Some(Incarnation::new(1)),
        learner: false,
    };
    let cluster = ClusterId::new(9);
    let machine = Machine::new(Genesis { cluster, members: vec![member], mark });
    let reader = machine.reader();
    let state = State {
        machine,
        manner,
        answer: Answer::Honest,
        kept: Vec::new(),
        leads_alone: false,
        age: None,
        now: Instant::default(),
        kept_leases: Vec::new(),
        ends: Arc::default(),
        sleepers: Vec::new(),
        answers: Vec::new(),
        written: 0,
        log: Vec::new(),
    };
    let watches = Arc::new(Watches::new(reader.clone()));
    watches.set_leader(true, false);
    let fake = Arc::new(Fake {
        reader,
        watches,
        system_zero: std::time::Instant::now(),
        numbers: AtomicU64::new(0),
        limits: Mutex::new((MAX_REQUEST_BYTES, MAX_TXN_OPS)),
        state: Mutex::new(state),
    });
    let store = Store::new(Arc::clone(&fake) as Arc<dyn Gate>);
    (fake, store)
}

/// A node that answers honestly, with `a` put at 2 and `b` at 3.
pub(super) fn filled() -> (Arc<Fake>, Store) {
    let (node, store) = fake(Manner::AnswerWhenLent);
    store.put("a", "1").wait().unwrap();
    store.put("b", "2").wait().unwrap();
    node.take_log();
    (node, store)
}

impl Fake {
    pub(super) fn set_answer(&self, answer: Answer) {
        self.state.lock().answer = answer;
    }

    pub(super) fn set_manner(&self, manner: Manner) {
        self.state.lock().manner = manner;
    }

    /// Larger requests, with more in them, than it takes otherwise.
    pub(super) fn set_limits(&self, bytes: usize, txn_ops: usize) {
        *self.limits.lock() = (bytes, txn_ops);
    }

    pub(super) fn set_leads_alone(&self, leads_alone: bool) {
        self.state.lock().leads_alone = leads_alone;
    }

    /// Its clock goes on, and wakes who sleeps; nothing else happens.
    pub(super) fn pass(&self, span: Duration) {
        let mut state = self.state.lock();
        state.now = state.now.after(span);
        let now = state.now;
        let due: Vec<_> = state.sleepers.extract_if(.., |(due, _)| *due <= now).collect();
        drop(state);
        for (_, reply) in due {
            let _ = reply.send(Ok(()));
        }
    }

    /// Leases that are kept for holders, in the order in which they came.
    pub(super) fn kept_leases(&self) -> Vec<Arc<Kept>> {
        self.state.lock().kept_leases.clone()
    }

    /// Leases that it is to end, though nobody asked for that.
    pub(super) fn left_to_revoke(&self) -> Vec<LeaseId> {
        let ends = self.state.lock().ends.take();
        ends.iter().filter(|end| end.revoke).map(|end| end.which.lease).collect()
    }

    /// Keys that it is to delete.
    pub(super) fn left_to_delete(&self) -> Vec<Leftover> {
        self.state.lock().ends.take_leftovers().collect()
    }

    /// A write of somebody else.
    pub(super) fn write(&self, command: &Command) -> Outcome {
        self.state.lock().apply(command.encode())
    }

    pub(super) fn set_age(&self, age: Duration) {
        self.state.lock().age = Some(age);
    }

    /// Removes what was compacted; a pin that is more than `max_pinned` behind is not waited for.
    pub(super) fn tidy(&self, max_pinned: u64) {
        let mut state = self.state.lock();
        let watched = self.watches.oldest(state.machine.mvcc().waited_for(max_pinned));
        let pace = Pace { work: usize::MAX, max_pinned, watched };
        while state.machine.tidy(pace) {}
    }

    /// What was kept so far: it may be [given back](Self::keep), to be answered later than others.
    pub(super) fn take_kept(&self) -> Vec<Request> {
        std::mem::take(&mut self.state.lock().kept)
    }

    pub(super) fn keep(&self, requests: Vec<Request>) {
        self.state.lock().kept.extend(requests);
    }

    /// Up to where everything that was compacted has been removed.
    pub(super) fn removed(&self) -> Option<Revision> {
        self.state.lock().machine.mvcc().removed()
    }

    /// Answers everything that was kept.
    pub(super) fn answer(&self) {
        let mut state = self.state.lock();
        for request in std::mem::take(&mut state.kept) {
            state.answer(request);
        }
        drop(state);
        self.give_answers();
        self.advance(Instant::default());
    }

    fn give_answers(&self) {
        let answers = std::mem::take(&mut self.state.lock().answers);
        answers.into_iter().for_each(|give| give());
    }

    /// Lets watchers know what has been applied, at a moment that does not fall.
    pub(super) fn advance(&self, now: Instant) {
        let all = Budget { looks: usize::MAX, rings: usize::MAX };
        while self.watches.advance(now, all, true) {}
    }

    /// What was asked so far, a line for each; asking forgets it.
    pub(super) fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().log)
    }

    pub(super) fn revision(&self) -> Revision {
        self.reader.revision()
    }
}

impl State {
    fn answer(&mut self, request: Request) {
        match request {
            Request::Write { payload, reply, .. } | Request::Compact { payload, reply, .. } => {
                self.give_outcome(reply, |state| state.apply(payload));
            }
            Request::KeepAlive { lease, reply, .. } => {
                self.give_outcome(reply, |state| state.renew(lease));
            }
            Request::Open { how, reply, .. } => self.give(reply, |state| state.open(how)),
            Request::Lease { lease, keys, reply, .. } => {
                self.give(reply, |state| {
                    (state.machine.mvcc().revision(), state.look_at(lease, keys))
                });
            }
            Request::Leases { reply } => self.give(reply, |state| {
                (state.machine.mvcc().revision(), state.machine.leases().ids().collect())
            }),
            Request::Pin { reply } => self.give(reply, |state| state.machine.mvcc().pin()),
            Request::Read { reply, .. } | Request::Transfer { reply, .. } => {
                self.give(reply, |_| ());
            }
            Request::Sleep { timeout, reply } => {
                self.sleepers.push((self.now.after(timeout), reply));
            }
        }
    }

    /// A caller that went away is no concern of the node.
    fn give<T: Send + 'static>(&mut self, reply: Reply<T>, honestly: impl FnOnce(&mut Self) -> T) {
        let answer = match self.answer.clone() {
            Answer::Honest | Answer::Outcome(_) => Ok(honestly(self)),
            Answer::Fail(kind) => Err(Error::new(kind, "so it was set")),
            Answer::Unknown => {
                honestly(self);
                Err(Error::new(Kind::Unavailable, "so it was set").with_unknown_outcome())
            }
            Answer::Gone => return,
        };
        self.answers.push(Box::new(|| drop(reply.send(answer))));
    }

    fn give_outcome(&mut self, reply: Reply<Outcome>, honestly: impl FnOnce(&mut Self) -> Outcome) {
        match self.answer.clone() {
            Answer::Outcome(outcome) => {
                self.answers.push(Box::new(|| drop(reply.send(Ok(outcome)))));
            }
            _ => self.give(reply, honestly),
        }
    }

    fn renew(&mut self, lease: LeaseId) -> Outcome {
        match self.apply(Command::Renew { leases: vec![lease] }.encode()) {
            Outcome::Renewed(ttls) if ttls == [None] => {
                Outcome::Refused(Refusal::LeaseNotFound(lease))
            }
            other => other,
        }
    }

    fn open(&mut self, how: Opening) -> Opened {
        let (adopted, outcome) = match how {
            Opening::Grant(payload) => (None, self.apply(payload)),
            Opening::Adopt(lease) => (Some(lease), self.renew(lease)),
        };
        let (lease, ttl) = match (adopted, &outcome) {
            (None, Outcome::Granted { lease, ttl }) => (*lease, *ttl),
            (Some(lease), Outcome::Renewed(ttls)) => (lease, ttls[0].unwrap()),
            _ => return Opened::Not(outcome),
        };
        let ttl = Duration::from_millis(ttl);
        let grant = self.machine.leases().get(lease).unwrap().grant;
        let which = Which { lease, grant, number: self.kept_leases.len() as u64 };
        let kept = Arc::new(Kept::new(which, ttl, deadline(self.now, ttl), &self.ends));
        self.kept_leases.push(Arc::clone(&kept));
        Opened::Kept(Offered::granted(kept))
    }

    fn look_at(&self, id: LeaseId, keys: bool) -> Option<Look> {
        let leases = self.machine.leases();
        let lease = leases.get(id)?;
        let attached = lease.keys().filter(|_| keys).map(Bytes::copy_from_slice);
        Some(Look {
            granted: Duration::from_millis(lease.ttl),
            remaining: Duration::from_millis(leases.remaining(lease)),
            keys: attached.collect(),
        })
    }

    fn apply(&mut self, mut payload: BytesMut) -> Outcome {
        self.written += 1;
        let origin = Origin {
            node: MEMBER,
            incarnation: Incarnation::new(1),
            boot: 1,
            sequence: self.written,
            watermark: self.written,
        };
        stamp(&mut payload, &origin);
        let entry = Entry {
            index: Index::new(1 + self.written),
            term: Term::new(1),
            kind: EntryKind::Normal,
            data: payload.freeze(),
        };
        let applied = self.machine.apply(&entry).unwrap();
        self.machine.publish();
        applied.outcome
    }
}

impl Gate for Fake {
    fn submit(&self, request: Request, then: Then) -> Result<()> {
        let mut state = self.state.lock();
        let (what, timeout) = match &request {
            Request::Write { timeout, .. } => ("write".to_owned(), *timeout),
            Request::Compact { timeout, .. } => ("write, and remove".to_owned(), *timeout),
            Request::Pin { .. } => ("pin".to_owned(), DEFAULT_TIMEOUT),
            Request::Read { timeout, .. } => ("read".to_owned(), *timeout),
            Request::Transfer { to, timeout, .. } => (format!("transfer to {to}"), *timeout),
            Request::KeepAlive { lease, timeout, .. } => (format!("keep {lease} alive"), *timeout),
            Request::Open { timeout, how: Opening::Grant(_), .. } => ("open".to_owned(), *timeout),
            Request::Open { timeout, how: Opening::Adopt(lease), .. } => {
                (format!("adopt {lease}"), *timeout)
            }
            Request::Lease { lease, keys, timeout, .. } => {
                let keys = if *keys { " and its keys" } else { "" };
                (format!("look at {lease}{keys}"), *timeout)
            }
            Request::Leases { .. } => ("list leases".to_owned(), DEFAULT_TIMEOUT),
            Request::Sleep { timeout, .. } => ("sleep".to_owned(), *timeout),
        };
        state.log.push(format!("{what}, {timeout:?}, {then:?}"));
        match state.manner.clone() {
            Manner::Keep | Manner::AnswerWhenLent if matches!(request, Request::Sleep { .. }) => {
                state.answer(request);
            }
            Manner::Refuse(kind) => return Err(Error::new(kind, "so it was set")),
            Manner::Keep | Manner::AnswerWhenLent => state.kept.push(request),
            Manner::AnswerAtOnce => state.answer(request),
        }
        drop(state);
        self.give_answers();
        Ok(())
    }

    fn is_busy(&self) -> bool {
        !self.state.lock().kept.is_empty()
    }

    fn drive(&self) {
        self.state.lock().log.push("driven".to_owned());
    }

    fn lend(&self, done: &mut dyn FnMut() -> bool) {
        self.state.lock().log.push(format!("lent, done: {}", done()));
        if matches!(self.state.lock().manner, Manner::AnswerWhenLent) {
            self.answer();
            assert!(done(), "an answer, or its absence, ends the lending");
        }
    }

    fn run(&self, job: Box<dyn FnOnce() + Send>) {
        job();
    }

    fn now(&self) -> Instant {
        self.state.lock().now
    }

    fn system_time(&self, at: Instant) -> std::time::Instant {
        self.system_zero + Duration::from_nanos(at.nanos())
    }

    fn park(&self, woken: &dyn Fn() -> bool, until: Option<Instant>) -> bool {
        while !woken() && until.is_none() {
            std::thread::park();
        }
        woken()
    }

    fn reader(&self) -> Result<&Reader> {
        Ok(&self.reader)
    }

    fn watches(&self) -> &Arc<Watches> {
        &self.watches
    }

    fn ending(&self) -> Error {
        Error::new(Kind::Closed, "the node is closed")
    }

    fn leads_alone(&self) -> bool {
        self.state.lock().leads_alone
    }

    fn is_current_within(&self, age: Duration) -> bool {
        self.state.lock().age.is_some_and(|known| known <= age)
    }

    fn standing(&self) -> Standing {
        Standing { cluster: ClusterId::new(9), member: MEMBER, term: Term::new(3) }
    }

    fn limits(&self) -> Limits {
        let (max_request_bytes, max_txn_ops) = *self.limits.lock();
        Limits {
            max_request_bytes,
            max_txn_ops,
            request_timeout: DEFAULT_TIMEOUT,
            min_ttl: MIN_TTL,
        }
    }

    fn number(&self, least: u64) -> u64 {
        next_number(&self.numbers, least)
    }
}
