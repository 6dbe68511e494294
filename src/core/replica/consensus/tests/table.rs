//! R13: a test for each row of the table in raft-notes 7.3, and for what stands around it.

use bytes::BytesMut;
use raft::CAMPAIGN_TRANSFER;
use raft::eraftpb::MessageType::*;
use raft::eraftpb::{Entry, EntryType};

use super::harness::*;
use super::*;

/// Member 1 leads 2 and 3 in term 2 with the entries 2 (its own), 3 and 4, all committed, and 5
/// that is only its own. Member 4 is a stranger.
fn cluster() -> Cluster {
    let mut cluster = Cluster::new(5, &conf_of(&[1, 2, 3], &[]), &[]);
    cluster.elect(1);
    cluster.propose(1, &["a", "b"]).unwrap();
    cluster.settle();
    cluster.heartbeat(1);
    cluster.propose(1, &["c"]).unwrap();
    cluster.drop_network();
    cluster.sync(1, 1);
    assert_eq!((cluster.status(1).term.get(), cluster.status(1).last_index.get()), (2, 5));
    assert_eq!((cluster.status(2).commit.get(), cluster.status(2).last_index.get()), (4, 4));
    cluster
}

fn message(msg_type: MessageType, term: u64) -> eraftpb::Message {
    eraftpb::Message { msg_type, term, ..Default::default() }
}

fn entry(index: u64, term: u64) -> Entry {
    Entry { index, term, ..Default::default() }
}

fn append(term: u64, at: (u64, u64), entries: Vec<Entry>) -> eraftpb::Message {
    let mut m = eraftpb::Message { index: at.0, log_term: at.1, ..message(MsgAppend, term) };
    m.set_entries(entries.into());
    m
}

fn snapshot(term: u64, mark: &SnapshotMark) -> eraftpb::Message {
    let mut m = message(MsgSnapshot, term);
    m.set_snapshot(log::snapshot_of(mark));
    m
}

/// Steps `m` at `at`, coming from `from`, and lets it act.
fn step(cluster: &mut Cluster, at: u64, from: u64, m: eraftpb::Message) -> Result<(), Rejected> {
    let done = cluster.core(at).step(NodeId::new(from), Message(m));
    let mut out = VecDeque::new();
    cluster.core(at).drain(&mut out).unwrap();
    done
}

#[track_caller]
fn invalid(at: u64, from: u64, m: eraftpb::Message, why: &str) {
    match step(&mut cluster(), at, from, m) {
        Err(Rejected::Invalid(reason)) => assert!(reason.contains(why), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn fatal(at: u64, from: u64, m: eraftpb::Message, why: &str) {
    match step(&mut cluster(), at, from, m) {
        Err(Rejected::Fatal(reason)) => assert!(reason.contains(why), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn valid(at: u64, from: u64, m: eraftpb::Message) {
    assert_eq!(step(&mut cluster(), at, from, m), Ok(()));
}

#[test]
fn a_message_for_another_member() {
    let m = eraftpb::Message { to: 3, from: 1, ..message(MsgHeartbeat, 2) };
    invalid(2, 1, m, "not for this member");
}

#[test]
fn a_message_in_somebody_elses_name() {
    let m = eraftpb::Message { to: 2, from: 1, ..message(MsgHeartbeat, 2) };
    invalid(2, 3, m, "names another sender");
    let spoofed = eraftpb::Message { index: 5, ..message(MsgAppendResponse, 2) };
    invalid(1, 1, spoofed, "nobody, or this member");
    invalid(1, 0, message(MsgHeartbeat, 2), "nobody, or this member");
}

#[test]
fn a_term_of_zero() {
    for kind in [MsgAppend, MsgHeartbeat, MsgSnapshot, MsgRequestVote, MsgRequestPreVote] {
        invalid(2, 1, message(kind, 0), "no term");
    }
}

#[test]
fn terms_and_indices_out_of_bounds() {
    let huge = u64::MAX;
    invalid(2, 1, message(MsgHeartbeat, huge), "out of bounds");
    invalid(2, 1, message(MsgHeartbeat, 1 << 40), "far ahead");
    invalid(2, 1, append(2, (huge, 2), vec![]), "out of bounds");
    let ack = || message(MsgAppendResponse, 2);
    invalid(1, 2, eraftpb::Message { index: huge, ..ack() }, "out of bounds");
    invalid(1, 2, eraftpb::Message { reject_hint: huge, ..ack() }, "out of bounds");
    invalid(1, 2, eraftpb::Message { log_term: huge, ..ack() }, "out of bounds");
    invalid(1, 2, eraftpb::Message { commit: huge, ..ack() }, "out of bounds");
    let vote = message(MsgRequestVoteResponse, 2);
    invalid(1, 2, eraftpb::Message { commit_term: huge, ..vote }, "out of bounds");
    let mark = mark_at(huge, 2, conf_of(&[1, 2, 3], &[]));
    invalid(2, 1, snapshot(2, &mark), "out of bounds");
    let entries = vec![entry(1 << 62, 2)];
    invalid(2, 1, append(2, ((1 << 62) - 1, 2), entries), "with a gap");
}

#[test]
fn a_heartbeat_that_commits_what_was_lost_here() {
    let beat = |commit, term| eraftpb::Message { commit, ..message(MsgHeartbeat, term) };
    fatal(2, 1, beat(5, 2), "acknowledged entries are lost");
    fatal(2, 3, beat(5, 3), "acknowledged entries are lost");
    valid(2, 1, beat(4, 2));
    // From an old term it counts on nothing.
    valid(2, 3, beat(5, 1));
}

#[test]
fn an_append_before_the_start_of_the_log() {
    invalid(2, 1, append(2, (9, 0), vec![]), "before the start");
    invalid(2, 1, append(2, (9, 0), vec![entry(10, 2)]), "before the start");
    invalid(2, 1, append(2, (0, 0), vec![entry(1, 1)]), "before the start");
    invalid(2, 1, append(2, (0, 1), vec![]), "before the start");
}

#[test]
fn entries_that_do_not_follow_one_another() {
    invalid(2, 1, append(2, (4, 2), vec![entry(6, 2)]), "with a gap");
    invalid(2, 1, append(2, (4, 2), vec![entry(5, 2), entry(5, 2)]), "with a gap");
    invalid(2, 1, append(2, (4, 2), vec![entry(0, 2)]), "with a gap");
    invalid(2, 1, append(2, (4, 2), vec![entry(5, 1)]), "terms fall");
    invalid(2, 1, append(3, (4, 2), vec![entry(5, 3), entry(6, 2)]), "terms fall");
    invalid(2, 1, append(2, (4, 2), vec![entry(5, 3)]), "after the leader's");
    invalid(2, 1, append(2, (4, 3), vec![]), "after the leader's");
    valid(2, 1, append(2, (4, 2), vec![entry(5, 2), entry(6, 2)]));
}

#[test]
fn entries_that_no_leader_appends() {
    let odd = |change: &dyn Fn(&mut Entry)| {
        let mut entry = entry(5, 2);
        change(&mut entry);
        invalid(2, 1, append(2, (4, 2), vec![entry]), "no leader appends");
    };
    odd(&|e| e.entry_type = EntryType::EntryConfChange);
    odd(&|e| e.context = Bytes::from_static(b"x"));
    odd(&|e| {
        e.entry_type = EntryType::EntryConfChangeV2;
        e.data = Bytes::from_static(b"\xff");
    });
}

#[test]
fn an_append_against_what_is_committed() {
    fatal(2, 3, append(3, (2, 2), vec![entry(3, 3)]), "diverged");
    fatal(2, 3, append(3, (4, 1), vec![]), "diverged");
    // Beyond the committed ones a conflict is how logs are repaired.
    valid(2, 3, append(3, (4, 2), vec![entry(5, 3)]));
    valid(2, 3, append(3, (9, 3), vec![]));
}

#[test]
fn what_was_compacted_is_not_compared() {
    let mut cluster = cluster();
    cluster.snapshot(2, 1);
    assert_eq!(cluster.status(2).first_index.get(), 4);
    let old = append(2, (1, 1), vec![entry(2, 2), entry(3, 2)]);
    assert_eq!(step(&mut cluster, 2, 1, old), Ok(()));
}

#[test]
fn a_snapshot_with_a_configuration_that_contradicts_itself() {
    let with = |change: &dyn Fn(&mut ConfState)| {
        let mut conf = conf_of(&[1, 2, 3], &[]);
        change(&mut conf);
        snapshot(2, &mark_at(9, 2, conf))
    };
    invalid(2, 1, with(&|c| c.voters.clear()), "no voters");
    invalid(2, 1, with(&|c| c.voters = ids(&[0, 2])), "member id 0");
    invalid(2, 1, with(&|c| c.voters = ids(&[2, 2])), "repeat");
    invalid(2, 1, with(&|c| c.learners = ids(&[2])), "also a voter");
    invalid(2, 1, with(&|c| c.auto_leave = true), "cannot be left");
    invalid(2, 1, with(&|c| c.learners_next = ids(&[4])), "not an outgoing voter");
    invalid(2, 1, with(&|c| c.voters = ids(&[1, 3])), "not part of");
    let many = (1..2_000).collect::<Vec<_>>();
    invalid(2, 1, with(&|c| c.voters = ids(&many)), "too many");
    let joint = |c: &mut ConfState| {
        c.voters_outgoing = ids(&[2, 4]);
        c.learners_next = ids(&[4]);
        c.auto_leave = true;
    };
    valid(2, 1, with(&joint));
    invalid(
        2,
        1,
        with(&|c| {
            joint(c);
            c.learners_next = ids(&[2]);
        }),
        "stays a voter",
    );
    invalid(
        2,
        1,
        with(&|c| {
            joint(c);
            c.learners = ids(&[4]);
        }),
        "also a voter",
    );
}

#[test]
fn a_snapshot_out_of_place() {
    let conf = || conf_of(&[1, 2, 3], &[]);
    invalid(2, 1, snapshot(2, &mark_at(0, 1, conf())), "out of bounds");
    invalid(2, 1, snapshot(2, &mark_at(9, 0, conf())), "after the leader's");
    invalid(2, 1, snapshot(2, &mark_at(9, 3, conf())), "after the leader's");
    fatal(2, 1, snapshot(2, &mark_at(3, 1, conf())), "diverged");
    let mut m = snapshot(2, &mark_at(9, 2, conf()));
    m.mut_snapshot().data = Bytes::from_static(b"x");
    invalid(2, 1, m, "with data");
    valid(2, 1, snapshot(2, &mark_at(9, 2, conf())));
}

#[test]
fn acknowledgements_of_what_is_not_there() {
    let ack = |index| eraftpb::Message { index, ..message(MsgAppendResponse, 2) };
    invalid(1, 2, ack(6), "beyond the log");
    valid(1, 2, ack(5));
    let hint = eraftpb::Message { reject: true, reject_hint: 5, ..ack(4) };
    invalid(1, 2, hint, "beyond what was rejected");
    let late = eraftpb::Message { reject: true, log_term: 3, ..ack(4) };
    invalid(1, 2, late, "a later term");
    let wish = eraftpb::Message { reject: true, request_snapshot: 1, ..ack(4) };
    invalid(1, 2, wish, "a request for a snapshot");
}

/// tikv/raft-rs 555: `next` must stay above `matched`.
#[test]
fn a_late_rejection_of_what_was_acknowledged_since() {
    let mut cluster = cluster();
    cluster.core(1).unreachable(NodeId::new(2));
    let peer = |cluster: &Cluster| cluster.status(1).peers[0].clone();
    assert_eq!((peer(&cluster).state, peer(&cluster).matched.get()), (PeerState::Probe, 4));
    let m = eraftpb::Message {
        reject: true,
        index: 4,
        reject_hint: 2,
        log_term: 2,
        ..message(MsgAppendResponse, 2)
    };
    step(&mut cluster, 1, 2, m).unwrap();
    assert_eq!(peer(&cluster).next.get(), 5);
}

#[test]
fn kinds_that_do_not_travel() {
    let kinds = [
        MsgPropose,
        MsgReadIndex,
        MsgReadIndexResp,
        MsgTransferLeader,
        MsgHup,
        MsgBeat,
        MsgUnreachable,
        MsgSnapStatus,
        MsgCheckQuorum,
    ];
    for kind in kinds {
        for (at, from) in [(1, 2), (2, 1)] {
            invalid(at, from, message(kind, 2), "does not travel");
            invalid(at, from, message(kind, 0), "does not travel");
        }
        let mut out = BytesMut::new();
        Message(message(kind, 2)).encode(&mut out);
        assert!(out.is_empty());
    }
}

#[test]
fn a_call_to_campaign_from_somebody_who_does_not_lead() {
    invalid(2, 3, message(MsgTimeoutNow, 2), "does not lead");
    invalid(2, 1, message(MsgTimeoutNow, 3), "does not lead");
    // An old one is ignored, by its term.
    valid(2, 1, message(MsgTimeoutNow, 1));
    valid(2, 1, message(MsgTimeoutNow, 2));
    let mut overdue = cluster();
    overdue.core(2).disk_overdue(true);
    let called = step(&mut overdue, 2, 1, message(MsgTimeoutNow, 2));
    assert!(matches!(called, Err(Rejected::Invalid(_))));
}

#[test]
fn answers_of_strangers() {
    let kinds = [
        MsgAppendResponse,
        MsgHeartbeatResponse,
        MsgRequestVoteResponse,
        MsgRequestPreVoteResponse,
    ];
    for kind in kinds {
        for term in [1, 2, 3] {
            invalid(1, 4, message(kind, term), "stranger");
        }
    }
    // But not their other messages: a member that lags does not know all the others.
    valid(2, 4, message(MsgHeartbeat, 3));
}

#[test]
fn a_second_leader_in_one_term() {
    invalid(1, 2, message(MsgHeartbeat, 2), "second leader");
    invalid(1, 2, append(2, (4, 2), vec![]), "second leader");
    invalid(2, 3, message(MsgHeartbeat, 2), "second leader");
    invalid(2, 3, snapshot(2, &mark_at(9, 2, conf_of(&[1, 2], &[]))), "second leader");
}

#[test]
fn r6_an_answer_to_a_round_that_is_not_ours() {
    let mut cluster = cluster();
    let answer = |context| eraftpb::Message { context, ..message(MsgHeartbeatResponse, 2) };
    let (nonce, seed) = (Rounds::new(1, 99), 5 ^ (1 << 32) ^ (1 << 48));
    let mut ours = Rounds::new(1, seed);
    let mut foreign = nonce;
    for context in [
        Bytes::from_static(b"x"),
        foreign.draw(2).1,
        ours.draw(1).1,
        // Ours by its form, but not drawn: the cluster has begun no round.
        ours.draw(2).1,
    ] {
        let done = step(&mut cluster, 1, 2, answer(context));
        assert!(matches!(done, Err(Rejected::Invalid(why)) if why.contains("not ours")));
    }
    assert_eq!(step(&mut cluster, 1, 2, answer(Bytes::new())), Ok(()));
    let (round, context) = (cluster.read(1).unwrap(), Rounds::new(1, seed).draw(2).1);
    assert_eq!(step(&mut cluster, 1, 2, answer(context)), Ok(()));
    assert_eq!(round, 1);
}

#[test]
fn candidates_without_a_log() {
    let vote = |kind, index, log_term| eraftpb::Message { index, log_term, ..message(kind, 3) };
    for kind in [MsgRequestVote, MsgRequestPreVote] {
        invalid(2, 3, vote(kind, 0, 1), "without a log");
        invalid(2, 3, vote(kind, 5, 0), "without a log");
        invalid(2, 3, vote(kind, 5, 4), "of a later term");
        let ahead = eraftpb::Message { commit: 6, commit_term: 2, ..vote(kind, 5, 2) };
        invalid(2, 3, ahead, "beyond the log");
        let late = eraftpb::Message { commit: 5, commit_term: 3, ..vote(kind, 5, 2) };
        invalid(2, 3, late, "beyond the log");
        let forced = Bytes::from_static(CAMPAIGN_TRANSFER);
        valid(2, 3, eraftpb::Message { context: forced, ..vote(kind, 5, 2) });
    }
}

/// R3 from the other side: such a vote would make a leader whose ballot is not durable.
#[test]
fn a_vote_that_was_not_asked_for() {
    let mut cluster = cluster();
    step(&mut cluster, 2, 1, message(MsgTimeoutNow, 2)).unwrap();
    assert_eq!(cluster.status(2).role, Role::Candidate);
    let vote = || message(MsgRequestVoteResponse, 3);
    let done = step(&mut cluster, 2, 3, vote());
    assert!(matches!(done, Err(Rejected::Invalid(why)) if why.contains("not asked for")));
    let late = eraftpb::Message { commit_term: 4, ..vote() };
    let done = step(&mut cluster, 2, 3, late);
    assert!(matches!(done, Err(Rejected::Invalid(why)) if why.contains("later term")));
}
