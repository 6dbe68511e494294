//! Snapshots: when to take one, and how one reaches a member that is behind the log.
//!
//! The consensus crate says "send that member a snapshot" and then waits, for ever if need be,
//! to hear how it went (R14). So every transfer has one owner here, [`Sending`], and every way
//! out of it reports. The file itself travels in chunks through ordinary envelopes:
//!
//! ```text
//! leader                                   follower
//!   offer(transfer, file, message)  ─────►  stage(file): what do I hold already?
//!                                   ◄─────  ack(have = 0, or what an earlier try left: resume)
//!   chunk(0) chunk(1) .. window     ─────►  stored, in order
//!                                   ◄─────  ack(have)        each ack moves the window
//!   chunk(n)                        ─────►  complete: verify all, decode, step the message
//!                                   ◄─────  ack(done)
//!   report_snapshot(sent)
//! ```
//!
//! Consensus on the receiving side hears of a snapshot only when it is complete and verified
//! (raft-notes 4.3). A lost envelope costs one retry: the sender offers again and goes on from
//! what the receiver then says it has.

use std::collections::BTreeMap;
use std::time::Duration;

use super::consensus::Message;
use super::envelope::{Body, ChunkStage};
use super::io::SnapshotFile;
#[cfg(feature = "sim")]
use super::sizes::Size;
use crate::core::machine::Machine;
use crate::ids::{Index, NodeId};
use crate::time::Instant;

/// Chunks that may be on their way without an acknowledgement.
const WINDOW: u64 = 4;

/// Chunks that a receiver hands to its disk before the first of them is stored. A sender that keeps
/// to its window stays below, also when it begins again.
const MAX_STORING: u64 = 2 * WINDOW;

/// Chunks that the disk is asked for at a time, for one receiver.
const MAX_READING: u32 = 4;

/// One outgoing transfer.
#[derive(Debug)]
struct Sending {
    transfer: u64,
    file: SnapshotFile,
    message: Message,
    /// The receiver holds everything below.
    acked: u64,
    /// Everything below has been asked from the disk.
    asked: u64,
    /// Reads from the disk that have not come back.
    reading: u32,
    /// When the receiver last moved on.
    progress: Instant,
    /// When it was last offered.
    offered: Instant,
}

/// What a leader offers.
#[derive(Debug)]
pub(crate) struct Offered {
    pub(crate) from: NodeId,
    pub(crate) transfer: u64,
    pub(crate) file: SnapshotFile,
    pub(crate) message: Message,
}

/// The one incoming transfer.
#[derive(Debug)]
pub(crate) struct Receiving {
    pub(crate) from: NodeId,
    pub(crate) transfer: u64,
    pub(crate) file: SnapshotFile,
    /// What installs it; taken when it is stepped.
    pub(crate) message: Option<Message>,
    /// Handed to the disk, in order, without a gap.
    next: u64,
    /// Known to be stored.
    have: u64,
    /// The place to store it is open.
    open: bool,
    /// Pieces with the disk that have not been reported stored. At most [`MAX_STORING`], and of
    /// twice the window's bytes: each is a job, however small, and jobs without end halt the node.
    storing: u64,
    finishing: bool,
    /// When the sender was last heard.
    heard: Instant,
    /// Decoded and waiting for consensus to accept it.
    pub(crate) machine: Option<Box<Machine>>,
}

/// What [`Snapshots`] wants done.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "few at a time, and each is obeyed at once")]
pub(crate) enum Step {
    Say {
        to: NodeId,
        body: Body,
    },
    ReadChunk {
        to: NodeId,
        transfer: u64,
        index: Index,
        offset: u64,
        len: u32,
    },
    Stage(SnapshotFile),
    StageChunk {
        hash: u64,
        offset: u64,
        bytes: bytes::Bytes,
    },
    StageFinish {
        hash: u64,
    },
    /// Tell consensus how a transfer went (R14).
    Report {
        to: NodeId,
        sent: bool,
    },
}

/// How transfers behave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) chunk_bytes: u32,
    /// Offer again after this long without progress.
    pub(crate) retry: Duration,
    /// Give up after this long without progress.
    pub(crate) patience: Duration,
}

/// See the top of the file.
#[derive(Debug)]
pub(crate) struct Snapshots {
    pace: Pace,
    transfers: u64,
    sending: BTreeMap<NodeId, Sending>,
    receiving: Option<Receiving>,
}

impl Snapshots {
    /// `boot` keeps the transfers of one boot apart from those of another, as with questions.
    pub(crate) fn new(pace: Pace, boot: u64) -> Self {
        Self { pace, transfers: boot << 40, sending: BTreeMap::new(), receiving: None }
    }

    // ---- the sending side

    /// Begins to send `file` to `to`; an earlier transfer to it is over.
    pub(crate) fn send(
        &mut self,
        to: NodeId,
        file: SnapshotFile,
        message: Message,
        now: Instant,
    ) -> Step {
        self.transfers = self.transfers.saturating_add(1);
        let sending = Sending {
            transfer: self.transfers,
            file,
            message,
            acked: 0,
            asked: u64::MAX,
            reading: 0,
            progress: now,
            offered: now,
        };
        let step = Step::Say { to, body: offer(&sending) };
        self.sending.insert(to, sending);
        step
    }

    /// What a running transfer sends.
    pub(crate) fn file(&self, to: NodeId, transfer: u64) -> Option<&SnapshotFile> {
        let sending = self.sending.get(&to).filter(|sending| sending.transfer == transfer);
        sending.map(|sending| &sending.file)
    }

    /// The receiver says how far it is.
    pub(crate) fn acked(
        &mut self,
        (from, transfer): (NodeId, u64),
        (have, stage): (u64, ChunkStage),
        now: Instant,
        out: &mut Vec<Step>,
    ) {
        let Some(sending) = self.sending.get_mut(&from) else { return };
        if sending.transfer != transfer || have > sending.file.file_bytes {
            return;
        }
        match stage {
            ChunkStage::Done | ChunkStage::Refused => {
                self.sending.remove(&from);
                out.push(Step::Report { to: from, sent: stage == ChunkStage::Done });
                return;
            }
            ChunkStage::Receiving => {}
        }
        if have > sending.acked || sending.asked == u64::MAX {
            sending.progress = now;
        }
        // The first answer to an offer says where to begin, also if that is before what was
        // acknowledged: a receiver that was restarted has lost it. Later ones only move forward.
        if sending.asked == u64::MAX {
            (sending.asked, sending.acked) = (have, have);
        }
        sending.acked = sending.acked.max(have);
        sending.asked = sending.asked.max(have);
        let window = WINDOW * u64::from(self.pace.chunk_bytes);
        let until = sending.acked.saturating_add(window).min(sending.file.file_bytes);
        // Late answers move the window on while reads for an earlier one are under way: those
        // count as well.
        while sending.asked < until && sending.reading < MAX_READING {
            let left = sending.file.file_bytes - sending.asked;
            let len = u32::try_from(left).unwrap_or(u32::MAX).min(self.pace.chunk_bytes);
            out.push(Step::ReadChunk {
                to: from,
                transfer,
                index: sending.file.mark.index,
                offset: sending.asked,
                len,
            });
            sending.asked += u64::from(len);
            sending.reading += 1;
        }
    }

    /// A chunk came from the disk: pass it on if its transfer still runs.
    pub(crate) fn chunk_read(
        &mut self,
        to: NodeId,
        transfer: u64,
        offset: u64,
        bytes: bytes::Bytes,
    ) -> Option<Step> {
        let sending = self.sending.get_mut(&to).filter(|sending| sending.transfer == transfer)?;
        sending.reading = sending.reading.saturating_sub(1);
        Some(Step::Say { to, body: Body::Chunk { transfer, offset, bytes } })
    }

    /// The file that a chunk was read from is gone: ends its transfer, if that still runs.
    pub(crate) fn chunk_lost(&mut self, to: NodeId, transfer: u64, out: &mut Vec<Step>) {
        if self.sending.get(&to).is_some_and(|sending| sending.transfer == transfer) {
            self.sending.remove(&to);
            out.push(Step::Report { to, sent: false });
        }
    }

    /// This node leads no more: nobody is left to report to, consensus has forgotten it all.
    pub(crate) fn stop_all(&mut self) {
        self.sending.clear();
    }

    /// Offers again what got stuck and gives up what stays stuck.
    pub(crate) fn tick(&mut self, now: Instant, out: &mut Vec<Step>) {
        let pace = self.pace;
        self.sending.retain(|&to, sending| {
            if now.since(sending.progress) >= pace.patience {
                out.push(Step::Report { to, sent: false });
                return false;
            }
            let quiet = now.since(sending.progress).min(now.since(sending.offered));
            // While the disk is behind, asking it for more would only pile up.
            if quiet >= pace.retry && sending.reading == 0 {
                sending.offered = now;
                sending.asked = u64::MAX;
                out.push(Step::Say { to, body: offer(sending) });
            }
            true
        });
        // A sender that is gone must not keep this member from taking snapshots of its own. What
        // it sent stays on disk: the same file, offered again, goes on from there.
        let gone = |receiving: &mut Receiving| {
            !receiving.finishing && now.since(receiving.heard) >= pace.patience
        };
        drop(self.receiving.take_if(gone));
    }

    /// The lowest index that a running transfer will leave its receiver at.
    pub(crate) fn lowest_sending(&self) -> Option<Index> {
        self.sending.values().map(|sending| sending.file.mark.index).min()
    }

    // ---- the receiving side

    pub(crate) fn receiving(&mut self) -> Option<&mut Receiving> {
        self.receiving.as_mut()
    }

    /// The leader offers a snapshot.
    pub(crate) fn offered(&mut self, offer: Offered, now: Instant) -> Option<Step> {
        let Offered { from, transfer, file, message } = offer;
        if let Some(receiving) = &mut self.receiving {
            if receiving.machine.is_some() || receiving.message.is_none() {
                // It is being installed right now: the sender will hear when it is done.
                return None;
            }
            if receiving.file == file {
                (receiving.from, receiving.transfer) = (from, transfer);
                (receiving.message, receiving.heard) = (Some(message), now);
                if receiving.storing > 0 || !receiving.open {
                    // The sender will hear when the disk is done with what is here.
                    return None;
                }
                // Go back to what is stored: a chunk may have been lost.
                receiving.next = receiving.have;
                return Some(ack(receiving, ChunkStage::Receiving));
            }
            if !receiving.open {
                // The disk has not come to that one: another would only wait behind it. It is
                // offered again.
                return None;
            }
        }
        let stage = Step::Stage(file.clone());
        self.receiving = Some(Receiving {
            from,
            transfer,
            file,
            message: Some(message),
            next: 0,
            have: 0,
            open: false,
            storing: 0,
            finishing: false,
            heard: now,
            machine: None,
        });
        Some(stage)
    }

    /// A piece arrives. Out of order: say what is held instead.
    pub(crate) fn chunk(
        &mut self,
        (from, transfer): (NodeId, u64),
        (offset, bytes): (u64, bytes::Bytes),
        now: Instant,
    ) -> Option<Step> {
        let receiving = self.receiving.as_mut()?;
        let end = offset.checked_add(bytes.len() as u64)?;
        // A sender that ignores the window must not fill the queue to the disk: neither with
        // bytes nor, with small pieces, with jobs.
        let ahead = end.saturating_sub(receiving.have);
        let fits = end <= receiving.file.file_bytes
            && ahead <= 2 * WINDOW * u64::from(self.pace.chunk_bytes)
            && receiving.storing < MAX_STORING
            && receiving.open
            && !receiving.finishing
            && !bytes.is_empty();
        if (receiving.from, receiving.transfer) != (from, transfer) || !fits {
            return None;
        }
        receiving.heard = now;
        if offset != receiving.next {
            return Some(ack(receiving, ChunkStage::Receiving));
        }
        receiving.next = end;
        receiving.storing = receiving.storing.saturating_add(1);
        Some(Step::StageChunk { hash: receiving.file.hash, offset, bytes })
    }

    /// The disk holds `have` bytes from the front.
    pub(crate) fn staged(&mut self, hash: u64, have: u64, out: &mut Vec<Step>) {
        let Some(receiving) = self.receiving.as_mut() else { return };
        if receiving.file.hash != hash || receiving.finishing {
            return;
        }
        if std::mem::replace(&mut receiving.open, true) {
            receiving.storing = receiving.storing.saturating_sub(1);
        }
        receiving.have = have;
        if receiving.storing == 0 {
            // What did not fit was dropped on the way to the disk: it must be sent again.
            receiving.next = have;
        }
        out.push(ack(receiving, ChunkStage::Receiving));
        if have == receiving.file.file_bytes {
            receiving.finishing = true;
            out.push(Step::StageFinish { hash });
        }
    }

    /// It is whole and decoded: gives the message to step.
    pub(crate) fn ready(&mut self, hash: u64, machine: Box<Machine>) -> Option<(NodeId, Message)> {
        let receiving = self.receiving.as_mut().filter(|receiving| receiving.file.hash == hash)?;
        receiving.machine = Some(machine);
        Some((receiving.from, receiving.message.take()?))
    }

    /// The incoming transfer is over, this way or that: tell the sender.
    pub(crate) fn end(&mut self, stage: ChunkStage) -> Option<(Step, Receiving)> {
        let receiving = self.receiving.take()?;
        Some((ack(&receiving, stage), receiving))
    }

    /// As [`end`](Self::end), if it is the one with this hash.
    pub(crate) fn failed(&mut self, hash: u64) -> Option<Step> {
        let same = self.receiving.as_ref().is_some_and(|receiving| receiving.file.hash == hash);
        if same { self.end(ChunkStage::Refused).map(|(step, _)| step) } else { None }
    }
}

#[cfg(feature = "sim")]
impl Snapshots {
    pub(crate) fn transfers(&self) -> usize {
        self.sending.len()
    }

    pub(crate) fn is_receiving(&self) -> bool {
        self.receiving.is_some()
    }

    /// How much there is of what has a bound.
    pub(crate) fn sizes(&self, members: usize, out: &mut Vec<Size>) {
        let window = WINDOW * u64::from(self.pace.chunk_bytes);
        out.push(Size::new("snapshots being sent", self.sending.len(), members));
        for sending in self.sending.values() {
            let is = u64::from(sending.reading);
            out.push(Size {
                what: "chunks being read for one member",
                is,
                most: u64::from(MAX_READING),
            });
            let begun = sending.asked != u64::MAX;
            let is = if begun { sending.asked.saturating_sub(sending.acked) } else { 0 };
            out.push(Size { what: "bytes of a snapshot on their way", is, most: window });
        }
        if let Some(receiving) = &self.receiving {
            // Not `next - have`: what the disk holds can turn out to be less than it was, and
            // nothing is held for that.
            let (is, most) = (receiving.storing, MAX_STORING);
            out.push(Size { what: "chunks of a snapshot not stored yet", is, most });
        }
    }
}

fn offer(sending: &Sending) -> Body {
    Body::Offer {
        transfer: sending.transfer,
        file: sending.file.clone(),
        message: sending.message.clone(),
    }
}

fn ack(receiving: &Receiving, stage: ChunkStage) -> Step {
    let Receiving { from, transfer, have, .. } = *receiving;
    Step::Say { to: from, body: Body::ChunkAck { transfer, have, stage } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::SnapshotMark;

    /// R14: a reader that is late with its bad news must not end the transfer that came after.
    #[test]
    fn a_lost_chunk_ends_only_the_transfer_that_it_was_read_for() {
        let moment = Duration::from_secs(1);
        let pace = Pace { chunk_bytes: 10, retry: moment, patience: moment };
        let file = SnapshotFile { mark: SnapshotMark::default(), file_bytes: 100, hash: 1 };
        let (to, now) = (NodeId::new(2), Instant::default());
        let mut snapshots = Snapshots::new(pace, 0);
        snapshots.send(to, file.clone(), Message::blank(), now);
        snapshots.send(to, file, Message::blank(), now);
        let mut steps = Vec::new();
        snapshots.chunk_lost(to, 1, &mut steps);
        assert!(steps.is_empty() && snapshots.lowest_sending().is_some(), "{steps:?}");
        snapshots.chunk_lost(to, 2, &mut steps);
        assert!(matches!(*steps, [Step::Report { sent: false, .. }]), "{steps:?}");
        assert_eq!(snapshots.lowest_sending(), None);
    }

    /// Answers every read from the disk; returns how many there were.
    fn read(snapshots: &mut Snapshots, steps: &mut Vec<Step>) -> usize {
        let mut count = 0;
        for step in std::mem::take(steps) {
            let Step::ReadChunk { to, transfer, offset, len, .. } = step else { continue };
            let bytes = bytes::Bytes::from(vec![0; len as usize]);
            assert!(snapshots.chunk_read(to, transfer, offset, bytes).is_some());
            count += 1;
        }
        count
    }

    /// Each piece is a job for the disk, and a node with too many of those halts.
    #[test]
    fn a_sender_of_tiny_chunks_cannot_fill_the_queue_to_the_disk() {
        let moment = Duration::from_secs(1);
        let pace = Pace { chunk_bytes: 1_000, retry: moment, patience: moment };
        let file = SnapshotFile { mark: SnapshotMark::default(), file_bytes: 5_000, hash: 1 };
        let (from, now, message) = (NodeId::new(2), Instant::default(), Message::blank());
        let mut snapshots = Snapshots::new(pace, 0);
        snapshots.offered(Offered { from, transfer: 1, file, message }, now);
        let mut steps = Vec::new();
        snapshots.staged(1, 0, &mut steps);
        let send = |snapshots: &mut Snapshots, offset: u64| {
            let piece = (offset, bytes::Bytes::from_static(b"x"));
            let step = snapshots.chunk((from, 1), piece, now);
            matches!(step, Some(Step::StageChunk { .. }))
        };
        let jobs = (0..3_000).filter(|offset| send(&mut snapshots, *offset)).count();
        assert_eq!(jobs, 8);
        // As the disk gets on, so does the transfer.
        snapshots.staged(1, 1, &mut steps);
        assert!(send(&mut snapshots, 8) && !send(&mut snapshots, 9));
    }

    #[test]
    fn a_sender_of_ever_new_offers_cannot_fill_the_queue_to_the_disk() {
        let moment = Duration::from_secs(1);
        let pace = Pace { chunk_bytes: 1_000, retry: moment, patience: moment };
        let (from, now, mut steps) = (NodeId::new(2), Instant::default(), Vec::new());
        let mut snapshots = Snapshots::new(pace, 0);
        let offer = |snapshots: &mut Snapshots, hash: u8| {
            let file =
                SnapshotFile { mark: SnapshotMark::default(), file_bytes: 9, hash: hash.into() };
            let message = Message::blank();
            let step = snapshots.offered(Offered { from, transfer: 1, file, message }, now);
            matches!(step, Some(Step::Stage(_)))
        };
        assert_eq!((0..200).filter(|hash| offer(&mut snapshots, *hash)).count(), 1);
        // When the disk has come to it, another one may take its place.
        snapshots.staged(0, 0, &mut steps);
        assert!(offer(&mut snapshots, 7) && !offer(&mut snapshots, 8));
    }

    /// The receiver was restarted and holds nothing of what it had acknowledged.
    #[test]
    fn a_receiver_that_begins_again_is_sent_a_window_at_a_time() {
        let moment = Duration::from_secs(1);
        let pace = Pace { chunk_bytes: 10, retry: moment, patience: moment * 10 };
        let file = SnapshotFile { mark: SnapshotMark::default(), file_bytes: 1_000, hash: 1 };
        let (to, now, receiving) = (NodeId::new(2), Instant::default(), ChunkStage::Receiving);
        let (mut snapshots, mut steps) = (Snapshots::new(pace, 0), Vec::new());
        snapshots.send(to, file, Message::blank(), now);
        for have in (0..=500).step_by(10) {
            snapshots.acked((to, 1), (have, receiving), now, &mut steps);
            assert!(read(&mut snapshots, &mut steps) <= 4);
        }
        let now = now.after(moment);
        snapshots.tick(now, &mut steps);
        assert!(matches!(*steps, [Step::Say { body: Body::Offer { .. }, .. }]), "{steps:?}");
        snapshots.acked((to, 1), (0, receiving), now, &mut steps);
        let offsets: Vec<u64> = steps
            .iter()
            .filter_map(|step| match step {
                Step::ReadChunk { offset, .. } => Some(*offset),
                _ => None,
            })
            .collect();
        assert_eq!(offsets, [0, 10, 20, 30]);
        // Late word from before it was restarted does not pile up reads either.
        for have in [300, 400, 500] {
            snapshots.acked((to, 1), (have, receiving), now, &mut steps);
        }
        assert_eq!(read(&mut snapshots, &mut steps), 4);
        // What it holds is all that counts once more.
        snapshots.tick(now.after(moment), &mut steps);
        snapshots.acked((to, 1), (10, receiving), now, &mut steps);
        assert_eq!(read(&mut snapshots, &mut steps), 4);
    }
}
