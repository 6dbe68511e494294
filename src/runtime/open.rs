//! From a configuration and a directory to a node that only lacks its threads.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::driver;
use crate::error::{Error, Kind, Result};
use crate::ids::Incarnation;
use crate::storage::DirLock;
use crate::sync::Parker;
use crate::transport::Transport;

use super::clock::Clock;
use super::shared::{Parts, Shared};
use super::snapshotter::{Jobs, Snapshotter};
use super::writer::Log;

/// A node without its threads.
pub(super) struct Opened {
    pub(super) shared: Arc<Shared>,
    pub(super) name: String,
    pub(super) parker: Parker,
    pub(super) snapshotter: Snapshotter,
    /// How long a sync may take before the node acts on it.
    pub(super) patience: Duration,
    pub(super) lock: Arc<DirLock>,
}

pub(super) fn open(config: Config, transport: Box<dyn Transport>) -> Result<Opened> {
    let clock = Clock::start();
    let opened = driver::open(&config, clock.now(), fresh_incarnation)?;
    let (jobs, queue) = Jobs::new();
    let parker = Parker::new();
    let shared = Shared::new(Parts {
        address: opened.address,
        clock,
        limits: opened.limits,
        mailbox: opened.mailbox,
        driver: opened.driver,
        log: Log::new(opened.log),
        jobs,
        snapshots: opened.snapshots,
        transport,
        node_thread: parker.unparker().clone(),
    });
    Ok(Opened {
        shared: Arc::new(shared),
        name: config.name,
        parker,
        snapshotter: Snapshotter { worker: opened.worker, jobs: queue },
        patience: opened.patience,
        lock: opened.lock,
    })
}

/// A random number that no other data directory has.
fn fresh_incarnation() -> Result<Incarnation> {
    loop {
        let random = getrandom::u64().map_err(|error| {
            Error::new(Kind::Io, format!("no random number to be had: {error}"))
        })?;
        if random != 0 {
            return Ok(Incarnation::new(random));
        }
    }
}
