//! What the simulated disk loses, and what not.

use std::io;
use std::path::Path;

use ottla_store::{Disk, OpenMode};

use crate::SimDisk;

fn path(text: &str) -> &Path {
    Path::new(text)
}

#[test]
fn only_what_was_synced_is_sure_to_survive() {
    let mut lost_file = false;
    let mut lost_bytes = false;
    for seed in 0..50 {
        let disk = SimDisk::new(seed, None);
        disk.create_dir(path("/d")).unwrap();
        disk.sync_dir(path("/")).unwrap();
        let file = disk.open(path("/d/a"), OpenMode::CreateNew).unwrap();
        file.write_at(0, &[b"synced"]).unwrap();
        file.sync().unwrap();
        disk.sync_dir(path("/d")).unwrap();
        file.write_at(6, &[b"not"]).unwrap();
        disk.open(path("/d/b"), OpenMode::CreateNew).unwrap();
        disk.restart(true);
        assert!(file.read_at(0, &mut [0]).is_err(), "handles end with the process");
        let content = ottla_store::read_file(&disk, path("/d/a"), 100).unwrap();
        assert!(content == b"synced" || content == b"syncednot");
        lost_bytes |= content.len() == 6;
        lost_file |= disk.open(path("/d/b"), OpenMode::Existing).is_err();
    }
    assert!(lost_file && lost_bytes);
}

#[test]
fn a_failed_sync_leaves_pages_that_only_the_cache_has() {
    let disk = SimDisk::new(1, None);
    let file = disk.open(path("/a"), OpenMode::CreateNew).unwrap();
    disk.sync_dir(path("/")).unwrap();
    file.write_at(0, &[b"gone"]).unwrap();
    disk.fail_sync_after(0);
    assert!(file.sync().is_err());
    assert!(file.sync().is_ok(), "the second one lies");
    assert_eq!(ottla_store::read_file(&disk, path("/a"), 100).unwrap(), b"gone");
    file.drop_cache().unwrap();
    assert_eq!(ottla_store::read_file(&disk, path("/a"), 100).unwrap(), b"");
}

#[test]
fn a_full_disk_takes_what_fits() {
    let disk = SimDisk::new(1, None);
    let file = disk.open(path("/a"), OpenMode::CreateNew).unwrap();
    disk.set_bytes_max(Some(3));
    assert_eq!(file.write_at(0, &[b"ab", b"cd"]).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(file.bytes().unwrap(), 3);
    assert!(disk.open(path("/b"), OpenMode::CreateNew).is_err());
}

#[test]
fn allocated_space_is_taken_and_is_there_on_a_full_disk() {
    let disk = SimDisk::new(1, None);
    let file = disk.open(path("/a"), OpenMode::CreateNew).unwrap();
    disk.set_bytes_max(Some(5));
    assert_eq!(file.preallocate(6).unwrap_err().kind(), io::ErrorKind::StorageFull);
    file.preallocate(4).unwrap();
    assert_eq!((disk.bytes(), file.bytes().unwrap()), (4, 0));
    disk.set_bytes_max(Some(0));
    file.write_at(0, &[b"abcd"]).unwrap();
    assert_eq!(file.write_at(4, &[b"e"]).unwrap_err().kind(), io::ErrorKind::StorageFull);
    file.truncate(1).unwrap();
    assert_eq!(disk.bytes(), 1, "what was allocated is free again");
    assert!(file.write_at(1, &[b"b"]).is_err());
}

#[test]
fn a_crash_comes_at_its_operation_and_ends_all() {
    let disk = SimDisk::new(1, None);
    disk.crash_after(1);
    assert!(disk.create_dir(path("/d")).is_ok());
    assert!(disk.list(path("/")).is_err() && disk.has_crashed());
    disk.restart(false);
    assert_eq!(disk.list(path("/")).unwrap().len(), 1);
}

#[test]
fn a_files_time_is_that_of_its_last_write_or_as_it_is_set_and_goes_with_its_name() {
    let disk = SimDisk::new(1, None);
    let modified_ms = |name: &str| {
        let files = disk.list(path("/")).unwrap();
        files.into_iter().find(|file| file.name == name).unwrap().modified_ms
    };
    disk.set_now_ms(70);
    let file = disk.open(path("/a"), OpenMode::CreateNew).unwrap();
    file.write_at(0, &[b"x"]).unwrap();
    assert_eq!(modified_ms("a"), 70);
    file.set_modified_ms(30).unwrap();
    disk.rename(path("/a"), path("/b")).unwrap();
    assert_eq!(modified_ms("b"), 30);
    file.write_at(1, &[b"y"]).unwrap();
    assert_eq!(modified_ms("b"), 70);
}
