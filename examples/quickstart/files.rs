//! What there is to import.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A reason not to import a file.
pub(crate) type LeftOut = (PathBuf, String);

/// A directory tree, walked once.
#[derive(Default)]
pub(crate) struct Listing {
    /// Regular files, sorted.
    pub(crate) files: Vec<PathBuf>,
    /// Directories that could not be read.
    pub(crate) unreadable: Vec<LeftOut>,
    /// Symbolic links, sockets, devices: not imported, and links not followed.
    pub(crate) others: usize,
}

/// Walks the tree under `dir`. An error is about `dir` itself; further down they are noted.
pub(crate) fn list(dir: &Path) -> io::Result<Listing> {
    let mut listing = Listing::default();
    let mut directories = Vec::new();
    visit(dir, &mut listing, &mut directories)?;
    while let Some(dir) = directories.pop() {
        if let Err(error) = visit(&dir, &mut listing, &mut directories) {
            listing.unreadable.push((dir, error.to_string()));
        }
    }
    listing.files.sort_unstable();
    Ok(listing)
}

fn visit(dir: &Path, listing: &mut Listing, directories: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            directories.push(entry.path());
        } else if kind.is_file() {
            listing.files.push(entry.path());
        } else {
            listing.others += 1;
        }
    }
    Ok(())
}

/// A file's content, or why not. Never takes more than `max_bytes` into memory, whatever size the
/// file claims to have.
pub(crate) fn read(path: &Path, max_bytes: usize) -> Result<Vec<u8>, String> {
    let text = |error: io::Error| error.to_string();
    let file = File::open(path).map_err(text)?;
    let mut content = Vec::new();
    file.take(max_bytes as u64 + 1).read_to_end(&mut content).map_err(text)?;
    if content.len() > max_bytes {
        return Err(format!("larger than {max_bytes} bytes, the most that a put may have"));
    }
    Ok(content)
}
