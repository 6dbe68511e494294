//! What a watcher is given at a time.

use crate::core::mvcc::Event;
use crate::ids::Revision;

/// Events of one or more whole revisions, in order (`WAT-15`, `WAT-16`); or none, which says that
/// there were none.
///
/// ```no_run
/// # fn example(batch: quorate::WatchBatch) {
/// for event in &batch {
///     println!("{:?}", event);
/// }
/// // To go on from here, in another process or after a restart of this one:
/// let resume_from = batch.revision().next();
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchBatch {
    events: Vec<Event>,
    revision: Revision,
    fragment: bool,
}

impl WatchBatch {
    pub(super) fn new(events: Vec<Event>, revision: Revision, fragment: bool) -> Self {
        Self { events, revision, fragment }
    }

    /// The events, in the order in which they happened: ascending by revision, and within one in
    /// the order of the transaction.
    ///
    /// ```no_run
    /// # fn example(batch: quorate::WatchBatch) {
    /// println!("{} keys have changed", batch.events().len());
    /// # }
    /// ```
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Up to and including this revision the watcher has been given everything, and nothing from
    /// behind it; but for the pieces of the next one, if this is a [fragment](Self::is_fragment).
    /// A watcher that begins at the next one goes on exactly here (`WAT-23`).
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store, last: quorate::WatchBatch) -> quorate::Result<()> {
    /// let watcher = store.watch("color").from_revision(last.revision().next()).start()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Nothing has happened up to [`revision`](Self::revision): a notification of progress, which
    /// was asked for (`WAT-23`).
    ///
    /// ```no_run
    /// # fn example(batch: quorate::WatchBatch) {
    /// if batch.is_progress() {
    ///     println!("nothing new up to {}", batch.revision());
    /// }
    /// # }
    /// ```
    pub fn is_progress(&self) -> bool {
        self.events.is_empty()
    }

    /// Only some events of a revision: the next batch goes on with it (`WAT-21`). Never so unless
    /// [`Watch::fragment_bytes`](crate::Watch::fragment_bytes) was set.
    ///
    /// ```no_run
    /// # fn example(batch: quorate::WatchBatch) {
    /// let is_whole = !batch.is_fragment();
    /// # }
    /// ```
    pub fn is_fragment(&self) -> bool {
        self.fragment
    }

    /// The events of each revision by themselves.
    ///
    /// ```no_run
    /// # fn example(batch: quorate::WatchBatch) {
    /// for events in batch.revisions() {
    ///     println!("{} at once", events.len());
    /// }
    /// # }
    /// ```
    pub fn revisions(&self) -> impl Iterator<Item = &[Event]> {
        self.events.chunk_by(|one, other| one.revision() == other.revision())
    }
}

impl IntoIterator for WatchBatch {
    type Item = Event;
    type IntoIter = std::vec::IntoIter<Event>;

    fn into_iter(self) -> Self::IntoIter {
        self.events.into_iter()
    }
}

impl<'a> IntoIterator for &'a WatchBatch {
    type Item = &'a Event;
    type IntoIter = std::slice::Iter<'a, Event>;

    fn into_iter(self) -> Self::IntoIter {
        self.events.iter()
    }
}
