//! What happened to some keys, in the order in which it did: what watchers are told.
//!
//! Read on any thread, beside the writer. Of one key its versions are read, from the index: that
//! costs what the key has seen. Of more keys the history is gone through, and what the others have
//! seen costs too; so it is read in steps.
//!
//! As with any read, either all of it is there or it fails: who removes says so first (`pins.rs`).

use std::fmt;

use super::history::Piece;
use super::index::Index;
use super::record::{Position, Record};
use super::{KeyValue, Reader};
use crate::ids::Revision;
use crate::keys::KeyRange;
use crate::planted::{Bug, planted};

/// Records fetched from the history at a time.
const PIECE_RECORDS: usize = 256;

/// What an [`Event`] has done to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A value was put.
    Put,
    /// The key was deleted.
    Delete,
}

/// One change of one key (`WAT-13`). Cheap to clone: what it shows is the store's own memory.
///
/// ```no_run
/// # fn example(event: quorate::Event) {
/// use quorate::EventKind;
///
/// match event.kind() {
///     EventKind::Put if event.is_create() => println!("new: {:?}", event.kv()),
///     EventKind::Put => println!("{:?} was {:?}", event.kv(), event.prev()),
///     EventKind::Delete => println!("{:?} is gone", event.key()),
/// }
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    kv: KeyValue,
    prev: Option<KeyValue>,
}

impl Event {
    /// Put or deleted?
    ///
    /// ```no_run
    /// # fn example(event: quorate::Event) {
    /// let is_gone = event.kind() == quorate::EventKind::Delete;
    /// # }
    /// ```
    pub fn kind(&self) -> EventKind {
        if self.kv.version() == 0 { EventKind::Delete } else { EventKind::Put }
    }

    /// Whether it began a life of its key: a put of what was not there (`WAT-14`).
    ///
    /// ```no_run
    /// # fn example(event: quorate::Event) {
    /// let was_there = !event.is_create();
    /// # }
    /// ```
    pub fn is_create(&self) -> bool {
        self.kv.version() == 1
    }

    /// The key.
    ///
    /// ```no_run
    /// # fn example(event: quorate::Event) {
    /// println!("{} has changed", event.key().escape_ascii());
    /// # }
    /// ```
    pub fn key(&self) -> &[u8] {
        self.kv.key()
    }

    /// The key and what was put. Of a deletion only [`key`](KeyValue::key) and
    /// [`mod_revision`](KeyValue::mod_revision) say anything: the rest is empty and 0 (`WAT-13`).
    ///
    /// ```no_run
    /// # fn example(event: quorate::Event) {
    /// println!("{}", event.kv().value().escape_ascii());
    /// # }
    /// ```
    pub fn kv(&self) -> &KeyValue {
        &self.kv
    }

    /// What the key was before the transaction, if the watcher asked for it (`WAT-19`). `None`
    /// where it was not there, or where that has been compacted.
    ///
    /// ```no_run
    /// # fn example(event: quorate::Event) {
    /// let before = event.prev().map(|kv| kv.value());
    /// # }
    /// ```
    pub fn prev(&self) -> Option<&KeyValue> {
        self.prev.as_ref()
    }

    /// The revision that it made, or was part of.
    ///
    /// ```no_run
    /// # fn example(event: quorate::Event) {
    /// println!("as of {}", event.revision());
    /// # }
    /// ```
    pub fn revision(&self) -> Revision {
        self.kv.mod_revision()
    }

    /// Where it stands among all changes.
    pub(crate) fn position(&self) -> Position {
        self.kv.position()
    }

    /// Without the first bytes of its key, which it has.
    pub(crate) fn without_prefix(self, prefix: &[u8]) -> Self {
        let show = |kv: KeyValue| kv.without_prefix(prefix);
        Self { kv: show(self.kv), prev: self.prev.map(show) }
    }

    /// Bytes of what it shows.
    pub(crate) fn bytes(&self) -> usize {
        let bytes = |kv: &KeyValue| kv.key().len().saturating_add(kv.value().len());
        bytes(&self.kv).saturating_add(self.prev.as_ref().map_or(0, bytes))
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.kv)?;
        self.prev.as_ref().map_or(Ok(()), |prev| write!(f, " was {prev:?}"))
    }
}

/// Which changes are left out (`WAT-20`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) no_puts: bool,
    pub(crate) no_deletes: bool,
}

impl Filter {
    fn admits(self, record: &Record) -> bool {
        planted(Bug::IgnoreFilter)
            || !if record.is_tombstone() { self.no_deletes } else { self.no_puts }
    }
}

/// Which changes are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Changes<'a> {
    pub(crate) range: &'a KeyRange,
    /// From here on.
    pub(crate) from: Position,
    pub(crate) filter: Filter,
    /// With what each key was before.
    pub(crate) prev: bool,
    /// Records that are looked at, at most.
    pub(crate) looks: usize,
    /// Bytes of events behind which nothing more is looked at.
    pub(crate) bytes: usize,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Changed {
    /// Ascending by position.
    pub(crate) events: Vec<Event>,
    /// Everything before is among the events. At the end of what is published it is the revision
    /// behind that.
    pub(crate) next: Position,
}

impl Reader {
    /// The changes of a range from some position on.
    ///
    /// # Errors
    ///
    /// The compacted revision, if not all of them are here any more (`WAT-11`).
    pub(crate) fn changes(&self, ask: &Changes<'_>) -> Result<Changed, Revision> {
        let mut found = Found { ask, index: &self.index, events: Vec::new(), bytes: 0 };
        let next = match ask.range.single() {
            Some(key) => self.versions(key, &mut found)?,
            None => self.walk(&mut found)?,
        };
        Ok(Changed { events: found.events, next: next.max(ask.from) })
    }

    /// Shows published records from a position on, at most `looks`, a few at a time. Returns where
    /// to go on: the revision behind what is published, at its end.
    ///
    /// # Errors
    ///
    /// The newest revision, if not all of them are here any more.
    pub(crate) fn replay(
        &self,
        mut from: Position,
        mut looks: usize,
        mut see: impl FnMut(&Record),
    ) -> Result<Position, Revision> {
        while looks > 0 {
            let step = looks.min(PIECE_RECORDS);
            let (piece, published) = self.piece(from, step).map_err(|_| self.revision())?;
            let records = until(piece.records(), published);
            let Some(last) = records.last() else { return Ok(from.max((published.next(), 0))) };
            records.iter().for_each(&mut see);
            from = behind(last);
            looks = looks.saturating_sub(records.len());
        }
        Ok(from)
    }

    /// One key's versions, as far as they may be looked at, and where that is.
    fn versions(&self, key: &[u8], found: &mut Found<'_>) -> Result<Position, Revision> {
        let Changes { mut from, mut looks, .. } = *found.ask;
        let published = self.revision();
        while looks > 0 {
            let step = looks.min(PIECE_RECORDS);
            let versions = self.index.versions(key, (from, published), step);
            if !self.has(from.0) {
                return Err(self.bound());
            }
            if let Some(stopped) = found.take(&versions) {
                return Ok(stopped);
            }
            let Some(last) = versions.last().filter(|_| versions.len() == step) else {
                return Ok((published.next(), 0));
            };
            from = behind(last);
            looks = looks.saturating_sub(step);
        }
        Ok(from)
    }

    /// The history as far as it may be looked at, and where that is.
    fn walk(&self, found: &mut Found<'_>) -> Result<Position, Revision> {
        let Changes { mut from, mut looks, .. } = *found.ask;
        loop {
            let (piece, published) = self.piece(from, looks.min(PIECE_RECORDS))?;
            let records = until(piece.records(), published);
            let Some(last) = records.last() else { return Ok((published.next(), 0)) };
            if let Some(stopped) = found.take(records) {
                return Ok(stopped);
            }
            from = behind(last);
            looks = looks.saturating_sub(records.len());
            if looks == 0 {
                return Ok(from);
            }
        }
    }

    /// Whether everything from a revision on is still here, for one who has read it otherwise.
    ///
    /// # Errors
    ///
    /// The compacted revision, if it is not (`WAT-11`).
    pub(crate) fn check(&self, from: Revision) -> Result<(), Revision> {
        if self.has(from) { Ok(()) } else { Err(self.bound()) }
    }

    /// Records from a position on, published or not, and the newest revision that is.
    fn piece(&self, from: Position, max: usize) -> Result<(Piece, Revision), Revision> {
        let history = self.index.history.read();
        if self.has(from.0) {
            return Ok((history.piece(from, max), self.revision()));
        }
        Err(self.bound())
    }

    /// Whether everything from there on is still here. Looked at afterwards: who removes says so
    /// first.
    fn has(&self, from: Revision) -> bool {
        self.index.pins.has(from) || planted(Bug::PassOverRemoved)
    }

    /// What is named to somebody for whom too much is gone.
    fn bound(&self) -> Revision {
        // While stores are exchanged only one of the two may know.
        self.compacted().unwrap_or_default().max(self.index.pins.gone())
    }
}

/// Events as they are gathered.
struct Found<'a> {
    ask: &'a Changes<'a>,
    index: &'a Index,
    events: Vec<Event>,
    bytes: usize,
}

impl Found<'_> {
    /// Takes what is asked for out of some records. Says where it has stopped, if there was enough
    /// before their end.
    fn take(&mut self, records: &[Record]) -> Option<Position> {
        for record in records {
            if self.ask.range.contains(record.key()) && self.ask.filter.admits(record) {
                let event = self.event(record);
                self.bytes = self.bytes.saturating_add(event.bytes());
                self.events.push(event);
                if self.bytes >= self.ask.bytes {
                    return Some(behind(record));
                }
            }
        }
        None
    }

    fn event(&self, record: &Record) -> Event {
        let asked = self.ask.prev && record.version() != 1;
        let prev = asked.then(|| self.before(record)).flatten();
        Event { kv: KeyValue::new(record.clone()), prev }
    }

    fn before(&self, record: &Record) -> Option<KeyValue> {
        let back = if planted(Bug::PrevTooLate) { 0 } else { 1 };
        let before = Revision::new(record.main().get().saturating_sub(back));
        let prev = self.index.get(record.key(), before)?;
        // Looked at afterwards: who removes says so first.
        self.index.pins.has(before).then(|| KeyValue::new(prev))
    }
}

/// Those up to a revision.
fn until(records: &[Record], last: Revision) -> &[Record] {
    let end = records.partition_point(|record| record.main() <= last);
    records.get(..end).unwrap_or_default()
}

fn behind(record: &Record) -> Position {
    let (main, sub) = record.position();
    (main, sub.saturating_add(1))
}
