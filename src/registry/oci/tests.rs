use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::testing::{Asked, Fake, Model, Reply, client};
use super::{MirrorTable, OciOptions};
use crate::domain::{Digest, Error, ErrorKind, LayerProgress, ModelRef};
use crate::registry::{
    Artifact, BlobBody, Descriptor, FetchError, OutgoingModel, ProgressSink, Registry, RemoteModel,
    Retry, media,
};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

async fn resolve(fake: &Fake, rest: &str) -> Result<RemoteModel, Error> {
    client(OciOptions::default(), None).resolve(&fake.reference(rest), None).await
}

/// What resolving `m:t` says when the registry has these pages.
async fn refused(pages: BTreeMap<String, Reply>) -> Error {
    let fake = Fake::of(pages).await;
    resolve(&fake, "m:t").await.err().expect("it was taken")
}

fn manifest_reply(document: &Value) -> Reply {
    let kind = document["mediaType"].as_str().unwrap_or(media::MANIFEST);
    Reply::new(200, document.to_string()).header("content-type", kind)
}

#[tokio::test]
async fn a_model_is_found_without_its_layers() {
    let model = Model::new();
    let fake = Fake::of(model.pages()).await;
    let found = resolve(&fake, "m:t").await.unwrap();
    assert_eq!(found.id, model.id());
    assert_eq!(found.manifest, model.bytes());
    assert_eq!(found.config, model.config);
    assert_eq!(found.artifact, Artifact::parse(&model.bytes()).unwrap());
    assert_eq!(found.warnings, Vec::<String>::new());
    let config = format!("GET /v2/m/blobs/{}", Digest::of(&model.config));
    assert_eq!(fake.lines(), ["GET /v2/m/manifests/t".to_owned(), config]);
    let accepted = fake.asked()[0].headers["accept"].clone();
    for kind in [
        media::MANIFEST,
        INDEX,
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    ] {
        assert!(accepted.contains(kind), "{accepted}");
    }
}

#[tokio::test]
async fn a_pinned_digest_is_asked_for_and_has_to_come() {
    let model = Model::new();
    let (id, other) = (model.id(), Digest::of(b"other"));
    let mut pages = model.pages();
    let swapped = pages["/v2/m/manifests/t"].clone();
    pages.insert(format!("/v2/m/manifests/{other}"), swapped);
    let fake = Fake::of(pages).await;
    assert_eq!(resolve(&fake, &format!("m@{id}")).await.unwrap().id, id);
    assert_eq!(resolve(&fake, &format!("m:gone@{id}")).await.unwrap().id, id);
    let error = resolve(&fake, &format!("m@{other}")).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::RegistryInvalid);
    assert!(error.message.contains(&other.to_string()), "{error}");
}

#[tokio::test]
async fn every_hostile_manifest_is_refused() {
    let model = Model::new();
    let with = |pointer: &str, value: Value| {
        let mut changed = model.manifest.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        manifest_reply(&changed)
    };
    let layer = model.manifest["layers"][0].clone();
    let mut both = model.manifest.clone();
    both["manifests"] = json!([]);
    let mut image = model.manifest.clone();
    image["config"]["mediaType"] = json!("application/vnd.oci.image.config.v1+json");
    let mut safetensors = model.manifest.clone();
    safetensors["layers"][0]["mediaType"] = json!("application/vnd.docker.ai.safetensors");
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    let mut docker_image = image.clone();
    docker_image["mediaType"] = json!(docker);
    let (invalid, unsupported) = (ErrorKind::RegistryInvalid, ErrorKind::UnsupportedModel);
    let text = model.manifest.to_string();
    let cases = [
        (invalid, "text/html", Reply::new(200, "<html>").header("content-type", "text/html")),
        (invalid, "no manifest", Reply::new(200, "")),
        (invalid, "no manifest", Reply::new(200, "null")),
        (invalid, "duplicate", {
            let twice = text.replacen('{', "{\"mediaType\":\"x\",", 1);
            Reply::new(200, twice)
        }),
        (invalid, "at once", manifest_reply(&both)),
        (invalid, "but it is", Reply::new(200, text.clone()).header("content-type", INDEX)),
        (invalid, "calls itself", with("/mediaType", json!(INDEX))),
        (invalid, "size -1", with("/layers/0/size", json!(-1))),
        (invalid, "bytes", with("/config/size", json!(model.config.len() + 1))),
        (invalid, "bytes", with("/config/size", json!(model.config.len() - 1))),
        (invalid, "more than 8388608", with("/config/size", json!(9 << 20))),
        (invalid, "layers, more than", {
            let thin = json!({"mediaType": "x", "digest": layer["digest"], "size": 1});
            with("/layers", json!(vec![thin; 20_000]))
        }),
        (invalid, "more than 4194304 bytes", with("/layers", json!(vec![layer; 100_000]))),
        (
            invalid,
            "same digest",
            with("/layers/0/digest", model.manifest["config"]["digest"].clone()),
        ),
        (invalid, "schema version 1", with("/schemaVersion", json!(1))),
        (unsupported, "oci.image.config", manifest_reply(&image)),
        (unsupported, "oci.image.config", manifest_reply(&docker_image)),
        (unsupported, "no GGUF", manifest_reply(&safetensors)),
        (invalid, "sends sha256", {
            let other = Digest::of(b"other").to_string();
            manifest_reply(&model.manifest).header("docker-content-digest", other)
        }),
        (invalid, "sends sha256", {
            manifest_reply(&model.manifest).header("docker-content-digest", "x")
        }),
        (invalid, "gzip", manifest_reply(&model.manifest).header("content-encoding", "gzip")),
        (invalid, "answers 204", Reply::new(204, "")),
    ];
    for (kind, part, reply) in cases {
        let mut pages = model.pages();
        pages.insert("/v2/m/manifests/t".to_owned(), reply);
        let error = refused(pages).await;
        assert!(error.message.contains(part), "{part}: {error}");
        assert_eq!(error.kind, kind, "{error}");
    }
}

#[tokio::test]
async fn the_config_has_to_be_the_promised_one() {
    let model = Model::new();
    let path = format!("/v2/m/blobs/{}", Digest::of(&model.config));
    let mut flipped = model.config.clone();
    flipped[3] ^= 1;
    for (reply, part) in [
        (Reply::new(404, ""), "404"),
        (Reply::new(200, flipped), "instead of"),
        (Reply::new(200, [&model.config[..], b" "].concat()), "more than"),
        (Reply::new(200, &model.config[1..]), "instead of"),
        (Reply::new(200, model.config.clone()).header("content-encoding", "gzip"), "gzip"),
        (Reply::new(206, model.config.clone()), "206"),
    ] {
        let mut pages = model.pages();
        pages.insert(path.clone(), reply);
        let error = refused(pages).await;
        assert_eq!(error.kind, ErrorKind::RegistryInvalid, "{error}");
        assert!(error.message.contains(part), "{part}: {error}");
    }
}

fn entry(bytes: &[u8]) -> Value {
    json!({"mediaType": media::MANIFEST, "digest": Digest::of(bytes).to_string(), "size": bytes.len()})
}

fn index_of(entries: &[Value]) -> Value {
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})
}

/// The pages of a model, with an index as `m:t` and further manifests by their digests.
fn indexed(model: &Model, entries: &[Value], further: &[&Value]) -> BTreeMap<String, Reply> {
    let mut pages = model.pages();
    for document in further {
        let id = Digest::of(document.to_string().as_bytes());
        pages.insert(format!("/v2/m/manifests/{id}"), manifest_reply(document));
    }
    pages.insert("/v2/m/manifests/t".to_owned(), manifest_reply(&index_of(entries)));
    pages
}

#[tokio::test]
async fn an_index_leads_to_its_one_model() {
    let model = Model::new();
    let mut image = model.manifest.clone();
    image["config"]["mediaType"] = json!("application/vnd.oci.image.config.v1+json");
    let plain = entry(&model.bytes());
    let mut typed = plain.clone();
    typed["artifactType"] = json!(media::CONFIG_V1);
    let of_image = entry(image.to_string().as_bytes());
    let mut attestation = of_image.clone();
    attestation["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    for entries in [
        vec![plain.clone()],
        vec![attestation.clone(), plain.clone()],
        vec![of_image.clone(), typed.clone()],
        vec![of_image.clone(), plain.clone()],
    ] {
        let fake = Fake::of(indexed(&model, &entries, &[&image])).await;
        let found = resolve(&fake, "m:t").await.unwrap();
        assert_eq!(found.id, model.id(), "{entries:?}");
    }
}

#[tokio::test]
async fn an_index_without_one_model_is_refused() {
    let model = Model::new();
    let plain = entry(&model.bytes());
    let mut second = model.manifest.clone();
    second["annotations"] = json!({"a": "b"});
    let mut image = model.manifest.clone();
    image["config"]["mediaType"] = json!("application/vnd.oci.image.config.v1+json");
    let inner = index_of(std::slice::from_ref(&plain));
    let mut nested = entry(inner.to_string().as_bytes());
    nested["mediaType"] = json!(media::MANIFEST);
    let mut list = nested.clone();
    list["mediaType"] = json!(INDEX);
    let changed = |key: &str, value: Value| {
        let mut entry = plain.clone();
        entry[key] = value;
        entry
    };
    let of_second = entry(second.to_string().as_bytes());
    let of_image = entry(image.to_string().as_bytes());
    let (invalid, unsupported) = (ErrorKind::RegistryInvalid, ErrorKind::UnsupportedModel);
    for (kind, part, entries) in [
        (unsupported, "none of which", vec![]),
        (unsupported, "none of which", vec![list]),
        (invalid, "another index", vec![nested]),
        (unsupported, "2 models", vec![plain.clone(), of_second]),
        (unsupported, "oci.image.config", vec![of_image]),
        (unsupported, "9 manifests", vec![plain.clone(); 9]),
        (invalid, "more than 1024", vec![plain.clone(); 1025]),
        (invalid, "of -1 bytes", vec![changed("size", json!(-1))]),
        (invalid, "bytes", vec![changed("size", json!(5))]),
        (invalid, "bytes", vec![changed("size", json!(5_000))]),
        (invalid, "no sha256", vec![changed("digest", json!("sha256:../../x"))]),
    ] {
        let error = refused(indexed(&model, &entries, &[&second, &image, &inner])).await;
        assert!(error.message.contains(part), "{part}: {error}");
        assert_eq!(error.kind, kind, "{error}");
    }
}

#[tokio::test]
async fn an_index_that_names_itself_is_not_followed() {
    // By its own digest it cannot; under a name that a lying registry gives it, it can.
    let model = Model::new();
    let fake = Fake::start(move |asked, _| {
        let entry = json!({
            "mediaType": media::MANIFEST, "digest": model.id().to_string(), "size": 200
        });
        match asked.path.as_str() {
            path if path.contains("/manifests/") => manifest_reply(&index_of(&[entry])),
            _ => Reply::new(404, ""),
        }
    })
    .await;
    let error = resolve(&fake, "m:t").await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::RegistryInvalid);
    assert_eq!(fake.lines().len(), 2);
}

#[tokio::test]
async fn what_a_registry_refuses_is_said_with_what_to_do() {
    let denied = r#"{"errors":[{"code":"DENIED","message":"not yours"}]}"#;
    for (status, body, kind, part) in [
        (401, "", ErrorKind::RegistryUnauthorized, "modeld login 127.0.0.1:"),
        (403, denied, ErrorKind::RegistryUnauthorized, "DENIED, not yours"),
        (404, "", ErrorKind::RegistryNotFound, "does not have"),
        (400, "", ErrorKind::RegistryInvalid, "400"),
    ] {
        let fake = Fake::start(move |_, _| Reply::new(status, body)).await;
        let error = resolve(&fake, "m:t").await.err().unwrap();
        assert_eq!(error.kind, kind);
        assert!(error.message.contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_missing_tag_brings_the_tags_that_there_are() {
    let tags = r#"{"name":"m","tags":["135M-Q4_0","latest"]}"#;
    let pages = BTreeMap::from([("/v2/m/tags/list?n=200".to_owned(), Reply::new(200, tags))]);
    let error = refused(pages).await;
    assert_eq!(error.kind, ErrorKind::RegistryNotFound);
    assert!(error.message.ends_with("it has the tags latest, 135M-Q4_0"), "{error}");
}

#[tokio::test]
async fn passing_faults_are_tried_again_and_the_last_one_is_said() {
    let model = Model::new();
    let pages = model.pages();
    let fake = Fake::start(move |asked, before| match before {
        0 => Reply::new(503, ""),
        1 => Reply::new(429, "").header("retry-after", "0"),
        _ => pages[&asked.path].clone(),
    })
    .await;
    resolve(&fake, "m:t").await.unwrap();
    assert_eq!(fake.lines().len(), 6);

    let busy = Fake::start(|_, _| Reply::new(429, "").header("retry-after", "7200")).await;
    let error = resolve(&busy, "m:t").await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::RegistryUnavailable);
    assert_eq!(error.retry_after, Some(Duration::from_secs(3600)));
    assert_eq!(busy.lines().len(), 1);

    let down = Fake::start(|_, _| Reply::new(500, "")).await;
    let error = resolve(&down, "m:t").await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::RegistryUnavailable);
    assert_eq!(down.lines().len(), 4);
}

#[tokio::test]
async fn ids_have_no_registry() {
    let client = client(OciOptions::default(), None);
    for id in ["0123456789ab", &Digest::of(b"x").to_string()] {
        let reference = ModelRef::parse(id).unwrap();
        let error = client.resolve(&reference, None).await.err().unwrap();
        assert_eq!(error.kind, ErrorKind::InvalidReference);
    }
}

// Blobs.

/// Opens a range of the model's weights where the registry answers it with `reply`.
async fn open(
    range: std::ops::Range<u64>,
    reply: impl Fn(&Asked, &[u8]) -> Reply + Send + Sync + 'static,
) -> (Fake, Result<BlobBody, FetchError>) {
    let model = Model::new();
    let blob = descriptor(&model.weights);
    let (pages, weights) = (model.pages(), model.weights.clone());
    let fake = Fake::start(move |asked, _| match asked.path.ends_with(&blob.digest.to_string()) {
        true => reply(asked, &weights),
        false => pages[&asked.path].clone(),
    })
    .await;
    let found = resolve(&fake, "m:t").await.unwrap();
    let body = found.blobs.open(&blob, range).await;
    (fake, body)
}

fn descriptor(bytes: &[u8]) -> Descriptor {
    Descriptor { digest: Digest::of(bytes), size: bytes.len() as u64 }
}

async fn read(body: BlobBody) -> Result<Vec<u8>, FetchError> {
    let pieces: Vec<_> = body.stream.collect().await;
    let mut bytes = Vec::new();
    for piece in pieces {
        bytes.extend_from_slice(&piece?);
    }
    Ok(bytes)
}

fn partial(bytes: &[u8], range: &str) -> Reply {
    Reply::new(206, bytes).header("content-range", range)
}

#[tokio::test]
async fn ranges_are_asked_for_and_come() {
    let (fake, body) = open(100..200, |_, weights| {
        partial(&weights[100..200], "bytes 100-199/10000").header("etag", "\"x\"")
    })
    .await;
    let body = body.unwrap();
    assert_eq!((body.start, body.end), (100, 200));
    assert_eq!(body.validator.clone().unwrap(), format!("{} \"x\"", fake.host));
    assert_eq!(read(body).await.unwrap(), &Model::new().weights[100..200]);
    let asked = fake.asked().pop().unwrap();
    assert_eq!(asked.headers["range"], "bytes=100-199");
    assert_eq!(asked.headers["accept-encoding"], "identity");
}

#[tokio::test]
async fn a_whole_blob_is_asked_for_without_a_range_and_an_empty_one_not_at_all() {
    let (fake, body) =
        open(0..10_000, |_, weights| Reply::new(200, weights).header("etag", "W/\"weak\"")).await;
    let body = body.unwrap();
    assert_eq!((body.start, body.end, body.validator.clone()), (0, 10_000, None));
    assert_eq!(read(body).await.unwrap(), Model::new().weights);
    assert!(!fake.asked().pop().unwrap().headers.contains_key("range"));

    let (fake, body) = open(10_000..10_000, |_, _| Reply::new(416, "")).await;
    assert_eq!(read(body.unwrap()).await.unwrap(), b"");
    assert_eq!(fake.lines().len(), 2);
}

#[tokio::test]
async fn a_source_without_ranges_answers_from_the_beginning() {
    let (_fake, body) = open(100..200, |_, weights| Reply::new(200, weights)).await;
    let body = body.unwrap();
    assert_eq!((body.start, body.end), (0, 10_000));
    assert_eq!(read(body).await.unwrap().len(), 10_000);
}

#[tokio::test]
async fn every_wrong_answer_to_a_range_is_refused() {
    type Answer = fn(&[u8]) -> Reply;
    let cases: [(&str, Answer); 13] = [
        ("offset", |w| partial(&w[101..201], "bytes 101-200/10000")),
        ("shorter", |w| partial(&w[100..150], "bytes 100-149/10000")),
        ("longer", |w| partial(&w[100..300], "bytes 100-299/10000")),
        ("total", |w| partial(&w[100..200], "bytes 100-199/10001")),
        ("unknown total", |w| partial(&w[100..200], "bytes 100-199/*")),
        ("no range", |w| Reply::new(206, &w[100..200])),
        ("two ranges", |w| {
            partial(&w[100..200], "bytes 100-199/10000").header("content-range", "bytes 0-9/10000")
        }),
        ("length", |w| partial(&w[100..199], "bytes 100-199/10000")),
        ("empty", |_| partial(b"", "bytes 100-199/10000")),
        ("gzip", |w| {
            partial(&w[100..200], "bytes 100-199/10000").header("content-encoding", "gzip")
        }),
        ("whole but shorter", |w| Reply::new(200, &w[..9_999])),
        ("not there", |_| Reply::new(404, "")),
        ("range refused", |_| {
            // Less than it says, as one well-known registry does.
            Reply::new(416, "x")
                .header("content-length", "10000")
                .header("content-range", "bytes */10000")
        }),
    ];
    for (what, answer) in cases {
        let (_fake, body) = open(100..200, move |_, weights| answer(weights)).await;
        let error = body.err().unwrap_or_else(|| panic!("{what} was taken"));
        assert_eq!(error.retry, Retry::Never, "{what}: {error}");
        let expected = match what {
            "not there" => ErrorKind::RegistryNotFound,
            _ => ErrorKind::RegistryInvalid,
        };
        assert_eq!(error.error.kind, expected, "{what}: {error}");
    }
}

#[tokio::test]
async fn a_partial_answer_to_the_whole_is_refused() {
    let (_fake, body) = open(0..10_000, |_, w| partial(w, "bytes 0-9999/10000")).await;
    assert_eq!(body.err().unwrap().error.kind, ErrorKind::RegistryInvalid);
}

#[tokio::test]
async fn a_body_that_ends_early_or_goes_on_is_an_error_in_the_stream() {
    let (_fake, body) =
        open(100..200, |_, w| partial(&w[100..150], "bytes 100-199/10000").endless()).await;
    let error = read(body.unwrap()).await.unwrap_err();
    assert_eq!(error.retry, Retry::Soon);
    assert!(error.to_string().contains("50 of 100 bytes"), "{error}");

    let (_fake, body) =
        open(100..200, |_, w| partial(&w[100..300], "bytes 100-199/10000").endless()).await;
    let error = read(body.unwrap()).await.unwrap_err();
    assert_eq!((error.retry, error.error.kind), (Retry::Never, ErrorKind::RegistryInvalid));
}

#[tokio::test]
async fn an_overloaded_registry_says_when_to_come_back() {
    let (_fake, body) = open(100..200, |_, _| Reply::new(429, "").header("retry-after", "9")).await;
    let error = body.err().unwrap();
    assert_eq!(error.retry, Retry::After(Duration::from_secs(9)));
}

// Mirrors.

fn mirrored(fake: &Fake, mirrors: &[String]) -> OciOptions {
    let mut table = MirrorTable::default();
    for mirror in mirrors {
        table.add(&fake.host, mirror).unwrap();
    }
    OciOptions { mirrors: table, ..OciOptions::default() }
}

#[tokio::test]
async fn a_mirror_is_asked_first_and_sees_no_token_of_the_registry() {
    let model = Model::new();
    let pages = model.pages();
    let mirror = Fake::start(move |asked, _| {
        let path = asked.path.strip_prefix("/hub").unwrap_or_default();
        pages.get(path).cloned().unwrap_or_else(|| Reply::new(404, ""))
    })
    .await;
    let origin = Fake::of(BTreeMap::new()).await;
    let options = mirrored(&origin, &[format!("http://{}/hub/v2/", mirror.host)]);
    let token = SecretString::from("secret");
    let client = client(options, None);
    let found = client.resolve(&origin.reference("m:t"), Some(&token)).await.unwrap();
    let weights = descriptor(&model.weights);
    let body = found.blobs.open(&weights, 0..weights.size).await.unwrap();
    assert_eq!(read(body).await.unwrap(), model.weights);
    assert_eq!(origin.lines(), Vec::<String>::new());
    let asked = mirror.asked();
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|asked| !asked.headers.contains_key("authorization")));
}

#[tokio::test]
async fn a_mirror_that_fails_is_passed_over_with_a_warning() {
    let model = Model::new();
    let missing = Fake::of(BTreeMap::new()).await;
    let lying = Fake::start(|_, _| Reply::new(200, "<html>")).await;
    let origin = Fake::of(model.pages()).await;
    let mirrors = [&missing, &lying].map(|fake| format!("http://{}", fake.host));
    let token = SecretString::from("secret");
    let client = client(mirrored(&origin, &mirrors), None);
    let found = client.resolve(&origin.reference("m:t"), Some(&token)).await.unwrap();
    assert_eq!(found.id, model.id());
    assert_eq!(found.warnings.len(), 2);
    assert!(found.warnings[0].contains(&missing.host) && found.warnings[1].contains(&lying.host));
    assert!(origin.asked().iter().all(|asked| asked.headers["authorization"] == "Bearer secret"));
}

#[tokio::test]
async fn layers_come_from_elsewhere_when_a_mirror_loses_them() {
    let model = Model::new();
    let weights = descriptor(&model.weights);
    let mut pages = model.pages();
    pages.insert(format!("/v2/m/blobs/{}", weights.digest), Reply::new(500, ""));
    let mirror = Fake::of(pages).await;
    let origin = Fake::of(model.pages()).await;
    let client = client(mirrored(&origin, &[format!("http://{}", mirror.host)]), None);
    let found = client.resolve(&origin.reference("m:t"), None).await.unwrap();
    for _again in 0..2 {
        let body = found.blobs.open(&weights, 0..weights.size).await.unwrap();
        assert_eq!(read(body).await.unwrap(), model.weights);
    }
    assert_eq!((mirror.lines().len(), origin.lines().len()), (3, 2));
}

// Pushes; the ones to a real registry are in tests/it.

/// A registry that takes uploads, at `/up`.
fn taking(asked: &Asked, stored: &Mutex<Vec<u8>>) -> Reply {
    let location = |reply: Reply| reply.header("location", "/up?state=1");
    match (asked.method.as_str(), asked.path.as_str()) {
        ("POST", _) => location(Reply::new(202, "")),
        ("PATCH", _) => {
            stored.lock().unwrap().extend_from_slice(&asked.body);
            location(Reply::new(202, ""))
        }
        ("PUT", path) if path.starts_with("/up") => {
            stored.lock().unwrap().extend_from_slice(&asked.body);
            location(Reply::new(201, ""))
        }
        ("PUT", path) if path.contains("/manifests/") => {
            stored.lock().unwrap().clone_from(&asked.body);
            location(Reply::new(201, ""))
        }
        ("GET", path) if path.contains("/manifests/") => {
            Reply::new(200, stored.lock().unwrap().clone())
        }
        _ => Reply::new(404, ""),
    }
}

fn outgoing(model: &Model) -> OutgoingModel {
    let blobs = [model.weights.clone(), model.config.clone()];
    OutgoingModel {
        manifest: model.bytes(),
        artifact: Artifact::parse(&model.bytes()).unwrap(),
        open: Arc::new(move |digest| {
            use std::io::{Seek as _, Write as _};
            let bytes = blobs.iter().find(|bytes| Digest::of(bytes) == *digest).unwrap();
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            file.rewind().unwrap();
            Ok(file)
        }),
    }
}

fn progress() -> (ProgressSink, Arc<Mutex<Vec<LayerProgress>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    (Arc::new(move |progress| sink.lock().unwrap().push(progress)), seen)
}

#[tokio::test]
async fn a_registry_that_takes_no_large_requests_gets_pieces() {
    let model = Model::new();
    let stored = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&stored);
    let weights = Digest::of(&model.weights).to_string();
    let has_config = format!("/v2/m/blobs/{}", Digest::of(&model.config));
    let blob = Arc::new(Mutex::new(Vec::new()));
    let bytes = Arc::clone(&blob);
    let fake = Fake::start(move |asked, _| {
        let in_one = asked.method == "PUT" && asked.path.contains(&*weights.replace(':', "%3A"));
        if asked.path == has_config {
            return Reply::new(200, "");
        }
        if in_one && !asked.body.is_empty() {
            return Reply::new(413, "too large");
        }
        if asked.method == "PATCH" {
            bytes.lock().unwrap().extend_from_slice(&asked.body);
        }
        taking(asked, &kept)
    })
    .await;
    let (sink, seen) = progress();
    client(OciOptions::default(), Some(("alice", "pw")))
        .push(&fake.reference("m:t"), outgoing(&model), None, sink)
        .await
        .unwrap();
    assert_eq!(*blob.lock().unwrap(), model.weights);
    assert_eq!(*stored.lock().unwrap(), model.bytes());
    let asked = fake.asked();
    let manifest = asked.iter().find(|asked| asked.line() == "PUT /v2/m/manifests/t").unwrap();
    assert_eq!(manifest.headers["content-type"], media::MANIFEST);
    assert!(asked.iter().all(|asked| asked.headers["authorization"].starts_with("Basic ")));
    // No question about how to authorise: the answer could name any host.
    assert!(asked.iter().all(|asked| asked.path != "/v2/"), "{:?}", fake.lines());
    let seen = seen.lock().unwrap();
    for bytes in [&model.weights, &model.config] {
        let own: Vec<u64> = seen
            .iter()
            .filter(|progress| progress.layer == Digest::of(bytes))
            .map(|progress| progress.current)
            .collect();
        assert!(own.is_sorted(), "{own:?}");
        assert_eq!(own.last(), Some(&(bytes.len() as u64)));
    }
}

#[tokio::test]
async fn a_registry_that_keeps_another_manifest_is_found_out() {
    let model = Model::new();
    let fake = Fake::start(|asked, _| match asked.method.as_str() {
        "HEAD" => Reply::new(200, ""),
        "PUT" => Reply::new(201, "").header("location", "/x"),
        _ => Reply::new(200, "{}"),
    })
    .await;
    let (sink, _) = progress();
    let error = client(OciOptions::default(), None)
        .push(&fake.reference("m:t"), outgoing(&model), None, sink)
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::RegistryInvalid);
    assert!(error.message.contains(&model.id().to_string()), "{error}");
}

#[tokio::test]
async fn a_push_that_is_refused_says_what_to_do() {
    let model = Model::new();
    let fake = Fake::start(|asked, _| match asked.method.as_str() {
        "HEAD" => Reply::new(404, ""),
        _ => Reply::new(401, r#"{"errors":[{"code":"UNAUTHORIZED","message":"who?"}]}"#),
    })
    .await;
    let (sink, _) = progress();
    let error = client(OciOptions::default(), None)
        .push(&fake.reference("m:t"), outgoing(&model), None, sink)
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::RegistryUnauthorized);
    assert!(error.message.contains("modeld login") && error.message.contains("who?"), "{error}");
}

#[tokio::test]
async fn a_push_needs_a_tag() {
    let model = Model::new();
    let (sink, _) = progress();
    let reference = ModelRef::parse(&format!("localhost:1/m:t@{}", model.id())).unwrap();
    let error = client(OciOptions::default(), None)
        .push(&reference, outgoing(&model), None, sink)
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidReference);
}

#[tokio::test]
async fn a_token_that_is_no_token_does_not_reach_the_client() {
    let model = Model::new();
    let fake = Fake::of(BTreeMap::new()).await;
    let (sink, _) = progress();
    let token = SecretString::from("a\nb");
    let error = client(OciOptions::default(), None)
        .push(&fake.reference("m:t"), outgoing(&model), Some(&token), sink)
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::RegistryInvalid);
    assert_eq!(fake.lines(), Vec::<String>::new());
}
