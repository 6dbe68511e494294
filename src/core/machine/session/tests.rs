use super::*;

fn origin(boot: u64, sequence: u64, watermark: u64) -> Origin {
    let (node, incarnation) = (NodeId::new(1), Incarnation::new(10));
    Origin { node, incarnation, boot, sequence, watermark }
}

fn put(revision: u64) -> Outcome {
    Outcome::Put { revision: Revision::new(revision), prev: None }
}

/// Admits a proposal and, if it is new, gives it the next revision.
fn apply(sessions: &mut Sessions, revision: &mut u64, origin: Origin) -> Outcome {
    match sessions.admit(&origin) {
        Admission::Settled(outcome) => outcome,
        Admission::New => {
            *revision += 1;
            let outcome = put(*revision);
            sessions.keep(&origin, &outcome);
            outcome
        }
    }
}

#[test]
fn a_repeat_has_the_first_outcome_and_a_straggler_has_none() {
    let (mut sessions, mut revision) = (Sessions::default(), 1);
    let mut apply = |boot, sequence, watermark| {
        apply(&mut sessions, &mut revision, origin(boot, sequence, watermark))
    };
    assert_eq!(apply(1, 1, 1), put(2));
    assert_eq!(apply(1, 3, 1), put(3), "overtaking is no repeat");
    assert_eq!(apply(1, 2, 1), put(4));
    assert_eq!(apply(1, 3, 1), put(3), "a repeat");
    assert_eq!(apply(1, 4, 3), put(5), "the watermark moves to 3");
    assert_eq!(apply(1, 2, 1), Outcome::Superseded);
    assert_eq!(apply(1, 3, 1), put(3), "a watermark never moves back");
    assert_eq!(apply(2, 1, 1), put(6), "a new boot has new sequences");
    assert_eq!(apply(1, 5, 3), Outcome::Superseded, "and ends the old one");
}

#[test]
fn what_was_given_up_never_happens() {
    let (mut sessions, mut revision) = (Sessions::default(), 1);
    apply(&mut sessions, &mut revision, origin(1, 9, 9));
    let late = apply(&mut sessions, &mut revision, origin(1, 8, 5));
    assert_eq!(late, Outcome::Superseded);
    assert_eq!(sessions.outcome_of(NodeId::new(1), 1, 8), Some(Outcome::Superseded));
}

#[test]
fn the_outcome_can_be_asked_for_later() {
    let (mut sessions, mut revision) = (Sessions::default(), 1);
    apply(&mut sessions, &mut revision, origin(2, 3, 1));
    let one = NodeId::new(1);
    assert_eq!(sessions.outcome_of(one, 2, 3), Some(put(2)));
    assert_eq!(sessions.outcome_of(one, 2, 1), None, "it may still be applied");
    assert_eq!(sessions.outcome_of(one, 2, 4), None);
    assert_eq!(sessions.outcome_of(one, 3, 1), None, "nothing of that boot has come");
    assert_eq!(sessions.outcome_of(one, 1, 3), Some(Outcome::Superseded));
    assert_eq!(sessions.outcome_of(NodeId::new(2), 2, 3), None);
}

#[test]
fn the_window_is_bounded() {
    let (mut sessions, mut revision) = (Sessions::default(), 1);
    let last = u64::try_from(MAX_WINDOW).unwrap();
    let full = Outcome::Refused(Refusal::WindowFull(NodeId::new(1)));
    assert_eq!(apply(&mut sessions, &mut revision, origin(1, last + 1, 1)), full);
    assert_eq!(apply(&mut sessions, &mut revision, origin(1, u64::MAX, 1)), full);
    assert_eq!(apply(&mut sessions, &mut revision, origin(1, last, 1)), put(2));
    let (_, session) = sessions.iter().next().unwrap();
    assert_eq!(session.window.len(), MAX_WINDOW);
    let moved = apply(&mut sessions, &mut revision, origin(1, u64::MAX, u64::MAX));
    assert_eq!(moved, put(3), "a watermark moves any distance");
    let (_, session) = sessions.iter().next().unwrap();
    assert_eq!(session.window.len(), 1);
}

#[test]
fn an_outcome_is_kept_short() {
    assert!(size_of::<Option<Stored>>() <= 24, "a full window is 1.5 MiB");
}
