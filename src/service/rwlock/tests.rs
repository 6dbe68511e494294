use futures_executor::block_on;
use proptest::prelude::*;

use super::{AcquireRead, AcquireWrite, ReadGuard, WriteGuard};
use crate::Op;
use crate::keys::KeyRange;
use crate::service::fake::Fake;
use crate::service::fake::by_hand::{node, open, told};

#[test]
fn rec_36_readers_share_and_writers_do_not() {
    let (node, store) = node();
    let (lock, session) = (store.rw_lock("l"), open(&store));
    let first = block_on(lock.read(&session)).unwrap();
    let second = block_on(lock.read(&session)).unwrap();
    let mut writing = lock.write(&session);
    assert!(told(&node, &mut writing).is_none());
    // No writer starves: who reads from here on stands behind him.
    let mut third = lock.read(&session);
    assert!(told(&node, &mut third).is_none());
    assert!(block_on(lock.try_read(&session)).unwrap().is_none());
    drop(second);
    assert!(told(&node, &mut writing).is_none());
    assert!(block_on(first.release()).unwrap());
    let writer = told(&node, &mut writing).unwrap().unwrap();
    assert!(told(&node, &mut third).is_none());
    block_on(writer.txn().then(Op::put("k", "v"))).unwrap();
    drop(writer);
    let third = told(&node, &mut third).unwrap().unwrap();
    assert!(block_on(lock.try_write(&session)).unwrap().is_none());
    assert!(block_on(lock.try_read(&session)).unwrap().is_some());
    drop(third);
    assert!(block_on(lock.try_write(&session)).unwrap().is_some());
}

#[test]
fn rec_36_the_two_kinds_have_directories_of_their_own() {
    let (_, store) = node();
    let (lock, session) = (store.scoped("s/").rw_lock("l"), open(&store));
    let reader = block_on(lock.read(&session)).unwrap();
    assert!(reader.key().starts_with(b"l/read/") && !reader.is_lost());
    assert!(block_on(lock.try_write(&session)).unwrap().is_none());
    assert_eq!(block_on(store.range(KeyRange::prefix("s/l/read/"))).unwrap().count, 1, "HLP-1");
    drop(reader);
    let writer = block_on(lock.write(&session)).unwrap();
    assert!(writer.key().starts_with(b"l/write/") && format!("{writer:?}").contains("l/write/"));
    block_on(session.close()).unwrap();
    assert!(writer.is_lost());
    let lost = block_on(writer.txn().then(Op::put("k", "v"))).unwrap_err();
    assert!(lost.is_lost() && !lost.is_unknown(), "{lost}");
    let over = open(&store);
    assert!(block_on(store.rw_lock("").read(&over)).unwrap_err().is_invalid());
}

/// Whoever stands in the line.
enum One {
    Reads(AcquireRead),
    Writes(AcquireWrite),
    HoldsToRead(#[expect(dead_code, reason = "it is held")] ReadGuard),
    HoldsToWrite(#[expect(dead_code, reason = "it is held")] WriteGuard),
}

impl One {
    fn is_writer(&self) -> bool {
        matches!(self, Self::Writes(_) | Self::HoldsToWrite(_))
    }

    fn holds(&self) -> bool {
        matches!(self, Self::HoldsToRead(_) | Self::HoldsToWrite(_))
    }

    fn poll(&mut self, node: &Fake) {
        match self {
            Self::Reads(call) => {
                if let Some(guard) = told(node, call) {
                    *self = Self::HoldsToRead(guard.unwrap());
                }
            }
            Self::Writes(call) => {
                if let Some(guard) = told(node, call) {
                    *self = Self::HoldsToWrite(guard.unwrap());
                }
            }
            Self::HoldsToRead(_) | Self::HoldsToWrite(_) => {}
        }
    }
}

proptest! {
    /// As a list has it: a reader holds if no writer is before him, a writer if nobody is.
    #[test]
    fn rec_36_who_holds_is_as_in_a_list(
        steps in prop::collection::vec(prop_oneof![
            Just(None), (0..6_usize).prop_map(Some), (0..6_usize).prop_map(Some)
        ], 0..40),
        kinds in prop::collection::vec(any::<bool>(), 40),
    ) {
        let (node, store) = node();
        let (lock, session) = (store.rw_lock("l"), open(&store));
        let mut line: Vec<One> = Vec::new();
        for (step, writes) in steps.into_iter().zip(kinds) {
            match step {
                Some(at) if at < line.len() => drop(line.remove(at)),
                _ if writes => line.push(One::Writes(lock.write(&session))),
                _ => line.push(One::Reads(lock.read(&session))),
            }
            // The newest first enters; who is before it may be woken in any order.
            line.iter_mut().rev().for_each(|one| one.poll(&node));
            for (at, one) in line.iter().enumerate() {
                let before = &line[..at];
                let free = if one.is_writer() {
                    before.is_empty()
                } else {
                    !before.iter().any(One::is_writer)
                };
                prop_assert_eq!(one.holds(), free);
            }
        }
    }
}
