//! What the tests of pulls do again and again.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::{Value, json};

use super::gguf::Gguf;
use super::http::{Client, Response};
use super::models::{self, Random};
use super::{Daemon, layout};

/// The media type of weights.
pub const WEIGHTS: &str = "application/vnd.docker.ai.gguf.v3";
/// The media type of a licence.
pub const LICENSE: &str = "application/vnd.docker.ai.license";

/// What [`models::hello`] answers to everything.
pub const ANSWER: &str = "Hello world! STOP here.";

/// A model file of a little more than 32 MiB, most of it a tensor that no part of which is like
/// another. It is whole and can be pulled; it would not run.
pub fn big() -> &'static [u8] {
    static BIG: OnceLock<Vec<u8>> = OnceLock::new();
    BIG.get_or_init(|| padded(models::hello(), 32 << 20))
}

/// A model file with a last tensor of so many bytes.
fn padded(mut file: Gguf, bytes: u64) -> Vec<u8> {
    file.tensor("padding", &[bytes / 4], Vec::new());
    let mut whole = file.bytes();
    let mut random = Random(11);
    whole.extend((0..bytes / 8).flat_map(|_| random.next().to_le_bytes()));
    whole
}

/// Begins a pull and answers with whatever the daemon does.
pub fn create(client: &Client, from: &str) -> Response {
    client.post("/models/create", &json!({ "from": from }))
}

/// The lines of a pull that began.
#[track_caller]
pub fn lines(answer: &Response) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = answer.text();
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line}"));
    text.lines().map(parse).collect()
}

/// Pulls a model that has to come; returns the lines of its progress.
#[track_caller]
pub fn pull(daemon: &Daemon, from: &str) -> Vec<Value> {
    let lines = lines(&create(&daemon.client(), from));
    let last = lines.last().expect("a last line");
    assert_eq!(last["type"], "success", "{lines:#?}");
    lines
}

/// Asks a model something.
pub fn chat(daemon: &Daemon, model: &str) -> Response {
    let body = json!({ "model": model, "messages": [{ "role": "user", "content": "Hi" }] });
    daemon.client().post("/engines/v1/chat/completions", &body)
}

/// Asks a model that has to answer; returns the text.
#[track_caller]
pub fn answer(daemon: &Daemon, model: &str) -> String {
    let body = chat(daemon, model).expect(200).json();
    body["choices"][0]["message"]["content"].as_str().expect("text").to_owned()
}

/// Fails if the store is not as it has to be.
#[track_caller]
pub fn sound(store: &Path, after: &str) {
    assert_eq!(layout::problems(store), Vec::<String>::new(), "after {after}");
}

/// Fails if anything of a model is there.
#[track_caller]
pub fn nothing_visible(daemon: &Daemon) {
    assert_eq!(daemon.client().get("/models").expect(200).json(), json!([]));
    let files = files(&daemon.store());
    assert!(files.is_empty(), "{files:?}");
    sound(&daemon.store(), "a pull that failed");
}

/// The blobs and manifests of a store.
pub fn files(store: &Path) -> Vec<PathBuf> {
    let dirs = ["blobs/sha256", "manifests/sha256"].map(|area| store.join(area));
    let entries =
        dirs.iter().flat_map(|dir| std::fs::read_dir(dir).into_iter().flatten().flatten());
    entries.map(|entry| entry.path()).collect()
}
