//! Pages that name what is not there, and rules that nobody proves.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use super::source::{Tree, line_of};
use super::{complains, holds};

/// Where the rules stand, each with its id in bold.
const RULES: &str = "docs/semantics.md";

/// Rules without a test, and why: one id, or `WAT-*` for every one of a family that has none.
const NOT_YET: &[(&str, &str)] = &[
    ("CFG-32", "says that a setting is not there"),
    ("HSH-5", "says that a cache is not there"),
    ("CFG-40", "says what nobody checks"),
    ("KV-12", "says what the types rule out"),
    ("REC-31", "says that a level is not there"),
    ("REC-35", "says what is not needed"),
    ("SEL-6", "says what cannot be written"),
    ("TXN-15", "says what cannot happen: there is no way to make it"),
    ("TXN-20", "the compiler sees to it"),
    ("LSE-25", "there are no alarms yet that could refuse a grant"),
    ("MEM-8", "no call removes a member yet"),
    ("WAT-7", "says that there are no permissions"),
    ("WAT-38", "there are no learners yet"),
];

/// Families that are built as a whole, and the numbers that they have in etcd's list.
const WHOLE: &[(&str, &[RangeInclusive<u32>])] = &[
    ("DM", &[1..=18]),
    ("SEL", &[1..=13]),
    ("KV", &[1..=19, 30..=39, 50..=55]),
    ("TXN", &[1..=20]),
    ("CMP", &[1..=17]),
    ("HSH", &[1..=6]),
    ("WAT", &[1..=39]),
    ("LSE", &[1..=26]),
    ("REC", &[1..=43]),
    ("HLP", &[1..=7]),
];

/// Rules of those families that are not on the page, and why.
const NOT_HERE: &[(&str, &str)] = &[
    (
        "HLP-2",
        "a handle belongs to one member, whose answers never go back; `at_least` is for others",
    ),
    ("HLP-3", "as HLP-2: there is no other member to switch to"),
    ("HLP-4", "as HLP-2"),
    ("HLP-5", "a member reads its own memory: a cache of leased keys would be slower"),
    (
        "HLP-7",
        "there is no client to retry: a proposal is repeated by its member, and applied once",
    ),
];

/// Parts of paths that only mean something on the machine of whoever wrote them.
const MACHINE: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("arti", "factory"),
];

/// The letters before the number of a rule.
const FAMILIES: &[&str] = &[
    "DM", "SEL", "KV", "TXN", "CMP", "HSH", "WAT", "LSE", "REC", "LIN", "MEM", "BST", "MNT", "SNP",
    "ALM", "AUT", "CFG", "DUR", "ERR", "INV", "HLP",
];

fn is_page(path: &str) -> bool {
    path.ends_with(".md") && (path.starts_with("docs/") || !path.contains('/'))
}

fn dead_paths(tree: &Tree) -> Vec<String> {
    const FOLDERS: &[&str] =
        &["src/", "docs/", "tests/", "examples/", "benches/", "checks/", "fuzz/", ".ci/"];
    let part = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    let mut complaints = Vec::new();
    for page in tree.0.iter().filter(|file| is_page(&file.path)) {
        for (number, line) in page.text.lines().enumerate() {
            for word in line.split(|c| !part(c)) {
                let path = word.trim_end_matches(['.', '-']);
                let ours = FOLDERS.iter().any(|folder| path.starts_with(folder));
                if ours && !tree.has(path) {
                    let number = number + 1;
                    complaints.push(format!("{}:{number}: there is no {path}", page.path));
                }
            }
        }
        complaints.extend(dead_links(tree, &page.path, &page.text));
    }
    complaints
}

/// `[text](other.md)`, from the page's own folder.
fn dead_links(tree: &Tree, page: &str, text: &str) -> Vec<String> {
    let folder = page.rsplit_once('/').map_or("", |(folder, _)| folder);
    let targets = text.match_indices("](").filter_map(|(at, _)| {
        let target = text[at + 2..].split([')', '#', ' ']).next()?;
        (!target.is_empty() && !target.contains("://")).then_some((at, target))
    });
    let dead = targets.filter(|(_, target)| {
        let mut path: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
        for part in target.split('/') {
            match part {
                ".." => drop(path.pop()),
                "." | "" => {}
                _ => path.push(part),
            }
        }
        !tree.has(&path.join("/"))
    });
    dead.map(|(at, target)| format!("{page}:{}: dead link {target}", line_of(text, at))).collect()
}

fn machine_paths(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in &tree.0 {
        for part in MACHINE {
            complaints.extend(file.text.match_indices(part).map(|(at, _)| {
                let line = line_of(&file.text, at);
                format!("{}:{line}: {part} means nothing elsewhere", file.path)
            }));
        }
    }
    complaints
}

/// Every `DM-4` in the text, and where.
fn ids(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (dash, _) in text.match_indices('-') {
        let before = &text[..dash];
        let letters = before.bytes().rev().take_while(u8::is_ascii_uppercase).count();
        let family = &before[dash - letters..];
        let joined = before[..dash - letters].bytes().last();
        let number: String = text[dash + 1..].chars().take_while(char::is_ascii_digit).collect();
        let word = joined.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if FAMILIES.contains(&family) && !word && !number.is_empty() {
            found.push((dash - letters, format!("{family}-{number}")));
        }
    }
    found
}

/// Every `fn dm_4_..` in the text, as `DM-4`, and where: tests are named after what they prove.
fn named_ids(text: &str) -> Vec<(usize, String)> {
    let functions = text.match_indices("fn ").filter_map(|(at, _)| {
        let mut words = text[at + 3..].split('_');
        let (family, number) = (words.next()?.to_ascii_uppercase(), words.next()?);
        let numbered = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        (numbered && FAMILIES.contains(&&*family)).then(|| (at, format!("{family}-{number}")))
    });
    functions.collect()
}

/// The ids that the page of rules defines: those in bold.
fn defined(page: &str) -> BTreeSet<String> {
    let bold =
        |at: usize, id: &str| page[..at].ends_with("**") && page[at + id.len()..].starts_with("**");
    ids(page).into_iter().filter(|(at, id)| bold(*at, id)).map(|(_, id)| id).collect()
}

fn rules(tree: &Tree, not_yet: &[(&str, &str)]) -> Vec<String> {
    let Some(page) = tree.get(RULES) else {
        return Vec::new();
    };
    let known = defined(&page.text);
    let mut complaints = Vec::new();
    let mut proved: BTreeMap<String, String> = BTreeMap::new();
    for file in tree.0.iter().filter(|file| file.is_rust() || file.path.starts_with("tests/")) {
        if file.path.starts_with("tests/tidy") {
            continue; // its made-up rules
        }
        for (at, id) in ids(&file.text).into_iter().chain(named_ids(&file.text)) {
            let line = line_of(&file.text, at);
            let place = format!("{}:{line}", file.path);
            if !known.contains(&id) {
                complaints.push(format!("{place}: {id} is no rule of {RULES}"));
            } else if file.is_test(at) {
                proved.insert(id, place);
            }
        }
    }
    let listed = |id: &str, row: &str| {
        row == id || row.strip_suffix('*').is_some_and(|family| id.starts_with(family))
    };
    for id in known.iter().filter(|id| !proved.contains_key(*id)) {
        if !not_yet.iter().any(|(row, _)| listed(id, row)) {
            complaints.push(format!("{id}: no test cites it, and NOT_YET does not say why"));
        }
    }
    for (row, _) in not_yet {
        let open = known.iter().any(|id| listed(id, row) && !proved.contains_key(id));
        if !open {
            complaints.push(format!("{row}: NOT_YET lists it, and a test cites it or it is gone"));
        }
    }
    complaints
}

/// Every rule of the families that are built is on the page, or is not for a reason.
fn missing_rules(page: &str, not_here: &[(&str, &str)]) -> Vec<String> {
    let there = defined(page);
    let all: BTreeSet<String> = WHOLE
        .iter()
        .flat_map(|(family, spans)| spans.iter().cloned().flatten().map(move |n| (family, n)))
        .map(|(family, number)| format!("{family}-{number}"))
        .collect();
    let excused: BTreeSet<&str> = not_here.iter().map(|(id, _)| *id).collect();
    let mut complaints = Vec::new();
    for id in &all {
        match (there.contains(id), excused.contains(id.as_str())) {
            (false, false) => complaints.push(format!("{RULES}: {id} is not there")),
            (true, true) => complaints.push(format!("{RULES}: {id} is there, and excused")),
            _ => {}
        }
    }
    let strange = not_here.iter().filter(|(id, _)| !all.contains(*id));
    complaints.extend(strange.map(|(id, _)| format!("{id}: excused, and of no family built")));
    complaints
}

#[test]
fn every_rule_of_what_is_built_is_on_the_page() {
    let tree = Tree::load();
    holds(&missing_rules(&tree.get(RULES).unwrap().text, NOT_HERE));
}

#[test]
fn a_rule_that_is_silently_left_out_is_seen() {
    let tree = Tree::load();
    let page = &tree.get(RULES).unwrap().text;
    complains(&missing_rules(&page.replace("**KV-5**", "KV-5"), NOT_HERE), "KV-5 is not there");
    let excused = [NOT_HERE, &[("KV-6", "no reason")]].concat();
    complains(&missing_rules(page, &excused), "KV-6 is there, and excused");
}

#[test]
fn every_path_that_a_page_names_exists() {
    holds(&dead_paths(&Tree::load()));
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    holds(&machine_paths(&Tree::load()));
}

#[test]
fn every_rule_has_a_test_or_a_reason() {
    holds(&rules(&Tree::load(), NOT_YET));
}

#[test]
fn a_dead_path_is_seen() {
    let bad = |text| dead_paths(&Tree::of(&[("docs/a.md", text), ("src/b/c.rs", "")]));
    complains(&bad("é\n`src/gone.rs`."), "docs/a.md:2: there is no src/gone.rs");
    complains(&bad("[x](../src/d.rs)"), "dead link ../src/d.rs");
    complains(&bad("[x](b.md#y)"), "dead link b.md");
    holds(&bad("`src/b/c.rs`, src/b/, src/b. [y](a.md#z) [w](https://example.org/src/x.rs)"));
}

#[test]
fn a_machine_path_is_seen() {
    for part in MACHINE {
        complains(&machine_paths(&Tree::of(&[("a.toml", &format!("x\n{part}y"))])), "a.toml:2");
    }
}

#[test]
fn a_rule_without_a_test_is_seen() {
    let page = (RULES, "- **DM-1** x\n- **DM-2** y; see DM-1\n");
    let with = |test, not_yet: &[(&str, &str)]| {
        rules(&Tree::of(&[page, ("tests/a.rs", test), ("src/a.rs", "// DM-2\nfn f() {}")]), not_yet)
    };
    complains(&with("// DM-1", &[]), "DM-2: no test");
    complains(&with("// DM-1 DM-2 DM-3", &[]), "tests/a.rs:1: DM-3 is no rule");
    holds(&with("// DM-1", &[("DM-2", "later")]));
    holds(&with("// DM-1\nfn dm_2_holds() {}", &[]));
    complains(&with("// DM-1 DM-2\nfn dm_3_holds() {}", &[]), "tests/a.rs:2: DM-3 is no rule");
    complains(&with("// DM-1\nfn dm_2nd() {}", &[]), "DM-2: no test");
    holds(&with("// DM-1", &[("DM-*", "later")]));
    complains(&with("// DM-1 DM-2", &[("DM-*", "later")]), "DM-*: NOT_YET lists it");
    complains(&with("// DM-1 DM-2", &[("KV-1", "later")]), "KV-1: NOT_YET lists it");
}

#[test]
fn a_test_beside_the_code_proves_too() {
    let code =
        "// DM-1\nfn f() {}\n#[cfg(test)]\nmod tests {\n    // DM-2\n    #[test]\n    fn g() {}\n}";
    let page = (RULES, "**DM-1** **DM-2**");
    complains(&rules(&Tree::of(&[page, ("src/a.rs", code)]), &[]), "DM-1: no test");
}
