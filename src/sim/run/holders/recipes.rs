//! What is held in turn, when nothing is wrong: what one lets go of is gone, though its session is
//! there.

use bytes::Bytes;

use crate::error;
use crate::service::{QueueItem, Session};
use crate::sim::check::queue::Item;
use crate::sim::cluster::Cluster;
use crate::sim::failure::Failure;
use crate::sim::held::Holdings;
use crate::sim::run::{Setting, soon_none};
use crate::sim::workload::{is_ranked, queue_names};
use crate::store::Store;

/// Somebody with a session, at some member.
pub(super) type Party = (Store, Session);

/// Each thing is held and let go of in turn by two, one of whom gives up waiting.
pub(super) fn tidy(
    cluster: &Cluster,
    setting: &Setting,
    notes: &Holdings,
    (one, other): (&Party, &Party),
) -> Result<(), Failure> {
    let brief = setting.election * 2;
    let (store, session) = one;
    let lock = cluster.block_on(store.lock("k/lines/0").acquire(session))?;
    let wait = other.0.lock("k/lines/0").acquire_timeout(&other.1, brief);
    gives_up(cluster, "k/lines/0", &lock, cluster.block_on(wait)?);
    let write = cluster.block_on(store.rw_lock("k/stocks/0").write(session))?;
    let wait = other.0.rw_lock("k/stocks/0").read(&other.1).timeout(brief);
    gives_up(cluster, "k/stocks/0", &write, cluster.block_on(wait)?);
    let permit = cluster.block_on(store.semaphore("k/permits/0", 1).acquire(session))?;
    let wait = other.0.semaphore("k/permits/0", 1).acquire(&other.1).timeout(brief);
    gives_up(cluster, "k/permits/0", &permit, cluster.block_on(wait)?);
    // Some are dropped, and some are given back.
    drop((lock, permit));
    if let Ok(write) = write {
        match cluster.block_on(write.release())? {
            Ok(true) => {}
            released => cluster.fail(format!("REC-12: nothing is wrong, and: {released:?}")),
        }
    }
    let left = soon_none(cluster, setting, || notes.standing())?;
    if let Some(key) = left {
        cluster.fail(format!("REC-10, REC-12: {key} is there, and nobody holds it or waits"));
    }
    cluster.failure().map_or(Ok(()), Err)
}

/// All that is in queues is somebody's, in the end.
pub(super) fn drain(cluster: &Cluster, notes: &Holdings, store: &Store) -> Result<(), Failure> {
    for queue in queue_names() {
        loop {
            let since = notes.newest();
            let item = match try_dequeue(cluster, store, &queue)? {
                Ok(None) => break,
                Ok(Some(item)) => item,
                Err(error) => {
                    cluster.fail(format!("REC-40: nothing is wrong, and: {error}"));
                    break;
                }
            };
            let QueueItem { revision, priority, value, .. } = item;
            let item = Item { queue: queue.clone(), revision, priority, value };
            notes.taken(cluster, &item, since);
        }
    }
    cluster.failure().map_or(Ok(()), Err)
}

fn try_dequeue(
    cluster: &Cluster,
    store: &Store,
    queue: &Bytes,
) -> Result<error::Result<Option<QueueItem>>, Failure> {
    if is_ranked(queue) {
        return cluster.block_on(store.priority_queue(queue.clone()).try_dequeue());
    }
    cluster.block_on(store.queue(queue.clone()).try_dequeue())
}

/// One holds it, and the other has waited for a while.
fn gives_up<T: std::fmt::Debug, U: std::fmt::Debug>(
    cluster: &Cluster,
    name: &str,
    holds: &error::Result<T>,
    waits: error::Result<U>,
) {
    match (holds, waits) {
        (Ok(_), Err(error)) if error.is_timeout() => {}
        (held, waited) => cluster.fail(format!(
            "REC-7: nothing is wrong, and of two who ask for {name} one is told {held:?}, and one \
             {waited:?}"
        )),
    }
}
