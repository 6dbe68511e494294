//! Watchers, judged: was each given what happened, all of it, in order, and once?
//!
//! There is one history of events, which [`Truth`] puts together from what members apply. Every
//! watcher of every member, whatever it has lived through, is held against it, batch by batch:
//!
//! ```text
//!   the truth, of its range   5   6 6   8       9 9 9    12
//!   it was given             [5   6 6]  [8  up to 8] [9 9.. fragment  up to 8] [9  up to 11]
//!                                  │          │
//!                                  │          └ bookmarkable: nothing up to there is missing
//!                                  └ atomic: a revision is never split
//! ```
//!
//! Each property of `INV-7` is a complaint of its own, which its word begins:
//!
//! | word | what must hold | rules |
//! |---|---|---|
//! | filtered | nothing of another range or kind, no empty batch unasked | `WAT-20`, `WAT-22` |
//! | true | it happened, and looked like that; so did what was before | `WAT-13`, `WAT-19` |
//! | resumable | nothing from before its first revision | `WAT-2`, `WAT-35`, `WAT-36` |
//! | unique | nothing twice | `WAT-15`, `WAT-31` |
//! | ordered | by revision, and by place in it | `WAT-15` |
//! | atomic | a revision as a whole, or in pieces if it asked for them | `WAT-16`, `WAT-21` |
//! | reliable | nothing is missing between two events | `WAT-12`, `WAT-15` |
//! | bookmarkable | nothing is missing up to the bookmark; it never falls | `WAT-18`, `WAT-23` |
//! | justified | it ends for a reason that is there | `WAT-8`, `WAT-11`, `WAT-30`, `WAT-33` |
//! | complete | in the end it has all there is, and an end was told | `INV-8`, `WAT-34` |

pub(crate) mod truth;

#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;

use self::truth::{At, Change, Truth};
use crate::core::mvcc::{Event, EventKind, KeyValue};
use crate::ids::{NodeId, Revision};
use crate::keys::KeyRange;
use crate::sim::history::Kv;
use crate::sim::marks::Mark;

/// What is watched.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Of the handle that is asked: what is watched has this before its keys, and what is given has
    /// not.
    pub(crate) scope: Bytes,
    /// As it is named in the scope.
    pub(crate) range: KeyRange,
    /// `None`: from now on.
    pub(crate) from: Option<Revision>,
    pub(crate) no_puts: bool,
    pub(crate) no_deletes: bool,
    pub(crate) prev: bool,
    /// It is told of progress by itself.
    pub(crate) progress: bool,
    pub(crate) fragment: Option<usize>,
    pub(crate) leader: bool,
}

impl Asked {
    #[cfg(test)]
    pub(crate) fn all() -> Self {
        Self {
            scope: Bytes::new(),
            range: KeyRange::all(),
            from: None,
            no_puts: false,
            no_deletes: false,
            prev: false,
            progress: false,
            fragment: None,
            leader: false,
        }
    }

    /// Is a key of the whole store in the range?
    pub(crate) fn covers(&self, key: &[u8]) -> bool {
        key.strip_prefix(self.scope.as_ref()).is_some_and(|inner| self.range.contains(inner))
    }

    fn admits(&self, key: &[u8], is_put: bool) -> bool {
        self.covers(key) && !if is_put { self.no_puts } else { self.no_deletes }
    }

    fn wants(&self, change: &Change) -> bool {
        self.admits(&change.key, change.kv.is_some())
    }
}

/// An event as a watcher was given it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) revision: Revision,
    pub(crate) is_put: bool,
    pub(crate) is_create: bool,
    pub(crate) kv: Kv,
    pub(crate) prev: Option<Kv>,
}

impl Given {
    fn key(&self) -> &Bytes {
        &self.kv.key
    }

    fn bytes(&self) -> usize {
        let bytes = |kv: &Kv| kv.key.len() + kv.value.len();
        bytes(&self.kv) + self.prev.as_ref().map_or(0, bytes)
    }
}

impl Given {
    /// What was given through a handle with this scope, which is put back before the keys.
    pub(crate) fn within(scope: &[u8], event: &Event) -> Self {
        Self {
            revision: event.revision(),
            is_put: event.kind() == EventKind::Put,
            is_create: event.is_create(),
            kv: named_in(scope, event.kv()),
            prev: event.prev().map(|prev| named_in(scope, prev)),
        }
    }
}

/// What is shown in a scope, by its name in the whole store.
pub(crate) fn named_in(scope: &[u8], kv: &KeyValue) -> Kv {
    let kv = Kv::from(kv);
    Kv { key: Bytes::from([scope, kv.key.as_ref()].concat()), ..kv }
}

/// How a watcher ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Cancelled,
    Compacted(Revision),
    NoLeader,
    /// Its node was closed, or has halted.
    Node,
}

/// Names a set of watchers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SetId(pub(crate) u64);

/// A watcher, and what it was given so far.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    asked: Asked,
    /// The set that it is in: those of one say together how far they have come.
    pub(crate) set: Option<SetId>,
    node: NodeId,
    boot: u32,
    created: Revision,
    /// The snapshots that its member had installed when it began.
    installs: u64,
    /// What it needs was there when it began.
    was_there: bool,
    /// Compaction waits for it, as long as it is not further behind.
    max_pinned: u64,
    /// The first revision that is for it.
    first: Revision,
    /// It was given everything before.
    next: Revision,
    /// And so many events of this one, as fragments.
    pieces: usize,
    last: Option<At>,
    /// Somebody wants to hear of progress.
    requested: bool,
    cancelled: bool,
    pub(crate) ended: Option<Ended>,
}

type Verdict = Result<(), String>;

impl Watched {
    /// A watcher begins, at a member that was at `created`.
    pub(crate) fn begin(
        truth: &Truth,
        (node, created): (NodeId, Revision),
        asked: Asked,
        max_pinned: u64,
    ) -> Result<Self, String> {
        let member = truth.member(node);
        if member.revision != created {
            let revision = member.revision;
            return Err(format!("WAT-1: begins at {created}, and its member is at {revision}"));
        }
        let first = asked.from.unwrap_or(created.next());
        Ok(Self {
            asked,
            set: None,
            node,
            boot: member.boot,
            created,
            installs: member.installs,
            was_there: member.compacted <= first,
            max_pinned,
            first,
            next: first,
            pieces: 0,
            last: None,
            requested: false,
            cancelled: false,
            ended: None,
        })
    }

    /// Where another one goes on.
    pub(crate) fn next(&self) -> Revision {
        self.next
    }

    /// Its consumer asks for a notification of progress.
    pub(crate) fn request(&mut self) {
        self.requested = true;
    }

    /// Its consumer cancels it.
    pub(crate) fn cancel(&mut self) {
        self.cancelled = true;
    }

    pub(crate) fn asked(&self) -> &Asked {
        &self.asked
    }

    /// The set that it is in was asked, and says how far all of them have come (`WAT-25`).
    pub(crate) fn progress(&mut self, truth: &Truth, upto: Revision) -> Verdict {
        self.request();
        self.batch(truth, &[], (upto, false))
    }

    /// It is given a batch.
    pub(crate) fn batch(
        &mut self,
        truth: &Truth,
        given: &[Given],
        (upto, is_fragment): (Revision, bool),
    ) -> Verdict {
        if let Some(ended) = self.ended {
            return Err(format!("justified (WAT-8): it had ended: {ended:?}"));
        }
        let mut last = self.last;
        for event in given {
            last = Some(self.event(truth, event, last)?);
        }
        self.form(truth, given, (upto, is_fragment))?;
        let due = self.due(truth, (upto, is_fragment));
        self.nothing_is_missing(given, &due, (upto, is_fragment))?;
        if given.is_empty() {
            self.requested = false;
        }
        let begun = given.iter().filter(|event| event.revision > upto).count();
        let goes_on = upto.next() == self.next;
        self.pieces = if goes_on { self.pieces + begun } else { begun };
        self.next = self.next.max(upto.next());
        self.last = last;
        Ok(())
    }

    /// Is this event true, for this watcher, and behind the one before? Says where it stands.
    fn event(&self, truth: &Truth, event: &Given, before: Option<At>) -> Result<At, String> {
        let (key, revision) = (event.key(), event.revision);
        let name = format!("\"{}\" at {revision}", key.escape_ascii());
        if !self.asked.admits(key, event.is_put) {
            return Err(format!("filtered (WAT-20, WAT-22): is given {name}"));
        }
        let Some(change) = truth.find(key, revision) else {
            return Err(format!("true (INV-7): is given {name}, which never happened"));
        };
        let is_same = match &change.kv {
            Some(kv) => event.is_put && *kv == event.kv,
            None => !event.is_put && is_bare(&event.kv) && event.kv.modified == revision,
        };
        if !is_same {
            let kv = &event.kv;
            return Err(format!("true (WAT-13): {name} is shown as {kv:?}, and is {change:?}"));
        }
        let is_create = change.kv.as_ref().is_some_and(|kv| kv.create == revision);
        if event.is_create != is_create {
            let how = if is_create { "not as" } else { "as" };
            return Err(format!("true (WAT-14): {name} is shown {how} a create"));
        }
        if revision < self.first {
            let first = self.first;
            return Err(format!("resumable (WAT-2): is given {name}, and begins at {first}"));
        }
        if self.last.is_some_and(|last| change.at <= last) || before == Some(change.at) {
            return Err(format!("unique (WAT-15, WAT-31): is given {name} again"));
        }
        if before.is_some_and(|before| change.at < before) {
            return Err(format!("ordered (WAT-15): is given {name} too late"));
        }
        self.before(truth, event, &name)?;
        Ok(change.at)
    }

    /// Is what the key was before right?
    fn before(&self, truth: &Truth, event: &Given, name: &str) -> Verdict {
        let before = Revision::new(event.revision.get().saturating_sub(1));
        let was = truth.last(event.key(), before).and_then(|change| change.kv.as_ref());
        match (&event.prev, was.filter(|_| self.asked.prev && !event.is_create)) {
            (None, None) => Ok(()),
            (None, Some(_)) if before < truth.compacted() => Ok(()),
            (Some(prev), Some(was)) if prev == was => Ok(()),
            (prev, was) => {
                Err(format!("true (WAT-19): before {name} was {was:?}, and is shown {prev:?}"))
            }
        }
    }

    /// Could there be a batch like this?
    fn form(
        &self,
        truth: &Truth,
        given: &[Given],
        (upto, is_fragment): (Revision, bool),
    ) -> Verdict {
        let (next, has) = (self.next, truth.member(self.node).revision);
        if given.is_empty() {
            if !self.asked.progress && !self.requested {
                return Err(format!("filtered (WAT-20): nothing up to {upto}, and nobody asked"));
            }
            if self.asked.from.is_some_and(|from| upto < from) {
                return Err(format!("bookmarkable (WAT-26): waits, and says it is at {upto}"));
            }
        }
        if upto.next() < next {
            return Err(format!("bookmarkable (WAT-23): goes back to {upto}, from before {next}"));
        }
        if upto > has {
            return Err(format!("bookmarkable (WAT-23): is at {upto}, and its member at {has}"));
        }
        if is_fragment && (self.asked.fragment.is_none() || given.is_empty()) {
            return Err(format!("atomic (WAT-21): a fragment behind {upto} that nobody asked for"));
        }
        let bytes: usize = given.iter().map(Given::bytes).sum();
        if let Some(most) = self.asked.fragment.filter(|most| bytes > *most && given.len() > 1) {
            return Err(format!(
                "atomic (WAT-21): {bytes} bytes at once, at most {most} asked for"
            ));
        }
        Ok(())
    }

    /// What a batch like this has to hold; of a fragment, what it may.
    fn due<'a>(&self, truth: &'a Truth, (upto, fragment): (Revision, bool)) -> Vec<&'a Change> {
        let end = if fragment { upto.next() } else { upto };
        let changes = truth.between(self.next.max(self.first)..=end);
        let mut skip = self.pieces;
        let due = changes.iter().filter(|change| self.asked.wants(change));
        due.filter(|change| {
            let is_given = change.at.0 == self.next && skip > 0;
            skip = skip.saturating_sub(usize::from(is_given));
            !is_given
        })
        .collect()
    }

    fn nothing_is_missing(
        &self,
        given: &[Given],
        due: &[&Change],
        (upto, is_fragment): (Revision, bool),
    ) -> Verdict {
        let end = if is_fragment { upto.next() } else { upto };
        if let Some(event) = given.iter().find(|event| event.revision > end) {
            let revision = event.revision;
            return Err(format!(
                "atomic (WAT-16): has something of {revision}, and is up to {upto}"
            ));
        }
        let fits = |(event, change): &(&Given, &&Change)| {
            event.revision == change.at.0 && *event.key() == change.key
        };
        let met = given.iter().zip(due).take_while(fits).count();
        let Some(missing) = due.get(met) else {
            if is_fragment {
                return Err(format!("atomic (WAT-21): nothing follows the fragment behind {upto}"));
            }
            return Ok(());
        };
        let (key, (revision, _)) = (missing.key.escape_ascii(), missing.at);
        let begun = given.last().map(|event| event.revision);
        let begun = begun.or(Some(self.next).filter(|_| self.pieces > 0));
        if met < given.len() {
            Err(format!("reliable (WAT-15): a later one comes without \"{key}\" at {revision}"))
        } else if is_fragment && revision > upto {
            Ok(())
        } else if begun == Some(revision) {
            Err(format!("atomic (WAT-16): without \"{key}\", which is of {revision} too"))
        } else {
            Err(format!("bookmarkable (WAT-23): is up to {upto}, without \"{key}\" at {revision}"))
        }
    }

    /// It ends.
    pub(crate) fn end(&mut self, truth: &Truth, ended: Ended) -> Verdict {
        let member = truth.member(self.node);
        let (first, next) = (self.first, self.next);
        self.ended = Some(ended);
        let why = match ended {
            Ended::Cancelled if self.cancelled => return Ok(()),
            Ended::Cancelled => "nobody has cancelled it".to_owned(),
            Ended::NoLeader if self.asked.leader => return Ok(()),
            Ended::NoLeader => "it needs no leader".to_owned(),
            Ended::Node if !member.is_up || member.boot != self.boot => return Ok(()),
            Ended::Node => "its node runs".to_owned(),
            Ended::Compacted(at) if at > truth.compacted() => {
                format!("nobody has compacted at {at}")
            }
            Ended::Compacted(at) if at <= next => {
                format!("it needs {next}, and the compaction at {at} leaves that")
            }
            Ended::Compacted(at) => {
                let behind = member.revision.next().get().saturating_sub(next.get());
                let is_near = self.was_there && behind <= self.max_pinned;
                if !is_near || member.installs != self.installs {
                    return Ok(());
                }
                let most = self.max_pinned;
                format!("from {first} it is at {next}, {behind} behind, {most} are kept, not {at}")
            }
        };
        Err(format!("justified (WAT-8, WAT-11, WAT-30, WAT-33): ends as {ended:?}, but {why}"))
    }

    /// What it still has to be given, now that everything has come to rest: an event or the word
    /// that its node has ended.
    pub(crate) fn lacks(&self, truth: &Truth) -> Option<String> {
        let member = truth.member(self.node);
        if self.ended.is_some() {
            return None;
        }
        if !member.is_up || member.boot != self.boot {
            return Some("complete (INV-8): its node has ended, and it was not told".to_owned());
        }
        let newest = member.revision;
        let missing = self.due(truth, (newest, false)).into_iter().next()?;
        let (key, (revision, _)) = (missing.key.escape_ascii(), missing.at);
        Some(format!("complete (INV-8, WAT-34): was never given \"{key}\" at {revision}"))
    }

    /// What is rare about a batch.
    pub(crate) fn rarity(&self, truth: &Truth, given: &[Given], is_fragment: bool) -> Vec<Mark> {
        let has_begun = self.next > self.first;
        let waited = self.asked.from.is_some_and(|from| from > self.created.next());
        let installed = truth.member(self.node).installs != self.installs;
        let some = !given.is_empty();
        let marks = [
            (some && installed, Mark::WatcherInstalled),
            (some && waited && !has_begun, Mark::FutureArrives),
            (is_fragment, Mark::RevisionInPieces),
        ];
        marks.into_iter().filter_map(|(is, mark)| is.then_some(mark)).collect()
    }

    /// It runs, and waits for a revision to come.
    pub(crate) fn waits(&self, truth: &Truth) -> bool {
        let newest = truth.member(self.node).revision;
        self.ended.is_none() && self.asked.from.is_some_and(|from| from > newest)
    }

    /// It has not said that it has come as far as its member, and waits for nothing.
    pub(crate) fn is_behind(&self, truth: &Truth) -> bool {
        let newest = truth.member(self.node).revision;
        self.ended.is_none() && !self.waits(truth) && self.next <= newest
    }
}

/// Of a deletion, key and revision only.
fn is_bare(kv: &Kv) -> bool {
    kv.value.is_empty() && kv.create.get() == 0 && kv.version == 0
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, asked, first, next, .. } = self;
        write!(f, "the watcher of {asked:?} at member {node}, from {first}, now at {next}")
    }
}
