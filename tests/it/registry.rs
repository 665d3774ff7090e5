//! A real registry at the other end: what we push is what it serves, to us and to others.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::sync::{Arc, Mutex};

use futures_util::StreamExt as _;
use modeld::domain::{Digest, ErrorKind, LayerProgress};
use modeld::registry::{
    Artifact, Descriptor, OutgoingModel, ProgressSink, Registry as _, RemoteModel, media,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::registry::{Registry, USER, skopeo};
use crate::support::{is_long, skip};

/// A model in files, as a push takes it.
struct Model {
    dir: TempDir,
    manifest: Vec<u8>,
    weights: Descriptor,
    config: Descriptor,
}

impl Model {
    /// Weights of `size` bytes that no part of which is like another.
    fn new(size: usize) -> Self {
        let mut state = 1u64;
        let weights: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .take(size)
        .collect();
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("weights"), &weights).unwrap();
        let digest = Digest::of(&weights);
        Self::of_file(dir, Descriptor { digest, size: weights.len() as u64 })
    }

    fn of_file(dir: TempDir, weights: Descriptor) -> Self {
        fs::rename(dir.path().join("weights"), dir.path().join(weights.digest.hex())).unwrap();
        let config = json!({
            "config": {"format": "gguf", "architecture": "llama"},
            "descriptor": {"created": "2026-01-01T00:00:00Z"},
            "rootfs": {"type": "rootfs", "diff_ids": [weights.digest.to_string()]},
        });
        let config = config.to_string().into_bytes();
        let at = Descriptor { digest: Digest::of(&config), size: config.len() as u64 };
        fs::write(dir.path().join(at.digest.hex()), config).unwrap();
        let entry = |kind: &str, blob: Descriptor| -> Value {
            json!({"mediaType": kind, "digest": blob.digest.to_string(), "size": blob.size})
        };
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media::MANIFEST,
            "config": entry(media::CONFIG_V1, at),
            "layers": [entry(media::GGUF, weights)],
        });
        Self { dir, manifest: manifest.to_string().into_bytes(), weights, config: at }
    }

    fn outgoing(&self) -> OutgoingModel {
        let dir = self.dir.path().to_owned();
        OutgoingModel {
            manifest: self.manifest.clone(),
            artifact: Artifact::parse(&self.manifest).unwrap(),
            open: Arc::new(move |digest| Ok(File::open(dir.join(digest.hex())).unwrap())),
        }
    }

    fn bytes(&self, blob: Descriptor) -> Vec<u8> {
        fs::read(self.dir.path().join(blob.digest.hex())).unwrap()
    }
}

type Seen = Arc<Mutex<BTreeMap<Digest, Vec<u64>>>>;

fn progress() -> (ProgressSink, Seen) {
    let seen = Seen::default();
    let sink = Arc::clone(&seen);
    let hear = move |LayerProgress { layer, current, size: _ }: LayerProgress| {
        sink.lock().unwrap().entry(layer).or_default().push(current);
    };
    (Arc::new(hear), seen)
}

async fn read(model: &RemoteModel, blob: Descriptor, range: std::ops::Range<u64>) -> Vec<u8> {
    let body = model.blobs.open(&blob, range.clone()).await.unwrap();
    assert_eq!((body.start, body.end), (range.start, range.end));
    assert!(body.validator.is_some());
    let pieces: Vec<_> = body.stream.collect().await;
    pieces.into_iter().flat_map(|piece| piece.unwrap().to_vec()).collect()
}

#[tokio::test]
async fn what_is_pushed_is_what_is_pulled() {
    let test = "what_is_pushed_is_what_is_pulled";
    let Some(registry) = Registry::plain(test) else { return };
    let model = Model::new(9 << 20);
    let reference = registry.reference("ai/m:v1");
    let client = registry.client(None);
    let (sink, seen) = progress();
    client.push(&reference, model.outgoing(), None, sink).await.unwrap();
    for blob in [model.weights, model.config] {
        let seen = seen.lock().unwrap();
        let steps = &seen[&blob.digest];
        assert!(steps.is_sorted() && steps.last() == Some(&blob.size), "{steps:?}");
    }

    let found = client.resolve(&reference, None).await.unwrap();
    assert_eq!(found.manifest, model.manifest);
    assert_eq!(found.config, model.bytes(model.config));
    let expected = model.bytes(model.weights);
    let end = model.weights.size;
    assert!(read(&found, model.weights, 0..end).await == expected);
    let middle = 1_234_567;
    let at = usize::try_from(middle).unwrap();
    assert!(read(&found, model.weights, 0..middle).await == expected[..at]);
    assert!(read(&found, model.weights, middle..end).await == expected[at..]);
    assert!(read(&found, model.weights, end - 1..end).await == expected[expected.len() - 1..]);

    // What is there already is not sent again.
    let (sink, seen) = progress();
    client.push(&registry.reference("ai/m:v2"), model.outgoing(), None, sink).await.unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen[&model.weights.digest], [model.weights.size]);
    assert_eq!(seen[&model.config.digest], [model.config.size]);
}

#[tokio::test]
async fn others_read_what_we_push_and_we_read_what_they_push() {
    let test = "others_read_what_we_push_and_we_read_what_they_push";
    let Some(registry) = Registry::plain(test) else { return };
    let model = Model::new(100_000);
    let client = registry.client(None);
    let (sink, _) = progress();
    client.push(&registry.reference("ai/m:v1"), model.outgoing(), None, sink).await.unwrap();

    let ours = format!("docker://{}/ai/m:v1", registry.host);
    let Some(raw) = skopeo(test, &["inspect", "--raw", "--tls-verify=false", &ours]) else {
        return;
    };
    assert_eq!(raw.stdout, model.manifest);
    let dir = TempDir::new().unwrap();
    let layout = format!("oci:{}:v1", dir.path().display());
    skopeo(test, &["copy", "--src-tls-verify=false", "--preserve-digests", &ours, &layout]);
    for blob in [model.weights, model.config] {
        let copy = Path::new("blobs/sha256").join(blob.digest.hex());
        assert!(fs::read(dir.path().join(copy)).unwrap() == model.bytes(blob));
    }

    let theirs = format!("docker://{}/other/n:x", registry.host);
    skopeo(test, &["copy", "--dest-tls-verify=false", "--preserve-digests", &layout, &theirs]);
    let found = client.resolve(&registry.reference("other/n:x"), None).await.unwrap();
    assert_eq!(found.id, Digest::of(&model.manifest));
    let whole = 0..model.weights.size;
    assert!(read(&found, model.weights, whole).await == model.bytes(model.weights));
}

#[tokio::test]
async fn what_is_not_there_is_said_with_what_is() {
    let test = "what_is_not_there_is_said_with_what_is";
    let Some(registry) = Registry::plain(test) else { return };
    let model = Model::new(1_000);
    let client = registry.client(None);
    let (sink, _) = progress();
    client.push(&registry.reference("ai/m:v1"), model.outgoing(), None, sink).await.unwrap();
    let error = client.resolve(&registry.reference("ai/m:v2"), None).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::RegistryNotFound);
    assert!(error.message.ends_with("it has the tags v1"), "{error}");
    let error = client.resolve(&registry.reference("ai/none:v1"), None).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::RegistryNotFound);
    let pinned = format!("ai/m@{}", Digest::of(&model.manifest));
    let found = client.resolve(&registry.reference(&pinned), None).await.unwrap();
    assert_eq!(found.manifest, model.manifest);
}

#[tokio::test]
async fn a_registry_whose_disk_lies_is_found_out() {
    let test = "a_registry_whose_disk_lies_is_found_out";
    let Some(registry) = Registry::plain(test) else { return };
    let model = Model::new(1_000);
    let client = registry.client(None);
    let (sink, _) = progress();
    let reference = registry.reference("ai/m:v1");
    client.push(&reference, model.outgoing(), None, sink).await.unwrap();
    let file = registry.blob_file(&model.config.digest.hex());
    let mut bytes = fs::read(&file).unwrap();
    bytes[20] ^= 1;
    fs::write(&file, bytes).unwrap();
    let error = client.resolve(&reference, None).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::RegistryInvalid);
    assert!(error.message.contains(&model.config.digest.to_string()), "{error}");
}

#[tokio::test]
async fn a_registry_with_tls_and_users_knows_its_user() {
    let test = "a_registry_with_tls_and_users_knows_its_user";
    let Some(registry) = Registry::guarded(test) else { return };
    let model = Model::new(3 << 20);
    let reference = registry.reference("ai/m:v1");
    for wrong in [None, Some((USER.0, "wrong"))] {
        let (sink, _) = progress();
        let client = registry.client(wrong);
        let error = client.push(&reference, model.outgoing(), None, sink).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::RegistryUnauthorized, "{error}");
        let error = client.resolve(&reference, None).await.err().unwrap();
        assert_eq!(error.kind, ErrorKind::RegistryUnauthorized, "{error}");
        assert!(error.message.contains(&format!("modeld login {}", registry.host)), "{error}");
    }
    let client = registry.client(Some(USER));
    let (sink, _) = progress();
    client.push(&reference, model.outgoing(), None, sink).await.unwrap();
    let found = client.resolve(&reference, None).await.unwrap();
    assert_eq!(found.manifest, model.manifest);
    let whole = 0..model.weights.size;
    assert!(read(&found, model.weights, whole).await == model.bytes(model.weights));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_large_push_needs_little_memory() {
    let test = "a_large_push_needs_little_memory";
    if !is_long() {
        return skip(test, "only with --long");
    }
    // The memory of a process is that of all tests in it.
    let alone = "MODELD_TEST_ALONE";
    if std::env::var_os(alone).is_none() {
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        let name = format!("registry::{test}");
        let output = again.args(["--exact", &name]).env(alone, "1").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    let Some(registry) = Registry::plain(test) else { return };
    let size = 1 << 30;
    let dir = TempDir::new().unwrap();
    let file = File::create(dir.path().join("weights")).unwrap();
    file.set_len(size).unwrap();
    // SHA-256 of 2^30 zero bytes.
    let digest = "sha256:49bc20df15e412a64472421e13fe86ff1c5165e18b2afccf160d4dc19fe68a14";
    let model = Model::of_file(dir, Descriptor { digest: digest.parse().unwrap(), size });
    let peak = || -> u64 {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = peak();
    let (sink, _) = progress();
    let client = registry.client(None);
    client.push(&registry.reference("ai/m:v1"), model.outgoing(), None, sink).await.unwrap();
    let grown = peak() - before;
    assert!(grown < 64 << 10, "{grown} KiB more for a push of 1 GiB");
}
