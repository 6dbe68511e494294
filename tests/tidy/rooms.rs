//! Who may name whom, and who may touch what.

use super::paths::{module_of, named};
use super::source::{Tree, line_of, occurrences};
use super::{complains, holds};

/// The rooms, and which others each may use. Tests beside the code are free: they may build on
/// anything below or above to show what a room does.
const ROOMS: &[(&str, &[&str])] = &[
    // error, ids, time, config, codec, entry, keys, sync, transport, vfs
    ("base", &[]),
    // `mod.rs` of core/ names its rooms and does nothing
    ("core", &["mvcc", "machine", "watch", "lease", "replica"]),
    ("mvcc", &["base"]),
    ("machine", &["base", "mvcc"]),
    ("watch", &["base", "mvcc"]),
    ("lease", &["base", "machine"]),
    ("replica", &["base", "core", "mvcc", "machine", "watch", "lease"]),
    ("storage", &["base"]),
    // a request and its answer carry plain types of the core, and a read needs a reader
    ("gate", &["base", "mvcc", "machine", "watch", "lease"]),
    // what users hold: over the gate, so that the simulator can stand behind it
    ("store", &["base", "gate", "mvcc", "machine", "service"]),
    ("service", &["base", "gate", "mvcc", "machine", "watch", "lease", "store"]),
    ("driver", &["base", "core", "replica", "machine", "lease", "storage", "gate"]),
    // `store` and `service` because a node gives out handles and the calls on them
    ("runtime", RUNTIME),
    ("sim", RUNTIME),
];

/// What stands on the driver: with threads or without.
const RUNTIME: &[&str] = &[
    "base", "core", "driver", "replica", "machine", "mvcc", "watch", "lease", "storage", "gate",
    "store", "service",
];

/// Base by its files; the rest by folder.
const BASE: &[&str] = &[
    "error",
    "ids",
    "time",
    "config",
    "codec",
    "entry",
    "keys",
    "planted",
    "sync",
    "transport",
    "vfs",
];

/// Single steps across a wall, by file and by what is named.
const CROSSINGS: &[(&str, &str, &str)] = &[];

/// What may be named only in some places: the words, the folder or file, and why.
const PLACES: &[(&[&str], &[&str], &str)] = &[
    (
        &["raft::", "raft_proto", "eraftpb"],
        &["src/core/replica/consensus/"],
        "so that the consensus crate can be replaced without touching another room",
    ),
    (
        &["prost::"],
        &["src/core/machine/command.rs", "src/core/machine/command/wire.rs"],
        "everything else that is stored or sent has a codec of our own",
    ),
    (
        &["rustix::", "std::fs"],
        &["src/storage/disk.rs"],
        "everybody else reaches files through Vfs, so that a test can lose them",
    ),
    (
        &["sha1::"],
        &["src/config/founding.rs", "src/storage/snapshot/file.rs"],
        "it makes ids as etcd does, and the hash over a whole snapshot; checksums are CRCs",
    ),
    (
        &["Instant::now", "SystemTime"],
        // Only so that simulated moments can be told in the system's terms.
        &["src/runtime/clock.rs", "src/sim/zero.rs"],
        "time is an input: the runtime reads the clock once for a batch",
    ),
    (
        &["std::thread", "sync::thread", "thread::spawn", "thread::Builder"],
        &["src/runtime/", "src/service/pending.rs", "src/sync.rs"],
        "the runtime names and joins every thread; a blocking call may park its caller",
    ),
    (
        &[
            "parking_lot",
            "crossbeam_channel",
            "crossbeam_utils",
            "std::sync::atomic",
            "use oneshot",
        ],
        &[
            "src/sync.rs",
            // Where no thread meets another while it holds one of these.
            "src/core/",
            "src/storage/",
            "src/sim/",
            "src/runtime/local.rs",
            "src/runtime/local/",
        ],
        "threads meet at what src/sync.rs names, so that checks/shuttle can watch them do it",
    ),
    (&["std::net"], &[], "the host moves the bytes"),
    (&["std::process", "std::env"], &[], "the process is the host's"),
    (
        &["fastrand::"],
        &["src/sim/dice.rs"],
        "a simulation draws from the dice of its seed, and from nothing else",
    ),
    (
        &["rand::", "RandomState"],
        &["src/core/replica/consensus/"],
        "the same seed gives the same run",
    ),
];

/// What nothing in core/ may name: it decides, and touches nothing.
const NOT_IN_CORE: &[(&str, &str)] = &[
    ("HashMap", "its order differs from run to run: a BTreeMap"),
    ("HashSet", "its order differs from run to run: a BTreeSet"),
    ("std::io", "storage reads and writes"),
    ("std::time::Instant", "crate::time::Instant, which is passed in"),
    ("getrandom", "a seed is passed in"),
    ("rand", "a seed is passed in"),
    ("Condvar", "the core waits for nothing"),
    ("crossbeam_channel", "the core is called; it has no queue between threads"),
    ("f64", "replicas compute with whole numbers"),
    ("f32", "replicas compute with whole numbers"),
];

fn room_of(module: &[String]) -> Option<&'static str> {
    let first = module.first()?.as_str();
    let name = match (first, module.get(1).map(String::as_str)) {
        ("core", Some(inner @ ("mvcc" | "machine" | "watch" | "lease" | "replica"))) => inner,
        _ if BASE.contains(&first) => "base",
        _ => first,
    };
    ROOMS.iter().map(|(room, _)| *room).find(|room| *room == name)
}

/// `Error` of `crate::Error` is `error::Error`, if the root says so.
fn through_root(tree: &Tree, path: &[String]) -> Option<&'static str> {
    let root = tree.get("src/lib.rs")?;
    let exported = root.code.split(';').filter_map(|item| item.trim().rsplit_once("pub use "));
    let from = exported
        .map(|(_, item)| item)
        .find(|item| path.first().is_some_and(|name| occurrences(item, name).next().is_some()))?;
    let module: Vec<String> = from.split("::").take(2).map(|part| part.trim().into()).collect();
    room_of(&module)
}

fn directions(tree: &Tree, crossings: &[(&str, &str, &str)]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut crossed = vec![false; crossings.len()];
    let shipped = tree.rust().filter(|file| !file.is_all_test());
    for file in shipped.filter(|file| file.path.starts_with("src/")) {
        let home = module_of(&file.path);
        let Some(room) = room_of(&home) else {
            if !home.is_empty() {
                complaints.push(format!("{}: in no room of tests/tidy/rooms.rs", file.path));
            }
            continue;
        };
        let may = ROOMS.iter().find(|(name, _)| *name == room).map_or(&[][..], |(_, may)| may);
        for named in named(&file.path, &file.shipped) {
            let other = room_of(&named.path).or_else(|| through_root(tree, &named.path));
            let Some(other) = other.filter(|other| *other != room && !may.contains(other)) else {
                continue;
            };
            let path = named.path.join("::");
            let crossing =
                crossings.iter().position(|(from, to, _)| *from == file.path && *to == path);
            if let Some(row) = crossing {
                crossed[row] = true;
                continue;
            }
            let line = line_of(&file.shipped, named.at);
            complaints.push(format!(
                "{}:{line}: {path} is in {other}, which {room} may not use",
                file.path
            ));
        }
    }
    let idle = crossings.iter().zip(crossed).filter(|(_, crossed)| !crossed);
    complaints.extend(idle.map(|((from, to, _), _)| format!("{from}: no longer names {to}")));
    complaints
}

fn places(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in tree.rust().filter(|file| file.path.starts_with("src/")) {
        for (words, homes, why) in PLACES {
            if homes.iter().any(|home| file.path.starts_with(home)) {
                continue;
            }
            for word in *words {
                complaints.extend(occurrences(&file.shipped, word).map(|at| {
                    let line = line_of(&file.shipped, at);
                    format!("{}:{line}: {word} is not for this file: {why}", file.path)
                }));
            }
        }
        for (word, instead) in NOT_IN_CORE.iter().filter(|_| file.path.starts_with("src/core/")) {
            complaints.extend(occurrences(&file.shipped, word).map(|at| {
                let line = line_of(&file.shipped, at);
                format!("{}:{line}: {word} is not for core/: {instead}", file.path)
            }));
        }
    }
    complaints
}

#[test]
fn rooms_use_only_what_lies_below() {
    holds(&directions(&Tree::load(), CROSSINGS));
}

#[test]
fn what_touches_the_world_stays_in_its_place() {
    holds(&places(&Tree::load()));
}

#[test]
fn a_wrong_direction_is_seen() {
    let bad = |path, text| {
        let root = ("src/lib.rs", "mod x;\npub use runtime::{Inbox, Node};\n");
        directions(&Tree::of(&[root, (path, text)]), &[])
    };
    complains(&bad("src/core/mvcc/mod.rs", "use crate::core::machine::Machine;\n"), "mod.rs:1");
    complains(&bad("src/core/mvcc/a.rs", "\nfn f() { super::super::replica::g() }"), "a.rs:2");
    complains(&bad("src/ids.rs", "use crate::{error::Error, storage::Wal};"), "storage::Wal");
    complains(&bad("src/service/kv.rs", "use crate::Node;"), "runtime, which service may not");
    complains(&bad("src/elsewhere.rs", "fn f() {}"), "in no room");
    holds(&bad("src/ids.rs", "// crate::storage\n#[cfg(test)]\nmod t { use crate::storage; }"));
    holds(&bad("src/runtime/mod.rs", "use crate::{core::replica::Replica, Inbox};"));
}

#[test]
fn a_crossing_is_let_pass_and_missed_when_it_is_gone() {
    let crossings = [("src/config.rs", "storage::Vfs", "a host brings its own files")];
    let with = |text| directions(&Tree::of(&[("src/config.rs", text)]), &crossings);
    holds(&with("use crate::storage::Vfs;"));
    complains(&with("use crate::ids::NodeId;"), "no longer names storage::Vfs");
}

#[test]
fn a_thing_out_of_its_place_is_seen() {
    let bad = |path: &str, text: &str| places(&Tree::of(&[(path, text)]));
    for (words, homes, _) in PLACES {
        for word in *words {
            complains(&bad("src/ids.rs", &format!("fn f() {{ {word} }}")), word);
            for home in *homes {
                let home = if home.ends_with('/') { format!("{home}a.rs") } else { (*home).into() };
                let core = NOT_IN_CORE.iter().any(|(banned, _)| word.contains(banned));
                if !core {
                    holds(&bad(&home, &format!("fn f() {{ {word} }}")));
                }
            }
        }
    }
    for (word, _) in NOT_IN_CORE {
        complains(&bad("src/core/mvcc/mod.rs", &format!("use x::{{{word}}};")), word);
    }
    holds(&bad("src/ids.rs", "// std::net\nfn f() { aircraft::x(\"std::fs\") }"));
}
