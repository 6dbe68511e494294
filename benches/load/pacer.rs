//! Puts that arrive at a fixed rate, whatever becomes of those before: an open loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate::Store;

use crate::callers::Callers;
use crate::random::Random;
use crate::workloads::key;

/// Puts under way at most; beyond it the arrivals wait.
const MAX_UNDER_WAY: usize = 256;

/// What the pacer counts while it runs.
#[derive(Default)]
pub(crate) struct Pace {
    done: AtomicU64,
    failed: AtomicU64,
    under_way: AtomicUsize,
    stop: AtomicBool,
}

impl Pace {
    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Offers `rate` puts a second, as tasks beside the callers, until it is stopped.
    pub(crate) fn offer(
        self: &Arc<Self>,
        rate: u32,
        callers: &Callers,
        store: &Store,
        (keys, value_bytes): (u64, usize),
    ) {
        let value = Bytes::from(vec![0; value_bytes]);
        let mut random = Random::new(3);
        let mut next = Instant::now();
        while !self.stop.load(Ordering::Relaxed) {
            next += Duration::from_secs(1) / rate;
            thread::sleep(next.saturating_duration_since(Instant::now()));
            while self.under_way.load(Ordering::Relaxed) >= MAX_UNDER_WAY {
                thread::sleep(Duration::from_micros(50));
            }
            self.under_way.fetch_add(1, Ordering::Relaxed);
            let put = store.put(key(random.below(keys)), value.clone());
            let pace = Arc::clone(self);
            callers.spawn(async move {
                match put.await {
                    Ok(_) => pace.done.fetch_add(1, Ordering::Relaxed),
                    Err(_) => pace.failed.fetch_add(1, Ordering::Relaxed),
                };
                pace.under_way.fetch_sub(1, Ordering::Relaxed);
            });
        }
        // The store is about to be closed: let what is under way come back first.
        while self.under_way.load(Ordering::Relaxed) > 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
}
