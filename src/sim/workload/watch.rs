//! Random watchers: what they watch, where, with what, and how well they keep up.
//!
//! A consumer has one [`Seat`] after the other: a watcher, or a set of up to four. It takes what
//! comes, and shows it to the judges; asks how far it has come; cancels and adds; and goes on
//! elsewhere from where it was, or behind a compaction from a list.

mod draw;
mod seat;

use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

pub(in crate::sim) use self::draw::watch;
use self::draw::{handle, list_and_watch};
use self::seat::{Member, Seat, Told, Woken};
use crate::core::watch::Step;
use crate::ids::{NodeId, Revision, WatchId};
use crate::service::{ListAndWatch, Watch, WatchBatch, WatchCompacted, WatchEnd, WatchUpdate};
use crate::sim::check::watch::Asked;
use crate::sim::cluster::Cluster;
use crate::sim::dice::{Dice, Seed};
use crate::sim::marks::Mark;
use crate::sim::watched::{Notes, Phase};
use crate::sim::world::Pace;
use crate::store::Store;

/// How long it may take to list.
const LISTED_WITHIN: Duration = Duration::from_secs(5);

/// What those who watch in one run are like: drawn from its seed, with dice of their own.
#[derive(Clone, Debug)]
pub(in crate::sim) struct Watchers {
    dice: Dice,
    count: u64,
    /// How long a watcher is kept at most.
    kept: Duration,
    /// How long a slow one waits between two batches at most.
    slow: Duration,
    /// How long one that stalls is away at most.
    stalled: Duration,
    pub(in crate::sim) max_pinned: u64,
    pub(in crate::sim) pace: Pace,
}

impl Watchers {
    pub(in crate::sim) fn drawn(seed: Seed, span: Duration) -> Self {
        let mut dice = Dice::of_part(seed, "watchers");
        let looks = [1, 3, 20, 4_096].get(dice.place(4)).copied().unwrap_or(20);
        let bytes = [1, 200, 1 << 20].get(dice.place(3)).copied().unwrap_or(200);
        let rings = [1, 5, usize::MAX].get(dice.place(3)).copied().unwrap_or(5);
        let max_pinned = [0, 5, 50, 1_000_000, 1_000_000].get(dice.place(5)).copied();
        Self {
            count: dice.below(9),
            kept: dice.span(span / 20, span),
            slow: dice.span(Duration::ZERO, Duration::from_millis(400)),
            stalled: span / 3,
            max_pinned: max_pinned.unwrap_or(50),
            pace: Pace { step: Some(Step { looks, bytes }), rings },
            dice,
        }
    }

    /// Starts them as tasks, which go on until the last phase. Says how many.
    pub(in crate::sim) fn start(&mut self, cluster: &Cluster, keys: u64, notes: &Notes) -> usize {
        for _ in 0..self.count {
            let consumer = Consumer {
                cluster: cluster.clone(),
                dice: self.dice.fork(),
                notes: notes.clone(),
                watchers: self.clone(),
                keys,
                newest: Revision::new(1),
                last: None,
            };
            cluster.spawn(consumer.run());
        }
        usize::try_from(self.count).unwrap_or_default()
    }
}

/// Somebody who watches: one watcher after the other, mostly where the one before has ended.
struct Consumer {
    cluster: Cluster,
    dice: Dice,
    notes: Notes,
    watchers: Watchers,
    keys: u64,
    /// The highest revision that it has heard of.
    newest: Revision,
    /// Where the last watcher was.
    last: Option<NodeId>,
}

/// How long a watcher is kept, and how its consumer is.
#[derive(Clone, Copy)]
struct Style {
    until: Duration,
    /// Waits at most so long between two batches.
    slow: Duration,
    /// One batch in so many is followed by a long silence.
    stalls: u64,
    asks: bool,
}

/// Where it is watched.
struct Place {
    node: NodeId,
    store: Store,
}

/// A watcher that ran: what it would have been given next, and why it ended, if it has.
struct Left {
    asked: Asked,
    end: Option<WatchEnd>,
}

impl Consumer {
    async fn run(mut self) {
        let mut asked: Option<Asked> = None;
        while self.notes.phase() != Phase::Over {
            let again = asked.take();
            let wanted = again.clone().unwrap_or_else(|| self.draw());
            let Some((place, seat)) = self.begin(&wanted).await else {
                asked = again;
                self.pause(Duration::from_millis(100)).await;
                continue;
            };
            let moved = self.last.replace(place.node).is_some_and(|last| last != place.node);
            if again.is_some() && moved {
                self.cluster.mark(Mark::WatcherMoved);
            }
            asked = self.watch(&place, seat).await;
        }
    }

    // ---- beginning

    /// Begins at some member that is up: a watcher by itself, behind a list, or one of a set.
    async fn begin(&mut self, asked: &Asked) -> Option<(Place, Seat)> {
        let mut names = self.cluster.names();
        names.retain(|name| self.cluster.is_up(name).unwrap_or_default());
        let name = self.dice.pick(&names)?;
        let (node, store) = (self.cluster.id(name).ok()?, self.cluster.store(name).ok()?);
        let place = Place { node, store };
        let seat = if asked.from.is_none() && self.dice.chance(250_000) {
            let list = list_and_watch(&place.store, asked);
            let list = if asked.progress { list.progress_every(self.every()) } else { list };
            self.list_on(&place, list, asked).await?
        } else if self.dice.chance(400_000) {
            self.gather(&place, asked)?
        } else {
            let watcher = self.ask(&place.store, asked).start().ok()?;
            let created = watcher.created();
            let id = self.notes.begin(&self.cluster, (node, created), asked);
            self.note(|| format!("watcher {} at {node}: {asked:?}, made at {created}", id.0));
            Seat::one(watcher, id, asked.clone())
        };
        Some((place, seat))
    }

    /// What was asked for, in a user's words.
    fn ask(&mut self, store: &Store, asked: &Asked) -> Watch {
        let watch = watch(store, asked);
        if asked.progress { watch.progress_every(self.every()) } else { watch }
    }

    /// How often one is told of its progress.
    fn every(&mut self) -> Duration {
        self.dice.span(Duration::from_millis(50), Duration::from_secs(1))
    }

    /// A set with this watcher and a few others.
    fn gather(&mut self, place: &Place, asked: &Asked) -> Option<Seat> {
        let mut seat = Seat::set(place.store.watch_set(), &self.notes);
        let (others, at) = (self.dice.below(4), self.dice.below(4));
        for number in 0..=others {
            let is_it = number == at.min(others);
            let other = if is_it { asked.clone() } else { self.draw() };
            if self.add(&mut seat, place, &other).is_none() && is_it {
                seat.forget(&self.notes);
                return None;
            }
        }
        Some(seat)
    }

    /// Another watcher for a set, if it can be there.
    fn add(&mut self, seat: &mut Seat, place: &Place, asked: &Asked) -> Option<()> {
        let watch = self.ask(&place.store, asked);
        let is_named = self.dice.chance(200_000);
        let watch = if is_named { watch.id(WatchId::new(self.dice.below(6))) } else { watch };
        let id = seat.add(&self.cluster, &self.notes, (place.node, watch, asked))?;
        self.note(|| format!("watcher {} of {seat} at {}: {asked:?}", id.0, place.node));
        Some(())
    }

    /// What the range holds at this member, and a watcher that begins exactly behind that.
    async fn list_on(&mut self, place: &Place, list: ListAndWatch, asked: &Asked) -> Option<Seat> {
        let list = if self.dice.chance(500_000) { list.serializable() } else { list };
        let listing = list.timeout(LISTED_WITHIN).await.ok()?;
        let at = listing.header.revision;
        self.heard_of(asked, at)?;
        self.notes.listed(&self.cluster, asked, (at, &listing.kvs));
        let asked = Asked { from: None, ..asked.clone() };
        let id = self.notes.begin(&self.cluster, (place.node, at), &asked);
        self.note(|| format!("watcher {} at {}: {asked:?}, listed at {at}", id.0, place.node));
        Some(Seat::one(listing.watcher, id, asked))
    }

    /// What a range holds at this member, to watch on from there.
    async fn list(&mut self, place: &Place, asked: &Asked) -> Option<Asked> {
        let read = handle(&place.store, asked).range(asked.range.clone()).serializable();
        let listed = read.timeout(LISTED_WITHIN).await.ok()?;
        let at = listed.header.revision;
        self.heard_of(asked, at)?;
        self.notes.listed(&self.cluster, asked, (at, &listed.kvs));
        Some(Asked { from: Some(at.next()), ..asked.clone() })
    }

    /// A list is at this revision, behind what was given before, if anything was.
    fn heard_of(&mut self, asked: &Asked, at: Revision) -> Option<()> {
        self.newest = self.newest.max(at);
        match asked.from {
            Some(from) if at.next() < from => {
                self.cluster.fail(format!("WAT-11: {asked:?} is listed again at {at}"));
                None
            }
            _ => Some(()),
        }
    }

    // ---- watching

    /// Watches until it is enough or ends, and again if it was too far behind. Gives what to watch
    /// then, if it goes on elsewhere.
    async fn watch(&mut self, place: &Place, mut seat: Seat) -> Option<Asked> {
        loop {
            let left = self.consume(place, &mut seat).await;
            seat.forget(&self.notes);
            drop(seat);
            let Left { asked, end } = left?;
            let Some(WatchEnd::Compacted(compacted)) = end else {
                let goes_on = self.notes.phase() != Phase::Free || self.dice.chance(700_000);
                return goes_on.then_some(asked);
            };
            if self.dice.chance(500_000) {
                return self.list(place, &asked).await;
            }
            seat = self.relist(place, &compacted, &asked).await?;
        }
    }

    async fn relist(
        &mut self,
        place: &Place,
        compacted: &WatchCompacted,
        asked: &Asked,
    ) -> Option<Seat> {
        let seat = self.list_on(place, compacted.relist(), asked).await?;
        self.cluster.mark(Mark::WatcherRelisted);
        Some(seat)
    }

    /// Takes what comes. Gives the watcher to go on with: one that has ended, or one that was left.
    async fn consume(&mut self, place: &Place, seat: &mut Seat) -> Option<Left> {
        let mut style = self.style();
        let mut phase = self.notes.phase();
        if phase == Phase::Ask {
            seat.ask(&self.cluster, &self.notes);
        }
        loop {
            let until = (phase == Phase::Free).then_some(style.until);
            match seat.wait(&self.cluster, &self.notes, (phase, until)).await {
                Woken::Told(told) => {
                    if let ControlFlow::Break(left) = self.heed(seat, told)
                        && !self.stays(seat, place, left.as_ref()).await
                    {
                        return left;
                    }
                    self.rest(style).await;
                    if style.asks && self.dice.chance(100_000) {
                        seat.ask(&self.cluster, &self.notes);
                    }
                }
                Woken::Time if self.meddles(seat, place) => {
                    if seat.is_set() {
                        style.until = self.moment();
                    }
                }
                Woken::Time => return self.leave(seat, None),
                Woken::Phase => {
                    phase = self.notes.phase();
                    match phase {
                        Phase::Ask => seat.ask(&self.cluster, &self.notes),
                        Phase::Over => return self.leave(seat, None),
                        Phase::Free | Phase::Quiet => {}
                    }
                }
            }
            if self.cluster.has_failed() {
                return None;
            }
        }
    }

    /// Shows the judges what a seat is told. Breaks off with a watcher that has ended, or with none
    /// if there was none and will be none.
    fn heed(&mut self, seat: &mut Seat, told: Told) -> ControlFlow<Option<Left>> {
        self.note(|| format!("{seat} {}", shown(&told)));
        match told {
            Some(Ok(WatchUpdate::Batch(name, batch))) => {
                self.newest = self.newest.max(batch.revision());
                if let Some(member) = seat.member(&self.cluster, name) {
                    self.notes.told(&self.cluster, member.id, &Ok(batch));
                }
            }
            Some(Ok(WatchUpdate::Ended(name, end))) => {
                if let Some(member) = seat.member(&self.cluster, name).cloned() {
                    self.notes.told(&self.cluster, member.id, &Err(end.clone()));
                    seat.remove(name);
                    return ControlFlow::Break(self.ended(&member, Some(end)));
                }
            }
            Some(Ok(WatchUpdate::Progress(upto))) => {
                seat.progress(&self.cluster, &self.notes, upto);
            }
            Some(Err(end)) => {
                for member in &seat.members {
                    self.notes.told(&self.cluster, member.id, &Err(end.clone()));
                }
                let left = self.leave(seat, Some(end));
                seat.forget(&self.notes);
                return ControlFlow::Break(left);
            }
            None => self.cluster.fail("a watcher ends without a word"),
        }
        ControlFlow::Continue(())
    }

    /// Leaves all of them. Gives one to go on with, if there is one.
    fn leave(&mut self, seat: &mut Seat, end: Option<WatchEnd>) -> Option<Left> {
        let member = self.dice.pick(&seat.members)?.clone();
        self.ended(&member, end)
    }

    fn ended(&self, member: &Member, end: Option<WatchEnd>) -> Option<Left> {
        let from = self.notes.dropped(member.id)?;
        Some(Left { asked: Asked { from: Some(from), ..member.asked.clone() }, end })
    }

    /// One of a set has ended: does its consumer stay with the others? Behind a compaction it then
    /// mostly begins again in the same set.
    async fn stays(&mut self, seat: &mut Seat, place: &Place, left: Option<&Left>) -> bool {
        let Some(left) = left.filter(|_| seat.is_set() && !seat.members.is_empty()) else {
            return false;
        };
        if self.dice.chance(500_000) {
            return false;
        }
        if matches!(left.end, Some(WatchEnd::Compacted(_)))
            && self.dice.chance(700_000)
            && let Some(asked) = self.list(place, &left.asked).await
        {
            self.add(seat, place, &asked);
        }
        true
    }

    /// It has watched for long enough. Does it something else before it leaves?
    fn meddles(&mut self, seat: &mut Seat, place: &Place) -> bool {
        let chance = self.dice.below(10);
        if chance < 3 {
            let member = self.dice.pick(&seat.members).cloned();
            if let Some(member) = &member {
                seat.cancel(&self.cluster, &self.notes, member);
            }
            return member.is_some();
        }
        if chance < 6 && seat.is_set() {
            let other = self.draw();
            return self.add(seat, place, &other).is_some();
        }
        false
    }

    /// Between two batches.
    async fn rest(&mut self, style: Style) {
        if self.notes.phase() != Phase::Free {
            return;
        }
        if style.stalls > 0 && self.dice.below(style.stalls) == 0 {
            let long = self.dice.span(Duration::ZERO, self.watchers.stalled);
            self.pause(long).await;
        } else if style.slow > Duration::ZERO {
            let short = self.dice.span(Duration::ZERO, style.slow);
            self.pause(short).await;
        }
    }

    /// For so long, or until another phase begins.
    async fn pause(&self, span: Duration) {
        let (phase, mut sleep) = (self.notes.phase(), self.cluster.clock().sleep(span));
        std::future::poll_fn(|context| {
            if self.notes.has_left(phase, context.waker()) {
                return Poll::Ready(());
            }
            Pin::new(&mut sleep).poll(context)
        })
        .await;
    }

    fn note(&self, text: impl FnOnce() -> String) {
        self.cluster.note(text());
    }
}

fn shown(told: &Told) -> String {
    match told {
        Some(Ok(WatchUpdate::Batch(name, batch))) => format!("{name} {}", shown_batch(batch)),
        Some(Ok(WatchUpdate::Ended(name, end))) => format!("{name} ends: {end}"),
        Some(Ok(WatchUpdate::Progress(upto))) => format!("have come to {upto}"),
        Some(Err(end)) => format!("ends: {end}"),
        None => "ends".to_owned(),
    }
}

fn shown_batch(batch: &WatchBatch) -> String {
    let revisions = batch.events().iter().map(|event| event.revision().get());
    let revisions: Vec<u64> = revisions.collect();
    let piece = if batch.is_fragment() { ", to be continued" } else { "" };
    format!("is given {revisions:?} up to {}{piece}", batch.revision())
}
