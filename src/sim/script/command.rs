//! The words of the language.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// A member's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place(pub(super) String);

impl FromStr for Place {
    type Err = Infallible;

    fn from_str(name: &str) -> Result<Self, Infallible> {
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Everything that a script can say. Members are called `a`, `b`, `c` ...
#[derive(Debug, goldenscript::Command)]
pub(super) enum Command {
    /// Members begin, with nothing on their disks.
    Cluster {
        #[arg(key)]
        n: Option<usize>,
        /// Decides how long each waits before it stands for election.
        #[arg(key)]
        seed: Option<u64>,
        /// Entries after which a snapshot is taken.
        #[arg(key)]
        snapshot_count: Option<u64>,
        #[arg(key)]
        max_message_bytes: Option<usize>,
        /// Revisions that the leader keeps when it compacts by itself.
        #[arg(key)]
        retain_revisions: Option<u64>,
        /// Revisions that a watcher may be behind before compaction waits no more.
        #[arg(key)]
        max_pinned: Option<u64>,
    },

    // ---- calls through a member: `put a k v`
    Put {
        at: Place,
        key: String,
        value: String,
        /// The value is repeated up to so many bytes.
        #[arg(key)]
        size: Option<usize>,
        #[arg(key)]
        timeout: Option<u64>,
        #[arg(key)]
        lease: Option<u64>,
    },
    /// `delete a k`, or `delete a k to=m` for a range.
    Delete {
        at: Place,
        key: String,
        #[arg(key)]
        to: Option<String>,
    },
    /// A transaction: `swap a k v seen=2` puts `k` if it was last put at revision 2, 0 for a key
    /// that is not there, and reads it if not. `also=`: another key, put with it.
    Swap {
        at: Place,
        key: String,
        value: String,
        #[arg(key)]
        seen: Option<u64>,
        #[arg(key)]
        also: Option<String>,
    },
    /// `physical=yes`: answered when `a` has removed what it forgets.
    Compact {
        at: Place,
        revision: u64,
        #[arg(key)]
        physical: Option<String>,
        #[arg(key)]
        timeout: Option<u64>,
    },
    /// Linearizable, or of a state that is no older than `within=` milliseconds or has reached the
    /// revision `least=`. `rev=`: as of a revision. `to=`: a range.
    Read {
        at: Place,
        key: String,
        #[arg(key)]
        rev: Option<u64>,
        #[arg(key)]
        to: Option<String>,
        #[arg(key)]
        within: Option<u64>,
        #[arg(key)]
        least: Option<u64>,
        #[arg(key)]
        timeout: Option<u64>,
    },
    /// Serializable: what this member holds.
    Get {
        at: Place,
        key: String,
        #[arg(key)]
        rev: Option<u64>,
        #[arg(key)]
        to: Option<String>,
    },
    /// The leader hands leadership on: `transfer a b`.
    Transfer {
        at: Place,
        to: Place,
    },

    // ---- leases, all with ids that the script gives
    /// `grant a 5000 7`: for so many milliseconds.
    Grant {
        at: Place,
        ttl: u64,
        id: u64,
    },
    Revoke {
        at: Place,
        id: u64,
    },
    Keep {
        at: Place,
        id: u64,
    },
    /// How long it has, and its keys.
    Left {
        at: Place,
        id: u64,
    },
    /// A session that keeps a lease alive, which is called by the number of this call.
    Open {
        at: Place,
        id: u64,
    },
    Close(u64),
    /// What those who hold sessions know, without asking anybody.
    Sessions,

    // ---- watchers, which are called by their numbers from 1 on
    /// Prints what it is given whenever that comes; with `by=hand`, when it is told to. `from=`: a
    /// revision. `prev=yes`, `puts=no`, `deletes=no`, `leader=yes`, `progress=` each so many
    /// milliseconds, `fragment=` bytes.
    Watch {
        at: Place,
        key: String,
        #[arg(key)]
        to: Option<String>,
        #[arg(key)]
        from: Option<u64>,
        #[arg(key)]
        prev: Option<String>,
        #[arg(key)]
        puts: Option<String>,
        #[arg(key)]
        deletes: Option<String>,
        #[arg(key)]
        progress: Option<u64>,
        #[arg(key)]
        fragment: Option<usize>,
        #[arg(key)]
        leader: Option<String>,
        #[arg(key)]
        by: Option<String>,
    },
    /// The next batch of one by hand, if there is one.
    Next(u64),
    /// From now on it prints by itself.
    Follow(u64),
    /// It is asked how far it is.
    Progress(u64),
    Cancel(u64),
    /// It is dropped.
    Leave(u64),

    // ---- links; without names, all of them
    Hold {
        #[arg(key)]
        from: Option<Place>,
        #[arg(key)]
        to: Option<Place>,
    },
    /// Holds no more, and delivers what was held there.
    Flow {
        #[arg(key)]
        from: Option<Place>,
        #[arg(key)]
        to: Option<Place>,
    },
    /// What is held now and fits arrives, oldest first.
    Deliver {
        #[arg(key)]
        from: Option<Place>,
        #[arg(key)]
        to: Option<Place>,
        #[arg(key)]
        kind: Option<Kind>,
        #[arg(key)]
        term: Option<u64>,
        #[arg(key)]
        count: Option<usize>,
    },
    Drop {
        #[arg(key)]
        from: Option<Place>,
        #[arg(key)]
        to: Option<Place>,
        #[arg(key)]
        kind: Option<Kind>,
        #[arg(key)]
        term: Option<u64>,
        #[arg(key)]
        count: Option<usize>,
    },
    /// What fits is held once more, behind all the rest.
    Duplicate {
        #[arg(key)]
        from: Option<Place>,
        #[arg(key)]
        to: Option<Place>,
        #[arg(key)]
        kind: Option<Kind>,
        #[arg(key)]
        term: Option<u64>,
        #[arg(key)]
        count: Option<usize>,
    },
    /// Shows what is held.
    Held,
    /// One way: `cut a b`.
    Cut {
        from: Place,
        to: Place,
    },
    Isolate(Place),
    Heal,

    // ---- time
    /// Half a heartbeat passes, for all or for those named.
    Tick {
        #[arg(optional)]
        names: Vec<Place>,
        #[arg(key)]
        n: Option<u64>,
    },
    Run {
        #[arg(key)]
        ms: u64,
    },
    /// Time passes for this one, until it stands for election.
    Stand(Place),
    /// Time passes for all but a leader: the others forget it, this one stands and wins. What is
    /// said about votes is not held meanwhile.
    Elect(Place),
    /// Everything is mended and goes on, until all members hold the same and the judges agree.
    Settle,

    // ---- machines
    /// The disk does nothing any more, but what `sync` and `job` ask for.
    Stall(Place),
    /// A stalled disk syncs the batch that it has.
    Sync {
        name: Place,
        #[arg(key)]
        count: Option<u64>,
    },
    /// A stalled disk does the oldest job that concerns a whole state.
    Job {
        name: Place,
        #[arg(key)]
        count: Option<u64>,
    },
    Pause(Place),
    /// What was stalled or paused goes on.
    Resume(Place),
    /// The process is killed: before what waits for the disk gets there, or `during=sync` or
    /// `during=job`, when so many operations of the disk have been done.
    Crash {
        name: Place,
        #[arg(key)]
        during: Option<String>,
        #[arg(key)]
        within: Option<u64>,
    },
    /// The machine stops, and everything that was not synced is gone; with `seed=`, a part.
    Power {
        name: Place,
        #[arg(key)]
        during: Option<String>,
        #[arg(key)]
        within: Option<u64>,
        #[arg(key)]
        seed: Option<u64>,
    },
    /// Those named, or all that are down.
    Start {
        #[arg(optional)]
        names: Vec<Place>,
    },
    /// The disk is gone, and the member begins again on an empty one.
    Replace(Place),
    /// A bit changes in what was synced: `rot a wal`, `rot a snapshot`. In the
    /// middle, or `at=` a byte, counted from the end if below 0.
    Rot {
        name: Place,
        file: String,
        #[arg(key)]
        at: Option<i64>,
    },
    /// The operation of the disk of this number from now on fails.
    Fail {
        name: Place,
        #[arg(key)]
        at: u64,
    },

    // ---- looking
    Status {
        #[arg(optional)]
        names: Vec<Place>,
    },
    /// Each log as the terms of its entries; behind the bar what is not known to be committed, in
    /// brackets what is not durable.
    Log {
        #[arg(optional)]
        names: Vec<Place>,
    },
    /// Every version of every key that is kept, tombstones too.
    History {
        #[arg(optional)]
        names: Vec<Place>,
    },
    /// How far each has come with removing what was compacted. A slice takes 5 ms here.
    Removed {
        #[arg(optional)]
        names: Vec<Place>,
    },
    /// `trace on`: prints everything that happens.
    Trace(String),
}

/// A kind of envelope, by how it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind(&'static str);

/// What a script calls it, and how the text of it begins.
const KINDS: [(&str, &str); 16] = [
    ("append", "append after"),
    ("refusal", "append refused"),
    ("durable", "durable up to"),
    ("heartbeat", "heartbeat"),
    ("heard", "heard"),
    ("prevote", "would you vote?"),
    ("vote", "vote!"),
    ("yes", "yes"),
    ("no", "no "),
    ("campaign", "campaign now"),
    ("forward", "please propose"),
    ("question", "may I read?"),
    ("answer", "read from"),
    ("offer", "snapshot at"),
    ("chunk", "chunk"),
    ("have", "have"),
];

impl FromStr for Kind {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let found = KINDS.iter().find(|(kind, _)| *kind == word);
        found.map(|(_, text)| Self(text)).ok_or_else(|| {
            let words = KINDS.map(|(kind, _)| kind).join(", ");
            format!("no kind {word:?}: there are {words}")
        })
    }
}

impl Kind {
    /// Questions about votes and their answers.
    pub(super) fn votes() -> [Self; 4] {
        ["would you vote?", "vote!", "yes", "no "].map(Self)
    }

    pub(super) fn fits(self, text: &str) -> bool {
        text.starts_with(self.0)
    }
}

/// Which of the envelopes that are held.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    pub(super) from: Option<Place>,
    pub(super) to: Option<Place>,
    kind: Option<Kind>,
    term: Option<u64>,
    pub(super) count: Option<usize>,
}

impl Filter {
    pub(super) fn new(
        (from, to): (Option<&Place>, Option<&Place>),
        kind: Option<Kind>,
        term: Option<u64>,
        count: Option<usize>,
    ) -> Self {
        Self { from: from.cloned(), to: to.cloned(), kind, term, count }
    }

    /// Whether the text of an envelope fits.
    pub(super) fn fits(&self, text: &str) -> bool {
        let term = self.term.map(|term| format!("(term {term})"));
        self.kind.is_none_or(|kind| kind.fits(text))
            && term.is_none_or(|term| text.ends_with(&term))
    }
}
