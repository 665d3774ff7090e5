//! What the store promises when calls to the operating system fail, each of them in turn, and
//! when the power goes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::io::Errno;

use super::faults::{Effect, Faults};
use super::tests::{files_in, put_model};
use super::*;
use crate::domain::{Digest, Error, ErrorKind, ModelRef};

const ERRORS: [Errno; 4] = [Errno::IO, Errno::NOSPC, Errno::DQUOT, Errno::ROFS];

/// What was answered with success, and how many effects the disk had seen by then.
#[derive(Debug, Default, Clone, Copy)]
struct Acknowledged {
    put: Option<usize>,
    tagged: Option<usize>,
    /// A removal may show before it is acknowledged.
    removing: Option<usize>,
    removed: Option<usize>,
}

/// In memory where there is such a place: these tests sync a great deal.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    match memory.is_dir() {
        true => tempfile::tempdir_in(memory).unwrap(),
        false => tempfile::tempdir().unwrap(),
    }
}

fn manifest() -> Vec<u8> {
    super::tests::manifest(b"weights", b"{config}")
}

/// A model comes, gets a second tag, loses it, and goes.
fn live(store: &Store, faults: &Faults, done: &mut Acknowledged) -> Result<(), Error> {
    let blob = |bytes: &[u8]| -> Result<Blob, StoreError> {
        let mut writer = store.write_blob(Some(bytes.len() as u64))?;
        let (first, second) = bytes.split_at(bytes.len() / 2);
        writer.append(first)?;
        writer.append(second)?;
        writer.commit(Some(Digest::of(bytes)))
    };
    let held = (blob(b"weights")?, blob(b"{config}")?);
    store.put_model(&manifest(), &["docker.io/ai/m:latest".to_owned()])?;
    drop(held);
    done.put = Some(faults.effects().len());
    store.tag("m", &ModelRef::parse("m2").unwrap())?;
    done.tagged = Some(faults.effects().len());
    store.remove("m2", false)?;
    done.removing = Some(faults.effects().len());
    store.remove("m", false)?;
    done.removed = Some(faults.effects().len());
    Ok(())
}

fn damage(store: &Store) -> Vec<Problem> {
    let mut problems =
        store.fsck(&mut |_| std::ops::ControlFlow::Continue(()), false).unwrap().problems;
    // What is left of something that did not happen hurts nobody.
    problems.retain(|problem| problem.finding != Finding::Unlisted);
    problems
}

fn check(store: &Store, done: &Acknowledged, context: &str) {
    assert_eq!(damage(store), [], "{context}");
    assert!(store.find("kept").is_ok(), "{context}");
    if done.removed.is_some() {
        assert!(store.find("m").is_err(), "{context}");
    } else if done.put.is_some() && done.removing.is_none() {
        assert!(store.find("m").is_ok(), "{context}");
        // From the tag on, the next step is to remove it again.
        assert!(store.blob_size(&Digest::of(b"weights")) == Some(7), "{context}");
    }
}

#[test]
fn every_call_may_fail_and_nothing_is_lost_or_left() {
    let mut reached = 0;
    for error in ERRORS {
        for nth in 0.. {
            let dir = scratch();
            let store = Store::open(dir.path()).unwrap();
            put_model(&store, b"kept", b"{kept}", &["kept"]);
            let context = format!("call {nth} fails with {error}");

            let mut done = Acknowledged::default();
            let faults = Faults::fail(nth, error);
            let answer = live(&store, &faults, &mut done);
            let calls = faults.calls();
            drop(faults);
            check(&store, &done, &context);
            check(&Store::open(dir.path()).unwrap(), &done, &format!("{context}, opened again"));
            if let Err(failure) = &answer
                && matches!(error, Errno::NOSPC | Errno::DQUOT | Errno::ROFS)
                && failure.kind != ErrorKind::DiskFull
            {
                // Reading does not end so, except in this test.
                assert_eq!(failure.kind, ErrorKind::Internal, "{context}: {failure}");
            }

            let faults = Faults::none();
            live(&store, &faults, &mut done).unwrap_or_else(|e| panic!("{context}, again: {e}"));
            drop(faults);
            let options = PruneOptions { orphans: true, ..PruneOptions::default() };
            let later = SystemTime::now() + Duration::from_secs(3600);
            store.inner.prune(&options, Duration::from_secs(60), later).unwrap();
            assert_eq!(files_in(&dir.path().join("blobs/sha256")).len(), 2, "{context}");
            assert_eq!(files_in(&dir.path().join("manifests/sha256")).len(), 1, "{context}");
            assert_eq!(files_in(&dir.path().join("ingest")).len(), 0, "{context}");
            if calls <= nth {
                reached = nth;
                assert!(answer.is_ok(), "{context}");
                break;
            }
        }
    }
    assert!(reached > 50, "only {reached} calls: the seam has holes");
}

#[test]
fn every_call_of_opening_may_fail() {
    for nth in 0.. {
        let dir = scratch();
        let fresh = dir.path().join("a/b/models");
        let faults = Faults::fail(nth, Errno::IO);
        let opened = Store::open(&fresh).is_ok();
        let calls = faults.calls();
        drop(faults);
        let store = Store::open(&fresh).unwrap_or_else(|e| panic!("after call {nth} failed: {e}"));
        put_model(&store, b"kept", b"{kept}", &["kept"]);
        let whole = Faults::fail(nth, Errno::IO);
        let again = Store::open(&fresh);
        drop(whole);
        drop(again);
        assert!(Store::open(&fresh).unwrap().find("kept").is_ok(), "call {nth}");
        if calls <= nth {
            assert!(opened && nth > 10, "{nth} calls");
            break;
        }
    }
}

/// A disk with a cache: what it shows, and what a power loss may leave of that.
struct Disk {
    nodes: Vec<Node>,
}

enum Node {
    File { synced: Vec<u8>, now: Vec<u8> },
    Dir { synced: BTreeMap<OsString, usize>, pending: Vec<(OsString, Option<usize>)> },
}

impl Disk {
    fn new() -> Self {
        Self { nodes: vec![Self::dir()] }
    }

    fn dir() -> Node {
        Node::Dir { synced: BTreeMap::new(), pending: Vec::new() }
    }

    fn entries(&self, at: usize) -> BTreeMap<OsString, usize> {
        let Node::Dir { synced, pending } = &self.nodes[at] else { panic!("no directory") };
        let mut entries = synced.clone();
        pending.iter().for_each(|change| apply(&mut entries, change));
        entries
    }

    fn find(&self, path: &Path) -> Option<usize> {
        path.components().try_fold(0, |at, name| self.entries(at).get(name.as_os_str()).copied())
    }

    fn change(&mut self, path: &Path, node: Option<usize>) {
        let parent = self.find(path.parent().unwrap()).expect("a parent");
        let Node::Dir { pending, .. } = &mut self.nodes[parent] else { panic!("no directory") };
        pending.push((path.file_name().unwrap().to_owned(), node));
    }

    fn add(&mut self, path: &Path, node: Node) {
        self.nodes.push(node);
        self.change(path, Some(self.nodes.len() - 1));
    }

    fn file(&mut self, path: &Path) -> (&mut Vec<u8>, &mut Vec<u8>) {
        let at = self.find(path).expect("a file");
        let Node::File { synced, now } = &mut self.nodes[at] else { panic!("no file") };
        (synced, now)
    }

    fn apply(&mut self, root: &Path, effect: &Effect) {
        let inside = |path: &Path| path.strip_prefix(root).expect("inside").to_owned();
        match effect {
            Effect::MakeDirs(path) => {
                let path = inside(path);
                let mut at = PathBuf::new();
                for name in path.components() {
                    at.push(name);
                    if self.find(&at).is_none() {
                        self.add(&at, Self::dir());
                    }
                }
            }
            Effect::Create(path) => {
                let file = Node::File { synced: Vec::new(), now: Vec::new() };
                self.add(&inside(path), file);
            }
            Effect::Write(path, bytes) => self.file(&inside(path)).1.extend(bytes),
            Effect::SetLen(path, len) => {
                self.file(&inside(path)).1.resize(usize::try_from(*len).unwrap(), 0);
            }
            Effect::SyncFile(path) => {
                let (synced, now) = self.file(&inside(path));
                synced.clone_from(now);
            }
            Effect::SyncDir(path) => {
                let at = self.find(&inside(path)).expect("a directory");
                let entries = self.entries(at);
                self.nodes[at] = Node::Dir { synced: entries, pending: Vec::new() };
            }
            Effect::Rename(from, to) => {
                let node = self.find(&inside(from));
                self.change(&inside(to), node);
                self.change(&inside(from), None);
            }
            Effect::Link(from, to) => {
                let node = self.find(&inside(from));
                self.change(&inside(to), node);
            }
            Effect::Remove(path) => self.change(&inside(path), None),
        }
    }

    /// Writes what a power loss leaves: of every change of a directory that was not synced, and
    /// of every byte, chance decides.
    fn crash(&self, at: usize, to: &Path, chance: &mut fastrand::Rng, mode: u8) {
        let Node::Dir { synced, pending } = &self.nodes[at] else { panic!("no directory") };
        let mut entries = synced.clone();
        for change in pending {
            let happened = match mode {
                0 => false,
                1 => true,
                _ => chance.bool(),
            };
            if happened {
                apply(&mut entries, change);
            }
        }
        for (name, node) in entries {
            let path = to.join(name);
            match &self.nodes[node] {
                Node::Dir { .. } => {
                    std::fs::create_dir(&path).unwrap();
                    self.crash(node, &path, chance, mode);
                }
                Node::File { synced, now } if synced == now => std::fs::write(path, now).unwrap(),
                Node::File { synced, now } => {
                    let mut left = if chance.bool() { synced.clone() } else { now.clone() };
                    match chance.u8(0..3) {
                        0 => left.truncate(chance.usize(0..=left.len())),
                        1 => {
                            let from = chance.usize(0..=left.len());
                            left[from..].fill(0);
                        }
                        _ => {}
                    }
                    std::fs::write(path, left).unwrap();
                }
            }
        }
    }
}

fn apply(entries: &mut BTreeMap<OsString, usize>, (name, node): &(OsString, Option<usize>)) {
    match node {
        Some(node) => drop(entries.insert(name.clone(), *node)),
        None => drop(entries.remove(name)),
    }
}

#[test]
fn a_power_loss_takes_nothing_that_was_acknowledged_and_shows_nothing_half_written() {
    let dir = scratch();
    let base = dir.path().canonicalize().unwrap();
    let root = base.join("a/models");
    let faults = Faults::none();
    let store = Store::open(&root).unwrap();
    put_model(&store, b"kept", b"{kept}", &["kept"]);
    let before = faults.effects().len();
    let mut done = Acknowledged::default();
    live(&store, &faults, &mut done).unwrap();
    let effects = faults.effects();
    drop(faults);

    let (mut orphans, mut opened) = (0, 0);
    for seed in 0..1000 {
        let mut chance = fastrand::Rng::with_seed(seed);
        let at = chance.usize(0..=effects.len());
        let mut disk = Disk::new();
        effects[..at].iter().for_each(|effect| disk.apply(&base, effect));
        let after = scratch();
        disk.crash(0, after.path(), &mut chance, u8::try_from(seed % 4).unwrap());
        let context = format!("seed {seed}, after {at} of {} effects", effects.len());

        let store = Store::open(&after.path().join("a/models"))
            .unwrap_or_else(|error| panic!("{context}: {error}"));
        opened += 1;
        assert_eq!(damage(&store), [], "{context}");
        for model in store.list().unwrap() {
            for file in &model.files {
                assert!(store.blob_size(file).is_some(), "{context}: {file} is gone");
            }
        }
        let passed = |point: Option<usize>| point.is_some_and(|point| point <= at);
        assert!(at < before || store.find("kept").is_ok(), "{context}");
        if passed(done.removed) {
            assert!(store.find("m").is_err(), "{context}");
        } else if passed(done.put) && !passed(done.removing) {
            assert!(store.find("m").is_ok(), "{context}");
        }
        if passed(done.tagged) && at == done.tagged.unwrap() {
            assert!(store.find("m2").is_ok(), "{context}");
        }
        orphans += store.usage().unwrap().orphans;
    }
    assert!(opened == 1000 && orphans > 0, "the disk loses nothing: it is no test");
}
