//! A scheduler in three copies, of which only the leader runs jobs, and no job runs twice.
//!
//! ```sh
//! cargo run --release --example leader
//! ```
//!
//! [`schedule`] is the part to copy. Each copy campaigns; the one that leads runs the jobs that are
//! due, and says that a job is done by a transaction that commits only while it leads. The first
//! leader's member is dropped without warning half-way; another copy goes on where it was.
//!
//! The three are in one process here, over [`LocalNetwork`]; between processes only the transport
//! differs.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a program, not the library: it has threads, directories and a terminal"
)]

use std::process::ExitCode;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use quorate::{Compare, Config, Leadership, LocalNetwork, Node, Op, Result, Store};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const NAMES: [&str; 3] = ["a", "b", "c"];
const JOBS: usize = 30;

/// Who did which job, as each copy tells the terminal.
type Done = (&'static str, usize);

/// Several election timeouts: that the members elect another leader is no reason to lose a session.
const TTL: Duration = Duration::from_secs(3);

/// Runs jobs whenever this copy leads, until all are done. Whatever was lost, be it the leadership
/// or the session that it hangs on, is asked for anew.
fn schedule(store: &Store, me: &'static str, told: &Sender<Done>) -> Result<()> {
    loop {
        let session = store.session(TTL).wait()?;
        let leadership = store.election("scheduler").campaign(&session, me).wait();
        match leadership.and_then(|it| it.run_blocking(|lead| run_jobs(store, lead, me, told))) {
            Ok(done) => return done,
            Err(error) if error.is_lost() => {}
            Err(error) => return Err(error),
        }
    }
}

/// What a leader does: each job is fenced by its leadership.
fn run_jobs(store: &Store, lead: &Leadership, me: &'static str, told: &Sender<Done>) -> Result<()> {
    for job in 0..JOBS {
        let key = format!("jobs/{job:02}");
        if store.get(key.clone()).wait()?.kv.is_some() {
            continue;
        }
        // Here the job is run: what it does elsewhere is sent `lead.token()` along.
        let done = lead.txn().when(Compare::absent(key.clone())).then(Op::put(key, me)).wait()?;
        if done.succeeded() {
            let _told = told.send((me, job));
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let root = tempfile::tempdir()?;
    let members = NAMES.map(|name| (name, format!("local:{name}")));
    let network = LocalNetwork::new();
    let (tell, told) = channel();
    let mut nodes = Vec::new();
    let mut copies = Vec::new();
    for name in NAMES {
        let config = Config::new(name, root.path().join(name)).initial_cluster(members.clone());
        let endpoint = network.endpoint(config.node_id()?);
        let node = Node::open(config, endpoint)?;
        network.connect(node.inbox());
        let (store, tell) = (node.store(), tell.clone());
        let copy = move || schedule(&store, name, &tell).inspect_err(|e| println!("{name}: {e}"));
        copies.push(thread::spawn(copy));
        nodes.push((name, Some(node)));
    }
    drop(tell);

    let mut leaders = Vec::new();
    let mut jobs = Vec::new();
    for (leader, job) in told {
        if leaders.last() != Some(&leader) {
            println!("{leader} leads, from job {job} on");
            leaders.push(leader);
        }
        jobs.push(job);
        if leaders.len() == 1 && jobs.len() == JOBS / 3 {
            println!("{leader} is dropped without warning");
            nodes.iter_mut().filter(|(name, _)| *name == leader).for_each(|(_, node)| *node = None);
        }
    }
    // Who was dropped says so; the others have seen that nothing is left.
    let failed = copies.into_iter().map(thread::JoinHandle::join);
    let failed = failed.filter(|ended| !matches!(ended, Ok(Ok(())))).count();
    let store = nodes.iter().find_map(|(_, node)| node.as_ref()).ok_or("no node is left")?.store();
    let kept = store.range(quorate::KeyRange::prefix("jobs/")).wait()?.count;
    println!("{kept} jobs are done, by {leaders:?}; {failed} copy was lost");
    assert_eq!(kept, JOBS as u64);
    assert!(jobs.is_sorted_by(|one, other| one < other), "each once, in order: {jobs:?}");
    assert!(leaders.len() >= 2 && failed == 1);
    Ok(())
}
