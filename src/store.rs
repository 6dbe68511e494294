//! The handle to the data.

use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::gate::Gate;
use crate::ids::{LeaseId, Revision};
use crate::keys::KeyRange;
use crate::service::{
    Barrier, CacheBuilder, Compact, Delete, DoubleBarrier, Election, Get, Grant, HashRead,
    KeepAlive, Leases, ListAndWatch, Lock, OpenSession, PriorityQueue, Put, Queue, RangeRead,
    RangeStream, Revoke, RwLock, Scope, Semaphore, TimeToLive, Transact, Transaction, Txn, Watch,
    WatchSet,
};

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
    scope: Scope,
}

impl Store {
    pub(crate) fn new(gate: Arc<dyn Gate>) -> Self {
        Self { gate, scope: Scope::default() }
    }

    pub(crate) fn gate(&self) -> &Arc<dyn Gate> {
        &self.gate
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// A handle that is confined to the keys that begin with `prefix`, and shows them without it
    /// (`HLP-1`).
    ///
    /// What is done through it is as in a store of its own: no call reads, changes or shows
    /// anything outside of the prefix, and a range without an end goes to the end of the prefix.
    /// The key that is the prefix alone is outside, since inside it would be the empty one.
    /// Handles of a scoped one are nested in it. An empty prefix confines to nothing.
    ///
    /// Revisions are those of the whole store: they rise with what others write elsewhere. Calls
    /// that concern all of it, such as [`compact`](Self::compact), are refused
    /// ([`is_invalid`](crate::Error::is_invalid)). The prefix counts for `max_request_bytes`.
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let tenant = store.scoped("tenant-a/");
    /// tenant.put("color", "green").await?;
    ///
    /// let jobs = tenant.scoped("jobs/");
    /// jobs.put("7", "sweep the yard").await?;
    ///
    /// let keys = tenant.range(..).await?.kvs; // "color" and "jobs/7"
    /// assert!(store.get("tenant-a/jobs/7").await?.kv.is_some());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn scoped(&self, prefix: impl Into<Bytes>) -> Self {
        Self { gate: Arc::clone(&self.gate), scope: self.scope.nested(prefix.into()) }
    }

    /// A handle whose values are of type `T`, stored as JSON: see
    /// [`TypedStore`](crate::TypedStore).
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let sizes = store.typed::<Vec<u32>>();
    /// sizes.put("shoes", &vec![41, 43]).await?;
    /// let shoes = sizes.get("shoes").await?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "serde")]
    #[must_use]
    pub fn typed<T>(&self) -> crate::TypedStore<T>
    where
        T: serde::Serialize + serde::de::DeserializeOwned,
    {
        crate::TypedStore::new(self.clone())
    }

    /// A handle whose values are of type `T`, stored as `C` says: see [`Codec`](crate::Codec).
    ///
    /// ```no_run
    /// use quorate::Json;
    ///
    /// # fn example(store: quorate::Store) {
    /// let sizes = store.typed_with::<Vec<u32>, Json>(); // what `typed` does
    /// # }
    /// ```
    #[cfg(feature = "serde")]
    #[must_use]
    pub fn typed_with<T, C: crate::Codec<T>>(&self) -> crate::TypedStore<T, C> {
        crate::TypedStore::new(self.clone())
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
        Put::new(&self.gate, &self.scope, key.into(), value.into())
    }

    /// As [`put`](Self::put), of a value that may have failed to be one.
    #[cfg(feature = "serde")]
    pub(crate) fn put_encoded(&self, key: Bytes, value: crate::Result<Bytes>) -> Put {
        Put::encoded(&self.gate, &self.scope, key, value)
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
        Get::new(&self.gate, &self.scope, key.into())
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
        RangeRead::new(&self.gate, &self.scope, range.into())
    }

    /// Reads the keys of `range` in chunks, all at one revision: see [`RangeStream`].
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) -> quorate::Result<()> {
    /// for chunk in store.stream(..) {
    ///     for kv in chunk? {
    ///         println!("{}", kv.key().escape_ascii());
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn stream(&self, range: impl Into<KeyRange>) -> RangeStream {
        RangeStream::new(&self.gate, &self.scope, range.into())
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
        Delete::new(&self.gate, &self.scope, range.into())
    }

    /// Compares, then does one thing or the other, as one: see [`Txn`].
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// use quorate::{Compare, Op};
    ///
    /// let free = Compare::absent("lock");
    /// let done = store.txn().when(free).then(Op::put("lock", "me")).await?;
    /// println!("{}", if done.succeeded() { "mine" } else { "taken" });
    /// # Ok(())
    /// # }
    /// ```
    pub fn txn(&self) -> Txn {
        Txn::new(&self.gate, &self.scope)
    }

    /// Runs a function that reads and writes as one transaction, again and again until nobody gets
    /// in its way: see [`Transact`].
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let moved = store.transact(|tx| {
    ///     let Some(value) = tx.get("from")? else { return Ok(false) };
    ///     tx.delete("from")?;
    ///     tx.put("to", value)?;
    ///     Ok(true)
    /// });
    /// println!("{}", if moved.await?.value { "moved" } else { "there was nothing" });
    /// # Ok(())
    /// # }
    /// ```
    pub fn transact<F, T>(&self, body: F) -> Transact<F, T>
    where
        F: FnMut(&mut Transaction<'_>) -> Result<T>,
    {
        Transact::new(&self.gate, &self.scope, body)
    }

    /// Makes a lease, which ends when `ttl` has passed without a keep-alive, and the keys that were
    /// put with it: see [`Grant`].
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// use std::time::Duration;
    ///
    /// let lease = store.grant(Duration::from_secs(10)).await?;
    /// store.put("workers/7", "here").lease(lease.id).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn grant(&self, ttl: Duration) -> Grant {
        Grant::new(&self.gate, ttl)
    }

    /// Ends a lease, and the keys that were put with it: see [`Revoke`].
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store, id: quorate::LeaseId) -> quorate::Result<()> {
    /// store.revoke(id).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn revoke(&self, lease: LeaseId) -> Revoke {
        Revoke::new(&self.gate, lease)
    }

    /// Gives a lease its whole TTL again, once: see [`KeepAlive`].
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store, id: quorate::LeaseId) -> quorate::Result<()> {
    /// let ttl = store.keep_alive(id).await?.ttl;
    /// # Ok(())
    /// # }
    /// ```
    pub fn keep_alive(&self, lease: LeaseId) -> KeepAlive {
        KeepAlive::new(&self.gate, lease)
    }

    /// Says how long a lease has left, and which keys it has: see [`TimeToLive`].
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store, id: quorate::LeaseId) -> quorate::Result<()> {
    /// let left = store.time_to_live(id).await?.remaining;
    /// # Ok(())
    /// # }
    /// ```
    pub fn time_to_live(&self, lease: LeaseId) -> TimeToLive {
        TimeToLive::new(&self.gate, &self.scope, lease)
    }

    /// Lists the leases that this member knows: see [`Leases`].
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let ids = store.leases().await?.leases;
    /// # Ok(())
    /// # }
    /// ```
    pub fn leases(&self) -> Leases {
        Leases::new(&self.gate)
    }

    /// Makes a lease and keeps it alive until it is closed, dropped or lost: see
    /// [`Session`](crate::Session).
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// use std::time::Duration;
    ///
    /// let session = store.session(Duration::from_secs(10)).await?;
    /// store.put("workers/7", "here").lease(session.lease()).await?;
    /// session.lost().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn session(&self, ttl: Duration) -> OpenSession {
        OpenSession::new(&self.gate, ttl)
    }

    /// Items that come out as they went in, each to one consumer: see [`Queue`](crate::Queue).
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let jobs = store.queue("jobs");
    /// jobs.enqueue("sweep the yard").await?;
    /// let job = jobs.dequeue().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn queue(&self, name: impl Into<Bytes>) -> Queue {
        Queue::new(self, &name.into())
    }

    /// Items that come out by their priority: see [`PriorityQueue`](crate::PriorityQueue).
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let jobs = store.priority_queue("jobs");
    /// jobs.enqueue(10, "sweep the yard").await?;
    /// jobs.enqueue(0, "put out the fire").await?;
    /// let fire = jobs.dequeue().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn priority_queue(&self, name: impl Into<Bytes>) -> PriorityQueue {
        PriorityQueue::new(self, &name.into())
    }

    /// A lock, which one may hold at a time: see [`Lock`].
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// use quorate::Op;
    /// use std::time::Duration;
    ///
    /// let session = store.session(Duration::from_secs(10)).await?;
    /// let guard = store.lock("stock").acquire(&session).await?;
    /// guard.txn().then(Op::put("shoes", "41")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn lock(&self, name: impl Into<Bytes>) -> Lock {
        Lock::new(self, name.into())
    }

    /// A lock that many may hold to read, or one to write: see [`RwLock`](crate::RwLock).
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store, session: quorate::Session)
    /// # -> quorate::Result<()> {
    /// let guard = store.rw_lock("stock").read(&session).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn rw_lock(&self, name: impl Into<Bytes>) -> RwLock {
        RwLock::new(self, name.into())
    }

    /// A lock that so many may hold at a time: see [`Semaphore`](crate::Semaphore).
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store, session: quorate::Session)
    /// # -> quorate::Result<()> {
    /// let permit = store.semaphore("uploads", 3).acquire(&session).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn semaphore(&self, name: impl Into<Bytes>, permits: usize) -> Semaphore {
        Semaphore::new(self, name.into(), permits)
    }

    /// Something that others wait for: see [`Barrier`](crate::Barrier).
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// store.barrier("migrated").pass().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn barrier(&self, name: impl Into<Bytes>) -> Barrier {
        Barrier::new(self, name.into())
    }

    /// What so many enter together, and leave together: see
    /// [`DoubleBarrier`](crate::DoubleBarrier).
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store, session: quorate::Session)
    /// # -> quorate::Result<()> {
    /// let entered = store.double_barrier("computation", 3).enter(&session).await?;
    /// entered.leave().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn double_barrier(&self, name: impl Into<Bytes>, count: usize) -> DoubleBarrier {
        DoubleBarrier::new(self, name.into(), count)
    }

    /// An election, in which one leads at a time: see [`Election`].
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// use std::time::Duration;
    ///
    /// let session = store.session(Duration::from_secs(10)).await?;
    /// let leadership = store.election("cron").campaign(&session, "node 3").await?;
    /// println!("leads, with token {}", leadership.token());
    /// # Ok(())
    /// # }
    /// ```
    pub fn election(&self, name: impl Into<Bytes>) -> Election {
        Election::new(self, name.into())
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
        Compact::new(&self.gate, &self.scope, revision)
    }

    /// Watches a key or a range: see [`Watch`].
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// use quorate::KeyRange;
    ///
    /// let mut watcher = store.watch(KeyRange::prefix("config/")).start()?;
    /// while let Some(batch) = watcher.next().await.transpose()? {
    ///     println!("{:?}", batch.events());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn watch(&self, range: impl Into<KeyRange>) -> Watch {
        Watch::new(&self.gate, &self.scope, range.into())
    }

    /// Watches with many watchers and one consumer: see [`WatchSet`].
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let mut set = store.watch_set();
    /// for key in ["a", "b", "c"] {
    ///     set.add(store.watch(key))?;
    /// }
    /// for update in set {
    ///     println!("{:?}", update?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn watch_set(&self) -> WatchSet {
        WatchSet::new(&self.gate)
    }

    /// Reads a range and watches it from there on, without a gap: see [`ListAndWatch`].
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// use quorate::KeyRange;
    ///
    /// let listing = store.list_and_watch(KeyRange::prefix("config/")).await?;
    /// println!("{} keys as of {}", listing.kvs.len(), listing.header.revision);
    /// let mut later = listing.watcher;
    /// # Ok(())
    /// # }
    /// ```
    pub fn list_and_watch(&self, range: impl Into<KeyRange>) -> ListAndWatch {
        ListAndWatch::new(&self.gate, &self.scope, range.into())
    }

    /// Keeps a range at hand, always current: see [`Cache`](crate::Cache).
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// use quorate::KeyRange;
    ///
    /// let config = store.cache(KeyRange::prefix("config/")).await?;
    /// config.on_change(|_, change| println!("{change:?}"))?;
    /// let color = config.get("config/color")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn cache(&self, range: impl Into<KeyRange>) -> CacheBuilder {
        CacheBuilder::new(&self.gate, &self.scope, range.into())
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
        HashRead::new(&self.gate, &self.scope)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let standing = self.gate.standing();
        let mut store = f.debug_struct("Store");
        store.field("cluster", &standing.cluster).field("member", &standing.member);
        if !self.scope.is_whole() {
            store.field("scope", &self.scope);
        }
        store.finish_non_exhaustive()
    }
}
