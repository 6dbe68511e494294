//! The file system as storage sees it: a few calls, and what each must guarantee.
//!
//! Everything that touches a file goes through [`Vfs`], so the same log and snapshot code runs on
//! a disk, in memory, and on a disk that fails or loses power where a test wants it to.

#[cfg(test)]
mod suite;

use std::io;
use std::path::Path;

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenMode {
    /// An existing file, to read only.
    Read,
    /// An existing file, to read and write in place.
    Write,
    /// A new file, to read and write; none of that name may exist.
    Create,
}

/// A lock that is held until this is dropped.
pub type VfsLock = Box<dyn Send + Sync>;

/// A file system. [`Disk`](crate::Disk) is the real one; implement it to keep the data elsewhere
/// (encrypted files, a raw device, memory) or to inject faults.
///
/// Two things are asked for separately because file systems keep them separately: the *bytes of a
/// file* are durable after [`VfsFile::sync`], the *names in a directory* after
/// [`Vfs::sync_dir`]. Until then a power failure may lose any part of them, in any combination:
/// storage assumes no order at all. It does assume that
///
/// - an aligned sector of 512 bytes is written as a whole or not at all, and a file does not end
///   within one that was written as a whole,
/// - a rename happens as a whole or not at all, and replaces a file of the new name,
/// - what was synced stays as it was; storage checks that it did, and refuses what did not.
///
/// A failed call is final: storage never repeats it, it stops the node. So an implementation may
/// retry what it knows to be harmless (an interrupted call), and nothing else; in particular it
/// must not report a sync as done after an earlier sync of that file failed.
///
/// ```
/// use std::path::Path;
/// use quorate::{Disk, OpenMode, Vfs};
///
/// # fn main() -> std::io::Result<()> {
/// # let temporary = tempfile::tempdir()?;
/// # let dir = temporary.path().join("data");
/// let vfs: &dyn Vfs = &Disk::new();
/// vfs.create_dir(&dir)?;
/// let file = vfs.open(&dir.join("a.tmp"), OpenMode::Create)?;
/// file.write_at(0, b"hello")?;
/// file.sync()?; // the bytes are safe, the name is not
/// vfs.rename(&dir.join("a.tmp"), &dir.join("a"))?;
/// vfs.sync_dir(&dir)?; // now both are
/// assert_eq!(vfs.list(&dir)?, ["a"]);
/// # Ok(())
/// # }
/// ```
pub trait Vfs: Send + Sync + 'static {
    /// Creates a directory and its missing ancestors, for the owner only (mode 0700). The names
    /// of all it creates are durable when it returns. An existing directory is left as it is.
    ///
    /// # Errors
    ///
    /// Whatever keeps the directory from being there: a file of that name, a missing permission.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// The names in a directory, in no particular order. Names that are not UTF-8 may be left
    /// out: storage makes none.
    ///
    /// # Errors
    ///
    /// A missing directory is of kind [`NotFound`](io::ErrorKind::NotFound).
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Opens a file. A created file is for the owner only (mode 0600); its name is durable after
    /// [`sync_dir`](Self::sync_dir).
    ///
    /// # Errors
    ///
    /// A missing file is of kind [`NotFound`](io::ErrorKind::NotFound); one that is there and was
    /// to be created of kind [`AlreadyExists`](io::ErrorKind::AlreadyExists).
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn VfsFile>>;

    /// Renames a file within a directory, replacing a file of the new name. Durable after
    /// [`sync_dir`](Self::sync_dir). Open handles keep pointing to the file.
    ///
    /// # Errors
    ///
    /// Nothing has been renamed.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name. Durable after [`sync_dir`](Self::sync_dir). Open handles keep
    /// working.
    ///
    /// # Errors
    ///
    /// Nothing has been removed; a missing file is of kind
    /// [`NotFound`](io::ErrorKind::NotFound).
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// As [`remove`](Self::remove), for a large file that nobody has open. File systems free what
    /// a file took in one go, and let others wait for that: this may do it bit by bit.
    ///
    /// # Errors
    ///
    /// The name may be gone or not; a missing file is of kind
    /// [`NotFound`](io::ErrorKind::NotFound).
    fn discard(&self, path: &Path) -> io::Result<()> {
        self.remove(path)
    }

    /// Makes all changes of names in a directory durable, whoever made them.
    ///
    /// # Errors
    ///
    /// Nothing is known of the names that were changed.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the lock of this name without waiting, creating what it needs to. It ends with the
    /// process, however that ends.
    ///
    /// # Errors
    ///
    /// Of kind [`WouldBlock`](io::ErrorKind::WouldBlock) if anyone holds it: another process, or
    /// another node of this one.
    fn lock(&self, path: &Path) -> io::Result<VfsLock>;
}

/// An open file. Offsets are in bytes from its start.
///
/// ```
/// use quorate::{Disk, OpenMode, Vfs, VfsFile};
///
/// # fn main() -> std::io::Result<()> {
/// # let temporary = tempfile::tempdir()?;
/// # let path = temporary.path().join("a");
/// let file: Box<dyn VfsFile> = Disk::new().open(&path, OpenMode::Create)?;
/// file.write_at(2, b"cd")?;
/// file.sync()?;
/// let mut bytes = [1; 8];
/// assert_eq!(file.read_at(0, &mut bytes)?, 4);
/// assert_eq!(bytes, *b"\0\0cd\x01\x01\x01\x01");
/// assert_eq!(file.size()?, 4);
/// # Ok(())
/// # }
/// ```
pub trait VfsFile: Send + Sync {
    /// Reads into `buf` and returns how many bytes: fewer than asked for only at the end of the
    /// file, 0 beyond it.
    ///
    /// # Errors
    ///
    /// The bytes cannot be had; what `buf` holds says nothing.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes`, growing the file as needed; a gap before them reads as zeros.
    /// Durable after [`sync`](Self::sync).
    ///
    /// # Errors
    ///
    /// Any part of `bytes` may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes durable every byte written to the file before, through this handle or any other,
    /// and what is needed to read them (its length), like `fdatasync`.
    ///
    /// # Errors
    ///
    /// Nothing is known of the bytes written since the last sync, and no later sync can tell.
    fn sync(&self) -> io::Result<()>;

    /// The length in bytes.
    ///
    /// # Errors
    ///
    /// The length cannot be had.
    fn size(&self) -> io::Result<u64>;
}
