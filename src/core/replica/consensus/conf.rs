//! Who takes part: configurations, changes of them, and the bytes of a change.
//!
//! A change is an entry whose data is a `ConfChangeV2` of the crate, so that the crate's leader
//! can read it. We write and read those bytes ourselves: nothing that came over the wire or from
//! the disk meets a foreign parser, and every member judges a malformed change alike.

use bytes::{BufMut, Bytes, BytesMut};
use raft::eraftpb;
use raft::{Changer, ProgressState, ProgressTracker};

use crate::codec::{Malformed, Reader};
use crate::entry::ConfState;
use crate::ids::NodeId;

/// More members than any cluster has; bounds what a message may make us allocate.
pub(super) const MAX_MEMBERS: usize = 1_024;

/// A voter-to-be lags by at most this many entries; else the change would stall commits.
const CAUGHT_UP_ENTRIES: u64 = 1_024;

/// One step of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConfStep {
    /// Promotes a learner (or, in a joint change, brings back an outgoing voter).
    Voter(NodeId),
    /// Adds a learner, or demotes a voter.
    Learner(NodeId),
    Remove(NodeId),
}

/// A change of the configuration: one step, or several at once through a joint configuration
/// that ends by itself. No step at all ends a joint configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConfChange {
    pub(crate) steps: Vec<ConfStep>,
    /// For whoever applies the entry; consensus does not look inside.
    pub(crate) context: Bytes,
}

/// Why a change cannot be proposed now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConfRefused {
    #[error("this member does not lead")]
    NotLeader,
    #[error("another change is under way")]
    Pending,
    #[error("the log takes no proposals now: {0}")]
    Proposal(super::ProposeError),
    #[error("the leader cannot remove or demote itself: transfer the leadership first")]
    Leader,
    #[error("member {0} is not a learner that has caught up")]
    NotCaughtUp(NodeId),
    #[error("voter {0} has not been heard of, and its removal cannot commit without it")]
    Unheard(NodeId),
    #[error("the change does not fit the configuration: {0}")]
    Unfit(String),
}

// Field keys of the crate's messages: field number << 3 | wire type.
const TRANSITION: u64 = 1 << 3;
const CHANGES: u64 = 2 << 3 | 2;
const CONTEXT: u64 = 3 << 3 | 2;
const CHANGE_TYPE: u64 = 1 << 3;
const NODE_ID: u64 = 2 << 3;

impl ConfChange {
    /// The data of the entry, byte for byte what the crate would write.
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        for step in &self.steps {
            let (kind, id) = match step {
                ConfStep::Voter(id) => (0, id),
                ConfStep::Remove(id) => (1, id),
                ConfStep::Learner(id) => (2, id),
            };
            let mut change = BytesMut::new();
            if kind != 0 {
                put_varint(&mut change, CHANGE_TYPE);
                put_varint(&mut change, kind);
            }
            put_varint(&mut change, NODE_ID);
            put_varint(&mut change, id.get());
            put_varint(&mut out, CHANGES);
            put_field(&mut out, &change);
        }
        if !self.context.is_empty() {
            put_varint(&mut out, CONTEXT);
            put_field(&mut out, &self.context);
        }
        out.freeze()
    }

    /// Reads the data of an entry. Only what [`ConfChange::encode`] can mean is accepted.
    pub(crate) fn decode(data: Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::new(data);
        let mut change = Self::default();
        while reader.remaining() > 0 {
            match varint(&mut reader)? {
                TRANSITION if varint(&mut reader)? == 0 => {}
                CHANGES if change.steps.len() < MAX_MEMBERS => {
                    let step = decode_step(field(&mut reader)?)?;
                    change.steps.push(step);
                }
                CONTEXT => change.context = field(&mut reader)?,
                _ => return Err(MALFORMED),
            }
        }
        Ok(change)
    }

    pub(super) fn to_raft(&self) -> eraftpb::ConfChangeV2 {
        let mut change = eraftpb::ConfChangeV2::default();
        for step in &self.steps {
            let (kind, id) = match step {
                ConfStep::Voter(id) => (eraftpb::ConfChangeType::AddNode, id),
                ConfStep::Remove(id) => (eraftpb::ConfChangeType::RemoveNode, id),
                ConfStep::Learner(id) => (eraftpb::ConfChangeType::AddLearnerNode, id),
            };
            let mut single = eraftpb::ConfChangeSingle::default();
            single.set_change_type(kind);
            single.node_id = id.get();
            change.mut_changes().push(single);
        }
        change
    }
}

const MALFORMED: Malformed = Malformed { what: "conf change" };

fn decode_step(bytes: Bytes) -> Result<ConfStep, Malformed> {
    let mut reader = Reader::new(bytes);
    let (mut kind, mut id) = (0, 0);
    while reader.remaining() > 0 {
        match varint(&mut reader)? {
            CHANGE_TYPE => kind = varint(&mut reader)?,
            NODE_ID => id = varint(&mut reader)?,
            _ => return Err(MALFORMED),
        }
    }
    let node = NodeId::new(id);
    match kind {
        _ if id == 0 => Err(MALFORMED),
        0 => Ok(ConfStep::Voter(node)),
        1 => Ok(ConfStep::Remove(node)),
        2 => Ok(ConfStep::Learner(node)),
        _ => Err(MALFORMED),
    }
}

fn put_varint(out: &mut BytesMut, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            return out.put_u8(low & 0x7f);
        }
        out.put_u8(low | 0x80);
    }
}

fn put_field(out: &mut BytesMut, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.put_slice(bytes);
}

fn varint(reader: &mut Reader) -> Result<u64, Malformed> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = u64::from(reader.u8(MALFORMED.what)?);
        let bits = byte & 0x7f;
        if shift == 63 && bits > 1 {
            return Err(MALFORMED);
        }
        value |= bits << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(MALFORMED)
}

fn field(reader: &mut Reader) -> Result<Bytes, Malformed> {
    let len = usize::try_from(varint(reader)?).map_err(|_| MALFORMED)?;
    reader.take(len, MALFORMED.what)
}

/// Whether `id` takes part in any role.
pub(super) fn contains(conf: &ConfState, id: NodeId) -> bool {
    [&conf.voters, &conf.learners, &conf.voters_outgoing].into_iter().any(|ids| ids.contains(&id))
}

/// The crate panics on a configuration that contradicts itself, so it is checked before it gets
/// there: at boot, and in every snapshot that arrives (R13).
pub(super) fn check(conf: &ConfState) -> Result<(), &'static str> {
    let lists = [&conf.voters, &conf.learners, &conf.voters_outgoing, &conf.learners_next];
    if lists.iter().any(|ids| ids.len() > MAX_MEMBERS) {
        return Err("too many members");
    }
    if conf.voters.is_empty() {
        return Err("no voters");
    }
    if lists.iter().any(|ids| ids.contains(&NodeId::new(0))) {
        return Err("member id 0");
    }
    if lists.iter().any(|ids| !ids.is_sorted_by(|a, b| a < b)) {
        return Err("members repeat or are not in order");
    }
    let voter = |id: &NodeId| conf.voters.contains(id) || conf.voters_outgoing.contains(id);
    if conf.learners.iter().any(voter) {
        return Err("a learner is also a voter");
    }
    let staged = |id: &NodeId| conf.voters_outgoing.contains(id) && !conf.voters.contains(id);
    if !conf.learners_next.iter().all(staged) {
        return Err("a next learner is not an outgoing voter, or stays a voter");
    }
    if conf.auto_leave && conf.voters_outgoing.is_empty() {
        return Err("a configuration that is not joint cannot be left");
    }
    Ok(())
}

pub(super) fn to_raft(conf: &ConfState) -> eraftpb::ConfState {
    let ids = |ids: &[NodeId]| ids.iter().map(|id| id.get()).collect::<Vec<_>>();
    eraftpb::ConfState {
        voters: ids(&conf.voters),
        learners: ids(&conf.learners),
        voters_outgoing: ids(&conf.voters_outgoing),
        learners_next: ids(&conf.learners_next),
        auto_leave: conf.auto_leave,
        ..Default::default()
    }
}

/// Sorted, because the crate's order is that of a hash map.
pub(super) fn from_raft(conf: &eraftpb::ConfState) -> ConfState {
    let ids = |ids: &[u64]| {
        let mut ids: Vec<_> = ids.iter().copied().map(NodeId::new).collect();
        ids.sort_unstable();
        ids
    };
    ConfState {
        voters: ids(&conf.voters),
        learners: ids(&conf.learners),
        voters_outgoing: ids(&conf.voters_outgoing),
        learners_next: ids(&conf.learners_next),
        auto_leave: conf.auto_leave,
    }
}

/// What the configuration would become. The crate accepts changes at the proposal that fail when
/// they are applied, so we ask first (raft-notes 5.2).
pub(super) fn dry_run(
    members: &ProgressTracker,
    change: &ConfChange,
) -> Result<ConfState, raft::Error> {
    let raft_change = change.to_raft();
    let mut changer = Changer::new(members);
    let (conf, _) = match change.steps.len() {
        0 => changer.leave_joint()?,
        1 => changer.simple(&raft_change.changes)?,
        _ => changer.enter_joint(true, &raft_change.changes)?,
    };
    Ok(from_raft(&conf.to_conf_state()))
}

/// Refuses what the crate would accept and the operator would regret (raft-notes 5.2).
pub(super) fn check_proposal(
    members: &ProgressTracker,
    change: &ConfChange,
    leader: NodeId,
    committed: u64,
) -> Result<(), ConfRefused> {
    let old = from_raft(&members.conf().to_conf_state());
    let new = dry_run(members, change).map_err(|e| ConfRefused::Unfit(e.to_string()))?;
    if !new.voters.contains(&leader) {
        return Err(ConfRefused::Leader);
    }
    for id in new.voters.iter().filter(|id| !old.voters.contains(id)) {
        let ready = members.get(id.get()).is_some_and(|peer| {
            peer.recent_active
                && peer.state == ProgressState::Replicate
                && committed.saturating_sub(peer.matched) <= CAUGHT_UP_ENTRIES
        });
        if !ready {
            return Err(ConfRefused::NotCaughtUp(*id));
        }
    }
    // From two voters to one: the change itself needs both to commit. With one of them away it
    // would hang, and block every later change.
    if let ([_, _], [_]) = (old.voters.as_slice(), new.voters.as_slice()) {
        let out = old.voters.iter().find(|id| !new.voters.contains(id));
        let heard = |id: &NodeId| members.get(id.get()).is_some_and(|peer| peer.recent_active);
        if let Some(id) = out.filter(|id| !heard(id)) {
            return Err(ConfRefused::Unheard(*id));
        }
    }
    Ok(())
}
