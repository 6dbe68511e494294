//! One real replica and everything that its driver does for it, without threads or files.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::codec::{Reader, checksum, put_bytes};
use crate::core::machine::{Genesis, Image, Machine, Member};
use crate::core::replica::consensus::{Start, Ticket};
use crate::core::replica::envelope::{Address, Envelope};
use crate::core::replica::io::{Input, Output, SnapshotFile, Token};
use crate::core::replica::{Me, Replica, Restored, Retain, Settings};
use crate::entry::{ConfState, HardState, Section, SnapshotMark};
use crate::error::{Error, Kind};
use crate::ids::{ClusterId, Incarnation, Index, NodeId, Term};
use crate::time::Instant;

/// Three members vote; a fourth listens, and is played by nobody but forgers.
pub(in crate::fuzzing) const VOTERS: [NodeId; 3] = [NodeId::new(1), NodeId::new(2), NodeId::new(3)];
pub(in crate::fuzzing) const LEARNER: NodeId = NodeId::new(4);
pub(in crate::fuzzing) const STRANGER: NodeId = NodeId::new(9);
pub(in crate::fuzzing) const CLUSTER: ClusterId = ClusterId::new(7);

pub(super) const TICK: Duration = Duration::from_millis(50);
pub(super) const ELECTION_TICKS: u32 = 5;
/// Small, so that a short case crosses every limit.
pub(super) const MESSAGE_BYTES: usize = 8 << 10;
const REQUEST_BYTES: usize = 2 << 10;
const SNAPSHOT_ENTRIES: u64 = 8;

/// What one input may lead to: as many envelopes, and as many bytes in them, as two followers
/// that lack everything can be sent, with room to spare.
const BURST_ENVELOPES: usize = 200;
const BURST_BYTES: usize = 256 << 10;

/// The incarnation that a member has in here.
pub(in crate::fuzzing) fn incarnation(node: NodeId) -> Incarnation {
    Incarnation::new(100 + node.get())
}

pub(in crate::fuzzing) fn address(node: NodeId) -> Address {
    Address { cluster: CLUSTER, node, incarnation: incarnation(node) }
}

/// What every member starts with.
pub(in crate::fuzzing) fn genesis() -> Genesis {
    let member = |id: NodeId| Member {
        id,
        name: format!("n{id}"),
        address: String::new(),
        incarnation: None,
        learner: id == LEARNER,
    };
    let (voters, learners) = (VOTERS.to_vec(), vec![LEARNER]);
    let conf = ConfState { voters, learners, ..ConfState::default() };
    let mark = SnapshotMark { index: Index::new(1), term: Term::new(1), conf };
    Genesis {
        cluster: CLUSTER,
        members: VOTERS.into_iter().chain([LEARNER]).map(member).collect(),
        mark,
    }
}

/// An envelope on its way: from, to, bytes.
pub(super) type Sent = (NodeId, NodeId, Bytes);

/// A snapshot file, or what has been received of it.
struct File {
    file: SnapshotFile,
    bytes: BytesMut,
}

/// A member.
pub(super) struct Host {
    pub(super) id: NodeId,
    /// None once it has stopped.
    pub(super) replica: Option<Replica>,
    /// Handed to the log and not reported durable.
    writing: VecDeque<Ticket>,
    /// For the thread that works on snapshots.
    work: VecDeque<Output>,
    snapshot: Option<File>,
    stage: Option<File>,
    /// Calls that have not been answered, and how many there were.
    open: BTreeSet<u64>,
    calls: usize,
}

impl Host {
    pub(super) fn new(id: NodeId) -> Self {
        Self {
            id,
            replica: Some(replica(id)),
            writing: VecDeque::new(),
            work: VecDeque::new(),
            snapshot: None,
            stage: None,
            open: BTreeSet::new(),
            calls: 0,
        }
    }

    /// A caller's token, to be answered once at most.
    pub(super) fn call(&mut self, number: u64) -> Token {
        self.open.insert(number);
        self.calls += 1;
        Token(number)
    }

    /// Gives an input and obeys what follows. An error is the replica's: it has stopped.
    pub(super) fn give(
        &mut self,
        now: Instant,
        input: Input,
        network: &mut VecDeque<Sent>,
    ) -> Result<(), Error> {
        let Some(mut replica) = self.replica.take() else { return Ok(()) };
        replica.handle(now, input)?;
        let (mut envelopes, mut bytes) = (0, 0);
        while let Some(output) = replica.poll()? {
            if let Output::Send { envelope, .. } = &output {
                envelopes += 1;
                bytes += envelope.len();
            }
            self.obey(output, network);
        }
        replica.tidy(2);
        let small = envelopes <= BURST_ENVELOPES && bytes <= BURST_BYTES;
        assert!(small, "one input led to {envelopes} envelopes with {bytes} bytes");
        let pending = replica.status().pending;
        // One more: each member announces itself.
        assert!(pending <= self.calls + 1, "{pending} writes for {} calls", self.calls);
        self.replica = Some(replica);
        Ok(())
    }

    fn obey(&mut self, output: Output, network: &mut VecDeque<Sent>) {
        match output {
            Output::Send { to, envelope, .. } => {
                assert!(to != self.id, "an envelope to itself");
                assert!(envelope.len() <= MESSAGE_BYTES, "{} bytes in one", envelope.len());
                network.push_back((self.id, to, envelope));
            }
            Output::Persist(persist) => self.writing.push_back(persist.ticket),
            Output::Reply { token, .. } => {
                assert!(self.open.remove(&token.0), "call {} is answered twice", token.0);
            }
            Output::ReleaseLog(_) | Output::Members(_) => {}
            work => self.work.push_back(work),
        }
    }

    /// So many hand-overs to the log are durable, the oldest first.
    pub(super) fn persisted(&mut self, count: usize) -> Option<Input> {
        let count = count.min(self.writing.len());
        self.writing.drain(..count).next_back().map(Input::Persisted)
    }

    /// Does the next piece of work on snapshots; false if there is none.
    pub(super) fn work(&mut self) -> (bool, Option<Input>) {
        let Some(work) = self.work.pop_front() else { return (false, None) };
        let report = match work {
            Output::TakeSnapshot(image) => {
                let file = write(&image);
                let oldest = file.file.mark.index;
                let report = Input::SnapshotTaken { file: file.file.clone(), oldest };
                self.snapshot = Some(file);
                Some(report)
            }
            Output::ReadChunk { to, transfer, index, offset, len } => {
                let kept = self.snapshot.as_ref().filter(|kept| kept.file.mark.index == index);
                Some(match kept {
                    Some(kept) => {
                        let from = usize::try_from(offset).unwrap_or(usize::MAX);
                        let rest = kept.bytes.get(from..).unwrap_or_default();
                        let piece = &rest[..rest.len().min(len as usize)];
                        let bytes = Bytes::copy_from_slice(piece);
                        Input::ChunkRead { to, transfer, offset, bytes }
                    }
                    None => Input::ChunkLost { to, transfer },
                })
            }
            Output::Stage(file) => {
                let same = self.stage.take().filter(|stage| stage.file == file);
                let stage = same.unwrap_or_else(|| File { file, bytes: BytesMut::new() });
                let (hash, have) = (stage.file.hash, stage.bytes.len() as u64);
                self.stage = Some(stage);
                Some(Input::Staged { hash, have })
            }
            Output::StageChunk { hash, offset, bytes } => self.stage_chunk(hash, offset, &bytes),
            Output::StageFinish { hash } => Some(self.finish(hash)),
            Output::Unstage { hash } => {
                drop(self.stage.take_if(|stage| stage.file.hash == hash));
                None
            }
            _ => None,
        };
        (true, report)
    }

    fn stage_chunk(&mut self, hash: u64, offset: u64, bytes: &[u8]) -> Option<Input> {
        let stage = self.stage.as_mut().filter(|stage| stage.file.hash == hash)?;
        let have = stage.bytes.len() as u64;
        if offset <= have {
            // The driver of a node ends it on such a piece: it must not be handed one.
            let end = offset.saturating_add(bytes.len() as u64);
            assert!(end <= stage.file.file_bytes, "a piece up to {end} of {:?}", stage.file);
            let skip = usize::try_from(have - offset).unwrap_or(usize::MAX);
            stage.bytes.extend_from_slice(bytes.get(skip..).unwrap_or_default());
        }
        Some(Input::Staged { hash, have: stage.bytes.len() as u64 })
    }

    /// Checks what was received as a node does: all of it, against what was announced.
    fn finish(&mut self, hash: u64) -> Input {
        let staged = self.stage.as_ref().filter(|stage| stage.file.hash == hash);
        let machine = staged.ok_or_else(|| Error::corrupt("it is gone")).and_then(read);
        match machine {
            Ok(machine) => {
                // It gets its name before it is installed, and can be sent on from then on.
                self.snapshot = self.stage.take();
                Input::StageReady { hash, machine: Box::new(machine) }
            }
            Err(error) => {
                self.stage = None;
                Input::StageFailed { hash, why: error.to_string() }
            }
        }
    }
}

/// A fresh member, with nothing in its log.
pub(in crate::fuzzing) fn replica(node: NodeId) -> Replica {
    let genesis = genesis();
    let settings = Settings {
        tick: TICK,
        heartbeat: TICK,
        election: TICK * ELECTION_TICKS,
        snapshot_count: SNAPSHOT_ENTRIES,
        snapshot_log_bytes: 16 << 10,
        snapshot_catchup_entries: 2,
        max_message_bytes: MESSAGE_BYTES,
        max_request_bytes: REQUEST_BYTES,
        max_pinned_revisions: 0,
        retain: Retain::default(),
    };
    let start = Start {
        id: node,
        seed: 42,
        election_ticks: ELECTION_TICKS as usize,
        heartbeat_ticks: 1,
        max_append_bytes: MESSAGE_BYTES as u64 / 2,
        max_inflight: 4,
        max_uncommitted_bytes: 32 << 10,
        max_apply_bytes: 16 << 10,
        hard_state: HardState { term: Term::new(1), commit: Index::new(1), ..HardState::default() },
        applied: genesis.mark.index,
        mark: genesis.mark.clone(),
        entries: Vec::new(),
    };
    let me = Me { node, incarnation: incarnation(node), boot: 1 };
    let (cluster, machine) = (CLUSTER, Machine::new(genesis));
    let restored = Restored { me, cluster, start, machine, saved: None };
    Replica::new(settings, restored, Instant::default()).unwrap()
}

/// Packs an image into one run of bytes, which stands for a file.
fn write(image: &Image) -> File {
    let mut bytes = BytesMut::new();
    for section in image.sections() {
        bytes.put_u8(section.kind);
        put_bytes(&mut bytes, &section.bytes);
    }
    let (mark, file_bytes) = (image.mark().clone(), bytes.len() as u64);
    File { file: SnapshotFile { mark, file_bytes, hash: hash(&bytes) }, bytes }
}

fn read(file: &File) -> Result<Machine, Error> {
    if (file.bytes.len() as u64, hash(&file.bytes)) != (file.file.file_bytes, file.file.hash) {
        return Err(Error::corrupt("it is not what was announced"));
    }
    let mut reader = Reader::new(file.bytes.clone().freeze());
    let mut sections = Vec::new();
    while reader.remaining() > 0 {
        let kind = reader.u8("kind").map_err(|error| Error::corrupt(error.to_string()))?;
        let bytes = reader.bytes("bytes").map_err(|error| Error::corrupt(error.to_string()))?;
        sections.push(Ok(Section { kind, bytes }));
    }
    Machine::restore(sections.into_iter(), &file.file.mark)
}

/// Differs for different files, which is all that the core wants of it.
fn hash(bytes: &[u8]) -> u64 {
    u64::from(checksum(0, bytes)) << 32 | u64::from(checksum(1, bytes))
}

/// Frames a body as whoever likes may do it.
pub(in crate::fuzzing) fn frame(
    kind: u8,
    from: &Address,
    (to, to_incarnation): (NodeId, Incarnation),
    body: &[u8],
) -> Bytes {
    let mut covered = BytesMut::new();
    covered.put_u64_le(from.cluster.get());
    covered.put_u64_le(from.node.get());
    covered.put_u64_le(to.get());
    covered.put_u64_le(from.incarnation.get());
    covered.put_u64_le(to_incarnation.get());
    covered.put_slice(body);
    let mut out = BytesMut::new();
    out.put_slice(&[1, kind, 0, 0]);
    out.put_u32_le(checksum(u32::from(kind), &covered));
    out.put_slice(&covered);
    out.freeze()
}

/// Opens one that was framed here, or by a replica in here.
pub(super) fn open(to: NodeId, from: NodeId, bytes: Bytes) -> Envelope {
    Envelope::open(&address(to), from, bytes).unwrap()
}

/// Kind and body of an envelope.
pub(super) fn parts(mut envelope: Bytes) -> (u8, Bytes) {
    let kind = envelope[1];
    envelope.advance(crate::core::replica::envelope::HEADER_BYTES);
    (kind, envelope)
}

/// What a replica does that contradicts what it was told cannot be told from what the disk did:
/// it stops, and says why.
pub(super) fn is_clean_stop(error: &Error) -> bool {
    matches!(error.kind(), Kind::Halted | Kind::Corrupt) && !error.to_string().is_empty()
}
