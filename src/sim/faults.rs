//! What goes wrong, how often, for how long.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use super::dice::{Dice, Seed};

/// Something that goes wrong once, or for a while. Where two of one kind meet on the same link,
/// disk or clock, the end of one ends both; partitions, pauses and stalls last until the last ends.
///
/// ```
/// use quorate::sim::Fault;
///
/// assert_eq!(Fault::PowerLoss.to_string(), "power loss");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// Some members and the others do not reach each other.
    Partition,
    /// A member does not reach another, which still reaches it.
    OneWay,
    /// Everything from one member to another takes long.
    SlowLink,
    /// A process is killed, and started again at the end.
    Crash,
    /// A machine loses its power, and what was not synced, in any part.
    PowerLoss,
    /// All machines lose their power at once.
    Blackout,
    /// A process stands still and does not notice.
    Pause,
    /// Every sync of a disk takes long.
    SlowDisk,
    /// A disk does not answer.
    StalledDisk,
    /// A write or a sync fails: the member halts.
    FailedWrite,
    /// A read fails, once.
    FailedRead,
    /// There is no room on a disk.
    FullDisk,
    /// A bit changes in what was synced. Rationed: a quorum keeps every record.
    Rot,
    /// The same on any disk, as often as it comes: a member may refuse to open, and nothing else.
    RotAnywhere,
    /// A member's clock jumps ahead, or stands still for as long.
    ClockJump,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Partition,
        Self::OneWay,
        Self::SlowLink,
        Self::Crash,
        Self::PowerLoss,
        Self::Blackout,
        Self::Pause,
        Self::SlowDisk,
        Self::StalledDisk,
        Self::FailedWrite,
        Self::FailedRead,
        Self::FullDisk,
        Self::Rot,
        Self::RotAnywhere,
        Self::ClockJump,
    ];

    /// Its name in reports.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Partition => "partition",
            Self::OneWay => "one-way partition",
            Self::SlowLink => "slow link",
            Self::Crash => "crash",
            Self::PowerLoss => "power loss",
            Self::Blackout => "blackout",
            Self::Pause => "pause",
            Self::SlowDisk => "slow disk",
            Self::StalledDisk => "stalled disk",
            Self::FailedWrite => "failed write",
            Self::FailedRead => "failed read",
            Self::FullDisk => "full disk",
            Self::Rot => "rot",
            Self::RotAnywhere => "rot anywhere",
            Self::ClockJump => "clock jump",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How often a fault comes, and how long it lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bout {
    every: Duration,
    lasts: Range<Duration>,
}

/// Which faults a simulation has. All of them come from its seed: when, where, how long.
///
/// ```
/// use quorate::sim::{Fault, Faults};
/// use std::time::Duration;
///
/// let (often, short) = (Duration::from_secs(2), Duration::from_millis(500));
/// let faults = Faults::none()
///     .delay(Duration::from_micros(100)..Duration::from_millis(5))
///     .loss(10_000)
///     .with(Fault::Partition, often, short..often);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Faults {
    pub(crate) delay: Range<Duration>,
    pub(crate) loss: u32,
    pub(crate) duplicates: u32,
    pub(crate) stragglers: u32,
    pub(crate) straggle: Duration,
    pub(crate) clock_rate: u32,
    bouts: BTreeMap<Fault, Bout>,
}

impl Faults {
    /// Nothing goes wrong. Envelopes take 50 to 500 µs.
    pub fn none() -> Self {
        Self {
            delay: Duration::from_micros(50)..Duration::from_micros(500),
            loss: 0,
            duplicates: 0,
            stragglers: 0,
            straggle: Duration::ZERO,
            clock_rate: 0,
            bouts: BTreeMap::new(),
        }
    }

    /// How long an envelope takes: drawn for each, so that they overtake each other.
    pub fn delay(mut self, delay: Range<Duration>) -> Self {
        self.delay = delay;
        self
    }

    /// So many envelopes in a million are lost.
    pub fn loss(mut self, per_million: u32) -> Self {
        self.loss = per_million;
        self
    }

    /// So many envelopes in a million arrive twice.
    pub fn duplicates(mut self, per_million: u32) -> Self {
        self.duplicates = per_million;
        self
    }

    /// So many envelopes in a million take longer, by up to `longest`.
    pub fn stragglers(mut self, per_million: u32, longest: Duration) -> Self {
        self.stragglers = per_million;
        self.straggle = longest;
        self
    }

    /// Each member's clock runs faster or slower by up to so many millionths.
    pub fn clock_rate(mut self, per_million: u32) -> Self {
        self.clock_rate = per_million.min(900_000);
        self
    }

    /// Adds a fault that comes about once in `every` and lasts as long as drawn from `lasts`.
    pub fn with(mut self, fault: Fault, every: Duration, lasts: Range<Duration>) -> Self {
        self.bouts.insert(fault, Bout { every, lasts });
        self
    }

    pub(crate) fn without(mut self, fault: Fault) -> Self {
        self.bouts.remove(&fault);
        self
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.bouts.contains_key(&fault)
    }

    pub(crate) fn kinds(&self) -> impl Iterator<Item = Fault> {
        self.bouts.keys().copied()
    }

    /// When a fault comes next, from now.
    pub(crate) fn next(&self, fault: Fault, dice: &mut Dice) -> Option<Duration> {
        let bout = self.bouts.get(&fault)?;
        Some(dice.span(Duration::ZERO, bout.every.saturating_mul(2)))
    }

    pub(crate) fn lasts(&self, fault: Fault, dice: &mut Dice) -> Duration {
        let lasts = self
            .bouts
            .get(&fault)
            .map_or(Duration::ZERO..Duration::ZERO, |bout| bout.lasts.clone());
        dice.span(lasts.start, lasts.end)
    }
}

/// A selection of faults for the simulation of this crate itself, by name.
///
/// ```
/// use quorate::sim::{Profile, Seed};
///
/// let profile: Profile = "disk".parse().unwrap();
/// let faults = profile.faults(Seed::new(7));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Profile {
    /// Some of everything, which and how much drawn from the seed. Other seeds see other sides of
    /// the program than if every run had every fault at the same rate.
    #[default]
    Swarm,
    /// Nothing goes wrong.
    Calm,
    /// Messages, links and partitions.
    Network,
    /// Processes end and machines lose their power.
    Crash,
    /// Disks are slow, stall, fail, fill up and rot.
    Disk,
    /// Clocks run at different rates, jump and stand still.
    Clock,
    /// Disks rot everywhere: members may refuse to open, and nothing else.
    Rot,
}

impl Profile {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Swarm, Self::Calm, Self::Network, Self::Crash, Self::Disk, Self::Clock, Self::Rot];

    const fn name(self) -> &'static str {
        match self {
            Self::Swarm => "swarm",
            Self::Calm => "calm",
            Self::Network => "network",
            Self::Crash => "crash",
            Self::Disk => "disk",
            Self::Clock => "clock",
            Self::Rot => "rot",
        }
    }

    /// The faults of a run with this seed.
    pub fn faults(self, seed: Seed) -> Faults {
        let mut dice = Dice::of_part(seed, "faults");
        let mut faults = Faults::none();
        let swarm = self == Self::Swarm;
        let mut wanted = |profile: Self| self == profile || (swarm && dice.chance(500_000));
        let network = wanted(Self::Network);
        let (crash, disk, clock) = (wanted(Self::Crash), wanted(Self::Disk), wanted(Self::Clock));
        if network {
            faults = unruly(faults, &mut dice);
        }
        let groups: [(bool, &[Fault]); 5] = [
            (network, &[Fault::Partition, Fault::OneWay, Fault::SlowLink]),
            (crash, &[Fault::Crash, Fault::PowerLoss, Fault::Blackout]),
            (
                disk,
                &[
                    Fault::SlowDisk,
                    Fault::StalledDisk,
                    Fault::FailedWrite,
                    Fault::FailedRead,
                    Fault::FullDisk,
                    Fault::Rot,
                ],
            ),
            (clock, &[Fault::Pause, Fault::ClockJump]),
            (self == Self::Rot, &[Fault::RotAnywhere, Fault::Crash, Fault::PowerLoss]),
        ];
        for fault in groups.iter().filter(|(on, _)| *on).flat_map(|(_, kinds)| *kinds) {
            if !swarm || dice.chance(600_000) {
                let every = dice.span(Duration::from_millis(500), Duration::from_secs(8));
                let longest = dice.span(Duration::from_millis(50), Duration::from_secs(3));
                faults = faults.with(*fault, every, Duration::from_millis(1)..longest);
            }
        }
        if clock {
            let rate = u32::try_from(dice.below(200_000)).unwrap_or_default();
            faults = faults.clock_rate(rate);
        }
        faults
    }
}

/// A network that loses, repeats and delays.
fn unruly(faults: Faults, dice: &mut Dice) -> Faults {
    let mut rate = |most: u64| u32::try_from(dice.below(most)).unwrap_or_default();
    let (loss, twice, late) = (rate(100_000), rate(50_000), rate(50_000));
    let slowest = dice.span(Duration::from_micros(200), Duration::from_millis(20));
    let straggle = dice.span(Duration::from_millis(1), Duration::from_secs(2));
    faults
        .delay(Duration::from_micros(50)..slowest)
        .loss(loss)
        .duplicates(twice)
        .stragglers(late, straggle)
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|profile| profile.name() == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("no profile {name:?}: there are {names}")
        })
    }
}
