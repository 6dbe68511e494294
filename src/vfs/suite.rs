//! What every [`Vfs`] must do, asked of the real one and of the one in memory alike: storage and
//! the simulator rest on their being the same.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::*;
use crate::sim::MemoryDisk;
use crate::sim::dice::{Dice, Seed};
use crate::storage::Disk;

#[test]
fn the_disk_of_the_system() {
    let dir = tempfile::tempdir().unwrap();
    check_vfs(&Disk::new(), dir.path());
}

#[test]
fn the_disk_in_memory() {
    check_vfs(&MemoryDisk::new(), Path::new("here"));
    check_vfs(&MemoryDisk::new(), Path::new("/there/and/beyond"));
}

type Check = fn(&dyn Vfs, &Path);

/// Checks all that can be seen without losing power. `dir` is empty or missing.
fn check_vfs(vfs: &dyn Vfs, dir: &Path) {
    let checks: [(&str, Check); 10] = [
        ("directories", check_directories),
        ("modes", check_modes),
        ("bytes", check_bytes),
        ("handles", check_handles),
        ("rename", check_rename),
        ("remove", check_remove),
        ("discard", check_discard),
        ("syncs", check_syncs),
        ("locks", check_locks),
        ("twin", check_against_a_map),
    ];
    for (name, check) in checks {
        let dir = dir.join(name);
        vfs.create_dir(&dir).unwrap();
        check(vfs, &dir);
    }
}

fn create(vfs: &dyn Vfs, path: &Path, bytes: &[u8]) -> Box<dyn VfsFile> {
    let file = vfs.open(path, OpenMode::Create).unwrap();
    file.write_at(0, bytes).unwrap();
    file
}

fn whole(file: &dyn VfsFile) -> Vec<u8> {
    let size = usize::try_from(file.size().unwrap()).unwrap();
    // Longer than the file, so that a size that is too small shows.
    let mut bytes = vec![0xee; size + 9];
    assert_eq!(file.read_at(0, &mut bytes).unwrap(), size);
    assert_eq!(bytes.split_off(size), [0xee; 9], "what was not read is left alone");
    bytes
}

fn read(vfs: &dyn Vfs, path: &Path) -> Vec<u8> {
    whole(&*vfs.open(path, OpenMode::Read).unwrap())
}

fn names(vfs: &dyn Vfs, dir: &Path) -> Vec<String> {
    let mut names = vfs.list(dir).unwrap();
    names.sort_unstable();
    names
}

#[track_caller]
fn fails<T>(result: io::Result<T>, kind: ErrorKind) {
    assert_eq!(result.err().map(|error| error.kind()), Some(kind));
}

fn check_directories(vfs: &dyn Vfs, dir: &Path) {
    assert_eq!(names(vfs, dir), [""; 0]);
    fails(vfs.list(&dir.join("missing")), ErrorKind::NotFound);
    let deep = dir.join("a/b/c");
    vfs.create_dir(&deep).unwrap();
    vfs.create_dir(&deep).unwrap();
    vfs.create_dir(&dir.join("a")).unwrap();
    assert_eq!(names(vfs, &deep), [""; 0]);
    assert_eq!(
        (names(vfs, dir), names(vfs, &dir.join("a/b"))),
        (vec!["a".into()], vec!["c".into()])
    );
    create(vfs, &deep.join("file"), b"x");
    vfs.create_dir(&deep).unwrap();
    assert_eq!(names(vfs, &deep), ["file"], "it is left as it is");
    assert_eq!(names(vfs, dir), ["a"], "only its own");
    // A file is no directory, and a directory is no file.
    let file = deep.join("file");
    assert!(vfs.create_dir(&file).is_err() && vfs.create_dir(&file.join("below")).is_err());
    assert!(vfs.list(&file).is_err());
    fails(vfs.open(&deep, OpenMode::Create), ErrorKind::AlreadyExists);
    assert!(vfs.open(&deep, OpenMode::Write).is_err());
    assert!(vfs.remove(&deep).is_err() && vfs.rename(&file, &deep.join("../c")).is_err());
    assert_eq!(read(vfs, &file), b"x");
}

fn check_modes(vfs: &dyn Vfs, dir: &Path) {
    let path = dir.join("a");
    for mode in [OpenMode::Read, OpenMode::Write] {
        fails(vfs.open(&path, mode), ErrorKind::NotFound);
        fails(vfs.open(&dir.join("missing/a"), mode), ErrorKind::NotFound);
    }
    fails(vfs.open(&dir.join("missing/a"), OpenMode::Create), ErrorKind::NotFound);
    let created = create(vfs, &path, b"abc");
    assert_eq!(whole(&*created), b"abc", "a created file can be read");
    fails(vfs.open(&path, OpenMode::Create), ErrorKind::AlreadyExists);
    vfs.open(&path, OpenMode::Write).unwrap().write_at(1, b"x").unwrap();
    let reader = vfs.open(&path, OpenMode::Read).unwrap();
    assert!(reader.write_at(0, b"y").is_err());
    assert_eq!(whole(&*reader), b"axc");
}

fn check_bytes(vfs: &dyn Vfs, dir: &Path) {
    let file = vfs.open(&dir.join("a"), OpenMode::Create).unwrap();
    assert_eq!((file.size().unwrap(), whole(&*file)), (0, Vec::new()));
    assert_eq!(file.read_at(0, &mut [0]).unwrap(), 0);
    file.write_at(700, b"abcdef").unwrap();
    assert_eq!(whole(&*file), [&[0; 700][..], b"abcdef"].concat(), "a gap reads as zeros");
    file.write_at(702, b"CDEFGH").unwrap();
    file.write_at(0, b"start").unwrap();
    assert_eq!(whole(&*file)[..6], *b"start\0");
    assert_eq!(whole(&*file)[700..], *b"abCDEFGH");
    let mut some = [9; 4];
    assert_eq!((file.read_at(701, &mut some).unwrap(), some), (4, *b"bCDE"));
    assert_eq!((file.read_at(706, &mut some).unwrap(), some), (2, *b"GHDE"), "short at the end");
    assert_eq!(file.read_at(708, &mut some).unwrap(), 0);
    assert_eq!(file.read_at(1 << 40, &mut some).unwrap(), 0);
    assert_eq!(file.read_at(0, &mut []).unwrap(), 0);
    // Nothing, anywhere, is nothing.
    file.write_at(5000, b"").unwrap();
    assert_eq!(file.size().unwrap(), 708);
    let large: Vec<u8> = (0..300_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    file.write_at(100, &large).unwrap();
    assert_eq!(whole(&*file)[100..], large);
}

fn check_handles(vfs: &dyn Vfs, dir: &Path) {
    let path = dir.join("a");
    let one = create(vfs, &path, b"abc");
    let other = vfs.open(&path, OpenMode::Write).unwrap();
    other.write_at(3, b"def").unwrap();
    assert_eq!((whole(&*one), one.size().unwrap()), (b"abcdef".to_vec(), 6));
    drop(one);
    assert_eq!(whole(&*other), b"abcdef");
}

fn check_rename(vfs: &dyn Vfs, dir: &Path) {
    let [a, b, missing] = ["a", "b", "missing"].map(|name| dir.join(name));
    let (file_a, file_b) = (create(vfs, &a, b"a"), create(vfs, &b, b"b"));
    fails(vfs.rename(&missing, &b), ErrorKind::NotFound);
    assert_eq!(read(vfs, &b), b"b", "nothing has been renamed");
    vfs.rename(&a, &b).unwrap();
    assert_eq!((names(vfs, dir), read(vfs, &b)), (vec!["b".into()], b"a".to_vec()));
    fails(vfs.open(&a, OpenMode::Read), ErrorKind::NotFound);
    // Handles stay with their files.
    file_a.write_at(1, b"A").unwrap();
    file_b.write_at(1, b"B").unwrap();
    assert_eq!((read(vfs, &b), whole(&*file_b)), (b"aA".to_vec(), b"bB".to_vec()));
    vfs.rename(&b, &b).unwrap();
    vfs.rename(&b, &a).unwrap();
    assert_eq!((names(vfs, dir), read(vfs, &a)), (vec!["a".into()], b"aA".to_vec()));
}

fn check_remove(vfs: &dyn Vfs, dir: &Path) {
    let path = dir.join("a");
    fails(vfs.remove(&path), ErrorKind::NotFound);
    let file = create(vfs, &path, b"old");
    vfs.remove(&path).unwrap();
    assert_eq!(names(vfs, dir), [""; 0]);
    fails(vfs.remove(&path), ErrorKind::NotFound);
    fails(vfs.rename(&path, &dir.join("b")), ErrorKind::NotFound);
    create(vfs, &path, b"new");
    file.write_at(0, b"OLD").unwrap();
    file.sync().unwrap();
    assert_eq!((whole(&*file), read(vfs, &path)), (b"OLD".to_vec(), b"new".to_vec()));
}

/// What a sync is worth shows only when the power fails: that is not asked here.
fn check_discard(vfs: &dyn Vfs, dir: &Path) {
    let path = dir.join("a");
    fails(vfs.discard(&path), ErrorKind::NotFound);
    // Longer than what is freed at a time.
    drop(create(vfs, &path, &vec![1; 9 << 20]));
    drop(create(vfs, &dir.join("b"), b"other"));
    vfs.discard(&path).unwrap();
    assert_eq!(names(vfs, dir), ["b"]);
    assert_eq!(read(vfs, &dir.join("b")), b"other");
}

fn check_syncs(vfs: &dyn Vfs, dir: &Path) {
    let path = dir.join("a");
    let file = create(vfs, &path, b"abc");
    file.sync().unwrap();
    file.sync().unwrap();
    vfs.open(&path, OpenMode::Read).unwrap().sync().unwrap();
    vfs.sync_dir(dir).unwrap();
    vfs.sync_dir(dir).unwrap();
    fails(vfs.sync_dir(&dir.join("missing")), ErrorKind::NotFound);
    assert_eq!((names(vfs, dir), whole(&*file)), (vec!["a".into()], b"abc".to_vec()));
}

fn check_locks(vfs: &dyn Vfs, dir: &Path) {
    let [a, b] = ["a", "b"].map(|name| dir.join(name));
    let held = vfs.lock(&a).unwrap();
    fails(vfs.lock(&a), ErrorKind::WouldBlock);
    let other = vfs.lock(&b).unwrap();
    drop(held);
    let held = vfs.lock(&a).unwrap();
    fails(vfs.lock(&b), ErrorKind::WouldBlock);
    drop((held, other));
    drop(vfs.lock(&a).unwrap());
    fails(vfs.lock(&dir.join("missing/a")), ErrorKind::NotFound);
}

/// Many small steps, each also done to a map from names to bytes.
fn check_against_a_map(vfs: &dyn Vfs, dir: &Path) {
    let mut dice = Dice::new(Seed::new(7));
    let mut map: BTreeMap<PathBuf, Vec<u8>> = BTreeMap::new();
    let paths: Vec<_> = ["a", "b", "c"].iter().map(|name| dir.join(name)).collect();
    for step in 0..600 {
        let path = dice.pick(&paths).unwrap().clone();
        match dice.below(8) {
            0 | 1 => {
                let opened = vfs.open(&path, OpenMode::Create);
                assert_eq!(opened.is_ok(), !map.contains_key(&path), "step {step}");
                map.entry(path).or_default();
            }
            2 => assert_eq!(vfs.remove(&path).is_ok(), map.remove(&path).is_some(), "step {step}"),
            3 => {
                let to = dice.pick(&paths).unwrap();
                let bytes = map.remove(&path);
                assert_eq!(vfs.rename(&path, to).is_ok(), bytes.is_some(), "step {step}");
                map.extend(bytes.map(|bytes| (to.clone(), bytes)));
            }
            _ => {
                let Some(bytes) = map.get_mut(&path) else { continue };
                let (offset, len) = (dice.place(3000), dice.place(1500));
                let data = vec![dice.number().to_le_bytes()[0]; len];
                let file = vfs.open(&path, OpenMode::Write).unwrap();
                file.write_at(offset as u64, &data).unwrap();
                if len > 0 {
                    bytes.resize(bytes.len().max(offset + len), 0);
                    bytes[offset..offset + len].copy_from_slice(&data);
                }
            }
        }
        let found = vfs.list(dir).unwrap().into_iter().map(|name| dir.join(name));
        let found: BTreeMap<_, _> = found.map(|path| (path.clone(), read(vfs, &path))).collect();
        assert!(found == map, "step {step}");
    }
}
