//! What watchers are given, noted and judged as they are given it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use parking_lot::Mutex;

use super::check::watch::truth::{Chronicler, Truth};
use super::check::watch::{Asked, Ended, Given, SetId, Watched, named_in};
use super::cluster::Cluster;
use super::marks::Mark;
use crate::core::mvcc::KeyValue;
use crate::ids::{NodeId, Revision};
use crate::service::{WatchBatch, WatchEnd};

/// What all watchers of a cluster are given. Cheap to clone.
#[derive(Clone)]
pub(super) struct Notes {
    state: Arc<Mutex<State>>,
    pub(super) truth: Arc<Mutex<Truth>>,
    max_pinned: u64,
    /// Events that were given to all of them.
    events: Arc<AtomicU64>,
}

/// Names a watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WatchedId(pub(super) usize);

/// What those who watch do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// What they like.
    #[default]
    Free,
    /// They take what comes, and begin no more than they must.
    Quiet,
    /// They ask how far they have come.
    Ask,
    Over,
}

#[derive(Default)]
struct State {
    phase: Phase,
    /// Those who want to know when it changes.
    waiting: Vec<Waker>,
    /// Those that run are `Some`.
    watched: Vec<Option<Watched>>,
    began: u64,
    /// The sets that were made.
    sets: u64,
}

impl State {
    /// Sets in which somebody waits for a revision to come.
    fn waiting_sets(&self, truth: &Truth) -> BTreeSet<SetId> {
        let waiting = self.watched.iter().flatten().filter(|watched| watched.waits(truth));
        waiting.filter_map(|watched| watched.set).collect()
    }
}

impl Notes {
    /// Notes what watchers of a new cluster are given, in which nothing has happened yet.
    pub(super) fn new(cluster: &Cluster, max_pinned: u64) -> Self {
        let (state, truth) = (Arc::default(), Arc::<Mutex<Truth>>::default());
        let mut world = cluster.shared.world.lock();
        world.judged_by(Box::new(Chronicler(Arc::clone(&truth))));
        world.meet_members();
        drop(world);
        Self { state, truth, max_pinned, events: Arc::default() }
    }

    pub(super) fn phase(&self) -> Phase {
        self.state.lock().phase
    }

    /// Whether the phase is another now; if not, this is woken when it is.
    pub(super) fn has_left(&self, phase: Phase, waker: &Waker) -> bool {
        let mut state = self.state.lock();
        if state.phase == phase && !state.waiting.iter().any(|it| it.will_wake(waker)) {
            state.waiting.push(waker.clone());
        }
        state.phase != phase
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        let mut state = self.state.lock();
        state.phase = phase;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// How many watchers began, and how many events all of them were given.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.state.lock().began, self.events.load(Ordering::Relaxed))
    }

    // ---- one watcher

    pub(super) fn begin(
        &self,
        cluster: &Cluster,
        (node, created): (NodeId, Revision),
        asked: &Asked,
    ) -> WatchedId {
        let mut state = self.state.lock();
        let id = WatchedId(state.watched.len());
        let truth = self.truth.lock();
        let begun = Watched::begin(&truth, (node, created), asked.clone(), self.max_pinned);
        drop(truth);
        state.began += 1;
        match begun {
            Ok(watched) => state.watched.push(Some(watched)),
            Err(what) => {
                state.watched.push(None);
                drop(state);
                cluster.fail(format!("a watcher of {asked:?} at member {node}: {what}"));
            }
        }
        id
    }

    /// Does something with a watcher that runs. What is complained about ends the run.
    fn with<T: Default>(
        &self,
        cluster: &Cluster,
        id: WatchedId,
        with: impl FnOnce(&mut Watched, &Truth) -> Result<T, String>,
    ) -> T {
        let mut state = self.state.lock();
        let Some(Some(watched)) = state.watched.get_mut(id.0) else { return T::default() };
        let judged = with(watched, &self.truth.lock());
        let who = judged.is_err().then(|| watched.to_string());
        drop(state);
        judged.unwrap_or_else(|what| {
            cluster.fail(format!("{}: {what}", who.unwrap_or_default()));
            T::default()
        })
    }

    /// It is given something. Says how it has ended, if it has.
    pub(super) fn told(
        &self,
        cluster: &Cluster,
        id: WatchedId,
        told: &Result<WatchBatch, WatchEnd>,
    ) -> Option<Ended> {
        let batch = match told {
            Ok(batch) => batch,
            Err(end) => {
                let ended = ended(end);
                self.with(cluster, id, |watched, truth| watched.end(truth, ended));
                if matches!(ended, Ended::Compacted(_)) {
                    cluster.mark(Mark::WatcherCompacted);
                }
                return Some(ended);
            }
        };
        let (upto, is_fragment) = (batch.revision(), batch.is_fragment());
        self.events.fetch_add(batch.events().len() as u64, Ordering::Relaxed);
        let marks = self.with(cluster, id, |watched, truth| {
            let scope = &watched.asked().scope;
            let given = batch.events().iter().map(|event| Given::within(scope, event));
            let given: Vec<Given> = given.collect();
            let marks = watched.rarity(truth, &given, is_fragment);
            watched.batch(truth, &given, (upto, is_fragment)).map(|()| marks)
        });
        marks.into_iter().for_each(|mark| cluster.mark(mark));
        None
    }

    pub(super) fn requested(&self, cluster: &Cluster, id: WatchedId) {
        self.with(cluster, id, |watched, _| {
            watched.request();
            Ok(())
        });
    }

    pub(super) fn cancelled(&self, cluster: &Cluster, id: WatchedId) {
        self.with(cluster, id, |watched, _| {
            watched.cancel();
            Ok(())
        });
    }

    /// Its consumer has dropped it. Gives where another goes on.
    pub(super) fn dropped(&self, id: WatchedId) -> Option<Revision> {
        let mut state = self.state.lock();
        let watched = state.watched.get_mut(id.0).and_then(Option::take)?;
        Some(watched.next())
    }

    /// Somebody has read what the range of a watcher holds at a revision.
    pub(super) fn listed(
        &self,
        cluster: &Cluster,
        asked: &Asked,
        (at, kvs): (Revision, &[KeyValue]),
    ) {
        let truth = self.truth.lock();
        let kvs = kvs.iter().map(|kv| named_in(&asked.scope, kv));
        let state = truth.state(|key| asked.covers(key), at);
        let is_so = kvs.eq(state.into_iter().cloned());
        drop(truth);
        if !is_so {
            cluster.fail(format!("INV-3: {asked:?} is listed at {at} as it was not"));
        }
    }

    // ---- a set of them

    pub(super) fn new_set(&self) -> SetId {
        let mut state = self.state.lock();
        state.sets += 1;
        SetId(state.sets)
    }

    /// One begins in a set, which does not say where its member was.
    pub(super) fn begin_in(
        &self,
        cluster: &Cluster,
        (node, set): (NodeId, SetId),
        asked: &Asked,
    ) -> WatchedId {
        let created = self.truth.lock().member(node).revision;
        let id = self.begin(cluster, (node, created), asked);
        self.with(cluster, id, |watched, _| {
            watched.set = Some(set);
            Ok(())
        });
        id
    }

    /// The consumer of these asks how far all of them have come.
    pub(super) fn requested_of(&self, cluster: &Cluster, set: SetId) {
        let (state, truth) = (self.state.lock(), self.truth.lock());
        let waits = state.waiting_sets(&truth).contains(&set);
        drop((state, truth));
        if waits {
            cluster.mark(Mark::SetHeldBack);
        }
    }

    /// A set says how far these have come, who are all that are in it.
    pub(super) fn progress(
        &self,
        cluster: &Cluster,
        members: impl Iterator<Item = WatchedId>,
        upto: Revision,
    ) {
        for id in members {
            self.with(cluster, id, |watched, truth| watched.progress(truth, upto));
        }
        cluster.mark(Mark::SetProgress);
    }

    // ---- all of them

    /// The first of these that still has to be given something.
    pub(super) fn lacking(&self, which: impl Fn(WatchedId) -> bool) -> Option<String> {
        let (state, truth) = (self.state.lock(), self.truth.lock());
        let ids = (0..).map(WatchedId).zip(&state.watched);
        let mut watched = ids.filter_map(|(id, it)| it.as_ref().filter(|_| which(id)));
        watched.find_map(|watched| Some(format!("{watched}: {}", watched.lacks(&truth)?)))
    }

    /// The first that runs and has not come to the newest revision.
    pub(super) fn behind(&self) -> Option<String> {
        let (state, truth) = (self.state.lock(), self.truth.lock());
        // A set does not say how far it is as long as one of it waits (`WAT-26`).
        let waiting = state.waiting_sets(&truth);
        let is_asked = |it: &&Watched| it.set.is_none_or(|set| !waiting.contains(&set));
        let mut asked = state.watched.iter().flatten().filter(is_asked);
        let behind = asked.find(|watched| watched.is_behind(&truth))?;
        Some(format!("{behind}: complete (WAT-25): it was asked how far it is, and did not say"))
    }
}

fn ended(end: &WatchEnd) -> Ended {
    match end {
        WatchEnd::Cancelled => Ended::Cancelled,
        WatchEnd::Compacted(compacted) => Ended::Compacted(compacted.revision()),
        WatchEnd::NoLeader => Ended::NoLeader,
        _ => Ended::Node,
    }
}
