//! What observers of elections see, held against the one history of events.
//!
//! ```text
//!   the line        2 a made    5 b made    7 a gone    8 b = "y"    9 b gone
//!   who leads, so   a "x"                   b "-"       b "y"        nobody
//!   an observer               [a "x"        b "-"       b "y"]       a stretch of that, whole
//! ```
//!
//! Between two times at which it is said that some were skipped, what an observer sees is a stretch
//! of what was so, with nothing missing and nothing made up (`REC-23`).

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::Bytes;

use super::watch::truth::Truth;
use crate::ids::Revision;

/// Who leads, and with what; or nobody.
pub(crate) type Leads = Option<(Revision, Bytes)>;

/// What an observer sees. `None`: some were skipped.
pub(crate) type Sights = Vec<Option<Leads>>;

/// Each change of who leads in a line, nobody first.
fn changes(truth: &Truth, directory: &[u8]) -> Vec<Leads> {
    let mut all: Vec<Leads> = vec![None];
    let mut candidates: BTreeMap<(Revision, &Bytes), &Bytes> = BTreeMap::new();
    let mut at = Revision::new(0);
    let mut see = |candidates: &BTreeMap<(Revision, &Bytes), &Bytes>| {
        let first = candidates.first_key_value();
        let now = first.map(|((token, _), value)| (*token, (*value).clone()));
        if all.last() != Some(&now) {
            all.push(now);
        }
    };
    for change in truth.between(at..=truth.newest()) {
        if !change.key.starts_with(directory) {
            continue;
        }
        if change.at.0 > at {
            see(&candidates);
            at = change.at.0;
        }
        match &change.kv {
            Some(kv) => drop(candidates.insert((kv.create, &change.key), &kv.value)),
            None => candidates.retain(|(_, key), _| **key != change.key),
        }
    }
    see(&candidates);
    all
}

/// Is what an observer saw what was so?
pub(crate) fn follows(truth: &Truth, directory: &[u8], sights: &Sights) -> Result<(), String> {
    let all = changes(truth, directory);
    for stretch in sights.split(Option::is_none) {
        let seen: Vec<&Leads> = stretch.iter().flatten().collect();
        let is_so = |part: &[Leads]| part.iter().eq(seen.iter().copied());
        if !seen.is_empty() && !all.windows(seen.len()).any(is_so) {
            return Err(format!("REC-23: an observer saw {seen:?}, and not what was so: {all:?}"));
        }
    }
    Ok(())
}
