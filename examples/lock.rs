//! A lock around something that is not in the store, and why a lock alone does not protect it.
//!
//! ```sh
//! cargo run --release --example lock
//! ```
//!
//! A holder is stopped (a long pause, a suspended machine) for longer than its session lasts, does
//! not know it, and goes on writing. No lock can prevent that. What prevents it is the *fencing
//! token*: [`Printer`] remembers the greatest token that it has seen and refuses smaller ones. What
//! is in the store itself needs no such thing: `LockGuard::txn` commits only while the lock is
//! held.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a program, not the library: it has a directory and a terminal"
)]

use std::process::ExitCode;
use std::time::Duration;

use quorate::{Config, LocalNetwork, LockGuard, Node, Op, Revision, Store};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Something outside, which two must not use at once. It has nothing but a number to tell by.
#[derive(Default)]
struct Printer {
    newest: Revision,
    pages: Vec<String>,
}

impl Printer {
    /// The wrong way would be to print whatever comes.
    fn print(&mut self, token: Revision, page: &str) -> Result<(), String> {
        if token < self.newest {
            return Err(format!("refused: token {token} is older than {}", self.newest));
        }
        self.newest = token;
        self.pages.push(page.to_owned());
        Ok(())
    }
}

/// The part to copy: hold the lock, send the token along, write under the guard.
fn work(guard: &LockGuard, printer: &mut Printer, page: &'static str) -> Result<(), Failure> {
    printer.print(guard.token(), page)?;
    guard.txn().then(Op::put("printed/last", page)).wait()?;
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
    let dir = tempfile::tempdir()?;
    let network = LocalNetwork::new();
    let config = Config::new("solo", dir.path().join("solo")).initial_cluster([("solo", "here")]);
    let endpoint = network.endpoint(config.node_id()?);
    let node = Node::open(config, endpoint)?;
    show(&node.store())?;
    node.close(Duration::from_secs(10))?;
    Ok(())
}

fn show(store: &Store) -> Result<(), Failure> {
    let mut printer = Printer::default();
    let stopped = store.session(Duration::from_secs(10)).wait()?;
    let other = store.session(Duration::from_secs(10)).wait()?;

    let first = store.lock("printer").acquire(&stopped).wait()?;
    work(&first, &mut printer, "page 1")?;
    println!("the first holder has token {}, and prints page 1", first.token());

    // It is stopped for so long that its lease ends; here it is revoked, to save the time.
    store.revoke(stopped.lease()).wait()?;
    let second = store.lock("printer").acquire(&other).wait()?;
    work(&second, &mut printer, "page 2")?;
    println!("the second holder has token {}, and prints page 2", second.token());

    // Woken, it goes on where it was.
    match printer.print(first.token(), "page 1 again") {
        Ok(()) => return Err("the printer took an old token".into()),
        Err(refused) => println!("the first holder prints again: {refused}"),
    }
    match first.txn().then(Op::put("printed/last", "page 1 again")).wait() {
        Err(error) if error.is_lost() => println!("the first holder writes: {error}"),
        other => return Err(format!("a guard that is lost has written: {other:?}").into()),
    }
    second.release().wait()?;
    let last = store.get("printed/last").wait()?.kv;
    assert_eq!(last.as_ref().map(quorate::KeyValue::value), Some(b"page 2".as_slice()));
    assert_eq!(printer.pages, ["page 1", "page 2"]);
    Ok(())
}
