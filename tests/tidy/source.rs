//! The repository as the checks see it: each file three times, with less in it each time.

use std::ops::Range;
use std::path::Path;

/// Folders that git ignores: what tools have made.
const BUILT: &[&str] = &["target", "fuzz/target", "fuzz/artifacts", "fuzz/coverage"];

/// What stands in front of an item that is in no user's program.
const TEST_MARKS: &[&str] = &["#[cfg(test)]", "#[cfg(any(test, fuzzing))]"];

/// One file. `text`, `code` and `shipped` have the same length, line by line.
pub(crate) struct File {
    /// From the root of the repository, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// For Rust: the text with comments and literals blanked out. Empty for everything else.
    pub(crate) code: String,
    /// The code with test items blanked out: what a user's program contains.
    pub(crate) shipped: String,
    /// Where the test items are.
    tests: Vec<Range<usize>>,
}

impl File {
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether all of it is for tests.
    pub(crate) fn is_all_test(&self) -> bool {
        self.tests.contains(&(0..self.text.len()))
    }

    /// Whether what stands at this byte, comments too, is part of a test.
    pub(crate) fn is_test(&self, at: usize) -> bool {
        self.tests.iter().any(|item| item.contains(&at))
    }
}

/// Every file that git would keep, in order of path.
pub(crate) struct Tree(pub(crate) Vec<File>);

impl Tree {
    /// This repository.
    pub(crate) fn load() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut found = Vec::new();
        walk(root, "", &mut found);
        Self::new(found)
    }

    /// A made-up repository, to show a check something bad.
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        Self::new(files.iter().map(|(path, text)| ((*path).into(), (*text).into())).collect())
    }

    fn new(mut found: Vec<(String, String)>) -> Self {
        found.sort();
        let mut files: Vec<File> = found
            .into_iter()
            .map(|(path, text)| {
                let code = if path.ends_with(".rs") { code_of(&text) } else { String::new() };
                let all = !path.starts_with("src/");
                let tests =
                    if all { std::iter::once(0..text.len()).collect() } else { tests_in(&code) };
                File { path, text, code, shipped: String::new(), tests }
            })
            .collect();
        let modules: Vec<String> = files.iter().flat_map(test_modules).collect();
        for file in &mut files {
            let under = |stem: &String| {
                file.path == format!("{stem}.rs") || file.path.starts_with(&format!("{stem}/"))
            };
            if modules.iter().any(under) {
                file.tests = std::iter::once(0..file.text.len()).collect();
            }
            let bytes = file.code.bytes().enumerate();
            let left = bytes.map(|(at, byte)| if file.is_test(at) { blank(byte) } else { byte });
            file.shipped = String::from_utf8_lossy(&left.collect::<Vec<_>>()).into_owned();
        }
        Self(files)
    }

    pub(crate) fn rust(&self) -> impl Iterator<Item = &File> {
        self.0.iter().filter(|file| file.is_rust())
    }

    pub(crate) fn get(&self, path: &str) -> Option<&File> {
        self.0.iter().find(|file| file.path == path)
    }

    /// Whether there is a file, or a folder with a file in it, of this path.
    pub(crate) fn has(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        self.0.iter().any(|file| file.path == path || file.path.starts_with(&folder))
    }
}

fn walk(folder: &Path, prefix: &str, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = format!("{prefix}{name}");
        if entry.file_type().unwrap().is_dir() {
            let ours = !name.starts_with('.') || name == ".ci";
            if ours && !BUILT.contains(&path.as_str()) {
                walk(&entry.path(), &format!("{path}/"), found);
            }
        } else if name == ".git" {
            // a work tree of its own: a path, not a page
        } else if let Ok(text) = std::fs::read_to_string(entry.path()) {
            found.push((path, text));
        } else {
            found.push((path, String::new())); // not text: it exists, that is all
        }
    }
}

/// The folder where the modules that this file declares lie.
pub(crate) fn children_of(path: &str) -> String {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    match name {
        "mod.rs" | "lib.rs" | "main.rs" => folder.to_string(),
        _ => path.trim_end_matches(".rs").to_string(),
    }
}

/// Paths, without `.rs`, of the modules that a file declares for tests only.
fn test_modules(file: &File) -> Vec<String> {
    let folder = children_of(&file.path);
    let mut modules = Vec::new();
    let mut wanted = false;
    for line in file.code.lines().map(str::trim) {
        let public = line.strip_prefix("pub ").or_else(|| line.strip_prefix("pub(crate) "));
        let module = public.unwrap_or(line).strip_prefix("mod ");
        let module = module.and_then(|rest| rest.strip_suffix(';'));
        match module {
            Some(name) if wanted => modules.push(format!("{folder}/{name}")),
            _ => {}
        }
        wanted = TEST_MARKS.contains(&line) || (wanted && line.starts_with("#["));
    }
    modules
}

/// Line breaks stay, everything else becomes a space.
fn blank(byte: u8) -> u8 {
    if byte == b'\n' { b'\n' } else { b' ' }
}

/// The text with comments and literals blanked out, byte for byte as long.
fn code_of(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = Vec::with_capacity(bytes.len());
    while let Some(&byte) = bytes.get(code.len()) {
        let rest = &bytes[code.len()..];
        let in_word = code.last().is_some_and(|byte| is_word(*byte));
        let skip = if rest.starts_with(b"//") {
            rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            block_comment(rest)
        } else if byte == b'"' {
            string(rest)
        } else if let Some(len) = raw_string(rest).filter(|_| !in_word) {
            len
        } else if byte == b'\'' {
            character(rest)
        } else {
            0
        };
        match skip {
            0 => code.push(byte),
            _ => code.extend(rest[..skip.min(rest.len())].iter().map(|byte| blank(*byte))),
        }
    }
    String::from_utf8_lossy(&code).into_owned()
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            (at, depth) = (at + 2, depth + 1);
        } else if rest[at..].starts_with(b"*/") {
            (at, depth) = (at + 2, depth - 1);
        } else {
            at += 1;
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = rest.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// `r"..."`, `r#"..."#`, `br"..."`; none if that is not what stands here.
fn raw_string(rest: &[u8]) -> Option<usize> {
    let after = rest.strip_prefix(b"b").unwrap_or(rest).strip_prefix(b"r")?;
    let hashes = after.iter().take_while(|byte| **byte == b'#').count();
    if after.get(hashes) != Some(&b'"') {
        return None;
    }
    let open = rest.len() - after.len() + hashes + 1;
    let close = format!("\"{}", "#".repeat(hashes));
    let found = rest[open..].windows(close.len()).position(|window| window == close.as_bytes());
    Some(found.map_or(rest.len(), |at| open + at + close.len()))
}

/// The length of a character literal; 0 for the tick of a lifetime.
fn character(rest: &[u8]) -> usize {
    if rest.get(1) == Some(&b'\\') {
        let close = rest.iter().skip(3).position(|byte| *byte == b'\'');
        return close.map_or(0, |at| at + 4);
    }
    let width = std::str::from_utf8(&rest[1..rest.len().min(5)])
        .or_else(|error| std::str::from_utf8(&rest[1..1 + error.valid_up_to()]))
        .ok()
        .and_then(|text| text.chars().next())
        .map_or(0, char::len_utf8);
    if width > 0 && rest.get(1 + width) == Some(&b'\'') { width + 2 } else { 0 }
}

pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Every item under one of the marks.
fn tests_in(code: &str) -> Vec<Range<usize>> {
    let mut tests = Vec::new();
    for mark in TEST_MARKS {
        let mut from = 0;
        while let Some(at) = code[from..].find(mark).map(|at| from + at) {
            from = item_end(code, at + mark.len());
            tests.push(at..from);
        }
    }
    tests
}

/// Where the item that begins at `from` ends: behind its closing brace, or its semicolon.
fn item_end(code: &str, from: usize) -> usize {
    body(code, from).map_or_else(|end| end, |(_, end)| end)
}

/// The braces of the item that begins at `from`, or where it ends if it has none.
pub(crate) fn body(code: &str, from: usize) -> Result<(usize, usize), usize> {
    let (mut open, mut round, mut curly) = (0, 0_i32, 0_i32);
    for (at, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => round += 1,
            b')' | b']' => round -= 1,
            b'{' => {
                if curly == 0 {
                    open = at;
                }
                curly += 1;
            }
            b'}' => {
                curly -= 1;
                if curly <= 0 {
                    return Ok((open, at + 1));
                }
            }
            b';' if round == 0 && curly == 0 => return Err(at + 1),
            _ => {}
        }
    }
    Err(code.len())
}

/// The number of the line in which the byte at `at` stands, from 1.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// Where `word` stands in `code` as a path of whole words.
pub(crate) fn occurrences<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let ends_in_word = word.bytes().last().is_some_and(is_word);
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = at.checked_sub(1).map(|before| code.as_bytes()[before]);
        let after = code.as_bytes().get(at + word.len());
        let goes_on = ends_in_word && after.is_some_and(|byte| is_word(*byte));
        !goes_on && !before.is_some_and(is_word)
    })
}

#[test]
fn comments_and_literals_are_blanked_out() {
    let text = "a /* \" /* b */ */ c // d\n\"e\\\"f\" g r#\"h\"i\"# j 'k' '\\'' l<'m> b'\"' n\n";
    let code = code_of(text);
    assert_eq!(code.len(), text.len());
    assert_eq!(code.split_whitespace().collect::<String>(), "acgjl<'m>bn");
    assert_eq!(code.lines().count(), text.lines().count());
}

#[test]
fn test_items_and_test_modules_are_not_shipped() {
    let tree = Tree::of(&[
        ("src/lib.rs", "mod a;\n#[cfg(test)]\nmod b { fn x() {} }\nfn kept() {}\n"),
        ("src/a.rs", "#[cfg(test)]\nmod tests;\nfn kept() {}\n"),
        ("src/a/tests.rs", "fn y() {}\n"),
        ("src/c.rs", "#[cfg(any(test, fuzzing))]\n#[doc(hidden)]\npub mod d;\nfn kept() {}\n"),
        ("src/c/d.rs", "fn z() {}\n"),
        ("tests/z.rs", "fn z() {}\n"),
    ]);
    let shipped: Vec<_> = tree.0.iter().map(|file| file.shipped.contains("fn")).collect();
    assert_eq!(shipped, [true, false, true, false, true, false]);
    assert!(!tree.get("src/lib.rs").unwrap().shipped.contains("mod b"));
    let root = tree.get("src/lib.rs").unwrap();
    assert!(root.is_test(root.text.find("mod b").unwrap()));
}
