//! What a consumer watches with: one watcher, or a set of them.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::ids::{NodeId, Revision, WatchId};
use crate::service::{Watch, WatchEnd, WatchSet, WatchUpdate, Watcher};
use crate::sim::check::watch::{Asked, SetId};
use crate::sim::clock::Sleep;
use crate::sim::cluster::Cluster;
use crate::sim::watched::{Notes, Phase, WatchedId};
use crate::sim::workload::bell::Bell;
use futures_core::stream::Stream;

/// A watcher, or several and one consumer of them.
pub(super) struct Seat {
    source: Source,
    /// Those that run, as the judges know them.
    pub(super) members: Vec<Member>,
    bell: Arc<Bell>,
}

enum Source {
    One(Watcher),
    Set {
        set: WatchSet,
        id: SetId,
        /// It owes word of its progress.
        asked: bool,
    },
}

/// A watcher that runs.
#[derive(Clone)]
pub(super) struct Member {
    /// What its set calls it.
    pub(super) name: WatchId,
    pub(super) id: WatchedId,
    pub(super) asked: Asked,
}

/// What a seat is told: an end is that of all of its members.
pub(super) type Told = Option<Result<WatchUpdate, WatchEnd>>;

/// What happens next to a consumer.
pub(super) enum Woken {
    Phase,
    Time,
    Told(Told),
}

impl Seat {
    pub(super) fn one(watcher: Watcher, id: WatchedId, asked: Asked) -> Self {
        let member = Member { name: watcher.id(), id, asked };
        Self::new(Source::One(watcher), vec![member])
    }

    /// A set, in which nobody is yet.
    pub(super) fn set(set: WatchSet, notes: &Notes) -> Self {
        Self::new(Source::Set { set, id: notes.new_set(), asked: false }, Vec::new())
    }

    fn new(source: Source, members: Vec<Member>) -> Self {
        Self { source, members, bell: Bell::new() }
    }

    pub(super) fn is_set(&self) -> bool {
        matches!(self.source, Source::Set { .. })
    }

    /// Another watcher in the set, if it can be there.
    pub(super) fn add(
        &mut self,
        cluster: &Cluster,
        notes: &Notes,
        (node, watch, asked): (NodeId, Watch, &Asked),
    ) -> Option<WatchedId> {
        let Source::Set { set, id, .. } = &mut self.source else { return None };
        let name = set.add(watch).ok()?;
        self.bell.ring();
        let id = notes.begin_in(cluster, (node, *id), asked);
        if self.members.iter().any(|member| member.name == name) {
            cluster.fail(format!("WAT-6: two watchers of a set are called {name}"));
        }
        self.members.push(Member { name, id, asked: asked.clone() });
        Some(id)
    }

    /// What is known of a watcher that was named. It is one of those that run (`WAT-8`).
    pub(super) fn member(&self, cluster: &Cluster, name: WatchId) -> Option<&Member> {
        let member = self.members.iter().find(|member| member.name == name);
        if member.is_none() {
            cluster.fail(format!("justified (WAT-8): {name} is named, and is not in {self}"));
        }
        member
    }

    /// One of the watchers is gone.
    pub(super) fn remove(&mut self, name: WatchId) {
        self.members.retain(|member| member.name != name);
    }

    /// All of them are gone.
    pub(super) fn forget(&mut self, notes: &Notes) {
        for member in self.members.drain(..) {
            notes.dropped(member.id);
        }
    }

    /// Ends a watcher. Of one in a set nothing more is heard.
    pub(super) fn cancel(&mut self, cluster: &Cluster, notes: &Notes, member: &Member) {
        notes.cancelled(cluster, member.id);
        match &mut self.source {
            Source::One(watcher) => watcher.canceller().cancel(),
            Source::Set { set, .. } => {
                if !set.cancel(member.name) || set.cancel(member.name) {
                    cluster.fail(format!("WAT-8: {} is not to be cancelled once", member.name));
                }
                notes.dropped(member.id);
                self.remove(member.name);
                self.bell.ring();
            }
        }
    }

    /// Asks how far it has come.
    pub(super) fn ask(&mut self, cluster: &Cluster, notes: &Notes) {
        match &mut self.source {
            Source::One(watcher) => {
                self.members.iter().for_each(|member| notes.requested(cluster, member.id));
                watcher.request_progress();
            }
            Source::Set { set, id, asked } => {
                *asked = !set.is_empty();
                notes.requested_of(cluster, *id);
                set.request_progress();
            }
        }
        self.bell.ring();
    }

    /// The set has said how far all of its watchers have come.
    pub(super) fn progress(&mut self, cluster: &Cluster, notes: &Notes, upto: Revision) {
        if let Source::Set { asked, .. } = &mut self.source
            && !std::mem::take(asked)
        {
            cluster.fail(format!("filtered (WAT-25): {self} is at {upto}, and nobody asked"));
        }
        notes.progress(cluster, self.members.iter().map(|member| member.id), upto);
    }

    /// What happens first: another phase begins, the time is over, or there is something.
    pub(super) async fn wait(
        &mut self,
        cluster: &Cluster,
        notes: &Notes,
        (phase, until): (Phase, Option<Duration>),
    ) -> Woken {
        let clock = cluster.clock();
        let mut sleep = until.map(|until| clock.sleep(until.saturating_sub(clock.now())));
        std::future::poll_fn(|context| self.poll(notes, phase, sleep.as_mut(), context)).await
    }

    fn poll(
        &mut self,
        notes: &Notes,
        phase: Phase,
        sleep: Option<&mut Sleep>,
        context: &mut Context<'_>,
    ) -> Poll<Woken> {
        if notes.has_left(phase, context.waker()) {
            return Poll::Ready(Woken::Phase);
        }
        // Or when something was done to it: then the bell is rung, too.
        let source = &mut self.source;
        if let Poll::Ready(told) = self.bell.ask(context, |context| source.poll(context)) {
            // There may be more.
            self.bell.ring();
            return Poll::Ready(Woken::Told(told));
        }
        match sleep.map(|sleep| Pin::new(sleep).poll(context)) {
            Some(Poll::Ready(())) => Poll::Ready(Woken::Time),
            _ => Poll::Pending,
        }
    }
}

impl Source {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Told> {
        match self {
            Self::One(watcher) => {
                let name = watcher.id();
                let told = Pin::new(watcher).poll_next(context);
                told.map(|told| told.map(|it| it.map(|batch| WatchUpdate::Batch(name, batch))))
            }
            Self::Set { set, .. } => Pin::new(set).poll_next(context),
        }
    }
}

impl fmt::Display for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::One(_) => f.write_str("watcher")?,
            Source::Set { id, .. } => write!(f, "set {} of watchers", id.0)?,
        }
        self.members.iter().try_for_each(|member| write!(f, " {}", member.id.0))
    }
}
