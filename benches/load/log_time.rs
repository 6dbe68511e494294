//! How long the log is in the disk: what of a put's latency the disk is not to blame for.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quorate::{Disk, OpenMode, Vfs, VfsFile, VfsLock};

/// The time in which the log of any member has been in a call to the disk.
#[derive(Clone, Default)]
pub(crate) struct LogWatch(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Without what goes on now.
    total: Duration,
    calls: usize,
    since: Option<Instant>,
    slowest: Duration,
}

impl LogWatch {
    /// All of it until now.
    pub(crate) fn total(&self) -> Duration {
        let state = self.0.lock();
        state.total + state.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// The longest call since this was asked last.
    pub(crate) fn take_slowest(&self) -> Duration {
        std::mem::take(&mut self.0.lock().slowest)
    }

    fn during<T>(&self, is_log: bool, call: impl FnOnce() -> T) -> T {
        if !is_log {
            return call();
        }
        let begun = Instant::now();
        {
            let mut state = self.0.lock();
            state.calls += 1;
            state.since.get_or_insert(begun);
        }
        let done = call();
        let mut state = self.0.lock();
        state.slowest = state.slowest.max(begun.elapsed());
        state.calls -= 1;
        if state.calls == 0 {
            let span = state.since.take().map_or(Duration::ZERO, |since| since.elapsed());
            state.total += span;
        }
        done
    }
}

/// The disk, with an eye on the log.
pub(crate) struct WatchedDisk(pub(crate) LogWatch);

fn is_log(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "wal")
}

impl Vfs for WatchedDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        Disk::new().create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        Disk::new().list(dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn VfsFile>> {
        let file = self.0.during(is_log(path), || Disk::new().open(path, mode))?;
        if is_log(path) { Ok(Box::new(WatchedFile(self.0.clone(), file))) } else { Ok(file) }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.during(is_log(from), || Disk::new().rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.during(is_log(path), || Disk::new().remove(path))
    }

    fn discard(&self, path: &Path) -> io::Result<()> {
        self.0.during(is_log(path), || Disk::new().discard(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.during(is_log(dir), || Disk::new().sync_dir(dir))
    }

    fn lock(&self, path: &Path) -> io::Result<VfsLock> {
        Disk::new().lock(path)
    }
}

struct WatchedFile(LogWatch, Box<dyn VfsFile>);

impl VfsFile for WatchedFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.0.during(true, || self.1.read_at(offset, buf))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.during(true, || self.1.write_at(offset, bytes))
    }

    fn sync(&self) -> io::Result<()> {
        self.0.during(true, || self.1.sync())
    }

    fn size(&self) -> io::Result<u64> {
        self.1.size()
    }
}
