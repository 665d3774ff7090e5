//! Others who change the store's files while it works.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::domain::{Digest, ErrorKind};

use super::tests::{Home, manifest, put, put_model};
use super::*;

/// Rounds of each race.
const ROUNDS: usize = 1_000;

/// Does `work` while another thread does `meanwhile` over and over.
fn race(meanwhile: impl Fn() + Send + Sync, work: impl FnOnce()) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                meanwhile();
            }
        });
        // The other thread has to end even if an assertion fails here.
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        over.store(true, Ordering::Relaxed);
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

/// Puts a link where the blob is, and the blob back again.
fn swap(blob: &Path, away: &Path, secret: &Path) {
    let staging = away.with_extension("link");
    let _ = std::fs::remove_file(&staging);
    symlink(secret, &staging).unwrap();
    let _ = std::fs::rename(blob, away);
    std::fs::rename(&staging, blob).unwrap();
    let _ = std::fs::rename(away, blob);
}

fn secret(home: &Home) -> PathBuf {
    let path = home.root().parent().unwrap().join("secret");
    std::fs::write(&path, b"s").unwrap();
    path
}

#[test]
fn whoever_swaps_a_blob_for_a_link_reads_and_writes_nothing_else_through_it() {
    let home = Home::new();
    let secret = secret(&home);
    let digest = Digest::of(b"w");
    put(&home.store, b"w");
    let (blob, away) = (home.store.blob_path(&digest), home.root().join("ingest/away"));
    let mut seen = [0; 2];
    race(
        || swap(&blob, &away, &secret),
        || {
            for _ in 0..ROUNDS {
                match home.store.read_blob(&digest, 1 << 20) {
                    Ok(bytes) => assert_eq!(bytes, b"w"),
                    Err(_) => seen[0] += 1,
                }
                match home.store.open_blob(&digest) {
                    Ok(file) => assert_eq!(std::io::read_to_string(file).unwrap(), "w"),
                    Err(_) => seen[1] += 1,
                }
                // Whether it finds the link, the blob or nothing, what it leaves is right.
                put(&home.store, b"w");
            }
        },
    );
    assert_eq!(std::fs::read(&secret).unwrap(), b"s");
    assert!(seen.iter().all(|refusals| *refusals > 0), "the link was never met: {seen:?}");
    put(&home.store, b"w");
    assert_eq!(home.store.read_blob(&digest, 9).unwrap(), b"w");
}

#[test]
fn whoever_swaps_a_partial_for_a_link_gets_nothing_written_through_it() {
    let home = Home::new();
    let secret = secret(&home);
    let content = [7; 3000];
    let digest = Digest::of(&content);
    let ingest = home.root().join("ingest");
    let (mut whole, mut broken) = (0, 0);
    let armed = AtomicBool::new(false);
    // Every file of the partial, journal and data, while it is written and taken up again.
    let swap_all = || {
        if !armed.load(Ordering::Relaxed) {
            return std::thread::yield_now();
        }
        for entry in std::fs::read_dir(&ingest).unwrap().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let kind = entry.file_type();
            if kind.is_ok_and(|kind| kind.is_file())
                && name.to_string_lossy().contains(&digest.hex())
            {
                let link = home.root().parent().unwrap().join("link");
                let _ = std::fs::remove_file(&link);
                symlink(&secret, &link).unwrap();
                let _ = std::fs::rename(&link, &path);
            }
        }
    };
    race(swap_all, || {
        for round in 0..ROUNDS {
            armed.store(round % 2 == 1, Ordering::Relaxed);
            if let Ok(partial) = home.store.partial(&digest, content.len() as u64) {
                let _ = partial.write_at(0, &content);
                let _ = partial.checkpoint();
                let mut hash = partial.hash();
                hash.update(&content);
                let _ = partial.commit(hash);
            }
            match home.store.read_blob(&digest, 1 << 20) {
                Ok(bytes) => {
                    whole += 1;
                    assert_eq!(bytes, content);
                }
                Err(_) => broken += 1,
            }
            for dir in ["blobs/sha256", "ingest"] {
                for entry in std::fs::read_dir(home.root().join(dir)).unwrap().flatten() {
                    let _ = std::fs::remove_file(entry.path());
                }
            }
        }
    });
    assert!(whole > 0 && broken > 0, "{whole} {broken}");
    assert_eq!(std::fs::read(&secret).unwrap(), b"s");
}

#[test]
fn a_lease_in_time_keeps_every_file_and_a_late_one_finds_no_model() {
    let home = Home::new();
    let (layer, config) = (b"weights", b"{}");
    let id = Digest::of(&manifest(layer, config));
    let (mut had, mut missed) = (0, 0);
    race(
        || {
            put_model(&home.store, layer, config, &["m"]);
            match home.store.remove("m", true) {
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind, ErrorKind::ModelNotFound, "{error}"),
            }
        },
        || {
            while had < ROUNDS {
                match home.store.lease(&id) {
                    Ok(lease) => {
                        had += 1;
                        for blob in [&layer[..], config] {
                            let read = home.store.read_blob(&Digest::of(blob), 1 << 20);
                            assert_eq!(read.unwrap(), blob, "after {had} and {missed}");
                        }
                        drop(lease);
                    }
                    Err(StoreError::NotFound(_)) => missed += 1,
                    Err(error) => panic!("{error}"),
                }
            }
        },
    );
    let _ = home.store.remove("m", true);
    home.store.sweep().unwrap();
    assert_eq!((home.count("blobs/sha256"), home.count("manifests/sha256")), (0, 0));
    assert!(home.store.find("m").is_err());
}
