//! What a cluster is made of.

use std::fmt;
use std::sync::Arc;

use super::cluster::Cluster;
use super::dice::Seed;
use super::faults::Faults;
use super::shared::Shared;
use super::world::World;
use crate::config::Config;
use crate::error::{Error, Result};

/// Members that a cluster has unless it is told otherwise.
const MEMBERS: usize = 3;

/// The most members that a simulation takes.
const MAX_MEMBERS: usize = 16;

/// What a cluster is made of.
///
/// ```
/// use quorate::sim::{Builder, Faults, Seed};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cluster = Builder::new(Seed::new(7))
///     .members(5)
///     .config(|config| config.snapshot_count(100))
///     .faults(Faults::none().loss(10_000))
///     .build()?;
/// assert_eq!(cluster.names(), ["a", "b", "c", "d", "e"]);
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct Builder {
    seed: Seed,
    members: usize,
    faults: Faults,
    replay: Option<String>,
    config: Box<dyn Fn(Config) -> Config>,
}

impl Builder {
    /// Three members without faults.
    pub fn new(seed: Seed) -> Self {
        Self {
            seed,
            members: MEMBERS,
            faults: Faults::none(),
            replay: None,
            config: Box::new(|config| config),
        }
    }

    /// How many members, 1 to 16. They are called `a`, `b`, `c` and so on.
    pub fn members(mut self, count: usize) -> Self {
        self.members = count;
        self
    }

    /// What goes wrong from the beginning.
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// The command that runs this seed again. A [`Failure`](super::Failure) prints it
    /// last.
    pub fn replay(mut self, command: impl Into<String>) -> Self {
        self.replay = Some(command.into());
        self
    }

    /// Changes each member's configuration. Its files stay the simulation's.
    pub fn config(mut self, change: impl Fn(Config) -> Config + 'static) -> Self {
        self.config = Box::new(change);
        self
    }

    /// Makes the cluster. Nothing has happened in it yet.
    ///
    /// # Errors
    ///
    /// [`is_config`](Error::is_config) for a number of members out of bounds and for settings that
    /// break a rule.
    pub fn build(self) -> Result<Cluster> {
        let Self { seed, members, faults, replay, config } = self;
        if !(1..=MAX_MEMBERS).contains(&members) {
            let text = format!("{members} members: a simulation has 1 to {MAX_MEMBERS}");
            return Err(Error::config(text));
        }
        let names: Vec<String> = ('a'..='z').take(members).map(String::from).collect();
        let mut configs = Vec::new();
        for (name, number) in names.iter().zip(0_u64..) {
            let listed = names.iter().map(|name| (name.clone(), name.clone()));
            let own = Config::new(name, format!("/{name}"))
                .initial_cluster(listed)
                .election_seed(seed.get().wrapping_add(number));
            let own = config(own);
            own.validate()?;
            configs.push(own);
        }
        let mut world = World::new(seed, configs, faults.clone())?;
        world.replay = replay;
        for judge in super::check::protocol() {
            world.judged_by(judge);
        }
        let shared = Arc::new(Shared::new(world));
        {
            let mut world = shared.world.lock();
            world.own = Arc::downgrade(&shared);
            for place in 0..members {
                world.open(place);
            }
            world.unleash(faults);
        }
        Ok(Cluster { shared })
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("seed", &self.seed)
            .field("members", &self.members)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}
