//! The artifacts of other packagers: Docker's v0.2 and the CNCF ModelPack.

use serde_json::{Value, json};

use super::*;

/// Layers with their types, paths and bytes, and a config, as an archive.
pub(super) fn artifact(
    config_type: &str,
    config: &Value,
    layers: &[(&str, &str, Vec<u8>)],
) -> Vec<u8> {
    let config = config.to_string().into_bytes();
    let descriptor = |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "digest": Digest::of(bytes).to_string(), "size": bytes.len()});
    let described: Vec<Value> = layers
        .iter()
        .map(|(kind, path, bytes)| {
            let mut layer = descriptor(kind, bytes);
            layer["annotations"] = json!({media::FILE_PATH: path, "org.example.kept": "yes"});
            layer
        })
        .collect();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media::MANIFEST,
        "artifactType": "application/vnd.cncf.model.manifest.v1+json",
        "config": descriptor(config_type, &config), "layers": described,
        "annotations": {"org.example.kept": "yes"},
    });
    let mut parts: Vec<Vec<u8>> = layers.iter().map(|(_, _, bytes)| blob(bytes)).collect();
    parts.extend([blob(&config), file("manifest.json", manifest.to_string().as_bytes())]);
    end(&parts)
}

pub(super) fn projector() -> Vec<u8> {
    Writer::empty().text("general.architecture", "clip").build()
}

pub(super) fn modelpack() -> Vec<u8> {
    let config = json!({
        "descriptor": {"createdAt": "2025-01-01T00:00:00Z", "family": "llama", "name": "tiny"},
        "modelfs": {"type": "layers", "diffIds": []},
        "config": {"architecture": "llama", "format": "gguf", "paramSize": "160",
            "quantization": "Q4_1"},
    });
    artifact(
        media::CONFIG_CNCF,
        &config,
        &[
            (media::CNCF_WEIGHTS, "weights/tiny.gguf", Writer::tiny().build()),
            (media::CNCF_WEIGHTS, "weights/tiny-mmproj-f16.gguf", projector()),
            (media::CNCF_WEIGHT_CONFIG, "chat_template.jinja", b"{{ messages }}".to_vec()),
            (media::CNCF_WEIGHT_CONFIG, "tokenizer_config.json", b"{}".to_vec()),
            (media::CNCF_DOC, "README.md", b"# tiny".to_vec()),
        ],
    )
}

pub(super) fn second_form() -> Vec<u8> {
    let config = json!({
        "config": {"format": "gguf", "quantization": "Q4_1", "parameters": "160",
            "architecture": "llama", "size": "2kB", "context_size": 128},
        "descriptor": {"created": "2025-04-01T12:00:00Z"},
        "rootfs": {"type": "rootfs", "diff_ids": []},
    });
    artifact(
        media::CONFIG_V2,
        &config,
        &[
            (media::GGUF, "tiny.gguf", Writer::tiny().build()),
            (media::GGUF, "vision/mmproj.gguf", projector()),
            (media::FILE, "templates/chat.jinja", b"{{ messages }}".to_vec()),
            (media::LICENSE, "LICENSE", b"as you like".to_vec()),
        ],
    )
}

#[tokio::test]
async fn both_are_listed_and_resolved_by_their_paths() {
    for (what, tar, created, context) in [
        ("ModelPack", modelpack(), 1_735_689_600, None),
        ("v0.2", second_form(), 1_743_508_800, Some(128)),
    ] {
        let home = Home::new();
        let entry = home.load(tar).await.unwrap();
        let id = entry.id.to_string();
        home.models.tag(&id, "other").await.unwrap();
        let listed = home.models.list().await.unwrap();
        assert_eq!(listed, [home.models.inspect("other").await.unwrap()], "{what}");
        let config = &listed[0].config;
        assert_eq!(
            (config.format.as_str(), config.quantization.as_str(), config.architecture.as_str()),
            ("gguf", "Q4_1", "llama"),
            "{what}"
        );
        assert_eq!((listed[0].created, config.context_size), (created, context), "{what}");
        let local = home.models.resolve("other").await.unwrap();
        let read = |path: PathBuf| std::fs::read(path).unwrap();
        assert_eq!(read(local.weights), Writer::tiny().build(), "{what}");
        assert_eq!(read(local.mmproj.unwrap()), projector(), "{what}");
        assert_eq!(read(local.chat_template.unwrap()), b"{{ messages }}", "{what}");
        assert_eq!(local.readable.len(), 3, "{what}");
    }
}

#[tokio::test]
async fn shards_are_found_by_their_paths() {
    for (config_type, kind) in
        [(media::CONFIG_CNCF, media::CNCF_WEIGHTS), (media::CONFIG_V2, media::GGUF)]
    {
        let home = Home::new();
        let layers = [
            (kind, "big-00001-of-00002.gguf", shard(0, 2)),
            (kind, "big-00002-of-00002.gguf", shard(1, 2)),
        ];
        let entry = home.load(artifact(config_type, &json!({}), &layers)).await.unwrap();
        let local = home.models.resolve(&entry.id.to_string()).await.unwrap();
        assert!(local.weights.ends_with("model-00001-of-00002.gguf"), "{config_type}");
        let second = local.weights.with_file_name("model-00002-of-00002.gguf");
        assert_eq!(std::fs::read(second).unwrap(), shard(1, 2), "{config_type}");
        // Other names say that they are two models.
        let home = Home::new();
        let layers = [(kind, "a.gguf", shard(0, 2)), (kind, "b.gguf", shard(1, 2))];
        let error = home.load(artifact(config_type, &json!({}), &layers)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidModel, "{config_type}");
    }
}
