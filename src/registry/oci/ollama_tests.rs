use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::OciOptions;
use super::testing::{Fake, Reply, client};
use crate::domain::{Digest, ErrorKind};
use crate::gguf::testing::Writer;
use crate::registry::{Part, Registry as _, RemoteModel, Role, media};

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// A registry that has a model of these layers as `library/m:t`.
async fn registry(layers: &[(&str, Vec<u8>)]) -> Fake {
    let describe = |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "digest": Digest::of(bytes).to_string(), "size": bytes.len()});
    let described: Vec<Value> = layers
        .iter()
        .map(|(kind, bytes)| describe(&format!("{}{kind}", media::OLLAMA_PREFIX), bytes))
        .collect();
    let config = br#"{"model_format":"gguf"}"#;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": describe("application/vnd.docker.container.image.v1+json", config),
        "layers": described,
    });
    let manifest = manifest.to_string();
    // Their registry calls every manifest a text.
    let page =
        Reply::new(200, manifest.clone()).header("content-type", "text/plain; charset=utf-8");
    let pinned = format!("/v2/library/m/manifests/{}", Digest::of(manifest.as_bytes()));
    let mut pages: BTreeMap<String, Reply> =
        [("/v2/library/m/manifests/t".to_owned(), page.clone()), (pinned, page)].into();
    for (_, bytes) in layers {
        let path = format!("/v2/library/m/blobs/{}", Digest::of(bytes));
        pages.insert(path, Reply::new(200, bytes.clone()));
    }
    Fake::of(pages).await
}

async fn resolve(fake: &Fake, rest: &str) -> crate::domain::Result<RemoteModel> {
    client(OciOptions::default(), None).resolve(&fake.reference(rest), None).await
}

#[tokio::test]
async fn a_model_of_ollama_s_becomes_one_of_docker_s_form() {
    let weights = Writer::tiny().build();
    let fake = registry(&[
        ("model", weights.clone()),
        ("template", b"{{ .Prompt }}".to_vec()),
        ("license", b"one".to_vec()),
        ("license", b"two".to_vec()),
        ("system", b"Be brief.".to_vec()),
        ("params", br#"{"top_k":3}"#.to_vec()),
        ("embed", b"old".to_vec()),
    ])
    .await;
    let found = resolve(&fake, "library/m:t").await.unwrap();
    assert_eq!(found.id, Digest::of(&found.manifest));
    assert_eq!(found.artifact.config_type, media::CONFIG_V1);
    let roles: Vec<Role> = found.artifact.layers.iter().map(|layer| layer.role).collect();
    let expected = [
        Role::Weights,
        Role::Profile(Part::GoTemplate),
        Role::License,
        Role::License,
        Role::Profile(Part::System),
        Role::Profile(Part::Parameters),
    ];
    assert_eq!(roles, expected);
    assert_eq!(found.artifact.layers[0].blob.digest, Digest::of(&weights));
    let config: Value = serde_json::from_slice(&found.config).unwrap();
    assert_eq!(config["config"]["architecture"], "llama");
    // The same layers are the same model.
    assert_eq!(resolve(&fake, "library/m:t").await.unwrap().id, found.id);
}

#[tokio::test]
async fn what_cannot_be_taken_is_refused_before_anything_moves() {
    let weights = || ("model", Writer::tiny().build());
    for (what, layers, kind) in [
        ("no weights", vec![("tensor", b"x".to_vec())], ErrorKind::UnsupportedModel),
        ("two weights", vec![weights(), weights()], ErrorKind::UnsupportedModel),
        ("no GGUF", vec![("model", b"nonsense".to_vec())], ErrorKind::InvalidModel),
    ] {
        let fake = registry(&layers).await;
        let error = resolve(&fake, "library/m:t").await.err().unwrap();
        assert_eq!(error.kind, kind, "{what}: {}", error.message);
    }
    let fake = registry(&[weights()]).await;
    let id = fake.asked().len();
    assert_eq!(id, 0);
    let whole = resolve(&fake, "library/m:t").await.unwrap();
    let error = resolve(&fake, &format!("library/m@{}", whole.id)).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::RegistryNotFound, "its digest here is not theirs");
}
