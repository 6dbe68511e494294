//! The simulation as handles, tasks and the cluster share it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::tasks::Tasks;
use super::world::World;

/// Invariant: no task is polled, and nothing of a user's is dropped, under the lock of the world:
/// a task calls its handles, and they take it.
pub(super) struct Shared {
    pub(super) world: Mutex<World>,
    pub(super) tasks: Tasks,
    /// Somebody lets it run at the moment.
    running: AtomicBool,
}

impl Shared {
    pub(super) fn new(world: World) -> Self {
        Self { world: Mutex::new(world), tasks: Tasks::default(), running: AtomicBool::new(false) }
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed)
    }

    /// The next thing that happens: a task goes on, or time does. False when nothing ever will
    /// again, after a failure, and from within a task.
    pub(super) fn step(&self) -> bool {
        if self.running.swap(true, Ordering::Relaxed) {
            return false;
        }
        let stepped = catch_unwind(AssertUnwindSafe(|| {
            if self.world.lock().has_failed() {
                return false;
            }
            self.tasks.poll_one() || self.world.lock().step()
        }));
        self.running.store(false, Ordering::Relaxed);
        stepped.unwrap_or_else(|panic| {
            self.world.lock().fail(format!("a panic: {}", text_of(&*panic)));
            false
        })
    }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no text".into())
}
