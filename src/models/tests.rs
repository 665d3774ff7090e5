use std::io::Cursor;
use std::path::{Path, PathBuf};

use crate::domain::{Digest, ErrorKind, Removal};
use crate::gguf::testing::Writer;
use crate::registry::media;
use crate::store::Store;

use super::*;

mod create;
mod exports;
mod forms;
mod repackage;

/// A sound adapter for the tiny model, if the architecture says so.
fn lora(architecture: &str) -> Writer {
    Writer::empty()
        .text("general.type", "adapter")
        .text("general.architecture", architecture)
        .text("adapter.type", "lora")
        .tensor("token_embd.weight.lora_a", &[2, 4], 0)
        .tensor("token_embd.weight.lora_b", &[2, 32], 0)
}

struct Home {
    dir: tempfile::TempDir,
    models: Models,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let models = Models::new(Store::open(&dir.path().join("models")).unwrap());
        Self { dir, models }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_750_000_000);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        path
    }

    fn count(&self, dir: &str) -> usize {
        std::fs::read_dir(self.dir.path().join("models").join(dir)).unwrap().count()
    }

    fn assert_empty(&self, what: &str) {
        for dir in ["ingest", "blobs/sha256", "manifests/sha256"] {
            assert_eq!(self.count(dir), 0, "{what}: something is left in {dir}");
        }
        assert_eq!(self.models.store().list().unwrap().len(), 0, "{what}");
    }

    async fn load(&self, tar: Vec<u8>) -> crate::domain::Result<crate::domain::ModelEntry> {
        self.models.load_archive(Box::new(Cursor::new(tar))).await
    }
}

fn options(weights: PathBuf) -> PackageOptions {
    PackageOptions { weights, ..PackageOptions::default() }
}

fn archive(plan: &PackagePlan) -> Vec<u8> {
    let mut out = Vec::new();
    let mut last = 0;
    plan.write_tar(&mut out, &mut |written| last = written).unwrap();
    assert_eq!((out.len() as u64, last), (plan.total_bytes(), plan.total_bytes()));
    out
}

fn shard(number: u16, count: u16) -> Vec<u8> {
    let writer =
        if number == 0 { Writer::tiny() } else { Writer::empty().tensor("more", &[64], 0) };
    writer.u16("split.no", number).u16("split.count", count).build()
}

#[tokio::test]
async fn a_packaged_model_loads_lists_and_resolves() {
    let home = Home::new();
    let weights = home.write("tiny.gguf", &Writer::tiny().build());
    let licence = home.write("LICENSE", b"do as you like");
    let template = home.write("chat.jinja", b"{{ messages }}");
    let mmproj =
        home.write("mmproj.gguf", &Writer::empty().text("general.architecture", "clip").build());
    let plan = PackagePlan::new(&PackageOptions {
        weights,
        mmproj: Some(mmproj),
        chat_template: Some(template),
        licenses: vec![licence],
        ..PackageOptions::default()
    })
    .unwrap();
    insta::assert_snapshot!(String::from_utf8_lossy(plan.config_json()));

    let entry = home.load(archive(&plan)).await.unwrap();
    assert_eq!(entry.id, plan.manifest_digest());
    assert_eq!((entry.created, entry.tags.len()), (1_750_000_000, 0));
    assert_eq!(entry.config.context_size, Some(512));
    assert_eq!(entry.config.quantization, "Q4_1");

    let id = entry.id.to_string();
    assert_eq!(home.models.tag(&id, "tiny").await.unwrap(), "docker.io/ai/tiny:latest");
    let listed = home.models.list().await.unwrap();
    assert_eq!(listed, [home.models.inspect("tiny").await.unwrap()]);

    let local = home.models.resolve("tiny").await.unwrap();
    assert_eq!(std::fs::read(&local.weights).unwrap(), Writer::tiny().build());
    assert!(local.mmproj.is_some() && local.chat_template.is_some());
    assert_eq!(local.readable.len(), 3);
    assert_eq!(local.facts.context_length, Some(512));
    assert!(home.models.store().is_leased(&entry.id));

    let removed = home.models.remove("tiny", false).await.unwrap();
    assert_eq!(removed.last(), Some(&Removal::Deleted(entry.id)));
    assert!(local.weights.exists(), "leased files stay");
    drop(local);
    home.models.store().sweep().unwrap();
    home.assert_empty("after the last lease");
}

#[test]
fn packages_of_the_same_files_are_the_same() {
    let home = Home::new();
    let weights = home.write("tiny.gguf", &Writer::tiny().build());
    let [a, b] = [0, 1].map(|_| archive(&PackagePlan::new(&options(weights.clone())).unwrap()));
    assert_eq!(a, b);
    let other = PackageOptions { context_size: Some(256), ..options(weights.clone()) };
    let plan = PackagePlan::new(&other).unwrap();
    assert_ne!(archive(&plan), a);
    // A file that changes between the plan and the archive is noticed.
    home.write("tiny.gguf", &Writer::tiny().text("x", "y").build());
    assert!(plan.write_tar(&mut std::io::sink(), &mut |_| {}).is_err());
    // Two files with the same bytes are one blob.
    let twice =
        PackageOptions { licenses: vec![weights.clone(), weights.clone()], ..options(weights) };
    archive(&PackagePlan::new(&twice).unwrap());
}

#[tokio::test]
async fn shards_are_found_packaged_and_laid_out() {
    let home = Home::new();
    let names: Vec<String> = (1..=3).map(|n| format!("big-{n:05}-of-00003.gguf")).collect();
    let paths: Vec<PathBuf> =
        (0..3).map(|n| home.write(&names[usize::from(n)], &shard(n, 3))).collect();
    let plan = PackagePlan::new(&options(paths[1].clone())).unwrap();
    assert_eq!(plan.facts().parameters, 160 + 64 + 64);
    home.load(archive(&plan)).await.unwrap();
    let id = plan.manifest_digest().to_string();
    for round in 0..2 {
        let local = home.models.resolve(&id).await.unwrap();
        assert!(local.weights.ends_with("model/model-00001-of-00003.gguf"), "{round}");
        for (number, path) in (1..).zip(&paths) {
            let beside = local.weights.with_file_name(format!("model-{number:05}-of-00003.gguf"));
            assert_eq!(std::fs::read(beside).unwrap(), std::fs::read(path).unwrap());
        }
        // A bundle that lost a file is made again.
        std::fs::remove_file(&local.weights).unwrap();
    }
    assert_eq!(home.count("ingest"), 0);
    std::fs::remove_file(&paths[2]).unwrap();
    let error = PackagePlan::new(&options(paths[0].clone())).unwrap_err();
    assert!(error.message.contains("1 of 3 shards are missing"), "{error}");
    assert!(error.message.contains(&names[2]), "{error}");
}

#[test]
fn a_shard_alone_and_shards_out_of_order_are_refused() {
    let home = Home::new();
    let alone = home.write("alone.gguf", &shard(0, 3));
    let error = PackagePlan::new(&options(alone)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidModel);
    assert!(error.message.contains("shard 1 of 3"), "{error}");
    home.write("x-00001-of-00002.gguf", &shard(0, 2));
    let second = home.write("x-00002-of-00002.gguf", &shard(0, 2));
    assert_eq!(PackagePlan::new(&options(second)).unwrap_err().kind, ErrorKind::InvalidModel);
    let error = PackagePlan::new(&options(home.dir.path().join("none.gguf"))).unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidValue);
}

#[tokio::test]
async fn files_that_changed_in_the_store_are_named_before_anything_loads_them() {
    let home = Home::new();
    let weights = home.write("tiny.gguf", &Writer::tiny().build());
    let plan = PackagePlan::new(&options(weights)).unwrap();
    home.load(archive(&plan)).await.unwrap();
    let id = plan.manifest_digest().to_string();
    let path = home.models.resolve(&id).await.unwrap().weights;
    let mut bytes = std::fs::read(&path).unwrap();
    let refused = async |bytes: Option<&[u8]>| {
        std::fs::remove_file(&path).unwrap_or_default();
        if let Some(bytes) = bytes {
            std::fs::write(&path, bytes).unwrap();
        }
        home.models.resolve(&id).await.unwrap_err()
    };
    bytes[4] = 9;
    let error = refused(Some(&bytes)).await;
    assert!(error.message.contains("GGUF version 9"), "{error}");
    let error = refused(Some(&bytes[1..])).await;
    assert!(error.message.contains("instead of"), "{error}");
    let error = refused(None).await;
    assert_eq!(error.kind, ErrorKind::InvalidModel);
    assert!(error.message.contains("is missing"), "{error}");
}

/// One member of a hand-made archive.
fn member(name: &str, kind: tar::EntryType, data: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    let field = &mut header.as_old_mut().name;
    field[..name.len()].copy_from_slice(name.as_bytes());
    header.set_size(data.len() as u64);
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_cksum();
    let mut out = header.as_bytes().to_vec();
    out.extend(data);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

fn file(name: &str, data: &[u8]) -> Vec<u8> {
    member(name, tar::EntryType::Regular, data)
}

fn blob(data: &[u8]) -> Vec<u8> {
    file(&format!("blobs/sha256/{}", Digest::of(data).hex()), data)
}

fn manifest(config: &[u8], layers: &[(&str, &[u8])]) -> Vec<u8> {
    let descriptor = |kind: &str, bytes: &[u8]| {
        serde_json::json!({
            "mediaType": kind, "digest": Digest::of(bytes).to_string(), "size": bytes.len()
        })
    };
    let layers: Vec<_> = layers.iter().map(|(kind, bytes)| descriptor(kind, bytes)).collect();
    serde_json::to_vec(&serde_json::json!({
        "schemaVersion": 2, "config": descriptor(media::CONFIG_V1, config), "layers": layers,
    }))
    .unwrap()
}

fn end(parts: &[Vec<u8>]) -> Vec<u8> {
    [parts.concat(), vec![0; 1024]].concat()
}

#[tokio::test]
async fn members_may_come_in_any_order_and_with_pax_headers() {
    let weights = Writer::tiny().build();
    let parts = |config: &[u8]| {
        let manifest = manifest(config, &[(media::GGUF, &weights)]);
        vec![file("./manifest.json", &manifest), blob(config), file("README", b"x"), blob(&weights)]
    };
    let home = Home::new();
    let entry = home.load(end(&parts(b"{}"))).await.unwrap();
    assert_eq!((entry.config.format.as_str(), entry.created), ("gguf", 0));

    // A long name and a size from extended headers win over those of the plain one.
    let mut pax = parts(b"{ }");
    let name = format!("blobs/sha256/{}", Digest::of(&weights).hex());
    let records = [record("path", &name), record("size", &weights.len().to_string())].concat();
    let mut plain = file("short", &weights);
    plain[124..136].copy_from_slice(b"00000000000\0");
    let mut header = tar::Header::from_byte_slice(&plain[..512]).clone();
    header.set_cksum();
    plain[..512].copy_from_slice(header.as_bytes());
    *pax.last_mut().unwrap() =
        [member("pax", tar::EntryType::XHeader, records.as_bytes()), plain].concat();
    home.load(end(&pax)).await.unwrap();
    assert_eq!(home.models.list().await.unwrap().len(), 2);

    // Without the two empty blocks at the end.
    home.load(parts(b"{  }").concat()).await.unwrap();
}

/// A PAX record counts its own length.
fn record(key: &str, value: &str) -> String {
    let rest = format!(" {key}={value}\n");
    let mut len = rest.len() + 1;
    while len != len.to_string().len() + rest.len() {
        len = len.to_string().len() + rest.len();
    }
    format!("{len}{rest}")
}

#[tokio::test]
async fn every_hostile_archive_is_refused_and_leaves_nothing() {
    use tar::EntryType;
    let weights = Writer::tiny().build();
    let broken = Writer::tiny().without("llama.block_count").build();
    let good = |extra: Vec<u8>| {
        let manifest = manifest(b"{}", &[(media::GGUF, &weights)]);
        end(&[blob(&weights), blob(b"{}"), extra, file("manifest.json", &manifest)])
    };
    let with_layers = |layers: &[(&str, &[u8])]| {
        let mut parts: Vec<Vec<u8>> = layers.iter().map(|(_, bytes)| blob(bytes)).collect();
        parts.extend([blob(b"{}"), file("manifest.json", &manifest(b"{}", layers))]);
        end(&parts)
    };
    let whole = good(Vec::new());
    let link = |kind| good(member("blobs/sha256/x", kind, b""));
    let lying = {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..13].copy_from_slice(b"manifest.json");
        header.set_size(u64::MAX / 4);
        header.set_entry_type(EntryType::Regular);
        header.set_cksum();
        header.as_bytes().to_vec()
    };
    // A header with a size that no octal digits hold.
    let huge = |name: &str, size: u64| {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(size);
        header.set_entry_type(EntryType::Regular);
        header.set_cksum();
        good(header.as_bytes().to_vec())
    };
    let some_blob = format!("blobs/sha256/{}", "a".repeat(64));
    // A long name by way of a member of its own, as GNU tar writes it.
    let long = |kind, name: &str| {
        good([member("././@LongLink", kind, name.as_bytes()), file("x", b"x")].concat())
    };
    let prefixed = {
        let mut header = tar::Header::new_ustar();
        header.as_ustar_mut().unwrap().prefix[..5].copy_from_slice(b"../..");
        header.as_old_mut().name[..7].copy_from_slice(b"outside");
        header.set_size(0);
        header.set_cksum();
        good(header.as_bytes().to_vec())
    };
    let mut bad_sum = whole.clone();
    bad_sum[0] ^= 1;
    let mut changed = whole.clone();
    changed[600] ^= 1;
    let pax = |records: String| good(member("p", EntryType::XHeader, records.as_bytes()));
    let config = b"not json".as_slice();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", vec![]),
        ("half a block", vec![0; 300]),
        ("html", b"<html>".repeat(200)),
        ("only an end", end(&[])),
        ("cut in the first header", whole[..100].to_vec()),
        ("cut in a blob", whole[..700].to_vec()),
        ("cut before the manifest", whole[..whole.len() - 2048].to_vec()),
        ("cut in the manifest", whole[..whole.len() - 1024 - 512].to_vec()),
        ("bad checksum", bad_sum),
        ("changed blob", changed),
        ("name with ..", good(file("../../etc/x", b"x"))),
        ("blob with ..", good(file("blobs/sha256/../../x", b"x"))),
        ("absolute name", good(file("/etc/x", b"x"))),
        ("backslash", good(file("..\\x", b"x"))),
        ("symbolic link", link(EntryType::Symlink)),
        ("hard link", link(EntryType::Link)),
        ("character device", link(EntryType::Char)),
        ("block device", link(EntryType::Block)),
        ("pipe", link(EntryType::Fifo)),
        ("sparse", link(EntryType::GNUSparse)),
        ("sparse by pax", pax(record("GNU.sparse.major", "1"))),
        ("pax path with ..", pax(record("path", "../x"))),
        ("pax size", pax(record("size", "many"))),
        ("pax of 1 MiB", pax("x".repeat(1 << 20))),
        ("pax link", pax(record("GNU.sparse.name", "../x"))),
        ("pax path of a link", {
            let path = record("path", &some_blob);
            let link = member("x", EntryType::Symlink, b"");
            good([member("p", EntryType::XHeader, path.as_bytes()), link].concat())
        }),
        ("pax size of 8 EiB", {
            let size = record("size", &(1u64 << 63).to_string());
            let blob = file(&some_blob, b"x");
            good([member("p", EntryType::XHeader, size.as_bytes()), blob].concat())
        }),
        ("blob of 8 EiB", huge(&some_blob, 1 << 63)),
        ("other member of 8 EiB", huge("README", 1 << 63)),
        ("long name with ..", long(EntryType::GNULongName, "../../outside")),
        ("long name with NUL", long(EntryType::GNULongName, "a\0../outside")),
        ("long link name", long(EntryType::GNULongLink, "/etc/passwd")),
        ("prefix with ..", prefixed),
        ("directory with ..", good(member("../outside", EntryType::Directory, b""))),
        ("manifest as a link", good(member("manifest.json", EntryType::Symlink, b""))),
        ("name no UTF-8", {
            let mut bad = file("x", b"x");
            bad[0] = 0xff;
            let mut header = tar::Header::from_byte_slice(&bad[..512]).clone();
            header.set_cksum();
            bad[..512].copy_from_slice(header.as_bytes());
            good(bad)
        }),
        ("same blob twice, once changed", {
            let name = format!("blobs/sha256/{}", Digest::of(b"{}").hex());
            good([blob(b"{}"), file(&name, b"[]")].concat())
        }),
        ("short digest", good(file("blobs/sha256/abc", b"x"))),
        ("sha512", good(file(&format!("blobs/sha512/{}", "a".repeat(64)), b"x"))),
        ("upper case", good(file(&format!("blobs/sha256/{}", "A".repeat(64)), b"x"))),
        ("wrong digest", good(file(&format!("blobs/sha256/{}", "a".repeat(64)), b"x"))),
        ("two manifests", good(file("manifest.json", b"{}"))),
        ("manifest of 2^62", lying),
        ("manifest is no JSON", end(&[file("manifest.json", b"hello")])),
        (
            "blob missing",
            end(&[file("manifest.json", &manifest(b"{}", &[(media::GGUF, &weights)]))]),
        ),
        (
            "config no JSON",
            end(&[
                blob(&weights),
                blob(config),
                file("manifest.json", &manifest(config, &[(media::GGUF, &weights)])),
            ]),
        ),
        ("weights no GGUF", with_layers(&[(media::GGUF, b"hello world")])),
        ("weights broken", with_layers(&[(media::GGUF, &broken)])),
        ("projector no GGUF", with_layers(&[(media::GGUF, &weights), (media::MMPROJ, b"x")])),
        (
            "two models",
            with_layers(&[
                (media::GGUF, &weights),
                (media::GGUF, &Writer::tiny().text("x", "y").build()),
            ]),
        ),
        ("one shard of three", with_layers(&[(media::GGUF, &shard(0, 3))])),
    ];
    let mut messages = Vec::new();
    for (what, tar) in cases {
        let home = Home::new();
        home.write("outside", b"untouched");
        let error = home.load(tar).await.err().unwrap_or_else(|| panic!("{what} was taken"));
        assert_eq!(error.kind, ErrorKind::InvalidModel, "{what}: {error}");
        home.assert_empty(what);
        assert_eq!(std::fs::read_dir(home.dir.path()).unwrap().count(), 2, "{what}");
        assert_eq!(std::fs::read(home.dir.path().join("outside")).unwrap(), b"untouched");
        messages.push(format!("{what}: {error}"));
    }
    insta::assert_snapshot!(messages.join("\n"));
}

#[tokio::test]
async fn a_refused_archive_takes_no_blob_from_other_models() {
    let home = Home::new();
    let weights = Writer::tiny().build();
    let manifest = manifest(b"{}", &[(media::GGUF, &weights)]);
    let parts = [blob(&weights), blob(b"{}"), file("manifest.json", &manifest)];
    home.load(end(&parts)).await.unwrap();
    let refused = end(&[blob(&weights), blob(b"new"), file("../x", b"")]);
    home.load(refused).await.unwrap_err();
    assert_eq!(home.count("blobs/sha256"), 2);
    home.models.resolve(&Digest::of(&manifest).short()).await.unwrap();
}

#[tokio::test]
async fn a_model_whose_config_is_lost_is_listed_and_can_be_removed() {
    let home = Home::new();
    let weights = home.write("tiny.gguf", &Writer::tiny().build());
    let plan = PackagePlan::new(&options(weights)).unwrap();
    let id = home.load(archive(&plan)).await.unwrap().id;
    let models = Models::new(Store::open(home.models.store().root()).unwrap());
    remove(&models.store().blob_path(&Digest::of(plan.config_json())));
    let listed = models.list().await.unwrap();
    assert_eq!((listed[0].id, listed[0].config.size.as_str()), (id, ""));
    models.resolve(&id.to_string()).await.unwrap_err();
    models.remove(&id.to_string(), false).await.unwrap();
}

fn remove(path: &Path) {
    std::fs::remove_file(path).unwrap();
}
