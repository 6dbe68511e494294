//! The simulation as handles, tasks and the cluster share it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::tasks::Tasks;
use super::world::World;

/// Invariant: no task is polled, and nothing of a user's is dropped, under the lock of the world:
/// a task calls its handles, and they take it. What an answer calls by itself may be called under
/// it, and a gate expects that (`port.rs`).
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
        self.guarded(|| {
            if self.world.lock().has_failed() {
                return false;
            }
            self.tasks.poll_one() || self.world.lock().step()
        })
    }

    /// Everything that happens until then. False after a failure, and from within a task.
    pub(super) fn run_until(&self, end: u64) -> bool {
        self.guarded(|| {
            loop {
                while self.tasks.poll_one() {}
                let mut world = self.world.lock();
                loop {
                    if world.has_failed() {
                        return false;
                    }
                    if world.next_at().is_none_or(|at| at > end) {
                        world.pass_until(end);
                        return true;
                    }
                    world.step();
                    if !self.tasks.is_idle() {
                        break;
                    }
                }
            }
        })
    }

    /// Not from within a task, and a panic is a failure.
    fn guarded(&self, run: impl FnOnce() -> bool) -> bool {
        if self.running.swap(true, Ordering::Relaxed) {
            return false;
        }
        let ran = catch_unwind(AssertUnwindSafe(run));
        self.running.store(false, Ordering::Relaxed);
        ran.unwrap_or_else(|panic| {
            self.world.lock().fail(format!("a panic: {}", text_of(&*panic)));
            false
        })
    }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no text".into())
}
