//! Threads: shuttle's, but for a rest that time ends.

use std::sync::Arc;
use std::time::Duration;

use super::time::{self, Sleeper};

pub(crate) use shuttle::thread::*;

/// A thread that rests until it is unparked or a moment has come.
struct Parked(Thread);

impl Sleeper for Parked {
    fn ring(&self) {
        self.0.unpark();
    }
}

pub(crate) fn park_timeout(span: Duration) {
    let until = time::after(span);
    let sleeper: Arc<dyn Sleeper> = Arc::new(Parked(current()));
    time::enter(until, &sleeper);
    // From here on the moment unparks it, and leaves a token if it does not rest yet.
    if time::now() < until {
        park();
    }
    time::leave(&sleeper);
}
