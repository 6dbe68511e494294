//! The rules that a compiler does not hold, held: lengths, room directions, bans by room, words,
//! dead links, stale quotes, rules without a test.
//!
//! Every check is a plain function from a [`source::Tree`] to complaints. One test runs it on this
//! repository, another on a made-up tree that breaks it, so that a check which has gone blind is
//! noticed. Tables of exceptions carry a reason per row, and a row that is no longer needed fails.
#![allow(clippy::disallowed_methods, reason = "reads the repository's own files")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test may fail by panic"
)]

#[path = "tidy/form.rs"]
mod form;
#[path = "tidy/pages.rs"]
mod pages;
#[path = "tidy/paths.rs"]
mod paths;
#[path = "tidy/quotes.rs"]
mod quotes;
#[path = "tidy/rooms.rs"]
mod rooms;
#[path = "tidy/source.rs"]
mod source;

/// Fails with every complaint at once: one run shows the whole list.
#[track_caller]
fn holds(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// Fails unless there is exactly one complaint and it says `what`.
#[track_caller]
fn complains(complaints: &[String], what: &str) {
    assert_eq!(complaints.len(), 1, "wanted one complaint with {what:?}: {complaints:#?}");
    assert!(complaints[0].contains(what), "wanted {what:?} in {:?}", complaints[0]);
}
