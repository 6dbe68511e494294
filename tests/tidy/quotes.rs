//! Pages that quote a script or name an item: what they show must be what is there.

use std::collections::BTreeSet;

use super::source::Tree;
use super::{complains, holds};

/// What stands behind the three ticks of a block that quotes a script; its path follows.
const SCRIPT: &str = "script ";

/// Pages that name what is not ours (crates that were weighed) or not there any more.
const FREE: &[&str] = &["docs/decisions/", "CHANGELOG.md"];

/// A fenced block of a page.
struct Block<'a> {
    /// The number of the line that opens it.
    line: usize,
    /// What stands behind the three ticks.
    info: &'a str,
    text: String,
    closed: bool,
}

fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut found: Vec<Block<'_>> = Vec::new();
    for (number, line) in page.lines().enumerate() {
        let open = found.last_mut().filter(|block| !block.closed);
        match (open, line.strip_prefix("```")) {
            (Some(block), Some(_)) => block.closed = true,
            (Some(block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, Some(info)) => {
                let (line, text) = (number + 1, String::new());
                found.push(Block { line, info, text, closed: false });
            }
            (None, None) => {}
        }
    }
    found
}

/// Every block marked `script` is a run of whole lines of the script that it names.
fn quotes(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for page in tree.0.iter().filter(|file| file.path.ends_with(".md")) {
        for block in blocks(&page.text) {
            let place = format!("{}:{}", page.path, block.line);
            if !block.closed {
                complaints.push(format!("{place}: the block is not closed"));
            }
            let Some(path) = block.info.strip_prefix(SCRIPT).map(str::trim) else { continue };
            let Some(script) = tree.get(path) else {
                complaints.push(format!("{place}: there is no {path}"));
                continue;
            };
            if block.text.trim().is_empty() {
                complaints.push(format!("{place}: quotes nothing of {path}"));
            } else if !format!("\n{}", script.text).contains(&format!("\n{}", block.text)) {
                complaints.push(format!("{place}: {path} does not say that"));
            }
        }
    }
    complaints
}

/// Every `some_name` and `Some::path` in a page's text stands somewhere in a file that is no page,
/// or is a script.
fn names(tree: &Tree) -> Vec<String> {
    let is_page = |path: &str| path.ends_with(".md");
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let sources = tree.0.iter().filter(|file| !is_page(&file.path));
    let mut known: BTreeSet<&str> =
        sources.flat_map(|file| file.text.split(|c: char| !word(c))).collect();
    let scripts = tree.0.iter().filter(|file| file.path.starts_with("tests/scripts/"));
    known.extend(scripts.filter_map(|file| file.path.rsplit('/').next()));
    let mut complaints = Vec::new();
    for page in tree.0.iter().filter(|file| is_page(&file.path)) {
        if FREE.iter().any(|free| page.path.starts_with(free)) {
            continue;
        }
        let mut fenced = false;
        for (number, line) in page.text.lines().enumerate() {
            fenced ^= line.starts_with("```");
            for span in line.split('`').skip(1).step_by(2).filter(|_| !fenced) {
                let name = span.trim_end_matches("()");
                let item = name.chars().all(|c| word(c) || c == ':')
                    && (name.contains("::") || name.contains('_'))
                    && !name.starts_with('_');
                let gone = name.split(':').find(|part| !part.is_empty() && !known.contains(part));
                if let Some(gone) = gone.filter(|_| item) {
                    let place = format!("{}:{}", page.path, number + 1);
                    complaints.push(format!("{place}: nothing is called {gone}"));
                }
            }
        }
    }
    complaints
}

#[test]
fn every_quoted_script_says_so() {
    holds(&quotes(&Tree::load()));
}

#[test]
fn every_item_that_a_page_names_exists() {
    holds(&names(&Tree::load()));
}

#[test]
fn a_wrong_quote_is_seen() {
    let script = ("tests/scripts/a/b", "put a 1\n---\nn1 answers\n");
    let bad = |text| quotes(&Tree::of(&[script, ("docs/a.md", text)]));
    holds(&bad("x\n```script tests/scripts/a/b\nput a 1\n---\n```\n```text\ny\n```\n"));
    complains(&bad("x\n```script tests/scripts/a/b\nput a 2\n```\n"), "a.md:2: tests/scripts/a/b");
    complains(&bad("```script tests/scripts/a/b\nut a 1\n```\n"), "does not say that");
    complains(&bad("```script tests/scripts/a/b\nput a\n```\n"), "does not say that");
    complains(&bad("```script tests/scripts/a/b\n```\n"), "quotes nothing");
    complains(&bad("```script tests/scripts/a/c\nput a 1\n```\n"), "there is no");
    complains(&bad("```text\ny\n"), "not closed");
}

#[test]
fn a_name_of_nothing_is_seen() {
    let code = ("src/a.rs", "fn some_name() {} struct Some;");
    let script = ("tests/scripts/a/some_script", "put a 1\n");
    let bad = |path, text| names(&Tree::of(&[code, script, (path, text)]));
    complains(&bad("docs/a.md", "x\n`other_name`"), "a.md:2: nothing is called other_name");
    complains(&bad("docs/a.md", "`some_name` and `Some::other()`"), "nothing is called other");
    holds(&bad("docs/a.md", "`some_name()`, `Some::some_name`, `word`, `_ms`, `a-b_c`"));
    holds(&bad("docs/a.md", "`some_script`"));
    holds(&bad("docs/a.md", "```text\n`other_name`\n```\n"));
    holds(&bad("docs/decisions/1.md", "`other::name`"));
}
