//! A file system in memory that loses what was not synced, fails on demand, and writes down what
//! it was asked to do.
//!
//! Every file has what a reader sees and what is durable; every directory likewise. A power
//! failure picks, sector by sector and name by name, one of the versions since the last sync:
//! the worst that [`Vfs`] allows, and no worse.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::dice::Dice;
use parking_lot::Mutex;

use crate::vfs::{OpenMode, Vfs, VfsFile, VfsLock};

const SECTOR: usize = 512;

/// The file system. Clones share it.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    disk: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    files: Vec<Inode>,
    /// What a reader sees.
    names: BTreeMap<PathBuf, usize>,
    /// What a power failure leaves.
    durable_names: BTreeMap<PathBuf, usize>,
    /// Changes of names since the last sync of their directory, in order.
    unsynced: Vec<Change>,
    dirs: BTreeSet<PathBuf>,
    locks: BTreeSet<PathBuf>,
    /// What was asked for, as text.
    log: Vec<String>,
    /// Operations that change something, so far.
    operations: u64,
    plan: Plan,
    /// Rises with every power failure: handles from before it are dead.
    power: u64,
}

#[derive(Clone, Default)]
struct Inode {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// Versions of a sector that were written since the last sync, oldest first.
    dirty: BTreeMap<usize, Vec<[u8; SECTOR]>>,
}

enum Change {
    Add(PathBuf, usize),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf, usize),
}

impl Change {
    fn dir(&self) -> Option<&Path> {
        match self {
            Self::Add(path, _) | Self::Remove(path) | Self::Rename(path, _, _) => path.parent(),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Add(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            Self::Remove(path) => {
                names.remove(path);
            }
            Self::Rename(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
        }
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Plan {
    #[default]
    Nothing,
    /// The operation of this number fails, and only that.
    FailAt(u64),
    /// The power fails during the operation of this number: it fails, and every later one.
    StopAt(u64),
}

impl MemoryDisk {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Sets what will go wrong, counting operations from now.
    pub(crate) fn plan(&self, plan: Plan) {
        let mut state = self.disk.lock();
        state.operations = 0;
        state.plan = plan;
    }

    /// Operations that changed something since the plan was set.
    pub(crate) fn operations(&self) -> u64 {
        self.disk.lock().operations
    }

    /// What was asked for since the last call.
    pub(crate) fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.disk.lock().log)
    }

    /// The process is gone, the machine is not: nothing is lost, and nothing more is durable.
    pub(crate) fn kill(&self) {
        let mut state = self.disk.lock();
        state.power += 1;
        state.locks.clear();
    }

    /// The power is gone: each thing that was not synced stays or not, as drawn.
    pub(crate) fn crash(&self, draws: &mut Dice) {
        self.kill();
        let mut state = self.disk.lock();
        let state = &mut *state;
        for inode in &mut state.files {
            inode.crash(draws);
        }
        for change in std::mem::take(&mut state.unsynced) {
            if draws.place(2) == 0 {
                change.apply(&mut state.durable_names);
            }
        }
        state.names = state.durable_names.clone();
    }

    /// The power is gone, and with it everything that was not synced.
    pub(crate) fn lose(&self) {
        self.kill();
        let mut state = self.disk.lock();
        let state = &mut *state;
        for inode in &mut state.files {
            inode.dirty.clear();
            inode.bytes.clone_from(&inode.durable);
        }
        state.unsynced.clear();
        state.names = state.durable_names.clone();
    }

    pub(crate) fn fail_read(&self, _: u64) {}
    pub(crate) fn set_capacity(&self, _: Option<u64>) {}
    pub(crate) fn used(&self) -> u64 {
        0
    }
    pub(crate) fn rot(&self, dice: &mut Dice) -> Option<(PathBuf, u64)> {
        let mut state = self.disk.lock();
        let names: Vec<_> = state.durable_names.iter().map(|(a, b)| (a.clone(), *b)).collect();
        let (path, inode) = dice.pick(&names)?.clone();
        let file = &mut state.files[inode];
        if file.durable.is_empty() {
            return None;
        }
        let at = dice.place(file.durable.len());
        file.durable[at] ^= 1 << dice.below(8);
        if !file.dirty.contains_key(&(at / SECTOR)) {
            if let Some(byte) = file.bytes.get_mut(at) {
                *byte = file.durable[at];
            }
        }
        Some((path, at as u64))
    }

    /// A copy of everything, for another way on from here.
    pub(crate) fn fork(&self) -> Self {
        let state = self.disk.lock();
        let copy = State {
            files: state.files.clone(),
            names: state.names.clone(),
            durable_names: state.durable_names.clone(),
            unsynced: state.unsynced.iter().map(Change::copy).collect(),
            dirs: state.dirs.clone(),
            ..State::default()
        };
        Self { disk: Arc::new(Mutex::new(copy)) }
    }

    /// The names of all files.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.disk.lock().names.keys().cloned().collect()
    }

    /// The content of a file, for looking and for damaging: durable at once.
    pub(crate) fn edit<T>(&self, path: &Path, edit: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let mut state = self.disk.lock();
        let inode = state.names[path];
        let inode = &mut state.files[inode];
        let result = edit(&mut inode.bytes);
        inode.durable = inode.bytes.clone();
        inode.dirty.clear();
        result
    }

    /// Removes a file behind everybody's back.
    pub(crate) fn delete(&self, path: &Path) {
        let mut state = self.disk.lock();
        state.names.remove(path);
        state.durable_names.remove(path);
    }

    /// Counts an operation that changes something. `Err` if it must fail; a write that fails
    /// because the power does may still have been done in part.
    fn step(state: &mut State, text: String) -> io::Result<()> {
        let number = state.operations;
        state.operations += 1;
        let failed = match state.plan {
            Plan::Nothing => false,
            Plan::FailAt(at) => number == at,
            Plan::StopAt(at) => number >= at,
        };
        state.log.push(if failed { format!("{text}: failed") } else { text });
        if failed { Err(io::Error::other("injected")) } else { Ok(()) }
    }
}

impl Change {
    fn copy(&self) -> Self {
        match self {
            Self::Add(path, inode) => Self::Add(path.clone(), *inode),
            Self::Remove(path) => Self::Remove(path.clone()),
            Self::Rename(from, to, inode) => Self::Rename(from.clone(), to.clone(), *inode),
        }
    }
}

impl Inode {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset..end].copy_from_slice(bytes);
        for sector in offset / SECTOR..end.div_ceil(SECTOR) {
            let version = sector_of(&self.bytes, sector);
            self.dirty.entry(sector).or_default().push(version);
        }
    }

    fn sync(&mut self) {
        self.durable.clone_from(&self.bytes);
        self.dirty.clear();
    }

    fn crash(&mut self, draws: &mut Dice) {
        let (old, new) = (self.durable.len(), self.bytes.len());
        let kept = match draws.place(3) {
            0 => old.min(new),
            1 => new,
            _ => (old.min(new) + draws.place(old.abs_diff(new) + 1))
                .next_multiple_of(SECTOR)
                .min(old.max(new)),
        };
        let mut survived = self.durable.clone();
        survived.resize(kept.div_ceil(SECTOR) * SECTOR, 0);
        for (sector, versions) in std::mem::take(&mut self.dirty) {
            let drawn = draws.place(versions.len() + 1);
            let at = sector * SECTOR;
            if drawn < versions.len() && at + SECTOR <= survived.len() {
                survived[at..at + SECTOR].copy_from_slice(&versions[drawn]);
            }
        }
        survived.truncate(kept);
        self.bytes.clone_from(&survived);
        self.durable = survived;
    }
}

fn sector_of(bytes: &[u8], sector: usize) -> [u8; SECTOR] {
    let mut version = [0; SECTOR];
    let from = &bytes[sector * SECTOR..bytes.len().min((sector + 1) * SECTOR)];
    version[..from.len()].copy_from_slice(from);
    version
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(ErrorKind::NotFound, format!("no {}", path.display()))
}

impl Vfs for MemoryDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.disk.lock();
        if state.dirs.contains(dir) {
            return Ok(());
        }
        Self::step(&mut state, format!("create_dir {}", dir.display()))?;
        state.dirs.insert(dir.to_path_buf());
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.disk.lock();
        if !state.dirs.contains(dir) {
            return Err(not_found(dir));
        }
        let within = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(within.filter_map(|path| path.file_name()?.to_str()).map(String::from).collect())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn VfsFile>> {
        let mut state = self.disk.lock();
        let found = state.names.get(path).copied();
        let inode = match (mode, found) {
            (OpenMode::Create, Some(_)) => return Err(ErrorKind::AlreadyExists.into()),
            (OpenMode::Create, None) => {
                Self::step(&mut state, format!("create {}", path.display()))?;
                state.files.push(Inode::default());
                let inode = state.files.len() - 1;
                state.names.insert(path.to_path_buf(), inode);
                state.unsynced.push(Change::Add(path.to_path_buf(), inode));
                inode
            }
            (_, Some(inode)) => inode,
            (_, None) => return Err(not_found(path)),
        };
        Ok(Box::new(MemoryFile { memory: self.clone(), inode, power: state.power }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.disk.lock();
        let inode = state.names.get(from).copied().ok_or_else(|| not_found(from))?;
        let name = to.file_name().unwrap_or_default().display();
        Self::step(&mut state, format!("rename {} to {name}", from.display()))?;
        let change = Change::Rename(from.to_path_buf(), to.to_path_buf(), inode);
        change.apply(&mut state.names);
        state.unsynced.push(change);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.disk.lock();
        if !state.names.contains_key(path) {
            return Err(not_found(path));
        }
        Self::step(&mut state, format!("remove {}", path.display()))?;
        let change = Change::Remove(path.to_path_buf());
        change.apply(&mut state.names);
        state.unsynced.push(change);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.disk.lock();
        Self::step(&mut state, format!("sync_dir {}", dir.display()))?;
        let state = &mut *state;
        let (synced, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut state.unsynced)
            .into_iter()
            .partition(|change| change.dir() == Some(dir));
        for change in synced {
            change.apply(&mut state.durable_names);
        }
        state.unsynced = kept;
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<VfsLock> {
        let mut state = self.disk.lock();
        if !state.locks.insert(path.to_path_buf()) {
            return Err(ErrorKind::WouldBlock.into());
        }
        let (memory, path, power) = (self.clone(), path.to_path_buf(), state.power);
        Ok(Box::new(MemoryLock { memory, path, power }))
    }
}

struct MemoryLock {
    memory: MemoryDisk,
    path: PathBuf,
    power: u64,
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        let mut state = self.memory.disk.lock();
        if state.power == self.power {
            state.locks.remove(&self.path);
        }
    }
}

struct MemoryFile {
    memory: MemoryDisk,
    inode: usize,
    power: u64,
}

impl MemoryFile {
    /// What the file is called now, for the log.
    fn name(&self, state: &State) -> String {
        let name = state.names.iter().find(|(_, inode)| **inode == self.inode);
        name.map_or_else(|| "removed".into(), |(path, _)| path.display().to_string())
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.memory.disk.lock();
        if state.power != self.power {
            return Err(io::Error::other("opened before the power failed"));
        }
        act(&mut state)
    }
}

impl VfsFile for MemoryFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.with(|state| {
            let bytes = &state.files[self.inode].bytes;
            let from = &bytes[usize::try_from(offset).unwrap().min(bytes.len())..];
            let len = from.len().min(buf.len());
            buf[..len].copy_from_slice(&from[..len]);
            Ok(len)
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.with(|state| {
            let text = format!("write {} {offset}+{}", self.name(state), bytes.len());
            let result = MemoryDisk::step(state, text);
            if result.is_ok()
                || matches!(state.plan, Plan::StopAt(at) if state.operations == at + 1)
            {
                state.files[self.inode].write(usize::try_from(offset).unwrap(), bytes);
            }
            result
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|state| {
            let text = format!("sync {}", self.name(state));
            MemoryDisk::step(state, text)?;
            state.files[self.inode].sync();
            Ok(())
        })
    }

    fn size(&self) -> io::Result<u64> {
        self.with(|state| Ok(state.files[self.inode].bytes.len() as u64))
    }
}
