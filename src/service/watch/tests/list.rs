//! What holds now, and every change from there on.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll};

use super::*;
use crate::gate::Gate;
use crate::service::fake::Answer;
use crate::{Listing, Result};

fn keys(listing: &Listing) -> Vec<String> {
    listing.kvs.iter().map(|kv| format!("{kv:?}")).collect()
}

#[test]
fn wat_12_what_is_listed_and_what_comes_is_everything_once() {
    let (_, store) = filled();
    let mut listing = store.list_and_watch(..).prev_values().wait().unwrap();
    assert_eq!(listing.header.revision, rev(3));
    assert_eq!(keys(&listing), ["(2,0) a=1 create 2 version 1", "(3,0) b=2 create 3 version 1"]);
    assert_eq!(drain(&mut listing.watcher), [""; 0], "nothing is in both");
    put(&store, "a", "x");
    let next = "4: (4,0) a=x create 2 version 2 was (2,0) a=1 create 2 version 1";
    assert_eq!(drain(&mut listing.watcher), [next]);
}

/// What happens while the leader is asked is listed, and the compaction that comes then waits.
#[test]
fn wat_12_what_happens_meanwhile_is_in_one_of_the_two() {
    let (node, store) = filled();
    node.set_manner(Manner::Keep);
    let mut call = pin!(store.list_and_watch("a"));
    let context = &mut Context::from_waker(std::task::Waker::noop());
    assert!(call.as_mut().poll(context).is_pending());
    let kept = node.take_kept();
    node.set_manner(Manner::AnswerWhenLent);
    for value in ["x", "y"] {
        put(&store, "a", value);
    }
    store.compact(rev(5)).wait().unwrap();
    assert_eq!(node.watches().oldest(rev(0)), Some(rev(4)));
    node.tidy(0);
    node.keep(kept);
    node.answer();
    let Poll::Ready(Ok(mut listing)) = call.as_mut().poll(context) else { panic!("no listing") };
    assert_eq!((listing.header.revision, listing.watcher.created()), (rev(5), rev(3)));
    assert_eq!(keys(&listing), ["(5,0) a=y create 2 version 3"]);
    assert_eq!(listing.watcher.next_revision(), rev(6));
    put(&store, "a", "z");
    assert_eq!(drain(&mut listing.watcher), ["6: (6,0) a=z create 2 version 4"]);
}

#[test]
fn wat_11_wat_35_one_call_resumes_behind_a_compaction() {
    let (node, store) = filled();
    let scoped = store.scoped("t/");
    put(&scoped, "gone", "1");
    let watch = scoped.watch(..).no_deletes().prev_values().from_revision(rev(4));
    let every = Duration::from_secs(10);
    let mut watcher = watch.progress_every(every).start().unwrap();
    scoped.delete("gone").wait().unwrap();
    put(&scoped, "new", "1");
    store.compact(rev(6)).wait().unwrap();
    node.tidy(0);
    let Err(WatchEnd::Compacted(compacted)) = watcher.try_next() else { panic!("it goes on") };
    let mut listing = compacted.relist().wait().unwrap();
    assert_eq!(keys(&listing), ["(6,0) new=1 create 6 version 1"]);
    put(&scoped, "new", "2");
    put(&store, "new", "outside");
    scoped.delete("new").wait().unwrap();
    let line = "7: (7,0) new=2 create 6 version 2 was (6,0) new=1 create 6 version 1";
    let mut lines = drain(&mut listing.watcher);
    lines.iter_mut().for_each(|line| *line = line.replacen("9: ", "7: ", 1));
    assert_eq!(lines, [line], "with the options that it had");
    node.advance(Instant::default().after(every));
    assert_eq!(drain(&mut listing.watcher), [""; 0], "there were events");
    node.advance(Instant::default().after(2 * every));
    assert_eq!(drain(&mut listing.watcher).len(), 1, "on its schedule");
}

#[test]
fn lin_1_how_recent_it_is_can_be_asked() {
    let (node, store) = filled();
    let listed = |list: crate::ListAndWatch| -> Result<(u64, usize)> {
        let revision = list.wait()?.header.revision.get();
        Ok((revision, node.take_log().iter().filter(|line| line.starts_with("read")).count()))
    };
    assert_eq!(listed(store.list_and_watch("a")).unwrap(), (3, 1), "the leader is asked");
    assert_eq!(listed(store.list_and_watch("a").serializable()).unwrap(), (3, 0));
    assert_eq!(listed(store.list_and_watch("a").at_least(rev(3))).unwrap(), (3, 0));
    let error = listed(store.list_and_watch("a").at_least(rev(4))).unwrap_err();
    assert!(error.is_future_revision(), "{error}");
    node.set_age(Duration::from_secs(1));
    let second = Duration::from_secs(1);
    assert_eq!(listed(store.list_and_watch("a").max_staleness(second)).unwrap(), (3, 1));
    node.take_log();
    assert!(store.list_and_watch("").wait().unwrap_err().is_invalid(), "SEL-4");
    assert!(store.list_and_watch("b".."a").wait().unwrap_err().is_invalid(), "WAT-5");
    assert_eq!(node.take_log(), [""; 0]);
    node.set_answer(Answer::Fail(crate::error::Kind::Timeout));
    let timeout = store.list_and_watch("a").wait_timeout(second).unwrap_err();
    assert!(timeout.is_timeout());
    assert!(node.take_log().iter().any(|line| line.starts_with("read, 1s")));
    assert_eq!(node.watches().oldest(rev(0)), None, "who got no listing has no watcher");
}
