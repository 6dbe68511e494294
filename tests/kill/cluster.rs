//! Three members as processes, kept busy with writes.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::ledger::Ledger;
use super::process::{Event, Process, What, build};

pub(crate) const MEMBERS: usize = 3;
const NAMES: [&str; MEMBERS] = ["a", "b", "c"];
/// Writes that each member is given at a time.
const IN_FLIGHT: usize = 8;
/// Longer than any answer may take: a call's own deadline is 5.4 s.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a process may fail to start before it is ours to know why. It can happen: while a
/// member is dead the system may lend its port to somebody's outgoing connection.
const MAX_FAILED_STARTS: usize = 20;

pub(crate) struct Cluster {
    binary: PathBuf,
    root: TempDir,
    ports: [u16; MEMBERS],
    members: [Option<Process>; MEMBERS],
    ready: [bool; MEMBERS],
    lives: u64,
    failed_starts: usize,
    kills: usize,
    events: Receiver<Event>,
    sender: Sender<Event>,
    ledger: Ledger,
    writing: bool,
    /// The last answer to a command with the tag `@q`, and the lines before it.
    lines: Vec<String>,
    answer: Option<String>,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let (sender, events) = channel();
        let mut cluster = Self {
            binary: build(),
            root: tempfile::tempdir().expect("a directory"),
            ports: free_ports(),
            members: [const { None }; MEMBERS],
            ready: [false; MEMBERS],
            lives: 0,
            failed_starts: 0,
            kills: 0,
            events,
            sender,
            ledger: Ledger::default(),
            writing: true,
            lines: Vec::new(),
            answer: None,
        };
        cluster.restart(&[0, 1, 2]);
        cluster
    }

    /// Starts members; does not wait for them.
    pub(crate) fn restart(&mut self, members: &[usize]) {
        for &member in members {
            self.lives += 1;
            self.ready[member] = false;
            let mut command = self.command(member);
            let life = (member, self.lives);
            self.members[member] = Some(Process::start(&mut command, life, self.sender.clone()));
        }
    }

    pub(crate) fn kill(&mut self, members: &[usize]) {
        for &member in members {
            if let Some(process) = self.members[member].take() {
                process.kill();
                self.kills += 1;
            }
        }
    }

    /// Lets the writers write for so long.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(event) => self.handle(event),
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => unreachable!("there is a sender here"),
            }
            if left.is_zero() {
                return;
            }
        }
    }

    /// Lets the writers write until so many more writes are acknowledged.
    pub(crate) fn run_until_acknowledged(&mut self, more: u64) {
        let enough = self.ledger.acknowledged() + usize::try_from(more).unwrap();
        self.run_until("acknowledgements", |cluster| cluster.ledger.acknowledged() >= enough);
    }

    /// Starts no more writes and waits for the answers to those in flight.
    pub(crate) fn finish_writes(&mut self) {
        self.writing = false;
        self.run_until("the last answers", |cluster| cluster.ledger.pending() == 0);
    }

    /// Reads all that the cluster holds through `member`.
    pub(crate) fn check_everything_at(&mut self, member: usize) {
        let certain = self.ledger.acknowledged();
        self.ask(member, "range w/");
        self.ledger.check(certain, &self.lines);
    }

    /// All members hold the same: equal hashes at equal log indexes (`INV-11`).
    pub(crate) fn check_hashes(&mut self) {
        for _ in 0..100 {
            let states: Vec<String> = (0..MEMBERS)
                .map(|member| {
                    // A linearizable read waits until this member has applied what the others have.
                    self.ask(member, "get w/0");
                    self.ask(member, "hash")
                })
                .collect();
            let applied: Vec<_> = states.iter().map(|state| state.split(' ').nth(1)).collect();
            if applied.iter().all(|index| *index == applied[0]) {
                assert!(states.iter().all(|state| *state == states[0]), "{states:#?}");
                return;
            }
        }
        panic!("the members never stood at one index");
    }

    pub(crate) fn summary(&self) -> String {
        format!("{} kills; {}", self.kills, self.ledger.summary())
    }

    /// One command and its answer, asked again for as long as the answer is an error.
    fn ask(&mut self, member: usize, command: &str) -> String {
        for _ in 0..10 {
            self.run_until("a member to start", |cluster| cluster.ready[member]);
            self.lines.clear();
            self.answer = None;
            let process = self.members[member].as_mut().expect("nobody kills it meanwhile");
            process.type_line(&format!("@q {command}"));
            self.run_until(command, |cluster| cluster.answer.is_some());
            match self.answer.take() {
                Some(answer) if answer.starts_with("ok") => return answer,
                _ => {}
            }
        }
        panic!("{command} at {} fails again and again", NAMES[member]);
    }

    /// Handles events until `done`; each must come in time.
    fn run_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !done(self) {
            let left = until.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(event) => self.handle(event),
                Err(_) => self.give_up(what),
            }
        }
    }

    fn handle(&mut self, event: Event) {
        let Event { member, life, what } = event;
        let is_current = self.members[member].as_ref().is_some_and(|now| now.life == life);
        match what {
            What::Ended => {
                self.ledger.end_of(life);
                if is_current {
                    self.failed_starts += 1;
                    let name = NAMES[member];
                    assert!(!self.ready[member], "{name} ended by itself");
                    assert!(self.failed_starts < MAX_FAILED_STARTS, "{name} does not start");
                    self.members[member] = None;
                    self.restart(&[member]);
                }
            }
            // What a killed process had said before still counts: somebody could have read it.
            What::Said(line) => match line.split_once(' ') {
                Some(("@q", "")) => {}
                Some(("@q", answer)) if answer.starts_with("kv ") => {
                    self.lines.push(answer.to_owned());
                }
                Some(("@q", answer)) => self.answer = Some(answer.to_owned()),
                Some((tag, answer)) if tag.starts_with('@') => {
                    self.ledger.answer(tag[1..].parse().expect("a write's number"), answer);
                    self.write(member, life, 1);
                }
                Some(("ready", _)) if is_current => {
                    self.ready[member] = true;
                    self.write(member, life, IN_FLIGHT);
                }
                _ => {}
            },
        }
    }

    /// Gives a process so many more writes, if it is still there.
    fn write(&mut self, member: usize, life: u64, count: usize) {
        let Some(process) = self.members[member].as_mut().filter(|now| now.life == life) else {
            return;
        };
        if self.writing {
            for _ in 0..count {
                process.type_line(&self.ledger.begin(life));
            }
        }
    }

    fn command(&self, member: usize) -> Command {
        let name = NAMES[member];
        let peers: Vec<String> = NAMES
            .iter()
            .zip(self.ports)
            .map(|(name, port)| format!("{name}=127.0.0.1:{port}"))
            .collect();
        let mut command = Command::new(&self.binary);
        command
            .args(["--name", name, "--listen", &format!("127.0.0.1:{}", self.ports[member])])
            .args(["--peers", &peers.join(","), "--dir"])
            .arg(self.root.path().join(name))
            .args(["--heartbeat-ms", "20", "--election-ms", "200"])
            // Small, so that snapshots, cut segments and reused ones are met by kills too.
            .args(["--snapshot-count", "400", "--segment-bytes", "131072"]);
        command
    }

    /// Says what everybody says before it fails.
    fn give_up(&mut self, what: &str) -> ! {
        for member in 0..MEMBERS {
            if let Some(process) = self.members[member].as_mut() {
                process.type_line("status");
            }
        }
        while let Ok(event) = self.events.recv_timeout(Duration::from_secs(2)) {
            if let What::Said(line) = event.what {
                println!("{}: {}", NAMES[event.member], line.get(..300).unwrap_or(&line));
            }
        }
        panic!("waited {PATIENCE:?} for {what}; {}", self.summary());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill(&[0, 1, 2]);
    }
}

/// Ports that the system has just found free; held together, so that they differ.
fn free_ports() -> [u16; MEMBERS] {
    let listeners = [(); MEMBERS].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    listeners.map(|listener| listener.local_addr().expect("bound").port())
}
