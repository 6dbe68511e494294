//! Files in, through 32 callers.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SendError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use indicatif::{ProgressBar, ProgressStyle};
use quorate::{Error, WriteOutcome};

use crate::cluster::{Cluster, MAX_REQUEST_BYTES, MEMBERS};
use crate::files::{self, LeftOut};

const CALLERS: usize = 32;
/// How long a caller goes on trying to put one file.
const PATIENCE: Duration = Duration::from_secs(120);

/// A file as it was when it was put.
pub(crate) struct Imported {
    pub(crate) path: PathBuf,
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
}

#[derive(Default)]
pub(crate) struct Import {
    /// Sorted by key.
    pub(crate) imported: Vec<Imported>,
    pub(crate) left_out: Vec<LeftOut>,
    /// Puts that had to be repeated, by what was known of the attempt before.
    pub(crate) not_applied: usize,
    pub(crate) unknown: usize,
}

/// What a caller tells.
enum Event {
    Imported(Imported),
    LeftOut(LeftOut),
    Repeats(WriteOutcome),
    Failed(Error),
}

/// Puts every file. Calls `halfway` once, while the callers go on.
pub(crate) fn run(
    cluster: &Cluster,
    files: &[PathBuf],
    bar: &ProgressBar,
    halfway: impl FnOnce() -> quorate::Result<()>,
) -> quorate::Result<Import> {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {per_sec} {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let (next, mut import) = (AtomicUsize::new(0), Import::default());
    let mut halfway = Some(halfway);
    thread::scope(|scope| {
        let (events, told) = channel();
        for number in 0..CALLERS {
            let caller = Caller { cluster, number, events: events.clone() };
            let (files, next) = (&files, &next);
            scope.spawn(move || {
                while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if caller.import(path.clone()).is_err() {
                        // Nobody listens: another caller has failed, and that ends it all.
                        break;
                    }
                }
            });
        }
        // Only the callers hold it now: when they are done, nothing more is told.
        drop(events);
        for event in told {
            match event {
                Event::Imported(file) => import.imported.push(file),
                Event::LeftOut(file) => import.left_out.push(file),
                Event::Repeats(WriteOutcome::NotApplied) => import.not_applied += 1,
                Event::Repeats(WriteOutcome::Unknown) => import.unknown += 1,
                Event::Failed(error) => return Err(error),
            }
            let done = import.imported.len() + import.left_out.len();
            show(bar, done, files.len());
            if done * 2 >= files.len() {
                halfway.take().map_or(Ok(()), |halfway| halfway())?;
            }
        }
        // There was not a single file.
        halfway.take().map_or(Ok(()), |halfway| halfway())
    })?;
    import.imported.sort_unstable_by(|one, other| one.key.cmp(&other.key));
    Ok(import)
}

/// The bar; where nobody would see one move, a line at each quarter.
fn show(bar: &ProgressBar, done: usize, all: usize) {
    let quarter = |done: usize| (done * 4).checked_div(all);
    if bar.is_hidden() && bar.position() < done as u64 && quarter(done) > quarter(done - 1) {
        println!("  {done} of {all}");
    }
    bar.set_position(done as u64);
}

struct Caller<'a> {
    cluster: &'a Cluster,
    number: usize,
    events: Sender<Event>,
}

impl Caller<'_> {
    fn import(&self, path: PathBuf) -> Result<(), SendError<Event>> {
        let event = match files::read(&path, MAX_REQUEST_BYTES) {
            Err(reason) => Event::LeftOut((path, reason)),
            Ok(content) => {
                // The path's own bytes, whether or not they are text.
                let key = Bytes::copy_from_slice(path.as_os_str().as_encoded_bytes());
                let value = Bytes::from(content);
                match self.put(&key, &value) {
                    Ok(()) => Event::Imported(Imported { path, key, value }),
                    Err(error) if error.is_invalid() => Event::LeftOut((path, error.to_string())),
                    Err(error) => Event::Failed(error),
                }
            }
        };
        self.events.send(event)
    }

    /// Puts through one member; if that is gone, through the next.
    ///
    /// A failed write says what became of it. Not applied: do it again. Unknown: it may have
    /// happened, or happen yet, so doing it again must be harmless. It is here, because the same
    /// content under the same key is the same state; where it is not, read first.
    fn put(&self, key: &Bytes, value: &Bytes) -> quorate::Result<()> {
        let until = Instant::now() + PATIENCE;
        let mut member = self.number % MEMBERS;
        loop {
            if let Some(store) = self.cluster.store(member) {
                match store.put(key.clone(), value.clone()).wait() {
                    Ok(_) => return Ok(()),
                    Err(error)
                        if error.is_invalid() || error.is_halted() || Instant::now() > until =>
                    {
                        return Err(error);
                    }
                    Err(error) => {
                        // Nobody listens any more only after another caller has failed.
                        if self.events.send(Event::Repeats(error.outcome())).is_err() {
                            return Err(error);
                        }
                    }
                }
            }
            member = (member + 1) % MEMBERS;
        }
    }
}
