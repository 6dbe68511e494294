//! What a simulation has seen: how often which fault came, and which rare paths were reached.
//!
//! A seed that fails has found something. A thousand seeds that pass have shown something only if
//! they were where it is difficult: a path that is never reached is not tested, whatever the
//! workload was meant to do. So the paths are a closed list, and whoever runs many seeds is told
//! which of them nobody has been on.
//!
//! Marks are found by what a simulation sees anyway: what members are shown to the judges as,
//! what they say to each other, and what callers were told. Where only the member knows
//! ([`Tally`](crate::core::replica::tally::Tally)), it counts.

mod told;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::disk::MemoryDisk;
use super::faults::Fault;
use super::history::History;
use super::seen::Seen;
use crate::config::Config;
use crate::core::replica::envelope::Body;
use crate::ids::{Index, NodeId};
use crate::storage::WalStats;
use crate::vfs::Vfs;
use watch::Watch;

macro_rules! marks {
    ($($(#[$doc:meta])* $mark:ident = $name:literal;)+) => {
        /// A rare path through a cluster. A selection of seeds that never takes it says nothing
        /// about it.
        ///
        /// ```
        /// use quorate::sim::Mark;
        ///
        /// assert_eq!(Mark::TornTail.to_string(), "a torn batch is cut off");
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Mark {
            $($(#[$doc])* $mark,)+
        }

        impl Mark {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$mark,)+];

            /// Whether runs take it whose clients hold leases ([`Run::holders`](super::Run)); or
            /// if not `holders`, those whose clients read and write.
            ///
            /// ```
            /// use quorate::sim::Mark;
            ///
            /// assert!(Mark::TornTail.is_taken_by(true) && Mark::TornTail.is_taken_by(false));
            /// assert!(!Mark::ClaimedAgain.is_taken_by(false));
            /// ```
            pub const fn is_taken_by(self, holders: bool) -> bool {
                match self {
                    // What holders keep is too little for that.
                    Self::SnapshotResumed
                    // Found in what clients were told who read and write.
                    | Self::DeposedRead
                    | Self::WriteUnknown
                    | Self::WriteNotApplied
                    | Self::SetOvertaken
                    | Self::TxnRefused
                    | Self::NestedElse
                    | Self::ReadOvertaken => !holders,
                    Self::LeaseOutlivesLeader
                    | Self::LeasesOutliveAll
                    | Self::LeasesInSnapshot
                    | Self::HolderStopped
                    | Self::GuardLostInTxn
                    | Self::WaiterLost
                    | Self::PlaceLeftBehind
                    | Self::PermitsDiffer
                    | Self::LeaderOutranked
                    | Self::LeadershipResumed
                    | Self::ObserverSkips
                    | Self::ClaimedAgain
                    | Self::AckTooLate
                    | Self::DequeueUnknown
                    | Self::ParticipantLost => holders,
                    _ => true,
                }
            }

            const fn name(self) -> &'static str {
                match self {
                    $(Self::$mark => $name,)+
                }
            }
        }
    };
}

marks! {
    /// A member takes over the state of a leader, whose log no longer reaches back to its own.
    SnapshotInstalled = "a snapshot is installed";
    /// The same, while callers of that member wait for their writes.
    SnapshotUnderWrites = "a snapshot is installed where writes wait";
    /// What an interrupted transfer has left is not sent again.
    SnapshotResumed = "a snapshot's transfer goes on where another stopped";
    /// A member ends that leads and has entries that its disk has not.
    LeaderEndsUnsynced = "a leader ends with an unsynced tail";
    /// Another member leads now; the one before is up, and has entries that its disk has not.
    LeaderLeavesUnsynced = "leadership leaves a member with an unsynced tail";
    /// The one with the lower term has not heard of the other.
    TwoLeaders = "two members lead, in different terms";
    /// What becomes of them is not its to say before it has committed an entry of its own.
    EntriesInherited = "a leader inherits entries that were not committed";
    /// Its last entries may be lost, and are if they were not committed.
    LongerLog = "a member has a longer log than the new leader";
    /// The leader that was to propose it is gone; the write may be in its log.
    WriteMoved = "a write is offered to another leader too";
    /// The envelope or what followed from it was lost, or is slow.
    WriteRepeated = "a write is offered again to the same leader";
    /// It came into the log twice.
    RepeatSkipped = "a write that was applied is not applied again";
    /// It came into the log after its member had given it up.
    LateSkipped = "a write that was given up is not applied";
    /// They were another leader's, and were never committed.
    EntriesReplaced = "entries that are on a disk are replaced";
    /// The power was gone before it was synced.
    TornTail = "a torn batch is cut off";
    /// The one before was full.
    SegmentCut = "a log goes on in a new segment";
    /// One that snapshots have made superfluous.
    SegmentReused = "a segment that was given back is written again";
    /// And the log reaches back to it.
    OlderSnapshot = "an older snapshot is opened, for the newest is broken";
    /// The leader or its term changed meanwhile.
    RoundAgain = "a read waits for a second round";
    /// No answer came.
    QuestionAgain = "the leader is asked again whether to read";
    /// There was another leader when the read began, of which this one had not heard.
    DeposedRead = "a leader that is none any more answers no read";
    /// The caller was told so.
    WriteUnknown = "nobody knows what became of a write";
    /// The caller was told so.
    WriteNotApplied = "a write fails and is known not to be applied";
    /// Somebody else had changed the key.
    SetOvertaken = "a compare-and-set comes too late";
    /// It asked for what was not there (TXN-8).
    TxnRefused = "a transaction is refused by what there is";
    /// One of them, inside another, took its other branch.
    NestedElse = "a nested transaction takes its other branch";
    /// Its disk failed.
    Halt = "a member halts";
    /// A person would have to look.
    DamageRefused = "a damaged disk is refused";
    /// In recovery too everything may end at any operation of the disk.
    DiedOpening = "a process dies while it opens";
    /// It had halted because of it, and applies entries again.
    RoomAgain = "a member comes back from a full disk";
    /// No member was up, and one leads again.
    LightAgain = "a cluster comes back from a blackout";
    /// Because somebody wanted it, or because of its disk.
    Handover = "leadership is handed over";
    /// Nobody was elected in the term of a candidate.
    NobodyElected = "an election has no winner";
    /// Two members were candidates in that term.
    SplitVote = "an election with two candidates has no winner";
    /// A member that was cut off does not disturb the others.
    PreVoteRefused = "a member is not to stand for election";
    /// It began when there was still what it asked for, or saw it just in time.
    ReadOvertaken = "a read of the past meets a compaction";
    /// Its consumer was away for long.
    WatcherCompacted = "a watcher falls behind a compaction";
    /// It goes on as if nothing had been.
    WatcherInstalled = "a snapshot is installed under a watcher";
    /// Another member may know less than the one before.
    WatcherMoved = "a watcher goes on at another member";
    /// It was asked for before it was there.
    FutureArrives = "a watcher is given the revision that it waited for";
    /// What holds is listed by the same call that watches on.
    WatcherRelisted = "a watcher that fell behind is listed again";
    /// All of them had been given everything.
    SetProgress = "a set of watchers says how far it has come";
    /// One of them waits for a revision to come.
    SetHeldBack = "a set of watchers is asked, and cannot say yet";
    /// It was larger than its consumer wants to see at once.
    RevisionInPieces = "a revision comes in pieces";
    /// The core is told.
    SyncOverdue = "a sync takes too long";
    /// And goes to one with a better disk.
    LeaderLeavesSlowDisk = "leadership leaves a member whose sync takes too long";
    /// Nobody renewed it, and another leader than the one that granted it has counted its time.
    LeaseOutlivesLeader = "a lease runs out under another leader than it was granted by";
    /// No member ran for a while, and none has lost what was left.
    LeasesOutliveAll = "all members begin again while leases run";
    /// It was away when they were granted.
    LeasesInSnapshot = "who leads was given leases by a snapshot";
    /// It is the first to know, when it goes on.
    HolderStopped = "a holder is stopped for longer than its session lives";
    /// It was held when the transaction was handed over.
    GuardLostInTxn = "a guard is lost while its transaction is under way";
    /// Its place goes too.
    WaiterLost = "a session is lost whose holder waits for its turn";
    /// What was to delete it was refused or failed, or it may be made yet.
    PlaceLeftBehind = "a place that was left is deleted by its member";
    /// Others hold or wait that name another number.
    PermitsDiffer = "a semaphore is asked for with another number of permits";
    /// A preferred candidate has come.
    LeaderOutranked = "a leader stops its work for a preferred one";
    /// Under a session that has adopted its lease.
    LeadershipResumed = "a leadership is resumed";
    /// They were compacted before it had read them.
    ObserverSkips = "an observer of an election skips some";
    /// Whoever had claimed it before has given it back, or is gone.
    ClaimedAgain = "an item of a queue is claimed again";
    /// Somebody else may have the item.
    AckTooLate = "a claim is lost before it is acknowledged";
    /// The caller is told so, or has gone.
    DequeueUnknown = "nobody knows whether an item was taken";
    /// Nobody waits for it any more.
    ParticipantLost = "one leaves a double barrier whose session is over";
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The snapshots that were found broken when this member opened, in the order of their indexes.
pub(super) fn broken_snapshots(disk: &MemoryDisk, config: &Config) -> BTreeSet<Index> {
    let names = disk.list(&config.data_dir.join("snapshots")).unwrap_or_default();
    let broken = names.iter().filter_map(|name| {
        let (index, _) = name.strip_suffix(".broken")?.split_once('-')?;
        u64::from_str_radix(index, 16).ok().map(Index::new)
    });
    broken.collect()
}

/// How often what was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) faults: BTreeMap<Fault, u64>,
    pub(super) paths: BTreeMap<Mark, u64>,
    /// No judge could tell in time whether the history is linearizable.
    pub(super) undecided: bool,
}

impl Counts {
    fn hit(&mut self, mark: Mark) {
        *self.paths.entry(mark).or_default() += 1;
    }

    /// A count of something has risen, or not.
    fn add(&mut self, mark: Mark, before: u64, now: u64) {
        if now > before {
            *self.paths.entry(mark).or_default() += now - before;
        }
    }
}

/// Looks on, and counts. Members by their place.
#[derive(Debug)]
pub(super) struct Marks {
    counts: Counts,
    watch: Watch,
}

impl Marks {
    pub(super) fn new(members: impl IntoIterator<Item = NodeId>) -> Self {
        Self { counts: Counts::default(), watch: Watch::new(members) }
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        *self.counts.faults.entry(fault).or_default() += 1;
    }

    pub(super) fn hit(&mut self, mark: Mark) {
        self.counts.hit(mark);
    }

    /// What the judges are shown.
    pub(super) fn see(&mut self, now: u64, seen: &Seen<'_>) {
        self.watch.see(now, seen, &mut self.counts);
    }

    /// A member says something that is rarely said.
    pub(super) fn said(&mut self, from: usize, to: NodeId, body: &Body) {
        self.watch.said(from, to, body, &mut self.counts);
    }

    pub(super) fn undecided(&mut self) {
        self.counts.undecided = true;
    }

    /// What a member's log takes up, after something was written to it.
    pub(super) fn log(&mut self, place: usize, stats: WalStats) {
        self.watch.log(place, stats, &mut self.counts);
    }

    /// A sync of a member takes too long, or no longer does.
    pub(super) fn overdue(&mut self, place: usize, overdue: bool) {
        if overdue {
            self.hit(Mark::SyncOverdue);
        }
        self.watch.overdue(place, overdue);
    }

    /// A member halts; there was no room on its disk.
    pub(super) fn halted_full(&mut self, place: usize) {
        self.watch.halted_full(place);
    }

    /// What clients were told, once all of them have been.
    pub(super) fn told(&mut self, history: &History) {
        told::look(history, self.watch.reigns(), &mut self.counts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_marks_are_called_the_same() {
        let names: BTreeSet<&str> = Mark::ALL.iter().map(|mark| mark.name()).collect();
        assert_eq!(names.len(), Mark::ALL.len());
        assert!(Mark::ALL.is_sorted(), "as they are declared: tables are in this order");
    }
}
