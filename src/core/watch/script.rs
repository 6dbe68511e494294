//! Runs the scripts in `tests/scripts/watch/`.
//!
//! ```text
//! put KEY=VALUE..                each pair is a transaction of its own
//! delete KEY [END]               END "\0": everything from KEY on
//! txn { OP; OP; .. }             puts (`put KEY VALUE`) and deletes, in one transaction
//! publish=false                  on put, delete, txn: not readable before the next one is
//! ring=false                     on put, delete, txn, time, install: leaves that to `ring`
//! ring [BUDGET]                  looks at what was published and rings who sleeps: so many records
//!                                and as many watchers; says who was rung, and whether there is
//!                                more to do
//! watch NAME KEY [END] [from=R]  a watcher; with no=puts, no=deletes, no=all, prev=true,
//!                                progress=MS, fragment=BYTES, leader=true
//! next NAME..                    what each is told until it sleeps or ends
//! once NAME..                    what each is told next
//! ask NAME..                     asks for progress
//! cancel NAME..
//! drop NAME..
//! time MS                        so much passes
//! leader yes|no|lost             what the member knows of one
//! end                            the node ends
//! compact R [tidy=false]         tidy=false: what goes is left to `tidy`
//! tidy [reach=N]                 removes; a watcher more than N behind is not waited for
//! oldest                         what the next removal waits for
//! snapshot                       another member, with the same in it; `other:` before put, delete,
//!                                txn, compact is about that one
//! install                        its content in place of ours
//! ```
//!
//! Whoever is rung is named by the command that rang it.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

use goldenscript::{ArgumentConsumer, Command, Context};

use super::{Bell, Budget, Cursor, Spec, Told, Watches};
use crate::core::mvcc::script::{key_range, number};
use crate::core::mvcc::{Filter, Mvcc, Pace, Record};
use crate::ids::{LeaseId, Revision};
use crate::sync::Mutex;
use crate::time::Instant;

type Outcome<T = String> = Result<T, Box<dyn StdError>>;

/// Who was rung since anybody asked.
type Rung = Arc<Mutex<Vec<String>>>;

struct Runner {
    mvcc: Mvcc,
    other: Option<Mvcc>,
    watches: Arc<Watches>,
    cursors: BTreeMap<String, Cursor>,
    rung: Rung,
    now: Instant,
}

/// A consumer, who only notes that it was rung.
struct Consumer {
    name: String,
    rung: Rung,
}

impl Wake for Consumer {
    fn wake(self: Arc<Self>) {
        self.rung.lock().push(self.name.clone());
    }
}

impl Runner {
    fn new() -> Self {
        let mvcc = Mvcc::new();
        let watches = Arc::new(Watches::new(mvcc.reader()));
        watches.set_leader(true, false);
        let (cursors, rung) = (BTreeMap::new(), Rung::default());
        Self { watches, mvcc, other: None, cursors, rung, now: Instant::default() }
    }

    /// The member that a command is about.
    fn store(&mut self, context: &Context) -> Outcome<&mut Mvcc> {
        match context.prefix.as_deref() {
            None => Ok(&mut self.mvcc),
            Some("other") => Ok(self.other.as_mut().ok_or("there is no other: see `snapshot`")?),
            Some(other) => Err(format!("there is no member {other}").into()),
        }
    }

    fn write(&mut self, command: &Command, context: &Context) -> Outcome {
        let mut args = command.consume_args();
        let publish = args.take_key("publish") != Some("false");
        let ring = args.take_key("ring") != Some("false") && context.prefix.is_none();
        let mut writes: Vec<Vec<String>> = Vec::new();
        while let Some((key, value)) = args.next_key() {
            writes.push(vec![format!("put {key} {value}")]);
        }
        let words: Vec<_> = std::iter::from_fn(|| args.next_pos()).map(str::to_owned).collect();
        match command.name.as_str() {
            "txn" => writes.push(words),
            "delete" => writes.push(vec![format!("delete {}", words.join(" "))]),
            _ => {}
        }
        args.reject_next()?;
        for ops in writes {
            let mvcc = self.store(context)?;
            let mut write = mvcc.begin();
            for op in &ops {
                match op.split_whitespace().collect::<Vec<_>>().as_slice() {
                    ["put", key, value @ ..] => {
                        write.put(key.as_bytes(), value.concat().as_bytes(), LeaseId::new(0));
                    }
                    ["delete", words @ ..] => drop(write.delete(&key_range(words)?)),
                    _ => return Err(format!("unknown operation {op:?}").into()),
                }
            }
            write.finish();
            if publish {
                mvcc.publish();
            }
        }
        if ring { self.ring(usize::MAX) } else { Ok(String::new()) }
    }

    fn ring(&mut self, budget: usize) -> Outcome {
        let budget = Budget { looks: budget, rings: budget };
        let more = self.watches.advance(self.now, budget, true);
        let mut out = self.who_was_rung()?;
        if more {
            writeln!(out, "more to do")?;
        }
        Ok(out)
    }

    fn who_was_rung(&self) -> Outcome {
        let mut out = String::new();
        for name in std::mem::take(&mut *self.rung.lock()) {
            writeln!(out, "{name} is rung")?;
        }
        Ok(out)
    }

    fn watch(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome {
        let no = args.take_key("no");
        let millis = number(args, "progress")?;
        let fragment_bytes = number(args, "fragment")?.map(usize::try_from).transpose()?;
        let fragment_bytes = fragment_bytes.and_then(NonZeroUsize::new);
        let from = number(args, "from")?.map(Revision::new);
        let (prev, needs_leader) =
            (args.take_key("prev").is_some(), args.take_key("leader").is_some());
        let words: Vec<&str> = std::iter::from_fn(|| args.next_pos()).collect();
        let (name, words) = words.split_first().ok_or("watch needs a name")?;
        let spec = Spec {
            range: key_range(words)?,
            from,
            filter: Filter {
                no_puts: matches!(no, Some("puts" | "all")),
                no_deletes: matches!(no, Some("deletes" | "all")),
            },
            prev,
            progress: millis.map(Duration::from_millis),
            fragment_bytes,
            needs_leader,
        };
        let cursor = self.watches.watch(&spec, Bell::Own(Box::default()));
        let (created, next) = (cursor.created(), cursor.next_revision());
        self.cursors.insert((*name).to_owned(), cursor);
        Ok(format!("{name} is made at {created}, begins at {next}\n"))
    }

    /// Asks a watcher until it has nothing to say, or so many times.
    fn next(&mut self, name: &str, times: usize, out: &mut String) -> Outcome<()> {
        let consumer = Consumer { name: name.to_owned(), rung: Arc::clone(&self.rung) };
        let waker = Waker::from(Arc::new(consumer));
        let cursor = self.cursor(name)?;
        for _ in 0..times {
            let told = cursor.poll(Some(&waker));
            show(name, &told, cursor, out)?;
            if !matches!(told, Told::Events { .. } | Told::Progress(_) | Told::Later) {
                break;
            }
        }
        Ok(())
    }

    fn cursor(&mut self, name: &str) -> Outcome<&mut Cursor> {
        Ok(self.cursors.get_mut(name).ok_or_else(|| format!("there is no watcher {name}"))?)
    }

    fn tidy(&mut self, max_pinned: u64) -> String {
        let watched = self.watches.oldest(self.mvcc.waited_for(max_pinned));
        let pace = Pace { work: usize::MAX, max_pinned, watched };
        while self.mvcc.tidy(pace) {}
        let upto = self.mvcc.removed().map_or("nowhere".to_owned(), |upto| upto.to_string());
        format!("removed up to {upto}\n")
    }

    /// What another member sends of itself.
    fn copy(&self) -> Outcome<Mvcc> {
        let (pin, compacted) = (self.mvcc.pin(), self.mvcc.compacted());
        let records: Vec<_> = pin.records().map(|record| record.as_bytes().to_vec()).collect();
        let records = records.iter().map(|bytes| Ok(Record::from_bytes(bytes).unwrap()));
        Ok(Mvcc::restore(compacted, pin.revision(), records)?)
    }

    /// Commands about watchers that are named.
    fn each(&mut self, name: &str, names: &[&str]) -> Outcome {
        let mut out = String::new();
        for watcher in names {
            match name {
                "next" => self.next(watcher, usize::MAX, &mut out)?,
                "once" => self.next(watcher, 1, &mut out)?,
                "ask" => self.cursor(watcher)?.ask_progress(),
                "cancel" => self.cursor(watcher)?.canceller().cancel(),
                _ => drop(self.cursors.remove(*watcher).ok_or("there is none")?),
            }
        }
        Ok(out)
    }
}

impl goldenscript::Runner for Runner {
    type Command = Command;

    fn run(&mut self, command: &Command, context: &Context) -> Outcome {
        let mut args = command.consume_args();
        match command.name.as_str() {
            "put" | "delete" | "txn" => self.write(command, context),
            "ring" => {
                let budget = args.next_pos().map_or(Ok(usize::MAX), str::parse)?;
                self.ring(budget)
            }
            "watch" => self.watch(&mut args),
            name @ ("next" | "once" | "ask" | "cancel" | "drop") => {
                let names: Vec<&str> = std::iter::from_fn(|| args.next_pos()).collect();
                let mut out = self.each(name, &names)?;
                out.push_str(&self.who_was_rung()?);
                Ok(out)
            }
            "time" => {
                let ring = args.take_key("ring") != Some("false");
                let millis = args.next_pos().ok_or("time needs milliseconds")?.parse()?;
                self.now = self.now.after(Duration::from_millis(millis));
                if ring { self.ring(usize::MAX) } else { Ok(String::new()) }
            }
            "leader" => {
                let known = args.next_pos();
                self.watches.set_leader(known == Some("yes"), known == Some("lost"));
                self.ring(usize::MAX)
            }
            "end" => {
                self.watches.end();
                self.who_was_rung()
            }
            "compact" => {
                let at = args.next_pos().ok_or("compact needs a revision")?.parse()?;
                let store = self.store(context)?;
                store.compact(Revision::new(at))?;
                if context.prefix.is_some() {
                    while store.tidy(Pace { work: usize::MAX, max_pinned: 0, watched: None }) {}
                    return Ok(String::new());
                }
                let tidy = args.take_key("tidy") != Some("false");
                Ok(if tidy { self.tidy(u64::MAX) } else { String::new() })
            }
            "tidy" => {
                let reach = number(&mut args, "reach")?.unwrap_or(u64::MAX);
                Ok(self.tidy(reach))
            }
            "oldest" => Ok(self
                .watches
                .oldest(self.mvcc.waited_for(u64::MAX))
                .map_or("nobody watches\n".to_owned(), |oldest| format!("revision {oldest}\n"))),
            "snapshot" => {
                let other = self.copy()?;
                let revision = other.revision();
                self.other = Some(other);
                Ok(format!("of revision {revision}\n"))
            }
            "install" => {
                let other = self.other.take().ok_or("there is no other: see `snapshot`")?;
                drop(self.mvcc.replace(other));
                let ring = args.take_key("ring") != Some("false");
                if ring { self.ring(usize::MAX) } else { Ok(String::new()) }
            }
            name => Err(format!("unknown command {name}").into()),
        }
    }
}

fn show(name: &str, told: &Told, cursor: &Cursor, out: &mut String) -> Outcome<()> {
    match told {
        Told::Events { events, upto, fragment } => {
            let fragment = if *fragment { ", and a piece of the next" } else { "" };
            writeln!(out, "{name} has everything up to {upto}{fragment}")?;
            for event in events {
                let create = if event.is_create() { " (new)" } else { "" };
                writeln!(out, "  {event:?}{create}")?;
            }
        }
        Told::Progress(upto) => writeln!(out, "{name} has everything up to {upto}: progress")?,
        Told::Nothing => writeln!(out, "{name} sleeps, next is {}", cursor.next_revision())?,
        Told::Later => writeln!(out, "{name} looks on, next is {}", cursor.next_revision())?,
        Told::Compacted(compacted) => {
            let next = cursor.next_revision();
            writeln!(out, "{name} ends: {next} is gone, compacted at {compacted}")?;
        }
        Told::NoLeader => writeln!(out, "{name} ends: no leader")?,
        Told::Cancelled => writeln!(out, "{name} ends: cancelled")?,
        Told::Ended => writeln!(out, "{name} ends with its node")?,
    }
    Ok(())
}

#[test]
#[expect(clippy::disallowed_methods, reason = "reads the repository's own files")]
fn scripts() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts/watch");
    let mut count = 0;
    for file in std::fs::read_dir(directory).unwrap() {
        goldenscript::run(&mut Runner::new(), file.unwrap().path()).unwrap();
        count += 1;
    }
    assert!(count >= 6, "only {count} scripts in {directory}");
}
