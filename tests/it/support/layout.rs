//! The layout of a model store as Docker Model Runner reads and writes it: a store laid out by
//! hand, and a check of one that was made by a program. It knows nothing of the program's own code.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::Digest;

/// What the program may have beside the files of the layout.
const OURS: [&str; 2] = ["ingest", "modeld.lock"];

pub fn sha256(bytes: &[u8]) -> String {
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Lays out a store with one model of one file, as after a run of it: with its bundle, a download
/// that was interrupted, an older tag, and `null` for an empty list. Returns the model's id.
pub fn lay_out(root: &Path, weights: &[u8]) -> String {
    let config = json!({
        "config": { "format": "gguf", "architecture": "llama" },
        "descriptor": { "created": "2025-06-15T15:06:40Z" },
        "rootfs": { "type": "rootfs", "diff_ids": [format!("sha256:{}", sha256(weights))] },
    });
    let config = config.to_string().into_bytes();
    let descriptor = |kind: &str, bytes: &[u8]| {
        json!({
            "mediaType": kind, "size": bytes.len(),
            "digest": format!("sha256:{}", sha256(bytes)),
        })
    };
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.docker.ai.model.config.v0.1+json", &config),
        "layers": [descriptor("application/vnd.docker.ai.gguf.v3", weights)],
    });
    let manifest = manifest.to_string().into_bytes();
    let id = sha256(&manifest);
    let area = |area: &str, name: &str| root.join(area).join("sha256").join(name);
    let write = |path: PathBuf, bytes: &[u8]| {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let weights_blob = area("blobs", &sha256(weights));
    write(weights_blob.clone(), weights);
    write(area("blobs", &sha256(&config)), &config);
    write(area("blobs", &format!("{}.incomplete", "0".repeat(64))), b"half of somethi");
    write(area("manifests", &id), &manifest);
    write(area("bundles", &id).join("config.json"), b"{\"format\":\"gguf\"}");
    fs::create_dir(area("bundles", &id).join("model")).unwrap();
    fs::hard_link(weights_blob, area("bundles", &id).join("model/model.gguf")).unwrap();
    write(root.join("layout.json"), b"{\n  \"version\": \"1.0.0\"\n}");
    let index = json!({ "models": [{
        "id": format!("sha256:{id}"),
        "tags": ["docker.io/ai/hand:latest", "hf.co/made/by-hand:Q4_K_M"],
        "files": [
            format!("sha256:{}", sha256(weights)), format!("sha256:{}", sha256(&config)),
        ],
    }, {
        "id": format!("sha256:{}", "f".repeat(64)), "tags": null, "files": null,
    }] });
    write(root.join("models.json"), serde_json::to_string_pretty(&index).unwrap().as_bytes());
    format!("sha256:{id}")
}

/// What Docker Model Runner would trip over or wonder about; nothing in a good store.
pub fn problems(root: &Path) -> Vec<String> {
    let mut check = Check { root: root.to_owned(), wrong: Vec::new() };
    check.all();
    check.wrong
}

struct Check {
    root: PathBuf,
    wrong: Vec<String>,
}

impl Check {
    fn all(&mut self) {
        let known = ["layout.json", "models.json", "blobs", "manifests", "bundles"];
        for name in names(&self.root) {
            let is_known = known.contains(&name.as_str()) || OURS.contains(&name.as_str());
            self.expect(is_known, format!("{name} is no part of the layout"));
        }
        let layout = self.json("layout.json");
        self.expect(layout == json!({ "version": "1.0.0" }), format!("layout.json is {layout}"));
        let index = self.json("models.json");
        let Some(models) = index["models"].as_array() else {
            return self.wrong.push(format!("models.json has no list: {index}"));
        };
        let (mut ids, mut files, mut tags) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for model in models {
            let Some(id) = hex(&model["id"]) else {
                self.wrong.push(format!("{} is no id", model["id"]));
                continue;
            };
            self.expect(ids.insert(id.clone()), format!("{id} is listed twice"));
            for tag in model["tags"].as_array().into_iter().flatten() {
                let tag = tag.as_str().unwrap_or_default();
                let (name, last) = tag.rsplit_once(':').unwrap_or_default();
                let qualified = name.split('/').count() >= 2
                    && name.split('/').next().is_some_and(|host| host.contains(['.', ':']))
                    && !last.is_empty()
                    && !last.contains('/');
                self.expect(qualified, format!("{tag:?} is no qualified tag"));
                self.expect(tags.insert(tag.to_owned()), format!("{tag} is given twice"));
            }
            files.extend(self.model(&id, model));
        }
        self.area("manifests", &ids);
        self.area("blobs", &files);
        for bundle in names(&self.root.join("bundles/sha256")) {
            self.expect(ids.contains(&bundle), format!("bundle {bundle} belongs to no model"));
            let dir = self.root.join("bundles/sha256").join(&bundle);
            let whole = dir.join("config.json").is_file() && dir.join("model").is_dir();
            self.expect(whole, format!("bundle {bundle} is not whole"));
        }
    }

    /// The manifest of a model and its files, in the order that the index has them.
    fn model(&mut self, id: &str, listed: &Value) -> Vec<String> {
        let path = self.root.join("manifests/sha256").join(id);
        let manifest: Value = fs::read(path)
            .ok()
            .and_then(|raw| serde_json::from_slice(&raw).ok())
            .unwrap_or_default();
        let layers = manifest["layers"].as_array().cloned().unwrap_or_default();
        let mut files = Vec::new();
        for descriptor in layers.iter().chain([&manifest["config"]]) {
            let Some(digest) = hex(&descriptor["digest"]) else {
                self.wrong.push(format!("{id} names {descriptor}"));
                continue;
            };
            let size = fs::metadata(self.root.join("blobs/sha256").join(&digest)).map(|m| m.len());
            let right = size.as_ref().ok().copied() == descriptor["size"].as_u64();
            self.expect(
                right,
                format!("blob {digest} has {size:?}, {} promised", descriptor["size"]),
            );
            files.push(digest);
        }
        let named: Vec<String> =
            listed["files"].as_array().into_iter().flatten().filter_map(hex).collect();
        self.expect(named == files, format!("{id} lists {named:?} and has {files:?}"));
        files
    }

    /// Exactly these files, each with the bytes that its name promises.
    fn area(&mut self, area: &str, expected: &BTreeSet<String>) {
        let dir = self.root.join(area).join("sha256");
        let found: BTreeSet<String> =
            names(&dir).into_iter().filter(|name| !name.ends_with(".incomplete")).collect();
        self.expect(found == *expected, format!("{area}: {found:?}, expected {expected:?}"));
        for name in found {
            let path = dir.join(&name);
            let meta = path.symlink_metadata().unwrap();
            self.expect(meta.is_file(), format!("{area}/{name} is no file"));
            self.expect(
                meta.mode() & 0o022 == 0,
                format!("{area}/{name} can be written by others"),
            );
            let is = sha256(&fs::read(path).unwrap_or_default());
            self.expect(is == name, format!("{area}/{name} has the digest {is}"));
        }
    }

    /// A file of the top level: read and written indented by two, readable by all.
    fn json(&mut self, name: &str) -> Value {
        let path = self.root.join(name);
        let raw = fs::read_to_string(&path).unwrap_or_default();
        let value: Value = serde_json::from_str(&raw).unwrap_or_default();
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        self.expect(raw == pretty, format!("{name} is not indented by two: {raw}"));
        let mode = fs::metadata(&path).map(|found| found.permissions().mode() & 0o777);
        self.expect(matches!(mode, Ok(0o644)), format!("{name} has the mode {mode:?}"));
        value
    }

    fn expect(&mut self, right: bool, wrong: String) {
        if !right {
            self.wrong.push(wrong);
        }
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn hex(digest: &Value) -> Option<String> {
    let hex = digest.as_str()?.strip_prefix("sha256:")?;
    let lower = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    (hex.len() == 64 && hex.chars().all(lower)).then(|| hex.to_owned())
}
