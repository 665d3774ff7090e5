use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use proptest::prelude::*;

use crate::domain::{Digest, Error, ErrorKind, ModelRef, Removal};

use super::*;

pub(super) struct Home {
    dir: tempfile::TempDir,
    pub(super) store: Store,
}

impl Home {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("models")).unwrap();
        Self { dir, store }
    }

    pub(super) fn root(&self) -> std::path::PathBuf {
        self.dir.path().join("models")
    }

    pub(super) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.root().join(name)).unwrap()
    }

    pub(super) fn count(&self, dir: &str) -> usize {
        std::fs::read_dir(self.root().join(dir)).unwrap().count()
    }
}

pub(super) fn put(store: &Store, bytes: &[u8]) -> Blob {
    let mut writer = store.write_blob(Some(bytes.len() as u64)).unwrap();
    writer.append(bytes).unwrap();
    writer.commit(Some(Digest::of(bytes))).unwrap()
}

pub(super) fn manifest(layer: &[u8], config: &[u8]) -> Vec<u8> {
    let descriptor = |bytes: &[u8]| {
        let digest = Digest::of(bytes).to_string();
        serde_json::json!({"mediaType": "x", "digest": digest, "size": bytes.len()})
    };
    let json = serde_json::json!({"layers": [descriptor(layer)], "config": descriptor(config)});
    serde_json::to_vec(&json).unwrap()
}

pub(super) fn put_model(store: &Store, layer: &[u8], config: &[u8], tags: &[&str]) -> Digest {
    let _blobs = (put(store, layer), put(store, config));
    let tags: Vec<String> =
        tags.iter().map(|tag| ModelRef::parse(tag).unwrap().qualified_tag().unwrap()).collect();
    store.put_model(&manifest(layer, config), &tags).unwrap()
}

#[test]
fn what_is_written_is_the_layout_of_docker_model_runner() {
    let home = Home::new();
    put_model(&home.store, b"weights", b"{}", &["smollm2"]);
    put_model(&home.store, b"weights", b"{ }", &[]);
    assert_eq!(home.read("layout.json"), "{\n  \"version\": \"1.0.0\"\n}");
    insta::assert_snapshot!(home.read("models.json"), @r#"
    {
      "models": [
        {
          "id": "sha256:ee48d8ae5f7d9bff9973eb73e5646b466739146c58a0760f0e56c7fdd4774c8e",
          "tags": [
            "docker.io/ai/smollm2:latest"
          ],
          "files": [
            "sha256:9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c",
            "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
          ]
        },
        {
          "id": "sha256:4c8520703e50785de7fdbe94f209046be0070d085b706132c8a722dd65425731",
          "tags": [],
          "files": [
            "sha256:9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c",
            "sha256:257c1be96ae69f4b01c2c69bdb6d78605f59175819fb007d0bf245bf48444c4a"
          ]
        }
      ]
    }
    "#);
    assert_eq!((home.count("blobs/sha256"), home.count("manifests/sha256")), (3, 2));
    assert_eq!(home.count("ingest"), 0);
    let weights = home.store.blob_path(&Digest::of(b"weights"));
    assert!(weights.ends_with(format!("blobs/sha256/{}", Digest::of(b"weights").hex())));
    assert_eq!(std::fs::metadata(weights).unwrap().permissions().mode() & 0o777, 0o444);
}

/// A store laid out by hand from the description of DMR's, with Go's `null` and older tags.
#[test]
fn a_store_of_docker_model_runner_opens_and_keeps_what_it_does_not_know() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let manifest = manifest(b"weights", b"{}");
    let id = Digest::of(&manifest);
    for area in ["blobs", "manifests"] {
        std::fs::create_dir_all(root.join(area).join("sha256")).unwrap();
    }
    let write = |path: String, bytes: &[u8]| std::fs::write(root.join(path), bytes).unwrap();
    write("layout.json".into(), b"{\n  \"version\": \"1.0.0\"\n}");
    write(format!("manifests/sha256/{}", id.hex()), &manifest);
    for blob in [b"weights".as_slice(), b"{}"] {
        write(format!("blobs/sha256/{}", Digest::of(blob).hex()), blob);
    }
    let other = Digest::of(b"other");
    let index = format!(
        r#"{{"models":[{{"id":"{id}","tags":["hf.co/o/r:Q4","docker.io/ai/m:latest"],
        "files":["{}","{}"],"new-key":7}},{{"id":"{other}","tags":null,"files":null}},
        {{"id":"bad","tags":["docker.io/ai/bad:latest"]}}]}}"#,
        Digest::of(b"weights"),
        Digest::of(b"{}"),
    );
    write("models.json".into(), index.as_bytes());

    let store = Store::open(root).unwrap();
    let ids: Vec<Digest> = store.list().unwrap().iter().map(|model| model.id).collect();
    assert_eq!(ids, [id, other]);
    for name in ["m", "ai/m:latest", "hf.co/O/R:Q4", &id.hex(), &id.short()] {
        assert_eq!(store.find(name).unwrap().model.id, id, "{name}");
    }
    assert_eq!(store.read_manifest(&id).unwrap(), manifest);
    store.tag("m", &ModelRef::parse("again").unwrap()).unwrap();
    let after = std::fs::read_to_string(root.join("models.json")).unwrap();
    assert!(after.contains("\"new-key\": 7") && after.contains("\"id\": \"bad\""), "{after}");
}

#[test]
fn names_are_resolved_in_one_order() {
    let home = Home::new();
    let store = &home.store;
    let a = put_model(store, b"a", b"{}", &["myorg/smollm2", "b:Q4"]);
    assert_eq!(store.find("smollm2").unwrap().model.id, a, "by the last part of a tag");
    assert_eq!(store.find("ai/smollm2").unwrap_err().kind, ErrorKind::ModelNotFound);
    let b = put_model(store, b"b", b"{}", &["smollm2"]);
    assert_eq!(store.find("smollm2").unwrap().model.id, b, "a tag comes first");
    assert_eq!(store.find(&format!("whatever@{a}")).unwrap().model.id, a);
    assert_eq!(store.find(&a.short()).unwrap().by, FoundBy::Id);
    assert_eq!(store.find("b:Q5").unwrap_err().kind, ErrorKind::ModelNotFound);
    assert_eq!(
        store.find("nope").unwrap_err().message,
        "model \"ai/nope:latest\" is not in the store; `modeld list` shows what is"
    );
    let hex = put_model(store, b"c", b"{}", &["0123456789ab:latest"]);
    assert_eq!(store.find("0123456789ab").unwrap().model.id, hex, "a name of hex digits");
}

#[test]
fn removal_follows_the_table() {
    let untagged = |tag: &str| Removal::Untagged(tag.to_owned());
    let (one, two) = ("docker.io/ai/one:latest", "docker.io/ai/two:latest");
    let home = Home::new();
    let store = &home.store;
    let id = put_model(store, b"w", b"{}", &["one", "two"]);
    assert_eq!(store.remove("one", true), Ok(vec![untagged(one)]));
    assert_eq!(store.remove("two", false), Ok(vec![untagged(two), Removal::Deleted(id)]));
    assert_eq!((home.count("blobs/sha256"), home.count("manifests/sha256")), (0, 0));

    let id = put_model(store, b"w", b"{}", &["one", "two"]);
    let error = store.remove(&id.to_string(), false).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert_eq!(
        error.message,
        format!(
            "error while deleting model: unable to delete \"{id}\" (must be forced) due to \
             multiple tag references: resource conflict"
        )
    );
    let all = vec![untagged(one), untagged(two), Removal::Deleted(id)];
    assert_eq!(store.remove(&id.short(), true), Ok(all));
    assert_eq!(store.remove(&id.hex(), true).unwrap_err().kind, ErrorKind::ModelNotFound);

    let id = put_model(store, b"w", b"{}", &["one"]);
    let pinned = format!("any@{id}");
    assert_eq!(store.remove(&pinned, false), Ok(vec![untagged(one), Removal::Deleted(id)]));
    let id = put_model(store, b"w", b"{}", &[]);
    assert_eq!(store.remove(&id.hex(), false), Ok(vec![Removal::Deleted(id)]));
}

#[test]
fn shared_blobs_stay_until_the_last_model_goes() {
    let home = Home::new();
    put_model(&home.store, b"shared", b"{}", &["one"]);
    put_model(&home.store, b"shared", b"{ }", &["two"]);
    home.store.remove("one", false).unwrap();
    assert!(home.store.blob_size(&Digest::of(b"shared")).is_some());
    assert!(home.store.blob_size(&Digest::of(b"{}")).is_none());
    home.store.remove("two", false).unwrap();
    assert_eq!(home.count("blobs/sha256"), 0);
}

#[test]
fn a_tag_moves_away_from_its_model() {
    let home = Home::new();
    let a = put_model(&home.store, b"a", b"{}", &["x"]);
    let b = put_model(&home.store, b"b", b"{}", &[]);
    let tag = ModelRef::parse("X").unwrap();
    assert_eq!(home.store.tag(&b.hex(), &tag), Ok("docker.io/ai/x:latest".into()));
    assert_eq!(home.store.find("x").unwrap().model.id, b);
    assert_eq!(home.store.find(&a.hex()).unwrap().model.tags, Vec::<String>::new());
    let pinned = ModelRef::parse(&format!("x@{a}")).unwrap();
    assert_eq!(home.store.tag("x", &pinned).unwrap_err().kind, ErrorKind::InvalidReference);
}

#[test]
fn leased_files_outlive_their_removal() {
    let home = Home::new();
    let id = put_model(&home.store, b"w", b"{}", &["m"]);
    let weights = Digest::of(b"w");
    let lease = home.store.lease(&id).unwrap();
    assert!(home.store.is_leased(&id) && home.store.is_leased(&weights));
    home.store.remove("m", false).unwrap();
    assert!(home.store.find("m").is_err());
    assert_eq!(home.store.blob_size(&weights), Some(1));
    drop(lease);
    // The thread of the lease and this call may come in either order.
    home.store.sweep().unwrap();
    assert_eq!(home.store.blob_size(&weights), None);
    assert!(!home.store.is_leased(&id));
    assert!(matches!(home.store.lease(&id), Err(StoreError::NotFound(_))));
}

#[test]
fn a_model_that_comes_back_while_leased_stays() {
    let home = Home::new();
    let id = put_model(&home.store, b"w", b"{}", &["m"]);
    let lease = home.store.lease(&id).unwrap();
    home.store.remove("m", false).unwrap();
    assert_eq!(put_model(&home.store, b"w", b"{}", &["m"]), id);
    drop(lease);
    home.store.sweep().unwrap();
    assert_eq!(home.store.blob_size(&Digest::of(b"w")), Some(1));
}

#[test]
fn wrong_bytes_leave_nothing() {
    let home = Home::new();
    let mut writer = home.store.write_blob(None).unwrap();
    writer.append(b"other").unwrap();
    let error = writer.commit(Some(Digest::of(b"promised"))).unwrap_err();
    assert!(matches!(error, StoreError::DigestMismatch { .. }));
    drop(home.store.write_blob(Some(100)).unwrap());
    assert_eq!((home.count("blobs/sha256"), home.count("ingest")), (0, 0));
    let missing = home.store.put_model(&manifest(b"a", b"b"), &[]).unwrap_err();
    assert!(matches!(missing, StoreError::MissingBlob { .. }));
    assert_eq!(home.count("manifests/sha256"), 0);
    for bad in [&b"{}"[..], b"[]", b"", b"{\"config\":{\"digest\":\"sha256:../../x\",\"size\":1}}"]
    {
        assert!(matches!(home.store.put_model(bad, &[]), Err(StoreError::BadManifest(_))));
    }
}

#[test]
fn a_damaged_blob_is_replaced_by_a_good_one() {
    let home = Home::new();
    let path = home.store.blob_path(&Digest::of(b"good"));
    std::fs::write(&path, b"evil").unwrap();
    let blob = put(&home.store, b"good");
    assert!(!blob.is_new);
    assert_eq!(std::fs::read(&path).unwrap(), b"good");
    assert!(!put(&home.store, b"good").is_new);
    assert_eq!(home.count("ingest"), 0);
}

#[test]
fn discarded_blobs_go_unless_a_model_names_them() {
    let home = Home::new();
    put_model(&home.store, b"kept", b"{}", &["m"]);
    let blobs = vec![put(&home.store, b"kept"), put(&home.store, b"new")];
    home.store.discard(blobs).unwrap();
    assert_eq!(home.store.blob_size(&Digest::of(b"kept")), Some(4));
    assert_eq!(home.store.blob_size(&Digest::of(b"new")), None);
}

#[test]
fn what_cannot_fit_is_refused_before_the_first_byte() {
    let home = Home::new();
    let error = home.store.write_blob(Some(u64::MAX / 2)).err().unwrap();
    assert!(matches!(error, StoreError::DiskFull { .. }), "{error}");
    assert_eq!(Error::from(error).kind, ErrorKind::DiskFull);
    assert_eq!(home.count("ingest"), 0);
}

#[test]
fn only_directories_that_are_ours_open() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir(at("photos")).unwrap();
    std::fs::write(at("photos/cat.jpg"), b"x").unwrap();
    assert!(matches!(Store::open(&at("photos")), Err(StoreError::NotAStore(_))));
    assert_eq!(std::fs::read_dir(at("photos")).unwrap().count(), 1);

    std::fs::create_dir(at("shared")).unwrap();
    std::fs::set_permissions(at("shared"), std::fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(Store::open(&at("shared")), Err(StoreError::Writable { .. })));

    std::fs::create_dir(at("future")).unwrap();
    std::fs::write(at("future/layout.json"), b"{\"version\":\"2.0.0\"}").unwrap();
    assert!(matches!(Store::open(&at("future")), Err(StoreError::UnknownLayout { .. })));

    std::fs::write(at("photos/layout.json"), b"{}").unwrap();
    assert!(matches!(Store::open(&at("photos")), Err(StoreError::DamagedLayout(_))));
    std::fs::remove_file(at("photos/layout.json")).unwrap();
    // Which nobody can read, whatever their rights are.
    std::fs::create_dir(at("photos/layout.json")).unwrap();
    let unreadable = Store::open(&at("photos")).err().expect("an error");
    assert!(matches!(unreadable, StoreError::UnreadableLayout { .. }), "{unreadable}");
    let said = unreadable.to_string();
    assert!(said.contains("layout.json is there and cannot be read"), "{said}");

    std::fs::write(at("file"), b"x").unwrap();
    assert!(matches!(Store::open(&at("file")), Err(StoreError::Io { .. })));

    std::os::unix::fs::symlink(at("real"), at("link")).unwrap();
    std::fs::create_dir(at("real")).unwrap();
    Store::open(&at("link")).unwrap();
    std::fs::remove_file(at("real/layout.json")).unwrap();
    std::fs::remove_file(at("real/models.json")).unwrap();
    Store::open(&at("real")).expect("an interrupted first start is taken up again");
}

#[test]
fn a_blob_that_became_a_link_is_not_followed() {
    let home = Home::new();
    let digest = Digest::of(b"w");
    put(&home.store, b"w");
    let path = home.store.blob_path(&digest);
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
    assert_eq!(home.store.blob_size(&digest), None);
    assert!(home.store.open_blob(&digest).is_err());
    assert!(home.store.read_blob(&digest, 1 << 20).is_err());
}

#[test]
fn what_dead_writers_left_is_removed_and_what_lives_stays() {
    let home = Home::new();
    let id = put_model(&home.store, b"w", b"{}", &["m"]);
    let mut alive = home.store.write_blob(None).unwrap();
    alive.append(b"al").unwrap();
    for name in ["1-0-0.part", "1-1-0.index", "1-2-0.manifest"] {
        std::fs::write(home.root().join("ingest").join(name), b"half").unwrap();
    }
    std::fs::create_dir_all(home.root().join("ingest/1-3-0.bundle/model")).unwrap();
    let again = Store::open(&home.root()).unwrap();
    assert_eq!(home.count("ingest"), 1);
    alive.append(b"ive").unwrap();
    alive.commit(Some(Digest::of(b"alive"))).unwrap();
    assert_eq!(again.find("m").unwrap().model.id, id);
    assert_eq!(home.count("ingest"), 0);
}

#[test]
fn a_second_store_on_the_same_directory_sees_every_change() {
    let home = Home::new();
    let other = Store::open(&home.root()).unwrap();
    let id = put_model(&home.store, b"w", b"{}", &["m"]);
    assert_eq!(other.find("m").unwrap().model.id, id);
    other.remove("m", false).unwrap();
    assert!(home.store.find("m").is_err());
}

#[test]
fn writers_of_two_stores_lose_nothing() {
    let home = Home::new();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let root = home.root();
            scope.spawn(move || {
                let store = Store::open(&root).unwrap();
                for round in 0..8 {
                    let name = format!("m-{thread}-{round}");
                    put_model(&store, name.as_bytes(), b"{}", &[&name]);
                }
            });
        }
    });
    let tags: BTreeSet<String> =
        home.store.list().unwrap().iter().flat_map(|model| model.tags.clone()).collect();
    assert_eq!(tags.len(), 32);
}

fn damage(home: &Home, content: &[u8]) -> Store {
    std::fs::write(home.root().join("models.json"), content).unwrap();
    Store::open(&home.root()).unwrap()
}

#[test]
fn a_damaged_index_is_set_aside_and_made_anew() {
    let home = Home::new();
    let id = put_model(&home.store, b"w", b"{}", &["m"]);
    let whole = home.read("models.json");
    for (number, content) in
        [&b""[..], b"{", b"\0\0\0\0", b"[1,2]", b"{\"models\":7}"].iter().enumerate()
    {
        let store = damage(&home, content);
        assert_eq!(store.find(&id.hex()).unwrap().model.id, id, "{number}");
        let aside = home.root().join(format!("models.json.damaged-{}", number + 1));
        assert_eq!(std::fs::read(aside).unwrap(), *content);
    }
    // Cut off after the tags: they can still be read.
    let cut = whole.find("\"files\"").unwrap();
    assert_eq!(damage(&home, &whole.as_bytes()[..cut]).find("m").unwrap().model.id, id);
    // The running store notices as well.
    std::fs::write(home.root().join("models.json"), b"").unwrap();
    assert_eq!(home.store.find(&id.short()).unwrap().model.id, id);
    // Manifests that are not what their names say, or without blobs, stay out.
    std::fs::remove_file(home.store.blob_path(&Digest::of(b"w"))).unwrap();
    assert_eq!(damage(&home, b"").list().unwrap().len(), 0);
}

#[test]
fn a_thousand_models_are_listed_fast() {
    let home = Home::new();
    let records: Vec<String> = (0..1000)
        .map(|n: u32| {
            let id = Digest::of(&n.to_le_bytes());
            format!(r#"{{"id":"{id}","tags":["docker.io/ai/m{n}:latest"],"files":["{id}"]}}"#)
        })
        .collect();
    let index = format!(r#"{{"models":[{}]}}"#, records.join(","));
    std::fs::write(home.root().join("models.json"), index).unwrap();
    home.store.list().unwrap();
    let started = std::time::Instant::now();
    for _ in 0..100 {
        assert_eq!(home.store.list().unwrap().len(), 1000);
        home.store.find("m999").unwrap();
    }
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
}

#[derive(Debug, Clone)]
enum Step {
    Put { layer: u8, config: u8, tag: Option<u8> },
    Tag { model: u8, tag: u8 },
    Untag { tag: u8 },
    Delete { model: u8, force: bool },
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let small = 0u8..4;
    prop::collection::vec(
        prop_oneof![
            (small.clone(), small.clone(), prop::option::of(small.clone()))
                .prop_map(|(layer, config, tag)| Step::Put { layer, config, tag }),
            (small.clone(), small.clone()).prop_map(|(model, tag)| Step::Tag { model, tag }),
            small.clone().prop_map(|tag| Step::Untag { tag }),
            (small, any::<bool>()).prop_map(|(model, force)| Step::Delete { model, force }),
            Just(Step::Reopen),
        ],
        1..25,
    )
}

pub(super) fn files_in(dir: &Path) -> BTreeSet<String> {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    /// The store against a map from ids to (blobs, tags): the same answers, and on disk exactly
    /// the files that the map needs.
    #[test]
    fn the_store_behaves_like_a_map(steps in steps()) {
        let home = Home::new();
        let mut store = home.store.clone();
        let mut model: BTreeMap<Digest, ([Vec<u8>; 2], BTreeSet<String>)> = BTreeMap::new();
        let tag_of = |tag: u8| format!("docker.io/ai/t{tag}:latest");
        for step in steps {
            let nth = |model: &BTreeMap<Digest, _>, n: u8| {
                model.keys().nth(usize::from(n)).copied()
            };
            match step {
                Step::Put { layer, config, tag } => {
                    let blobs = [vec![layer; 3], vec![b'c', config]];
                    let name = tag.map(|tag| format!("t{tag}"));
                    let names: Vec<&str> = name.iter().map(String::as_str).collect();
                    let id = put_model(&store, &blobs[0], &blobs[1], &names);
                    if let Some(tag) = tag {
                        model.values_mut().for_each(|(_, tags)| { tags.remove(&tag_of(tag)); });
                    }
                    let entry = model.entry(id).or_insert((blobs, BTreeSet::new()));
                    entry.1.extend(tag.map(tag_of));
                }
                Step::Tag { model: n, tag } => {
                    let Some(id) = nth(&model, n) else { continue };
                    let target = ModelRef::parse(&format!("t{tag}")).unwrap();
                    prop_assert_eq!(store.tag(&id.hex(), &target), Ok(tag_of(tag)));
                    model.values_mut().for_each(|(_, tags)| { tags.remove(&tag_of(tag)); });
                    if let Some((_, tags)) = model.get_mut(&id) {
                        tags.insert(tag_of(tag));
                    }
                }
                Step::Untag { tag } => {
                    let holder = model.iter().find(|(_, (_, tags))| tags.contains(&tag_of(tag)));
                    let holder = holder.map(|(id, (_, tags))| (*id, tags.len()));
                    let answer = store.remove(&format!("t{tag}"), false);
                    let Some((id, tags)) = holder else {
                        prop_assert_eq!(answer.unwrap_err().kind, ErrorKind::ModelNotFound);
                        continue;
                    };
                    prop_assert_eq!(answer.unwrap().len(), if tags > 1 { 1 } else { 2 });
                    if tags > 1 {
                        model.get_mut(&id).unwrap().1.remove(&tag_of(tag));
                    } else {
                        model.remove(&id);
                    }
                }
                Step::Delete { model: n, force } => {
                    let Some(id) = nth(&model, n) else { continue };
                    let tags = model[&id].1.len();
                    let answer = store.remove(&id.hex(), force);
                    if tags > 1 && !force {
                        prop_assert_eq!(answer.unwrap_err().kind, ErrorKind::Conflict);
                    } else {
                        prop_assert_eq!(answer.unwrap().len(), tags + 1);
                        model.remove(&id);
                    }
                }
                Step::Reopen => store = Store::open(&home.root()).unwrap(),
            }
            let listed: BTreeMap<Digest, BTreeSet<String>> = store
                .list()
                .unwrap()
                .iter()
                .map(|found| (found.id, found.tags.iter().cloned().collect()))
                .collect();
            let expected = model.iter().map(|(id, (_, tags))| (*id, tags.clone())).collect();
            prop_assert_eq!(listed, expected);
            let blobs: BTreeSet<String> = model
                .values()
                .flat_map(|(blobs, _)| blobs.iter().map(|bytes| Digest::of(bytes).hex()))
                .collect();
            prop_assert_eq!(files_in(&home.root().join("blobs/sha256")), blobs);
            let manifests = model.keys().map(Digest::hex).collect();
            prop_assert_eq!(files_in(&home.root().join("manifests/sha256")), manifests);
            prop_assert_eq!(files_in(&home.root().join("ingest")), BTreeSet::new());
        }
    }

    #[test]
    fn any_index_file_opens(content in prop::collection::vec(any::<u8>(), 0..200), cut in any::<prop::sample::Index>()) {
        let home = Home::new();
        let id = put_model(&home.store, b"w", b"{}", &["m"]);
        let whole = home.read("models.json").into_bytes();
        prop_assert!(damage(&home, &content).find(&id.hex()).is_ok() || serde_json::from_slice::<serde_json::Value>(&content).is_ok());
        let cut = damage(&home, &whole[..cut.index(whole.len())]);
        prop_assert!(cut.find(&id.hex()).is_ok());
    }
}
