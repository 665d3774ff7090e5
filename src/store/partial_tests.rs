#![allow(clippy::single_range_in_vec_init, reason = "lists of ranges are what is meant")]

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::domain::{Digest, Error, ErrorKind};

use super::*;

struct Home {
    _dir: tempfile::TempDir,
    root: PathBuf,
    store: Store,
}

const BYTES: &[u8] = b"the bytes of a blob that comes in pieces";

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("models");
        let store = Store::open(&root).unwrap();
        Self { _dir: dir, root, store }
    }

    fn begin(&self) -> PartialBlob {
        self.store.partial(&digest(), BYTES.len() as u64).unwrap()
    }

    fn ingest(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.root.join("ingest")).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn data(&self) -> PathBuf {
        self.root.join(format!("ingest/sha256-{}.part", digest().hex()))
    }

    fn journal(&self) -> PathBuf {
        self.root.join(format!("ingest/sha256-{}.part.json", digest().hex()))
    }

    /// A download that was interrupted cleanly after these ranges.
    fn interrupt(&self, ranges: &[std::ops::Range<usize>]) {
        let partial = self.begin();
        for range in ranges {
            partial.write_at(range.start as u64, &BYTES[range.clone()]).unwrap();
        }
        partial.pause().unwrap();
    }
}

fn digest() -> Digest {
    Digest::of(BYTES)
}

fn finish(partial: &PartialBlob) -> Result<Blob, StoreError> {
    for gap in partial.missing() {
        partial.write_at(gap.start, &BYTES[gap.start as usize..gap.end as usize]).unwrap();
    }
    let mut hash = partial.hash();
    hash.read_back(partial, partial.size(), |_| true).unwrap();
    partial.commit(hash)
}

#[test]
fn a_blob_comes_in_pieces_over_several_attempts() {
    let home = Home::new();
    home.interrupt(&[20..25, 0..5]);
    assert_eq!(home.store.blob_size(&digest()), None);
    // The journal is read by another process as well.
    let other = Store::open(&home.root).unwrap();
    let partial = other.partial(&digest(), BYTES.len() as u64).unwrap();
    assert_eq!((partial.resumed(), partial.prefix()), (10, 5));
    assert_eq!(partial.missing(), [5..20, 25..40]);
    let blob = finish(&partial).unwrap();
    assert_eq!((blob.digest, blob.size, blob.is_new), (digest(), 40, true));
    let path = home.store.blob_path(&digest());
    assert_eq!(std::fs::read(&path).unwrap(), BYTES);
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o444);
    assert_eq!(home.ingest(), [""; 0]);
}

#[test]
fn bytes_that_no_checkpoint_named_do_not_count() {
    let home = Home::new();
    let partial = home.begin();
    partial.write_at(0, &BYTES[..10]).unwrap();
    partial.checkpoint().unwrap();
    partial.write_at(10, &BYTES[10..30]).unwrap();
    drop(partial);
    assert_eq!(home.begin().resumed(), 10);
}

#[test]
fn bytes_are_written_once_and_inside_only() {
    let home = Home::new();
    let partial = home.begin();
    partial.write_at(0, &BYTES[..10]).unwrap();
    for (offset, len) in [(0, 1), (9, 5), (39, 2), (u64::MAX, 1)] {
        assert!(partial.write_at(offset, &vec![b'!'; len]).is_err(), "{offset}");
    }
    finish(&partial).unwrap();
}

#[test]
fn one_writer_at_a_time_has_it() {
    let home = Home::new();
    let other = Store::open(&home.root).unwrap();
    let partial = home.begin();
    for store in [&home.store, &other] {
        let error = store.partial(&digest(), 40).err().unwrap();
        assert!(matches!(error, StoreError::Busy(_)), "{error}");
        assert_eq!(Error::from(error).kind, ErrorKind::Conflict);
        assert!(matches!(store.remove_partial(&digest()), Err(StoreError::Busy(_))));
    }
    drop(partial);
    drop(other.partial(&digest(), 40).unwrap());
    finish(&home.begin()).unwrap();
    // The writer of a finished blob does not keep the next one away.
    let blob = finish(&home.begin()).unwrap();
    assert!(!blob.is_new);
    assert_eq!(home.ingest(), [""; 0]);
}

#[test]
fn wrong_and_missing_bytes_leave_nothing() {
    let home = Home::new();
    let partial = home.begin();
    partial.write_at(0, b"WRONG").unwrap();
    assert!(matches!(finish(&partial), Err(StoreError::DigestMismatch { .. })));
    assert_eq!(home.ingest(), [""; 0]);
    let partial = home.begin();
    partial.write_at(0, &BYTES[..10]).unwrap();
    let error = partial.commit(partial.hash()).unwrap_err();
    assert!(matches!(error, StoreError::SizeMismatch { expected: 40, found: 0 }), "{error}");
    assert_eq!((home.ingest().len(), home.store.blob_size(&digest())), (0, None));
    // What is gone stays gone.
    partial.checkpoint().unwrap();
    partial.pause().unwrap();
    assert_eq!(home.ingest(), [""; 0]);
}

#[test]
fn a_journal_that_cannot_be_trusted_begins_anew() {
    let good = |home: &Home| std::fs::read_to_string(home.journal()).unwrap();
    let damages: [fn(String) -> String; 8] = [
        |_| String::new(),
        |text| text.chars().take(text.len() / 2).collect(),
        |text| text.replace("\"version\":1", "\"version\":2"),
        |text| text.replace("40", "41"),
        |text| text.replace("[0,10]", "[10,0]"),
        |text| text.replace("[0,10]", "[0,10],[5,15]"),
        |text| text.replace("[0,10]", "[0,1000]"),
        |text| text.replace(&digest().to_string(), &Digest::of(b"other").to_string()),
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        let home = Home::new();
        home.interrupt(&[0..10]);
        let text = good(&home);
        let damaged = damage(text.clone());
        assert_ne!(text, damaged, "{number}");
        std::fs::write(home.journal(), damaged).unwrap();
        let partial = home.begin();
        assert_eq!((partial.resumed(), partial.missing()), (0, vec![0..40]), "{number}");
        assert!(!home.journal().exists(), "{number}");
        finish(&partial).unwrap();
    }
    // The data of another size, or none.
    for len in [0, 39, 41] {
        let home = Home::new();
        home.interrupt(&[0..10]);
        std::fs::File::options().write(true).open(home.data()).unwrap().set_len(len).unwrap();
        assert_eq!(home.begin().resumed(), 0, "{len}");
    }
    // The promised size is another one.
    let home = Home::new();
    home.interrupt(&[0..10]);
    assert_eq!(home.store.partial(&digest(), 41).unwrap().resumed(), 0);
}

#[test]
fn a_start_keeps_what_may_go_on_and_removes_the_rest() {
    let home = Home::new();
    home.interrupt(&[0..10]);
    let orphan = home.root.join(format!("ingest/sha256-{}.part.json", Digest::of(b"x").hex()));
    std::fs::write(&orphan, b"{}").unwrap();
    Store::open(&home.root).unwrap();
    assert_eq!(home.ingest().len(), 2);
    assert!(!orphan.exists());

    let age = |days: u64| {
        let then = SystemTime::now() - Duration::from_secs(days * 24 * 3600);
        std::fs::File::options().write(true).open(home.data()).unwrap().set_modified(then).unwrap();
    };
    age(6);
    Store::open(&home.root).unwrap();
    assert_eq!(home.ingest().len(), 2);
    age(8);
    let busy = home.begin();
    age(8);
    Store::open(&home.root).unwrap();
    assert_eq!(home.ingest().len(), 2);
    drop(busy);
    Store::open(&home.root).unwrap();
    assert_eq!(home.ingest(), [""; 0]);
}

#[test]
fn downloads_are_listed_and_given_up() {
    let home = Home::new();
    assert_eq!(home.store.partials(), []);
    home.interrupt(&[0..10, 20..30]);
    let listed = home.store.partials();
    assert_eq!((listed[0].digest, listed[0].size, listed[0].have), (digest(), 40, 20));
    assert!(!listed[0].busy && listed[0].modified.elapsed().unwrap() < Duration::from_secs(60));
    let partial = home.begin();
    assert!(home.store.partials()[0].busy);
    drop(partial);
    home.store.remove_partial(&digest()).unwrap();
    home.store.remove_partial(&digest()).unwrap();
    assert_eq!((home.store.partials(), home.ingest().len()), (vec![], 0));
}

#[test]
fn an_attempt_that_brought_nothing_leaves_nothing() {
    let home = Home::new();
    home.begin().pause().unwrap();
    assert_eq!(home.ingest(), [""; 0]);
}

#[test]
fn what_cannot_fit_is_refused_together_and_before_the_first_byte() {
    let home = Home::new();
    let huge = u64::MAX / 2;
    let error = home.store.partial(&digest(), huge).err().unwrap();
    assert!(matches!(error, StoreError::DiskFull { .. }), "{error}");
    assert_eq!(home.ingest(), [""; 0]);
    home.store.require_room(&[(digest(), 40), (Digest::of(b"x"), 1)]).unwrap();
    let stat = rustix::fs::statvfs(&home.root).unwrap();
    let free = stat.f_bavail * stat.f_frsize;
    let parts = [(digest(), free / 2), (Digest::of(b"x"), free / 2), (Digest::of(b"y"), 1 << 30)];
    assert!(matches!(home.store.require_room(&parts), Err(StoreError::DiskFull { .. })));
}

#[test]
fn space_that_a_download_holds_already_is_not_asked_for_again() {
    let home = Home::new();
    let size: u64 = 8 << 20;
    let big = Digest::of(b"big");
    let partial = home.store.partial(&big, size).unwrap();
    partial.write_at(0, &vec![7; 1 << 20]).unwrap();
    let held = |home: &Home| {
        let path = home.root.join(format!("ingest/sha256-{}.part", big.hex()));
        path.metadata().unwrap().blocks() * 512
    };
    // Reserved whole where the file system can do that, and given back in a pause.
    let reserved = held(&home);
    partial.pause().unwrap();
    drop(partial);
    let kept = held(&home);
    assert!(kept >= 1 << 20 && kept <= reserved, "{kept} {reserved}");
    assert_eq!(home.store.partial(&big, size).unwrap().resumed(), 1 << 20);
}

#[test]
fn a_link_in_its_place_is_not_followed() {
    let home = Home::new();
    let target = home.root.join("victim");
    std::fs::write(&target, b"precious").unwrap();
    std::os::unix::fs::symlink(&target, home.data()).unwrap();
    assert!(home.store.partial(&digest(), 40).is_err());
    assert_eq!(std::fs::read(&target).unwrap(), b"precious");
    // A start clears it away.
    std::fs::remove_file(&target).unwrap();
    Store::open(&home.root).unwrap();
    assert_eq!(home.ingest(), [""; 0]);
}
