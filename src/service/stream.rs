//! A range in chunks, all at one revision: for ranges larger than one wants in memory.
//!
//! The first chunk fixes the revision, as the read that it is; the rest is read on the thread that
//! asks for it, and nobody is asked any more. In between nothing is held but a key, where it goes
//! on, and a pin, which keeps a compaction from removing what is still to be read. Chunks begin
//! small, so that the first is there soon, and double up to their bounds.

#[cfg(test)]
mod tests;

use std::iter::FusedIterator;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::stream::{FusedStream, Stream};

use super::options::{Freshness, impl_at, impl_freshness};
use super::pending::{Ask, Call, Counter, Started};
use super::scope::Scope;
use crate::core::mvcc::{self, KeyValue};
use crate::error::Result;
use crate::gate::Gate;
use crate::ids::Revision;
use crate::keys::KeyRange;

/// Keys of the first chunk (`KV-19`).
const FIRST_KEYS: usize = 10;

/// Keys of a chunk at most, unless the caller says otherwise.
const CHUNK_KEYS: usize = 1_000;

/// Bytes of a chunk at most, unless the caller says otherwise.
const CHUNK_BYTES: usize = 1 << 20;

/// Reads the keys of a range in chunks: made by [`Store::stream`](crate::Store::stream).
///
/// All chunks are of one revision, in ascending order of the keys: put together they are what
/// [`Store::range`](crate::Store::range) would have given back at the moment of the first
/// (`KV-19`). No chunk is empty. How recent that moment is, is asked as of a
/// [`RangeRead`](crate::RangeRead); from the second chunk on nothing is asked of anybody.
///
/// It is a [`Stream`], for futures of any runtime, and with
/// [`into_iter`](IntoIterator::into_iter) an iterator, for a thread. Either ends for good with the
/// range, or with the first error. Whoever polls it reads: a chunk is ready at once, but for the
/// first.
///
/// # Errors
///
/// Those of [`Get`](crate::Get). A compaction past its revision waits for it on this member; one
/// that has fallen behind by more than `max_pinned_revisions` ends with
/// [`is_compacted`](crate::Error::is_compacted), and so does one whose member is given a snapshot
/// that has not that revision.
///
/// ```no_run
/// # fn example(store: quorate::Store) -> quorate::Result<()> {
/// use quorate::KeyRange;
///
/// let mut bytes = 0;
/// for chunk in store.stream(KeyRange::prefix("jobs/")) {
///     bytes += chunk?.iter().map(|kv| kv.value().len()).sum::<usize>();
/// }
/// # Ok(())
/// # }
/// ```
///
/// In a future, with `StreamExt` of the crate `futures` or of one like it, it is
/// `while let Some(chunk) = stream.next().await`.
#[derive(Debug)]
#[must_use = "nothing happens before it is polled or iterated over"]
pub struct RangeStream {
    call: Call<Begin>,
    /// Once the first chunk was asked for.
    cursor: Option<Cursor>,
    ended: bool,
}

/// Fixes the revision.
#[derive(Debug)]
struct Begin {
    scope: Scope,
    range: KeyRange,
    /// `None`: the newest.
    at: Option<Revision>,
    freshness: Freshness,
    bounds: Bounds,
}

/// What a chunk holds at most.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    keys: usize,
    bytes: usize,
    keys_only: bool,
}

/// Where a stream has come to.
#[derive(Debug)]
struct Cursor {
    /// In terms of the whole store, as the key below is.
    range: KeyRange,
    at: Revision,
    /// The last key of the chunk before.
    after: Option<Vec<u8>>,
    /// Keys of the next chunk.
    size: usize,
    /// Keeps the revision readable. `None`: nothing is left behind `after`.
    pin: Option<mvcc::Pin>,
}

impl RangeStream {
    pub(crate) fn new(gate: &Arc<dyn Gate>, scope: &Scope, range: KeyRange) -> Self {
        let bounds = Bounds { keys: CHUNK_KEYS, bytes: CHUNK_BYTES, keys_only: false };
        let (scope, freshness) = (scope.clone(), Freshness::default());
        let call = Call::new(gate, Begin { scope, range, at: None, freshness, bounds });
        Self { call, cursor: None, ended: false }
    }

    /// Gives back keys without their values; all else is there (`KV-7`).
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) -> quorate::Result<()> {
    /// for chunk in store.stream(..).keys_only() {
    ///     assert!(chunk?.iter().all(|kv| kv.value().is_empty()));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn keys_only(mut self) -> Self {
        self.call.ask_mut().bounds.keys_only = true;
        self
    }

    /// At most so many keys in a chunk, by default 1,000. 0 counts as 1.
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) -> quorate::Result<()> {
    /// for chunk in store.stream(..).chunk_keys(100) {
    ///     assert!(chunk?.len() <= 100);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn chunk_keys(mut self, keys: usize) -> Self {
        self.call.ask_mut().bounds.keys = keys.max(1);
        self
    }

    /// At most so many bytes of keys and values in a chunk, by default 1 MiB; but always one key,
    /// however long.
    ///
    /// What a chunk shows is the store's own memory, not a copy. It stays for as long as the chunk
    /// is kept, also if the keys are overwritten meanwhile, and with it what a compaction has left
    /// beside it, up to 64 KiB for each value: chunks are for looking at, not for keeping.
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) -> quorate::Result<()> {
    /// for chunk in store.stream(..).chunk_bytes(64 << 10) {
    ///     println!("{} keys", chunk?.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn chunk_bytes(mut self, bytes: usize) -> Self {
        self.call.ask_mut().bounds.bytes = bytes;
        self
    }

    /// How long the first chunk may take, if it has to ask the leader. By default as long as the
    /// node's configuration says; after that it ends with an error that
    /// [`is_timeout`](crate::Error::is_timeout).
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) -> quorate::Result<()> {
    /// use std::time::Duration;
    ///
    /// for chunk in store.stream(..).timeout(Duration::from_secs(1)) {
    ///     println!("{} keys", chunk?.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.call.set_timeout(timeout);
        self
    }

    /// The revision that all chunks are of, from the first one on.
    ///
    /// What was written after it is what a reader of the whole range has missed.
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let mut chunks = store.stream(..).into_iter();
    /// let first = chunks.next().transpose()?;
    /// let revision = chunks.revision();
    /// # Ok(())
    /// # }
    /// ```
    pub fn revision(&self) -> Option<Revision> {
        self.cursor.as_ref().map(|cursor| cursor.at)
    }

    /// The next chunk, once there is a cursor.
    fn read(&mut self) -> Option<Result<Vec<KeyValue>>> {
        let chunk = self.chunk().transpose();
        self.ended = !matches!(chunk, Some(Ok(_)));
        if let (true, Some(cursor)) = (self.ended, &mut self.cursor) {
            cursor.pin = None;
        }
        chunk
    }

    fn chunk(&mut self) -> Result<Option<Vec<KeyValue>>> {
        let Some(cursor) = &mut self.cursor else { return Ok(None) };
        let ask = self.call.ask();
        // A node that was closed since has nothing more to say.
        self.call.gate().reader()?;
        let chunk = cursor.next(ask.bounds)?;
        Ok(chunk.map(|kvs| ask.scope.show_all(kvs)))
    }

    /// Takes note of how the first question ended. An error is the last there is to say.
    fn begun(&mut self, cursor: Result<Cursor>) -> Result<()> {
        self.ended = cursor.is_err();
        self.cursor = Some(cursor?);
        Ok(())
    }
}

impl_at!(RangeStream, stream => &mut stream.call.ask_mut().at, "store.stream(..)", "");
impl_freshness!(
    RangeStream, stream => stream.call.ask_mut().freshness, "store.stream(..)", ""
);

impl Ask for Begin {
    type Answer = ();
    type Response = Cursor;

    const WRITES: bool = false;

    fn start(&mut self, counter: &Counter<'_>) -> Result<Started<Self>> {
        self.range = self.scope.range(self.range.clone())?;
        if self.freshness.is_met(counter.gate)? {
            return self.finish(counter.gate, ()).map(Started::Answered);
        }
        counter.read()
    }

    fn finish(&mut self, gate: &dyn Gate, (): ()) -> Result<Cursor> {
        let reader = gate.reader()?;
        self.freshness.check(reader)?;
        let pin = reader.pin(self.at)?;
        let (at, size) = (pin.revision(), self.bounds.keys.min(FIRST_KEYS));
        Ok(Cursor { range: self.range.clone(), at, pin: Some(pin), after: None, size })
    }
}

impl Cursor {
    fn next(&mut self, bounds: Bounds) -> Result<Option<Vec<KeyValue>>> {
        let Some(pin) = &self.pin else { return Ok(None) };
        let mut kvs = pin.chunk(&self.range, self.after.as_deref(), self.size)?;
        if bounds.keys_only {
            kvs = kvs.into_iter().map(KeyValue::keys_only).collect();
        }
        let fitting = fitting(&kvs, bounds.bytes);
        if fitting < kvs.len() {
            // The next ones are probably as large.
            kvs.truncate(fitting);
            self.size = fitting;
        } else {
            if kvs.len() < self.size {
                self.pin = None;
            }
            self.size = self.size.saturating_mul(2).min(bounds.keys);
        }
        self.after = kvs.last().map(|kv| kv.key().to_vec());
        Ok((!kvs.is_empty()).then_some(kvs))
    }
}

/// How many of them have no more than so many bytes together; at least one, if there is one.
fn fitting(kvs: &[KeyValue], bytes: usize) -> usize {
    let mut total = 0_usize;
    let fits = |kv: &&KeyValue| {
        total = total.saturating_add(kv.key().len()).saturating_add(kv.value().len());
        total <= bytes
    };
    kvs.iter().take_while(fits).count().max(1).min(kvs.len())
}

impl Stream for RangeStream {
    type Item = Result<Vec<KeyValue>>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Vec<KeyValue>>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if self.cursor.is_none() {
            let cursor = ready!(self.call.poll(context));
            if let Err(error) = self.begun(cursor) {
                return Poll::Ready(Some(Err(error)));
            }
        }
        Poll::Ready(self.read())
    }
}

impl FusedStream for RangeStream {
    fn is_terminated(&self) -> bool {
        self.ended
    }
}

impl IntoIterator for RangeStream {
    type Item = Result<Vec<KeyValue>>;
    type IntoIter = RangeChunks;

    fn into_iter(self) -> RangeChunks {
        RangeChunks { stream: self }
    }
}

/// The chunks of a [`RangeStream`], for a thread: it blocks until the first is there.
///
/// Not for a thread that runs futures: poll the stream there.
///
/// ```no_run
/// # fn example(store: quorate::Store) -> quorate::Result<()> {
/// let chunks = store.stream(..).into_iter().collect::<quorate::Result<Vec<_>>>()?;
/// let keys = chunks.concat();
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RangeChunks {
    stream: RangeStream,
}

impl RangeChunks {
    /// The revision that all chunks are of: see [`RangeStream::revision`].
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let mut chunks = store.stream(..).into_iter();
    /// while let Some(chunk) = chunks.next().transpose()? {
    ///     println!("{} keys as of {:?}", chunk.len(), chunks.revision());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn revision(&self) -> Option<Revision> {
        self.stream.revision()
    }
}

impl Iterator for RangeChunks {
    type Item = Result<Vec<KeyValue>>;

    fn next(&mut self) -> Option<Result<Vec<KeyValue>>> {
        let stream = &mut self.stream;
        if stream.ended {
            return None;
        }
        if stream.cursor.is_none() {
            let cursor = stream.call.wait();
            if let Err(error) = stream.begun(cursor) {
                return Some(Err(error));
            }
        }
        stream.read()
    }
}

impl FusedIterator for RangeChunks {}
