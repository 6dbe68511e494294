//! Each judgement once as it should be, and once spoilt.

use super::*;
use crate::core::lease::Which;

const LEASE: LeaseId = LeaseId::new(7);

const TTL: Duration = Duration::from_secs(10);

fn node(number: u64) -> NodeId {
    NodeId::new(number)
}

fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

/// A lease that members have had from entry 5 on.
fn granted() -> Tenures {
    let mut tenures = Tenures::default();
    tenures.begin(LEASE, TTL, Index::new(5), Term::new(1));
    tenures
}

/// A member has come so far and the lease is gone, or not. Its own clock is a second ahead.
fn look(tenures: &mut Tenures, applied: u64, gone: bool, truth: u64) -> Result<(), String> {
    let clocks = || (at(truth), [(node(1), at(truth + 1000))].into());
    tenures.look((node(1), (Index::new(applied), Term::new(1))), |_| !gone, clocks)
}

#[test]
fn lse_11_an_end_before_a_deadline_is_seen_by_the_clock_of_the_holder() {
    for (deadline, fine) in [(20_999, true), (21_000, true), (21_001, false)] {
        let mut tenures = granted();
        tenures.claim(node(1), LEASE, Until::Fixed(at(deadline)));
        assert_eq!(look(&mut tenures, 4, true, 19_000), Ok(()), "it was not granted there yet");
        assert_eq!(look(&mut tenures, 6, false, 19_500), Ok(()));
        let judged = look(&mut tenures, 9, true, 20_000);
        assert_eq!(judged.is_ok(), fine, "{deadline}: {judged:?}");
    }
}

#[test]
fn lse_11_so_is_a_deadline_that_is_told_later() {
    let mut tenures = granted();
    look(&mut tenures, 9, true, 20_000).unwrap();
    assert!(tenures.has_ended(LEASE) && tenures.had_ended(LEASE, at(20_001)));
    assert!(!tenures.had_ended(LEASE, at(20_000)));
    let which = Which { lease: LEASE, grant: Index::new(5), number: 1 };
    let kept = Arc::new(Kept::new(which, TTL, at(20_900), &Arc::default()));
    tenures.claim(node(1), LEASE, Until::Kept(Arc::downgrade(&kept)));
    assert_eq!(look(&mut tenures, 9, true, 20_100), Ok(()));
    kept.renewed(at(20_100), at(29_000));
    kept.end(at(20_150));
    assert_eq!(look(&mut tenures, 9, true, 20_200), Ok(()), "and over before anybody saw it");
    tenures.claim(node(1), LEASE, Until::Fixed(at(29_000)));
    assert!(look(&mut tenures, 9, true, 20_200).unwrap_err().contains("LSE-11"));
    tenures.loose(true);
    assert_eq!(look(&mut tenures, 9, true, 20_200), Ok(()), "clocks may do anything");
    tenures.loose(false);
    assert_eq!(look(&mut tenures, 9, true, 20_200), Ok(()), "nor did they before");
    tenures.claim(node(1), LEASE, Until::Kept(Arc::downgrade(&kept)));
    drop(kept);
    assert_eq!(look(&mut tenures, 9, true, 20_200), Ok(()), "nobody relies on it");
}

#[test]
fn lse_11_what_ended_too_early_does_not_say_that_it_was_to_end() {
    let mut tenures = granted();
    let which = Which { lease: LEASE, grant: Index::new(5), number: 1 };
    let kept = Arc::new(Kept::new(which, TTL, at(28_000), &Arc::default()));
    tenures.claim(node(1), LEASE, Until::Kept(Arc::downgrade(&kept)));
    assert_eq!(look(&mut tenures, 6, false, 19_500), Ok(()));
    kept.end(at(20_000));
    assert!(look(&mut tenures, 9, true, 20_000).unwrap_err().contains("LSE-11"));
}

#[test]
fn lse_13_what_was_revoked_is_excused_and_not_renewed() {
    for (deadline, fine) in [(30_000, true), (30_989, true), (30_990, false)] {
        let mut tenures = granted();
        tenures.claim(node(1), LEASE, Until::Fixed(at(deadline)));
        tenures.revoking(LEASE);
        let judged = look(&mut tenures, 9, true, 20_000);
        assert_eq!(judged.is_ok(), fine, "{deadline}: {judged:?}");
        assert!(judged.err().is_none_or(|what| what.contains("LSE-13")));
    }
}

#[test]
fn an_id_may_be_granted_again() {
    let mut tenures = granted();
    look(&mut tenures, 9, true, 20_000).unwrap();
    tenures.begin(LEASE, TTL, Index::new(12), Term::new(1));
    tenures.claim(node(1), LEASE, Until::Fixed(at(50_000)));
    assert_eq!(look(&mut tenures, 11, true, 20_200), Ok(()));
    assert!(!tenures.has_ended(LEASE));
    assert!(look(&mut tenures, 12, true, 20_300).is_err());
}
