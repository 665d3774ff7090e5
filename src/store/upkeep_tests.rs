//! Measuring, pruning, purging and checking a store, and opening damaged ones.

use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant, SystemTime};

use proptest::prelude::*;

use super::tests::{Home, manifest, put, put_model};
use super::*;
use crate::domain::Digest;

const ORPHANS: PruneOptions =
    PruneOptions { orphans: true, partials_older_than: None, dry_run: false };
const MINUTE: Duration = Duration::from_secs(60);

fn later() -> SystemTime {
    SystemTime::now() + Duration::from_secs(120)
}

fn prune_later(store: &Store, options: &PruneOptions) -> Pruned {
    store.inner.prune(options, MINUTE, later()).unwrap()
}

fn fsck(store: &Store, repair: bool) -> FsckReport {
    store.fsck(&mut |_| ControlFlow::Continue(()), repair).unwrap()
}

fn manifest_path(home: &Home, id: &Digest) -> std::path::PathBuf {
    home.root().join("manifests/sha256").join(id.hex())
}

#[test]
fn usage_counts_every_file_once() {
    let home = Home::new();
    let one = put_model(&home.store, b"shared!", b"{1}", &["one"]);
    let two = put_model(&home.store, b"shared!", b"{22}", &["two"]);
    // A bundle is another name of a blob, and a file of its own.
    let bundle = home.store.bundle_path(&one);
    std::fs::create_dir_all(bundle.join("model")).unwrap();
    let weights = home.store.blob_path(&Digest::of(b"shared!"));
    std::fs::hard_link(&weights, bundle.join("model/model.gguf")).unwrap();
    std::fs::write(bundle.join("config.json"), b"{....}").unwrap();
    drop(put(&home.store, b"orphan"));
    let mut open = home.store.write_blob(None).unwrap();
    open.append(&[1; 5000]).unwrap();
    std::fs::write(home.root().join("blobs/sha256/abc.incomplete"), [1; 5000]).unwrap();

    let usage = home.store.usage().unwrap();
    let size = |id| std::fs::metadata(manifest_path(&home, id)).unwrap().len();
    let (of_one, of_two) = (3 + 6 + size(&one), 4 + size(&two));
    let of = |id, name: &str, own_bytes| ModelUsage {
        id,
        tags: vec![format!("docker.io/ai/{name}:latest")],
        own_bytes,
        shared_bytes: 7,
        adopted_bytes: 0,
    };
    assert_eq!(usage.per_model, [of(one, "one", of_one), of(two, "two", of_two)]);
    assert_eq!(usage.shared_bytes, 7);
    assert_eq!(usage.model_bytes, of_one + of_two + 7);
    assert_eq!((usage.orphans, usage.orphan_bytes), (1, 6));
    assert!(usage.partial_bytes >= 10_000, "{}", usage.partial_bytes);
    assert!(usage.free_bytes > 0);
}

#[test]
fn prune_takes_what_is_old_unneeded_and_not_held() {
    let home = Home::new();
    let id = put_model(&home.store, b"w", b"{}", &["m"]);
    let held = put(&home.store, b"held");
    drop(put(&home.store, b"orphan"));
    let stray = Digest::of(b"stray");
    std::fs::write(manifest_path(&home, &stray), b"stray").unwrap();
    std::fs::create_dir_all(home.store.bundle_path(&stray).join("model")).unwrap();
    std::fs::write(home.store.bundle_path(&stray).join("model/x"), b"12345").unwrap();
    std::fs::write(home.root().join("ingest/9-9-9.index"), b"half").unwrap();
    let mut alive = home.store.write_blob(None).unwrap();
    alive.append(b"alive").unwrap();

    assert_eq!(home.store.prune(&ORPHANS).unwrap(), Pruned::default(), "all of it is young");
    let dry = PruneOptions { dry_run: true, ..ORPHANS };
    let expected = vec![
        (format!("bundle {stray}"), 5),
        (format!("manifest {stray}"), 5),
        (format!("blob {}", Digest::of(b"orphan")), 6),
        ("temporary file 9-9-9.index".to_owned(), 4),
    ];
    let expected = Pruned { removed: expected, bytes: 20 };
    assert_eq!(prune_later(&home.store, &dry), expected);
    assert_eq!(prune_later(&home.store, &ORPHANS), expected);
    assert_eq!(prune_later(&home.store, &ORPHANS), Pruned::default());
    assert!(home.store.read_manifest(&id).is_ok());
    assert_eq!(home.store.blob_size(&held.digest), Some(4));
    alive.commit(Some(Digest::of(b"alive"))).unwrap();
    drop(held);
    assert_eq!(prune_later(&home.store, &ORPHANS).removed.len(), 2, "their leases have ended");
    assert!(fsck(&home.store, false).is_clean());
}

/// Without any age to protect them: leases and the lock alone must do.
#[test]
fn nothing_that_is_being_stored_is_pruned() {
    let home = Home::new();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|thread| {
                let store = &home.store;
                scope.spawn(move || {
                    for round in 0..30 {
                        let name = format!("m{thread}-{round}");
                        put_model(store, name.as_bytes(), b"{}", &[&name]);
                        if round % 2 == 0 {
                            store.remove(&name, false).unwrap();
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                home.store.inner.prune(&ORPHANS, Duration::ZERO, later()).unwrap();
            }
        });
        let ended: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok));
    });
    assert!(fsck(&home.store, false).is_clean());
    assert_eq!(home.store.list().unwrap().len(), 45);
}

#[test]
fn prune_takes_downloads_that_nobody_goes_on_with() {
    let home = Home::new();
    let name = |bytes: &[u8]| format!("sha256-{}.part", Digest::of(bytes).hex());
    let ingest = home.root().join("ingest");
    for bytes in [b"idle", b"busy"] {
        std::fs::write(ingest.join(name(bytes)), bytes).unwrap();
        std::fs::write(ingest.join(name(bytes) + ".json"), b"{}").unwrap();
    }
    let busy = std::fs::File::open(ingest.join(name(b"busy"))).unwrap();
    rustix::fs::flock(&busy, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let options = PruneOptions { partials_older_than: Some(MINUTE), ..PruneOptions::default() };
    assert_eq!(home.store.prune(&options).unwrap(), Pruned::default(), "they are young");
    assert_eq!(prune_later(&home.store, &ORPHANS), Pruned::default(), "they are no orphans");
    assert_eq!(prune_later(&home.store, &options).removed.len(), 2);
    let left = super::tests::files_in(&ingest);
    assert_eq!(left, [name(b"busy"), name(b"busy") + ".json"].into());
}

#[test]
fn copies_of_damaged_indexes_go_after_a_week() {
    let home = Home::new();
    std::fs::write(home.root().join("models.json"), b"{").unwrap();
    home.store.list().unwrap();
    assert_eq!(prune_later(&home.store, &ORPHANS), Pruned::default());
    let next_week = SystemTime::now() + Duration::from_secs(8 * 24 * 3600);
    let pruned = home.store.inner.prune(&ORPHANS, MINUTE, next_week).unwrap();
    assert_eq!(pruned.removed, [("damaged index models.json.damaged-1".to_owned(), 1)]);
}

#[test]
fn what_an_index_with_a_mistake_leaves_out_is_not_pruned() {
    let home = Home::new();
    let id = put_model(&home.store, b"w", b"{}", &["m"]);
    let index = home.read("models.json");
    let wrong = index.replace(&Digest::of(b"w").to_string(), &Digest::of(b"x").to_string());
    std::fs::write(home.root().join("models.json"), wrong).unwrap();
    assert_eq!(prune_later(&home.store, &ORPHANS), Pruned::default());
    let report = fsck(&home.store, true);
    let [problem] = report.problems.as_slice() else { panic!("{report:?}") };
    assert_eq!((&problem.finding, problem.repaired), (&Finding::FilesDiffer, true));
    assert_eq!(home.read("models.json"), index);
    assert!(home.store.find(&id.hex()).is_ok());
}

#[test]
fn purge_leaves_an_empty_store_and_what_is_in_use() {
    let home = Home::new();
    let used = put_model(&home.store, b"used", b"{used}", &["used", "other"]);
    put_model(&home.store, b"w", b"{}", &["m"]);
    std::fs::write(home.root().join("ingest/sha256-00.part"), b"part").unwrap();
    std::fs::write(home.root().join("blobs/sha256/0.incomplete"), b"part").unwrap();
    std::fs::write(home.root().join("models.json.damaged-1"), b"{").unwrap();
    let lease = home.store.lease(&used).unwrap();
    home.store.purge().unwrap();
    assert_eq!(home.store.list().unwrap().len(), 0);
    assert_eq!(home.store.blob_size(&Digest::of(b"used")), Some(4));
    assert_eq!((home.count("blobs/sha256"), home.count("manifests/sha256")), (2, 1));
    assert_eq!((home.count("ingest"), home.count(".")), (0, 7), "and nothing besides");
    drop(lease);
    home.store.sweep().unwrap();
    assert_eq!((home.count("blobs/sha256"), home.count("manifests/sha256")), (0, 0));
    let again = Store::open(&home.root()).unwrap();
    put_model(&again, b"w", b"{}", &["m"]);
    assert!(fsck(&again, false).is_clean());
}

#[test]
fn a_pull_under_way_survives_a_purge() {
    let home = Home::new();
    let blobs = (put(&home.store, b"w"), put(&home.store, b"{}"));
    home.store.purge().unwrap();
    let tags = ["docker.io/ai/m:latest".to_owned()];
    home.store.put_model(&manifest(b"w", b"{}"), &tags).unwrap();
    drop(blobs);
    home.store.sweep().unwrap();
    assert!(fsck(&home.store, false).is_clean());
    assert_eq!(home.store.list().unwrap().len(), 1);
}

#[test]
fn a_sound_store_is_clean_and_progress_reaches_its_end() {
    let home = Home::new();
    put_model(&home.store, b"weights", b"{}", &["m"]);
    let mut last = None;
    let mut note = |progress| {
        last = Some(progress);
        ControlFlow::Continue(())
    };
    let report = home.store.fsck(&mut note, true).unwrap();
    let sound = FsckReport { blobs: 2, bytes: 9, manifests: 1, problems: Vec::new() };
    assert_eq!(report, sound);
    assert_eq!(last.map(|last| (last.done, last.total)), Some((9, 9)));
}

/// Each kind of damage alone: what it is called, whom it hurts, and what a repair does.
#[test]
fn damage_is_found_named_and_removed() {
    let found = |damage: &dyn Fn(&Home, &Digest)| {
        let home = Home::new();
        let id = put_model(&home.store, b"weights", b"{}", &["m", "n"]);
        damage(&home, &id);
        let seen = fsck(&home.store, false).problems;
        assert!(seen.iter().all(|problem| !problem.repaired), "{seen:?}");
        let mut repaired = fsck(&home.store, true).problems;
        assert_eq!(seen.len(), repaired.len());
        let problem = repaired.remove(0);
        let hurt: Vec<Option<String>> =
            problem.models.into_iter().map(|model| model.command).collect();
        (problem.finding, hurt, problem.repaired, home)
    };
    let weights = |home: &Home| home.store.blob_path(&Digest::of(b"weights"));
    let replace = |path: std::path::PathBuf, bytes: &[u8]| {
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
    };
    let command = || vec![Some("modeld pull ai/m:latest".to_owned())];

    let (finding, hurt, repaired, home) = found(&|home, _| replace(weights(home), b"wEights"));
    assert_eq!(finding, Finding::Corrupt { found: Digest::of(b"wEights") });
    assert_eq!((hurt, repaired), (command(), true));
    assert_eq!((home.store.blob_size(&Digest::of(b"weights")), home.count("ingest")), (None, 0));
    let after = fsck(&home.store, true).problems;
    assert_eq!(after[0].finding, Finding::MissingBlob { expected: 7 });
    put(&home.store, b"weights");
    assert!(fsck(&home.store, false).is_clean(), "it came again");

    let (finding, hurt, repaired, _) = found(&|home, _| replace(weights(home), b"weig"));
    assert_eq!(finding, Finding::WrongSize { expected: 7, found: 4 });
    assert_eq!((hurt, repaired), (command(), true));

    let (finding, hurt, repaired, _) =
        found(&|home, _| std::fs::remove_file(weights(home)).unwrap());
    assert_eq!(finding, Finding::MissingBlob { expected: 7 });
    assert_eq!((hurt, repaired), (command(), false));

    let (finding, hurt, repaired, _) = found(&|home, _| {
        std::fs::remove_file(weights(home)).unwrap();
        std::os::unix::fs::symlink("/dev/zero", weights(home)).unwrap();
    });
    assert_eq!(finding, Finding::Foreign("it is no regular file".into()));
    assert_eq!((hurt, repaired), (command(), true));

    let (finding, hurt, repaired, home) = found(&|home, _| {
        let open = std::fs::Permissions::from_mode(0o666);
        std::fs::set_permissions(weights(home), open).unwrap();
    });
    assert_eq!(finding, Finding::Foreign("others may write it (mode 666)".into()));
    assert_eq!((hurt, repaired), (command(), true));
    assert!(fsck(&home.store, false).is_clean());

    let (finding, hurt, repaired, _) =
        found(&|home, id| replace(manifest_path(home, id), b"{\"layers\":[]}"));
    assert_eq!(finding, Finding::Corrupt { found: Digest::of(b"{\"layers\":[]}") });
    assert_eq!((hurt, repaired), (command(), true));

    let (finding, hurt, repaired, _) =
        found(&|home, id| std::fs::remove_file(manifest_path(home, id)).unwrap());
    assert_eq!(finding, Finding::MissingManifest);
    assert_eq!((hurt, repaired), (command(), false));

    let (finding, ..) = found(&|home, _| {
        std::fs::write(home.root().join("blobs/sha256/README"), b"hello").unwrap();
    });
    assert_eq!(finding, Finding::Foreign("its name is no digest".into()));
}

#[test]
fn a_damaged_index_is_reported_and_made_anew_by_a_repair() {
    let home = Home::new();
    let id = put_model(&home.store, b"w", b"{}", &["m"]);
    let path = home.root().join("models.json");
    std::fs::write(&path, &home.read("models.json").as_bytes()[..200]).unwrap();
    assert!(matches!(fsck(&home.store, false).problems[0].finding, Finding::DamagedIndex(_)));
    assert_eq!(home.read("models.json").len(), 200, "nothing was changed");
    assert!(fsck(&home.store, true).problems[0].repaired);
    assert_eq!(home.store.find("m").unwrap().model.id, id);
    assert!(fsck(&home.store, false).is_clean());
}

#[test]
fn a_record_whose_id_was_damaged_finds_its_manifest_again() {
    let home = Home::new();
    let id = put_model(&home.store, b"w", b"{}", &["m"]);
    let other = Digest::of(b"no manifest");
    let wrong = home.read("models.json").replace(&id.to_string(), &other.to_string());
    std::fs::write(home.root().join("models.json"), wrong).unwrap();
    let report = fsck(&home.store, true);
    let found: Vec<(&Finding, bool)> =
        report.problems.iter().map(|problem| (&problem.finding, problem.repaired)).collect();
    assert_eq!(found, [(&Finding::MissingManifest, true), (&Finding::Unlisted, true)]);
    assert_eq!(home.store.find("m").unwrap().model.id, id);
    assert!(fsck(&home.store, false).is_clean());
}

#[test]
fn records_that_mean_nothing_are_kept_and_reported() {
    let home = Home::new();
    let id = put_model(&home.store, b"w", b"{}", &["m"]);
    let upper = Digest::of(b"x").to_string().to_uppercase();
    let record = format!("{{\"id\": \"{upper}\", \"tags\": [\"docker.io/ai/up:1\"], \"k\": [1]}}");
    let index = home.read("models.json").replacen("[", &format!("[{record},"), 1);
    std::fs::write(home.root().join("models.json"), index).unwrap();
    assert_eq!(fsck(&home.store, true).problems[0].finding, Finding::InvalidRecord(upper.clone()));
    assert!(home.store.find("up:1").is_err());
    home.store.tag("m", &crate::domain::ModelRef::parse("again").unwrap()).unwrap();
    let index: serde_json::Value = serde_json::from_str(&home.read("models.json")).unwrap();
    assert_eq!(index["models"][0]["id"], upper);
    assert_eq!(index["models"][0]["k"][0], 1);
    assert_eq!(home.store.find("again").unwrap().model.id, id);
}

#[test]
fn an_index_that_is_no_file_or_far_too_large_is_set_aside() {
    let home = Home::new();
    let id = put_model(&home.store, b"w", b"{}", &["m"]);
    let path = home.root().join("models.json");
    let place = |make: &dyn Fn()| {
        std::fs::remove_file(&path).unwrap();
        make();
        let started = Instant::now();
        let store = Store::open(&home.root()).unwrap();
        assert_eq!(store.find(&id.hex()).unwrap().model.id, id);
        assert!(path.symlink_metadata().unwrap().is_file());
        started.elapsed()
    };
    place(&|| std::fs::create_dir(&path).unwrap());
    place(&|| std::os::unix::fs::symlink("/dev/zero", &path).unwrap());
    let mode = rustix::fs::Mode::RWXU;
    place(&|| rustix::fs::mkfifoat(rustix::fs::CWD, &path, mode).unwrap());
    let took = place(&|| std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap());
    println!("an index of 1 TiB is set aside within {took:?}");
    assert!(took < Duration::from_secs(20), "only the beginning is read: {took:?}");
    let took = place(&|| std::fs::write(&path, "{\"id\": \"".repeat(1 << 20)).unwrap());
    println!("one of 8 MiB that looks like records within {took:?}");
}

#[test]
fn a_store_without_a_sound_layout_file_opens_and_another_version_does_not() {
    let home = Home::new();
    let id = put_model(&home.store, b"w", b"{}", &["m"]);
    let path = home.root().join("layout.json");
    let whole = home.read("layout.json");
    for bytes in [&b""[..], b"{\n  \"vers", b"\xff\0\x01", b"[]", b"{}", b"{\"version\":null}"] {
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(Store::open(&home.root()).unwrap().find("m").unwrap().model.id, id);
        assert_eq!(home.read("layout.json"), whole);
    }
    std::fs::remove_file(&path).unwrap();
    Store::open(&home.root()).unwrap();
    assert_eq!(home.read("layout.json"), whole);
    for newer in ["{\"version\":\"2.0.0\"}", "{\"version\":2}", "{\"version\":\"\"}"] {
        std::fs::write(&path, newer).unwrap();
        let refused = Store::open(&home.root()).err().unwrap();
        assert!(matches!(refused, StoreError::UnknownLayout { .. }), "{newer}: {refused}");
        assert_eq!(home.read("layout.json"), newer);
    }
}

#[test]
fn messages_say_what_to_do() {
    use rustix::io::Errno;
    let told = |action, errno: Errno| StoreError::io(action, "/m/modeld.lock")(errno.into());
    for errno in [Errno::NOLCK, Errno::OPNOTSUPP] {
        assert!(matches!(told("lock", errno), StoreError::NoLocks { .. }));
    }
    let read_only = told("write", Errno::ROFS).to_string();
    insta::assert_snapshot!(read_only, @"cannot write /m/modeld.lock: the file system is read-only; mount it for writing or choose another store with --models-path");
    let locks = told("lock", Errno::NOLCK).to_string();
    insta::assert_snapshot!(locks, @"the file system of the model store cannot lock /m/modeld.lock (No locks available (os error 37)), as some network file systems cannot; choose a store on a local disk with --models-path");
}

/// One change to a file's bytes.
#[derive(Debug, Clone)]
enum Mutation {
    Cut(prop::sample::Index),
    Flip(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Zero(prop::sample::Index),
    Replace(Vec<u8>),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<prop::sample::Index>;
    let bytes = || prop::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        at().prop_map(Mutation::Cut),
        (at(), 1u8..).prop_map(|(at, bits)| Mutation::Flip(at, bits)),
        (at(), bytes()).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        at().prop_map(Mutation::Zero),
        bytes().prop_map(Mutation::Replace),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutation: &Mutation) {
    let len = bytes.len().max(1);
    match mutation {
        Mutation::Cut(at) => bytes.truncate(at.index(len)),
        Mutation::Flip(at, bits) => {
            if let Some(byte) = bytes.get_mut(at.index(len)) {
                *byte ^= bits;
            }
        }
        Mutation::Insert(at, more) => {
            let at = at.index(len).min(bytes.len());
            bytes.splice(at..at, more.iter().copied());
        }
        Mutation::Zero(at) => bytes.iter_mut().skip(at.index(len)).for_each(|byte| *byte = 0),
        Mutation::Replace(with) => bytes.clone_from(with),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    /// Whatever happens to the state files, the store opens soon and no model is lost: it is
    /// listed, or the index is one that names others, and then its files are all still there.
    #[test]
    fn damaged_state_files_lose_no_model(
        index in prop::collection::vec(mutation(), 0..3),
        layout in prop::collection::vec(mutation(), 0..2),
    ) {
        let home = Home::new();
        let ids = [
            put_model(&home.store, b"a", b"{}", &["a", "aa"]),
            put_model(&home.store, b"b", b"{}", &["b"]),
        ];
        for (name, mutations) in [("models.json", index), ("layout.json", layout)] {
            let mut bytes = home.read(name).into_bytes();
            mutations.iter().for_each(|mutation| mutate(&mut bytes, mutation));
            std::fs::write(home.root().join(name), bytes).unwrap();
        }
        let read = |name: &str| std::fs::read(home.root().join(name)).unwrap();
        let is_index = super::index::IndexFile::parse(&read("models.json")).is_ok();
        let before = read("models.json");
        let started = Instant::now();
        match Store::open(&home.root()) {
            Ok(store) => {
                for id in ids {
                    let listed = store.find(&id.hex()).is_ok();
                    prop_assert!(listed || is_index, "{id} is lost");
                }
                let report = fsck(&store, true);
                store.list().unwrap();
                prop_assert!(report.manifests == 2 && report.blobs == 3, "{report:?}");
            }
            // Only another version is no store of ours; it stays as it is.
            Err(StoreError::UnknownLayout { .. }) => prop_assert_eq!(read("models.json"), before),
            Err(error) => prop_assert!(false, "{error}"),
        }
        prop_assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    }
}
