//! One call, any executor: threads, a bare `block_on`, tokio.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::thread;

use super::cluster::Cluster;

const CALLS: usize = 200;

fn key(call: usize) -> String {
    format!("k/{call:03}")
}

/// Every key is there, once, on every member.
fn check(cluster: &Cluster) {
    for member in cluster.members() {
        let read = cluster.store(member).range(..).wait().unwrap();
        assert_eq!(read.kvs.len(), CALLS);
        for (call, kv) in read.kvs.iter().enumerate() {
            assert_eq!((kv.key(), kv.version()), (key(call).as_bytes(), 1));
        }
    }
}

/// All of them at once, on one thread.
async fn join<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    poll_fn(|context| {
        let mut pending = false;
        for (future, output) in running.iter_mut().filter(|(_, output)| output.is_none()) {
            match Pin::as_mut(future).poll(context) {
                Poll::Ready(ready) => *output = Some(ready),
                Poll::Pending => pending = true,
            }
        }
        if pending { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    running.into_iter().filter_map(|(_, output)| output).collect()
}

#[test]
fn plain_threads() {
    let cluster = Cluster::open(3);
    thread::scope(|scope| {
        for first in 0..8 {
            let store = cluster.store(first % 3);
            scope.spawn(move || {
                for call in (first..CALLS).step_by(8) {
                    store.put(key(call), "v").wait().unwrap();
                }
            });
        }
    });
    check(&cluster);
}

#[test]
fn a_bare_block_on() {
    let cluster = Cluster::open(3);
    let calls = (0..CALLS).map(|call| cluster.store(call % 3).put(key(call), "v"));
    for answer in futures_executor::block_on(join(calls)) {
        answer.unwrap();
    }
    let reads = (0..CALLS).map(|call| cluster.store(call % 3).get(key(call)));
    for answer in futures_executor::block_on(join(reads)) {
        assert_eq!(answer.unwrap().kv.unwrap().value(), b"v");
    }
    check(&cluster);
}

#[test]
fn tokio_on_two_threads() {
    let cluster = Cluster::open(3);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let mut tasks = Vec::new();
        for call in 0..CALLS {
            let store = cluster.store(call % 3);
            tasks.push(tokio::spawn(async move {
                store.put(key(call), "v").await?;
                store.get(key(call)).await
            }));
        }
        for task in tasks {
            assert!(task.await.unwrap().unwrap().kv.is_some());
        }
    });
    check(&cluster);
}
