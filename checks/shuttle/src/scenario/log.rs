//! The log's queue: whoever finds it idle writes what is there, in order, one at a time, and
//! nobody waits for a thread that was not woken.

use std::sync::Arc;

use shuttle::future::block_on;

use super::disk::Disk;
use super::lone::{Lone, write};
use super::{PATIENCE, all_answered, end, start, told};
use crate::gate::Then;
use crate::ids::Index;

/// More than a third of a segment.
const LARGE: usize = 30 << 10;

/// Lent threads and the log thread, a few writes each: all are acknowledged, and the directory
/// that they leave holds all of them.
pub fn what_is_acknowledged_is_there() {
    let lone = Lone::lead();
    let (disk, store, shared) = (lone.disk.clone(), lone.store(), Arc::clone(&lone.shared));
    let node = lone.run();
    let lent = ["a", "b"].map(|key| {
        let store = store.clone();
        start(move || {
            for _ in 0..2 {
                store.put(key, "v").wait().expect("it leads");
            }
        })
    });
    // Nobody is lent for these: the log thread is woken, or whoever has the log does it.
    let posted = start(move || write(&shared, Then::Leave, PATIENCE).expect("it is open"));
    let awaited = start({
        let store = store.clone();
        move || drop(block_on(store.put("c", "v")).expect("it leads"))
    });
    end(posted).recv().expect("it is answered").expect("it leads");
    lent.into_iter().for_each(end);
    end(awaited);
    node.close(PATIENCE).expect("it is well");
    all_answered(0);
    disk.check();
    for (key, count) in [("a", 2), ("b", 2), ("c", 1), ("k", 1)] {
        assert_eq!(versions(&disk, key), count, "{key}");
    }
}

/// How often a key was written, says the directory.
fn versions(disk: &Disk, key: &'static str) -> u64 {
    let again = Lone::lead_again(disk);
    let read = again.store().get(key).serializable().wait().expect("it is open");
    read.kv.map_or(0, |kv| kv.version())
}

/// Segments are given back by the log thread alone, and somebody is in the log when it is told.
pub fn what_may_go_goes() {
    let lone = Lone::lead();
    let (disk, store, shared) = (lone.disk.clone(), lone.store(), Arc::clone(&lone.shared));
    for _ in 0..3 {
        let put = start({
            let store = store.clone();
            move || store.put("large", vec![0; LARGE]).wait()
        });
        end(put).expect("it leads");
    }
    let node = lone.run();
    let lent = start(move || store.put("a", "v").wait());
    let told = start(move || shared.log.release(Index::new(u64::MAX)));
    end(told);
    disk.wait_for_a_spare();
    end(lent).expect("it leads");
    node.close(PATIENCE).expect("it is well");
    all_answered(0);
    disk.check();
}

/// A sync fails while others queue behind it: they are told, and nothing is written any more.
pub fn nothing_is_written_behind_a_failure() {
    let lone = Lone::lead();
    let (disk, store, shared) = (lone.disk.clone(), lone.store(), Arc::clone(&lone.shared));
    let node = lone.run();
    let lent = ["a", "b"].map(|key| {
        let store = store.clone();
        start(move || store.put(key, "v").wait())
    });
    let awaited = start({
        let store = store.clone();
        move || block_on(store.put("c", "v"))
    });
    let fails = start({
        let disk = disk.clone();
        move || disk.fail()
    });
    end(fails);
    let answers = lent.into_iter().chain([awaited]).map(|caller| told(end(caller)));
    for error in answers.filter_map(crate::Result::err) {
        assert!(error.is_halted(), "{error:?}");
    }
    // The disk fails for good: this one meets it, or its end.
    let error = store.put("d", "v").wait().expect_err("the disk fails");
    assert!(error.is_halted(), "{error:?}");
    assert!(shared.halted.get().is_some());
    assert!(node.close(PATIENCE).expect_err("it has halted").is_halted());
    assert!(disk.is_free(), "the directory is still held");
    disk.check();
}
