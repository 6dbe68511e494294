//! What answers say about single keys, wherever it stands.
//!
//! The search fills gaps from the first revision to the last. Without looking ahead it would find
//! out late that a gap was filled wrongly. But answers say much about what lies before them: a
//! record shows when its key's life began, when it was last written, and how many puts there were
//! between. So of each key there is a line of facts, and whatever fills a gap must fit the next:
//!
//! ```text
//!   revision   3    4    5    6    7    8    9
//!              |         |    '---------'
//!            begun     gone   version 2, begun at 6, written at 7, seen until 9
//! ```
//!
//! A put of this key can fill a gap at 6, 7 or before 5; at 8 and 9 none can, and no deletion
//! either. If 6 is a gap, it is a put of this key. All of this follows from answers alone, so it
//! holds in every order that explains them.
//!
//! Only keys that some write with an unknown end may touch are looked at: about any other key no
//! gap makes a difference.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use bytes::Bytes;

use super::part::{Part, Says, Sight};
use crate::core::machine::txn::{Delete, Put};
use crate::ids::Revision;
use crate::keys::KeyRange;
use crate::sim::check::model::{Live, Version, is_plain};
use crate::sim::history::{Answer, CallId, Kv, Op, Shown, Step};

/// See the top of the file.
#[derive(Debug, Default)]
pub(super) struct Facts<'a> {
    keys: BTreeMap<&'a [u8], Line>,
    /// Gaps that are known to have written a key.
    named: BTreeMap<u64, Vec<Named>>,
    /// All gaps, ascending.
    gaps: Vec<u64>,
    /// Those that may write a key which they are not known to have written.
    free: Vec<u64>,
    /// Writes that were told their revision, ascending.
    known: Vec<(u64, &'a Op)>,
    /// The keys that have lines, by number.
    numbered: Vec<&'a [u8]>,
    /// For each gap the keys, in order, that may need what only it and few others can still do.
    due: BTreeMap<u64, Vec<&'a [u8]>>,
}

/// A key that a gap has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) key: Bytes,
    /// If it is known.
    pub(super) value: Option<Bytes>,
    /// Who was shown that.
    pub(super) by: CallId,
}

/// One key.
#[derive(Debug, Default)]
struct Line {
    number: u32,
    /// In order. Two are never about the same revision, unless answers contradict each other; then
    /// there is no order to be found, and it does not matter what is made of them.
    facts: Vec<Fact>,
    /// Revisions as of which the key is known to have been there, and no more than that.
    there: Vec<u64>,
    /// Revisions of the puts that were told theirs, ascending.
    puts: Vec<u64>,
    /// Some write with an unknown end may put it.
    may_come: bool,
    /// When the first write with an unknown end began that may touch the key.
    earliest: u64,
    /// Some write with an unknown end may delete it.
    may_go: bool,
}

/// From revision `from` until `until` the key was so.
#[derive(Clone, Debug)]
struct Fact {
    from: u64,
    until: u64,
    /// `None`: not there.
    live: Option<Live>,
    first: Seen,
    last: Seen,
}

/// An answer that shows a key.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// As of this revision.
    at: u64,
    /// The search compares it with the model while this is the newest revision: for what a write
    /// shows of the state before it, that is one later.
    compared: u64,
    by: CallId,
}

/// Between two revisions so many puts of a key are missing that gaps must have made some.
#[derive(Clone, Copy, Debug)]
struct Demand<'a> {
    key: &'a [u8],
    after: u64,
    before: u64,
}

/// How much a change is wanted: the less the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fit {
    /// Something like it must happen before this revision; `u64::MAX` if nothing must.
    before: u64,
    /// How many keys it changes in a way that is wanted.
    wanted: Reverse<u32>,
}

impl Default for Fit {
    fn default() -> Self {
        Self { before: u64::MAX, wanted: Reverse(0) }
    }
}

impl Fit {
    fn before(before: u64) -> Self {
        Self { before, wanted: Reverse(1) }
    }

    /// Adds another key.
    pub(super) fn add(&mut self, other: Self) {
        self.before = self.before.min(other.before);
        self.wanted.0 = self.wanted.0.saturating_add(other.wanted.0);
    }
}

impl<'a> Facts<'a> {
    /// What is known about the keys that may have been written at `gaps`, which ascend.
    pub(super) fn new(parts: &[Part<'a>], gaps: Vec<u64>) -> Self {
        let mut facts = Self { gaps, ..Self::default() };
        if facts.gaps.is_empty() {
            return facts;
        }
        facts.keys = lines(parts);
        facts.known = parts
            .iter()
            .filter_map(|part| match part.says {
                Says::Wrote(revision) => Some((revision.get(), &part.call.op)),
                _ => None,
            })
            .collect();
        facts.known.sort_by_key(|(revision, _)| *revision);
        for part in parts {
            facts.count_puts(part);
            facts.learn(part);
        }
        facts.keys.values_mut().for_each(Line::settle);
        let mixed = |part: &Part<'_>| matches!(part.call.op, Op::Txn { .. });
        let mixed = parts.iter().any(|part| part.says == Says::MayWrite && mixed(part));
        let named = &facts.named;
        let free = facts.gaps.iter().filter(|gap| mixed || !named.contains_key(gap));
        facts.free = free.copied().collect();
        facts.set_due();
        facts
    }

    fn set_due(&mut self) {
        for (number, (key, line)) in (0..).zip(&mut self.keys) {
            line.number = number;
            self.numbered.push(key);
            let gone = line.facts.iter().filter(|fact| fact.live.is_none());
            for at in gone.map(|gone| gone.from).chain(line.there.iter().copied()) {
                let next = self.gaps.partition_point(|gap| *gap <= at);
                let last = next.checked_sub(1).and_then(|last| self.gaps.get(last));
                if let Some(gap) = last {
                    self.due.entry(*gap).or_default().push(key);
                }
            }
            for Demand { key, after, before } in line.demands(key) {
                let from = self.gaps.partition_point(|gap| *gap <= after);
                let between = self.gaps.iter().skip(from).take_while(|gap| **gap < before);
                for gap in between {
                    self.due.entry(*gap).or_default().push(key);
                }
            }
        }
        for keys in self.due.values_mut() {
            keys.sort_unstable();
            keys.dedup();
        }
    }

    /// Notes where the keys were put by a write that was told its revision.
    fn count_puts(&mut self, part: &Part<'a>) {
        let (Says::Wrote(revision), Some(answer)) = (part.says, part.answer) else { return };
        for (step, _) in part.call.op.ran(answer).unwrap_or_default() {
            let Step::Put(put) = step else { continue };
            if let Some(line) = self.keys.get_mut(put.key.as_ref()) {
                line.puts.push(revision.get());
            }
        }
    }

    fn learn(&mut self, part: &Part<'a>) {
        let Some(answer) = part.answer else { return };
        let by = part.id;
        let (before, after) = match part.says {
            Says::Wrote(revision) => {
                let compared = revision.get();
                let at = compared.saturating_sub(1);
                (Seen { at, compared, by }, Seen { at: compared, compared, by })
            }
            Says::Saw(Sight { shows: Some(at), .. }) => {
                let seen = Seen { at: at.get(), compared: at.get(), by };
                (seen, seen)
            }
            _ => return,
        };
        for Shown { kv, value } in part.call.op.shown(answer) {
            // What it wrote itself tells nothing of others.
            if value.is_some() && kv.modified.get() <= before.at {
                self.name(kv, by);
                self.is(&kv.key, Some(kv), Seen { at: kv.modified.get(), ..before });
            }
        }
        // In a transaction each operation sees what the ones before it did: only those before the
        // first change show what was before all of it, and only a read shows nothing of its own.
        let alone = !matches!(part.call.op, Op::Txn { .. });
        for (step, told) in part.call.op.ran(answer).unwrap_or_default() {
            match (step, told) {
                (Step::Range(_) | Step::Get(..), told) => self.read(step, told, before),
                (Step::Put(put), Answer::Put { prev, .. }) if alone => {
                    self.put(put, prev.as_ref(), (before, after));
                }
                (Step::Delete(delete), Answer::Deleted { deleted, prev, .. }) if alone => {
                    self.deleted(delete, (*deleted, prev), (before, after));
                }
                (Step::Delete(_), Answer::Deleted { deleted: 0, .. }) => {}
                _ => return,
            }
        }
    }

    /// What a read that changes nothing shows of the state before, or of an earlier one.
    fn read(&mut self, step: Step<'_>, told: &Answer, seen: Seen) {
        let seen = Seen { at: step.at().map_or(seen.at, Revision::get), ..seen };
        match (step, told) {
            (Step::Get(key, _), Answer::Got { kv, .. }) => self.is(key, kv.as_ref(), seen),
            (Step::Range(query), Answer::Ranged { kvs, more, count, .. })
                if is_plain(query) && (!query.count_only || *count == 0) =>
            {
                let last = kvs.last().filter(|_| *more);
                self.are(&query.range, kvs, last.map(|kv| kv.key.as_ref()), seen);
            }
            _ => {}
        }
    }

    fn put(&mut self, put: &Put, prev: Option<&Kv>, (before, after): (Seen, Seen)) {
        if !put.prev || put.ignore_value {
            return;
        }
        self.is(&put.key, prev, before);
        let create = prev.map_or(Revision::new(after.at), |prev| prev.create);
        let version = prev.map_or(1, |prev| prev.version.saturating_add(1));
        let live = Live { create, version, value: put.value.clone() };
        self.note(&put.key, after.at, Some(live), after);
    }

    fn deleted(
        &mut self,
        Delete { range, prev: asked }: &Delete,
        (deleted, prev): (u64, &[Kv]),
        (before, after): (Seen, Seen),
    ) {
        if *asked && deleted > 0 {
            self.are(range, prev, None, before);
        } else if let Some(key) = range.single().filter(|_| deleted > 0)
            && let Some(line) = self.keys.get_mut(key)
        {
            line.there.push(before.at);
        }
        self.are(range, &[], None, after);
    }

    /// Notes which gaps must have written this record, and begun its life.
    fn name(&mut self, kv: &Kv, by: CallId) {
        let written = (kv.modified.get(), Some(&kv.value));
        let begun = (kv.create != kv.modified).then_some((kv.create.get(), None));
        for (revision, value) in begun.into_iter().chain([written]) {
            if self.gaps.binary_search(&revision).is_err() {
                continue;
            }
            let named = self.named.entry(revision).or_default();
            let known = |named: &Named| {
                named.key == kv.key && (value.is_none() || named.value.as_ref() == value)
            };
            if !named.iter().any(known) {
                named.push(Named { key: kv.key.clone(), value: value.cloned(), by });
            }
        }
    }

    fn is(&mut self, key: &[u8], kv: Option<&Kv>, seen: Seen) {
        let live = kv.map(|kv| {
            let (create, version, value) = (kv.create, kv.version, kv.value.clone());
            Live { create, version, value }
        });
        self.note(key, kv.map_or(seen.at, |kv| kv.modified.get()), live, seen);
    }

    /// These are all the keys of a range, or all until `last`.
    fn are(&mut self, range: &KeyRange, kvs: &[Kv], last: Option<&[u8]>, seen: Seen) {
        let here = keys_in(&self.keys, range).map(|(key, _)| key);
        let here: Vec<&[u8]> =
            here.take_while(|key| last.is_none_or(|last| *key <= last)).collect();
        for key in here {
            let kv = kvs.binary_search_by(|kv| kv.key.as_ref().cmp(key)).ok();
            self.is(key, kv.and_then(|place| kvs.get(place)), seen);
        }
    }

    fn note(&mut self, key: &[u8], from: u64, live: Option<Live>, seen: Seen) {
        let Some(line) = self.keys.get_mut(key) else { return };
        // Mostly an answer shows what the one before has shown.
        let last = line.facts.last_mut().filter(|last| last.from == from && last.live == live);
        if let Some(last) = last {
            last.extend(&Fact { from, until: seen.at, live: None, first: seen, last: seen });
            return;
        }
        if let Some(begun) = live.as_ref().map(|live| live.create.get()) {
            let seen = Seen { at: begun.saturating_sub(1), ..seen };
            line.facts.push(Fact {
                from: seen.at,
                until: seen.at,
                live: None,
                first: seen,
                last: seen,
            });
        }
        line.facts.push(Fact { from, until: seen.at, live, first: seen, last: seen });
    }

    /// Does it fit that a gap has left a key so? `None` if it does not.
    pub(super) fn fit(&self, key: &[u8], at: u64, now: Option<&Version>) -> Option<Fit> {
        let Some(line) = self.keys.get(key) else { return Some(Fit::default()) };
        let live = now.and_then(|version| version.live.as_ref());
        if live.is_none() && !self.can_be_there(key, line, at) {
            return None;
        }
        let Some(next) = line.next(at) else { return Some(Fit::default()) };
        match (&next.live, live) {
            // Nobody has touched the key since `from`.
            (Some(_), _) if next.from < at => None,
            (then, live) if next.from == at => (then.as_ref() == live).then(|| Fit::before(at)),
            (Some(then), Some(live)) => {
                let fits = self.can_grow(line, at, live, (next.from, then));
                fits.then(|| Fit::before(next.from))
            }
            // The life that comes has begun by now: the fact before it says so.
            (Some(_), None) => None,
            (None, Some(_)) => self.can_go(key, line, at, next.from).then(Fit::default),
            (None, None) if self.goes(key, at, next.from) => Some(Fit::default()),
            (None, None) => Some(Fit::before(next.from)),
        }
    }

    /// Keys that may need what only this gap can still do, or this one and few others.
    pub(super) fn due(&self, gap: u64) -> &[&'a [u8]] {
        self.due.get(&gap).map_or(&[], Vec::as_slice)
    }

    /// A key that this gap has not touched: can what must come still come?
    pub(super) fn can_wait(&self, key: &[u8], at: u64, now: Option<&Version>) -> bool {
        let Some(line) = self.keys.get(key) else { return true };
        let live = now.and_then(|version| version.live.as_ref());
        if live.is_none() && !self.can_be_there(key, line, at) {
            return false;
        }
        let Some(next) = line.next(at) else { return true };
        match (&next.live, live) {
            (Some(_), _) if next.from <= at => true,
            (Some(then), Some(live)) => self.can_grow(line, at, live, (next.from, then)),
            (Some(_), None) => false,
            (None, Some(_)) if next.from == at => false,
            (None, Some(_)) => self.can_go(key, line, at, next.from),
            (None, None) => true,
        }
    }

    /// Can the puts between make of a key what it is then?
    fn can_grow(&self, line: &Line, at: u64, live: &Live, (until, then): (u64, &Live)) -> bool {
        let known = between(&line.puts, at, until).saturating_add(1);
        let puts = then.version.checked_sub(live.version);
        let missing = puts.and_then(|puts| puts.checked_sub(known));
        let enough = missing.is_some_and(|missing| missing <= between(&self.free, at, until));
        then.create == live.create && enough
    }

    /// Can a key that is gone at `at` be there when it is next known to have been?
    fn can_be_there(&self, key: &[u8], line: &Line, at: u64) -> bool {
        let Some(next) = line.there.get(line.there.partition_point(|there| *there < at)) else {
            return true;
        };
        let until = next.saturating_add(1);
        let free = line.may_come && between(&self.free, at, until) > 0;
        free || between(&line.puts, at, until) > 0 || self.is_named(key, at, until)
    }

    /// Is some gap between two revisions known to have written the key?
    fn is_named(&self, key: &[u8], after: u64, before: u64) -> bool {
        let from = (Bound::Excluded(after), Bound::Unbounded);
        let mut between = self.named.range(from).take_while(|(gap, _)| **gap < before);
        between.any(|(_, named)| named.iter().any(|named| named.key == key))
    }

    /// Can a key that is there be gone by then?
    fn can_go(&self, key: &[u8], line: &Line, at: u64, until: u64) -> bool {
        let by_gap = line.may_go && between(&self.gaps, at, until.saturating_add(1)) > 0;
        by_gap || self.goes(key, at, until)
    }

    /// Is there a write that was told its revision and may delete the key, after `after` and not
    /// after `until`?
    fn goes(&self, key: &[u8], after: u64, until: u64) -> bool {
        let from = self.known.partition_point(|(revision, _)| *revision <= after);
        let later = self.known.get(from..).unwrap_or_default().iter();
        later.take_while(|(revision, _)| *revision <= until).any(|(_, op)| op.may_delete(key))
    }

    /// What a gap is known to have written.
    pub(super) fn named(&self, gap: u64) -> &[Named] {
        self.named.get(&gap).map_or(&[], Vec::as_slice)
    }

    /// The number of a key that gaps may touch.
    pub(super) fn number(&self, key: &[u8]) -> Option<u32> {
        self.keys.get(key).map(|line| line.number)
    }

    pub(super) fn key(&self, number: u32) -> Option<&'a [u8]> {
        self.numbered.get(usize::try_from(number).ok()?).copied()
    }

    /// The last revision before `at` as of which the key is known, by an answer that was compared
    /// before `at`; and when the first write with an unknown end began that may touch it.
    pub(super) fn window(&self, key: &[u8], at: u64) -> (u64, u64) {
        let Some(line) = self.keys.get(key) else { return (u64::MAX, u64::MAX) };
        let known = line.facts.iter().rev().find_map(|fact| fact.known_before(at));
        (known.map_or(0, |seen| seen.at), line.earliest)
    }

    /// The keys of a range that gaps may touch.
    pub(super) fn keys_in(&self, range: &KeyRange) -> impl Iterator<Item = &'a [u8]> {
        keys_in(&self.keys, range).map(|(key, _)| key)
    }

    /// Who was last shown what a key is, before `at`.
    pub(super) fn shown_before(&self, key: &[u8], at: u64) -> Option<CallId> {
        let line = self.keys.get(key)?;
        line.facts.iter().rev().find_map(|fact| fact.known_before(at)).map(|seen| seen.by)
    }

    /// Who is next shown what a key is, at `at` or later.
    pub(super) fn shown_next(&self, key: &[u8], at: u64) -> Option<CallId> {
        Some(self.keys.get(key)?.next(at)?.first.by)
    }
}

impl Line {
    /// Sorts the facts, and makes one of those that say the same.
    fn settle(&mut self) {
        self.there.sort_unstable();
        self.puts.sort_unstable();
        self.facts.sort_by_key(|fact| (fact.from, fact.until));
        self.facts.dedup_by(|later, fact| {
            let same = later.from == fact.from && later.live == fact.live;
            if same {
                fact.extend(later);
            }
            same
        });
    }

    /// The first fact about `at` or later.
    fn next(&self, at: u64) -> Option<&Fact> {
        self.facts.get(self.facts.partition_point(|fact| fact.until < at))
    }

    fn demands<'a>(&self, key: &'a [u8]) -> Vec<Demand<'a>> {
        let mut demands = Vec::new();
        let mut before: Option<&Fact> = None;
        for fact in &self.facts {
            let earlier =
                before.replace(fact).and_then(|earlier| Some((earlier, earlier.live.as_ref()?)));
            let Some(live) = &fact.live else { continue };
            let create = live.create.get();
            let (after, version) = match earlier {
                Some((earlier, begun)) if begun.create == live.create => {
                    (earlier.until, begun.version)
                }
                _ if create < fact.from => (create, 1),
                _ => continue,
            };
            let known = between(&self.puts, after, fact.from).saturating_add(1);
            if live.version.saturating_sub(version) > known {
                demands.push(Demand { key, after, before: fact.from });
            }
        }
        demands
    }
}

impl Fact {
    /// Adds another about the same record.
    fn extend(&mut self, other: &Self) {
        self.until = self.until.max(other.until);
        if other.first.at < self.first.at {
            self.first = other.first;
        }
        if other.last.at > self.last.at {
            self.last = other.last;
        }
    }

    /// The last answer that shows this fact before `at` and was compared before `at`.
    fn known_before(&self, at: u64) -> Option<Seen> {
        [self.last, self.first].into_iter().find(|seen| seen.at < at && seen.compared < at)
    }
}

/// How many of the ascending numbers lie between two others.
fn between(numbers: &[u64], after: u64, before: u64) -> u64 {
    let from = numbers.partition_point(|number| *number <= after);
    let to = numbers.partition_point(|number| *number < before);
    u64::try_from(to.saturating_sub(from)).unwrap_or(u64::MAX)
}

fn keys_in<'k, 'a, T>(
    keys: &'k BTreeMap<&'a [u8], T>,
    range: &KeyRange,
) -> impl Iterator<Item = (&'a [u8], &'k T)> {
    let from = (Bound::Included(range.start()), Bound::Unbounded);
    let keys = keys.range::<[u8], _>(from).map(|(key, line)| (*key, line));
    keys.take_while(|(key, _)| range.contains(key))
}

/// The keys that some write with an unknown end may touch.
fn lines<'a>(parts: &[Part<'a>]) -> BTreeMap<&'a [u8], Line> {
    let mut written: BTreeMap<&'a [u8], ()> = BTreeMap::new();
    let mut lines: BTreeMap<&'a [u8], Line> = BTreeMap::new();
    let fresh = |earliest| Line { earliest, ..Line::default() };
    for part in parts {
        let op = &part.call.op;
        if matches!(part.says, Says::Wrote(_) | Says::MayWrite) {
            written.extend(op.puts().iter().map(|put| (put.key.as_ref(), ())));
        }
        if part.says == Says::MayWrite {
            for Put { key, .. } in op.puts() {
                lines.entry(key).or_insert_with(|| fresh(part.begins)).may_come = true;
            }
        }
    }
    let mut done: BTreeSet<(Bytes, Bytes)> = BTreeSet::new();
    for part in parts.iter().filter(|part| part.says == Says::MayWrite) {
        for Delete { range, .. } in part.call.op.deletes() {
            if !done.insert(range.selector()) {
                continue; // another began earlier
            }
            for (key, ()) in keys_in(&written, range) {
                let line = lines.entry(key).or_insert_with(|| fresh(part.begins));
                line.earliest = line.earliest.min(part.begins);
                line.may_go = true;
            }
        }
    }
    lines
}
