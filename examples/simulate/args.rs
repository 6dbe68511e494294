//! What is asked for.

use std::fmt::Write as _;
use std::ops::Range;

use quorate::sim::Profile;

/// Seeds that are run if nobody says which.
const SEEDS: Range<u64> = 0..100;

/// More at a time than any machine has use for.
const MAX_JOBS: usize = 1_024;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Help,
    Band(Band),
    Replay(Replay),
}

/// Many seeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Band {
    pub(crate) seeds: Range<u64>,
    /// Each seed is run with each of them.
    pub(crate) profiles: Vec<Profile>,
    pub(crate) size: Size,
    /// Runs at a time; as many as there are cores if nobody says.
    pub(crate) jobs: Option<usize>,
    pub(crate) keep_going: bool,
    pub(crate) strict: bool,
    pub(crate) json: bool,
}

/// One seed, once more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Replay {
    pub(crate) seed: u64,
    pub(crate) profile: Profile,
    pub(crate) size: Size,
    /// Print every event.
    pub(crate) trace: bool,
    /// The file that gets what clients called and were told.
    pub(crate) history: Option<String>,
}

/// How large a run is, and of what kind. What is not said is as the library has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    /// Clients hold leases, instead of reading and writing.
    pub(crate) holders: bool,
    pub(crate) calls: Option<u64>,
    pub(crate) ticks: Option<u64>,
}

pub(crate) const HELP: &str = "\
Simulates clusters: the real members with a network, disks and clocks that are made up, clients
that call them, faults, and judges that look on. Every run comes from its seed, and is the same
each time.

Usage: cargo run --release --features sim --example simulate -- [OPTION...]

Many seeds:
  --seeds A..B     from A up to B, B not included (0..100)
  --profile NAME   which faults come: PROFILES;
                   or all: every seed with each of them (swarm)
  --jobs N         runs at a time, each on a thread of its own (one for each core)
  --keep-going     go on when a seed has failed; without, the first one in order ends it
  --strict         never to have been on a rare path is a failure, given 1,000 runs; so is a
                   history of which nobody can tell whether it is linearizable
  --json           the summary as one JSON object

One seed:
  --replay SEED    run it again, and say how it went
  --trace          and print everything that happens, a line each
  --history FILE   and write what clients called and were told, for other checkers (EDN)

What a run is:
  --holders        clients hold leases, instead of reading and writing
  --calls N        what the clients call, all together (2000)
  --ticks N        ticks of a member that faults and calls last (drawn from the seed)

  --help           this

Exits with 0 if every promise was kept, with 1 if one was broken, with 2 if an option is wrong.
";

/// The help, with the names that the library knows.
pub(crate) fn help() -> String {
    let names = Profile::ALL.map(|profile| profile.to_string()).join(", ");
    HELP.replace("PROFILES", &names)
}

/// What was found on the command line, before it is known to fit together.
#[derive(Default)]
struct Found {
    help: bool,
    seeds: Option<Range<u64>>,
    profiles: Option<Vec<Profile>>,
    replay: Option<u64>,
    size: Size,
    jobs: Option<usize>,
    keep_going: bool,
    strict: bool,
    json: bool,
    trace: bool,
    history: Option<String>,
}

/// Reads the arguments, the program's name not among them.
pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Wish, String> {
    let mut found = Found::default();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        // `--calls 5` and `--calls=5` are the same.
        let (name, joined) = match argument.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (argument, None),
        };
        if found.flag(&name) {
            if let Some(value) = joined {
                return Err(format!("{name}: takes no value, but is given {value:?}"));
            }
            continue;
        }
        let form = form_of(&name).ok_or_else(|| unknown(&name))?;
        let value = joined.or_else(|| arguments.next());
        let value = value.ok_or_else(|| format!("{name}: a value is missing: {form}"))?;
        found.value(&name, &value).ok_or_else(|| format!("{name}: {value:?} is not {form}"))?;
    }
    found.wish()
}

fn unknown(name: &str) -> String {
    let mut text = format!("{name}: there is no such option; there are ");
    let names = ["--seeds", "--profile", "--calls", "--ticks", "--replay", "--history", "--jobs"];
    for name in names {
        let _ = write!(text, "{name}, ");
    }
    text.push_str("--trace, --holders, --keep-going, --strict, --json, --help");
    text
}

/// What the value of an option has to look like.
fn form_of(name: &str) -> Option<String> {
    let number = |what: &str| Some(format!("a number{what}"));
    match name {
        "--seeds" => Some("A..B with numbers A < B".to_owned()),
        "--profile" => {
            let names = Profile::ALL.map(|profile| profile.to_string()).join(", ");
            Some(format!("one of {names}, all"))
        }
        "--jobs" => number(&format!(" from 1 to {MAX_JOBS}")),
        "--calls" | "--ticks" => number(" of at least 1"),
        "--replay" => number(""),
        "--history" => Some("a file".to_owned()),
        _ => None,
    }
}

impl Found {
    /// Takes an option without a value, if it is one.
    fn flag(&mut self, name: &str) -> bool {
        let flag = match name {
            "--help" | "-h" => &mut self.help,
            "--keep-going" => &mut self.keep_going,
            "--strict" => &mut self.strict,
            "--json" => &mut self.json,
            "--trace" => &mut self.trace,
            "--holders" => &mut self.size.holders,
            _ => return false,
        };
        *flag = true;
        true
    }

    /// Takes an option with its value; `None` if the value is not of the right form.
    fn value(&mut self, name: &str, value: &str) -> Option<()> {
        let number = || value.parse::<u64>().ok();
        let positive = || number().filter(|number| *number > 0);
        match name {
            "--seeds" => {
                let (from, to) = value.split_once("..")?;
                let seeds = from.parse().ok()?..to.parse().ok()?;
                self.seeds = Some(seeds).filter(|seeds| !seeds.is_empty());
                self.seeds.as_ref()?;
            }
            "--profile" if value == "all" => self.profiles = Some(Profile::ALL.to_vec()),
            "--profile" => self.profiles = Some(vec![value.parse().ok()?]),
            "--calls" => self.size.calls = Some(positive()?),
            "--ticks" => self.size.ticks = Some(positive()?),
            "--replay" => self.replay = Some(number()?),
            "--history" => self.history = Some(value.to_owned()),
            "--jobs" => {
                let jobs = usize::try_from(positive()?).ok()?;
                self.jobs = Some(jobs).filter(|jobs| *jobs <= MAX_JOBS);
                self.jobs?;
            }
            _ => return None,
        }
        Some(())
    }

    fn wish(self) -> Result<Wish, String> {
        if self.help {
            return Ok(Wish::Help);
        }
        let Some(seed) = self.replay else {
            if self.trace {
                return Err("--trace: only with --replay SEED".to_owned());
            }
            if self.history.is_some() {
                return Err("--history: only with --replay SEED".to_owned());
            }
            return Ok(Wish::Band(Band {
                seeds: self.seeds.unwrap_or(SEEDS),
                profiles: self.profiles.unwrap_or_else(|| vec![Profile::default()]),
                size: self.size,
                jobs: self.jobs,
                keep_going: self.keep_going,
                strict: self.strict,
                json: self.json,
            }));
        };
        let many = [
            ("--seeds", self.seeds.is_some()),
            ("--jobs", self.jobs.is_some()),
            ("--keep-going", self.keep_going),
            ("--strict", self.strict),
            ("--json", self.json),
        ];
        if let Some((name, _)) = many.iter().find(|(_, given)| *given) {
            return Err(format!("{name}: not with --replay, which runs one seed"));
        }
        let profiles = self.profiles.unwrap_or_else(|| vec![Profile::default()]);
        let [profile] = *profiles else {
            return Err("--profile: not all with --replay, which runs one seed once".to_owned());
        };
        let (size, trace, history) = (self.size, self.trace, self.history);
        Ok(Wish::Replay(Replay { seed, profile, size, trace, history }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Wish, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    fn band(line: &str) -> Band {
        match parsed(line) {
            Ok(Wish::Band(band)) => band,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_are_read() {
        let default = band("");
        assert_eq!((default.seeds, default.profiles), (SEEDS, vec![Profile::Swarm]));
        let line = "--seeds 5..9 --profile all --calls=7 --ticks 8 --jobs 3 --keep-going --holders";
        let all = band(line);
        assert_eq!((all.seeds, all.profiles.len()), (5..9, Profile::ALL.len()));
        assert_eq!(all.size, Size { holders: true, calls: Some(7), ticks: Some(8) });
        assert_eq!((all.jobs, all.keep_going, all.json), (Some(3), true, false));
        let replay = parsed("--replay 7 --profile disk --trace --history calls.edn").unwrap();
        let size = Size::default();
        let history = Some("calls.edn".to_owned());
        let expected = Replay { seed: 7, profile: Profile::Disk, size, trace: true, history };
        assert_eq!(replay, Wish::Replay(expected));
        assert_eq!(parsed("--replay 7 --help"), Ok(Wish::Help));
    }

    /// Each error names the option, and what it takes.
    #[test]
    fn what_is_wrong_is_named() {
        for (line, name, form) in [
            ("--seeds", "--seeds", "A..B"),
            ("--seeds 7", "--seeds", "A..B"),
            ("--seeds 9..9", "--seeds", "A < B"),
            ("--profile dark", "--profile", "one of swarm, calm,"),
            ("--calls 0", "--calls", "at least 1"),
            ("--ticks many", "--ticks", "a number"),
            ("--replay -1", "--replay", "a number"),
            ("--jobs 9999", "--jobs", "from 1 to 1024"),
            ("--json=yes", "--json", "no value"),
            ("--speed 5", "--speed", "--seeds, --profile,"),
            ("7", "7", "no such option"),
            ("--trace", "--trace", "--replay SEED"),
            ("--history f", "--history", "--replay SEED"),
            ("--replay 7 --seeds 0..1", "--seeds", "not with --replay"),
            ("--replay 7 --profile all", "--profile", "not all with --replay"),
        ] {
            let error = parsed(line).unwrap_err();
            assert!(error.starts_with(&format!("{name}: ")), "{line}: {error}");
            assert!(error.contains(form), "{line}: {error}");
        }
    }

    #[test]
    fn the_help_names_every_option_and_every_profile() {
        let help = help();
        for part in unknown("").split([' ', ',']).filter(|part| part.starts_with("--")) {
            assert!(help.contains(part), "{part}");
        }
        for profile in Profile::ALL {
            assert!(help.contains(&profile.to_string()), "{profile}");
        }
        assert!(help.lines().all(|line| line.len() <= 100), "{help}");
    }
}
