//! The disk: a file system in memory that loses what was not synced, and fails when it is told to.
//!
//! # Idea
//!
//! It is the worst that [`Vfs`] allows, and no worse. Every file has what a reader sees and what
//! its sectors held since the last sync; every directory likewise has names that are seen and
//! names that are durable. What befalls a machine is a call:
//!
//! | what | afterwards |
//! |---|---|
//! | `kill` | nothing is lost, and nothing more is durable |
//! | `crash` | each sector since its last sync, each length and each change of a name: as drawn |
//! | `lose` | exactly what was durable |
//! | a sync that fails | what it was about can be read and may be lost, whatever is synced later |
//! | `rot` | a bit of what was durable is another |
//!
//! After the first three, whatever was opened before is dead: it belonged to a process that is
//! gone. Everything follows from the calls and the dice that are handed in.
//!
//! # Invariants
//!
//! - What was synced stays as it was, but for `rot` and `edit`.
//! - A sector comes back as one of the things that it was since it was synced; a file ends where
//!   it ended then, where it ends now, or with a sector between the two.
//! - A directory that was created is durable; no directory is ever removed.
//! - An operation costs what it touches, not what the file holds, and writes no text unless
//!   somebody asked for that: a simulated cluster spends its time elsewhere.
//!
//! # What is not here
//!
//! Time: a slow disk is one whose answers the simulator holds back. Links, permissions and holes:
//! nothing of ours uses them.

mod contents;
mod faults;
mod handle;
#[cfg(test)]
mod hands;
mod names;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod twin;

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::dice::{Dice, Seed};
use crate::codec::checksum;
use crate::planted::{Bug, planted};
use crate::vfs::{OpenMode, Vfs, VfsFile, VfsLock};
use contents::Contents;
use faults::{Faults, Verdict};
pub(crate) use faults::{Plan, Tally};
use handle::{Handle, Held};
use names::{Names, Slot};

/// Files in memory that survive what a disk survives, for tests: what was synced is still there
/// after [`power_failure`](Self::power_failure), and of the rest any part.
///
/// Clones are the same disk. It stays when the nodes on it are gone, so a node can be opened on it
/// again.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use quorate::sim::{MemoryDisk, Seed};
/// use quorate::{Config, LocalNetwork, Node};
///
/// # fn main() -> quorate::Result<()> {
/// let disk = MemoryDisk::new();
/// let open = || {
///     let config = Config::new("solo", "data").initial_cluster([("solo", "here")]);
///     let endpoint = LocalNetwork::new().endpoint(config.node_id()?);
///     Node::open(config.vfs(Arc::new(disk.clone())), endpoint)
/// };
/// let node = open()?;
/// node.store().put("color", "green").wait()?;
/// disk.power_failure(Seed::new(7));
/// let halted = node.store().put("color", "blue").wait();
/// assert!(halted.is_err_and(|error| error.is_halted()));
/// drop(node);
///
/// let node = open()?;
/// let color = node.store().get("color").wait()?.kv;
/// assert_eq!(color.as_ref().map(|kv| kv.value()), Some(b"green".as_slice()));
/// node.close(Duration::from_secs(5))
/// # }
/// ```
#[derive(Clone, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    files: Vec<File>,
    names: Names,
    locks: BTreeSet<PathBuf>,
    faults: Faults,
    tally: Tally,
    /// What was asked for, as text, if anybody wants to know.
    log: Option<Vec<String>>,
    /// Rises whenever everything that was opened dies.
    life: u64,
}

/// A place for a file. It is free if no name leads there and no handle is open.
#[derive(Clone, Default)]
struct File {
    contents: Contents,
    /// Open ones, of this life.
    handles: usize,
    taken: bool,
}

impl MemoryDisk {
    /// An empty one. The root, and the directory that relative paths begin in, are there.
    ///
    /// ```
    /// use std::path::Path;
    ///
    /// use quorate::sim::MemoryDisk;
    /// use quorate::{OpenMode, Vfs};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let disk = MemoryDisk::new();
    /// disk.open(Path::new("a"), OpenMode::Create)?.write_at(0, b"hello")?;
    /// assert_eq!(disk.clone().open(Path::new("a"), OpenMode::Read)?.size()?, 5);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The machine loses power and starts again. What was not synced is lost or not, sector by
    /// sector and name by name, as the seed has it. Open files and locks are dead: every call on
    /// one fails.
    ///
    /// ```
    /// use std::path::Path;
    ///
    /// use quorate::sim::{MemoryDisk, Seed};
    /// use quorate::{OpenMode, Vfs};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let disk = MemoryDisk::new();
    /// let file = disk.open(Path::new("a"), OpenMode::Create)?;
    /// file.sync()?; // its bytes, not its name
    /// disk.power_failure(Seed::new(1));
    /// assert!(file.size().is_err());
    /// assert!(disk.list(Path::new(""))?.len() <= 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn power_failure(&self, seed: Seed) {
        self.crash(&mut Dice::new(seed));
    }

    /// Bounds what all files may hold together, in bytes; `None` for no bound. A write beyond it
    /// is done as far as there is room and fails with [`ErrorKind::StorageFull`]; nothing can be
    /// created while there is none.
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use std::path::Path;
    ///
    /// use quorate::sim::MemoryDisk;
    /// use quorate::{OpenMode, Vfs};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let disk = MemoryDisk::new();
    /// disk.set_capacity(Some(1024));
    /// let file = disk.open(Path::new("a"), OpenMode::Create)?;
    /// let error = file.write_at(0, &[1; 2000]).unwrap_err();
    /// assert_eq!((error.kind(), disk.used()), (ErrorKind::StorageFull, 1024));
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.lock().faults.capacity = bytes;
    }

    /// What all files hold together, in bytes. A file that was removed counts until it is closed.
    ///
    /// ```
    /// use quorate::sim::MemoryDisk;
    ///
    /// assert_eq!(MemoryDisk::new().used(), 0);
    /// ```
    #[must_use]
    pub fn used(&self) -> u64 {
        self.state.lock().used()
    }

    /// Makes a plan of what will go wrong, counting operations from now.
    pub(crate) fn plan(&self, plan: Plan) {
        self.state.lock().faults.plan(plan);
    }

    /// Nothing of what was planned will go wrong, and there is room.
    pub(crate) fn mend(&self) {
        self.state.lock().faults.mend();
    }

    /// Fails one read, after so many that go well.
    pub(crate) fn fail_read(&self, after: u64) {
        self.state.lock().faults.fail_read(after);
    }

    /// The process is gone, the machine is not: nothing is lost, and nothing more is durable.
    pub(crate) fn kill(&self) {
        let mut state = self.state.lock();
        state.tally.kills += 1;
        state.end_life();
        state.sweep();
    }

    /// The power is gone: each thing that was not synced stays or not, as drawn.
    pub(crate) fn crash(&self, dice: &mut Dice) {
        let mut state = self.state.lock();
        let state = &mut *state;
        state.tally.power_failures += 1;
        state.end_life();
        for file in &mut state.files {
            file.contents.lose_some(dice, &mut state.tally);
        }
        state.names.lose_some(dice, &mut state.tally);
        state.sweep();
    }

    /// Flips one bit of what is durable, anywhere, and says in which byte of which file; `None` if
    /// nothing is durable.
    pub(crate) fn rot(&self, dice: &mut Dice) -> Option<(PathBuf, u64)> {
        self.rot_in(dice, |_, len| Some(0..len))
    }

    /// The same in a place that is drawn from what `place` gives: for a file and its length, where
    /// in it damage may be, if anywhere.
    pub(crate) fn rot_in(
        &self,
        dice: &mut Dice,
        mut place: impl FnMut(&Path, u64) -> Option<Range<u64>>,
    ) -> Option<(PathBuf, u64)> {
        let mut state = self.state.lock();
        let mut places = Vec::new();
        let durable: BTreeSet<Slot> = state.names.durable().map(|(_, slot)| slot).collect();
        for (path, slot) in state.names.seen().filter(|(_, slot)| durable.contains(slot)) {
            let len = state.files.get(slot).map_or(0, |file| file.contents.len());
            if let Some(range) = place(path, len as u64) {
                places.push((path.to_path_buf(), slot, to_usize(range.start)..to_usize(range.end)));
            }
        }
        while !places.is_empty() {
            let (path, slot, range) = places.swap_remove(dice.place(places.len()));
            let contents = state.files.get_mut(slot).map(|file| &mut file.contents)?;
            if let Some(offset) = contents.rot(range, dice) {
                state.tally.flipped_bits += 1;
                return Some((path, offset as u64));
            }
        }
        None
    }
}

#[cfg_attr(not(test), expect(dead_code, reason = "the cluster does not ask for all of it yet"))]
impl MemoryDisk {
    /// Whether the plan has stopped the power, so that an operation failed for this and for no
    /// other reason. It is on again after `kill`, `crash` or `lose`, and the plan is over.
    pub(crate) fn is_off(&self) -> bool {
        self.state.lock().faults.is_off()
    }

    /// Fails one sync of a file, after so many that go well.
    ///
    /// What the file was given since its last sync can be read, and may be lost when the power
    /// fails. Later syncs go well and do not change that, as on Linux: only what is *written*
    /// again is covered by them. So whoever tries again is told that all is well, and it is not.
    pub(crate) fn fail_sync(&self, after: u64) {
        self.state.lock().faults.fail_sync(after);
    }

    /// The power is gone, and with it everything that was not synced.
    pub(crate) fn lose(&self) {
        let mut state = self.state.lock();
        let state = &mut *state;
        state.tally.power_failures += 1;
        state.end_life();
        state.files.iter_mut().for_each(|file| file.contents.lose_all());
        state.names.lose_all();
        state.sweep();
    }

    /// A copy of everything, for another way on from here. Nobody has it open, and nothing is
    /// planned for it.
    pub(crate) fn fork(&self) -> Self {
        let state = self.state.lock();
        let mut copy =
            State { files: state.files.clone(), names: state.names.clone(), ..State::default() };
        copy.end_life();
        copy.sweep();
        Self { state: Arc::new(Mutex::new(copy)) }
    }

    /// A number for what is durable: names and bytes. Nothing else goes into it.
    pub(crate) fn digest(&self) -> u64 {
        let state = self.state.lock();
        let mut sum = (0, 0);
        for (path, slot) in state.names.durable() {
            let mut contents =
                state.files.get(slot).map(|file| file.contents.clone()).unwrap_or_default();
            contents.lose_all();
            let len = (contents.len() as u64).to_le_bytes();
            for bytes in [path.as_os_str().as_encoded_bytes(), &len, contents.bytes()] {
                sum.0 = checksum(sum.0, bytes);
                sum.1 = checksum(sum.1, &sum.0.to_le_bytes());
            }
        }
        u64::from(sum.0) << 32 | u64::from(sum.1)
    }

    /// What has happened so far.
    pub(crate) fn tally(&self) -> Tally {
        self.state.lock().tally
    }

    /// Writes down from now on what is asked for, for [`take_log`](Self::take_log).
    pub(crate) fn record(&self) {
        self.state.lock().log.get_or_insert_default();
    }

    /// What was written down since the last call.
    pub(crate) fn take_log(&self) -> Vec<String> {
        self.state.lock().log.as_mut().map(std::mem::take).unwrap_or_default()
    }
}

impl fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        let files = state.names.seen().count();
        f.debug_struct("MemoryDisk").field("files", &files).field("used", &state.used()).finish()
    }
}

impl State {
    /// One operation that changes something: counted, judged, done, written down.
    fn operate<T>(
        &mut self,
        text: impl FnOnce(&Self) -> String,
        act: impl FnOnce(&mut Self, Verdict) -> io::Result<T>,
    ) -> io::Result<T> {
        let text = self.log.is_some().then(|| text(self));
        self.tally.operations += 1;
        let verdict = self.faults.judge();
        let result = act(self, verdict);
        let failed = result.is_err();
        self.tally.failed_operations += u64::from(verdict != Verdict::Passes);
        if let (Some(log), Some(text)) = (&mut self.log, text) {
            log.push(if failed { format!("{text}: failed") } else { text });
        }
        result
    }

    fn file(&mut self, slot: Slot) -> io::Result<&mut File> {
        self.files.get_mut(slot).ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// What a reader can get at: what only a power failure would bring back takes no room.
    fn used(&self) -> u64 {
        let mut used = 0;
        for (slot, file) in self.files.iter().enumerate() {
            if file.handles > 0 || self.names.name_of(slot).is_some() {
                used += file.contents.len() as u64;
            }
        }
        used
    }

    fn room(&self) -> u64 {
        self.faults.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used()))
    }

    fn full(&mut self) -> io::Error {
        self.tally.refused_as_full += 1;
        ErrorKind::StorageFull.into()
    }

    fn room_for_a_name(&mut self) -> io::Result<()> {
        if self.room() == 0 { Err(self.full()) } else { Ok(()) }
    }

    fn create(&mut self, path: &Path) -> Slot {
        let free = self.files.iter().position(|file| !file.taken);
        let slot = free.unwrap_or(self.files.len());
        let file = File { taken: true, ..File::default() };
        match self.files.get_mut(slot) {
            Some(place) => *place = file,
            None => self.files.push(file),
        }
        self.names.add(path, slot);
        slot
    }

    /// Everything that was opened is dead.
    fn end_life(&mut self) {
        self.life += 1;
        self.locks.clear();
        self.faults.power_on();
        self.files.iter_mut().for_each(|file| file.handles = 0);
    }

    /// Frees the files that nothing leads to any more, so that a long run does not fill memory.
    fn sweep(&mut self) {
        for slot in 0..self.files.len() {
            self.sweep_one(slot);
        }
    }

    fn sweep_one(&mut self, slot: Slot) {
        let Some(file) = self.files.get_mut(slot) else { return };
        if file.taken && file.handles == 0 && !self.names.lead_to(slot) {
            *file = File::default();
        }
    }
}

impl Vfs for MemoryDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.names.has_dir(dir) {
            return Ok(());
        }
        state.names.check_no_file(dir)?;
        let text = |_: &_| format!("create_dir {}", dir.display());
        state.operate(text, |state, verdict| {
            verdict.result()?;
            state.room_for_a_name()?;
            state.names.create_dir(dir);
            Ok(())
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        if !state.names.has_dir(dir) {
            return Err(names::not_found(dir));
        }
        Ok(state.names.list(dir))
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn VfsFile>> {
        let mut state = self.state.lock();
        let slot = if mode == OpenMode::Create {
            state.names.check_free(path)?;
            let text = |_: &_| format!("create {}", path.display());
            state.operate(text, |state, verdict| {
                verdict.result()?;
                state.room_for_a_name()?;
                Ok(state.create(path))
            })?
        } else {
            state.names.find(path)?
        };
        state.file(slot)?.handles += 1;
        let (disk, life) = (self.clone(), state.life);
        Ok(Box::new(Handle { disk, slot, life, writes: mode != OpenMode::Read }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let slot = state.names.check_rename(from, to)?;
        let name = to.file_name().unwrap_or_default().display();
        let text = |_: &_| format!("rename {} to {name}", from.display());
        state.operate(text, |state, verdict| {
            verdict.result()?;
            state.names.rename(from, to, slot);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.names.find(path)?;
        let text = |_: &_| format!("remove {}", path.display());
        state.operate(text, |state, verdict| {
            verdict.result()?;
            state.names.remove(path);
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        if !state.names.has_dir(dir) {
            return Err(names::not_found(dir));
        }
        let text = |_: &_| format!("sync_dir {}", dir.display());
        state.operate(text, |state, verdict| {
            state.tally.dir_syncs += 1;
            verdict.result()?;
            if !planted(Bug::SkipDirSync) {
                state.names.sync(dir);
            }
            state.sweep();
            Ok(())
        })
    }

    fn lock(&self, path: &Path) -> io::Result<VfsLock> {
        let mut state = self.state.lock();
        let dir = path.parent().unwrap_or(path);
        if !state.names.has_dir(dir) {
            return Err(names::not_found(dir));
        }
        if !state.locks.insert(path.to_path_buf()) {
            return Err(ErrorKind::WouldBlock.into());
        }
        let (disk, path, life) = (self.clone(), path.to_path_buf(), state.life);
        Ok(Box::new(Held { disk, path, life }))
    }
}

/// A place in memory. What is too far for one is far beyond the end of every file.
fn to_usize(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}
