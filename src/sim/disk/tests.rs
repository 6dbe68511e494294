//! One fault at a time. That nothing comes back that may not, and everything that may, is shown
//! in `twin.rs`.

use super::contents::SECTOR;
use super::*;

fn create(disk: &MemoryDisk, name: &str) -> Box<dyn VfsFile> {
    disk.open(Path::new(name), OpenMode::Create).unwrap()
}

fn bytes(disk: &MemoryDisk, name: &str) -> Vec<u8> {
    disk.look(Path::new(name), <[u8]>::to_vec).unwrap()
}

/// A disk with one durable file of three sectors.
fn with_a_file() -> (MemoryDisk, Box<dyn VfsFile>) {
    let disk = MemoryDisk::new();
    let file = create(&disk, "a");
    file.write_at(0, &[1; 3 * SECTOR]).unwrap();
    file.sync().unwrap();
    disk.sync_dir(Path::new("")).unwrap();
    (disk, file)
}

#[test]
fn a_kill_loses_nothing_and_makes_nothing_durable() {
    let (disk, file) = with_a_file();
    file.write_at(0, &[2]).unwrap();
    disk.kill();
    assert_eq!(bytes(&disk, "a")[0], 2);
    disk.lose();
    assert_eq!(bytes(&disk, "a"), [1; 3 * SECTOR]);
    assert_eq!((disk.tally().kills, disk.tally().power_failures), (1, 1));
}

#[test]
fn what_was_opened_dies_with_its_process() {
    let end: [fn(&MemoryDisk); 3] =
        [MemoryDisk::kill, MemoryDisk::lose, |disk| disk.power_failure(Seed::new(1))];
    for end in end {
        let (disk, file) = with_a_file();
        let lock = disk.lock(Path::new("lock")).unwrap();
        end(&disk);
        assert!(file.write_at(0, &[1]).is_err());
        assert!(file.read_at(0, &mut [0]).is_err());
        assert!(file.sync().is_err() && file.size().is_err());
        let again = disk.lock(Path::new("lock")).unwrap();
        // What is left of the process before is let go late, and must not free what is not its.
        let opened = disk.open(Path::new("a"), OpenMode::Read).unwrap();
        disk.remove(Path::new("a")).unwrap();
        drop((lock, file));
        disk.sync_dir(Path::new("")).unwrap();
        assert!(disk.lock(Path::new("lock")).is_err());
        assert_eq!(opened.size().unwrap(), 3 * SECTOR as u64);
        drop(again);
    }
}

#[test]
fn a_plan_fails_one_operation_and_nothing_else() {
    let (disk, file) = with_a_file();
    disk.plan(Plan::FailAt(1));
    file.write_at(0, &[2]).unwrap();
    assert!(file.write_at(0, &[3]).is_err());
    assert!(!disk.is_off());
    file.write_at(1, &[4]).unwrap();
    file.sync().unwrap();
    assert_eq!(bytes(&disk, "a")[..3], [2, 4, 1]);
    assert_eq!((disk.operations(), disk.tally().failed_operations), (4, 1));
}

#[test]
fn a_plan_stops_the_power_and_says_so() {
    let (disk, file) = with_a_file();
    disk.plan(Plan::StopAt(1));
    file.write_at(0, &[2]).unwrap();
    assert!(!disk.is_off());
    assert!(file.write_at(1, &[3]).is_err());
    assert!(disk.is_off());
    assert!(file.sync().is_err());
    assert!(disk.rename(Path::new("a"), Path::new("b")).is_err());
    // The write that was stopped may be on the disk, those after it may not.
    assert!(file.write_at(2, &[4]).is_err());
    assert_eq!(bytes(&disk, "a")[..3], [2, 3, 1]);
    disk.lose();
    assert!(!disk.is_off());
    assert_eq!(bytes(&disk, "a")[..3], [1; 3]);
    create(&disk, "b").sync().unwrap();
}

#[test]
fn a_plan_that_did_not_come_true_outlives_its_process() {
    let (disk, file) = with_a_file();
    disk.plan(Plan::StopAt(2));
    file.write_at(0, &[2]).unwrap();
    disk.kill();
    create(&disk, "b");
    assert!(disk.create_dir(Path::new("c")).is_err());
    assert!(disk.is_off());
}

/// `DUR-21`: the trap for whoever tries again.
#[test]
fn a_sync_that_failed_is_not_made_good_by_another() {
    let (disk, file) = with_a_file();
    disk.fail_sync(1);
    file.sync().unwrap();
    for sector in 0..4 {
        file.write_at(sector * SECTOR as u64, &[2; SECTOR]).unwrap();
    }
    assert!(file.sync().is_err());
    // Sector 1 is written again before the sync that is said to be fine.
    file.write_at(SECTOR as u64, &[3]).unwrap();
    file.sync().unwrap();
    file.sync().unwrap();
    let read = bytes(&disk, "a");
    assert_eq!((read[0], read[SECTOR], read[SECTOR + 1], read[3 * SECTOR]), (2, 3, 2, 2));
    assert_eq!((disk.tally().syncs, disk.tally().failed_syncs), (5, 1));

    let copy = disk.fork();
    copy.lose();
    let left = bytes(&copy, "a");
    let durable = [[1; SECTOR], [2; SECTOR], [1; SECTOR]].concat();
    assert_eq!((&left[..SECTOR], left[SECTOR]), (&durable[..SECTOR], 3));
    assert_eq!(left[SECTOR + 1..], durable[SECTOR + 1..], "and sector 3 is beyond the end");

    // Also a process that reads it all again knows nothing of it.
    disk.kill();
    disk.open(Path::new("a"), OpenMode::Write).unwrap().sync().unwrap();
    let outcomes = (0..64).map(|seed| {
        let copy = disk.fork();
        copy.power_failure(Seed::new(seed));
        let left = bytes(&copy, "a");
        assert_eq!((left[SECTOR], left[SECTOR + 1]), (3, 2));
        (left[0], left[2 * SECTOR], left.get(3 * SECTOR).copied())
    });
    let outcomes: BTreeSet<_> = outcomes.collect();
    let all = [1, 2].iter().flat_map(|a| [1, 2].map(|b| (*a, b)));
    let ends = [None, Some(0), Some(2)];
    assert_eq!(outcomes, all.flat_map(|(a, b)| ends.map(|end| (a, b, end))).collect());
}

#[test]
fn what_is_written_again_up_to_the_end_is_as_long_as_it_was() {
    let (disk, file) = with_a_file();
    file.write_at(3 * SECTOR as u64, &[2; 700]).unwrap();
    disk.fail_sync(0);
    assert!(file.sync().is_err());
    file.write_at(3 * SECTOR as u64, &[2; 700]).unwrap();
    file.sync().unwrap();
    disk.lose();
    assert_eq!(bytes(&disk, "a"), [vec![1; 3 * SECTOR], vec![2; 700]].concat());
}

#[test]
fn a_full_disk_takes_what_there_is_room_for() {
    let (disk, file) = with_a_file();
    let is_full = |result: io::Result<()>| {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::StorageFull);
    };
    disk.set_capacity(Some(3 * SECTOR as u64 + 700));
    is_full(file.write_at(2 * SECTOR as u64, &[2; 3 * SECTOR]));
    assert_eq!(bytes(&disk, "a"), [vec![1; 2 * SECTOR], vec![2; 2 * SECTOR]].concat());
    is_full(file.write_at(9 * SECTOR as u64, &[3]));
    file.write_at(0, &[3; 4 * SECTOR]).unwrap();
    // There is room for a name, and for nothing in it.
    let other = create(&disk, "b");
    disk.set_capacity(Some(0));
    is_full(other.write_at(0, &[1]));
    is_full(file.write_at(4 * SECTOR as u64 - 1, &[4; 2]));
    assert_eq!((disk.used(), bytes(&disk, "a")[4 * SECTOR - 1]), (4 * SECTOR as u64, 4));
    is_full(disk.open(Path::new("c"), OpenMode::Create).map(drop));
    is_full(disk.create_dir(Path::new("d")));
    assert_eq!(disk.tally().refused_as_full, 6);

    disk.rename(Path::new("b"), Path::new("a")).unwrap();
    assert_eq!(disk.used(), 4 * SECTOR as u64, "it is open");
    drop(file);
    assert_eq!(disk.used(), 0);
    // But as long as its removal is not durable, it may be there again.
    disk.lose();
    assert_eq!(disk.used(), 3 * SECTOR as u64);
}

#[test]
fn one_read_fails() {
    let (disk, file) = with_a_file();
    disk.fail_read(1);
    file.read_at(0, &mut [0; 5]).unwrap();
    assert!(file.read_at(0, &mut [0; 5]).is_err());
    file.read_at(0, &mut [0; 5]).unwrap();
    let tally = disk.tally();
    assert_eq!((tally.reads, tally.read_bytes, tally.failed_reads), (3, 10, 1));
}

#[test]
fn a_bit_rots_where_it_was_synced_and_nowhere_else() {
    let (disk, file) = with_a_file();
    create(&disk, "unnamed").write_at(0, &[7; SECTOR]).unwrap();
    file.write_at(SECTOR as u64, &[2; 10]).unwrap();
    // With a gap before it, which is not durable either.
    file.write_at(5 * SECTOR as u64, &[2; SECTOR]).unwrap();
    let before = bytes(&disk, "a");
    let mut sectors = BTreeSet::new();
    for seed in 0..64 {
        let (disk, mut dice) = (disk.fork(), Dice::new(Seed::new(seed)));
        let (digest, seen) = (disk.digest(), bytes(&disk, "unnamed"));
        let (path, offset) = disk.rot(&mut dice).unwrap();
        assert_eq!((path.as_path(), seen), (Path::new("a"), bytes(&disk, "unnamed")));
        let after = bytes(&disk, "a");
        let differ: Vec<_> = (0..after.len()).filter(|at| before[*at] != after[*at]).collect();
        assert_eq!(differ, [to_usize(offset)]);
        assert_eq!((before[differ[0]] ^ after[differ[0]]).count_ones(), 1);
        assert_ne!(disk.digest(), digest);
        disk.lose();
        assert_eq!(bytes(&disk, "a")[differ[0]], after[differ[0]], "it is on the medium");
        sectors.insert(differ[0] / SECTOR);
    }
    assert_eq!(sectors, BTreeSet::from([0, 2]));

    let mut dice = Dice::new(Seed::new(0));
    assert_eq!(disk.rot_in(&mut dice, |path, _| path.ends_with("b").then_some(0..9)), None);
    assert_eq!(disk.rot_in(&mut dice, |_, _| Some(SECTOR as u64..2 * SECTOR as u64)), None);
    let narrow = disk.rot_in(&mut dice, |_, _| Some(700..1026)).unwrap();
    assert!((1024..1026).contains(&narrow.1), "{narrow:?}");
}

#[test]
fn the_digest_is_of_what_is_durable() {
    let (disk, file) = with_a_file();
    let digest = disk.digest();
    file.write_at(0, &[2]).unwrap();
    drop(create(&disk, "b"));
    assert_eq!(disk.digest(), digest);
    disk.lose();
    assert_eq!(disk.digest(), digest);
    assert_eq!(disk.digest(), with_a_file().0.digest());
    disk.rename(Path::new("a"), Path::new("b")).unwrap();
    disk.sync_dir(Path::new("")).unwrap();
    let renamed = disk.digest();
    assert_ne!(renamed, digest);
    disk.edit(Path::new("b"), |bytes| bytes[1000] ^= 1).unwrap();
    assert_ne!(disk.digest(), renamed);
}

#[test]
fn the_same_dice_lose_the_same() {
    let outcome = |seed| {
        let (disk, file) = with_a_file();
        for at in 0..20 {
            file.write_at(at * 300, &[u8::try_from(at).unwrap(); 400]).unwrap();
        }
        create(&disk, "b").write_at(0, &[1]).unwrap();
        disk.power_failure(Seed::new(seed));
        (disk.paths(), bytes(&disk, "a"), disk.tally())
    };
    assert_eq!(outcome(5), outcome(5));
    assert!((0..9).any(|seed| outcome(seed) != outcome(5)));
}

/// A snapshot is a new file each time: a long run must not keep them all.
#[test]
fn files_that_nothing_leads_to_are_freed() {
    let disk = MemoryDisk::new();
    for round in 0..100_u64 {
        // There if the power took the rename back.
        let _ = disk.remove(Path::new("a.tmp"));
        let file = create(&disk, "a.tmp");
        file.write_at(0, &[1; 100]).unwrap();
        file.sync().unwrap();
        disk.rename(Path::new("a.tmp"), Path::new("a")).unwrap();
        match round % 3 {
            0 => disk.sync_dir(Path::new("")).unwrap(),
            1 => disk.power_failure(Seed::new(round)),
            _ => disk.kill(),
        }
    }
    disk.sync_dir(Path::new("")).unwrap();
    let taken = disk.state.lock().files.iter().filter(|file| file.taken).count();
    assert_eq!(taken, disk.paths().len());
    assert!(disk.state.lock().files.len() < 10, "{}", disk.state.lock().files.len());
}

#[test]
fn a_sync_leaves_no_trace_behind() {
    let (disk, file) = with_a_file();
    for _ in 0..10_000 {
        file.write_at(100, &[2; 300]).unwrap();
        file.sync().unwrap();
    }
    assert!(disk.state.lock().files[0].contents.saved() <= SECTOR);
}

#[test]
fn nothing_is_written_down_unless_somebody_asks() {
    let (disk, file) = with_a_file();
    assert_eq!(disk.take_log(), [""; 0]);
    disk.record();
    disk.plan(Plan::FailAt(2));
    file.write_at(7, &[2; 9]).unwrap();
    disk.remove(Path::new("a")).unwrap();
    assert!(file.sync().is_err());
    drop(create(&disk, "b"));
    assert_eq!(disk.take_log(), ["write a 7+9", "remove a", "sync removed: failed", "create b"]);
    assert_eq!(disk.take_log(), [""; 0]);
}

#[test]
fn a_wrong_offset_is_refused() {
    let (disk, file) = with_a_file();
    let error = file.write_at(u64::MAX, &[1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FileTooLarge);
    assert_eq!(file.read_at(u64::MAX, &mut [0]).unwrap(), 0);
    assert_eq!(format!("{disk:?}"), "MemoryDisk { files: 1, used: 1536 }");
}
