//! The one history of events, put together from what members apply.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::core::mvcc::{KeyValue, Record};
use crate::core::replica::Replica;
use crate::ids::{NodeId, Revision};
use crate::sim::history::Kv;
use crate::sim::seen::{Judge, Seen};

/// Where a change stands: its revision, then its place in the transaction.
pub(crate) type At = (Revision, u32);

/// One change of one key, as it was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) at: At,
    pub(crate) key: Bytes,
    /// `None`: it was deleted.
    pub(crate) kv: Option<Kv>,
}

/// What has happened, and what members know of it.
///
/// Whoever applies a revision first is shown before it removes anything, so nothing is missing
/// here: neither what is overwritten at once nor what is compacted in the same turn.
#[derive(Clone, Debug, Default)]
pub(crate) struct Truth {
    /// Ascending. Every revision from 2 on is there.
    changes: Vec<Change>,
    /// Where the changes of each key are.
    keys: BTreeMap<Bytes, Vec<usize>>,
    /// The highest compaction that anybody has applied.
    compacted: Revision,
    members: BTreeMap<NodeId, Member>,
}

/// A member as it stood at its last turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Member {
    /// How often it has opened.
    pub(crate) boot: u32,
    pub(crate) is_up: bool,
    pub(crate) revision: Revision,
    pub(crate) compacted: Revision,
    /// Snapshots that took the place of its state since it opened.
    pub(crate) installs: u64,
}

impl Truth {
    pub(crate) fn newest(&self) -> Revision {
        self.changes.last().map_or(Revision::new(1), |change| change.at.0)
    }

    pub(crate) fn compacted(&self) -> Revision {
        self.compacted
    }

    pub(crate) fn member(&self, node: NodeId) -> Member {
        self.members.get(&node).copied().unwrap_or_default()
    }

    /// The changes of these revisions, in order.
    pub(crate) fn between(&self, revisions: RangeInclusive<Revision>) -> &[Change] {
        let begin = self.changes.partition_point(|change| change.at.0 < *revisions.start());
        let end = self.changes.partition_point(|change| change.at.0 <= *revisions.end());
        self.changes.get(begin..end).unwrap_or_default()
    }

    /// What was done to a key at a revision.
    pub(crate) fn find(&self, key: &[u8], revision: Revision) -> Option<&Change> {
        self.last(key, revision).filter(|change| change.at.0 == revision)
    }

    /// The last change of a key at or before a revision.
    pub(crate) fn last(&self, key: &[u8], revision: Revision) -> Option<&Change> {
        let places = self.keys.get(key)?.iter().rev();
        let mut changes = places.filter_map(|place| self.changes.get(*place));
        changes.find(|change| change.at.0 <= revision)
    }

    /// What the keys that `covers` names held at a revision.
    pub(crate) fn state(&self, covers: impl Fn(&[u8]) -> bool, revision: Revision) -> Vec<&Kv> {
        let keys = self.keys.keys().filter(|key| covers(key));
        keys.filter_map(|key| self.last(key, revision)?.kv.as_ref()).collect()
    }

    /// The keys that begin so: each time that one was made, and when it was deleted again.
    pub(crate) fn lives(&self, prefix: Bytes) -> impl Iterator<Item = (&Change, Option<Revision>)> {
        let from = self.keys.range(prefix.clone()..);
        let keys = from.take_while(move |(key, _)| key.starts_with(&prefix));
        let changes = keys.map(|(_, places)| places.iter().filter_map(|it| self.changes.get(*it)));
        changes.flat_map(|changes| {
            let mut lives: Vec<(&Change, Option<Revision>)> = Vec::new();
            for change in changes {
                match lives.last_mut().filter(|(_, gone)| gone.is_none()) {
                    Some((_, gone)) if change.kv.is_none() => *gone = Some(change.at.0),
                    None if change.kv.is_some() => lives.push((change, None)),
                    _ => {}
                }
            }
            lives
        })
    }

    /// What a key held, one after the other.
    pub(crate) fn lives_of(&self, key: &[u8]) -> impl Iterator<Item = &Kv> {
        let places = self.keys.get(key).into_iter().flatten();
        places.filter_map(|place| self.changes.get(*place)?.kv.as_ref())
    }

    pub(crate) fn add(&mut self, change: Change) {
        let places = self.keys.entry(change.key.clone()).or_default();
        places.push(self.changes.len());
        self.changes.push(change);
    }

    pub(crate) fn set_member(&mut self, node: NodeId, member: Member) {
        self.compacted = self.compacted.max(member.compacted);
        self.members.insert(node, member);
    }

    /// Learns what a member has applied that nobody has before.
    fn learn(&mut self, node: NodeId, replica: &Replica, opens: bool) -> Result<(), String> {
        let mvcc = replica.machine().mvcc();
        let before = self.member(node);
        let boot = before.boot.saturating_add(opens.into());
        let compacted = mvcc.compacted().unwrap_or_default();
        let (revision, installs) = (mvcc.revision(), replica.tally().installs);
        self.set_member(node, Member { boot, is_up: true, revision, compacted, installs });
        let newest = self.newest();
        if revision <= newest {
            return Ok(());
        }
        let (mut last, mut gap) = (newest, None);
        let replayed = replica.reader().replay((newest.next(), 0), usize::MAX, |record| {
            let at = record.position();
            if at.0 > last.next() {
                gap = gap.or(Some(last.next()));
            }
            last = at.0;
            self.add(Change::from(record));
        });
        if last < revision || replayed.is_err() {
            gap = gap.or(Some(last.next()));
        }
        match gap {
            Some(gap) => {
                Err(format!("DM-4: member {node} is at {revision}, without events of {gap}"))
            }
            None => Ok(()),
        }
    }
}

impl From<&Record> for Change {
    fn from(record: &Record) -> Self {
        let live = !record.is_tombstone();
        let kv = live.then(|| Kv::from(&KeyValue::new(record.clone())));
        Self { at: record.position(), key: Bytes::copy_from_slice(record.key()), kv }
    }
}

/// Whoever looks on while the truth is put together.
pub(crate) struct Chronicler(pub(crate) Arc<Mutex<Truth>>);

impl Judge for Chronicler {
    fn name(&self) -> &'static str {
        "events"
    }

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        let mut truth = self.0.lock();
        match seen {
            Seen::Opened { node, replica } => truth.learn(*node, replica, true),
            Seen::Turned { node, replica } => truth.learn(*node, replica, false),
            Seen::Ended { node } => {
                let member = truth.member(*node);
                truth.set_member(*node, Member { is_up: false, ..member });
                Ok(())
            }
            Seen::Durable { .. } => Ok(()),
        }
    }

    fn end(&mut self, _: &[(NodeId, &Replica)]) -> Result<(), String> {
        Ok(())
    }
}
