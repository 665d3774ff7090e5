//! From a file through a real registry and back, as a person does it, and with others at the other
//! end: what we push they read, what they push we run.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::daemon::modeld;
use crate::support::fake_registry::{FakeRegistry, digest};
use crate::support::layout::sha256;
use crate::support::pulling::{ANSWER, LICENSE, WEIGHTS, answer, chat, create, lines, pull, sound};
use crate::support::registry::{Registry, USER, skopeo};
use crate::support::{Daemon, models};

/// All blobs of a store, by name.
fn blobs(store: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(store.join("blobs/sha256")).unwrap().flatten();
    let name = |entry: &fs::DirEntry| entry.file_name().into_string().unwrap();
    files.map(|entry| (name(&entry), fs::read(entry.path()).unwrap())).collect()
}

fn id_of(daemon: &Daemon, name: &str) -> Value {
    daemon.client().get(&format!("/models/{name}")).expect(200).json()["id"].clone()
}

/// Packages a model with a licence, as `name`.
fn package(daemon: &Daemon, name: &str) -> Value {
    let weights = daemon.file("model.gguf", &models::hello().bytes());
    let license = daemon.file("LICENSE", b"Do what you like.\n");
    daemon.cli_ok(&["package", "--gguf", &weights, "--license", &license, name]);
    id_of(daemon, name)
}

/// Push, remove, pull; by the command and by the API.
fn there_and_back(daemon: &Daemon, name: &str) {
    let id = package(daemon, name);
    let before = blobs(&daemon.store());
    assert_eq!(daemon.cli_ok(&["push", name]), "Model pushed successfully\n");
    daemon.cli_ok(&["rm", name]);
    assert!(blobs(&daemon.store()).is_empty());
    chat(daemon, name).expect(404);

    daemon.cli_ok(&["pull", name]);
    assert_eq!(blobs(&daemon.store()), before);
    assert_eq!(id_of(daemon, name), id);
    assert_eq!(answer(daemon, name), ANSWER);
    sound(&daemon.store(), "a pull by command");
    assert!(daemon.cli_ok(&["pull", name]).contains("Using cached model"));

    daemon.cli_ok(&["rm", "--force", name]);
    let told = pull(daemon, name);
    assert_eq!(told.last().unwrap()["model"], id);
    assert_eq!(blobs(&daemon.store()), before);
    assert_eq!(answer(daemon, name), ANSWER);
    sound(&daemon.store(), "a pull by request");
    let told = pull(daemon, name);
    let last = told.last().unwrap()["message"].as_str().unwrap();
    assert!(last.starts_with("Using cached model"), "{told:#?}");
}

#[test]
fn a_model_goes_to_a_registry_and_comes_back() {
    let Some(registry) = Registry::plain("a_model_goes_to_a_registry_and_comes_back") else {
        return;
    };
    let daemon = Daemon::builder().start();
    let host = registry.host.replace("127.0.0.1", "localhost");
    there_and_back(&daemon, &format!("{host}/ai/tiny"));
    let refused = create(&daemon.client(), &format!("{host}/ai/none")).expect(404).text();
    assert!(refused.contains("Model not found"), "{refused}");
    let output = daemon.cli(&["pull", &format!("{host}/ai/tiny:none")]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_registry_with_tls_and_users_asks_for_a_login() {
    let test = "a_registry_with_tls_and_users_asks_for_a_login";
    let Some(registry) = Registry::guarded(test) else { return };
    let ca = registry.ca().unwrap();
    let daemon = Daemon::builder().args(&["--registry-ca", ca.to_str().unwrap()]).start();
    let name = format!("{}/ai/tiny", registry.host);
    let refused = create(&daemon.client(), &name).expect(401).text();
    assert!(refused.contains("modeld login"), "{refused}");

    let mut command = modeld(daemon.dir(), &daemon.socket);
    command.args(["login", &registry.host, "--username", USER.0, "--password-stdin"]);
    let mut login = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    login.stdin.take().unwrap().write_all(USER.1.as_bytes()).unwrap();
    assert!(login.wait().unwrap().success());
    there_and_back(&daemon, &name);
    daemon.cli_ok(&["logout", &registry.host]);
    // What is here already still runs.
    assert_eq!(answer(&daemon, &name), ANSWER);
    create(&daemon.client(), &name).expect(401);
}

#[test]
fn an_authority_that_nobody_named_is_not_trusted() {
    let test = "an_authority_that_nobody_named_is_not_trusted";
    let Some(registry) = Registry::guarded(test) else { return };
    let daemon = Daemon::builder().start();
    let refused = create(&daemon.client(), &format!("{}/ai/tiny", registry.host));
    let text = refused.text();
    assert_eq!(refused.status, 502, "{text}");
    assert!(text.contains("--registry-ca"), "{text}");
}

/// Uploads with curl, as the distribution specification says it.
fn upload(registry: &Registry, dir: &Path, bytes: &[u8]) {
    let url = format!("http://{}/v2/ai/other/blobs/uploads/", registry.host);
    let head = curl(&["-D", "-", "-o", "/dev/null", "-X", "POST", &url]);
    let location = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("location").then(|| value.trim().to_owned())
    });
    let location = location.unwrap_or_else(|| panic!("no location in {head}"));
    let path = dir.join("blob");
    fs::write(&path, bytes).unwrap();
    let join = if location.contains('?') { '&' } else { '?' };
    let url = format!("{location}{join}digest={}", digest(bytes));
    let body = format!("@{}", path.display());
    let octets = "Content-Type: application/octet-stream";
    curl(&["-X", "PUT", "-H", octets, "--data-binary", &body, &url]);
}

#[track_caller]
fn curl(args: &[&str]) -> String {
    let output = Command::new("curl").args(["-sS", "--fail"]).args(args).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "curl {args:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_others_push_runs() {
    let Some(registry) = Registry::plain("what_others_push_runs") else { return };
    let weights = models::hello().bytes();
    let config = json!({
        "config": {"format": "gguf", "quantization": "F32"},
        "descriptor": {"created": "2026-01-01T00:00:00Z"},
        "rootfs": {"type": "rootfs", "diff_ids": [digest(&weights)]},
    });
    let (config, license) = (config.to_string(), b"Do what you like.\n");
    let entry = |kind: &str, bytes: &[u8]| -> Value {
        json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()})
    };
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": entry("application/vnd.docker.ai.model.config.v0.1+json", config.as_bytes()),
        "layers": [entry(WEIGHTS, &weights), entry(LICENSE, license)],
    });
    let dir = tempfile::tempdir().unwrap();
    for bytes in [weights.as_slice(), config.as_bytes(), license] {
        upload(&registry, dir.path(), bytes);
    }
    let manifest = manifest.to_string();
    fs::write(dir.path().join("manifest"), &manifest).unwrap();
    let url = format!("http://{}/v2/ai/other/manifests/v1", registry.host);
    let kind = "Content-Type: application/vnd.oci.image.manifest.v1+json";
    let body = format!("@{}", dir.path().join("manifest").display());
    curl(&["-X", "PUT", "-H", kind, "--data-binary", &body, &url]);

    let daemon = Daemon::builder().start();
    let name = format!("{}/ai/other:v1", registry.host);
    let told = pull(&daemon, &name);
    assert_eq!(told.last().unwrap()["model"], digest(manifest.as_bytes()));
    assert_eq!(answer(&daemon, &name), ANSWER);
    sound(&daemon.store(), "a pull of what curl pushed");

    // By its digest it is the same one.
    let id = digest(manifest.as_bytes());
    let told = pull(&daemon, &format!("{}/ai/other@{id}", registry.host));
    assert_eq!(told.last().unwrap()["model"], id.as_str());
}

#[test]
fn skopeo_carries_our_models() {
    let test = "skopeo_carries_our_models";
    let Some(registry) = Registry::plain(test) else { return };
    let daemon = Daemon::builder().start();
    let name = format!("{}/ai/tiny:v1", registry.host);
    let id = package(&daemon, &name);
    daemon.cli_ok(&["push", &name]);

    let from = format!("docker://{name}");
    let Some(read) = skopeo(test, &["inspect", "--raw", "--tls-verify=false", &from]) else {
        return;
    };
    assert_eq!(id, digest(&read.stdout));
    let dir = tempfile::tempdir().unwrap();
    let layout = format!("oci:{}:v1", dir.path().join("layout").display());
    skopeo(test, &["copy", "--preserve-digests", "--src-tls-verify=false", &from, &layout]);
    let copied = dir.path().join("layout/blobs/sha256");
    for (name, bytes) in blobs(&daemon.store()) {
        assert!(fs::read(copied.join(&name)).unwrap() == bytes, "{name}");
    }
    let again = format!("{}/ai/copied:v2", registry.host);
    let to = format!("docker://{again}");
    skopeo(test, &["copy", "--preserve-digests", "--dest-tls-verify=false", &layout, &to]);

    let elsewhere = Daemon::builder().start();
    let told = pull(&elsewhere, &again);
    assert_eq!(told.last().unwrap()["model"], id);
    assert_eq!(answer(&elsewhere, &again), ANSWER);
    assert_eq!(blobs(&elsewhere.store()), blobs(&daemon.store()));
}

#[test]
fn what_is_no_model_is_refused_before_anything_moves() {
    let registry = FakeRegistry::start();
    let layer = b"a file system";
    let kind = "application/vnd.oci.image.layer.v1.tar+gzip";
    let config =
        br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest(config), "size": config.len(),
        },
        "layers": [{"mediaType": kind, "digest": digest(layer), "size": layer.len()}],
    });
    registry.blob("library/image", config, false);
    registry.blob("library/image", layer, true);
    registry.manifest("library/image", manifest.to_string().as_bytes());
    let daemon = Daemon::builder().start();
    let refused = create(&daemon.client(), &registry.reference("library/image")).expect(422);
    assert!(refused.text().contains("library/image"), "{}", refused.text());
    assert_eq!(registry.served(), 0);
    let missing = create(&daemon.client(), &registry.reference("ai/none")).expect(404).text();
    assert!(missing.contains("Model not found"), "{missing}");
    let refused = create(&daemon.client(), "").expect(400).text();
    assert!(refused.contains("from"), "{refused}");
    registry.user("Basic nobody");
    create(&daemon.client(), &registry.reference("library/image")).expect(401);
}

#[test]
fn a_registry_that_serves_another_blob_is_found_out() {
    let test = "a_registry_that_serves_another_blob_is_found_out";
    let Some(registry) = Registry::plain(test) else { return };
    let daemon = Daemon::builder().start();
    let name = format!("{}/ai/tiny", registry.host);
    package(&daemon, &name);
    daemon.cli_ok(&["push", &name]);
    daemon.cli_ok(&["rm", &name]);
    let weights = models::hello().bytes();
    let at = registry.blob_file(&sha256(&weights));
    let mut wrong = weights;
    wrong[100_000] ^= 1;
    fs::write(at, wrong).unwrap();
    let told = lines(&create(&daemon.client(), &name));
    assert_eq!(told.last().unwrap()["type"], "error", "{told:#?}");
    assert_eq!(daemon.client().get("/models").expect(200).json(), json!([]));
    daemon.client().get(&format!("/models/{name}")).expect(404);
}
