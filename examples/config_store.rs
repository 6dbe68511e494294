//! The settings of several services in one store: typed, changed with care, and with a history to
//! go back to.
//!
//! ```sh
//! cargo run --release --features serde --example config_store          # in a temporary directory
//! cargo run --release --features serde --example config_store -- DIR   # kept, for the next run
//! ```
//!
//! ```text
//!   config/                 the root: a handle that cannot leave it
//!     billing/              a handle for each service; `db` in there is config/billing/db
//!       db, cache           values: `Settings`, as JSON
//!     search/
//!       db
//! ```
//!
//! [`Service`] is the part to copy. What `main` does with it is asserted while it is printed, so
//! that the program ends with 0 only if the store did what is said here. A cluster of one is enough
//! to try it; with more members nothing but the opening differs (see `examples/tcp_cluster.rs`).
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a program, not the library: it has threads, a directory and a terminal"
)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use quorate::{
    Branch, Codec, Compare, Config, Json, KeyRange, LocalNetwork, Node, Op, Revision, Store, Typed,
    TypedStore,
};
use serde::{Deserialize, Serialize};

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Outcome<T> = Result<T, Failure>;

/// Revisions that can be gone back to.
const KEPT_REVISIONS: u64 = 10;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Settings {
    host: String,
    workers: u32,
    timeout_ms: u64,
}

/// The settings of one service, which sees no other's.
struct Service {
    name: &'static str,
    settings: TypedStore<Settings>,
}

impl Service {
    fn of(root: &Store, name: &'static str) -> Self {
        Self { name, settings: root.scoped(format!("{name}/")).typed() }
    }

    /// Writes settings, whatever was there.
    fn publish(&self, key: &'static str, settings: &Settings) -> Outcome<Revision> {
        Ok(self.settings.put(key, settings).wait()?.header.revision)
    }

    fn current(&self, key: &'static str) -> Outcome<Typed<Settings>> {
        let found = self.settings.get(key).wait()?;
        found.ok_or_else(|| format!("{}/{key} is not there", self.name).into())
    }

    /// Writes settings over those that were seen. Over newer ones it does not: it gives them back.
    fn replace(&self, seen: &Typed<Settings>, new: &Settings) -> Outcome<Replaced> {
        let key = seen.kv.key().to_vec();
        let unchanged = Compare::mod_revision(key.clone()).equals(seen.kv.mod_revision());
        let put = Op::put(key.clone(), Json::encode(new)?);
        let txn = self.settings.store().txn().when(unchanged).then(put).or_else(Op::get(key));
        Ok(match txn.wait()?.branch {
            Branch::Then(put) => Replaced::At(put.header.revision),
            Branch::Else(got) => {
                Replaced::Not(got.kv.map(|kv| self.settings.decode(kv)).transpose()?)
            }
        })
    }

    /// Changes settings by what they are. May be called by many at once: none is lost.
    fn adjust(&self, key: &'static str, change: impl Fn(&mut Settings)) -> Outcome<u32> {
        let adjusted = self.settings.store().transact(|tx| {
            let Some(stored) = tx.get(key)? else { return Ok(Err("it is not there".into())) };
            let adjusted = Json::decode(&stored).and_then(|mut settings| {
                change(&mut settings);
                Json::encode(&settings)
            });
            // What does not decode ends the transaction without a write, and without a retry.
            match adjusted {
                Ok(bytes) => tx.put(key, bytes).map(Ok),
                Err(error) => Ok(Err(error)),
            }
        });
        let done = adjusted.wait()?;
        done.value.map(|()| done.attempts)
    }

    /// Every version that can still be read, the newest first.
    fn history(&self, key: &'static str) -> Outcome<Vec<Typed<Settings>>> {
        let mut versions = Vec::new();
        let mut next = self.settings.get(key).wait()?;
        while let Some(found) = next {
            let before = Revision::new(found.kv.mod_revision().get().saturating_sub(1));
            next = match self.settings.get(key).with(|get| get.at(before)).wait() {
                // What is older has been compacted.
                Err(error) if error.is_compacted() => None,
                // The key's life before this one, if it had one, is another story.
                read => read?.filter(|_| found.kv.version() > 1),
            };
            versions.push(found);
        }
        Ok(versions)
    }

    /// Makes the settings what they were at a revision. That is a change like any other: the
    /// history goes on, and says so.
    fn roll_back(&self, key: &'static str, to: Revision) -> Outcome<Revision> {
        let then = self.settings.get(key).with(|get| get.at(to)).wait()?;
        let then = then.ok_or("there was nothing at that revision")?;
        match self.replace(&self.current(key)?, &then.value)? {
            Replaced::At(revision) => Ok(revision),
            Replaced::Not(_) => Err("somebody has changed it meanwhile".into()),
        }
    }
}

/// How a careful change went.
enum Replaced {
    At(Revision),
    /// Nothing was written, because this is there now.
    Not(Option<Typed<Settings>>),
}

fn main() -> ExitCode {
    match run(std::env::args_os().nth(1).map(PathBuf::from)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("config_store: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(dir: Option<PathBuf>) -> Outcome<()> {
    let temporary = tempfile::tempdir()?;
    let dir = dir.unwrap_or_else(|| temporary.path().join("member"));
    let config = Config::new("solo", &dir).initial_cluster([("solo", "here")]);
    let endpoint = LocalNetwork::new().endpoint(config.node_id()?);
    let node = Node::open(config, endpoint)?;
    println!("a cluster of one in {}", dir.display());

    let store = node.store();
    let root = store.scoped("config/");
    let cleared = root.delete(..).wait()?;
    println!(
        "@{} cleared: {} settings of an earlier run",
        cleared.header.revision, cleared.deleted
    );

    let (billing, search) = (Service::of(&root, "billing"), Service::of(&root, "search"));
    let first = careful_change(&billing, &search)?;
    one_change_for_all(&root, &[&billing, &search])?;
    many_at_once(&billing)?;
    back(&billing, first)?;
    everything(&root, &billing)?;
    forget(&store, &billing, first)?;
    node.close(Duration::from_secs(5))?;
    Ok(())
}

/// Two administrators have seen the same settings. Only one of them can replace those.
fn careful_change(billing: &Service, search: &Service) -> Outcome<Revision> {
    let settings = Settings { host: "db-1".into(), workers: 4, timeout_ms: 500 };
    let first = billing.publish("db", &settings)?;
    billing.publish("cache", &Settings { host: "cache-1".into(), ..settings.clone() })?;
    search.publish("db", &settings)?;

    let seen = billing.current("db")?;
    let patient = Settings { timeout_ms: 2_000, ..settings.clone() };
    let Replaced::At(revision) = billing.replace(&seen, &patient)? else {
        return Err("nobody else had changed it".into());
    };
    println!("@{revision} billing/db waits {} ms: as seen at @{first}", patient.timeout_ms);

    let hasty = Settings { timeout_ms: 50, ..settings };
    let Replaced::Not(Some(newer)) = billing.replace(&seen, &hasty)? else {
        return Err("settings that nobody has seen were overwritten".into());
    };
    let written = newer.kv.mod_revision();
    println!("      {} ms refused: it was changed at @{written} meanwhile", hasty.timeout_ms);
    assert_eq!((newer.value, written), (patient, revision));
    Ok(first)
}

/// The database moves: no service may see the new host while another has the old one.
fn one_change_for_all(root: &Store, services: &[&Service]) -> Outcome<()> {
    let (mut txn, mut moves) = (root.txn(), Vec::new());
    for service in services {
        let seen = service.current("db")?;
        let key = format!("{}/db", service.name);
        txn = txn.when(Compare::mod_revision(key.clone()).equals(seen.kv.mod_revision()));
        let moved = Settings { host: "db-2".into(), ..seen.value };
        moves.push(Op::put(key, Json::encode(&moved)?));
    }
    let done = txn.then(moves).wait()?;
    assert!(done.succeeded(), "nobody else changes anything");
    let revision = done.header.revision;
    for service in services {
        let now = service.current("db")?;
        assert_eq!((now.value.host.as_str(), now.kv.mod_revision()), ("db-2", revision));
    }
    println!("@{revision} {} services have moved to db-2, at one revision", services.len());
    Ok(())
}

/// Four threads add workers, each as many times; every one of them counts.
fn many_at_once(billing: &Service) -> Outcome<()> {
    const THREADS: u32 = 4;
    const TIMES: u32 = 5;
    let add =
        || -> Outcome<u32> { (0..TIMES).map(|_| billing.adjust("db", |it| it.workers += 1)).sum() };
    let before = billing.current("db")?.value.workers;
    let attempts = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(add)).collect();
        let ended = threads.into_iter().map(|it| it.join().map_err(|_| "a thread panicked")?);
        ended.sum::<Outcome<u32>>()
    })?;
    let now = billing.current("db")?;
    assert_eq!(now.value.workers, before + THREADS * TIMES);
    let (revision, workers) = (now.kv.mod_revision(), now.value.workers);
    println!("@{revision} {before} workers became {workers}, in {attempts} attempts");
    Ok(())
}

/// What was it, who changed it when, and back to it.
fn back(billing: &Service, first: Revision) -> Outcome<()> {
    let history = billing.history("db")?;
    println!("      billing/db has {} versions, the oldest first:", history.len());
    for version in history.iter().rev().take(3) {
        println!("        @{} {:?}", version.kv.mod_revision(), version.value);
    }
    let oldest = history.last().ok_or("it has a history")?;
    assert_eq!(oldest.kv.mod_revision(), first);

    let revision = billing.roll_back("db", first)?;
    let now = billing.current("db")?;
    assert_eq!(now.value, oldest.value);
    assert_eq!(now.kv.version(), history.len() as u64 + 1);
    println!("@{revision} rolled back to @{first}: {:?}", now.value);
    Ok(())
}

/// All settings of a service, typed; and of all services, in chunks of one revision.
fn everything(root: &Store, billing: &Service) -> Outcome<()> {
    let listed = billing.settings.range(..).wait()?.kvs;
    let keys: Vec<_> = listed.iter().map(|it| it.kv.key().escape_ascii().to_string()).collect();
    assert_eq!(keys, ["cache", "db"]);
    println!("      billing has {}", keys.join(" and "));

    // Somebody's program is wrong: a reader is told which key, and since when.
    let broken = billing.settings.store().put("broken", "workers = 4").wait()?.header.revision;
    let mut decoded = 0;
    for chunk in root.stream(KeyRange::all()) {
        for kv in chunk? {
            match billing.settings.decode(kv) {
                Ok(_) => decoded += 1,
                Err(error) => {
                    assert!(error.is_undecodable());
                    println!("@{broken} left out: {error}");
                }
            }
        }
    }
    assert_eq!(decoded, 3);
    assert_eq!(billing.settings.delete("broken").wait()?.deleted, 1);
    println!("      all services have {decoded} settings");
    Ok(())
}

/// Forgets what is older than the last few revisions. The settings themselves all stay.
fn forget(store: &Store, billing: &Service, first: Revision) -> Outcome<()> {
    let before = billing.history("db")?.len();
    let now = store.get("config").wait()?.header.revision;
    let kept = Revision::new(now.get().saturating_sub(KEPT_REVISIONS));
    store.compact(kept).wait()?;

    let past = billing.settings.get("db").with(|get| get.at(first)).wait();
    assert!(past.is_err_and(|error| error.is_compacted()));
    let left = billing.history("db")?;
    assert!(left.len() < before && !left.is_empty());
    let current = billing.current("db")?;
    assert_eq!(left.first(), Some(&current));
    println!("      compacted up to @{kept}: {} of {before} versions are left", left.len());
    Ok(())
}
