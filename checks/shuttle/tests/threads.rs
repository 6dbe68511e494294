//! Runs each scenario under schedules drawn from a fixed seed: `docs/testing.md`, "Threads under
//! shuttle", says what is shown by it and how a failure is replayed.
#![allow(clippy::disallowed_methods, reason = "takes its orders from the environment")]

use std::env::var;
use std::path::Path;

use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

const SEED: u64 = 7;

/// So often a schedule of the second kind lets another thread go first than the one it prefers.
const DEPTH: usize = 3;

/// Runs a scenario under so many schedules of each kind.
fn run(scenario: fn(), schedules: usize) {
    if let Ok(file) = var("SHUTTLE_REPLAY") {
        // Tests run in the folder of their package, and a person stands at the root.
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file);
        return under(ReplayScheduler::new_from_file(file).expect("a schedule"), scenario);
    }
    let given = var("SHUTTLE_SCHEDULES").map(|text| text.parse().expect("a number"));
    let schedules = given.unwrap_or(schedules);
    // At each step any thread that can go on.
    under(RandomScheduler::new_from_seed(SEED, schedules), scenario);
    // One thread for as long as it can go on, but for a few steps.
    under(PctScheduler::new_from_seed(SEED, DEPTH, schedules), scenario);
}

fn under(scheduler: impl Scheduler + 'static, scenario: fn()) {
    Runner::new(scheduler, config()).run(scenario);
}

fn config() -> Config {
    let mut config = Config::new();
    // The consensus crate, unoptimised, goes deep.
    config.stack_size = 1 << 20;
    // A thread that spins is found out, and nobody else needs as many.
    config.max_steps = MaxSteps::FailAfter(100_000);
    config.silence_warnings = true;
    config.failure_persistence = FailurePersistence::File(Some(env!("CARGO_TARGET_TMPDIR").into()));
    config
}

/// A test for each scenario of a room, and how many schedules of each kind it runs under: where a
/// life is short there is time for more.
macro_rules! room {
    ($room:ident, $schedules:literal: $($scenario:ident),+ $(,)?) => {
        mod $room {
            $(
                #[test]
                fn $scenario() {
                    super::run(quorate_shuttle::scenario::$room::$scenario, $schedules);
                }
            )+
        }
    };
}

room!(mailbox, 5_000:
    no_post_is_left,
    no_write_is_left,
    who_ends_it_or_who_drives_tells_all,
    a_turn_that_fails_tells_all,
);

room!(reply, 1_000:
    it_finds_who_waits,
    who_gathers_and_goes_is_driven,
    who_polled_first_may_wait,
    a_deadline_or_the_answer,
    room_is_given_back,
);

room!(log, 1_000:
    what_is_acknowledged_is_there,
    what_may_go_goes,
    nothing_is_written_behind_a_failure,
);

room!(park, 1_000:
    a_deadline_wakes_it,
    who_has_driven_long_leaves_the_rest,
);

room!(close, 1_000:
    everybody_is_told,
    a_held_write_gives_it_up_later,
    held_housekeeping_gives_it_up_later,
    who_is_last_closes_the_log,
    it_halts_meanwhile,
);

room!(watch, 2_000:
    no_change_is_missed,
    who_comes_meanwhile_misses_nothing,
    who_sleeps_is_cancelled,
    who_sleeps_is_told_of_the_end,
    a_set_is_told_of_the_end,
    a_timeout_or_a_change,
);

room!(pair, 1_000:
    both_serve,
    the_leader_closes,
    both_close,
);
