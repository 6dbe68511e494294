//! What must come before what.
//!
//! Revisions are a line: every write that took effect has its place on it, and whatever else was
//! told a revision stands between that one's write and the next. Compactions are another line,
//! since each goes further than the one before. So what precedes what is known before anybody
//! knows *which* write made a revision that no answer claims: such a gap is a place without a
//! call.
//!
//! Each call also has a span of time that its place must lie in. An order exists exactly if no
//! call begins after one has ended that must come later. For a gap that leaves one number: its
//! *deadline*, the end of the first call that must come later. Whatever fills it must have begun
//! before.

use std::collections::BTreeMap;

use super::part::{Compacted, Part, Says, Sight};
use super::{Step, Witness};
use crate::ids::Revision;
use crate::sim::check::Violation;
use crate::sim::history::{CallId, History};

/// Places, and which come before which.
#[derive(Debug)]
pub(super) struct Order {
    /// First the revisions from 2 on, then the compactions, ascending, then what was seen.
    places: Vec<Place>,
    /// For each place those that come right after it.
    next: Vec<Vec<usize>>,
    /// All places, each before those that come after it.
    sorted: Vec<usize>,
    /// For each place the end of the first call that ends among it and those that come after it,
    /// and whose place that is.
    deadlines: Vec<(u64, usize)>,
    /// How many revisions there are places for.
    revisions: usize,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    /// `None`: a gap.
    call: Option<CallId>,
    begins: u64,
    ends: u64,
    /// It is part of the order that is shown in the end: reads that may be old are not.
    counts: bool,
}

const GAP: Place = Place { call: None, begins: 0, ends: u64::MAX, counts: true };

impl Place {
    fn of(part: &Part<'_>) -> Self {
        let old = part.call.op.view().is_some_and(|view| view.serializable);
        Self { call: Some(part.id), begins: part.begins, ends: part.ends, counts: !old }
    }
}

impl Order {
    /// # Errors
    ///
    /// If no order can be, whatever fills the gaps.
    pub(super) fn new(history: &History, parts: &[Part<'_>]) -> Result<Self, Violation> {
        let writes = writes(history, parts)?;
        let last = enough_writes(history, parts, &writes)?;
        let revisions: Vec<Place> =
            (2..=last).map(|at| writes.get(&at).map_or(GAP, |part| Place::of(part))).collect();
        let compactions = compactions(history, parts)?;

        let mut order = Self {
            revisions: revisions.len(),
            places: revisions,
            next: Vec::new(),
            sorted: Vec::new(),
            deadlines: Vec::new(),
        };
        order.next.resize_with(order.places.len(), Vec::new);
        order.join(parts, &compactions);
        order.sort(history)?;
        order.set_deadlines();
        order.in_time(history)?;
        Ok(order)
    }

    /// Where a revision has its place; nowhere if it is the first, or beyond the last.
    fn revision(&self, revision: Revision) -> Option<usize> {
        let place = usize::try_from(revision.get()).ok()?.checked_sub(2)?;
        (place < self.revisions).then_some(place)
    }

    fn add(&mut self, place: Place) -> usize {
        self.places.push(place);
        self.next.push(Vec::new());
        self.places.len().saturating_sub(1)
    }

    fn before(&mut self, earlier: Option<usize>, later: Option<usize>) {
        let (Some(earlier), Some(later)) = (earlier, later) else { return };
        if let Some(next) = self.next.get_mut(earlier) {
            next.push(later);
        }
    }

    /// While this was the current revision: after its write, before the next.
    fn during(&mut self, now: Revision, place: usize) {
        self.before(self.revision(now), Some(place));
        self.before(Some(place), self.revision(now.next()));
    }

    fn join(&mut self, parts: &[Part<'_>], compactions: &BTreeMap<Revision, &Part<'_>>) {
        for place in 1..self.revisions {
            self.before(place.checked_sub(1), Some(place));
        }
        let mut line: BTreeMap<Revision, usize> = BTreeMap::new();
        for (to, part) in compactions {
            let place = self.add(Place::of(part));
            self.before(line.values().next_back().copied(), Some(place));
            match part.says {
                Says::Compacted { now, .. } => self.during(now, place),
                // Nobody compacts to what has not happened yet.
                _ => self.before(self.revision(*to), Some(place)),
            }
            line.insert(*to, place);
        }
        for part in parts {
            let (place, compacted) = match part.says {
                Says::Saw(Sight { now, compacted, .. }) => {
                    let place = self.add(Place::of(part));
                    if let Some(now) = now {
                        self.during(now, place);
                    }
                    (Some(place), compacted)
                }
                Says::Wrote(revision) => {
                    (self.revision(revision), part.oldest.map(Compacted::AtMost))
                }
                _ => continue,
            };
            let Some(compacted) = compacted else { continue };
            let (Compacted::Exactly(to) | Compacted::AtMost(to)) = compacted;
            let mut further = line.range(to..).filter(|(further, _)| **further > to);
            let further = further.next().map(|(_, place)| *place);
            self.before(place, further);
            if compacted == Compacted::Exactly(to) {
                self.before(line.get(&to).copied(), place);
            }
        }
    }

    /// Puts every place behind those that come before it.
    fn sort(&mut self, history: &History) -> Result<(), Violation> {
        let mut earlier = vec![0_usize; self.places.len()];
        for later in self.next.iter().flatten() {
            if let Some(count) = earlier.get_mut(*later) {
                *count = count.saturating_add(1);
            }
        }
        let first = earlier.iter().enumerate().filter(|(_, count)| **count == 0);
        let mut ready: Vec<usize> = first.map(|(place, _)| place).collect();
        while let Some(place) = ready.pop() {
            self.sorted.push(place);
            for later in self.next.get(place).into_iter().flatten() {
                let Some(count) = earlier.get_mut(*later) else { continue };
                *count = count.saturating_sub(1);
                if *count == 0 {
                    ready.push(*later);
                }
            }
        }
        match earlier.iter().position(|count| *count > 0) {
            Some(stuck) => Err(self.circle(history, stuck, &earlier)),
            None => Ok(()),
        }
    }

    /// The calls of a circle: each must come before the next, and the last before the first.
    fn circle(&self, history: &History, from: usize, earlier: &[usize]) -> Violation {
        // Whatever could not be sorted waits for something that could not be sorted either: going
        // back from one to the next must come to a place for the second time.
        let waits = |place: usize| earlier.get(place).is_some_and(|count| *count > 0);
        let mut causes: BTreeMap<usize, usize> = BTreeMap::new();
        for (place, next) in self.next.iter().enumerate().filter(|(place, _)| waits(*place)) {
            causes.extend(next.iter().map(|later| (*later, place)));
        }
        let mut path = Vec::new();
        let mut place = from;
        while !path.contains(&place) {
            path.push(place);
            let Some(before) = causes.get(&place) else { break };
            place = *before;
        }
        let begins = path.iter().position(|other| *other == place).unwrap_or_default();
        let calls = path.into_iter().skip(begins).rev();
        let calls: Vec<CallId> = calls.filter_map(|place| self.call(place)).collect();
        Violation::new("INV-1", "by what they were told, each of these calls comes before the next")
            .calls(history, calls)
            .note("and the last of them before the first")
    }

    fn call(&self, place: usize) -> Option<CallId> {
        self.places.get(place)?.call
    }

    fn set_deadlines(&mut self) {
        self.deadlines = self.places.iter().map(|place| place.ends).zip(0..).collect();
        for place in self.sorted.iter().rev() {
            let later = self.next.get(*place).into_iter().flatten();
            let first = later.filter_map(|later| self.deadlines.get(*later)).min().copied();
            if let (Some(first), Some(own)) = (first, self.deadlines.get_mut(*place)) {
                *own = first.min(*own);
            }
        }
    }

    /// No call begins after one has ended that must come later.
    fn in_time(&self, history: &History) -> Result<(), Violation> {
        let late = |place: &usize| {
            let begins = self.places.get(*place)?.begins;
            let (ends, of) = self.deadlines.get(*place)?;
            (begins > *ends).then_some((*place, *of))
        };
        // Of those that are late, one that has the least between it and what it is too late for.
        let mut best: Option<Vec<usize>> = None;
        for (place, of) in self.sorted.iter().filter_map(late).take(16) {
            let path = self.path(place, of);
            if best.as_ref().is_none_or(|best| path.len() < best.len()) {
                best = Some(path);
            }
        }
        let Some(path) = best else { return Ok(()) };
        let calls: Vec<CallId> = path.iter().filter_map(|place| self.call(*place)).collect();
        let (Some(first), Some(last)) = (calls.first(), calls.last()) else { return Ok(()) };
        let chain: Vec<String> = path.iter().map(|place| self.name(*place)).collect();
        let what = format!("{last} had ended before {first} began, and must come after it");
        Err(Violation::new("INV-1", what)
            .calls(history, [*last, *first])
            .note(format!("in real time: {last}, then {first}"))
            .note(format!("by what they were told: {}", chain.join(", then ")))
            .calls(history, calls))
    }

    fn name(&self, place: usize) -> String {
        let revision = place.saturating_add(2);
        match self.call(place) {
            Some(id) if place < self.revisions => format!("{id} made revision {revision}"),
            Some(id) => id.to_string(),
            None => format!("revision {revision}"),
        }
    }

    /// The shortest way from one place to another.
    fn path(&self, from: usize, to: usize) -> Vec<usize> {
        let mut came_from: BTreeMap<usize, usize> = BTreeMap::new();
        let mut edge = vec![from];
        while !edge.is_empty() && !came_from.contains_key(&to) && from != to {
            let mut further = Vec::new();
            for place in edge {
                for later in self.next.get(place).into_iter().flatten() {
                    if !came_from.contains_key(later) {
                        came_from.insert(*later, place);
                        further.push(*later);
                    }
                }
            }
            edge = further;
        }
        let mut path = vec![to];
        let mut place = to;
        while let Some(before) = came_from.get(&place).filter(|_| place != from) {
            path.push(*before);
            place = *before;
        }
        path.reverse();
        path
    }

    /// Whatever fills this gap must have begun before.
    pub(super) fn deadline(&self, revision: Revision) -> u64 {
        let deadline = self.revision(revision).and_then(|place| self.deadlines.get(place));
        deadline.map_or(u64::MAX, |(ends, _)| *ends)
    }

    /// The last revision that anybody was told of; 1 if nobody was told of a later one.
    pub(super) fn last(&self) -> Revision {
        Revision::new(u64::try_from(self.revisions).unwrap_or(u64::MAX).saturating_add(1))
    }

    /// The order, with the gaps filled by calls that have begun in time.
    pub(super) fn filled(mut self, fills: &[(Revision, CallId, u64)]) -> Witness {
        for (revision, id, begins) in fills {
            let place = self.revision(*revision).and_then(|place| self.places.get_mut(place));
            if let Some(place) = place {
                (place.call, place.begins) = (Some(*id), *begins);
            }
        }
        // Everything as early as can be: after its own beginning and after what comes before it.
        let mut earliest: Vec<u64> = self.places.iter().map(|place| place.begins).collect();
        let mut times = Vec::with_capacity(self.places.len());
        for place in &self.sorted {
            let now = earliest.get(*place).copied().unwrap_or_default();
            times.push((now, *place));
            for later in self.next.get(*place).into_iter().flatten() {
                if let Some(time) = earliest.get_mut(*later) {
                    *time = now.max(*time);
                }
            }
        }
        times.sort_by_key(|(time, _)| *time);
        let mut revision = Revision::new(1);
        let mut steps = Vec::with_capacity(times.len());
        for (_, place) in times {
            let wrote = place < self.revisions;
            if wrote {
                revision = revision.next();
            }
            let shown = self.places.get(place).filter(|place| place.counts);
            let call = shown.and_then(|place| place.call);
            steps.extend(call.map(|call| Step { revision, call, wrote }));
        }
        Witness { steps }
    }
}

/// The calls that were told which revision they made, by revision.
fn writes<'p, 'a>(
    history: &History,
    parts: &'p [Part<'a>],
) -> Result<BTreeMap<u64, &'p Part<'a>>, Violation> {
    let mut writes: BTreeMap<u64, &Part<'_>> = BTreeMap::new();
    for part in parts {
        let Says::Wrote(revision) = part.says else { continue };
        if let Some(other) = writes.insert(revision.get(), part) {
            let what = format!("two writes were told that they made revision {revision}");
            return Err(Violation::new("INV-2", what).calls(history, [other.id, part.id]));
        }
    }
    Ok(writes)
}

/// The last revision that anybody was told of, if there are enough writes to come to it.
fn enough_writes(
    history: &History,
    parts: &[Part<'_>],
    writes: &BTreeMap<u64, &Part<'_>>,
) -> Result<u64, Violation> {
    let unknown = parts.iter().filter(|part| part.says == Says::MayWrite).count();
    let mut told: Vec<(u64, CallId)> =
        parts.iter().filter_map(|part| Some((part.says.newest()?.get(), part.id))).collect();
    told.sort_unstable();
    let mut known = writes.keys().peekable();
    let mut possible = unknown.saturating_add(1);
    for (revision, id) in &told {
        while known.next_if(|write| *write <= revision).is_some() {
            possible = possible.saturating_add(1);
        }
        if usize::try_from(*revision).is_ok_and(|revision| revision <= possible) {
            continue;
        }
        let what = format!("nobody has made all revisions up to {revision}");
        let note = format!("all writes that may have come before could only make {possible}");
        return Err(Violation::new("INV-2", what).calls(history, [*id]).note(note));
    }
    Ok(told.last().map_or(1, |(revision, _)| *revision))
}

/// Who compacted, by how far. Compactions that nobody has seen are left out: they could only make
/// more wrong.
fn compactions<'p, 'a>(
    history: &History,
    parts: &'p [Part<'a>],
) -> Result<BTreeMap<Revision, &'p Part<'a>>, Violation> {
    let mut line: BTreeMap<Revision, &Part<'_>> = BTreeMap::new();
    for part in parts {
        let Says::Compacted { to, .. } = part.says else { continue };
        if let Some(other) = line.insert(to, part) {
            let what = format!("the store was compacted to {to} twice");
            return Err(Violation::new("CMP-1", what).calls(history, [other.id, part.id]));
        }
    }
    for part in parts {
        let Says::Saw(Sight { compacted: Some(Compacted::Exactly(to)), .. }) = part.says else {
            continue;
        };
        if line.contains_key(&to) {
            continue;
        }
        // Calls stand in the order in which they began: the first is never worse than another.
        let Some(cause) = parts.iter().find(|part| part.says == Says::MayCompact(to)) else {
            let what = format!("nobody has compacted to {to}");
            return Err(Violation::new("INV-4", what).calls(history, [part.id]));
        };
        line.insert(to, cause);
    }
    Ok(line)
}
