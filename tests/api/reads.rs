//! Reads that may be a little old, and reads in chunks.

use std::thread;
use std::time::Duration;

use futures_executor::block_on_stream;

use super::cluster::{Cluster, value};

const HOUR: Duration = Duration::from_secs(3600);

/// Enough for a call to be refused, and for nothing else.
const SOON: Duration = Duration::from_millis(300);

#[test]
fn what_one_member_wrote_another_shows_by_its_revision() {
    let cluster = Cluster::open(3);
    for round in 0..30 {
        let (writer, reader) = (cluster.store(round % 3), cluster.store((round + 1) % 3));
        let written = writer.put("k", round.to_string()).wait().unwrap().header.revision;
        let read = reader.get("k").at_least(written).wait().unwrap();
        assert!(read.header.revision >= written);
        assert_eq!(read.kv.unwrap().value(), round.to_string().as_bytes());
    }
}

/// `LIN-4`, `LIN-8`: alone it goes on with what it was told, for as long as the caller allows.
#[test]
fn a_member_that_is_cut_off_knows_how_old_it_is() {
    let cluster = Cluster::open(3);
    let member = cluster.follower();
    let store = cluster.store(member);
    let written = store.put("k", "v").wait().unwrap().header.revision;
    assert!(value(&store, "k").is_some(), "linearizable: so it was current when it asked");

    cluster.network.isolate(cluster.id(member));
    let kv = store.get("k").max_staleness(HOUR).wait_timeout(SOON).unwrap().kv;
    assert_eq!(kv.unwrap().value(), b"v");
    assert_eq!(store.range(..).max_staleness(HOUR).wait_timeout(SOON).unwrap().count, 1);
    assert!(store.get("k").at_least(written).wait_timeout(SOON).unwrap().kv.is_some());
    let chunks = store.stream(..).max_staleness(HOUR).timeout(SOON);
    assert_eq!(chunks.into_iter().map(|chunk| chunk.unwrap().len()).sum::<usize>(), 1);

    let none = Duration::ZERO;
    let error = store.get("k").max_staleness(none).wait_timeout(SOON).unwrap_err();
    assert!(error.is_timeout(), "{error}");
    let error = store.get("k").at_least(written.next()).wait_timeout(SOON).unwrap_err();
    assert!(error.is_timeout(), "{error}");
    let error = store.get("k").wait_timeout(SOON).unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert!(store.get("k").serializable().wait().unwrap().kv.is_some());

    cluster.network.heal_all();
    assert!(store.get("k").max_staleness(none).wait().unwrap().kv.is_some());
}

/// `KV-16`: a member that was just opened knows nothing of how old it is, and asks.
#[test]
fn a_member_that_comes_back_has_to_ask() {
    let mut cluster = Cluster::open(3);
    let member = cluster.follower();
    cluster.store(member).put("k", "v").wait().unwrap();
    assert!(value(&cluster.store(member), "k").is_some());
    cluster.close(member);
    let others = cluster.leader();
    cluster.store(others).put("k", "newer").wait().unwrap();
    cluster.network.isolate(cluster.id(member));
    cluster.reopen(member);
    let error = cluster.store(member).get("k").max_staleness(HOUR).wait_timeout(SOON);
    assert!(error.unwrap_err().is_timeout());
    cluster.network.heal_all();
    let read = cluster.store(member).get("k").max_staleness(HOUR).wait().unwrap();
    assert_eq!(read.kv.unwrap().value(), b"newer");
}

/// `KV-19`, `KV-18`
#[test]
fn chunks_together_are_one_snapshot() {
    let cluster = Cluster::open(3);
    let keys = 500;
    let puts = (0..keys).map(|key| cluster.store(0).put(format!("k/{key:04}"), "v"));
    puts.for_each(|put| drop(put.wait().unwrap()));
    thread::scope(|scope| {
        scope.spawn(|| {
            for key in 0..keys {
                cluster.store(1).put(format!("k/{key:04}+"), "w").wait().unwrap();
                cluster.store(1).delete(format!("k/{key:04}")).wait().unwrap();
            }
        });
        for member in [0, 1, 2, 0] {
            let store = cluster.store(member);
            let mut stream = block_on_stream(store.stream("k/".."k0").chunk_keys(64));
            let chunks: Vec<_> = stream.by_ref().map(Result::unwrap).collect();
            let revision = stream.into_inner().revision().unwrap();
            let whole = store.range("k/".."k0").at(revision).wait().unwrap();
            assert!(chunks.len() > 1);
            assert_eq!(chunks.concat(), whole.kvs);
        }
    });
}
