//! Whoever posts gets the driver, or whoever lets go of it sees the post.

use std::sync::Arc;

use super::super::shared::Shared;
use super::lone::{Lone, ask, write};
use super::{PATIENCE, all_answered, end, start};
use crate::core::replica::io::Output;
use crate::gate::{Gate, Then};
use crate::sync::oneshot::Receiver;
use crate::{Error, NodeId, Result};

/// Nobody is there but those who post: when they have gone, nothing may be left.
pub fn no_post_is_left() {
    let lone = Lone::lead();
    let shared = &lone.shared;
    let posts = [Then::Leave, Then::Gather, Then::Lend].map(|then| {
        let shared = Arc::clone(shared);
        start(move || {
            let answer = ask(&shared, then).expect("it is open");
            match then {
                Then::Leave => {}
                Then::Gather => Gate::drive(&*shared),
                Then::Lend => shared.lend(&mut || answer.has_message()),
            }
            answer
        })
    });
    let others = [
        start({
            let shared = Arc::clone(shared);
            move || shared.unreachable(NodeId::new(7))
        }),
        start({
            let shared = Arc::clone(shared);
            // Holds the driver for something else.
            move || shared.look(|replica| assert!(replica.leads_alone()))
        }),
    ];
    let answers = posts.map(end);
    others.into_iter().for_each(end);
    assert!(!shared.mailbox.is_filled(), "a post was left");
    for answer in answers {
        assert!(answer.has_message(), "a post was not decided");
        answer.recv().expect("as it said").expect("it leads");
    }
    all_answered(0);
}

/// As above with writes, and what they leave for the log is all there.
pub fn no_write_is_left() {
    let lone = Lone::lead();
    let writes = [0; 3].map(|_| {
        let shared = Arc::clone(&lone.shared);
        start(move || write(&shared, Then::Leave, PATIENCE).expect("it is open"))
    });
    let answers = writes.map(end);
    assert!(!lone.shared.mailbox.is_filled(), "a post was left");
    lone.settle();
    for answer in answers {
        assert!(answer.has_message(), "a write was not decided");
        answer.recv().expect("as it said").expect("it leads");
    }
    all_answered(0);
    // None of them occupies room for ever.
    lone.disk.check();
}

/// Somebody ends the node while others post and drive. Whoever was taken in is answered, by
/// whoever has the driver last; there is nobody else to do it later.
pub fn who_ends_it_or_who_drives_tells_all() {
    let lone = Lone::lead();
    let shared = &lone.shared;
    let posts = [Then::Leave, Then::Gather, Then::Leave].map(|then| {
        let shared = Arc::clone(shared);
        start(move || ask(&shared, then))
    });
    let ends = start({
        let shared = Arc::clone(shared);
        move || shared.halt(Error::corrupt("of the scenario's"))
    });
    let answers = posts.map(end);
    end(ends);
    all_told(answers.into_iter().collect());
}

/// A turn fails, and who drove it tells all, those too who posted meanwhile.
pub fn a_turn_that_fails_tells_all() {
    let lone = Lone::lead_with(|config| config.snapshot_count(4));
    let shared = &lone.shared;
    // No snapshot thread is there to take jobs: with the queue full, the next one ends the node.
    while shared.jobs.hand_over(Output::Unstage { hash: 0 }).is_ok() {}
    let written = [0; 4].map(|_| write(shared, Then::Leave, PATIENCE).expect("it is open"));
    assert!(shared.log.work(shared).expect("the disk is well"));
    let drives = start({
        let shared = Arc::clone(shared);
        move || Shared::drive(&shared)
    });
    let posts = [0; 2].map(|_| {
        let shared = Arc::clone(shared);
        start(move || ask(&shared, Then::Leave))
    });
    end(drives);
    let answers = posts.map(end);
    for answer in written {
        assert!(answer.has_message(), "somebody waits for ever");
    }
    all_told(answers.into_iter().collect());
    assert!(shared.halted.get().is_some());
}

/// Of a node that has halted: each was refused, or taken in and answered.
fn all_told(answers: Vec<Result<Receiver<Result<()>>>>) {
    let mut refused = 0;
    for answer in answers {
        match answer {
            Err(error) => {
                assert!(error.is_halted(), "{error:?}");
                refused += 1;
            }
            Ok(answer) => {
                assert!(answer.has_message(), "somebody waits for ever");
                if let Err(error) = answer.recv().expect("as it said") {
                    assert!(error.is_halted(), "{error:?}");
                }
            }
        }
    }
    all_answered(refused);
}
