//! A member, its disk, and what is on its way between them.

use std::collections::VecDeque;
use std::time::Duration;

use crate::core::machine::{Genesis, Machine, Member};
use crate::core::replica::consensus::{Role, Start};
use crate::core::replica::io::{Input, Output, Persist, SnapshotFile};
use crate::core::replica::{Me, Replica, Restored, Retain, Settings};
use crate::entry::{ConfState, Entry, HardState, Section, SnapshotMark};
use crate::error::Error;
use crate::ids::{ClusterId, Incarnation, Index, NodeId, Term};
use crate::time::Instant;

pub(super) const TICK: Duration = Duration::from_millis(50);
pub(super) const CLUSTER: ClusterId = ClusterId::new(7);

/// A snapshot as it is kept.
#[derive(Clone)]
pub(super) struct Snapshot {
    pub(super) file: SnapshotFile,
    pub(super) sections: Vec<Section>,
}

/// What survives.
#[derive(Clone, Default)]
pub(super) struct Disk {
    /// What the log begins behind.
    mark: SnapshotMark,
    pub(super) hard_state: HardState,
    pub(super) entries: Vec<Entry>,
    pub(super) snapshots: Vec<Snapshot>,
    boot: u64,
}

impl Disk {
    /// What everybody begins with.
    pub(super) fn new(mark: SnapshotMark) -> Self {
        let hard_state = HardState { term: mark.term, commit: mark.index, ..HardState::default() };
        Self { mark, hard_state, ..Self::default() }
    }

    /// `received` is the snapshot to install, if the write says so.
    pub(super) fn write(&mut self, persist: &Persist, received: Option<Snapshot>) {
        if let Some(mark) = &persist.install {
            let received = received.unwrap();
            assert_eq!(received.file.mark, *mark);
            self.snapshots.push(received);
            self.mark = mark.clone();
            self.entries.clear();
        }
        if let Some(first) = persist.entries.first() {
            self.entries.retain(|entry| entry.index < first.index);
        }
        self.entries.extend(persist.entries.iter().cloned());
        self.hard_state = persist.hard_state.unwrap_or(self.hard_state);
    }

    /// A snapshot was taken: it is kept, and the two before it, and what follows the oldest.
    fn keep(&mut self, snapshot: Snapshot) -> Index {
        self.snapshots.push(snapshot);
        self.snapshots.sort_by_key(|snapshot| snapshot.file.mark.index);
        let many = self.snapshots.len().saturating_sub(3);
        self.snapshots.drain(..many);
        self.snapshots[0].file.mark.index
    }
}

pub(super) struct Host {
    pub(super) id: NodeId,
    pub(super) incarnation: Incarnation,
    pub(super) replica: Option<Replica>,
    pub(super) disk: Disk,
    /// Handed over, not synced.
    pub(super) writing: VecDeque<Persist>,
    /// Since when there has been something to write.
    pub(super) writing_since: Option<Instant>,
    pub(super) overdue: bool,
    pub(super) jobs: VecDeque<Output>,
    stage: Option<(SnapshotFile, u64)>,
}

pub(super) fn genesis(voters: u64, learners: u64) -> Genesis {
    let ids = |from: u64, to: u64| (from..=to).map(NodeId::new);
    let conf = ConfState {
        voters: ids(1, voters).collect(),
        learners: ids(voters + 1, voters + learners).collect(),
        ..ConfState::default()
    };
    let members = ids(1, voters + learners).map(|id| Member {
        id,
        name: format!("n{id}"),
        address: String::new(),
        incarnation: None,
        learner: id.get() > voters,
    });
    let mark = SnapshotMark { index: Index::new(1), term: Term::new(1), conf };
    Genesis { cluster: CLUSTER, members: members.collect(), mark }
}

pub(super) fn settings() -> Settings {
    Settings {
        tick: TICK,
        heartbeat: TICK * 2,
        election: TICK * 20,
        snapshot_count: 12,
        snapshot_log_bytes: 1 << 13,
        snapshot_catchup_entries: 5,
        max_message_bytes: 64 * 1024,
        max_request_bytes: 32 * 1024,
        max_pinned_revisions: 0,
        retain: Retain::default(),
    }
}

impl Host {
    pub(super) fn new(id: NodeId, disk: Disk) -> Self {
        Self {
            id,
            incarnation: Incarnation::new(100 + id.get()),
            replica: None,
            disk,
            writing: VecDeque::new(),
            writing_since: None,
            overdue: false,
            jobs: VecDeque::new(),
            stage: None,
        }
    }

    pub(super) fn leads(&self) -> bool {
        self.replica.as_ref().is_some_and(|replica| replica.look().log.role == Role::Leader)
    }

    pub(super) fn open(&mut self, genesis: Genesis, now: Instant) -> Result<(), Error> {
        self.disk.boot += 1;
        self.writing.clear();
        self.jobs.clear();
        (self.stage, self.writing_since, self.overdue) = (None, None, false);
        let last = self.disk.entries.last().map_or(Term::default(), |entry| entry.term);
        if self.disk.hard_state.term < last {
            // As the log does it: half a write was left.
            let commit = self.disk.hard_state.commit;
            self.disk.hard_state = HardState { term: last, commit, ..HardState::default() };
        }
        let disk = self.disk.clone();
        let newest = disk.snapshots.last();
        let (machine, mark) = match newest {
            Some(Snapshot { file, sections }) => {
                let sections = sections.iter().cloned().map(Ok);
                (Machine::restore(sections, &file.mark)?, file.mark.clone())
            }
            None => (Machine::new(genesis), disk.mark),
        };
        let mut entries = disk.entries;
        entries.retain(|entry| entry.index > mark.index);
        let start = Start {
            id: self.id,
            seed: self.id.get() * 1_000 + disk.boot,
            election_ticks: 20,
            heartbeat_ticks: 2,
            max_append_bytes: 512,
            max_inflight: 8,
            max_uncommitted_bytes: 1 << 16,
            max_apply_bytes: 1 << 20,
            hard_state: disk.hard_state,
            applied: mark.index,
            mark,
            entries,
        };
        let me = Me { node: self.id, incarnation: self.incarnation, boot: disk.boot };
        let saved = newest.map(|snapshot| snapshot.file.clone());
        let restored = Restored { me, cluster: CLUSTER, start, machine, saved };
        self.replica = Some(Replica::new(settings(), restored, now)?);
        Ok(())
    }

    /// One turn: what follows from the inputs, in order. Nothing of it has happened yet.
    pub(super) fn turn(&mut self, now: Instant, inputs: Vec<Input>) -> Vec<Output> {
        let Some(replica) = &mut self.replica else { return Vec::new() };
        for input in inputs {
            replica.handle(now, input).unwrap();
        }
        replica.handle(now, Input::Time).unwrap();
        let mut outputs = Vec::new();
        while let Some(output) = replica.poll().unwrap() {
            outputs.push(output);
        }
        outputs
    }

    /// Does a job for whole states. `archive` has every snapshot that anybody took.
    pub(super) fn work(&mut self, job: Output, archive: &mut Vec<Snapshot>) -> Option<Input> {
        match job {
            Output::TakeSnapshot(image) => {
                let sections: Vec<Section> = image.sections().collect();
                let file_bytes = sections.iter().map(|section| section.bytes.len() as u64).sum();
                let (mark, hash) = (image.mark().clone(), archive.len() as u64 + 1);
                let file = SnapshotFile { mark, file_bytes, hash };
                let snapshot = Snapshot { file: file.clone(), sections };
                archive.push(snapshot.clone());
                let oldest = self.disk.keep(snapshot);
                Some(Input::SnapshotTaken { file, oldest })
            }
            Output::ReadChunk { to, transfer, offset, len, .. } => {
                let bytes = vec![0; len as usize].into();
                Some(Input::ChunkRead { to, transfer, offset, bytes })
            }
            Output::Stage(file) => {
                let hash = file.hash;
                let have = self.stage.as_ref().filter(|(staged, _)| staged.hash == hash);
                let have = have.map_or(0, |(_, have)| *have);
                self.stage = Some((file, have));
                Some(Input::Staged { hash, have })
            }
            Output::StageChunk { hash, offset, bytes } => {
                let (_, have) = self.stage.as_mut().filter(|(staged, _)| staged.hash == hash)?;
                if offset <= *have {
                    *have = (*have).max(offset + bytes.len() as u64);
                }
                Some(Input::Staged { hash, have: *have })
            }
            Output::StageFinish { hash } => {
                let snapshot = find(archive, hash);
                let sections = snapshot.sections.iter().cloned().map(Ok);
                let machine = Machine::restore(sections, &snapshot.file.mark).unwrap();
                Some(Input::StageReady { hash, machine: Box::new(machine) })
            }
            Output::Unstage { .. } => {
                self.stage = None;
                None
            }
            Output::ReleaseLog(upto) => {
                self.disk.entries.retain(|entry| entry.index > upto);
                None
            }
            _ => None,
        }
    }

    /// The snapshot that a write on its way installs.
    pub(super) fn received(&mut self, persist: &Persist, archive: &[Snapshot]) -> Option<Snapshot> {
        persist.install.as_ref()?;
        let (file, _) = self.stage.take()?;
        Some(find(archive, file.hash).clone())
    }
}

fn find(archive: &[Snapshot], hash: u64) -> &Snapshot {
    archive.iter().find(|snapshot| snapshot.file.hash == hash).unwrap()
}
