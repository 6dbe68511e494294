//! The judges, judged: each bug is planted, and must be caught, soon, by a judge that knows the
//! promise which it breaks.

use std::time::Duration;

use super::dice::Seed;
use super::faults::{Fault, Faults, Profile};
use super::run::Run;
use crate::planted::{Bug, Plant};

/// A bug, and how it is caught.
struct Case {
    bug: Bug,
    /// The faults that bring it to light.
    profile: Profile,
    /// Calls of each run.
    calls: u64,
    /// It is caught within so many seeds.
    within: u64,
    /// Words of a failure, one of which must be in it: the judges that know.
    caught_by: &'static [&'static str],
    /// Clients hold leases and locks.
    holders: bool,
}

impl Case {
    #[track_caller]
    fn is_caught(&self) {
        let Self { bug, profile, calls, within, caught_by, holders } = self;
        let plant = Plant::new(*bug);
        let run = |seed| {
            let run = run(seed, *profile, *bug).calls(*calls);
            if *holders { run.holders().run() } else { run.run() }
        };
        let failure = (0..*within).find_map(|seed| run(Seed::new(seed)).err());
        drop(plant);
        let Some(failure) = failure else {
            panic!("{bug:?} was not caught within {within} seeds");
        };
        let knows = caught_by.iter().any(|judge| failure.what.contains(judge));
        let (seed, what) = (failure.seed, &failure.what);
        assert!(knows, "{bug:?} was caught by none of {caught_by:?}, with seed {seed}: {what}");
        let healthy = run(failure.seed);
        assert!(healthy.is_ok(), "seed {} fails without {bug:?}: {healthy:?}", failure.seed);
    }
}

fn run(seed: Seed, profile: Profile, bug: Bug) -> Run {
    let run = Run::new(seed).profile(profile);
    let (often, short) = (Duration::from_millis(400), Duration::from_millis(20));
    let late = Faults::none().duplicates(300_000).stragglers(300_000, Duration::from_secs(1));
    match bug {
        // A write has to overtake the end of the boot that it was forwarded by, twice.
        Bug::AcceptOldBoots => {
            let brief = Duration::from_millis(1)..short;
            run.faults(late.with(Fault::Crash, often, brief)).members(3)
        }
        // What confirmed one round has to come late, when another leads and this one asks again.
        Bug::ReuseReadContext => {
            let long = often..Duration::from_secs(1);
            run.faults(late.with(Fault::Partition, often, long)).members(3)
        }
        _ => run,
    }
}

macro_rules! cases {
    ($($name:ident: $bug:ident, $profile:ident, $calls:literal, $within:literal, $by:expr;)+) => {$(
        #[test]
        fn $name() {
            let (bug, profile) = (Bug::$bug, Profile::$profile);
            let (calls, within, caught_by) = ($calls, $within, &$by);
            Case { bug, profile, calls, within, caught_by, holders: false }.is_caught();
        }
    )+};
}

/// The same, where clients hold leases and locks.
macro_rules! held {
    ($($name:ident: $bug:ident, $profile:ident, $within:literal, $by:expr;)+) => {$(
        #[test]
        fn $name() {
            let (bug, profile, within, caught_by) =
                (Bug::$bug, Profile::$profile, $within, &$by);
            Case { bug, profile, calls: 0, within, caught_by, holders: true }.is_caught();
        }
    )+};
}

held! {
    expiring_by_ones_own_clock: ExpireByOwnClock, Network, 50, ["LSE-11", "LSE-16"];
    forgetting_what_has_passed: ForgetTime, Calm, 50, ["LSE-16"];
    renewing_what_is_gone: RenewGone, Calm, 50, ["LSE-13"];
    counting_from_the_answer: DeadlineAfterAnswer, Network, 50, ["LSE-11"];
    losing_in_silence: LoseInSilence, Network, 50, ["REC-2"];
    holding_at_once: HoldAtOnce, Calm, 20, ["REC-7"];
    watching_too_late_in_a_line: WatchLate, Calm, 50,
        ["REC-8", "REC-16", "REC-22", "REC-25"];
    writing_without_a_token: UnfencedTxn, Network, 200, ["REC-14"];
    missing_that_nobody_leads: MissVacancy, Calm, 50, ["REC-23"];
    reading_while_another_writes: ReadAtOnce, Calm, 50, ["REC-7"];
    giving_one_permit_too_many: OnePermitMore, Calm, 50, ["REC-7"];
    passing_what_is_held: PassHeld, Calm, 20, ["REC-37"];
    opening_for_too_few: OpenEarly, Calm, 50, ["REC-38"];
    leaving_alone: LeaveAlone, Calm, 20, ["REC-38"];
    ignoring_priorities: IgnorePriority, Calm, 20, ["REC-16", "REC-22"];
    working_on_after_a_loss: WorkOn, Network, 50, ["REC-25", "REC-2"];
    resuming_what_is_lost: ResumeUnseen, Network, 400, ["REC-24"];
    taking_the_last_of_a_queue: TakeLast, Calm, 50, ["REC-40", "REC-41"];
    missing_what_is_more_urgent: MissUrgent, Network, 400, ["REC-41"];
    acknowledging_what_is_not_claimed: AckUnclaimed, Network, 100, ["REC-40"];
    watching_too_late_for_an_item: WaitPastItem, Calm, 50, ["REC-40"];
    staying_in_a_line: StayInLine, Calm, 50, ["REC-8", "REC-10"];
}

cases! {
    acknowledging_before_the_sync: AckBeforeSync, Crash, 200, 20, ["durability", "logs"];
    promising_before_the_sync: PromiseBeforeSync, Crash, 300, 50, ["durability", "logs"];
    skipping_the_sync: SkipSync, Crash, 200, 20, ["durability", "refuses"];
    skipping_the_directory_sync: SkipDirSync, Crash, 200, 20, ["durability", "refuses"];
    forgetting_the_vote: ForgetVote, Crash, 200, 50, ["logs", "durability"];
    reusing_a_read_context: ReuseReadContext, Network, 300, 1_000, ["INV-1"];
    reading_without_a_round: ReadWithoutRound, Network, 300, 100, ["INV-1"];
    reading_before_it_is_applied: ReadBeforeApplied, Network, 300, 50, ["INV-1"];
    joining_a_late_round: JoinLateRound, Network, 500, 50, ["INV-1", "bounds"];
    applying_twice: ApplyTwice, Network, 300, 50, ["INV-1", "INV-2", "INV-6"];
    accepting_old_boots: AcceptOldBoots, Crash, 300, 100, ["INV-1", "INV-2", "INV-6"];
    forgetting_sessions: ForgetSessions, Network, 300, 200, ["state", "INV-1", "INV-6", "WAT-13"];
    calling_it_not_applied: CallItNotApplied, Network, 300, 50, ["INV-1", "INV-2", "SEL-12"];
    cutting_damage: CutDamage, Rot, 300, 200, ["durability", "logs"];
    losing_the_last_entry: LoseLastEntry, Crash, 200, 20, ["durability"];
    releasing_too_much: ReleaseTooMuch, Crash, 2_000, 400, ["durability", "refuses"];
    keeping_everything: KeepEverything, Calm, 1_000, 50, ["bounds"];
    dropping_a_kept_version: DropKeptVersion, Calm, 500, 50,
        ["INV-3", "INV-4", "INV-1", "LIN-15", "state"];
    counting_an_empty_delete: CountEmptyDelete, Calm, 300, 20, ["INV-1", "DM-4", "INV-2"];
    applying_by_mood: ApplyByMood, Calm, 300, 20, ["state", "INV-1", "WAT-13", "WAT-19"];
    comparing_late: CompareLate, Calm, 500, 50, ["INV-1"];
    failing_compares_of_nothing: EmptyCompare, Calm, 500, 50, ["INV-1", "INV-3"];
    splitting_a_transaction: SplitTxn, Calm, 300, 20, ["INV-1", "INV-2", "TXN-14"];
    leaving_half_a_transaction: LeaveHalf, Calm, 500, 50, ["INV-1", "INV-2"];
    sleeping_on_news: SleepOnNews, Calm, 300, 50, ["reliable", "bookmarkable", "complete"];
    giving_a_revision_twice: GiveTwice, Calm, 300, 20, ["unique", "resumable", "goes back"];
    splitting_a_revision: SplitRevision, Calm, 300, 50, ["atomic"];
    looking_up_what_was_too_late: PrevTooLate, Calm, 300, 20, ["WAT-19"];
    telling_of_too_much_progress: ProgressTooFar, Calm, 300, 20, ["bookmarkable"];
    ignoring_filters: IgnoreFilter, Calm, 300, 20, ["filtered"];
    removing_what_is_watched: HoldNothing, Calm, 1_000, 200, ["justified"];
    forgetting_who_sleeps: ForgetSleeper, Calm, 300, 50, ["complete"];
    passing_over_what_is_removed: PassOverRemoved, Calm, 1_000, 200, ["reliable", "bookmarkable"];
    firing_early: FireEarly, Calm, 300, 50, ["resumable"];
    forgetting_who_was_served: ForgetServed, Calm, 300, 20, ["complete"];
    saying_too_soon_how_far_all_are: SetTooSoon, Calm, 300, 50, ["bookmarkable", "atomic"];
    watching_on_too_late: ListAhead, Calm, 300, 50,
        ["reliable", "bookmarkable", "atomic", "complete"];
    ending_in_silence: EndInSilence, Crash, 300, 20, ["complete"];
    reading_at_once_in_a_transaction: ReadTxnAtOnce, Network, 300, 50, ["INV-1"];
}
