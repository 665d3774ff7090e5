//! Other models of the same weights.

use serde_json::Value;

use super::forms::{modelpack, projector, second_form};
use super::*;
use crate::registry::{Artifact, Role};

fn context(size: u32) -> Changes {
    Changes { context_size: Some(size), ..Changes::default() }
}

fn documents(home: &Home, id: &Digest) -> (Artifact, Value, Value) {
    let store = home.models.store();
    let manifest = store.read_manifest(id).unwrap();
    let artifact = Artifact::parse(&manifest).unwrap();
    let config = store.read_blob(&artifact.config.digest, 1 << 20).unwrap();
    let json = |bytes: &[u8]| serde_json::from_slice(bytes).unwrap();
    (artifact, json(&manifest), json(&config))
}

#[tokio::test]
async fn another_context_gives_what_packaging_with_it_gives() {
    let home = Home::new();
    let options = PackageOptions {
        licenses: vec![home.write("LICENSE", b"x")],
        ..options(home.write("tiny.gguf", &Writer::tiny().build()))
    };
    let source = home.load(archive(&PackagePlan::new(&options).unwrap())).await.unwrap();
    let blobs = home.count("blobs/sha256");
    let made = home.models.repackage(&source.id.to_string(), "mine:v1", context(256)).await;
    let made = made.unwrap();
    let packaged = PackagePlan::new(&PackageOptions { context_size: Some(256), ..options });
    assert_eq!(made.id, packaged.unwrap().manifest_digest());
    assert_eq!((made.tag.as_str(), made.converted), ("docker.io/ai/mine:v1", false));
    assert_eq!(home.count("blobs/sha256"), blobs + 1, "a config and nothing else");
    let entry = home.models.inspect("mine:v1").await.unwrap();
    assert_eq!((entry.config.context_size, entry.created), (Some(256), source.created));
    // The same once more is the same, and back again is the source.
    let again = home.models.repackage("mine:v1", "other", context(256)).await.unwrap();
    assert_eq!(again.id, made.id);
    let back = home.models.repackage("mine:v1", "first", context(512)).await.unwrap();
    assert_eq!(back.id, source.id);
    // Weights are shared until the last model of them goes.
    home.models.remove(&source.id.to_string(), true).await.unwrap();
    home.models.resolve("mine:v1").await.unwrap();
}

#[tokio::test]
async fn files_are_added_or_take_a_place() {
    let home = Home::new();
    let weights = home.write("tiny.gguf", &Writer::tiny().build());
    let plan = PackagePlan::new(&PackageOptions {
        chat_template: Some(home.write("old.jinja", b"{{ old }}")),
        licenses: vec![home.write("LICENSE", b"first")],
        ..options(weights)
    });
    let source = home.load(archive(&plan.unwrap())).await.unwrap().id.to_string();
    let changes = Changes {
        context_size: None,
        chat_template: Some("{{ new }}".to_owned()),
        licenses: vec!["second".to_owned(), "third".to_owned()],
        mmproj: Some(home.write("mmproj.gguf", &projector())),
        adapters: vec![
            home.write("a.gguf", &lora("llama").build()),
            home.write("b.gguf", &lora("llama").text("general.name", "b").build()),
        ],
    };
    let made = home.models.repackage(&source, "all", changes.clone()).await.unwrap();
    let (artifact, manifest, config) = documents(&home, &made.id);
    use Role::{Adapter, ChatTemplate, License, Projector, Weights};
    let roles: Vec<Role> = artifact.layers.iter().map(|layer| layer.role).collect();
    let expected = [Weights, Projector, ChatTemplate, License, License, License, Adapter, Adapter];
    assert_eq!(roles, expected);
    let paths: Vec<&str> =
        artifact.layers.iter().filter_map(|layer| layer.path.as_deref()).collect();
    assert_eq!(
        paths,
        [
            "tiny.gguf",
            "mmproj.gguf",
            "old.jinja",
            "LICENSE",
            "2-LICENSE",
            "3-LICENSE",
            "a.gguf",
            "b.gguf"
        ]
    );
    let digests: Vec<&Value> =
        manifest["layers"].as_array().unwrap().iter().map(|layer| &layer["digest"]).collect();
    let ids: Vec<&Value> = config["rootfs"]["diff_ids"].as_array().unwrap().iter().collect();
    assert_eq!(digests, ids);
    let local = home.models.resolve("all").await.unwrap();
    assert_eq!(std::fs::read(local.chat_template.unwrap()).unwrap(), b"{{ new }}");
    assert_eq!((local.adapters.len(), local.mmproj.is_some()), (2, true));
    // What is there already is not added again.
    let again = home.models.repackage("all", "again", changes).await.unwrap();
    assert_eq!(again.id, made.id);
}

#[tokio::test]
async fn every_form_stays_what_it_is_or_says_that_it_does_not() {
    let template = || Changes { chat_template: Some("{{ new }}".into()), ..Changes::default() };
    for (tar, config_type) in [(second_form(), media::CONFIG_V2), (modelpack(), media::CONFIG_CNCF)]
    {
        let home = Home::new();
        let source = home.load(tar).await.unwrap();
        let (before, ..) = documents(&home, &source.id);
        let made = home.models.repackage(&source.id.to_string(), "mine", template()).await.unwrap();
        assert!(!made.converted);
        let (after, manifest, _) = documents(&home, &made.id);
        assert_eq!(after.config_type, config_type);
        assert_eq!(after.layers.len(), before.layers.len());
        let paths = |artifact: &Artifact| -> Vec<Option<String>> {
            artifact.layers.iter().map(|layer| layer.path.clone()).collect()
        };
        assert_eq!(paths(&after), paths(&before), "{config_type}");
        assert_eq!(manifest["annotations"]["org.example.kept"], "yes", "{config_type}");
        assert_eq!(manifest["layers"][0]["annotations"]["org.example.kept"], "yes");
        let local = home.models.resolve("mine").await.unwrap();
        assert_eq!(std::fs::read(local.chat_template.unwrap()).unwrap(), b"{{ new }}");
        assert_eq!(home.models.inspect("mine").await.unwrap().created, source.created);

        let small = home.models.repackage("mine", "small", context(64)).await.unwrap();
        assert_eq!(small.converted, config_type == media::CONFIG_CNCF);
        let (small, manifest, _) = documents(&home, &small.id);
        assert_eq!(small.config_type, media::CONFIG_V2);
        assert_eq!(paths(&small), paths(&before), "{config_type}");
        let roles = |artifact: &Artifact| -> Vec<Role> {
            artifact.layers.iter().map(|layer| layer.role).collect()
        };
        assert_eq!(roles(&small), roles(&before), "{config_type}");
        assert_eq!(manifest.get("artifactType").is_none(), config_type == media::CONFIG_CNCF);
        let entry = home.models.inspect("small").await.unwrap();
        assert_eq!((entry.created, entry.config.context_size), (source.created, Some(64)));
        assert_eq!(entry.config.quantization, "Q4_1");
        let local = home.models.resolve("small").await.unwrap();
        assert_eq!(std::fs::read(local.mmproj.unwrap()).unwrap(), projector());
    }
}

#[tokio::test]
async fn what_cannot_be_made_is_refused_and_leaves_nothing() {
    let home = Home::new();
    let weights = home.write("tiny.gguf", &Writer::tiny().build());
    let plan = PackagePlan::new(&options(weights)).unwrap();
    let source = home.load(archive(&plan)).await.unwrap().id.to_string();
    let other = home.write("other.gguf", &lora("qwen2").build());
    let model = home.write("model.gguf", &Writer::tiny().text("x", "y").build());
    let blobs = home.count("blobs/sha256");
    let adapter = |path: &Path| Changes {
        licenses: vec!["new".into()],
        adapters: vec![path.to_owned()],
        ..Changes::default()
    };
    let text = |text: &str| Changes { chat_template: Some(text.into()), ..Changes::default() };
    for (changes, kind, word) in [
        (adapter(&other), ErrorKind::InvalidModel, "\"qwen2\", and the model's is \"llama\""),
        (adapter(&model), ErrorKind::InvalidModel, "no LoRA adapter"),
        (adapter(Path::new("/no/such")), ErrorKind::InvalidValue, "/no/such"),
        (
            Changes { mmproj: Some("/".into()), ..Changes::default() },
            ErrorKind::InvalidValue,
            "cannot",
        ),
        (text(" \n"), ErrorKind::InvalidValue, "empty"),
        (text("a\0"), ErrorKind::InvalidValue, "NUL"),
        (text(&"x".repeat((1 << 20) + 1)), ErrorKind::InvalidValue, "1048577"),
        (context(0), ErrorKind::InvalidValue, "2147483647"),
        (context(1 << 31), ErrorKind::InvalidValue, "2147483648"),
        (
            Changes { licenses: vec!["ok".into(), String::new()], ..Changes::default() },
            ErrorKind::InvalidValue,
            "empty",
        ),
    ] {
        let error = home.models.repackage(&source, "mine", changes).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(word), "{word}: {error}");
        assert_eq!(home.count("blobs/sha256"), blobs, "{word}");
        assert_eq!(home.count("ingest"), 0, "{word}");
    }
    for target in ["", "a b", "x@sha256:0", &source] {
        let error = home.models.repackage(&source, target, context(9)).await.unwrap_err();
        assert_eq!(error.param.as_deref(), Some("target"), "{target:?}: {error}");
    }
    let missing = home.models.repackage("none", "mine", context(9)).await.unwrap_err();
    assert_eq!(missing.kind, ErrorKind::ModelNotFound);
    // Packaging from files holds to the same rule.
    let error = PackagePlan::new(&PackageOptions {
        adapters: vec![other],
        ..options(home.dir.path().join("tiny.gguf"))
    });
    assert!(error.unwrap_err().message.contains("qwen2"));
}
