//! A service whose settings are changed while it runs: typed, without a restart, and without a gap
//! when the leader goes away.
//!
//! ```sh
//! cargo run --release --features serde --example config_watch
//! ```
//!
//! ```text
//!   administrator ── put ──► a member ──► the cluster ──► the service's member
//!                                                              │ events, in order, once
//!                                                              ▼
//!                         requests ──── read ──── Live ◄── the service's thread
//! ```
//!
//! [`Live`] and [`follow`] are the part to copy: what holds when the service starts, then every
//! change of it. The service knows its own member only. Which member leads, and that one of them is
//! closed meanwhile, is no concern of its. What `main` does with it is asserted as it is printed.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a program, not the library: it has threads, directories and a terminal"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use quorate::{
    Config, Event, EventKind, ListAndWatch, Listing, LocalNetwork, Node, Revision, Role, Store,
    TypedStore, WatchEnd, Watcher,
};
use serde::{Deserialize, Serialize};

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Outcome<T> = Result<T, Failure>;

const NAMES: [&str; 3] = ["a", "b", "c"];

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Settings {
    workers: u32,
    timeout_ms: u64,
}

/// The settings as they are now, for whoever serves requests: a read costs a lock and nothing else.
#[derive(Clone, Default)]
struct Live(Arc<RwLock<BTreeMap<Vec<u8>, Settings>>>);

impl Live {
    fn get(&self, key: &str) -> Option<Settings> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(key.as_bytes()).cloned()
    }

    fn set(&self, key: &[u8], settings: Option<Settings>) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match settings {
            Some(settings) => drop(all.insert(key.to_vec(), settings)),
            None => drop(all.remove(key)),
        }
    }

    fn begin(&self, all: BTreeMap<Vec<u8>, Settings>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = all;
    }
}

/// What becomes of a change, for whoever looks on.
#[derive(Debug, PartialEq)]
struct Applied {
    revision: Revision,
    key: String,
    /// Whether it was taken; settings that do not decode are not.
    taken: bool,
}

/// Takes what holds, and gives the watcher of all that comes behind it.
fn begin(settings: &TypedStore<Settings>, live: &Live, listing: ListAndWatch) -> Outcome<Watcher> {
    let Listing { kvs, watcher, .. } = listing.wait()?;
    let pairs = kvs.into_iter().map(|kv| {
        let key = kv.key().to_vec();
        Ok((key, settings.decode(kv)?.value))
    });
    live.begin(pairs.collect::<quorate::Result<_>>()?);
    Ok(watcher)
}

/// Follows the settings until it is told to stop.
fn follow(
    settings: &TypedStore<Settings>,
    live: &Live,
    mut watcher: Watcher,
    told: &Sender<Applied>,
) -> Outcome<()> {
    loop {
        match watcher.next().wait() {
            Some(Ok(batch)) => {
                for event in batch {
                    told.send(apply(settings, live, &event))?;
                }
            }
            // It was away for so long that history is gone: what holds now is read again.
            Some(Err(WatchEnd::Compacted(compacted))) => {
                watcher = begin(settings, live, compacted.relist())?;
            }
            Some(Err(WatchEnd::Cancelled)) | None => return Ok(()),
            Some(Err(end)) => return Err(end.into()),
        }
    }
}

fn apply(settings: &TypedStore<Settings>, live: &Live, event: &Event) -> Applied {
    let decoded = match event.kind() {
        EventKind::Put => settings.decode(event.kv().clone()).map(|found| Some(found.value)),
        EventKind::Delete => Ok(None),
    };
    let taken = decoded.is_ok();
    match decoded {
        Ok(now) => live.set(event.key(), now),
        // One bad change does not take a service down: it goes on with what it has.
        Err(error) => println!("      the service keeps what it has: {error}"),
    }
    let key = String::from_utf8_lossy(event.key()).into_owned();
    Applied { revision: event.revision(), key, taken }
}

/// What the administrator has changed, and what the service has said of it.
struct Story {
    told: Receiver<Applied>,
    changed: usize,
}

impl Story {
    /// A change was made at a revision: the service must come to it next, and to nothing else.
    fn expect(&mut self, revision: Revision, key: &str, taken: bool) -> Outcome<()> {
        let applied = self.told.recv_timeout(PATIENCE)?;
        assert_eq!(applied, Applied { revision, key: key.to_owned(), taken });
        self.changed += 1;
        Ok(())
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("config_watch: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<()> {
    let root = tempfile::tempdir()?;
    let mut nodes = open(root.path())?;
    let leader = leader(&nodes)?;
    let old_leader = nodes.swap_remove(leader);
    let [home, admin] = nodes.as_slice() else { return Err("three less one are two".into()) };
    let (served, led) = (home.status().name, old_leader.status().name);
    println!("the service is on {served}, and {led} leads");

    let administrator = scoped(&old_leader.store());
    let first = Settings { workers: 4, timeout_ms: 500 };
    let written = administrator.put("db", &first).wait()?.header.revision;

    let (live, settings) = (Live::default(), scoped(&home.store()));
    // It may be behind: the service begins with what its own member has, and is given the rest.
    home.store().get("any").at_least(written).wait()?;
    let watcher = begin(&settings, &live, settings.store().list_and_watch(..))?;
    let canceller = watcher.canceller();
    println!("@{} it begins with {:?}", watcher.created(), live.get("db"));
    assert_eq!(live.get("db"), Some(first));

    let (tell, told) = channel();
    let service = thread::spawn({
        let live = live.clone();
        move || follow(&settings, &live, watcher, &tell)
    });
    let mut story = Story { told, changed: 0 };
    one_change(&administrator, &live, &mut story)?;
    leader_loss(&scoped(&admin.store()), &live, &mut story, old_leader)?;
    a_bad_change(&scoped(&admin.store()), &live, &mut story)?;

    canceller.cancel();
    service.join().map_err(|_| "the service panicked")??;
    assert!(story.told.try_recv().is_err(), "nothing but what was changed");
    let read = scoped(&admin.store()).range(..).wait()?.kvs;
    let settings = |it: &quorate::Typed<Settings>| Some(it.value.clone()) == live.get("db");
    assert!(read.iter().any(settings), "it has what the cluster has");
    println!("      {} changes, each of them once and in order", story.changed);
    nodes.into_iter().try_for_each(|node| node.close(PATIENCE))?;
    Ok(())
}

fn one_change(administrator: &TypedStore<Settings>, live: &Live, story: &mut Story) -> Outcome<()> {
    let more = Settings { workers: 8, timeout_ms: 500 };
    let revision = administrator.put("db", &more).wait()?.header.revision;
    story.expect(revision, "db", true)?;
    println!("@{revision} {} workers, without a restart", more.workers);
    assert_eq!(live.get("db"), Some(more));
    Ok(())
}

/// The leader is closed in the middle of many changes, each through another member.
fn leader_loss(
    administrator: &TypedStore<Settings>,
    live: &Live,
    story: &mut Story,
    leader: Node,
) -> Outcome<()> {
    const CHANGES: u32 = 100;
    let gone = leader.status().name;
    let closing = thread::spawn(move || leader.close(PATIENCE));
    let mut revisions = Vec::new();
    for workers in 1..=CHANGES {
        let settings = Settings { workers, timeout_ms: 500 };
        revisions.push(administrator.put("db", &settings).wait()?.header.revision);
    }
    closing.join().map_err(|_| "closing panicked")??;
    for revision in &revisions {
        story.expect(*revision, "db", true)?;
    }
    assert_eq!(live.get("db").map(|settings| settings.workers), Some(CHANGES));
    let last = revisions.last().copied().unwrap_or_default();
    println!("@{last} {gone} is gone, and none of {CHANGES} changes was missed or came twice");
    Ok(())
}

/// Somebody writes what is no settings; then it is put right.
fn a_bad_change(
    administrator: &TypedStore<Settings>,
    live: &Live,
    story: &mut Story,
) -> Outcome<()> {
    let before = live.get("db");
    let revision = administrator.store().put("db", "workers = 4").wait()?.header.revision;
    story.expect(revision, "db", false)?;
    assert_eq!(live.get("db"), before);
    let right = Settings { workers: 2, timeout_ms: 50 };
    let revision = administrator.put("db", &right).wait()?.header.revision;
    story.expect(revision, "db", true)?;
    println!("@{revision} put right: {right:?}");
    assert_eq!(live.get("db"), Some(right));
    Ok(())
}

/// The settings of one service: a handle that sees no other's.
fn scoped(store: &Store) -> TypedStore<Settings> {
    store.scoped("config/billing/").typed()
}

/// Three members in this process. Between processes only the transport differs.
fn open(root: &Path) -> Outcome<Vec<Node>> {
    let network = LocalNetwork::new();
    let mut nodes = Vec::new();
    for name in NAMES {
        let config = Config::new(name, root.join(name))
            .initial_cluster(NAMES.map(|name| (name, format!("local:{name}"))));
        let endpoint = network.endpoint(config.node_id()?);
        let node = Node::open(config, endpoint)?;
        network.connect(node.inbox());
        nodes.push(node);
    }
    Ok(nodes)
}

/// Who leads. A read through every member waits until somebody does.
fn leader(nodes: &[Node]) -> Outcome<usize> {
    for _ in 0..100 {
        for node in nodes {
            node.store().get("any").wait_timeout(PATIENCE)?;
        }
        let leads = |node: &Node| node.status().role == Role::Leader;
        if let Some(place) = nodes.iter().position(leads) {
            return Ok(place);
        }
    }
    Err("no leader stays".into())
}
