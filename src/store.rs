//! The handle to the data.

use bytes::Bytes;
use std::fmt;
use std::sync::Arc;

use crate::gate::Gate;
use crate::ids::Revision;
use crate::keys::KeyRange;
use crate::service::{Compact, Delete, Get, HashRead, Put, RangeRead};

/// The data of a cluster, through one of its members: made by [`Node::store`](crate::Node::store).
///
/// Cheap to clone; use it from any thread. What it makes are requests that do nothing until they
/// are awaited, on any runtime, or waited for. A handle that outlives its node answers with an
/// error that [`is_closed`](crate::Error::is_closed).
///
/// Keys and values are bytes. A literal, a `String`, a `Vec<u8>` and a [`Bytes`] are taken as they
/// are, without a copy; what is only borrowed is copied by the caller, with
/// [`Bytes::copy_from_slice`].
///
/// ```no_run
/// use quorate::{Config, LocalNetwork, Node};
///
/// # fn main() -> quorate::Result<()> {
/// // A cluster of one. More members differ in the list and in the transport.
/// let config = Config::new("a", "/var/lib/app").initial_cluster([("a", "local")]);
/// let network = LocalNetwork::new();
/// let node = Node::open(config.clone(), network.endpoint(config.node_id()?))?;
///
/// let store = node.store();
/// store.put("color", "green").wait()?;
/// let color = store.get("color").wait()?.kv;
/// assert_eq!(color.as_ref().map(|kv| kv.value()), Some(b"green".as_slice()));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Store {
    gate: Arc<dyn Gate>,
}

impl Store {
    pub(crate) fn new(gate: Arc<dyn Gate>) -> Self {
        Self { gate }
    }

    /// Writes `value` under `key`: see [`Put`].
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let written = store.put("color", "green").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn put(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Put {
        Put::new(&self.gate, key.into(), value.into())
    }

    /// Reads `key`: see [`Get`].
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let color = store.get("color").await?.kv;
    /// # Ok(())
    /// # }
    /// ```
    pub fn get(&self, key: impl Into<Bytes>) -> Get {
        Get::new(&self.gate, key.into())
    }

    /// Reads the keys of `range`: see [`RangeRead`].
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// use quorate::KeyRange;
    ///
    /// let jobs = store.range(KeyRange::prefix("jobs/")).await?.kvs;
    /// let some = store.range("jobs/3".."jobs/5").await?.kvs;
    /// let all = store.range(..).await?.kvs;
    /// # Ok(())
    /// # }
    /// ```
    pub fn range(&self, range: impl Into<KeyRange>) -> RangeRead {
        RangeRead::new(&self.gate, range.into())
    }

    /// Deletes a key, or the keys of a range: see [`Delete`].
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// store.delete("color").await?;
    /// store.delete("jobs/3".."jobs/5").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn delete(&self, range: impl Into<KeyRange>) -> Delete {
        Delete::new(&self.gate, range.into())
    }

    /// Forgets what was overwritten or deleted before `revision`: see [`Compact`].
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let written = store.put("color", "blue").await?;
    /// store.compact(written.header.revision).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn compact(&self, revision: Revision) -> Compact {
        Compact::new(&self.gate, revision)
    }

    /// Hashes what this member holds, to compare it with another: see [`HashRead`].
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let written = store.put("color", "blue").await?;
    /// let hash = store.hash().at(written.header.revision).await?.hash;
    /// # Ok(())
    /// # }
    /// ```
    pub fn hash(&self) -> HashRead {
        HashRead::new(&self.gate)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let standing = self.gate.standing();
        f.debug_struct("Store")
            .field("cluster", &standing.cluster)
            .field("member", &standing.member)
            .finish_non_exhaustive()
    }
}
