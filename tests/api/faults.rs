//! A disk that does as it is told: waits with a sync, or fails.

use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use quorate::{Disk, OpenMode, Vfs, VfsFile, VfsLock};

use super::cluster::PATIENCE;

/// A real disk behind a [`Switch`].
pub(crate) struct FaultyDisk {
    disk: Disk,
    switch: Arc<Switch>,
}

/// What a test holds of a [`FaultyDisk`].
#[derive(Default)]
pub(crate) struct Switch {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    holding: bool,
    /// Syncs that wait.
    held: usize,
    /// The text of the error that every sync from now on is given.
    failure: Option<&'static str>,
    /// The same for everything that opens a file.
    denied: bool,
}

impl FaultyDisk {
    pub(crate) fn new() -> (Arc<Self>, Arc<Switch>) {
        let switch = Arc::new(Switch::default());
        (Arc::new(Self { disk: Disk::new(), switch: Arc::clone(&switch) }), switch)
    }
}

impl Switch {
    /// From now on a sync waits.
    pub(crate) fn hold(&self) {
        self.state.lock().holding = true;
    }

    /// Until now.
    pub(crate) fn release(&self) {
        self.state.lock().holding = false;
        self.changed.notify_all();
    }

    /// Waits until a sync waits.
    pub(crate) fn wait_for_a_sync(&self) {
        let mut state = self.state.lock();
        while state.held == 0 {
            let waited = self.changed.wait_for(&mut state, PATIENCE);
            assert!(!waited.timed_out(), "nobody syncs");
        }
    }

    /// From now on a sync fails.
    pub(crate) fn fail(&self, text: &'static str) {
        self.state.lock().failure = Some(text);
    }

    /// From now on nothing can be opened.
    pub(crate) fn deny(&self) {
        self.state.lock().denied = true;
    }

    fn check_open(&self) -> io::Result<()> {
        if self.state.lock().denied {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "injected denial"));
        }
        Ok(())
    }

    fn before_sync(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        while state.holding {
            state.held += 1;
            self.changed.notify_all();
            self.changed.wait(&mut state);
            state.held -= 1;
        }
        state.failure.map_or(Ok(()), |text| Err(io::Error::other(text)))
    }
}

impl Vfs for FaultyDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.switch.check_open()?;
        self.disk.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn VfsFile>> {
        self.switch.check_open()?;
        let file = self.disk.open(path, mode)?;
        Ok(Box::new(FaultyFile { file, switch: Arc::clone(&self.switch) }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<VfsLock> {
        self.disk.lock(path)
    }
}

struct FaultyFile {
    file: Box<dyn VfsFile>,
    switch: Arc<Switch>,
}

impl VfsFile for FaultyFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.switch.before_sync()?;
        self.file.sync()
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }
}
