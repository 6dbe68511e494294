//! The real file system. The only place that names `std::fs` and `rustix`.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is the file that `Vfs` keeps everybody else from the system with"
)]

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, fdatasync, flock, fsync};

use crate::vfs::{OpenMode, Vfs, VfsFile, VfsLock};

/// What [`Disk::discard`] frees at a time.
const DISCARD_BYTES: u64 = 8 << 20;

/// The operating system's file system.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use quorate::{Disk, Vfs};
/// # let temporary = tempfile::tempdir()?;
/// # let dir = temporary.path();
///
/// let held = Disk::new().lock(&dir.join("lock"))?;
/// assert!(Disk::new().lock(&dir.join("lock")).is_err());
/// drop(held);
/// assert!(Disk::new().lock(&dir.join("lock")).is_ok());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk(());

impl Disk {
    /// The file system of this process.
    ///
    /// ```
    /// use quorate::{Disk, Vfs};
    ///
    /// let files: Box<dyn Vfs> = Box::new(Disk::new());
    /// ```
    pub const fn new() -> Self {
        Self(())
    }
}

impl Vfs for Disk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        let parent = match dir.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        self.create_dir(parent)?;
        match DirBuilder::new().mode(0o700).create(dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
            other => other?,
        }
        self.sync_dir(parent)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn VfsFile>> {
        let mut options = OpenOptions::new();
        options.read(true).mode(0o600);
        match mode {
            OpenMode::Read => &mut options,
            OpenMode::Write => options.write(true),
            OpenMode::Create => options.write(true).create_new(true),
        };
        Ok(Box::new(DiskFile(options.open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    /// A journal's commit waits for whoever frees blocks, and then gives them back to the device:
    /// for a file of 400 MB a sync next door took up to 20 ms. So a piece at a time, each with a
    /// commit of its own. The name first: nobody may find half a file.
    fn discard(&self, path: &Path) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(path)?;
        fs::remove_file(path)?;
        if let Some(dir) = path.parent() {
            self.sync_dir(dir)?;
        }
        let mut left = file.metadata()?.len();
        while left > 0 {
            left = left.saturating_sub(DISCARD_BYTES);
            file.set_len(left)?;
            fdatasync(&file)?;
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        Ok(fsync(File::open(dir)?)?)
    }

    /// `flock` belongs to the open file, not to the process: two nodes of one process shut each
    /// other out just as two processes do.
    fn lock(&self, path: &Path) -> io::Result<VfsLock> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(file))
    }
}

struct DiskFile(File);

impl VfsFile for DiskFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut done: usize = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(rest, offset.saturating_add(done as u64)) {
                Ok(0) => break,
                Ok(read) => done = done.saturating_add(read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(fdatasync(&self.0)?)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}
