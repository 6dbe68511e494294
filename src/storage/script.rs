//! Runs the scripts of `tests/scripts/wal` and `tests/scripts/snapshot`: each command prints the
//! file operations that it led to, so their order can be reviewed as a text.
//!
//! ```text
//! open [segment_bytes=N] [max_snapshots=N] [cluster=N] [node=N]
//! append FIRST..LAST [term=N] [len=N]       hard term=N [vote=N] [commit=N]
//! sync   prepare   install INDEX term=N     release INDEX
//! write INDEX [term=N]   list   read INDEX
//! receive INDEX [term=N] [upto=BYTES]   finish   adopt
//! close   kill   crash [seed=N]             the last loses what was not synced; without a seed
//!                                           all of it
//! fail N   stop N                           the N-th operation from now fails, or all from it on
//! flip FILE BYTE   cut FILE BYTES   rm FILE   ls
//! ```

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::path::Path;
use std::str::FromStr;

use goldenscript::{ArgumentConsumer, Command, Context};

use super::tests::{boot, entry, head, mark, open_in, options, sections};
use super::*;
use crate::sim::dice::{Dice, Seed};
use crate::sim::disk::{MemoryDisk, Plan};

type Outcome<T = String> = std::result::Result<T, Box<dyn StdError>>;

struct Runner {
    memory: MemoryDisk,
    options: Options,
    opened: Option<Opened>,
    stage: Option<Stage>,
}

fn run(path: &Path) {
    let (memory, options) = (MemoryDisk::new(), options(Path::new("data")));
    memory.record();
    let mut runner = Runner { memory, options, opened: None, stage: None };
    goldenscript::run(&mut runner, path).unwrap();
}

fn run_all(room: &str) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts").join(room);
    let mut paths: Vec<_> =
        std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().for_each(|path| run(path));
}

#[test]
fn wal_scripts() {
    run_all("wal");
}

#[test]
fn snapshot_scripts() {
    run_all("snapshot");
}

impl goldenscript::Runner for Runner {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Outcome {
        let mut args = command.consume_args();
        self.memory.take_log();
        let said = self.act(&command.name, &mut args)?;
        args.reject_next()?;
        let mut text = String::new();
        for line in self.memory.take_log() {
            writeln!(text, "{line}")?;
        }
        match said {
            Ok(said) => text.push_str(&said),
            Err(error) => writeln!(text, "{:?} error: {error}", error.kind())?,
        }
        Ok(text)
    }
}

fn key<T: FromStr>(args: &mut ArgumentConsumer<'_>, key: &str, default: T) -> Outcome<T>
where
    T::Err: StdError + 'static,
{
    Ok(args.take_key(key).map_or(Ok(default), str::parse)?)
}

fn pos<T: FromStr>(args: &mut ArgumentConsumer<'_>) -> Outcome<T>
where
    T::Err: StdError + 'static,
{
    Ok(args.next_pos().ok_or("an argument is missing")?.parse()?)
}

fn done(result: Result<()>) -> Result<String> {
    result.map(|()| String::new())
}

impl Runner {
    fn act(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Outcome<Result<String>> {
        Ok(match name {
            "open" => self.open(args)?,
            "close" => {
                (self.opened, self.stage) = (None, None);
                Ok(String::new())
            }
            "kill" | "crash" | "fail" | "stop" => self.misfortune(name, args)?,
            "flip" | "cut" | "rm" | "ls" => self.meddle(name, args)?,
            "append" | "hard" | "sync" | "prepare" | "install" | "release" => {
                self.log(name, args)?
            }
            _ => self.snapshots(name, args)?,
        })
    }

    fn open(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome<Result<String>> {
        self.options.segment_bytes = key(args, "segment_bytes", self.options.segment_bytes)?;
        self.options.max_snapshots = key(args, "max_snapshots", self.options.max_snapshots)?;
        let cluster = ClusterId::new(key(args, "cluster", 0xc1)?);
        let node = NodeId::new(key(args, "node", 7)?);
        let boot = Bootstrap { cluster, node, ..boot() };
        let vfs: Arc<dyn Vfs> = Arc::new(self.memory.clone());
        let opened = match open(vfs, self.options.clone(), boot) {
            Ok(opened) => opened,
            Err(error) => return Ok(Err(error)),
        };
        let mut text = String::new();
        let HardState { term, vote, commit } = opened.hard_state;
        writeln!(text, "boot {}, term {term}, vote {vote}, commit {commit}", opened.identity.boot)?;
        write!(text, "mark {} in term {}", opened.mark.index, opened.mark.term)?;
        writeln!(text, "{}", if opened.snapshot.is_some() { "" } else { ", no snapshot" })?;
        for (count, entry) in opened.entries.iter().enumerate() {
            let first = if count == 0 { "entries" } else { "" };
            write!(text, "{first} {}@{}+{}", entry.index, entry.term, entry.data.len())?;
        }
        writeln!(text, "{}", if opened.entries.is_empty() { "no entries" } else { "" })?;
        if let Some(torn) = &opened.truncated {
            writeln!(text, "cut {} at {}: {}", torn.path.display(), torn.offset, torn.cause)?;
        }
        let WalStats { segments, bytes, .. } = opened.wal.stats();
        writeln!(text, "{segments} segments, {bytes} bytes")?;
        self.opened = Some(opened);
        Ok(Ok(text))
    }

    fn opened(&mut self) -> Outcome<&mut Opened> {
        Ok(self.opened.as_mut().ok_or("not open")?)
    }

    fn log(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Outcome<Result<String>> {
        let wal = &mut self.opened()?.wal;
        Ok(done(match name {
            "append" => {
                let range = args.next_pos().ok_or("which entries?")?;
                let (first, last) = range.split_once("..").unwrap_or((range, range));
                let (term, len) = (key(args, "term", 1)?, key(args, "len", 20)?);
                let indexes = first.parse::<u64>()?..=last.parse()?;
                let entries: Vec<Entry> = indexes.map(|index| entry(index, term, len)).collect();
                wal.append(&entries, None)
            }
            "hard" => {
                let term = Term::new(key(args, "term", 1)?);
                let vote = NodeId::new(key(args, "vote", 0)?);
                let commit = Index::new(key(args, "commit", 1)?);
                wal.append(&[], Some(&HardState { term, vote, commit }))
            }
            "sync" => wal.sync(),
            "prepare" => wal.prepare(),
            "install" => wal.install(&mark(pos(args)?, key(args, "term", 1)?)),
            _ => wal.release(Index::new(pos(args)?)),
        }))
    }

    fn snapshots(
        &mut self,
        name: &str,
        args: &mut ArgumentConsumer<'_>,
    ) -> Outcome<Result<String>> {
        let snapshots = self.opened()?.snapshots.clone();
        Ok(match name {
            "write" => {
                let (index, term) = (pos(args)?, key(args, "term", 1)?);
                snapshots.write(&head(index, term), sections(index)).map(|info| describe(&info))
            }
            "list" => Ok(snapshots.list().iter().map(describe).collect()),
            "read" => snapshots.open(Index::new(pos(args)?)).and_then(|(head, sections)| {
                let mut text = format!("revision {}\n", head.revision);
                for section in sections {
                    let section = section?;
                    text += &format!("section {}, {} bytes\n", section.kind, section.bytes.len());
                }
                Ok(text)
            }),
            "receive" => self.receive(&snapshots, args)?,
            "finish" => {
                let stage = self.stage.as_mut().ok_or("nothing was received")?;
                stage.finish().map(|(head, _)| format!("whole: mark {}\n", head.mark.index))
            }
            "adopt" => {
                let stage = self.stage.take().ok_or("nothing was received")?;
                snapshots.adopt(stage).map(|info| describe(&info))
            }
            _ => return Err(format!("unknown command {name}").into()),
        })
    }

    /// Takes a snapshot that another member wrote, in pieces, up to a byte.
    fn receive(
        &mut self,
        snapshots: &Snapshots,
        args: &mut ArgumentConsumer<'_>,
    ) -> Outcome<Result<String>> {
        let (index, term) = (pos(args)?, key(args, "term", 1)?);
        let sender = open_in(&MemoryDisk::new())?.snapshots;
        let info = sender.write(&head(index, term), sections(index))?;
        let upto = key(args, "upto", info.file_bytes)?;
        let hash = key(args, "hash", info.hash)?;
        let (index, term) = (Index::new(index), Term::new(term));
        self.stage = None;
        let mut stage =
            match snapshots.stage(StageKey { index, term, file_bytes: info.file_bytes, hash }) {
                Ok(stage) => stage,
                Err(error) => return Ok(Err(error)),
            };
        let begun = stage.have();
        while stage.have() < upto {
            let have = stage.have();
            let piece = sender.read_at(index, have, 1000.min((upto - have) as usize))?;
            if let Err(error) = stage.write(have, &piece) {
                return Ok(Err(error));
            }
        }
        let text = format!("{begun} to {} of {} bytes\n", stage.have(), info.file_bytes);
        self.stage = Some(stage);
        Ok(Ok(text))
    }

    fn misfortune(
        &mut self,
        name: &str,
        args: &mut ArgumentConsumer<'_>,
    ) -> Outcome<Result<String>> {
        match name {
            "fail" => self.memory.plan(Plan::FailAt(pos(args)?)),
            "stop" => self.memory.plan(Plan::StopAt(pos(args)?)),
            _ => {
                (self.opened, self.stage) = (None, None);
                match args.take_key("seed") {
                    Some(seed) => self.memory.crash(&mut Dice::new(Seed::new(seed.parse()?))),
                    None if name == "kill" => self.memory.kill(),
                    None => self.memory.lose(),
                }
                self.memory.plan(Plan::Nothing);
            }
        }
        Ok(Ok(String::new()))
    }

    fn meddle(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Outcome<Result<String>> {
        if name == "ls" {
            let mut text = String::new();
            for path in self.memory.paths() {
                let len = self.memory.look(&path, <[u8]>::len)?;
                writeln!(text, "{} {len}", path.display())?;
            }
            return Ok(Ok(text));
        }
        let path = PathBuf::from(args.next_pos().ok_or("which file?")?);
        if name == "rm" {
            self.memory.delete(&path);
            return Ok(Ok(String::new()));
        }
        let at: usize = pos(args)?;
        self.memory.edit(
            &path,
            |bytes| {
                if name == "cut" { bytes.truncate(at) } else { bytes[at] ^= 1 }
            },
        )?;
        Ok(Ok(String::new()))
    }
}

fn describe(info: &SnapshotInfo) -> String {
    let SnapshotInfo { mark, file_bytes, hash } = info;
    format!("snapshot {} in term {}: {file_bytes} bytes, {hash:016x}\n", mark.index, mark.term)
}
