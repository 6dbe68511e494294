//! Golden scripts for a whole cluster: real members over simulated machines, and a script that
//! decides what happens next.
//!
//! Nothing takes time by itself: an envelope arrives at once, a sync is done at once, and all
//! that follows from a command has happened before the next one. Time passes by `tick`, `run`,
//! `elect` and `settle` only. What a script wants to see step by step it holds back:
//!
//! - on a link that is *held*, envelopes wait until the script delivers, drops or repeats them;
//! - on a *stalled* disk, batches wait until the script syncs them one by one;
//! - a *paused* process does nothing until it is resumed.
//!
//! What is held is printed when it is sent and when it arrives. Of what flows, only what a user
//! would notice is printed: answers, leaders, starts and ends, snapshots. A line that is said
//! while time passes begins with the time.
//!
//! All judges watch all the while. A broken promise fails the script, whatever it printed.

mod call;
mod command;
mod lease;
mod play;
mod show;
mod watch;

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};

use goldenscript::Context;

use self::command::{Command, Filter, Place};
use self::play::Play;
use super::life::{During, Power};
use crate::planted::{Bug, Plant};

type Done = Result<(), Box<dyn Error>>;

impl Play {
    fn obey(&mut self, command: &Command) -> Done {
        match command {
            Command::Cluster { .. } => self.found(command),
            Command::Put { .. }
            | Command::Delete { .. }
            | Command::Swap { .. }
            | Command::Compact { .. }
            | Command::Read { .. }
            | Command::Get { .. }
            | Command::Transfer { .. } => self.call(command),
            Command::Grant { .. }
            | Command::Revoke { .. }
            | Command::Keep { .. }
            | Command::Left { .. }
            | Command::Open { .. }
            | Command::Close(_)
            | Command::Sessions => self.lease(command),
            Command::Watch { .. }
            | Command::Next(_)
            | Command::Follow(_)
            | Command::Progress(_)
            | Command::Cancel(_)
            | Command::Leave(_) => self.watch(command),
            Command::Hold { .. }
            | Command::Flow { .. }
            | Command::Deliver { .. }
            | Command::Drop { .. }
            | Command::Duplicate { .. }
            | Command::Held
            | Command::Cut { .. }
            | Command::Isolate(_)
            | Command::Heal => self.network(command),
            Command::Tick { .. }
            | Command::Run { .. }
            | Command::Stand(_)
            | Command::Elect(_)
            | Command::Settle => self.time(command),
            Command::Status { names } => self.status(names),
            Command::Log { names } => self.logs(names),
            Command::History { names } => self.histories(names),
            Command::Removed { names } => self.removals(names),
            Command::Trace(on) => {
                self.tells_all = on == "on";
                Ok(())
            }
            _ => self.machine(command),
        }
    }

    /// What happens to one member or its machine.
    fn machine(&mut self, command: &Command) -> Done {
        match command {
            Command::Stall(name) => {
                let place = self.place(name)?;
                self.world()?.lock().stall_for_ever(place);
            }
            Command::Pause(name) => {
                let place = self.place(name)?;
                self.world()?.lock().pause_for_ever(place);
            }
            Command::Resume(name) => {
                let place = self.place(name)?;
                self.world()?.lock().resume(place);
            }
            Command::Sync { name, count } => {
                for _ in 0..count.unwrap_or(1) {
                    self.sync(name)?;
                }
            }
            Command::Job { name, count } => {
                for _ in 0..count.unwrap_or(1) {
                    self.job(name)?;
                }
            }
            Command::Crash { name, during, within } => {
                self.stop(name, (during.as_deref(), *within), Power::Stays)?;
            }
            Command::Power { name, during, within, seed } => {
                let power = seed.map_or(Power::Lost, |seed| Power::Drawn(play::dice(seed)));
                self.stop(name, (during.as_deref(), *within), power)?;
            }
            Command::Start { names } => self.start(names)?,
            Command::Replace(name) => self.replace(name)?,
            Command::Rot { name, file, at } => self.rot(name, file, *at)?,
            Command::Fail { name, at } => self.fail_disk(name, *at)?,
            _ => return Err("not obeyed".into()),
        }
        self.rest()
    }

    fn stop(
        &mut self,
        name: &Place,
        (during, within): (Option<&str>, Option<u64>),
        power: Power,
    ) -> Done {
        let place = self.place(name)?;
        let within = within.unwrap_or_default();
        let during = match during {
            None => During::Nothing,
            Some("sync") => During::Batch(within),
            Some("job") => During::Job(within),
            Some(other) => return Err(format!("during={other}: sync or job").into()),
        };
        self.world()?.lock().stop(place, during, power);
        Ok(())
    }

    fn network(&mut self, command: &Command) -> Done {
        match command {
            Command::Hold { from, to } => self.hold(from.as_ref(), to.as_ref(), true)?,
            Command::Flow { from, to } => {
                self.hold(from.as_ref(), to.as_ref(), false)?;
                let all = Filter::new((from.as_ref(), to.as_ref()), None, None, None);
                while self.deliver(&all, false)? > 0 {}
            }
            Command::Deliver { from, to, kind, term, count } => {
                let filter = Filter::new((from.as_ref(), to.as_ref()), *kind, *term, *count);
                if self.deliver(&filter, true)? == 0 {
                    self.say("nothing like that is held");
                }
            }
            Command::Drop { from, to, kind, term, count } => {
                let filter = Filter::new((from.as_ref(), to.as_ref()), *kind, *term, *count);
                let dropped = self.take(&filter)?.len();
                self.say(format!("{dropped} dropped"));
            }
            Command::Duplicate { from, to, kind, term, count } => {
                let filter = Filter::new((from.as_ref(), to.as_ref()), *kind, *term, *count);
                self.duplicate(&filter)?;
            }
            Command::Held => self.show_held()?,
            Command::Cut { from, to } => {
                let (from, to) = (self.place(from)?, self.place(to)?);
                self.world()?.lock().network.cut(from, to);
            }
            Command::Isolate(name) => self.cluster()?.isolate(&name.0)?,
            Command::Heal => self.cluster()?.heal(),
            _ => return Err("not obeyed".into()),
        }
        self.rest()
    }
}

impl goldenscript::Runner for Play {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        let obeyed = self.obey(command);
        self.transcript.push_str(&self.out);
        obeyed?;
        Ok(std::mem::take(&mut self.out))
    }
}

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts/cluster");

#[test]
#[expect(clippy::disallowed_methods, reason = "reads the repository's own files")]
fn scripts() {
    let files = std::fs::read_dir(SCRIPTS).unwrap();
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    let mut failed = Vec::new();
    for path in &paths {
        let mut play = Play::default();
        // It panics when the output differs, and the other scripts are to be seen too.
        match catch_unwind(AssertUnwindSafe(|| goldenscript::run(&mut play, path))) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                failed.push(format!("{}\n{}: {error}", play.transcript, path.display()));
            }
            Err(_) => failed.push(format!("{} differs", path.display())),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(paths.len() >= 40, "only {} scripts in {SCRIPTS}", paths.len());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "reads the repository's own files")]
fn the_page_about_tests_says_what_each_script_is_for() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/testing.md");
    let page = std::fs::read_to_string(page).unwrap();
    for script in std::fs::read_dir(SCRIPTS).unwrap() {
        let name = script.unwrap().file_name().into_string().unwrap();
        assert!(page.contains(&format!("`{name}`")), "{name} has no row");
    }
}

/// Bugs, each with a script that is about what it breaks.
const NOTICED: [(Bug, &str); 38] = [
    (Bug::AckBeforeSync, "r4_leader_sends_before_it_syncs"),
    (Bug::PromiseBeforeSync, "r2_acknowledgement_waits_for_sync"),
    (Bug::SkipSync, "single_member_waits_for_its_disk"),
    (Bug::SkipDirSync, "applied_once_after_a_crash"),
    (Bug::ForgetVote, "r3_vote_waits_for_sync"),
    (Bug::ReuseReadContext, "r6_read_context_hole"),
    (Bug::ReadWithoutRound, "stale_read_after_a_pause"),
    (Bug::ReadBeforeApplied, "snapshot_installed_while_reading"),
    (Bug::JoinLateRound, "lin_1_late_read_takes_the_next_round"),
    (Bug::ApplyTwice, "duplicated_forward_across_leaders"),
    (Bug::AcceptOldBoots, "forward_of_an_earlier_boot"),
    (Bug::ForgetSessions, "duplicate_after_a_snapshot"),
    (Bug::CallItNotApplied, "without_quorum"),
    (Bug::CutDamage, "rot_in_the_log_is_refused"),
    (Bug::LoseLastEntry, "raft_figure_8"),
    (Bug::ReleaseTooMuch, "rot_in_the_newest_snapshot"),
    (Bug::KeepEverything, "snapshot_while_writes_go_on"),
    (Bug::DropKeptVersion, "tombstone_at_the_compacted_revision"),
    (Bug::CountEmptyDelete, "revision_never_falls"),
    (Bug::ApplyByMood, "range_delete_is_one_revision"),
    (Bug::SplitTxn, "transactions_across_leaders"),
    (Bug::ReadWithoutRound, "r5_no_lease"),
    (Bug::LoseLastEntry, "raft_leader_crash_matrix"),
    (Bug::SleepOnNews, "wat_29_a_starved_watcher_misses_nothing"),
    (Bug::ForgetSleeper, "wat_29_a_starved_watcher_misses_nothing"),
    (Bug::GiveTwice, "wat_34_install_under_watchers"),
    (Bug::SilentInstall, "wat_34_install_under_watchers"),
    (Bug::PrevTooLate, "wat_16_a_revision_is_never_split"),
    (Bug::IgnoreFilter, "wat_16_a_revision_is_never_split"),
    (Bug::ProgressTooFar, "wat_25_progress_overtakes_no_event"),
    (Bug::HoldNothing, "wat_30_compaction_passes_a_stalled_watcher"),
    (Bug::HoldNothing, "wat_30_who_is_lost_is_not_in_the_way"),
    (Bug::PassOverRemoved, "wat_30_compaction_passes_a_stalled_watcher"),
    (Bug::FireEarly, "wat_34_future_watcher_survives_an_install"),
    (Bug::FireEarly, "wat_36_resumed_at_a_member_that_lags"),
    (Bug::EndInSilence, "wat_35_restart_and_resume"),
    (Bug::LeaderlessInSilence, "wat_33_leader_loss"),
    (Bug::DropKeptVersion, "wat_10_tombstone_at_the_compacted_revision"),
];

/// A script that cannot fail shows nothing.
#[test]
#[expect(clippy::disallowed_methods, reason = "reads the repository's own files")]
fn planted_bugs_change_what_scripts_say() {
    for (bug, name) in NOTICED {
        let script = std::fs::read_to_string(format!("{SCRIPTS}/{name}")).unwrap();
        let plant = Plant::new(bug);
        let said = goldenscript::generate(&mut Play::default(), &script);
        drop(plant);
        assert!(said.is_err() || said.is_ok_and(|said| said != script), "{name} misses {bug:?}");
    }
}
