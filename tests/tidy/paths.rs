//! Which modules a file names: `crate::..` and `super::..` paths, groups taken apart.

use super::source::{children_of, is_word, occurrences};

/// A path from the root of the crate, and where in the code it stands.
pub(crate) struct Named {
    pub(crate) at: usize,
    pub(crate) path: Vec<String>,
}

/// Every path in `code` that starts at the crate's root or climbs out of the file's own module.
pub(crate) fn named(file: &str, code: &str) -> Vec<Named> {
    let home = module_of(file);
    let mut found = Vec::new();
    for at in occurrences(code, "crate::") {
        if !code[..at].ends_with("in ") {
            expand(code, at + "crate::".len(), at, &[], &mut found);
        }
    }
    for at in occurrences(code, "super::").filter(|at| !code[..*at].ends_with("super::")) {
        let (mut from, mut base) = (at, home.clone());
        while code[from..].starts_with("super::") {
            base.pop();
            from += "super::".len();
        }
        expand(code, from, at, &base, &mut found);
    }
    found
}

/// The module that a file is: `src/core/mvcc/range.rs` is `core`, `mvcc`, `range`.
pub(crate) fn module_of(file: &str) -> Vec<String> {
    let path = children_of(file);
    path.split('/').skip(1).map(Into::into).collect()
}

/// Reads a tree of `a::{b, c::d}` from `from` on and adds its paths; returns where it ends.
fn expand(code: &str, from: usize, at: usize, base: &[String], found: &mut Vec<Named>) -> usize {
    let bytes = code.as_bytes();
    let mut path = base.to_vec();
    let mut from = from;
    loop {
        from += bytes[from..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        if bytes.get(from) == Some(&b'{') {
            from += 1;
            while !matches!(bytes.get(from), None | Some(b'}')) {
                let end = expand(code, from, at, &path, found);
                let rest = bytes[end..].iter().position(|byte| matches!(byte, b',' | b'}'));
                from = end + rest.unwrap_or(bytes.len() - end);
                from += usize::from(bytes.get(from) == Some(&b','));
                from += bytes[from..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            }
            return (from + 1).min(bytes.len());
        }
        let len = bytes[from..].iter().take_while(|byte| is_word(**byte)).count();
        path.push(code[from..from + len].to_string());
        from += len;
        if !code[from..].starts_with("::") || len == 0 {
            found.push(Named { at, path });
            return from;
        }
        from += 2;
    }
}

#[test]
fn groups_are_taken_apart_and_relative_paths_made_whole() {
    let code = "use crate::{a::{b, c::D}, e};\nlet x = super::super::f::<T>();\npub(in crate::g)";
    let found = named("src/core/mvcc/range.rs", code);
    let found: Vec<_> = found.iter().map(|named| named.path.join("::")).collect();
    assert_eq!(found, ["a::b", "a::c::D", "e", "core::f::"]);
}
