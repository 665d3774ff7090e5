//! Pulls of models that must be signed, from a registry that has all sorts of signatures.

use std::collections::BTreeMap;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::testing::{Fake, Model, Reply, client};
use super::{MirrorTable, OciOptions};
use crate::domain::{Digest, Error, ErrorKind};
use crate::registry::signature::Keyring;
use crate::registry::{Registry as _, RemoteModel, media};

const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const ARTIFACT: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

type Pages = BTreeMap<String, Reply>;

struct Signer(EcdsaKeyPair);

impl Signer {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
    }

    fn pem(&self) -> String {
        let der: PublicKeyX509Der<'_> = self.0.public_key().as_der().unwrap();
        let text = STANDARD.encode(der.as_ref());
        format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
    }

    fn sign(&self, payload: &[u8]) -> Signed {
        let signature = self.0.sign(&SystemRandom::new(), payload).unwrap();
        Signed { payload: payload.to_vec(), signature: STANDARD.encode(signature) }
    }

    /// As cosign does it, without the name of a repository.
    fn model(&self, model: &Model) -> Signed {
        self.sign(&payload(model.id(), ""))
    }
}

#[derive(Clone)]
struct Signed {
    payload: Vec<u8>,
    signature: String,
}

impl Signed {
    fn layer(&self) -> Value {
        json!({
            "mediaType": SIMPLE_SIGNING,
            "digest": Digest::of(&self.payload).to_string(),
            "size": self.payload.len(),
            "annotations": {"dev.cosignproject.cosign/signature": self.signature},
        })
    }
}

fn payload(manifest: Digest, repository: &str) -> Vec<u8> {
    let payload = json!({
        "critical": {
            "identity": {"docker-reference": repository},
            "image": {"docker-manifest-digest": manifest.to_string()},
            "type": "cosign container image signature",
        },
        "optional": null,
    });
    payload.to_string().into_bytes()
}

fn manifest(layers: &[Value]) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": media::MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": Digest::of(b"{}").to_string(),
            "size": 2,
        },
        "layers": layers,
    })
}

fn reply(document: &Value) -> Reply {
    let kind = document["mediaType"].as_str().unwrap();
    Reply::new(200, document.to_string()).header("content-type", kind)
}

fn tag(model: &Model) -> String {
    format!("/v2/m/manifests/sha256-{}.sig", model.id().hex())
}

fn referrers(model: &Model) -> String {
    let kind = "application%2Fvnd.dev.cosign.artifact.sig.v1%2Bjson";
    format!("/v2/m/referrers/{}?artifactType={kind}", model.id())
}

/// A registry's pages with the model, and these signatures under the tag.
fn signed(model: &Model, signatures: &[Signed]) -> Pages {
    let mut pages = with_payloads(model, signatures);
    let layers: Vec<Value> = signatures.iter().map(Signed::layer).collect();
    pages.insert(tag(model), reply(&manifest(&layers)));
    pages
}

fn with_payloads(model: &Model, signatures: &[Signed]) -> Pages {
    let mut pages = model.pages();
    for Signed { payload, .. } in signatures {
        let path = format!("/v2/m/blobs/{}", Digest::of(payload));
        pages.insert(path, Reply::new(200, payload.clone()));
    }
    pages
}

/// An entry for a list of referrers, and the page that it leads to.
fn referrer(pages: &mut Pages, kind: &str, layers: &[Value]) -> Value {
    let document = manifest(layers);
    let bytes = document.to_string();
    let digest = Digest::of(bytes.as_bytes());
    pages.insert(format!("/v2/m/manifests/{digest}"), reply(&document));
    json!({
        "mediaType": media::MANIFEST,
        "artifactType": kind,
        "digest": digest.to_string(),
        "size": bytes.len(),
    })
}

fn list(entries: &[Value]) -> Reply {
    reply(&json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}))
}

fn keyring(pattern: &str, signers: &[&Signer]) -> Keyring {
    let dir = tempfile::tempdir().unwrap();
    let keys = signers.iter().enumerate().map(|(n, signer)| {
        let file = dir.path().join(format!("{n}.pub"));
        std::fs::write(&file, signer.pem()).unwrap();
        (pattern.to_owned(), file)
    });
    Keyring::new(keys.collect()).unwrap()
}

async fn pull(fake: &Fake, rest: &str, signatures: Keyring) -> Result<RemoteModel, Error> {
    let options = OciOptions { signatures, ..OciOptions::default() };
    client(options, None).resolve(&fake.reference(rest), None).await
}

/// What a pull of `m:t` says where all models must be signed by `signer`.
async fn pulled(pages: Pages, signer: &Signer) -> Result<RemoteModel, Error> {
    pull(&Fake::of(pages).await, "m:t", keyring("*", &[signer])).await
}

async fn refused(pages: Pages, signer: &Signer) -> String {
    let error = pulled(pages, signer).await.err().expect("it was pulled");
    assert_eq!(error.kind, ErrorKind::SignatureRefused, "{error}");
    error.message
}

#[tokio::test]
async fn a_signed_model_is_pulled_by_tag_and_by_digest() {
    let (model, signer) = (Model::new(), Signer::new());
    let fake = Fake::of(signed(&model, &[signer.model(&model)])).await;
    for rest in ["m:t".to_owned(), format!("m@{}", model.id())] {
        let found = pull(&fake, &rest, keyring("*", &[&signer])).await.unwrap();
        assert_eq!(found.id, model.id());
    }
    let asked = fake.lines();
    assert_eq!(asked.iter().filter(|line| line.contains(".sig")).count(), 2, "{asked:?}");
    assert!(!asked.iter().any(|line| line.contains("referrers")), "{asked:?}");
}

#[tokio::test]
async fn an_unsigned_model_is_refused_by_tag_and_by_digest() {
    let (model, signer) = (Model::new(), Signer::new());
    let fake = Fake::of(model.pages()).await;
    for rest in ["m:t".to_owned(), format!("m@{}", model.id())] {
        let error = pull(&fake, &rest, keyring("*", &[&signer])).await.err().unwrap();
        assert_eq!(error.kind, ErrorKind::SignatureRefused);
        for part in ["\"*\" in --signature-key", "no signature was found", &model.id().to_string()]
        {
            assert!(error.message.contains(part), "{part}: {error}");
        }
    }
}

#[tokio::test]
async fn only_matching_repositories_must_be_signed() {
    let (model, signer) = (Model::new(), Signer::new());
    let fake = Fake::of(model.pages()).await;
    let other = keyring("docker.io/myorg/*", &[&signer]);
    assert_eq!(pull(&fake, "m:t", other).await.unwrap().id, model.id());
    assert!(!fake.lines().iter().any(|line| line.contains(".sig")), "{:?}", fake.lines());
    let host = &fake.host;
    for pattern in [format!("{host}/*"), format!("{host}/m")] {
        let error = pull(&fake, "m:t", keyring(&pattern, &[&signer])).await.err().unwrap();
        assert_eq!(error.kind, ErrorKind::SignatureRefused, "{pattern}");
    }
}

#[tokio::test]
async fn every_bad_signature_is_refused_for_its_own_reason() {
    let (model, signer, other) = (Model::new(), Signer::new(), Signer::new());
    let good = signer.model(&model);
    let elsewhere = Digest::of(b"another model");
    let changed = |change: fn(&mut Signed)| {
        let mut changed = good.clone();
        change(&mut changed);
        changed
    };
    for (signature, part) in [
        (other.model(&model), "another key made it"),
        (signer.sign(&payload(elsewhere, "")), &*format!("for the manifest \"{elsewhere}\"")),
        (signer.sign(&payload(model.id(), "ghcr.io/x/m")), "for the repository \"ghcr.io/x/m\""),
        (signer.sign(b"{}"), "payload cannot be read"),
        // White space means nothing to JSON, but everything to a signature.
        (changed(|it| it.payload.push(b' ')), "its payload was changed"),
        (changed(|it| it.signature.clear()), "another key made it"),
        (changed(|it| it.signature.push('!')), "no signature in base64"),
        (changed(|it| it.signature = "A".repeat(5000)), "no signature in base64"),
        (signer.sign(&[b' '; 70_000]), "of 70000 bytes is not read"),
    ] {
        let message = refused(signed(&model, &[signature]), &signer).await;
        assert!(message.contains("the one signature found is not accepted"), "{message}");
        assert!(message.contains(part), "{part}: {message}");
    }
}

#[tokio::test]
async fn the_registry_cannot_change_a_payload_or_hide_behind_it() {
    let (model, signer) = (Model::new(), Signer::new());
    let good = signer.model(&model);
    let path = format!("/v2/m/blobs/{}", Digest::of(&good.payload));
    for (answer, part) in [
        (Reply::new(200, payload(Digest::of(b"x"), "")), "instead of"),
        (Reply::new(404, ""), "404"),
    ] {
        let mut pages = signed(&model, std::slice::from_ref(&good));
        pages.insert(path.clone(), answer);
        let message = refused(pages, &signer).await;
        assert!(message.contains(part), "{part}: {message}");
    }
    for (document, part) in [
        ("{\"layers\":[", "sends no manifest"),
        ("{\"layers\":{}}", "no manifest of signatures"),
        ("{\"manifests\":[]}", "no manifest of signatures"),
    ] {
        let mut pages = model.pages();
        pages.insert(tag(&model), Reply::new(200, document));
        let message = refused(pages, &signer).await;
        assert!(message.contains(part), "{part}: {message}");
    }
}

#[tokio::test]
async fn a_payload_may_name_this_repository() {
    let (model, signer) = (Model::new(), Signer::new());
    // The name has the port, which is known only when the registry is there.
    let slot = std::sync::Arc::new(std::sync::Mutex::new(Pages::new()));
    let shared = std::sync::Arc::clone(&slot);
    let fake = Fake::start(move |asked, _| {
        shared.lock().unwrap().get(&asked.path).cloned().unwrap_or_else(|| Reply::new(404, ""))
    })
    .await;
    let named = signer.sign(&payload(model.id(), &format!("{}/m", fake.host)));
    *slot.lock().unwrap() = signed(&model, &[named]);
    pull(&fake, "m:t", keyring("*", &[&signer])).await.unwrap();
    let other = signer.sign(&payload(model.id(), &format!("{}/n", fake.host)));
    *slot.lock().unwrap() = signed(&model, &[other]);
    let error = pull(&fake, "m:t", keyring("*", &[&signer])).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::SignatureRefused);
}

#[tokio::test]
async fn one_good_signature_by_any_of_the_keys_is_enough() {
    let (model, signer, other) = (Model::new(), Signer::new(), Signer::new());
    let (good, bad) = (signer.model(&model), other.sign(b"{}"));
    for order in [[good.clone(), bad.clone()], [bad, good]] {
        let fake = Fake::of(signed(&model, &order)).await;
        pull(&fake, "m:t", keyring("*", &[&signer])).await.unwrap();
        pull(&fake, "m:t", keyring("*", &[&Signer::new(), &signer])).await.unwrap();
    }
}

#[tokio::test]
async fn of_a_thousand_signatures_the_newest_are_read() {
    let (model, signer, other) = (Model::new(), Signer::new(), Signer::new());
    let mut all: Vec<Signed> = (0..1000_u32).map(|n| other.sign(&n.to_le_bytes())).collect();
    let fake = Fake::of(signed(&model, &all)).await;
    let error = pull(&fake, "m:t", keyring("*", &[&signer])).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::SignatureRefused);
    assert!(error.message.contains("none of the 1000 signatures"), "{error}");
    assert!(error.message.contains("only the newest 50 were read"), "{error}");
    assert!(error.message.len() < 2000, "{error}");
    // Besides the model's config.
    let blobs = fake.lines().iter().filter(|line| line.contains("/blobs/")).count();
    assert_eq!(blobs, 51);
    all[960] = signer.model(&model);
    pulled(signed(&model, &all), &signer).await.unwrap();
    all.swap(960, 900);
    refused(signed(&model, &all), &signer).await;
}

#[tokio::test]
async fn what_refers_to_the_model_is_looked_at_next() {
    let (model, signer, other) = (Model::new(), Signer::new(), Signer::new());
    let (good, bad) = (signer.model(&model), other.model(&model));
    let mut pages = with_payloads(&model, std::slice::from_ref(&good));
    let bad = [referrer(&mut pages, ARTIFACT, &[bad.layer()])];
    let both = [bad[0].clone(), referrer(&mut pages, ARTIFACT, &[good.layer()])];
    let bundle = referrer(&mut pages, "application/vnd.dev.sigstore.bundle.v0.3+json", &[]);
    let by_tag = format!("/v2/m/manifests/sha256-{}", model.id().hex());
    for path in [referrers(&model), by_tag.clone()] {
        let mut pages = pages.clone();
        pages.insert(path.clone(), list(&both));
        pulled(pages.clone(), &signer).await.unwrap();
        pages.insert(path.clone(), list(&bad));
        let message = refused(pages.clone(), &signer).await;
        assert!(message.contains("the one signature found is not accepted: another key"));
        pages.insert(path, list(std::slice::from_ref(&bundle)));
        let message = refused(pages, &signer).await;
        assert!(message.contains("1 are sigstore bundles"), "{message}");
    }
    // Registries that do not know the question answer it in many ways.
    for answer in [Reply::new(401, ""), Reply::new(400, ""), Reply::new(200, "<html>")] {
        let mut pages = pages.clone();
        pages.insert(referrers(&model), answer);
        pages.insert(by_tag.clone(), list(&both));
        pulled(pages, &signer).await.unwrap();
    }
}

#[tokio::test]
async fn a_failing_registry_is_no_unsigned_model() {
    let (model, signer) = (Model::new(), Signer::new());
    let good = signer.model(&model);
    let blob = format!("/v2/m/blobs/{}", Digest::of(&good.payload));
    for (path, status, kind) in [
        (tag(&model), 503, ErrorKind::RegistryUnavailable),
        (tag(&model), 429, ErrorKind::RegistryUnavailable),
        (tag(&model), 401, ErrorKind::RegistryUnauthorized),
        (blob, 500, ErrorKind::RegistryUnavailable),
    ] {
        let mut pages = signed(&model, std::slice::from_ref(&good));
        pages.insert(path, Reply::new(status, ""));
        let error = pulled(pages, &signer).await.err().unwrap();
        assert_eq!(error.kind, kind, "{error}");
    }
    let mut pages = model.pages();
    pages.insert(referrers(&model), Reply::new(503, ""));
    let error = pulled(pages, &signer).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::RegistryUnavailable, "{error}");
}

#[tokio::test]
async fn a_mirror_may_have_the_signatures_or_not() {
    let (model, signer) = (Model::new(), Signer::new());
    let (with, without) = (signed(&model, &[signer.model(&model)]), model.pages());
    let mut broken = model.pages();
    broken.insert(tag(&model), Reply::new(503, ""));
    for (mirror, own, good) in [
        (&with, &Pages::new(), true),
        (&without, &with, true),
        (&broken, &with, true),
        (&without, &without, false),
    ] {
        let (mirror, own) = (Fake::of(mirror.clone()).await, Fake::of(own.clone()).await);
        let mut mirrors = MirrorTable::default();
        mirrors.add(&own.host, &format!("http://{}", mirror.host)).unwrap();
        let signatures = keyring("*", &[&signer]);
        let options = OciOptions { mirrors, signatures, ..OciOptions::default() };
        let result = client(options, None).resolve(&own.reference("m:t"), None).await;
        match result {
            Ok(found) => assert!(good && found.id == model.id() && found.warnings.is_empty()),
            Err(error) => assert!(!good && error.kind == ErrorKind::SignatureRefused, "{error}"),
        }
    }
}

#[tokio::test]
async fn a_mirror_with_another_model_is_passed_over() {
    let (model, signer) = (Model::new(), Signer::new());
    let mut stale = Model::new();
    stale.manifest["annotations"] = json!({"version": "stale"});
    let own = Fake::of(signed(&model, &[signer.model(&model)])).await;
    let mirror = Fake::of(stale.pages()).await;
    let mut mirrors = MirrorTable::default();
    mirrors.add(&own.host, &format!("http://{}", mirror.host)).unwrap();
    let options =
        OciOptions { mirrors, signatures: keyring("*", &[&signer]), ..Default::default() };
    let found = client(options, None).resolve(&own.reference("m:t"), None).await.unwrap();
    assert_eq!(found.id, model.id());
    assert!(found.warnings[0].contains("was passed over"), "{:?}", found.warnings);
}
