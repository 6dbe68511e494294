//! Bugs to plant, so that it can be seen whether the judges of the simulator catch them.
//!
//! They exist in this crate's own unit tests only. In everything else [`planted`] is a constant
//! `false`: what asks for it is compiled, and folded away.

#[cfg(not(test))]
use std::borrow::Cow;

/// A mistake that somebody could make here. Each is a few words in the place where it would be
/// made; `src/sim/planted.rs` says which judge must see it, and how soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(any(test, feature = "sim")),
    expect(dead_code, reason = "some are made in the simulator, which is not compiled")
)]
pub(crate) enum Bug {
    /// The core is told that a write is durable when it is handed over.
    AckBeforeSync,
    /// Promises leave before the disk has what they promise (R2).
    PromiseBeforeSync,
    /// Files are never synced.
    SkipSync,
    /// Directories are never synced.
    SkipDirSync,
    /// A vote is not written down.
    ForgetVote,
    /// Read rounds have one and the same context (R6).
    ReuseReadContext,
    /// A leader answers reads without asking anybody whether it still leads.
    ReadWithoutRound,
    /// A confirmed read does not wait for the state to get there.
    ReadBeforeApplied,
    /// A read joins the round that is under way.
    JoinLateRound,
    /// A proposal that comes twice is applied twice.
    ApplyTwice,
    /// A proposal of an earlier boot is applied.
    AcceptOldBoots,
    /// Snapshots leave the sessions out.
    ForgetSessions,
    /// A write that was offered and timed out is said not to have happened.
    CallItNotApplied,
    /// Recovery takes every damage for a torn write and cuts there.
    CutDamage,
    /// Recovery loses the last entry.
    LoseLastEntry,
    /// Segments are given back that the snapshots still need.
    ReleaseTooMuch,
    /// The log in memory is never cut.
    KeepEverything,
    /// Compaction drops the version that is still to be read.
    DropKeptVersion,
    /// A deletion of nothing makes a revision.
    CountEmptyDelete,
    /// Members do not all do the same with an entry.
    ApplyByMood,
    /// A nested transaction compares what the ones before it have left (TXN-5).
    CompareLate,
    /// A compare of a range without keys does not hold, whatever is asked (TXN-4).
    EmptyCompare,
    /// Each operation of a transaction makes a revision of its own (TXN-13).
    SplitTxn,
    /// A transaction that is refused has put its first key already (TXN-8).
    LeaveHalf,
    /// A transaction that only reads is answered at once, whatever was asked (TXN-16).
    ReadTxnAtOnce,
    /// A watcher goes to sleep without a look at what has happened since it has read (WAT-29).
    SleepOnNews,
    /// A watcher that is rung reads on from one revision too early (WAT-31).
    GiveTwice,
    /// What was read of a revision is given before the rest of it is there (WAT-16).
    SplitRevision,
    /// What a key was before is looked up at the event itself (WAT-19).
    PrevTooLate,
    /// A notification of progress is one revision ahead (WAT-23).
    ProgressTooFar,
    /// Nobody is rung when a snapshot has left out what they have not seen (WAT-34).
    SilentInstall,
    /// Filters admit everything (WAT-20).
    IgnoreFilter,
    /// Removal does not wait for watchers that are behind (WAT-30).
    HoldNothing,
    /// One of those who sleep is forgotten when the others are rung (INV-8).
    ForgetSleeper,
    /// What was removed is passed over without a word (WAT-12).
    PassOverRemoved,
    /// A watcher of a future revision begins now (WAT-2).
    FireEarly,
    /// A watcher of a set that was given a batch is neither rung nor put to sleep (WAT-15).
    ForgetServed,
    /// A set says that all have come so far, and somebody still has something to give (WAT-25).
    SetTooSoon,
    /// A watcher begins one revision behind what it has to after its range was listed (WAT-35).
    ListAhead,
    /// Watchers are not told that their node has ended (WAT-35).
    EndInSilence,
    /// A member without a leader tells nobody (WAT-33).
    LeaderlessInSilence,
    /// A tick makes the lease clock say what the clock of the leader says (LSE-11).
    ExpireByOwnClock,
    /// A new leader forgets what has passed since the last tick (LSE-16).
    ForgetTime,
    /// What is said to be gone counts as renewed (LSE-13).
    RenewGone,
    /// A deadline counts from when the answer came (LSE-11).
    DeadlineAfterAnswer,
    /// Nobody is told that the time of a session is over (REC-2).
    LoseInSilence,
    /// Whoever stands in a line holds the lock (REC-7).
    HoldAtOnce,
    /// Who waits in a line watches from one revision too late (REC-8).
    WatchLate,
    /// A transaction of a guard is one as any other (REC-14).
    UnfencedTxn,
    /// An observer does not say that nobody leads (REC-23).
    MissVacancy,
    /// Who reads waits for nobody (REC-36).
    ReadAtOnce,
    /// A semaphore has one permit more than it has.
    OnePermitMore,
    /// Who lets go in the background does not (REC-10).
    StayInLine,
    /// The last of those that are seen in a queue is taken before the others (REC-40).
    TakeLast,
    /// What is more urgent and has come since it was looked is not minded (REC-41).
    MissUrgent,
    /// Who has lost a claim acknowledges it all the same.
    AckUnclaimed,
    /// Who waits for an item watches from one revision too late.
    WaitPastItem,
    /// A barrier is passed whether it is held or not (REC-37).
    PassHeld,
    /// A double barrier opens for one less than was wanted (REC-38).
    OpenEarly,
    /// Who has left a double barrier waits for nobody (REC-38).
    LeaveAlone,
    /// Who waits to be elected lets nobody come before it.
    IgnorePriority,
    /// The work of a leader goes on when it leads no more.
    WorkOn,
    /// What is resumed is not looked at (REC-24).
    ResumeUnseen,
}

/// Whether this bug is planted: never, outside of unit tests.
#[cfg(not(test))]
pub(crate) const fn planted(_: Bug) -> bool {
    false
}

/// What [`mood`] is where nothing is planted: the value.
#[cfg(not(test))]
pub(crate) const fn mood(value: &[u8]) -> Cow<'_, [u8]> {
    Cow::Borrowed(value)
}

/// The value that [`Bug::ApplyByMood`] writes: now and then another than it was told to.
#[cfg(test)]
pub(crate) fn mood(value: &[u8]) -> Vec<u8> {
    if MOOD.replace(MOOD.get() + 1).is_multiple_of(50) {
        return [value, b"!"].concat();
    }
    value.to_vec()
}

#[cfg(test)]
thread_local! {
    /// Counts what all members of a simulation write.
    static MOOD: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };

    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Whether this bug is planted, on this thread.
#[cfg(test)]
pub(crate) fn planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// As long as it lives, a bug is planted on its thread.
#[cfg(test)]
pub(crate) struct Plant(());

#[cfg(test)]
impl Plant {
    pub(crate) fn new(bug: Bug) -> Self {
        PLANTED.set(Some(bug));
        Self(())
    }
}

#[cfg(test)]
impl Drop for Plant {
    fn drop(&mut self) {
        PLANTED.set(None);
    }
}
