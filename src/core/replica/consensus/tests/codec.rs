//! The bytes of messages, and what arbitrary bytes and messages can do: nothing bad (R13).

use bytes::BytesMut;
use proptest::prelude::*;
use raft::eraftpb::MessageType::*;

use super::harness::*;
use super::*;
use crate::codec::Malformed;
use crate::transport::Lane;

fn encode(message: &Message) -> Bytes {
    let mut out = BytesMut::from(&b"kept"[..]);
    message.encode(&mut out);
    assert_eq!(out.split_to(4), "kept");
    out.freeze()
}

/// One message of every kind, every field set that its kind carries.
fn one_of_each() -> Vec<Message> {
    let base = |msg_type| eraftpb::Message { msg_type, term: 9, ..Default::default() };
    let at = |kind| eraftpb::Message { index: 7, log_term: 8, commit: 6, ..base(kind) };
    let entry = |index, kind, data: &'static str| eraftpb::Entry {
        index,
        term: 8,
        entry_type: kind,
        data: Bytes::from_static(data.as_bytes()),
        ..Default::default()
    };
    let mut append = at(MsgAppend);
    append.set_entries(
        vec![
            entry(8, eraftpb::EntryType::EntryNormal, "value"),
            entry(9, eraftpb::EntryType::EntryNormal, ""),
            entry(10, eraftpb::EntryType::EntryConfChangeV2, "change"),
        ]
        .into(),
    );
    let mut snapshot = base(MsgSnapshot);
    snapshot.set_snapshot(log::snapshot_of(&mark_at(
        7,
        8,
        ConfState {
            voters: ids(&[1, 2]),
            learners: ids(&[5]),
            voters_outgoing: ids(&[2, 3]),
            learners_next: ids(&[3]),
            auto_leave: true,
        },
    )));
    let context = Bytes::from(vec![7; wire::CONTEXT_BYTES]);
    let forced = Bytes::from_static(raft::CAMPAIGN_TRANSFER);
    let commit = |kind| eraftpb::Message { commit: 6, commit_term: 5, ..base(kind) };
    vec![
        append,
        eraftpb::Message { reject: true, reject_hint: 5, ..at(MsgAppendResponse) },
        eraftpb::Message { commit: 6, context: context.clone(), ..base(MsgHeartbeat) },
        eraftpb::Message { commit: 6, context, ..base(MsgHeartbeatResponse) },
        eraftpb::Message { commit_term: 5, context: forced, ..at(MsgRequestVote) },
        eraftpb::Message { reject: true, ..commit(MsgRequestVoteResponse) },
        eraftpb::Message { commit_term: 5, ..at(MsgRequestPreVote) },
        commit(MsgRequestPreVoteResponse),
        snapshot,
        base(MsgTimeoutNow),
    ]
    .into_iter()
    .map(Message)
    .collect()
}

#[test]
fn every_kind_comes_back_as_it_was() {
    for message in one_of_each() {
        assert_eq!(Message::decode(encode(&message)).as_ref(), Ok(&message));
    }
}

#[test]
fn a_message_cut_short_or_with_a_rest_is_malformed() {
    for message in one_of_each() {
        let bytes = encode(&message);
        for cut in 0..bytes.len() {
            assert!(Message::decode(bytes.slice(..cut)).is_err(), "{message:?} at {cut}");
        }
        let longer = Bytes::from([&bytes[..], b"x"].concat());
        assert_eq!(Message::decode(longer), Err(Malformed { what: "message" }));
    }
}

#[test]
fn only_small_messages_are_urgent() {
    let urgent: Vec<_> = one_of_each().iter().map(|m| m.lane() == Lane::Urgent).collect();
    assert_eq!(urgent, [false, false, true, true, true, true, true, true, false, true]);
}

#[test]
fn the_data_of_an_entry_is_a_slice_of_what_was_received() {
    let bytes = encode(&one_of_each()[0]);
    let message = Message::decode(bytes.clone()).unwrap();
    let data = message.0.entries[0].data.as_ptr_range();
    assert!(bytes.as_ptr_range().contains(&data.start));
}

#[test]
fn a_count_beyond_the_bytes_allocates_nothing() {
    let mut out = BytesMut::new();
    Message(eraftpb::Message { msg_type: MsgAppend, term: 1, ..Default::default() })
        .encode(&mut out);
    let count = out.len() - 4;
    out[count..].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(Message::decode(out.freeze()), Err(Malformed { what: "entries" }));
}

/// What may happen to a member in the mutation tests. Nobody judges here but the crate's own
/// assertions: whoever forges messages breaks the protocol, and must not break the process.
#[derive(Clone, Debug)]
enum Input {
    Forged {
        from: u64,
        message: Box<eraftpb::Message>,
    },
    Mutated {
        which: usize,
        at: usize,
        byte: u8,
    },
    /// It campaigns, and member 2 votes for it.
    Win,
    /// Member 2 leads, and appends or sends a snapshot where the log ends.
    Follow {
        entries: u64,
        commit: u64,
        snapshot: bool,
    },
    /// Member 2 acknowledges everything.
    Acknowledge,
    Change(ConfChange),
    Tick(u8),
    Sync(usize),
    Propose,
    Read,
    Snapshot,
    Transfer(u64),
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![12 => 0..9_u64, 1 => 9..40_u64, 1 => Just(u64::MAX), 1 => any::<u64>()]
}

fn conf() -> impl Strategy<Value = ConfState> {
    let some = || proptest::collection::btree_set(0..5_u64, 0..4);
    (some(), some(), some(), some(), any::<bool>()).prop_map(|(a, b, c, d, auto_leave)| {
        let ids = |ids: std::collections::BTreeSet<u64>| ids.into_iter().map(NodeId::new).collect();
        ConfState {
            voters: ids(a),
            learners: ids(b),
            voters_outgoing: ids(c),
            learners_next: ids(d),
            auto_leave,
        }
    })
}

prop_compose! {
    fn forged()(
        kind in 0..19_usize,
        numbers in proptest::collection::vec(number(), 7),
        terms in proptest::collection::vec(number(), 0..4),
        flags in any::<(bool, bool, bool)>(),
        conf in conf(),
        from in 0..5_u64,
    ) -> Input {
        let mut m = eraftpb::Message {
            msg_type: KINDS[kind],
            term: numbers[0],
            index: numbers[1],
            log_term: numbers[2],
            commit: numbers[3],
            commit_term: numbers[4],
            reject_hint: numbers[5],
            reject: flags.0,
            ..Default::default()
        };
        if flags.1 {
            m.context = Bytes::from_static(raft::CAMPAIGN_TRANSFER);
        }
        let entry = |(at, term): (usize, &u64)| eraftpb::Entry {
            index: numbers[1].wrapping_add(1 + at as u64),
            term: *term,
            ..Default::default()
        };
        let entries: Vec<_> = terms.iter().enumerate().map(entry).collect();
        m.set_entries(entries.into());
        if m.msg_type == MsgSnapshot {
            m.set_snapshot(log::snapshot_of(&mark_at(numbers[1], numbers[2], conf)));
        }
        Input::Forged { from, message: Box::new(m) }
    }
}

const KINDS: [MessageType; 19] = [
    MsgHup,
    MsgBeat,
    MsgPropose,
    MsgAppend,
    MsgAppendResponse,
    MsgRequestVote,
    MsgRequestVoteResponse,
    MsgSnapshot,
    MsgHeartbeat,
    MsgHeartbeatResponse,
    MsgUnreachable,
    MsgSnapStatus,
    MsgCheckQuorum,
    MsgTransferLeader,
    MsgTimeoutNow,
    MsgReadIndex,
    MsgReadIndexResp,
    MsgRequestPreVote,
    MsgRequestPreVoteResponse,
];

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        20 => forged(),
        4 => (0..10_usize, any::<usize>(), any::<u8>())
            .prop_map(|(which, at, byte)| Input::Mutated { which, at, byte }),
        4 => Just(Input::Win),
        4 => (0..4_u64, 0..3_u64, proptest::bool::weighted(0.2))
            .prop_map(|(entries, commit, snapshot)| Input::Follow { entries, commit, snapshot }),
        4 => Just(Input::Acknowledge),
        2 => proptest::collection::vec((0..3_u8, 0..5_u64), 0..3).prop_map(|steps| {
            let step = |(kind, id)| match kind {
                0 => ConfStep::Voter(NodeId::new(id)),
                1 => ConfStep::Learner(NodeId::new(id)),
                _ => ConfStep::Remove(NodeId::new(id)),
            };
            let steps = steps.into_iter().map(step).collect();
            Input::Change(ConfChange { steps, ..Default::default() })
        }),
        4 => (1..30_u8).prop_map(Input::Tick),
        6 => (1..4_usize).prop_map(Input::Sync),
        2 => Just(Input::Propose),
        1 => Just(Input::Read),
        1 => Just(Input::Snapshot),
        1 => (1..4_u64).prop_map(Input::Transfer),
    ]
}

/// One member, driven without judges.
struct Member {
    core: Consensus,
    tickets: VecDeque<Ticket>,
    applied: Option<SnapshotMark>,
}

impl Member {
    /// False once it has to stop.
    fn take(&mut self, input: Input) -> bool {
        let mut alive = true;
        match input {
            Input::Forged { from, message } => alive = self.step(from, Message(*message)),
            Input::Mutated { which, at, byte } => {
                let mut bytes = encode(&one_of_each()[which]).to_vec();
                let at = at % bytes.len();
                bytes[at] = byte;
                if let Ok(message) = Message::decode(bytes.into()) {
                    alive = self.step(2, message);
                }
            }
            Input::Win => alive = self.win(),
            Input::Follow { entries, commit, snapshot } => {
                alive = self.follow(entries, commit, snapshot);
            }
            Input::Acknowledge => {
                let Status { term, last_index, .. } = self.core.status();
                let (term, index) = (term.get(), last_index.get());
                let kind = MsgAppendResponse;
                let m = eraftpb::Message { msg_type: kind, term, index, ..Default::default() };
                alive = self.step(2, Message(m));
            }
            Input::Change(change) => {
                let entry = eraftpb::Entry {
                    entry_type: eraftpb::EntryType::EntryConfChangeV2,
                    data: change.encode(),
                    ..Default::default()
                };
                let _ = self.core.propose_entries(vec![entry]);
            }
            Input::Tick(count) => (0..count).for_each(|_| self.core.tick()),
            Input::Sync(count) => self.sync(count),
            Input::Propose => drop(self.core.propose(vec![Bytes::from_static(b"x")])),
            Input::Read => drop(self.core.start_read()),
            Input::Snapshot => {
                if let Some(mark) = self.applied.clone() {
                    self.core.compact(mark.index);
                    self.core.snapshot_saved(mark);
                }
            }
            Input::Transfer(to) => drop(self.core.transfer(NodeId::new(to))),
        }
        alive && self.drain()
    }

    fn drain(&mut self) -> bool {
        let mut out = VecDeque::new();
        if self.core.drain(&mut out).is_err() {
            return false;
        }
        for effect in out {
            match effect {
                Effect::Persist { ticket, .. } => self.tickets.push_back(ticket),
                Effect::Committed { entries } => {
                    let (last, _) = entries.last().unwrap();
                    let conf = conf::from_raft(&self.core.core.raft.prs().conf().to_conf_state());
                    self.applied = Some(SnapshotMark { index: last.index, term: last.term, conf });
                }
                _ => {}
            }
        }
        true
    }

    fn sync(&mut self, count: usize) {
        let synced = self.tickets.drain(..count.min(self.tickets.len())).next_back();
        synced.into_iter().for_each(|ticket| self.core.persisted(ticket));
    }

    fn win(&mut self) -> bool {
        (0..20).for_each(|_| self.core.tick());
        let vote =
            |msg_type, term| Message(eraftpb::Message { msg_type, term, ..Default::default() });
        let term = self.core.status().term.get();
        let mut alive = self.step(2, vote(MsgRequestPreVoteResponse, term + 1)) && self.drain();
        self.sync(usize::MAX);
        alive &= self.step(2, vote(MsgRequestVoteResponse, self.core.status().term.get()));
        alive
    }

    fn follow(&mut self, entries: u64, commit: u64, snapshot: bool) -> bool {
        let Status { role, term, last_index, .. } = self.core.status();
        let term = term.get() + u64::from(role == Role::Leader);
        let index = last_index.get();
        let log_term = self.core.core.raft.raft_log.last_term();
        let entry = |index| eraftpb::Entry { index, term, ..Default::default() };
        let mut m = eraftpb::Message {
            msg_type: MsgAppend,
            term,
            index,
            log_term,
            commit: index + commit,
            ..Default::default()
        };
        m.set_entries((index + 1..=index + entries).map(entry).collect::<Vec<_>>().into());
        if snapshot {
            m.msg_type = MsgSnapshot;
            let mark = mark_at(index + entries, term.max(1), conf_of(&[1, 2, 3], &[4]));
            m.set_snapshot(log::snapshot_of(&mark));
        }
        self.step(2, Message(m))
    }

    fn step(&mut self, from: u64, message: Message) -> bool {
        !matches!(self.core.step(NodeId::new(from), message), Err(Rejected::Fatal(_)))
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1_000,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        let _ = Message::decode(bytes.into());
    }

    /// What decodes encodes to the same bytes: there is one way to write a message.
    #[test]
    fn mutated_bytes_never_panic(
        which in 0..10_usize,
        changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = encode(&one_of_each()[which]).to_vec();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        if let Ok(message) = Message::decode(bytes.clone().into()) {
            prop_assert_eq!(&encode(&message)[..], &bytes[..]);
        }
    }

    #[test]
    fn arbitrary_messages_never_panic(
        alone in proptest::bool::weighted(0.2),
        inputs in proptest::collection::vec(input(), 1..60),
    ) {
        let conf = if alone { conf_of(&[1], &[2, 4]) } else { conf_of(&[1, 2, 3], &[4]) };
        let disk = Disk {
            hard_state: HardState { term: Term::new(1), ..Default::default() },
            mark: mark_at(1, 1, conf),
            ..Default::default()
        };
        let core = Consensus::new(start(1, 7, &disk)).unwrap();
        let mut member = Member { core, tickets: VecDeque::new(), applied: None };
        for input in inputs {
            if !member.take(input) {
                break;
            }
        }
    }
}
