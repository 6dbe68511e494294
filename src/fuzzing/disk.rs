//! The file system in memory, as the targets use it: the one place that names it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::sim::MemoryDisk;
use crate::vfs::{OpenMode, Vfs};

/// An empty disk that nothing goes wrong with.
pub(super) fn empty() -> Arc<dyn Vfs> {
    Arc::new(MemoryDisk::new())
}

/// What a file holds; nothing if it is not there.
pub(super) fn read(disk: &dyn Vfs, path: &Path) -> Vec<u8> {
    head(disk, path, usize::MAX)
}

/// As [`read`], but no more than so many bytes from the front.
pub(super) fn head(disk: &dyn Vfs, path: &Path, most: usize) -> Vec<u8> {
    let Ok(file) = disk.open(path, OpenMode::Read) else { return Vec::new() };
    let mut bytes = vec![0; usize::try_from(file.size().unwrap()).unwrap().min(most)];
    let read = file.read_at(0, &mut bytes).unwrap();
    assert_eq!(read, bytes.len());
    bytes
}

/// Puts a file in the place of another, or of none, behind everybody's back.
pub(super) fn put(disk: &dyn Vfs, path: &Path, bytes: &[u8]) {
    remove(disk, path);
    disk.create_dir(path.parent().unwrap()).unwrap();
    let file = disk.open(path, OpenMode::Create).unwrap();
    file.write_at(0, bytes).unwrap();
    file.sync().unwrap();
    disk.sync_dir(path.parent().unwrap()).unwrap();
}

pub(super) fn remove(disk: &dyn Vfs, path: &Path) {
    if disk.remove(path).is_ok() {
        disk.sync_dir(path.parent().unwrap()).unwrap();
    }
}

/// The files of a directory, by name; none if it is missing.
pub(super) fn list(disk: &dyn Vfs, dir: &Path) -> Vec<PathBuf> {
    let mut names = disk.list(dir).unwrap_or_default();
    names.sort();
    names.into_iter().map(|name| dir.join(name)).collect()
}
