//! Close against everything: everybody is told, the threads are gone, the directory is free.

use std::sync::Arc;
use std::time::Duration;

use shuttle::future::block_on;

use super::lone::{Lone, write};
use super::{PATIENCE, end, start, told, while_time_passes};
use crate::gate::Then;
use crate::{NodeId, Result, WriteOutcome};

/// Sooner than anything else that waits for time.
const DEADLINE: Duration = Duration::from_millis(10);

/// Whether a call was done, of one that either was or was told that the node closes.
fn done<T>(answer: Result<T>) -> bool {
    told(answer).map_err(|error| assert!(error.is_closed(), "{error:?}")).is_ok()
}

/// Callers of every kind and a transport's thread, while it closes.
pub fn everybody_is_told() {
    let lone = Lone::lead();
    let (disk, store) = (lone.disk.clone(), lone.store());
    let node = lone.run();
    let inbox = node.inbox();
    let lent = start({
        let store = store.clone();
        move || done(store.put("a", "v").wait())
    });
    let awaited = start({
        let store = store.clone();
        move || done(block_on(store.put("b", "v")))
    });
    let reads = start({
        let store = store.clone();
        move || done(block_on(store.get("a")))
    });
    let delivers = start(move || {
        let error = inbox.deliver(NodeId::new(7), b"x".to_vec()).expect_err("it is nonsense");
        assert!(error.is_closed() || error.is_corrupt() || error.is_invalid(), "{error:?}");
        inbox.report_unreachable(NodeId::new(7));
    });
    node.close(PATIENCE).expect("nothing is wrong with it");
    assert!(disk.is_free(), "the directory is still held");
    let acknowledged = [("a", end(lent)), ("b", end(awaited))];
    end(reads);
    end(delivers);
    let error = store.put("c", "v").wait().expect_err("it is closed");
    assert!(error.is_closed() && error.outcome() == WriteOutcome::NotApplied, "{error:?}");
    disk.check();
    let again = Lone::lead_again(&disk);
    for (key, acknowledged) in acknowledged {
        let read = again.store().get(key).serializable().wait().expect("it is open");
        assert!(read.kv.is_some() || !acknowledged, "{key} was acknowledged and is not there");
    }
}

/// The disk holds a write beyond the deadline. When it lets go, the directory is given up, though
/// handles of the node are kept.
pub fn a_held_write_gives_it_up_later() {
    let lone = Lone::lead();
    let (disk, store) = (lone.disk.clone(), lone.store());
    let node = lone.run();
    disk.hold_writes();
    let callers = [true, false].map(|lent| {
        let store = store.clone();
        start(move || {
            let put = store.put("a", "v");
            done(if lent { put.wait() } else { block_on(put) })
        })
    });
    disk.wait_for_one_held();
    let error = while_time_passes(move || node.close(DEADLINE)).expect_err("the disk holds on");
    assert!(error.is_timeout(), "{error:?}");
    assert!(!disk.is_free(), "somebody is in the disk");
    disk.let_go();
    for caller in callers {
        end(caller);
    }
    disk.wait_until_free();
    disk.check();
    drop(store);
}

/// As above, and what the disk holds is the next segment's making.
pub fn held_housekeeping_gives_it_up_later() {
    let lone = Lone::lead();
    let (disk, store) = (lone.disk.clone(), lone.store());
    let node = lone.run();
    disk.hold_housekeeping();
    // Fills the segment. Nobody is lent, so that it is the log thread's.
    block_on(store.put("a", vec![0; 70 << 10])).expect("it leads");
    disk.wait_for_one_held();
    let error = while_time_passes(move || node.close(DEADLINE)).expect_err("the disk holds on");
    assert!(error.is_timeout(), "{error:?}");
    disk.let_go();
    disk.wait_until_free();
    disk.check();
    drop(store);
}

/// The deadline comes while somebody is in the log, who lets go of it just then: one of the two
/// closes it.
pub fn who_is_last_closes_the_log() {
    let lone = Lone::lead();
    let shared = &lone.shared;
    let first = write(shared, Then::Leave, PATIENCE).expect("it is open");
    let writes = start({
        let shared = Arc::clone(shared);
        move || shared.log.work(&shared)
    });
    let closes = start({
        let shared = Arc::clone(shared);
        move || shared.log.close(Duration::ZERO)
    });
    end(writes).expect("the disk is well");
    if let Err(error) = end(closes) {
        assert!(error.is_timeout(), "{error:?}");
    }
    let second = write(shared, Then::Leave, PATIENCE).expect("it is open");
    assert!(!shared.log.work(shared).expect("the disk is well"), "the log is still open");
    drop((first, second));
}

/// It closes and halts at once: it is closed all the same, and everybody is told one of the two.
pub fn it_halts_meanwhile() {
    let lone = Lone::lead();
    let (disk, store) = (lone.disk.clone(), lone.store());
    let node = lone.run();
    let callers = [true, false].map(|lent| {
        let store = store.clone();
        start(move || {
            let put = store.put("a", "v");
            if let Err(error) = told(if lent { put.wait() } else { block_on(put) }) {
                assert!(error.is_closed() || error.is_halted(), "{error:?}");
            }
        })
    });
    let fails = start({
        let disk = disk.clone();
        move || disk.fail()
    });
    if let Err(error) = node.close(PATIENCE) {
        assert!(error.is_halted(), "{error:?}");
    }
    assert!(disk.is_free(), "the directory is still held");
    callers.into_iter().for_each(end);
    end(fails);
    disk.check();
}
