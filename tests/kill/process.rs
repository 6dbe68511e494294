//! One process: `examples/tcp_cluster.rs`, driven through its input and output.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::Sender;
use std::thread;

/// What a process said or did.
pub(crate) struct Event {
    pub(crate) member: usize,
    /// Which process of that member.
    pub(crate) life: u64,
    pub(crate) what: What,
}

pub(crate) enum What {
    /// A whole line of its output.
    Said(String),
    /// Its output has ended, and with it the process.
    Ended,
}

pub(crate) struct Process {
    pub(crate) life: u64,
    child: Child,
    input: ChildStdin,
}

impl Process {
    /// Starts `command`; what it says goes to `events`.
    pub(crate) fn start(
        command: &mut Command,
        (member, life): (usize, u64),
        events: Sender<Event>,
    ) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let input = child.stdin.take().expect("piped");
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        // Ends with the process: the pipe is closed then.
        thread::spawn(move || {
            let mut line = String::new();
            // A line without its end was cut off by the kill: nobody was answered.
            while output.read_line(&mut line).is_ok() && line.ends_with('\n') {
                line.pop();
                let what = What::Said(std::mem::take(&mut line));
                if events.send(Event { member, life, what }).is_err() {
                    return;
                }
            }
            let _ = events.send(Event { member, life, what: What::Ended });
        });
        Self { life, child, input }
    }

    /// Types a line. If the process is gone it is lost, as it would be for a user.
    pub(crate) fn type_line(&mut self, line: &str) {
        let _ = self.input.write_all(format!("{line}\n").as_bytes());
    }

    /// SIGKILL; returns when the process is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it is ours to kill");
        self.child.wait().expect("it is ours to wait for");
    }
}

/// The example's binary, built anew if it has to be: `cargo test --test kill` alone would find an
/// old one, or none.
pub(crate) fn build() -> PathBuf {
    let test = env::current_exe().expect("this test's path");
    // target/PROFILE/deps/kill-HASH
    let folder = test.ancestors().nth(2).expect("a test lies in target/PROFILE/deps");
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let example = folder.join("examples").join(format!("tcp_cluster{}", env::consts::EXE_SUFFIX));
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--example", "tcp_cluster", "--profile", profile, "--quiet"])
        .arg("--manifest-path")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .output()
        .expect("cargo runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the example does not build:\n{errors}");
    assert!(example.is_file(), "{} is not there after the build", example.display());
    example
}
