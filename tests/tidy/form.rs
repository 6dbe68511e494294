//! Lengths, words that must not stay, chapters, files that nobody declares.

use super::source::{File, Tree, body, children_of, line_of, occurrences};
use super::{complains, holds};

const LINE_COLUMNS: usize = 100;
const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 70;

/// Left over from writing. Spelled so that this file does not find itself.
const LEFTOVERS: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("HA", "CK"),
    concat!("dbg", "!"),
    concat!("todo", "!"),
    concat!("unimplemented", "!"),
];

/// Files that may sleep, and for what. Everybody else waits for what must happen.
const SLEEPERS: &[(&str, &str)] = &[
    ("benches/load/bench.rs", "measures idle members for a while, and puts before a compaction"),
    ("benches/load/cluster.rs", "nothing is measured before there is a leader"),
    ("benches/load/failover.rs", "a leader leads for a while before it is cut off"),
    ("benches/load/leases.rs", "measures sessions that do nothing, for a while"),
    ("benches/load/pacer.rs", "offers writes at a fixed rate"),
    ("benches/load/watching.rs", "the same, and lets events that are under way arrive"),
    ("src/service/place/tests.rs", "tasks of a simulation wait in its own time"),
    ("src/sim/clock.rs", "lets simulated time pass, which takes none"),
    ("tests/scheduler.rs", "a program under test waits in simulated time, which takes none"),
    ("src/sim/workload.rs", "clients of a simulation wait in its own time"),
    ("src/sim/workload/bell.rs", "so does what they wait for"),
    ("src/sim/workload/hold.rs", "so do its holders"),
    ("src/sim/workload/hold/lead.rs", "so does the work of its leaders"),
    ("src/sim/workload/watch.rs", "so do its watchers"),
    ("src/sim/workload/watch/seat.rs", "so does what they watch with"),
    ("checks/shuttle/src/sync/mod.rs", "shuttle's, where no time passes: a place to switch"),
];

fn lengths(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in tree.rust() {
        for (number, line) in file.text.lines().enumerate() {
            let columns = line.chars().count();
            if columns > LINE_COLUMNS {
                let number = number + 1;
                complaints.push(format!("{}:{number}: {columns} columns", file.path));
            }
        }
        let lines = file.text.lines().count();
        if lines > FILE_LINES {
            complaints.push(format!("{}: {lines} lines", file.path));
        }
        complaints.extend(long_functions(file));
    }
    complaints
}

fn long_functions(file: &File) -> Vec<String> {
    let code = &file.code;
    let mut complaints = Vec::new();
    for at in occurrences(code, "fn ") {
        let name: String =
            code[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let Ok((open, end)) = body(code, at) else { continue };
        let lines = code[open..end].matches('\n').count().saturating_sub(1);
        if !name.is_empty() && lines > FUNCTION_LINES {
            let line = line_of(code, at);
            complaints.push(format!("{}:{line}: fn {name} has {lines} lines", file.path));
        }
    }
    complaints
}

fn leftovers(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in tree.0.iter().filter(|file| file.is_rust() || file.path.ends_with(".md")) {
        for word in LEFTOVERS {
            complaints.extend(occurrences(&file.text, word).map(|at| {
                let line = line_of(&file.text, at);
                format!("{}:{line}: {word}: an issue, or nothing", file.path)
            }));
        }
    }
    complaints
}

fn sleeps(tree: &Tree, sleepers: &[(&str, &str)]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in tree.rust() {
        let listed = sleepers.iter().any(|(path, _)| *path == file.path);
        let found = occurrences(&file.code, "sleep").next();
        match found {
            Some(at) if !listed => {
                let line = line_of(&file.code, at);
                complaints.push(format!("{}:{line}: sleeps: wait for the event", file.path));
            }
            None if listed => {
                complaints.push(format!("{}: listed as sleeping, and does not", file.path));
            }
            _ => {}
        }
    }
    let gone = sleepers.iter().filter(|(path, _)| tree.get(path).is_none());
    complaints.extend(gone.map(|(path, _)| format!("{path}: listed as sleeping, and is gone")));
    complaints
}

fn chapters(tree: &Tree) -> Vec<String> {
    let opens = |file: &File| file.text.starts_with("//!");
    let should = |file: &File| {
        let inside = file.path.starts_with("src/");
        file.path.ends_with("/mod.rs") || file.path.ends_with("/lib.rs") || !inside
    };
    let silent = tree.rust().filter(|file| should(file) && !opens(file));
    silent.map(|file| format!("{}: does not open with //!", file.path)).collect()
}

fn orphans(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in tree.rust() {
        let path = file.path.strip_suffix("/mod.rs").unwrap_or(&file.path);
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let name = name.trim_end_matches(".rs");
        let root = matches!(file.path.as_str(), "src/lib.rs" | "build.rs")
            || matches!(file.path.as_str(), "checks/mvcc/src/lib.rs" | "checks/shuttle/src/lib.rs")
            || matches!(folder, "tests" | "examples" | "benches" | "fuzz/fuzz_targets")
            || matches!(folder, "checks/load/tests" | "checks/mvcc/tests" | "checks/shuttle/tests")
            || name == "main";
        let declared = tree.rust().any(|parent| {
            children_of(&parent.path) == folder
                && occurrences(&parent.code, &format!("mod {name};")).next().is_some()
        });
        if !root && !declared {
            complaints.push(format!("{}: no module declares it", file.path));
        }
    }
    complaints
}

#[test]
fn lines_files_and_functions_are_short() {
    holds(&lengths(&Tree::load()));
}

#[test]
fn nothing_is_left_over() {
    holds(&leftovers(&Tree::load()));
}

#[test]
fn nothing_sleeps() {
    holds(&sleeps(&Tree::load(), SLEEPERS));
}

#[test]
fn every_room_opens_with_its_chapter() {
    holds(&chapters(&Tree::load()));
}

#[test]
fn every_file_is_declared() {
    holds(&orphans(&Tree::load()));
}

#[test]
fn lengths_are_seen() {
    let bad = |text: &str| lengths(&Tree::of(&[("src/a.rs", text)]));
    holds(&bad(&"x".repeat(LINE_COLUMNS)));
    complains(&bad(&"x".repeat(LINE_COLUMNS + 1)), "a.rs:1: 101 columns");
    holds(&bad(&"\n".repeat(FILE_LINES)));
    complains(&bad(&"\n".repeat(FILE_LINES + 1)), "601 lines");
    let function = |lines| format!("\nfn f(a: [u8; 2]) {{\n{}}}\n", "x!{};\n".repeat(lines));
    holds(&bad(&function(FUNCTION_LINES)));
    complains(&bad(&function(FUNCTION_LINES + 1)), "a.rs:2: fn f has 71 lines");
    let in_trait = format!("fn f(a: [u8; 2]);\n{}", "fn g() {}\n".repeat(80));
    holds(&bad(&in_trait));
}

#[test]
fn leftovers_are_seen() {
    for word in LEFTOVERS {
        let line = format!("// {word}(a)\n");
        complains(&leftovers(&Tree::of(&[("tests/a.rs", &line)])), word);
        complains(&leftovers(&Tree::of(&[("docs/a.md", &line)])), word);
    }
}

#[test]
fn sleeping_is_seen() {
    let tree = Tree::of(&[("tests/a.rs", "// sleep\nfn f() { std::thread::sleep(x) }")]);
    complains(&sleeps(&tree, &[]), "a.rs:2");
    holds(&sleeps(&tree, &[("tests/a.rs", "waits for a process")]));
    let awake = Tree::of(&[("tests/a.rs", "fn f() {}")]);
    complains(&sleeps(&awake, &[("tests/a.rs", "")]), "does not");
    complains(&sleeps(&awake, &[("tests/b.rs", "")]), "gone");
}

#[test]
fn a_missing_chapter_is_seen() {
    complains(&chapters(&Tree::of(&[("src/a/mod.rs", "mod b;")])), "src/a/mod.rs");
    complains(&chapters(&Tree::of(&[("examples/a.rs", "fn main() {}")])), "examples/a.rs");
    holds(&chapters(&Tree::of(&[("src/a/mod.rs", "//! A."), ("src/a/b.rs", "")])));
}

#[test]
fn an_orphan_is_seen() {
    let bad = |parent, path| orphans(&Tree::of(&[parent, (path, "")]));
    complains(&bad(("src/lib.rs", "// mod a;\nmod ab;"), "src/a.rs"), "src/a.rs: no module");
    complains(&bad(("src/lib.rs", "mod b;"), "src/b/c.rs"), "src/b/c.rs");
    holds(&bad(("src/lib.rs", "mod a;"), "src/a/mod.rs"));
    holds(&bad(("tests/a.rs", "#[path = \"a/b.rs\"]\nmod b;"), "tests/a/b.rs"));
}
