//! Watchers of a script: those that follow print what they are given whenever it comes, the
//! others one batch when they are told to.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_core::stream::Stream;
use parking_lot::Mutex;

use super::Done;
use super::command::Command;
use super::play::Play;
use super::show;
use crate::ids::Revision;
use crate::service::{WatchBatch, WatchEnd, Watcher};
use crate::sim::check::watch::Asked;
use crate::sim::cluster::Cluster;
use crate::sim::watched::{Notes, WatchedId};
use crate::sim::workload;

/// A script's watchers, by their numbers from 1 on.
#[derive(Default)]
pub(super) struct Watchers {
    notes: Option<Notes>,
    all: Vec<Seat>,
}

/// A script and a task that follows hold a watcher together.
type Shared = Arc<Mutex<Held>>;

struct Seat {
    id: WatchedId,
    held: Shared,
    follows: bool,
}

/// A watcher, until it is left.
struct Held {
    watcher: Option<Watcher>,
    /// Of the task that follows it.
    waker: Option<Waker>,
}

/// A watcher, and where what it is told is noted.
type Place = (Arc<Mutex<Held>>, Notes);

impl Held {
    fn poll(&mut self, context: &Context<'_>) -> Poll<Option<Result<WatchBatch, WatchEnd>>> {
        self.waker = Some(context.waker().clone());
        match &mut self.watcher {
            Some(watcher) => Pin::new(watcher).poll_next(&mut Context::from_waker(context.waker())),
            None => Poll::Ready(None),
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Watchers {
    pub(super) fn new(cluster: &Cluster, max_pinned: u64) -> Self {
        Self { notes: Some(Notes::new(cluster, max_pinned)), all: Vec::new() }
    }

    fn notes(&self) -> Result<&Notes, Box<dyn Error>> {
        self.notes.as_ref().ok_or_else(|| "no cluster yet".into())
    }

    fn seat(&self, number: u64) -> Result<&Seat, Box<dyn Error>> {
        let place = usize::try_from(number)?.checked_sub(1);
        let seat = place.and_then(|place| self.all.get(place));
        seat.ok_or_else(|| format!("no watcher {number}").into())
    }

    /// What one that follows still has to be given.
    pub(super) fn lacking(&self) -> Option<String> {
        let follows = |id| self.all.iter().any(|seat| seat.follows && seat.id == id);
        self.notes.as_ref()?.lacking(follows)
    }
}

impl Play {
    pub(super) fn watch(&mut self, command: &Command) -> Done {
        match command {
            Command::Watch { by, .. } => self.begin(command, by.as_deref() != Some("hand"))?,
            Command::Next(number) => {
                let (held, notes) = self.held(*number)?;
                let id = self.watchers.seat(*number)?.id;
                let next = held.lock().watcher.as_mut().ok_or("it was left")?.try_next();
                let text = match next.transpose() {
                    Some(told) => {
                        notes.told(self.cluster()?, id, &told);
                        show::told(&told)
                    }
                    None => "has nothing".to_owned(),
                };
                self.say(format!("watcher {number} {text}"));
            }
            Command::Follow(number) => self.follow(*number)?,
            Command::Progress(number) => {
                let (held, notes) = self.held(*number)?;
                notes.requested(self.cluster()?, self.watchers.seat(*number)?.id);
                let mut held = held.lock();
                held.watcher.as_mut().ok_or("it was left")?.request_progress();
                held.wake();
            }
            Command::Cancel(number) => {
                let (held, notes) = self.held(*number)?;
                notes.cancelled(self.cluster()?, self.watchers.seat(*number)?.id);
                let canceller = held.lock().watcher.as_ref().ok_or("it was left")?.canceller();
                canceller.cancel();
            }
            Command::Leave(number) => {
                let (held, notes) = self.held(*number)?;
                let next = notes.dropped(self.watchers.seat(*number)?.id).unwrap_or_default();
                let mut held = held.lock();
                drop(held.watcher.take());
                held.wake();
                drop(held);
                self.say(format!("watcher {number} is left at {next}"));
            }
            _ => return Err("not about a watcher".into()),
        }
        self.rest()
    }

    fn held(&self, number: u64) -> Result<Place, Box<dyn Error>> {
        let held = Arc::clone(&self.watchers.seat(number)?.held);
        Ok((held, self.watchers.notes()?.clone()))
    }

    fn begin(&mut self, command: &Command, follows: bool) -> Done {
        let Command::Watch { at, key, to, from, prev, puts, deletes, progress, .. } = command
        else {
            return Err("not a watcher".into());
        };
        let Command::Watch { fragment, leader, .. } = command else { return Ok(()) };
        let asked = Asked {
            scope: Bytes::new(),
            range: show::range(key, to.as_deref()),
            from: from.map(Revision::new),
            no_puts: puts.as_deref() == Some("no"),
            no_deletes: deletes.as_deref() == Some("no"),
            prev: prev.is_some(),
            progress: progress.is_some(),
            fragment: *fragment,
            leader: leader.is_some(),
        };
        let number = self.watchers.all.len() + 1;
        let watch = workload::watch(&self.store(at)?, &asked);
        let watch = match progress {
            Some(ms) => watch.progress_every(Duration::from_millis(*ms)),
            None => watch,
        };
        let watcher = match watch.start() {
            Ok(watcher) => watcher,
            Err(error) => {
                self.say(format!("no watcher: {error}"));
                return Ok(());
            }
        };
        let created = watcher.created();
        let node = self.cluster()?.id(&at.0)?;
        let id = self.watchers.notes()?.begin(self.cluster()?, (node, created), &asked);
        let held = Arc::new(Mutex::new(Held { watcher: Some(watcher), waker: None }));
        self.watchers.all.push(Seat { id, held, follows: false });
        self.say(format!("watcher {number} at {at}, made at revision {created}"));
        if follows { self.follow(number as u64) } else { Ok(()) }
    }

    fn follow(&mut self, number: u64) -> Done {
        let (held, notes) = self.held(number)?;
        let (cluster, told) = (self.cluster()?.clone(), Arc::clone(&self.told));
        let inside = cluster.clone();
        let place = usize::try_from(number)?.saturating_sub(1);
        let Some(seat) = self.watchers.all.get_mut(place) else { return Err("nobody".into()) };
        seat.follows = true;
        let id = seat.id;
        cluster.spawn(async move {
            while let Some(next) = std::future::poll_fn(|context| held.lock().poll(context)).await {
                notes.told(&inside, id, &next);
                told.lock().push(format!("watcher {number} {}", show::told(&next)));
            }
        });
        Ok(())
    }
}
