use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use super::*;

fn kept() -> (Kept, Arc<Ends>) {
    let ends = Arc::default();
    let which = Which { lease: LeaseId::new(1), grant: Index::new(4), number: 9 };
    (Kept::new(which, Duration::from_secs(1), at(1000), &ends), ends)
}

fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn lse_11_a_holder_stops_before_the_cluster_does() {
    let second = Duration::from_secs(1);
    assert_eq!(margin(second * 10), Duration::from_millis(11));
    assert_eq!(deadline(at(500), second), at(1498));
    assert_eq!(deadline(at(500), Duration::from_micros(10)), at(500), "never before the question");
}

#[test]
fn what_is_over_stays_over() {
    let (kept, _) = kept();
    assert!(!kept.is_over(at(999)));
    assert!(kept.renewed(at(999), at(1500)) && kept.renewed(at(999), at(1400)));
    assert_eq!(kept.deadline(), at(1500), "it never falls");
    assert!(kept.is_over(at(1500)) && kept.is_over(at(0)), "whoever saw it decided it for all");
    assert!(!kept.renewed(at(0), at(9000)), "and no renewal brings it back");
    let (kept, _) = super::tests::kept();
    assert!(!kept.renewed(at(1000), at(9000)), "also where nobody has seen it before");
    assert!(kept.is_over(at(1000)));
}

#[test]
fn lse_11_what_ended_before_its_time_has_no_deadline_in_the_future() {
    let (kept, _) = kept();
    kept.end(at(300));
    assert!(kept.is_over(at(0)) && !kept.renewed(at(0), at(2000)));
    assert_eq!(kept.deadline(), at(300));
    kept.end(at(100));
    assert_eq!(kept.deadline(), at(300), "it ended when it did");
}

#[test]
fn rec_3_the_node_hears_of_what_is_let_go_and_of_what_nobody_takes() {
    let (kept, ends) = kept();
    let which = kept.which();
    kept.let_go(at(300));
    assert_eq!(ends.take(), [End { which, revoke: false }]);
    assert!(ends.take().is_empty());
    let (kept, ends) = self::kept();
    let taken = Offered::granted(Arc::new(kept)).take().unwrap();
    assert!(ends.take().is_empty() && !taken.is_over(at(300)), "its holder has it");
    drop(Offered::granted(Arc::clone(&taken)));
    assert!(taken.is_over(at(300)));
    assert_eq!(ends.take(), [End { which, revoke: true }]);
    let (kept, ends) = self::kept();
    drop(Offered::adopted(Arc::new(kept)));
    assert_eq!(ends.take(), [End { which, revoke: false }], "it was somebody else's before");
}

#[test]
fn all_who_wait_are_woken_once_and_who_left_is_not() {
    let (kept, _) = kept();
    let bells: [Arc<Bell>; 3] = Default::default();
    let [one, two, gone] = [0, 1, 2].map(|place| Waker::from(Arc::clone(&bells[place])));
    let number = kept.waiters.enter(None, &one);
    assert_eq!(kept.waiters.enter(Some(number), &one), number, "again, as a future does");
    kept.waiters.enter(None, &two);
    let leaves = kept.waiters.enter(None, &gone);
    kept.waiters.leave(leaves);
    kept.end(at(0));
    kept.waiters.wake();
    kept.waiters.wake();
    assert_eq!(bells.map(|bell| bell.0.load(Ordering::SeqCst)), [1, 1, 0]);
}
