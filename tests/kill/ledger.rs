//! What was written, what was answered, and whether what is found agrees.

use std::collections::HashMap;

/// What is known about a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// In flight at this member's process.
    Pending(u64),
    Acknowledged {
        revision: u64,
    },
    NotApplied,
    Unknown,
}

/// Every write that was ever asked for; a write's number is its place.
#[derive(Default)]
pub(crate) struct Ledger {
    fates: Vec<Fate>,
    /// Acknowledged writes, in the order in which their answers came.
    acknowledged: Vec<usize>,
}

/// A key as a member shows it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    version: u64,
    revision: u64,
    value: String,
}

impl Ledger {
    /// Notes a new write in `life`, a process; gives the command.
    pub(crate) fn begin(&mut self, life: u64) -> String {
        let write = self.fates.len();
        self.fates.push(Fate::Pending(life));
        format!("@{write} put {} {}", key(write), value(write))
    }

    /// Notes the answer to a write.
    pub(crate) fn answer(&mut self, write: usize, answer: &str) {
        let fate = if let Some(revision) = answer.strip_prefix("ok revision=") {
            self.acknowledged.push(write);
            Fate::Acknowledged { revision: revision.parse().expect("a revision") }
        } else if answer.starts_with("error not-applied ") {
            Fate::NotApplied
        } else if answer.starts_with("error unknown ") {
            Fate::Unknown
        } else {
            panic!("write {write} was answered with {answer:?}")
        };
        let before = std::mem::replace(&mut self.fates[write], fate);
        assert!(matches!(before, Fate::Pending(_)), "write {write}: {before:?}, then {fate:?}");
    }

    /// A process is gone: what it had not answered may have happened.
    pub(crate) fn end_of(&mut self, life: u64) {
        for fate in self.fates.iter_mut().filter(|fate| **fate == Fate::Pending(life)) {
            *fate = Fate::Unknown;
        }
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    pub(crate) fn pending(&self) -> usize {
        self.fates.iter().filter(|fate| matches!(fate, Fate::Pending(_))).count()
    }

    /// Compares with all that a member holds. The first `certain` acknowledgements came before it
    /// was asked, so those writes must be there.
    pub(crate) fn check(&self, certain: usize, lines: &[String]) {
        let found: HashMap<usize, Found> = lines.iter().map(|line| parse(line)).collect();
        assert_eq!(found.len(), lines.len(), "a key is shown twice");
        for write in &self.acknowledged[..certain] {
            assert!(found.contains_key(write), "write {write} was acknowledged, and is lost");
        }
        for (&write, found) in &found {
            let fate = self.fates.get(write).unwrap_or_else(|| panic!("nobody wrote {write}"));
            assert_eq!(found.version, 1, "write {write} was applied more than once");
            assert_eq!(found.value, value(write), "write {write}");
            match *fate {
                Fate::NotApplied => panic!("write {write} is there, and was said not to be"),
                Fate::Acknowledged { revision } => {
                    assert_eq!(found.revision, revision, "write {write}");
                }
                Fate::Pending(_) | Fate::Unknown => {}
            }
        }
    }

    pub(crate) fn summary(&self) -> String {
        let count = |fate| self.fates.iter().filter(|other| **other == fate).count();
        format!(
            "{} writes: {} acknowledged, {} not applied, {} unknown",
            self.fates.len(),
            self.acknowledged.len(),
            count(Fate::NotApplied),
            count(Fate::Unknown)
        )
    }
}

fn key(write: usize) -> String {
    format!("w/{write}")
}

/// Of many lengths, up to a few blocks.
fn value(write: usize) -> String {
    format!("{write}:{}", "x".repeat(write * 37 % 5_000))
}

/// `kv key=w/7 version=1 mod=9 value=7:xxx`
fn parse(line: &str) -> (usize, Found) {
    let field = |name: &str| {
        let (_, rest) = line.split_once(name).unwrap_or_else(|| panic!("no {name} in {line:?}"));
        rest.split(' ').next().unwrap_or_default()
    };
    let number = |name: &str| field(name).parse().unwrap_or_else(|_| panic!("{line:?}"));
    let write = field(" key=").strip_prefix("w/").and_then(|write| write.parse().ok());
    let write = write.unwrap_or_else(|| panic!("nobody wrote this: {line:?}"));
    let value = field(" value=").to_owned();
    (write, Found { version: number(" version="), revision: number(" mod="), value })
}

#[test]
fn a_loss_a_repeat_and_a_lie_are_seen() {
    let mut ledger = Ledger::default();
    for answer in ["ok revision=2", "error not-applied no leader", "error unknown timeout"] {
        let write = ledger.fates.len();
        ledger.begin(1);
        ledger.answer(write, answer);
    }
    let line = |write: usize, version: u64, revision: u64| {
        let (key, value) = (key(write), value(write));
        format!("kv key={key} version={version} mod={revision} value={value}")
    };
    let fails = |lines: &[String]| {
        let ledger = std::panic::AssertUnwindSafe(&ledger);
        std::panic::catch_unwind(|| ledger.check(1, lines)).is_err()
    };
    assert!(!fails(&[line(0, 1, 2)]));
    assert!(!fails(&[line(0, 1, 2), line(2, 1, 3)]), "an unknown one may be there");
    assert!(fails(&[]), "lost");
    assert!(fails(&[line(0, 2, 2)]), "twice");
    assert!(fails(&[line(0, 1, 3)]), "at another revision");
    assert!(fails(&[line(0, 1, 2), line(1, 1, 3)]), "refused, and there");
    assert!(fails(&[line(0, 1, 2), line(3, 1, 3)]), "nobody's");
}
