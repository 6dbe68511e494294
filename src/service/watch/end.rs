//! Why a watcher is told nothing more.

use std::fmt;

use super::{ListAndWatch, Watch};
use crate::error::{Error, Kind};
use crate::ids::Revision;

/// Why a watcher has ended. It is the last that it says.
///
/// ```no_run
/// # fn example(store: quorate::Store) -> quorate::Result<()> {
/// use quorate::{KeyRange, WatchEnd};
///
/// let mut watcher = store.watch(KeyRange::prefix("jobs/")).start()?;
/// loop {
///     match watcher.next().wait() {
///         Some(Ok(batch)) => println!("{} events", batch.events().len()),
///         Some(Err(WatchEnd::Compacted(compacted))) => {
///             println!("missed some that happened before {}", compacted.revision());
///             let listing = compacted.relist().wait()?;
///             println!("what holds now: {} jobs", listing.kvs.len());
///             watcher = listing.watcher;
///         }
///         Some(Err(end)) => return Err(end.into()),
///         None => return Ok(()),
///     }
/// }
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum WatchEnd {
    /// It was cancelled through its [`WatchCanceller`](crate::WatchCanceller).
    Cancelled,
    /// Some of what comes next has been compacted (`WAT-11`): the watcher began, or fell, too far
    /// behind. Events were missed; what holds now has to be read, and
    /// [`WatchCompacted::relist`] is the call for that.
    Compacted(WatchCompacted),
    /// The member has had no leader for three election timeouts (`WAT-33`). Only of a watcher that
    /// asked for one.
    NoLeader,
    /// The node was closed.
    Closed,
    /// The node has halted, for this reason.
    Halted(std::sync::Arc<Error>),
}

/// The compaction that a watcher has fallen behind, and the way out.
#[derive(Clone, Debug)]
pub struct WatchCompacted {
    pub(super) asked: Revision,
    pub(super) revision: Revision,
    pub(super) watch: Box<Watch>,
}

impl WatchCompacted {
    /// The compacted revision: from here on everything is there.
    ///
    /// ```no_run
    /// # fn example(compacted: quorate::WatchCompacted) {
    /// println!("events before {} are gone", compacted.revision());
    /// # }
    /// ```
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// What holds now in the range, and the same watcher again from there on: nothing is missed or
    /// told twice behind it, however long this takes. All options are those of the watcher that
    /// ended, but for its name.
    ///
    /// It is a read as any other, which asks the leader. Without one it can be
    /// [`serializable`](ListAndWatch::serializable): what this member has is never older than what
    /// its watcher was told.
    ///
    /// ```no_run
    /// # async fn example(compacted: quorate::WatchCompacted) -> quorate::Result<()> {
    /// let listing = compacted.relist().await?;
    /// let (now, mut later) = (listing.kvs, listing.watcher);
    /// # Ok(())
    /// # }
    /// ```
    pub fn relist(&self) -> ListAndWatch {
        ListAndWatch::of(Watch::clone(&self.watch))
    }
}

impl fmt::Display for WatchEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("the watcher was cancelled"),
            Self::Compacted(compacted) => {
                let WatchCompacted { asked, revision, .. } = compacted;
                write!(f, "the watcher needs revision {asked}, and {revision} is compacted")
            }
            Self::NoLeader => f.write_str("the member has had no leader for too long"),
            Self::Closed => f.write_str("the node is closed"),
            Self::Halted(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for WatchEnd {}

impl From<WatchEnd> for Error {
    fn from(end: WatchEnd) -> Self {
        let text = end.to_string();
        match end {
            WatchEnd::Cancelled => Self::invalid(text),
            WatchEnd::Compacted(compacted) => Self::new(Kind::Compacted(compacted.revision), text),
            WatchEnd::NoLeader => Self::new(Kind::Unavailable, text),
            WatchEnd::Closed => Self::new(Kind::Closed, text),
            WatchEnd::Halted(cause) => Self::new(Kind::Halted, text).because(cause),
        }
    }
}
