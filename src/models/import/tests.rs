use std::path::{Path, PathBuf};
use std::sync::mpsc;

use serde_json::json;

use crate::domain::Digest;
use crate::gguf::testing::Writer;
use crate::models::{Models, PackageOptions, PackagePlan};
use crate::store::{AdoptedAs, Store};

use super::*;

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

    fn write(&self, path: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn at(&self, path: &str) -> Vec<PathBuf> {
        vec![self.dir.path().join(path)]
    }

    async fn import(&self, options: ImportOptions) -> (Vec<Imported>, Vec<String>) {
        let (sender, events) = mpsc::channel();
        self.models.import(options, move |event| sender.send(event).unwrap()).await.unwrap();
        let (mut imported, mut skipped) = (Vec::new(), Vec::new());
        for event in events {
            match event {
                ImportEvent::Imported(model) => imported.push(model),
                ImportEvent::Skipped { what, why, .. } => skipped.push(format!("{what}: {why}")),
                ImportEvent::Reading { .. } => {}
            }
        }
        (imported, skipped)
    }

    async fn scan(&self, places: Places) -> (Vec<Imported>, Vec<String>) {
        self.import(ImportOptions { places, ..ImportOptions::default() }).await
    }
}

fn weights(name: &str) -> Vec<u8> {
    Writer::tiny().text("test.name", name).build()
}

fn tags(imported: &[Imported]) -> Vec<&str> {
    imported.iter().flat_map(|model| model.tags.iter().map(String::as_str)).collect()
}

fn same_file(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    a.metadata().unwrap().ino() == b.metadata().unwrap().ino()
}

#[tokio::test]
async fn models_of_ollama_are_found_by_their_manifests() {
    let home = Home::new();
    let model = weights("llama");
    let digest = Digest::of(&model);
    let blob = home.write(&format!("ollama/blobs/sha256-{}", digest.hex()), &model);
    let licence = Digest::of(b"as you like");
    home.write(&format!("ollama/blobs/sha256-{}", licence.hex()), b"as you like");
    let layer = |kind: &str, digest: Digest| {
        json!({"mediaType": format!("application/vnd.ollama.image.{kind}"),
               "digest": digest.to_string(), "size": 1})
    };
    let manifest = |layers: serde_json::Value| json!({"schemaVersion": 2, "layers": layers});
    let write = |tag: &str, content: String| {
        let path = format!("ollama/manifests/registry.ollama.ai/library/Llama3.2/{tag}");
        home.write(&path, content.as_bytes());
    };
    let system = Digest::of(b"Be brief.");
    home.write(&format!("ollama/blobs/sha256-{}", system.hex()), b"Be brief.");
    let template = layer("template", Digest::of(b"{{ .Prompt }}"));
    let good = json!([
        layer("model", digest),
        template,
        layer("system", system),
        layer("license", licence)
    ]);
    write("1b", manifest(good).to_string());
    write("gone", manifest(json!([layer("model", Digest::of(b"gone"))])).to_string());
    write("lora", manifest(json!([layer("adapter", digest)])).to_string());
    write("none", "<html>".to_owned());
    let places = Places { ollama: home.at("ollama"), ..Places::default() };
    let (imported, skipped) = home.scan(places.clone()).await;
    assert_eq!(tags(&imported), ["registry.ollama.ai/library/llama3.2:1b"]);
    assert_eq!(skipped.len(), 3, "{skipped:?}");
    let local = home.models.resolve("registry.ollama.ai/library/llama3.2:1b").await.unwrap();
    if imported[0].how == Some(AdoptedAs::HardLink) {
        assert!(same_file(&local.weights, &blob));
    }
    let said = home.models.portrait("llama3.2:1b").await.unwrap().ollama;
    assert_eq!(said.system.as_deref(), Some("Be brief."));
    let (again, _) = home.scan(places).await;
    assert_eq!(again[0].how, Some(AdoptedAs::Present));
    assert_eq!(again[0].id, imported[0].id);
}

#[tokio::test]
async fn directories_of_the_hubs_repositories_give_their_names() {
    let home = Home::new();
    home.write("lms/Org/Some-Model-GGUF/Some-Model-Q4_1.gguf", &weights("a"));
    home.write("lms/Org/Some-Model-GGUF/Other-Q4_1.gguf", &weights("b"));
    let projector = Writer::empty().text("general.architecture", "clip").build();
    home.write("lms/Org/Some-Model-GGUF/mmproj-f16.gguf", &projector);
    let blob = weights("c");
    let target = home.write(&format!("hub/models--O--R/blobs/{}", Digest::of(&blob).hex()), &blob);
    let link = home.dir.path().join("hub/models--O--R/snapshots/abc/r-Q4_1.gguf");
    std::fs::create_dir_all(link.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(target, &link).unwrap();
    home.write("cpp/O_X_x.gguf", &weights("d"));
    let sidecar = json!({"etag": "e", "url": "https://huggingface.co/O/X/resolve/main/x.gguf"});
    home.write("cpp/O_X_x.gguf.json", sidecar.to_string().as_bytes());
    home.write("cpp/plain-Q4_1.gguf", &weights("e"));
    let places = Places {
        lm_studio: home.at("lms"),
        hub_cache: home.at("hub"),
        llama_cpp: home.at("cpp"),
        ..Places::default()
    };
    let dry = ImportOptions { places: places.clone(), dry_run: true, ..ImportOptions::default() };
    let (would, _) = home.import(dry).await;
    assert_eq!(would.len(), 5);
    assert!(home.models.list().await.unwrap().is_empty());
    let (imported, skipped) = home.scan(places).await;
    assert_eq!(skipped, Vec::<String>::new());
    assert_eq!(
        tags(&imported),
        [
            "huggingface.co/org/some-model-gguf:Q4_1",
            "huggingface.co/org/some-model-gguf:Some-Model-Q4_1",
            "huggingface.co/o/x:Q4_1",
            "localhost/plain:Q4_1",
            "huggingface.co/o/r:Q4_1",
        ]
    );
    let local = home.models.resolve("hf.co/org/some-model-gguf:Q4_1").await.unwrap();
    assert!(local.mmproj.is_some());
    home.models.resolve("plain").await.unwrap();
}

#[tokio::test]
async fn a_store_of_docker_model_runner_keeps_ids_and_tags() {
    let (theirs, ours) = (Home::new(), Home::new());
    let path = theirs.write("tiny.gguf", &weights("tiny"));
    let options = PackageOptions { weights: path, ..PackageOptions::default() };
    let plan = PackagePlan::new(&options).unwrap();
    let mut tar = Vec::new();
    plan.write_tar(&mut tar, &mut |_| {}).unwrap();
    let loaded = theirs.models.load_archive(Box::new(std::io::Cursor::new(tar))).await.unwrap();
    theirs.models.tag(&loaded.id.to_string(), "tiny:v1").await.unwrap();
    theirs.models.tag(&loaded.id.to_string(), "myorg/tiny").await.unwrap();

    let taken = ours.write("other.gguf", &weights("other"));
    let name = Some("tiny:v1".to_owned());
    let (own, _) =
        ours.import(ImportOptions { paths: vec![taken], name, ..ImportOptions::default() }).await;
    assert_eq!(tags(&own), ["docker.io/ai/tiny:v1"]);

    let places = Places { docker: theirs.at("models"), ..Places::default() };
    let (imported, skipped) = ours.scan(places).await;
    assert_eq!((imported.len(), skipped.len()), (1, 0));
    assert_eq!(imported[0].id, Some(loaded.id));
    assert_eq!(imported[0].tags, ["docker.io/myorg/tiny:latest"]);
    assert_eq!(imported[0].notes.len(), 1, "{:?}", imported[0].notes);
    let own_store = Places { docker: ours.at("models"), ..Places::default() };
    assert_eq!(ours.scan(own_store).await, (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn what_is_no_model_is_skipped_and_leaves_nothing() {
    let home = Home::new();
    let bad = home.write("bad.gguf", b"GGUF and nothing else");
    let lie = weights("lie");
    let blob = home.write(&format!("hub/models--O--R/blobs/{}", Digest::of(b"?").hex()), &lie);
    let link = home.dir.path().join("hub/models--O--R/snapshots/abc/r.gguf");
    std::fs::create_dir_all(link.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(blob, &link).unwrap();
    let shard = home.write("s-00001-of-00002.gguf", &weights("shard"));
    let options = ImportOptions {
        paths: vec![bad, shard, home.dir.path().join("nothing.gguf")],
        places: Places { hub_cache: home.at("hub"), ..Places::default() },
        ..ImportOptions::default()
    };
    let (imported, skipped) = home.import(options).await;
    assert_eq!((imported.len(), skipped.len()), (0, 4), "{skipped:?}");
    for dir in ["ingest", "blobs/sha256", "manifests/sha256"] {
        let left = std::fs::read_dir(home.dir.path().join("models").join(dir)).unwrap().count();
        assert_eq!(left, 0, "{dir}");
    }
}
