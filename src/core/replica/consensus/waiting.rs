//! What waits for which sync.
//!
//! Every `Ready` of the crate has a number, and they become durable in that order. One that must
//! be written goes to the log as a ticket with its number; one that needs no write is durable as
//! soon as all before it are, which is at once if nothing is out.
//!
//! ```text
//!   ready     3 (write)   4 (nothing)   5 (nothing)   6 (write)   7 (nothing)
//!   out       ticket 3                                ticket 6
//!   durable   2
//!   persisted(3)  ->  durable 5: releases what waits for 3, 4 and 5, in order
//!   persisted(6)  ->  durable 7
//! ```
//!
//! The example's 4 and 5 may carry the most dangerous message there is, the answer to a stale
//! append with a commit index that is not durable here yet: it waits although its own `Ready`
//! has nothing to write (R2).

use std::collections::{BTreeMap, VecDeque};

use raft::eraftpb::{Message, MessageType};

use crate::entry::SnapshotMark;

/// So many messages wait at most; what comes then is lost, as on a bad link. Only a disk that has
/// hung for minutes makes as many, of heartbeats and votes that are all long over.
pub(super) const MAX_PARKED: usize = 8_192;

/// The numbers of the crate's `Ready`s, what they wrote, and the messages held back for them.
#[derive(Default)]
pub(super) struct Waiting {
    /// Handed to the log and not reported back; numbers rise.
    out: VecDeque<Written>,
    /// Messages by the number that must be durable before they leave.
    parked: BTreeMap<u64, Vec<Message>>,
    /// How many those are.
    count: usize,
    /// Everything up to this number is durable.
    durable: u64,
    /// The newest number there is.
    newest: u64,
    /// The last number that changed (term, vote); 0 for the state at boot, which is durable.
    ballot: u64,
}

struct Written {
    number: u64,
    install: Option<SnapshotMark>,
}

/// What a sync has settled.
pub(super) struct Settled {
    /// Everything up to here is durable: what `on_persist_ready` must be told.
    pub(super) upto: u64,
    /// The newest snapshot whose install became durable with it.
    pub(super) install: Option<SnapshotMark>,
}

impl Waiting {
    /// A new `Ready`; `ballot` says that it changes (term, vote).
    pub(super) fn begin(&mut self, number: u64, ballot: bool) {
        self.newest = number;
        if ballot {
            self.ballot = number;
        }
    }

    /// It must be written: the log will report it.
    pub(super) fn written(&mut self, number: u64, install: Option<SnapshotMark>) {
        self.out.push_back(Written { number, install });
    }

    /// The log has synced everything up to the ticket `number`. `None` if that was known.
    pub(super) fn settle(&mut self, number: u64) -> Option<Settled> {
        let mut install = None;
        while self.out.front().is_some_and(|written| written.number <= number) {
            install = self.out.pop_front().and_then(|written| written.install).or(install);
        }
        let upto = self.out.front().map_or(self.newest, |next| next.number.saturating_sub(1));
        let news = upto > self.durable;
        self.durable = self.durable.max(upto);
        news.then_some(Settled { upto, install })
    }

    /// The messages that may leave now, oldest first.
    pub(super) fn released(&mut self) -> Vec<Message> {
        let later = self.parked.split_off(&self.durable.saturating_add(1));
        let released = std::mem::replace(&mut self.parked, later).into_values();
        let released: Vec<Message> = released.flatten().collect();
        self.count = self.count.saturating_sub(released.len());
        released
    }

    pub(super) fn park(&mut self, number: u64, message: Message) {
        // R14: a snapshot's message is not lost without a word; and there is one to a follower.
        if self.count >= MAX_PARKED && message.msg_type != MessageType::MsgSnapshot {
            return;
        }
        self.count = self.count.saturating_add(1);
        self.parked.entry(number).or_default().push(message);
    }

    pub(super) fn is_durable(&self, number: u64) -> bool {
        number <= self.durable
    }

    /// How many messages are held back.
    #[cfg(feature = "sim")]
    pub(super) fn parked(&self) -> usize {
        self.count
    }

    /// Whether nothing is out: what needs no write is durable at once.
    pub(super) fn is_idle(&self) -> bool {
        self.out.is_empty()
    }

    /// A snapshot is on its way to the disk.
    pub(super) fn is_installing(&self) -> bool {
        self.out.iter().any(|written| written.install.is_some())
    }

    /// The number that made the current (term, vote).
    pub(super) fn ballot(&self) -> u64 {
        self.ballot
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Index;

    fn to(to: u64) -> Message {
        Message { to, ..Default::default() }
    }

    fn released(waiting: &mut Waiting) -> Vec<u64> {
        waiting.released().iter().map(|message| message.to).collect()
    }

    /// The example of the chapter.
    #[test]
    fn what_needs_no_write_is_durable_with_what_is_before_it() {
        let mut waiting = Waiting::default();
        for number in 1..=7 {
            waiting.begin(number, number == 3);
            waiting.park(number, to(number));
            match number {
                3 | 6 => waiting.written(number, None),
                _ if waiting.is_idle() => drop(waiting.settle(number)),
                _ => {}
            }
        }
        assert_eq!(released(&mut waiting), [1, 2]);
        assert!(!waiting.is_durable(waiting.ballot()));
        assert_eq!(waiting.settle(3).map(|settled| settled.upto), Some(5));
        assert_eq!(released(&mut waiting), [3, 4, 5]);
        assert!(waiting.is_durable(waiting.ballot()) && !waiting.is_idle());
        assert!(waiting.settle(3).is_none());
        assert_eq!(waiting.settle(6).map(|settled| settled.upto), Some(7));
        assert_eq!(released(&mut waiting), [6, 7]);
        assert!(waiting.is_idle());
    }

    /// A disk that hangs for long must not fill the memory with answers that nobody waits for.
    #[test]
    fn only_so_many_messages_wait() {
        let mut waiting = Waiting::default();
        waiting.begin(1, true);
        waiting.written(1, None);
        for receiver in 1..=MAX_PARKED as u64 + 2 {
            waiting.park(1, to(receiver));
        }
        // R14: who waits for word of a snapshot waits for ever if it is not even sent.
        waiting
            .park(1, Message { msg_type: MessageType::MsgSnapshot, to: 7, ..Default::default() });
        waiting.settle(1);
        let left = released(&mut waiting);
        assert_eq!((left.len(), left.last()), (MAX_PARKED + 1, Some(&7)));
        // There is room again.
        waiting.park(2, to(8));
        waiting.settle(2);
        assert_eq!(waiting.parked.len(), 1);
    }

    #[test]
    fn one_sync_of_two_installs_reports_the_newer() {
        let mark = |index| SnapshotMark { index: Index::new(index), ..Default::default() };
        let mut waiting = Waiting::default();
        for number in 1..=2 {
            waiting.begin(number, false);
            waiting.written(number, Some(mark(number * 10)));
        }
        assert!(waiting.is_installing());
        let settled = waiting.settle(2).unwrap();
        assert_eq!((settled.upto, settled.install), (2, Some(mark(20))));
        assert!(!waiting.is_installing());
    }
}
