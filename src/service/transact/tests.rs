use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;

use super::*;
use crate::service::fake::{Manner, fake, filled};
use crate::store::Store;

fn value(store: &Store, key: &'static str) -> Option<Vec<u8>> {
    store.get(key).wait().unwrap().kv.map(|kv| kv.value().to_vec())
}

/// Runs `body`; in its first attempt somebody does `meanwhile` after it has read and written.
/// Returns how often it ran.
fn attempts(
    store: &Store,
    isolation: Isolation,
    meanwhile: impl Fn(),
    body: impl Fn(&mut Transaction<'_>) -> Result<()>,
) -> u32 {
    let first = Cell::new(true);
    let call = store.transact(|tx| {
        body(tx)?;
        if first.replace(false) {
            meanwhile();
        }
        Ok(())
    });
    call.isolation(isolation).wait().unwrap().attempts
}

#[test]
fn rec_27_reads_and_writes_are_one_transaction() {
    let (node, store) = filled();
    let done = store
        .transact(|tx| {
            let a = tx.get("a")?.unwrap_or_default();
            tx.put("c", a)?;
            tx.delete("b")?;
            Ok(tx.revision())
        })
        .wait()
        .unwrap();
    assert_eq!((done.value.get(), done.header.revision.get(), done.attempts), (3, 4, 1));
    assert_eq!(node.take_log()[0], "write, 5s, Lend");
    assert_eq!((value(&store, "c"), value(&store, "b")), (Some(b"1".to_vec()), None));
}

#[test]
fn rec_28_a_body_sees_its_own_writes() {
    let (_, store) = filled();
    let call = store.transact(|tx| {
        tx.put("a", "9")?;
        tx.delete("b")?;
        tx.put("c", "3")?;
        assert_eq!(tx.get("a")?.as_deref(), Some(&b"9"[..]));
        assert_eq!(tx.get("b")?, None);
        assert_eq!(tx.get("z")?, None);
        assert_eq!((tx.mod_revision("a")?.get(), tx.mod_revision("z")?.get()), (2, 0));
        let all = tx.range(..)?;
        let all: Vec<(&[u8], &[u8])> =
            all.iter().map(|(key, value)| (&key[..], &value[..])).collect();
        assert_eq!(all, [(&b"a"[..], &b"9"[..]), (b"c", b"3")]);
        Ok(())
    });
    call.wait().unwrap();
}

#[test]
fn rec_29_a_change_of_what_was_read_or_is_written_is_a_conflict() {
    let (_, store) = filled();
    let level = Isolation::SerializableSnapshot;
    let read = |tx: &mut Transaction<'_>| tx.get("a").and_then(|_| tx.put("x", "1"));
    let put = |key: &'static str| {
        let store = store.clone();
        move || drop(store.put(key, "new").wait().unwrap())
    };
    assert_eq!(attempts(&store, level, || (), read), 1);
    assert_eq!(attempts(&store, level, put("b"), read), 1, "somewhere else");
    assert_eq!(attempts(&store, level, put("a"), read), 2, "read");
    assert_eq!(attempts(&store, level, put("x"), read), 2, "written");
    let delete = || drop(store.delete("a").wait().unwrap());
    assert_eq!(attempts(&store, level, delete, read), 2, "REC-34");
    let delete = || drop(store.delete("x").wait().unwrap());
    assert_eq!(attempts(&store, level, delete, read), 2, "written, and deleted by somebody");
    assert_eq!(attempts(&store, level, put("a"), read), 2, "it was missing, and came");
}

/// `REC-32` too.
#[test]
fn rec_30_weaker_levels_look_at_less() {
    let (_, store) = filled();
    let read = |tx: &mut Transaction<'_>| tx.get("a").and_then(|_| tx.put("x", "1"));
    let put = |key: &'static str| {
        let store = store.clone();
        move || drop(store.put(key, "new").wait().unwrap())
    };
    assert_eq!(attempts(&store, Isolation::Serializable, put("x"), read), 1);
    assert_eq!(attempts(&store, Isolation::Serializable, put("a"), read), 2);
    assert_eq!(attempts(&store, Isolation::ReadCommitted, put("a"), read), 1);
    assert_eq!(attempts(&store, Isolation::ReadCommitted, put("x"), read), 1);
}

#[test]
fn a_range_that_was_read_is_read_as_a_whole() {
    let (_, store) = filled();
    let level = Isolation::default();
    let read = |tx: &mut Transaction<'_>| tx.range("a".."m").and_then(|_| tx.put("x", "1"));
    let put = |key: &'static str| {
        let store = store.clone();
        move || drop(store.put(key, "new").wait().unwrap())
    };
    assert_eq!(attempts(&store, level, put("c"), read), 2, "one came");
    assert_eq!(attempts(&store, level, put("b"), read), 2, "one changed");
    let delete = || drop(store.delete("b").wait().unwrap());
    assert_eq!(attempts(&store, level, delete, read), 2, "one went");
    assert_eq!(attempts(&store, level, put("m"), read), 1, "behind the end");
}

#[test]
fn what_only_reads_and_what_fails_is_checked_too() {
    let (node, store) = filled();
    let first = Cell::new(true);
    let read = store.transact(|tx| {
        let (a, b) = (tx.get("a")?, tx.get("b")?);
        if first.replace(false) {
            store.put("a", "9").wait()?;
        }
        Ok((a, b))
    });
    let done = read.wait().unwrap();
    assert_eq!(done.attempts, 2);
    assert_eq!(done.value.0.as_deref(), Some(&b"9"[..]));
    assert_eq!(node.take_log().last().unwrap(), "lent, done: false");
    // REC-33: an error that was owed to a stale state is not given out.
    let first = Cell::new(true);
    let failing = store.transact(|tx| {
        tx.put("x", "1")?;
        let a = tx.get("a")?;
        if first.replace(false) {
            store.put("a", "10").wait()?;
        }
        if a.as_deref() == Some(b"9") { Err(Error::invalid("it is 9")) } else { Ok(()) }
    });
    failing.wait().unwrap();
    let failing = store.transact(|tx| {
        tx.put("y", "1")?;
        Err::<(), _>(Error::invalid("never"))
    });
    assert_eq!(failing.wait().unwrap_err().to_string(), "never");
    assert_eq!(value(&store, "y"), None, "REC-33");
}

#[test]
fn a_rollback_writes_nothing_and_returns() {
    let (node, store) = filled();
    let done = store.transact(|tx| {
        tx.put("c", "3")?;
        tx.rollback();
        Ok("no")
    });
    assert_eq!(done.wait().unwrap().value, "no");
    assert_eq!(node.take_log()[0], "read, 5s, Lend");
    assert_eq!(value(&store, "c"), None);
}

#[test]
fn attempts_are_bounded() {
    let (_, store) = filled();
    let ran = Cell::new(0);
    let always = store.transact(|tx| {
        ran.set(ran.get() + 1);
        tx.get("a")?;
        store.put("a", "again").wait()?;
        tx.put("x", "1")
    });
    let error = always.max_attempts(3).wait().unwrap_err();
    assert!(error.is_conflict() && !error.is_unknown() && error.to_string().contains('3'));
    assert_eq!((ran.get(), value(&store, "x")), (3, None));
}

#[test]
fn a_compaction_in_between_is_another_attempt() {
    let (_, store) = filled();
    let first = Cell::new(true);
    let read = store.transact(|tx| {
        if first.replace(false) {
            let now = store.put("a", "9").wait()?.header.revision;
            store.compact(now).wait()?;
        }
        tx.get("a")
    });
    let done = read.wait().unwrap();
    assert_eq!((done.attempts, done.value.as_deref()), (2, Some(&b"9"[..])));
}

#[test]
fn hlp_1_a_scoped_one_reaches_its_own_keys_only() {
    let (_, store) = filled();
    let scoped = store.scoped("s/");
    let done = scoped.transact(|tx| {
        assert_eq!(tx.get("a")?, None);
        assert!(tx.get("").unwrap_err().is_invalid(), "SEL-4");
        tx.put("a", "mine")?;
        tx.range(..)
    });
    assert_eq!(done.wait().unwrap().value, [(Bytes::from("a"), Bytes::from("mine"))]);
    assert_eq!(value(&store, "s/a").as_deref(), Some(&b"mine"[..]));
}

#[test]
fn it_can_be_awaited() {
    let (_, store) = fake(Manner::AnswerAtOnce);
    let first = Cell::new(true);
    let done = futures_executor::block_on(store.transact(|tx| {
        tx.get("a")?;
        if first.replace(false) {
            store.put("a", "1").wait()?;
        }
        tx.put("b", "2")
    }));
    assert_eq!(done.unwrap().attempts, 2);
}

/// Runs a body that counts, on a node that keeps what it is asked.
fn counting(
    store: &Store,
    ran: &Cell<u32>,
) -> Transact<impl FnMut(&mut Transaction<'_>) -> Result<()>, ()> {
    store.transact(move |tx| {
        ran.set(ran.get() + 1);
        tx.put("n", ran.get().to_string())
    })
}

#[test]
fn one_that_was_polled_and_is_then_waited_for_commits_once() {
    let (node, store) = fake(Manner::Keep);
    let ran = Cell::new(0);
    let mut call = counting(&store, &ran);
    let mut context = Context::from_waker(std::task::Waker::noop());
    assert!(Pin::new(&mut call).poll(&mut context).is_pending());
    node.answer();
    assert_eq!(call.wait().unwrap().attempts, 1);
    assert_eq!(
        (ran.get(), store.get("n").serializable().wait().unwrap().header.revision.get()),
        (1, 2)
    );
}

#[test]
fn one_that_has_ended_never_begins_again() {
    let (_, store) = fake(Manner::AnswerAtOnce);
    let ran = Cell::new(0);
    let mut call = counting(&store, &ran);
    let mut context = Context::from_waker(std::task::Waker::noop());
    let mut poll = || Pin::new(&mut call).poll(&mut context);
    while poll().is_pending() {}
    for _ in 0..3 {
        let Poll::Ready(Err(error)) = poll() else { panic!("it went on") };
        assert!(error.is_invalid() && error.is_unknown());
    }
    assert_eq!(ran.get(), 1);
}

#[test]
fn one_that_is_dropped_on_its_way_runs_no_more() {
    let (node, store) = fake(Manner::Keep);
    let ran = Cell::new(0);
    let mut call = counting(&store, &ran);
    let mut context = Context::from_waker(std::task::Waker::noop());
    assert!(Pin::new(&mut call).poll(&mut context).is_pending());
    drop(call);
    node.answer();
    assert_eq!(ran.get(), 1);
}
