//! R1 to R12, and what rests on them: one directed schedule each. R13 is in `table.rs`, R14 and
//! R15 in `snapshots.rs`.

use raft::eraftpb::MessageType::*;

use super::harness::*;
use super::*;

fn three() -> Cluster {
    let mut cluster = Cluster::new(5, &conf_of(&[1, 2, 3], &[]), &[]);
    cluster.elect(1);
    cluster.heartbeat(1);
    cluster
}

/// Delivers the packets of `kind` to `to`, and keeps the rest.
fn pass(cluster: &mut Cluster, kind: MessageType, to: u64) -> usize {
    let mut passed = 0;
    while let Some(at) = cluster.network.iter().position(|p| p.kind == kind && p.to == to) {
        cluster.deliver(at, true);
        passed += 1;
    }
    passed
}

#[test]
fn r1_inputs_may_pile_up_before_one_drain() {
    let mut cluster = three();
    let core = cluster.core(1);
    for i in 0..5 {
        core.propose(vec![Bytes::from(vec![i])]).unwrap();
        core.tick();
        core.start_read().unwrap();
    }
    // Rounds must be known to the judge; what counts here is that nothing panics.
    let rounds: Vec<_> = (1..=5).collect();
    cluster.node(1).rounds.extend(rounds.into_iter().map(|round| (round, 0)));
    cluster.process(1);
    cluster.settle();
    assert_eq!(cluster.committed(), 2 + 5);
    assert_eq!(cluster.nodes[&1].reads.len(), 5);
}

#[test]
fn r2_an_answer_in_a_ready_with_nothing_to_write_waits_for_the_ones_before_it() {
    let mut cluster = three();
    cluster.propose(1, &["a"]).unwrap();
    let append = cluster.packets(MsgAppend, 2).remove(0);
    pass(&mut cluster, MsgAppend, 2);
    pass(&mut cluster, MsgAppend, 3);
    cluster.sync(1, 1);
    cluster.sync(3, 1);
    pass(&mut cluster, MsgAppendResponse, 1);
    // Member 2 learns that 3 is committed while its own entry 3 is not durable.
    pass(&mut cluster, MsgAppend, 2);
    assert_eq!(cluster.status(2).commit.get(), 3);
    assert_eq!(cluster.status(2).persisted.get(), 2);
    // A repeat of the old append would be answered with index 3.
    cluster.arrive(&append);
    assert_eq!(cluster.packets(MsgAppendResponse, 1).len(), 0);
    cluster.sync(2, 1);
    assert_eq!(cluster.packets(MsgAppendResponse, 1).len(), 3);
    assert_eq!(cluster.nodes[&2].applied, 3);
}

#[test]
fn r2_a_vote_leaves_when_it_is_durable() {
    let mut cluster = Cluster::new(5, &conf_of(&[1, 2, 3], &[]), &[]);
    while cluster.status(1).role != Role::Candidate {
        cluster.tick(1);
        pass(&mut cluster, MsgRequestPreVote, 2);
        pass(&mut cluster, MsgRequestPreVoteResponse, 1);
    }
    // The candidate's own vote counts at once, so nobody may hear of it before the sync.
    assert_eq!(cluster.packets(MsgRequestVote, 2).len(), 0);
    cluster.sync(1, 1);
    assert_eq!(pass(&mut cluster, MsgRequestVote, 2), 1);
    assert_eq!(cluster.packets(MsgRequestVoteResponse, 1).len(), 0);
    cluster.sync(2, 1);
    assert_eq!(pass(&mut cluster, MsgRequestVoteResponse, 1), 1);
    assert_eq!(cluster.status(1).role, Role::Leader);
}

#[test]
fn r3_the_core_is_told_before_anything_is_released() {
    let mut cluster = three();
    cluster.propose(1, &["a"]).unwrap();
    pass(&mut cluster, MsgAppend, 2);
    let ticket = cluster.nodes[&2].disk.queue[0].ticket;
    let core = cluster.core(2);
    assert!(core.effects.is_empty());
    core.persisted(ticket);
    assert_eq!(core.core.raft.raft_log.persisted, 3);
    assert!(matches!(core.effects.front(), Some(Effect::Send { .. })));
    // A ticket that is reported twice, or was never given, changes nothing.
    let held = core.effects.len();
    core.persisted(ticket);
    core.persisted(Ticket(0));
    assert_eq!(core.effects.len(), held);
}

#[test]
fn r4_a_leader_of_one_is_silent_until_its_term_is_durable() {
    let mut cluster = Cluster::new(5, &conf_of(&[1], &[2]), &[]);
    while cluster.status(1).role != Role::Leader {
        cluster.tick(1);
    }
    cluster.propose(1, &["lost"]).unwrap();
    for _ in 0..5 {
        cluster.tick(1);
    }
    assert!(cluster.network.is_empty(), "{:?}", cluster.network);
    // It crashes: nobody has seen the term, so it may be used again for something else.
    let term = cluster.status(1).term;
    cluster.crash(1, 0);
    cluster.restart(1);
    while cluster.status(1).role != Role::Leader {
        cluster.tick(1);
    }
    assert_eq!(cluster.status(1).term, term);
    cluster.propose(1, &["kept"]).unwrap();
    cluster.sync(1, 1);
    assert!(!cluster.packets(MsgAppend, 2).is_empty());
    cluster.settle();
    assert_eq!(cluster.nodes[&2].applied, 3);
    assert_eq!(cluster.ledger[&3].data, "kept");
}

#[test]
fn r4_a_durable_leader_does_not_wait_for_its_disk() {
    let mut cluster = three();
    cluster.propose(1, &["a"]).unwrap();
    assert_eq!(cluster.nodes[&1].disk.queue.len(), 1);
    assert_eq!(cluster.packets(MsgAppend, 2).len(), 1);
    // The others commit it without this disk; only applying waits.
    pass(&mut cluster, MsgAppend, 2);
    pass(&mut cluster, MsgAppend, 3);
    cluster.sync(2, 1);
    cluster.sync(3, 1);
    pass(&mut cluster, MsgAppendResponse, 1);
    assert_eq!((cluster.status(1).commit.get(), cluster.nodes[&1].applied), (3, 2));
    cluster.sync(1, 1);
    assert_eq!(cluster.nodes[&1].applied, 3);
}

#[test]
fn r5_reads_are_confirmed_and_never_leased() {
    let config = config(&start(1, 1, &Disk::default()));
    assert_eq!(config.read_only_option, ReadOnlyOption::Safe);
    assert!(config.check_quorum && config.pre_vote && !config.batch_append);
    assert_eq!((config.min_election_tick, config.max_election_tick), (10, 20));
}

/// The schedule of raft-notes 3.3: an old acknowledgement must not confirm a later round.
#[test]
fn r6_a_late_answer_confirms_only_its_own_round() {
    let mut cluster = three();
    let first = cluster.read(1).unwrap();
    pass(&mut cluster, MsgHeartbeat, 2);
    pass(&mut cluster, MsgHeartbeat, 3);
    let at = |p: &Packet| p.kind == MsgHeartbeatResponse && p.from == 3;
    let late = cluster.network.remove(cluster.network.iter().position(at).unwrap());
    pass(&mut cluster, MsgHeartbeatResponse, 1);
    assert_eq!(cluster.nodes[&1].reads, [(first, 2)]);
    // Member 1 is deposed without noticing, and its successor commits.
    cluster.isolate(1);
    for _ in 0..40 {
        cluster.tick(2);
        cluster.tick(3);
        for _ in 0..10 {
            for id in [2, 3] {
                cluster.sync(id, usize::MAX);
                for kind in [MsgRequestPreVote, MsgRequestVote, MsgAppend, MsgHeartbeat] {
                    pass(&mut cluster, kind, id);
                }
                for kind in [
                    MsgRequestPreVoteResponse,
                    MsgRequestVoteResponse,
                    MsgAppendResponse,
                    MsgHeartbeatResponse,
                ] {
                    pass(&mut cluster, kind, id);
                }
            }
        }
    }
    assert!(cluster.committed() > 2);
    assert_eq!(cluster.status(1).role, Role::Leader);
    // A read begins at the old leader, and the request of the first arrives once more: each
    // arrival draws a round of its own. Then comes the late answer to the first round.
    let second = cluster.read(1).unwrap();
    let repeat = cluster.read(1).unwrap();
    assert!(first < second && second < repeat);
    cluster.arrive(&late);
    assert_eq!(cluster.nodes[&1].reads, [(first, 2)]);
    // When the old leader hears of the new term, it says that the rounds are void.
    cluster.cut.clear();
    cluster.run(20);
    assert_eq!(cluster.nodes[&1].reads, [(first, 2)]);
    assert_eq!(cluster.nodes[&1].reads_lost, 1);
}

#[test]
fn r6_contexts_differ_by_member_boot_term_and_round() {
    let mut seen = std::collections::BTreeSet::new();
    for (id, seed) in [(1, 1), (1, 2), (2, 1)] {
        let mut rounds = Rounds::new(id, seed);
        for term in [3, 3, 4] {
            let (round, context) = rounds.draw(term);
            assert_eq!(context.len(), wire::CONTEXT_BYTES);
            assert!(rounds.issued(&context, term) && !rounds.issued(&context, term + 1));
            assert!(!rounds.issued(&context[1..], term));
            assert_eq!(rounds.complete(&context), None, "round {round} is not open");
            assert!(seen.insert(context));
        }
    }
}

/// LIN-2.
#[test]
fn a_read_round_needs_a_committed_entry_of_the_term() {
    let mut cluster = Cluster::new(5, &conf_of(&[1, 2, 3], &[]), &[]);
    assert_eq!(cluster.read(1), None);
    while cluster.status(1).role != Role::Leader {
        cluster.tick(1);
        cluster.sync(1, usize::MAX);
        for kind in [MsgRequestPreVote, MsgRequestVote] {
            pass(&mut cluster, kind, 2);
            cluster.sync(2, usize::MAX);
        }
        for kind in [MsgRequestPreVoteResponse, MsgRequestVoteResponse] {
            pass(&mut cluster, kind, 1);
        }
    }
    assert!(!cluster.status(1).committed_in_term);
    assert_eq!(cluster.read(1), None);
    cluster.settle();
    assert!(cluster.read(1).is_some());
}

fn force(cluster: &mut Cluster, id: u64, steps: Vec<ConfStep>) {
    let change = ConfChange { steps, ..Default::default() };
    let entry = eraftpb::Entry {
        entry_type: eraftpb::EntryType::EntryConfChangeV2,
        data: change.encode(),
        ..Default::default()
    };
    cluster.core(id).propose_entries(vec![entry]).unwrap();
    cluster.process(id);
}

#[test]
fn r7_a_leader_that_is_removed_steps_down_first() {
    for step in [ConfStep::Remove(NodeId::new(1)), ConfStep::Learner(NodeId::new(1))] {
        let mut cluster = three();
        let change = ConfChange { steps: vec![step], ..Default::default() };
        assert_eq!(cluster.core(1).propose_conf(&change), Err(ConfRefused::Leader));
        // Leadership can move to a leaving member between proposal and apply.
        force(&mut cluster, 1, vec![step]);
        cluster.settle();
        assert_eq!(cluster.status(1).role, Role::Follower);
        assert!(!cluster.status(1).voter);
        for _ in 0..60 {
            cluster.tick(1);
        }
        assert!(cluster.network.is_empty(), "{:?}", cluster.network);
        cluster.run(60);
        let leader = cluster.leader().unwrap();
        assert_ne!(leader, 1);
        cluster.propose(leader, &["on"]).unwrap();
        cluster.settle();
        assert_eq!(cluster.nodes[&leader].conf.voters, ids(&[2, 3]));
    }
}

#[test]
fn r8_a_joint_configuration_ends_by_itself() {
    let mut cluster = Cluster::new(5, &conf_of(&[1, 2, 3], &[4]), &[]);
    cluster.elect(1);
    cluster.heartbeat(1);
    let steps = vec![ConfStep::Remove(NodeId::new(3)), ConfStep::Voter(NodeId::new(4))];
    let change = ConfChange { steps, ..Default::default() };
    cluster.core(1).propose_conf(&change).unwrap();
    assert_eq!(cluster.core(1).propose_conf(&change), Err(ConfRefused::Pending));
    cluster.process(1);
    // The others do all they can before the leader's disk lets it apply the change.
    while !cluster.network.is_empty() {
        (2..=4).for_each(|id| cluster.sync(id, usize::MAX));
        cluster.deliver(0, true);
        (2..=4).for_each(|id| cluster.sync(id, usize::MAX));
    }
    assert_eq!((cluster.status(1).commit.get(), cluster.nodes[&1].applied), (3, 2));
    // Without a tick: whoever applies the change sends the entry that leaves it.
    cluster.settle();
    assert_eq!(cluster.joint_configurations(), 1);
    assert_eq!(cluster.nodes[&1].conf, conf_of(&[1, 2, 4], &[]));
    assert_eq!(cluster.nodes[&4].conf, conf_of(&[1, 2, 4], &[]));
}

#[test]
fn r10_nothing_is_dropped_that_was_not_handed_out() {
    let mut cluster = three();
    cluster.propose(1, &["a"]).unwrap();
    cluster.settle();
    cluster.propose(1, &["b"]).unwrap();
    pass(&mut cluster, MsgAppend, 2);
    pass(&mut cluster, MsgAppend, 3);
    cluster.sync(2, 1);
    cluster.sync(3, 1);
    pass(&mut cluster, MsgAppendResponse, 1);
    // Committed, but not durable here and so not handed out.
    assert_eq!((cluster.status(1).commit.get(), cluster.nodes[&1].applied), (4, 3));
    cluster.core(1).compact(Index::new(u64::MAX));
    assert_eq!(cluster.status(1).first_index.get(), 4);
    cluster.settle();
    assert_eq!(cluster.nodes[&1].applied, 4);
    cluster.core(1).compact(Index::new(4));
    assert_eq!((cluster.status(1).first_index.get(), cluster.status(1).last_index.get()), (5, 4));
    // The term of what was dropped last still matches.
    cluster.propose(1, &["c"]).unwrap();
    cluster.settle();
    assert!(cluster.nodes.values().all(|node| node.applied == 5));
}

fn entry(index: u64, term: u64) -> Entry {
    Entry {
        index: Index::new(index),
        term: Term::new(term),
        kind: crate::entry::EntryKind::Normal,
        data: Bytes::from_static(b"x"),
    }
}

fn hard(term: u64, commit: u64) -> HardState {
    HardState { term: Term::new(term), vote: NodeId::new(0), commit: Index::new(commit) }
}

#[test]
fn r11_the_commit_index_is_clamped_at_boot() {
    let disk = |commit| Disk {
        hard_state: hard(3, commit),
        mark: mark_at(5, 2, conf_of(&[1], &[])),
        entries: vec![entry(6, 2), entry(7, 3)],
        ..Default::default()
    };
    for (found, used) in [(0, 5), (5, 5), (6, 6), (7, 7), (9, 7), (u64::MAX, 7)] {
        let mut core = Consensus::new(start(1, 1, &disk(found))).unwrap();
        assert_eq!(core.status().commit.get(), used);
        let mut out = VecDeque::new();
        core.drain(&mut out).unwrap();
        let handed: usize = out
            .iter()
            .map(|e| if let Effect::Committed { entries } = e { entries.len() } else { 0 })
            .sum();
        assert_eq!(handed as u64, used - 5);
    }
}

#[test]
fn r12_a_start_that_would_be_misread_is_refused() {
    let good = Disk {
        hard_state: hard(3, 5),
        mark: mark_at(5, 2, conf_of(&[1, 2], &[3])),
        entries: vec![entry(6, 2), entry(7, 3)],
        ..Default::default()
    };
    assert!(Consensus::new(start(1, 1, &good)).is_ok());
    let refuse = |why: &str, change: &dyn Fn(&mut Start)| {
        let mut start = start(1, 1, &good);
        change(&mut start);
        let error = Consensus::new(start).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains(why), "{why}: {error}");
    };
    let nobody = ConfState::default;
    refuse("means nobody", &|s| s.id = NodeId::new(0));
    refuse("ticks is more", &|s| s.election_ticks = usize::MAX);
    refuse("cannot start", &|s| s.heartbeat_ticks = 0);
    refuse("cannot start", &|s| s.max_uncommitted_bytes = 1);
    refuse("without a configuration", &|s| s.mark.conf = nobody());
    refuse("the index or the term 0", &|s| s.mark.index = Index::new(0));
    refuse("the index or the term 0", &|s| s.mark.term = Term::new(0));
    refuse("contradicts itself", &|s| s.mark.conf = conf_of(&[1, 2], &[2]));
    refuse("the machine stands", &|s| s.applied = Index::new(6));
    refuse("does not follow", &|s| s.entries[1].index = Index::new(8));
    refuse("does not follow", &|s| s.entries[1].term = Term::new(1));
    refuse("the recorded term", &|s| s.hard_state.term = Term::new(2));
}

#[test]
fn r12_a_joiner_never_campaigns_and_enters_by_a_snapshot() {
    let mut cluster = Cluster::new(5, &conf_of(&[1, 2, 3], &[]), &[9]);
    for _ in 0..100 {
        cluster.tick(9);
    }
    assert!(cluster.network.is_empty());
    cluster.elect(1);
    let learner =
        ConfChange { steps: vec![ConfStep::Learner(NodeId::new(9))], ..Default::default() };
    cluster.core(1).propose_conf(&learner).unwrap();
    cluster.process(1);
    cluster.settle();
    cluster.heartbeat(1);
    assert_eq!(cluster.nodes[&1].want_snapshot, 1);
    cluster.snapshot(1, 10);
    cluster.heartbeat(1);
    cluster.heartbeat(1);
    assert_eq!(cluster.nodes[&9].installs, 1);
    cluster.heartbeat(1);
    let voter = ConfChange { steps: vec![ConfStep::Voter(NodeId::new(9))], ..Default::default() };
    cluster.core(1).propose_conf(&voter).unwrap();
    cluster.process(1);
    cluster.settle();
    assert_eq!(cluster.nodes[&9].conf, conf_of(&[1, 2, 3, 9], &[]));
}

#[test]
fn heartbeats_are_answered_before_the_disk_is_done() {
    let mut cluster = three();
    cluster.propose(1, &["a"]).unwrap();
    pass(&mut cluster, MsgAppend, 2);
    pass(&mut cluster, MsgAppend, 3);
    let round = cluster.read(1).unwrap();
    pass(&mut cluster, MsgHeartbeat, 2);
    assert_eq!(cluster.nodes[&2].disk.queue.len(), 1);
    assert_eq!(pass(&mut cluster, MsgHeartbeatResponse, 1), 1);
    assert_eq!(cluster.nodes[&1].reads, [(round, 2)]);
}

/// `Config::max_append_bytes` is half a message, because the crate counts an entry smaller than our
/// codec writes it. The smallest entry there is has 44 bytes, the frame of a command.
#[test]
fn the_smallest_entries_fill_no_more_than_a_message() {
    let mut cluster = three();
    let message = 64 << 10;
    cluster.core(1).core.raft.max_msg_size = message / 2;
    let batch = (0..4_000).map(|_| Bytes::from_static(&[7; 44])).collect();
    cluster.core(1).propose(batch).unwrap();
    cluster.process(1);
    let longest = cluster.network.iter().map(|packet| packet.bytes.len() as u64).max().unwrap();
    assert!(longest > message / 3, "the appends are full: {longest}");
    assert!(longest + 48 <= message, "with the frame of an envelope: {longest}");
}

#[test]
fn a_hundred_proposals_make_one_append_per_follower() {
    let mut cluster = three();
    cluster.core(1).core.raft.max_msg_size = 1 << 20;
    let batch = (0..100).map(|i| Bytes::from(vec![i])).collect();
    cluster.core(1).propose(batch).unwrap();
    cluster.process(1);
    assert_eq!((cluster.nodes[&1].disk.queue.len(), cluster.network.len()), (1, 2));
    for packet in &cluster.network {
        assert_eq!(Message::decode(packet.bytes.clone()).unwrap().0.entries.len(), 100);
    }
    cluster.settle();
    assert_eq!(cluster.committed(), 102);
}
