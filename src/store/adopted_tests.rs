//! Upkeep of a store some of whose blobs are other programs' files.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::adopted::{Adopted, Identity};
use super::tests::{Home, manifest, put};
use super::*;
use crate::domain::Digest;

const ORPHANS: PruneOptions =
    PruneOptions { orphans: true, partials_older_than: None, dry_run: false };

fn digest() -> Digest {
    Digest::of(b"weights")
}

/// A model whose weights are another program's file, by a link or by its path alone.
fn adopted_model(home: &Home, is_reference: bool) -> (Digest, PathBuf) {
    let file = home.root().parent().unwrap().canonicalize().unwrap().join("other.gguf");
    std::fs::write(&file, b"weights").unwrap();
    note(home, &file, is_reference);
    let _config = put(&home.store, b"{}");
    let tags = ["docker.io/ai/m:latest".to_owned()];
    (home.store.put_model(&manifest(b"weights", b"{}"), &tags).unwrap(), file)
}

fn note(home: &Home, file: &std::path::Path, is_reference: bool) {
    if !is_reference {
        let blob = home.root().join("blobs/sha256").join(digest().hex());
        std::fs::hard_link(file, blob).unwrap();
    }
    let identity = Identity::of(&file.metadata().unwrap());
    let record = Adopted { path: file.to_owned(), is_reference, identity };
    home.store.inner.note_adopted(digest(), record).unwrap();
}

fn fsck(home: &Home, repair: bool) -> Vec<(Finding, usize, bool)> {
    let report = home.store.fsck(&mut |_| ControlFlow::Continue(()), repair).unwrap();
    let seen = report.problems.into_iter();
    seen.map(|problem| (problem.finding, problem.models.len(), problem.repaired)).collect()
}

fn prune(home: &Home, options: &PruneOptions) -> Pruned {
    let later = SystemTime::now() + Duration::from_secs(120);
    home.store.inner.prune(options, Duration::from_secs(60), later).unwrap()
}

/// Other bytes of the same length, so that only reading them tells.
fn overwrite(file: &PathBuf, bytes: &[u8]) {
    let before = file.metadata().unwrap().modified().unwrap();
    std::fs::write(file, bytes).unwrap();
    let changed = before + Duration::from_secs(5);
    std::fs::File::options().append(true).open(file).unwrap().set_modified(changed).unwrap();
}

#[test]
fn usage_tells_what_only_others_have_from_what_is_shared_with_them() {
    for is_reference in [true, false] {
        let home = Home::new();
        let (id, file) = adopted_model(&home, is_reference);
        let usage = home.store.usage().unwrap();
        let model = &usage.per_model[0];
        let (shared, adopted) = if is_reference { (0, 7) } else { (7, 0) };
        assert_eq!((model.id, model.shared_bytes, model.adopted_bytes), (id, shared, adopted));
        assert_eq!((usage.shared_bytes, usage.adopted_bytes), (shared, adopted));
        assert_eq!(usage.orphans, 0);
        if !is_reference {
            std::fs::remove_file(&file).unwrap();
            assert_eq!(home.store.usage().unwrap().shared_bytes, 0, "the other name is gone");
        }
    }
}

#[test]
fn a_sound_file_elsewhere_is_read_and_no_problem() {
    for is_reference in [true, false] {
        let home = Home::new();
        let (_, file) = adopted_model(&home, is_reference);
        // The other program may be more generous with it than the store is.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        std::fs::set_permissions(&file, mode).unwrap();
        let mut told = None;
        let mut tell = |progress: FsckProgress| {
            told = Some((progress.done, progress.total));
            ControlFlow::Continue(())
        };
        let report = home.store.fsck(&mut tell, true).unwrap();
        let sound = FsckReport { blobs: 2, bytes: 9, manifests: 1, problems: Vec::new() };
        assert_eq!(report, sound, "reference: {is_reference}");
        assert_eq!(told, Some((9, 9)));
        let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o666, "it is not ours to narrow");
    }
}

#[test]
fn a_touched_file_with_the_same_bytes_is_good_again_after_a_repair() {
    for is_reference in [true, false] {
        let home = Home::new();
        let (_, file) = adopted_model(&home, is_reference);
        overwrite(&file, b"weights");
        assert_eq!(home.store.blob_size(&digest()), None);
        let touched = Finding::Adopted { file, what: AdoptedFault::Touched };
        assert_eq!(fsck(&home, false), [(touched.clone(), 1, false)]);
        assert_eq!(fsck(&home, true), [(touched, 1, true)]);
        assert_eq!(fsck(&home, false), []);
        assert_eq!(home.store.blob_size(&digest()), Some(7));
    }
}

#[test]
fn a_file_elsewhere_with_other_bytes_is_forgotten_and_stays() {
    let home = Home::new();
    let (_, file) = adopted_model(&home, true);
    overwrite(&file, b"wEights");
    let what = AdoptedFault::Corrupt { found: Digest::of(b"wEights") };
    let finding = Finding::Adopted { file: file.clone(), what };
    assert_eq!(fsck(&home, false), [(finding.clone(), 1, false)]);
    assert!(matches!(home.store.blob_state(&digest()), BlobState::Changed { .. }));
    assert_eq!(fsck(&home, true), [(finding, 1, true)]);
    assert_eq!(std::fs::read(&file).unwrap(), b"wEights");
    assert_eq!(fsck(&home, false), [(Finding::MissingBlob { expected: 7 }, 1, false)]);
}

#[test]
fn a_link_to_other_bytes_loses_the_store_s_name_only() {
    let home = Home::new();
    let (_, file) = adopted_model(&home, false);
    overwrite(&file, b"wEights");
    let finding = Finding::Corrupt { found: Digest::of(b"wEights") };
    assert_eq!(fsck(&home, true), [(finding, 1, true)]);
    assert_eq!(std::fs::read(&file).unwrap(), b"wEights");
    assert!(!home.read("adopted.json").contains(&digest().hex()));
    drop(put(&home.store, b"weights"));
    assert_eq!(fsck(&home, false), [], "it came again");
}

#[test]
fn a_file_elsewhere_that_is_gone_is_named_with_the_model() {
    let home = Home::new();
    let (_, file) = adopted_model(&home, true);
    std::fs::remove_file(&file).unwrap();
    let found = fsck(&home, false);
    let [(Finding::Adopted { file: named, what: AdoptedFault::Unreadable(_) }, 1, false)] =
        found.as_slice()
    else {
        panic!("{found:?}")
    };
    assert_eq!(*named, file);
}

/// Its files are not among the blobs, which is no reason to lose its name.
#[test]
fn an_imported_model_survives_a_damaged_index() {
    for gone in [false, true] {
        let home = Home::new();
        let (id, file) = adopted_model(&home, true);
        let tags = home.store.list().unwrap()[0].tags.clone();
        assert!(!tags.is_empty());
        if gone {
            std::fs::remove_file(&file).unwrap();
        }
        let index = home.read("models.json");
        std::fs::write(home.root().join("models.json"), index.trim_end().trim_end_matches('}'))
            .unwrap();
        let models = home.store.list().unwrap();
        assert_eq!(models.len(), 1, "gone: {gone}");
        assert_eq!((models[0].id, &models[0].tags), (id, &tags));
    }
}

#[test]
fn a_check_can_be_broken_off() {
    let home = Home::new();
    adopted_model(&home, true);
    let mut steps = 0;
    let mut tell = |_| {
        steps += 1;
        ControlFlow::Break(())
    };
    let report = home.store.fsck(&mut tell, true).unwrap();
    assert_eq!((report.blobs, steps), (1, 1));
}

#[test]
fn prune_forgets_files_elsewhere_that_no_model_needs_and_never_removes_them() {
    for is_reference in [true, false] {
        let home = Home::new();
        let (_, file) = adopted_model(&home, is_reference);
        assert_eq!(prune(&home, &ORPHANS), Pruned::default(), "a model needs it");
        // As if the daemon had died between the two.
        let index = home.root().join("models.json");
        std::fs::write(&index, b"{\"models\": []}").unwrap();
        assert!(home.store.prune(&ORPHANS).unwrap().removed.is_empty(), "all of it is young");
        let dry = PruneOptions { dry_run: true, ..ORPHANS };
        let seen = prune(&home, &dry);
        assert!(home.read("adopted.json").contains(&digest().hex()), "nothing was changed");
        let pruned = prune(&home, &ORPHANS);
        assert_eq!(pruned, seen);
        let name = match is_reference {
            true => format!("reference {} to {}", digest(), file.display()),
            false => format!("blob {}", digest()),
        };
        assert!(pruned.removed.contains(&(name, 0)), "{pruned:?}");
        assert!(!home.read("adopted.json").contains(&digest().hex()));
        assert_eq!(home.count("blobs/sha256"), 0);
        assert_eq!(std::fs::read(&file).unwrap(), b"weights");
    }
}

#[test]
fn a_leased_file_elsewhere_is_not_forgotten() {
    let home = Home::new();
    let (id, file) = adopted_model(&home, true);
    let lease = home.store.lease(&id).unwrap();
    home.store.purge().unwrap();
    assert_eq!(home.store.blob_size(&digest()), Some(7));
    drop(lease);
    home.store.sweep().unwrap();
    assert_eq!(home.store.blob_state(&digest()), BlobState::Missing);
    assert_eq!(std::fs::read(&file).unwrap(), b"weights");
}
