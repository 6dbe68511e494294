//! Runs the scripts in `tests/scripts/mvcc/`.
//!
//! ```text
//! put KEY=VALUE.. [lease=ID]     each pair is a transaction of its own
//! delete KEY [END]               END "\0": everything from KEY on
//! get KEY [at=R]
//! range KEY [END] [at=R] [limit=N] [count]
//!   sort=key|version|create|mod|value order=asc|desc only=keys
//!   min_mod=R max_mod=R min_create=R max_create=R
//! chunks KEY [END] [at=R] size=N   reads a range in pieces, until one is not full; of the pinned
//!                                revision unless at=R
//! txn { OP; OP; .. }             OPs: put, delete, get, range as above, in one transaction
//! compact R [tidy=false]         tidy=false: what goes is left to `tidy`
//! tidy [WORK] [reach=N]          looks at so many records; a pin more than N behind is ignored
//! pin [R]                        keeps a revision, or the newest one, until `unpin`
//! unpin
//! hash [at=R]
//! dump                           revisions, then every record by position
//! restore                        into a new store, through the stored form
//! publish=false                  on put, delete, txn: leave it to `publish`
//! ```

use std::error::Error as StdError;
use std::fmt::Write as _;

use bytes::Bytes;
use goldenscript::{ArgumentConsumer, Command, Context};

use super::{
    Bounds, KeyValue, Mvcc, Order, Pace, Pin, Query, RangePage, Reader, Record, SortBy, Write,
};
use crate::error::Error;
use crate::ids::{LeaseId, Revision};
use crate::keys::KeyRange;

type Outcome<T = String> = Result<T, Box<dyn StdError>>;

/// A store, and a reader that was made at the start: it must see every later content.
struct Runner {
    mvcc: Mvcc,
    reader: Reader,
    pin: Option<Pin>,
}

#[derive(Clone, Copy)]
struct Flags {
    lease: LeaseId,
    publish: bool,
}

impl Flags {
    fn take(args: &mut ArgumentConsumer<'_>) -> Outcome<Self> {
        let lease = LeaseId::new(number(args, "lease")?.unwrap_or(0));
        Ok(Self { lease, publish: args.take_key("publish") != Some("false") })
    }
}

impl Runner {
    fn new() -> Self {
        let mvcc = Mvcc::new();
        Self { reader: mvcc.reader(), mvcc, pin: None }
    }

    fn write(&mut self, flags: Flags, ops: &[Vec<&str>]) -> Outcome {
        let mut write = self.mvcc.begin();
        let mut out = String::new();
        for op in ops {
            run_op(&mut write, op, flags.lease, &mut out)?;
        }
        writeln!(out, "revision {}", write.finish())?;
        if flags.publish {
            self.mvcc.publish();
        }
        Ok(out)
    }

    fn range(&self, args: &mut ArgumentConsumer<'_>) -> Outcome {
        let mut query = query(args)?;
        let mut words: Vec<&str> = std::iter::from_fn(|| args.next_pos()).collect();
        args.reject_next()?;
        query.count_only = words.last() == Some(&"count");
        if query.count_only {
            words.pop();
        }
        query.range = key_range(&words)?;
        let counts = self.reader.count(&query.range, query.at);
        let page = self.reader.query(&query)?;
        assert_eq!(counts?, (page.revision, page.count), "KV-5: no option changes the count");
        if query.count_only {
            assert!(page.kvs.is_empty() && !page.more, "KV-6");
            return Ok(format!("at {}: count {}\n", page.revision, page.count));
        }
        Ok(show_page(&page))
    }

    fn chunks(&self, args: &mut ArgumentConsumer<'_>) -> Outcome {
        let at = revision(args)?.map(|at| self.reader.pin(Some(at))).transpose()?;
        let pin = at.as_ref().or(self.pin.as_ref()).ok_or("chunks needs at=R, or a pin")?;
        let size = usize::try_from(number(args, "size")?.ok_or("chunks needs size=N")?)?;
        let words: Vec<&str> = std::iter::from_fn(|| args.next_pos()).collect();
        args.reject_next()?;
        let range = key_range(&words)?;
        let (mut out, mut after) = (String::new(), None);
        loop {
            let kvs = pin.chunk(&range, after.as_deref(), size)?;
            let keys: Vec<_> = kvs.iter().map(|kv| kv.key().escape_ascii().to_string()).collect();
            writeln!(out, "[{}]", keys.join(" "))?;
            if kvs.len() < size {
                return Ok(out);
            }
            after = kvs.last().map(|kv| kv.key().to_vec());
        }
    }

    fn dump(&self) -> Outcome {
        let stats = self.mvcc.stats();
        let mut out = format!("revision {}, ", self.mvcc.revision());
        match self.mvcc.compacted() {
            Some(compacted) => write!(out, "compacted {compacted}, ")?,
            None => write!(out, "never compacted, ")?,
        }
        writeln!(out, "{} keys, {} versions", stats.keys, stats.versions)?;
        let pinned = self.mvcc.pin();
        for record in pinned.records() {
            writeln!(out, "{record:?}")?;
        }
        let bytes: usize = pinned.records().map(|record| record.as_bytes().len()).sum();
        if self.mvcc.removed() == self.mvcc.compacted() {
            assert_eq!((stats.versions, stats.bytes), (pinned.len(), bytes));
        }
        Ok(out)
    }

    fn tidy(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome {
        let max_pinned = number(args, "reach")?.unwrap_or(u64::MAX);
        let work = args.next_pos().map_or(Ok(usize::MAX), str::parse)?;
        args.reject_next()?;
        let more = self.mvcc.tidy(Pace { work, max_pinned, watched: None });
        let upto = self.mvcc.removed().map_or("nowhere".to_owned(), |upto| upto.to_string());
        let more = if more { ", more" } else { "" };
        Ok(format!("removed up to {upto}{more}, {} versions\n", self.mvcc.stats().versions))
    }

    fn restore(&mut self) -> Outcome {
        let (before, stats) = (self.mvcc.pin(), self.mvcc.stats());
        let stored: Vec<_> = before.records().map(|record| record.as_bytes().to_vec()).collect();
        let records = stored.iter().map(|bytes| Ok(Record::from_bytes(bytes).unwrap()));
        let restored = Mvcc::restore(before.compacted(), before.revision(), records)?;
        assert_eq!((restored.stats().keys, restored.stats().versions), (stats.keys, before.len()));
        assert_eq!(restored.pin().hash(None)?, before.hash(None)?, "HSH-4");
        self.mvcc.replace(restored);
        Ok(String::new())
    }
}

impl goldenscript::Runner for Runner {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Outcome {
        let mut args = command.consume_args();
        match command.name.as_str() {
            "put" | "delete" => {
                let flags = Flags::take(&mut args)?;
                let mut out = String::new();
                for op in &operations(command, &mut args) {
                    let op: Vec<&str> = op.iter().map(String::as_str).collect();
                    out.push_str(&self.write(flags, &[op])?);
                }
                Ok(out)
            }
            "txn" => {
                let words: Vec<&str> = std::iter::from_fn(|| args.next_pos()).collect();
                let ops: Vec<Vec<&str>> =
                    words.iter().map(|op| op.split_whitespace().collect()).collect();
                self.write(Flags::take(&mut args)?, &ops)
            }
            "get" => {
                let at = revision(&mut args)?;
                let key = args.next_pos().ok_or("get needs a key")?;
                args.reject_next()?;
                KeyRange::key(Bytes::copy_from_slice(key.as_bytes())).check()?;
                let (at, found) = self.reader.get(key.as_bytes(), at)?;
                Ok(format!("at {at}: {}\n", show(found.as_ref())))
            }
            "range" => self.range(&mut args),
            "chunks" => self.chunks(&mut args),
            "compact" => {
                let at = args.next_pos().ok_or("compact needs a revision")?.parse()?;
                self.mvcc.compact(Revision::new(at))?;
                if args.take_key("tidy") != Some("false") {
                    self.mvcc.tidy(Pace { work: usize::MAX, max_pinned: 0, watched: None });
                }
                Ok(String::new())
            }
            "tidy" => self.tidy(&mut args),
            "pin" => {
                let at = args.next_pos().map(str::parse).transpose()?.map(Revision::new);
                let pin = self.pin.insert(self.reader.pin(at)?);
                Ok(format!("at {}\n", pin.revision()))
            }
            "unpin" => {
                self.pin = None;
                Ok(String::new())
            }
            "hash" => {
                let hash = self.mvcc.pin().hash(revision(&mut args)?)?;
                let compacted = hash.compacted.map_or("never".to_owned(), |at| at.to_string());
                Ok(format!("{:08x} at {}, compacted {compacted}\n", hash.value, hash.revision))
            }
            "publish" => {
                self.mvcc.publish();
                Ok(format!("readable up to {}\n", self.reader.revision()))
            }
            "dump" => self.dump(),
            "restore" => self.restore(),
            name => Err(format!("unknown command {name}").into()),
        }
    }
}

/// The transactions of one operation each that a `put` or `delete` line asks for.
fn operations(command: &Command, args: &mut ArgumentConsumer<'_>) -> Vec<Vec<String>> {
    let mut ops = Vec::new();
    while let Some((key, value)) = args.next_key() {
        ops.push(vec![command.name.clone(), key.to_owned(), value.to_owned()]);
    }
    let words: Vec<_> = std::iter::from_fn(|| args.next_pos()).map(str::to_owned).collect();
    if !words.is_empty() {
        ops.push([vec![command.name.clone()], words].concat());
    }
    ops
}

/// Runs one operation inside a transaction and says what it saw.
fn run_op(write: &mut Write<'_>, op: &[&str], lease: LeaseId, out: &mut String) -> Outcome<()> {
    match op {
        ["put", key, value @ ..] => {
            KeyRange::key(Bytes::copy_from_slice(key.as_bytes())).check()?;
            let before = write.put(key.as_bytes(), value.concat().as_bytes(), lease);
            writeln!(out, "put {key}, before: {}", show(before.as_ref()))?;
        }
        ["delete", words @ ..] => {
            let before = write.delete(&key_range(words)?);
            writeln!(out, "deleted {}", before.len())?;
            before.iter().try_for_each(|kv| writeln!(out, "  {kv:?}"))?;
        }
        ["get", key] => {
            let found = write.view().get(key.as_bytes());
            writeln!(out, "at {}: {}", write.view().revision(), show(found.as_ref()))?;
        }
        ["range", words @ ..] => {
            let at = words.last().and_then(|word| word.strip_prefix("at="));
            let words = words.get(..words.len() - usize::from(at.is_some())).unwrap_or_default();
            let at = at.map(str::parse).transpose()?.map(Revision::new);
            out.push_str(&show_page(
                &write
                    .view()
                    .query(&Query { at, ..Query::new(key_range(words)?) })
                    .map_err(Error::from)?,
            ));
        }
        _ => return Err(format!("unknown operation {op:?}").into()),
    }
    Ok(())
}

/// `KEY [END]`.
pub(crate) fn key_range(words: &[&str]) -> Outcome<KeyRange> {
    let bytes = |word: &str| Bytes::copy_from_slice(word.as_bytes());
    let range = match words {
        [key] => KeyRange::from_selector(bytes(key), Bytes::new()),
        [key, end] => KeyRange::from_selector(bytes(key), bytes(end)),
        _ => return Err("a range is KEY [END]".into()),
    };
    range.check()?;
    Ok(range)
}

/// A query with the options of a `range` line, of all keys.
fn query(args: &mut ArgumentConsumer<'_>) -> Outcome<Query> {
    let mut bound = |name| number(args, name).map(|bound| Revision::new(bound.unwrap_or(0)));
    let mod_revision = Bounds { min: bound("min_mod")?, max: bound("max_mod")? };
    let create_revision = Bounds { min: bound("min_create")?, max: bound("max_create")? };
    let limit = usize::try_from(number(args, "limit")?.unwrap_or(0))?;
    let sort = match args.take_key("sort") {
        None | Some("key") => SortBy::Key,
        Some("version") => SortBy::Version,
        Some("create") => SortBy::CreateRevision,
        Some("mod") => SortBy::ModRevision,
        Some("value") => SortBy::Value,
        Some(other) => return Err(format!("nothing to sort by: {other}").into()),
    };
    let order = match args.take_key("order") {
        None | Some("asc") => Order::Ascending,
        Some("desc") => Order::Descending,
        Some(other) => return Err(format!("no order: {other}").into()),
    };
    let keys_only = match args.take_key("only") {
        None => false,
        Some("keys") => true,
        Some(other) => return Err(format!("nothing to leave: {other}").into()),
    };
    let all = Query::new(KeyRange::all());
    let at = revision(args)?;
    Ok(Query { at, limit, sort, order, mod_revision, create_revision, keys_only, ..all })
}

fn show(found: Option<&KeyValue>) -> String {
    found.map_or("none".to_owned(), |kv| format!("{kv:?}"))
}

fn show_page(page: &RangePage) -> String {
    let mut out = String::new();
    let more = if page.more { ", more" } else { "" };
    let _ = writeln!(out, "at {}: count {}{more}", page.revision, page.count);
    for kv in &page.kvs {
        let _ = writeln!(out, "  {kv:?}");
    }
    out
}

pub(crate) fn number(args: &mut ArgumentConsumer<'_>, name: &str) -> Outcome<Option<u64>> {
    Ok(args.take_key(name).map(str::parse).transpose()?)
}

fn revision(args: &mut ArgumentConsumer<'_>) -> Outcome<Option<Revision>> {
    Ok(number(args, "at")?.map(Revision::new))
}

#[test]
#[expect(clippy::disallowed_methods, reason = "reads the repository's own files")]
fn scripts() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts/mvcc");
    let mut count = 0;
    for file in std::fs::read_dir(directory).unwrap() {
        goldenscript::run(&mut Runner::new(), file.unwrap().path()).unwrap();
        count += 1;
    }
    assert!(count >= 8, "only {count} scripts in {directory}");
}
