use bytes::Bytes;
use futures_util::StreamExt as _;
use secrecy::SecretString;
use serde_json::{Value, json};
use std::sync::Arc;

use crate::domain::{Digest, Error, ErrorKind, ModelRef, Result};
use crate::gguf::testing::Writer;
use crate::registry::egress::{Egress, EgressOptions};
use crate::registry::search::{DockerHub, Search, Source};
use crate::registry::{Config, Descriptor, FetchError, Registry as _, RemoteModel, Retry, Role};

use super::testing::{GOOD_TOKEN, Instead, Repo, RepoFile, StandIn};
use super::{Hub, HubOptions};

fn hub(server: &StandIn) -> Hub {
    with_token(server, None)
}

fn with_token(server: &StandIn, token: Option<&'static str>) -> Hub {
    let egress = Egress::new(EgressOptions {
        // The stand-in's files are behind another port of the same address.
        insecure: vec!["127.0.0.1".to_owned(), "localhost".to_owned()],
        ..EgressOptions::default()
    })
    .unwrap();
    let endpoint = server.url.parse().unwrap();
    let token = token.map(|token| -> super::TokenSource {
        Arc::new(move || Box::pin(std::future::ready(Some(SecretString::from(token)))))
    });
    Hub::new(egress, HubOptions { endpoint, token })
}

async fn resolve(hub: &Hub, reference: &str) -> Result<RemoteModel> {
    hub.resolve(&ModelRef::parse(reference).unwrap(), None).await
}

async fn refused(hub: &Hub, reference: &str) -> Error {
    resolve(hub, reference).await.err().unwrap_or_else(|| panic!("{reference} was found"))
}

/// A model whose quantization number, and so every byte's place, is its own.
fn tiny(seed: u32) -> Vec<u8> {
    Writer::tiny().u32("seed", seed).build()
}

fn repo() -> Repo {
    let clip = Writer::empty().text("general.architecture", "clip").build();
    Repo::new(
        "Org/Tiny-GGUF",
        vec![
            RepoFile::small(".gitattributes", "*.gguf filter=lfs"),
            RepoFile::small("LICENSE", "do as you like"),
            RepoFile::small("README.md", "# Tiny"),
            RepoFile::small("chat_template.jinja", "{{ messages }}"),
            RepoFile::large("mmproj-F16.gguf", clip),
            RepoFile::large("tiny-Q4_K_M.gguf", tiny(1)),
            RepoFile::large("tiny-Q8_0.gguf", tiny(2)),
        ],
    )
}

async fn read(model: &RemoteModel, blob: &Descriptor, range: std::ops::Range<u64>) -> Bytes {
    let body = model.blobs.open(blob, range.clone()).await.unwrap();
    assert_eq!((body.start, body.end), (range.start, range.end));
    let pieces: Vec<Bytes> = body.stream.map(|piece| piece.unwrap()).collect().await;
    pieces.concat().into()
}

#[tokio::test]
async fn a_repository_becomes_the_artifact_that_the_packager_would_write() {
    let server = StandIn::start(vec![repo()]).await;
    let model = resolve(&hub(&server), "hf.co/org/tiny-gguf").await.unwrap();
    assert_eq!(model.id, Digest::of(&model.manifest));
    assert_eq!(model.artifact.config.digest, Digest::of(&model.config));
    let layers: Vec<(Role, &str, u64)> = model
        .artifact
        .layers
        .iter()
        .map(|layer| (layer.role, layer.path.as_deref().unwrap(), layer.blob.size))
        .collect();
    let clip = repo().files[4].bytes.len() as u64;
    assert_eq!(
        layers,
        [
            (Role::Weights, "tiny-Q4_K_M.gguf", tiny(1).len() as u64),
            (Role::Projector, "mmproj-F16.gguf", clip),
            (Role::ChatTemplate, "chat_template.jinja", 14),
            (Role::License, "LICENSE", 14),
        ]
    );
    assert_eq!(model.artifact.layers[0].blob.digest, Digest::of(&tiny(1)));
    assert_eq!(model.warnings.len(), 1, "{:?}", model.warnings);
    let config = Config::parse(&model.config, &model.artifact).unwrap();
    // Fractions of the second are left out.
    assert_eq!(config.created, 1_749_990_645);
    assert_eq!(
        (config.model.quantization.as_str(), config.model.context_size),
        ("Q4_1", Some(512))
    );
    insta::assert_snapshot!(String::from_utf8_lossy(&model.manifest));

    let dir = tempfile::tempdir().unwrap();
    let write = |index: usize| {
        let RepoFile { path, bytes, .. } = &repo().files[index];
        let path = dir.path().join(path);
        std::fs::write(&path, bytes).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_749_990_645);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        path
    };
    let packaged = crate::models::PackagePlan::new(&crate::models::PackageOptions {
        weights: write(5),
        mmproj: Some(write(4)),
        chat_template: Some(write(3)),
        licenses: vec![write(1)],
        ..Default::default()
    });
    assert_eq!(packaged.unwrap().manifest_digest(), model.id);
}

#[tokio::test]
async fn every_layer_can_be_read_in_part_and_in_whole() {
    let server = StandIn::start(vec![repo()]).await;
    let model = resolve(&hub(&server), "hf.co/org/tiny-gguf:q8_0").await.unwrap();
    let weights = model.artifact.layers[0].blob;
    assert_eq!(read(&model, &weights, 0..weights.size).await, tiny(2));
    assert_eq!(read(&model, &weights, 7..40).await, tiny(2)[7..40]);
    let template = model.artifact.layers[2].blob;
    assert_eq!(read(&model, &template, 3..11).await, "messages");
    assert_eq!(read(&model, &model.artifact.config, 0..5).await, model.config[..5]);
    let body = model.blobs.open(&weights, 1..2).await.unwrap();
    assert_eq!(body.validator, Some(format!("\"{}\"", weights.digest.hex())));
    let stranger = Descriptor { digest: Digest::of(b"?"), size: 1 };
    assert!(model.blobs.open(&stranger, 0..1).await.is_err());
}

#[tokio::test]
async fn names_in_any_case_are_asked_for_as_the_hub_writes_them_and_at_one_commit() {
    let server = StandIn::start(vec![repo()]).await;
    resolve(&hub(&server), "hf.co/ORG/tiny-gguf").await.unwrap();
    let targets: Vec<String> = server.seen().into_iter().map(|seen| seen.target).collect();
    let commit = repo().commit;
    assert_eq!(targets[..2], ["/api/models/org/tiny-gguf", "/api/models/Org/Tiny-GGUF"]);
    assert_eq!(targets[2], format!("/api/models/Org/Tiny-GGUF/tree/{commit}?recursive=true"));
    for target in &targets[2..] {
        assert!(target.contains(&commit) || target.starts_with("/large/"), "{target}");
    }
}

#[tokio::test]
async fn the_token_stays_with_the_hub() {
    let server = StandIn::start(vec![Repo { gated: true, ..repo() }]).await;
    let own = with_token(&server, Some("hf_other"));
    let sent = SecretString::from(GOOD_TOKEN);
    let reference = ModelRef::parse("hf.co/org/tiny-gguf").unwrap();
    let model = own.resolve(&reference, Some(&sent)).await.unwrap();
    let weights = model.artifact.layers[0].blob;
    read(&model, &weights, 0..4).await;
    let (cdn, hub): (Vec<_>, Vec<_>) = server.seen().into_iter().partition(|seen| seen.by_cdn);
    assert!(cdn.len() >= 3);
    assert!(cdn.iter().all(|seen| seen.authorization.is_none()), "{cdn:?}");
    let bearer = Some(format!("Bearer {GOOD_TOKEN}"));
    assert!(hub.iter().all(|seen| seen.authorization == bearer), "{hub:?}");
}

#[tokio::test]
async fn gated_and_missing_repositories_are_told_apart() {
    let server = StandIn::start(vec![Repo { gated: true, ..repo() }]).await;
    for token in [None, Some("hf_bad")] {
        let error = refused(&with_token(&server, token), "hf.co/org/tiny-gguf").await;
        assert_eq!(error.kind, ErrorKind::RegistryUnauthorized);
        let page = format!("{}/Org/Tiny-GGUF", server.url);
        assert!(error.message.contains(&page), "{error}");
        assert!(error.message.contains("modeld login huggingface.co"), "{error}");
    }
    resolve(&with_token(&server, Some(GOOD_TOKEN)), "hf.co/org/tiny-gguf").await.unwrap();
    for token in [None, Some(GOOD_TOKEN)] {
        let error = refused(&with_token(&server, token), "hf.co/org/none").await;
        assert_eq!(error.kind, ErrorKind::RegistryNotFound, "{error}");
    }
}

#[tokio::test]
async fn statuses_become_kinds_and_times_to_try_again() {
    let server = StandIn::start(vec![repo()]).await;
    for (status, kind) in [
        (401, ErrorKind::RegistryUnauthorized),
        (403, ErrorKind::RegistryUnauthorized),
        (404, ErrorKind::RegistryNotFound),
        (418, ErrorKind::RegistryInvalid),
        (429, ErrorKind::RegistryUnavailable),
        (503, ErrorKind::RegistryUnavailable),
    ] {
        let headers = vec![("retry-after", "7".to_owned())];
        let answer = Instead { headers, ..Instead::status(status) };
        server.instead("/api/models/org/", answer);
        let error = refused(&hub(&server), "hf.co/org/tiny-gguf").await;
        assert_eq!(error.kind, kind, "{status}: {error}");
        let waits = kind == ErrorKind::RegistryUnavailable;
        assert_eq!(error.retry_after.map(|wait| wait.as_secs()), waits.then_some(7), "{status}");
    }
}

#[tokio::test]
async fn a_link_that_expired_is_worth_another_try() {
    let server = StandIn::start(vec![repo()]).await;
    let model = resolve(&hub(&server), "hf.co/org/tiny-gguf").await.unwrap();
    server.instead("/large/", Instead::status(403));
    let weights = model.artifact.layers[0].blob;
    let error: FetchError = model.blobs.open(&weights, 0..4).await.err().unwrap();
    assert_eq!((error.error.kind, error.retry), (ErrorKind::RegistryUnavailable, Retry::Soon));
}

#[tokio::test]
async fn the_same_commit_gives_the_same_id_and_a_later_time_another() {
    let server = StandIn::start(vec![repo()]).await;
    let hub = hub(&server);
    let first = resolve(&hub, "hf.co/org/tiny-gguf").await.unwrap().id;
    assert_eq!(resolve(&hub, "hf.co/org/tiny-gguf").await.unwrap().id, first);
    let pinned = format!("hf.co/org/tiny-gguf@{first}");
    assert_eq!(resolve(&hub, &pinned).await.unwrap().id, first);
    server.change(|repos| repos[0].last_modified = "2025-06-16T00:00:00.000Z".to_owned());
    let second = resolve(&hub, "hf.co/org/tiny-gguf").await.unwrap().id;
    assert_ne!(second, first);
    assert_eq!(refused(&hub, &pinned).await.kind, ErrorKind::RegistryNotFound);
}

#[tokio::test]
async fn shards_and_long_headers_are_read_in_pieces() {
    let long: Vec<String> = (0..120_000).map(|n| format!("token number {n}")).collect();
    let long: Vec<&str> = long.iter().map(String::as_str).collect();
    let first = Writer::tiny()
        .without("tokenizer.ggml.tokens")
        .texts("long", &long)
        .u16("split.no", 0)
        .u16("split.count", 2)
        .build();
    assert!(first.len() > 2 << 20, "{}", first.len());
    let second =
        Writer::empty().tensor("more", &[64], 0).u16("split.no", 1).u16("split.count", 2).build();
    let path = |number: u8| format!("Q8_0/m-Q8_0-0000{number}-of-00002.gguf");
    let sharded = Repo::new(
        "Org/Sharded",
        vec![RepoFile::large(&path(2), second), RepoFile::large(&path(1), first.clone())],
    );
    let server = StandIn::start(vec![sharded]).await;
    let model = resolve(&hub(&server), "hf.co/org/sharded:Q8_0").await.unwrap();
    let weights: Vec<_> = model.artifact.with_role(Role::Weights).collect();
    assert_eq!(weights.len(), 2);
    assert_eq!(weights[0].blob.digest, Digest::of(&first));
    let ranges: Vec<String> = server
        .seen()
        .into_iter()
        .filter(|seen| seen.by_cdn)
        .filter_map(|seen| seen.range)
        .collect();
    assert_eq!(ranges[..2], ["bytes=0-1048575", "bytes=1048576-2097151"]);
}

#[tokio::test]
async fn weights_that_cannot_run_are_refused_before_they_are_fetched() {
    let page = b"<!DOCTYPE html><html>not here</html>".as_slice();
    let repo = |id: &str, path: &str, bytes: &[u8]| {
        Repo::new(id, vec![RepoFile::large(path, bytes.to_vec())])
    };
    let server = StandIn::start(vec![
        repo("o/html", "m.gguf", page),
        repo("o/none", "model.safetensors", page),
        repo("o/cut", "m.gguf", &tiny(1)[..100]),
    ])
    .await;
    for (reference, kind, says) in [
        ("hf.co/o/html", ErrorKind::InvalidModel, "web page"),
        ("hf.co/o/none", ErrorKind::UnsupportedModel, "safetensors"),
        ("hf.co/o/cut", ErrorKind::InvalidModel, "m.gguf"),
    ] {
        let error = refused(&hub(&server), reference).await;
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(says), "{error}");
    }
}

#[tokio::test]
async fn every_hostile_listing_is_refused() {
    let server = StandIn::start(vec![repo()]).await;
    let sha = "a".repeat(64);
    let entry = |path: &str, size: Value, oid: &str| json!([{"type": "file", "path": path, "size": size, "lfs": {"oid": oid, "size": size}}]);
    let many: Vec<Value> =
        (0..20_000).map(|n| json!({"type": "file", "path": format!("{n}"), "size": 1})).collect();
    let twice = json!([
        {"type": "file", "path": "m.gguf", "size": 1},
        {"type": "file", "path": "m.gguf", "size": 2},
    ]);
    for (what, listing) in [
        ("traversal", entry("../x.gguf", json!(1), &sha)),
        ("absolute", entry("/etc/x.gguf", json!(1), &sha)),
        ("control", entry("a\u{0}.gguf", json!(1), &sha)),
        ("size -1", entry("m.gguf", json!(-1), &sha)),
        ("size 2^63", entry("m.gguf", json!(1u64 << 63), &sha)),
        ("size 1e30", entry("m.gguf", json!(1e30), &sha)),
        ("short digest", entry("m.gguf", json!(1), "abcd")),
        ("digest of another kind", entry("m.gguf", json!(1), &"A".repeat(64))),
        ("many entries", Value::Array(many)),
        ("no listing", json!({"error": "x"})),
        ("duplicates", twice),
        ("no size", json!([{"type": "file", "path": "m.gguf"}])),
        ("no digest, too large", json!([{"type": "file", "path": "m.gguf", "size": 9_000_000}])),
    ] {
        server.instead("/api/models/Org/Tiny-GGUF/tree", Instead::json(&listing));
        let error = refused(&hub(&server), "hf.co/org/tiny-gguf").await;
        assert_eq!(error.kind, ErrorKind::RegistryInvalid, "{what}: {error}");
    }
    let huge = Instead { body: vec![b' '; 17 << 20].into(), ..Instead::status(200) };
    server.instead("/api/models/Org/Tiny-GGUF/tree", huge);
    assert_eq!(
        refused(&hub(&server), "hf.co/org/tiny-gguf").await.kind,
        ErrorKind::RegistryInvalid
    );
    for link in ["<?cursor=0>; rel=\"next\"", "<http://192.0.2.1/next>; rel=\"next\""] {
        let headers = vec![("link", link.to_owned())];
        let endless = Instead { headers, ..Instead::json(&json!([])) };
        server.instead("/api/models/Org/Tiny-GGUF/tree", endless);
        let error = refused(&hub(&server), "hf.co/org/tiny-gguf").await;
        assert_eq!(error.kind, ErrorKind::RegistryInvalid, "{link}: {error}");
    }
}

#[tokio::test]
async fn every_hostile_repository_is_refused() {
    let server = StandIn::start(vec![repo()]).await;
    let sha = "a".repeat(40);
    for (what, answer) in [
        ("no commit", json!({"id": "Org/X", "sha": "main"})),
        ("upper case", json!({"id": "Org/X", "sha": "A".repeat(40)})),
        ("traversal", json!({"id": "../../x", "sha": sha})),
        ("deep", json!({"id": "a/b/c", "sha": sha})),
        ("query", json!({"id": "a/b?x", "sha": sha})),
        ("empty part", json!({"id": "a/", "sha": sha})),
        ("time", json!({"id": "a/b", "sha": sha, "lastModified": "yesterday"})),
        ("nothing", json!({})),
    ] {
        server.instead("/api/models/org/tiny-gguf", Instead::json(&answer));
        let error = refused(&hub(&server), "hf.co/org/tiny-gguf").await;
        assert_eq!(error.kind, ErrorKind::RegistryInvalid, "{what}: {error}");
    }
}

#[tokio::test]
async fn a_small_file_must_have_the_size_that_is_listed() {
    let server = StandIn::start(vec![repo()]).await;
    let target = format!("/Org/Tiny-GGUF/resolve/{}/LICENSE", repo().commit);
    for body in ["do as you", "do as you like, but"] {
        let answer = Instead { body: body.into(), ..Instead::status(200) };
        server.instead(&target, answer);
        let error = refused(&hub(&server), "hf.co/org/tiny-gguf").await;
        assert_eq!(error.kind, ErrorKind::RegistryInvalid, "{error}");
    }
}

#[tokio::test]
async fn names_that_are_no_repository_are_refused_without_asking() {
    let server = StandIn::start(Vec::new()).await;
    for reference in ["hf.co/a/b/c", "0123456789ab"] {
        let error = refused(&hub(&server), reference).await;
        assert_eq!(error.kind, ErrorKind::InvalidReference, "{reference}");
    }
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn a_search_says_which_source_failed() {
    let server = StandIn::start(vec![repo()]).await;
    let found = json!({"count": 3, "results": [
        {"name": "tiny", "description": "Small\n model", "star_count": 2, "pull_count": 10,
         "last_updated": "2025-01-01T00:00:00Z", "content_types": ["model"]},
        {"name": "tiny-large", "description": null, "pull_count": 50},
        {"name": "tiny-image", "content_types": ["image"]},
        {"name": "../tiny"},
    ]});
    server.instead("/v2/namespaces/ai/repositories?name=tiny", Instead::json(&found));
    let egress = Egress::new(EgressOptions {
        // The stand-in's files are behind another port of the same address.
        insecure: vec!["127.0.0.1".to_owned(), "localhost".to_owned()],
        ..EgressOptions::default()
    })
    .unwrap();
    let docker = DockerHub::new(egress, server.url.parse().unwrap());
    let search = Search { docker: Some(docker), hugging_face: Some(hub(&server)) };
    let results = search.find(" TINY ", 10).await.unwrap();
    let names: Vec<(&str, u64, i64, bool)> = results
        .hits
        .iter()
        .map(|hit| (hit.name.as_str(), hit.downloads, hit.updated, hit.gguf))
        .collect();
    assert_eq!(
        names,
        [
            ("ai/tiny-large", 50, 0, false),
            ("ai/tiny", 10, 1_735_689_600, false),
            ("hf.co/Org/Tiny-GGUF", 1000, 1_749_990_645, true),
        ]
    );
    assert_eq!(results.hits[1].description, "Small model");
    assert_eq!(results.failures, []);
    // Every word must be there; the catalogue is asked for the longest.
    assert_eq!(search.find("tiny lar", 1).await.unwrap().hits[0].name, "ai/tiny-large");

    server.instead("/v2/", Instead::status(503));
    server.instead("/v2/namespaces/ai/repositories?name=tiny", Instead::status(503));
    let results = search.find("tiny", 10).await.unwrap();
    assert_eq!(results.hits.len(), 1);
    let [(source, error)] = results.failures.as_slice() else { panic!("{:?}", results.failures) };
    assert_eq!((*source, error.kind), (Source::DockerHub, ErrorKind::RegistryUnavailable));
    // Without a query, what is fetched most.
    server.instead("/v2/namespaces/ai/repositories?page_size", Instead::json(&found));
    let results = search.find(" ", 1).await.unwrap();
    let names: Vec<&str> = results.hits.iter().map(|hit| hit.name.as_str()).collect();
    assert_eq!(names, ["ai/tiny-large", "hf.co/Org/Tiny-GGUF"]);
    for (query, limit) in [("a\u{7}", 1), ("a", 0), ("a", 101)] {
        assert_eq!(search.find(query, limit).await.unwrap_err().kind, ErrorKind::InvalidValue);
    }
}
