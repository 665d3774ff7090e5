//! Models that are packaged, changed, written out and taken in again by the command line.

use serde_json::{Value, json};

use crate::support::gguf::{Gguf, Value as Key};
use crate::support::{Daemon, models};

/// An adapter that turns the output of the tiny model into something else.
fn adapter(architecture: &str) -> Gguf {
    let tiny = models::tiny();
    let output = tiny.tensors.iter().find(|tensor| tensor.name == "output.weight").unwrap();
    let [width, vocab] = output.dims[..] else { panic!("a matrix") };
    let mut file = Gguf::new();
    file.set("general.type", Key::str("adapter"))
        .set("general.architecture", Key::str(architecture))
        .set("general.name", Key::str("other words"))
        .set("adapter.type", Key::str("lora"))
        .set("adapter.lora.alpha", Key::F32(1.0));
    let wave = |len: u64, step: f32| (0..len).map(|at| 3.0 * (at as f32 * step).sin()).collect();
    file.tensor("output.weight.lora_a", &[width, 1], wave(width, 0.7));
    file.tensor("output.weight.lora_b", &[1, vocab], wave(vocab, 1.3));
    file
}

fn answer(daemon: &Daemon, model: &str) -> String {
    let body = json!({
        "model": model, "max_tokens": 12, "temperature": 0,
        "messages": [{"role": "user", "content": "Hi"}],
    });
    let answer = daemon.client().post("/v1/chat/completions", &body).expect(200).json();
    answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

fn model(daemon: &Daemon, name: &str) -> Value {
    daemon.client().get(&format!("/models/{name}")).expect(200).json()
}

#[test]
fn a_model_goes_to_another_machine_as_one_file() {
    let first = Daemon::with("ai/hello", &models::hello());
    let id = model(&first, "ai/hello")["id"].clone();
    let tar = first.dir().join("hello.tar");
    let path = tar.to_str().unwrap();
    assert_eq!(first.cli_ok(&["export", "ai/hello", "-o", path]), "");
    let piped = first.cli(&["export", "ai/hello"]);
    assert!(piped.status.success() && piped.stdout == std::fs::read(&tar).unwrap());

    let second = Daemon::builder().start();
    let said = second.cli_ok(&["load", "-i", path, "--name", "me/hello:v1"]);
    assert!(said.contains(id.as_str().unwrap()), "{said}");
    assert_eq!(model(&second, "me/hello:v1")["id"], id);
    assert_eq!(answer(&second, "me/hello:v1"), "Hello world! STOP here.");
    let back = second.dir().join("back.tar");
    second.cli_ok(&["export", "me/hello:v1", "--output", back.to_str().unwrap()]);
    assert!(std::fs::read(back).unwrap() == std::fs::read(&tar).unwrap(), "the same bytes");

    // What is no archive leaves no model and no name.
    let bad = second.file("bad.tar", b"not an archive");
    let refused = second.cli(&["load", "-i", &bad, "--name", "me/bad"]);
    assert_eq!(refused.status.code(), Some(1));
    second.client().get("/models/me/bad").expect(404);
}

#[test]
fn another_model_of_the_same_weights_takes_their_place_nowhere() {
    let daemon = Daemon::with("ai/tiny", &models::tiny());
    let blobs = || std::fs::read_dir(daemon.dir().join("models/blobs/sha256")).unwrap().count();
    let before = blobs();
    let template = daemon.file("t.jinja", models::CHATML.as_bytes());
    let licence = daemon.file("LICENSE", b"as you like");
    daemon.cli_ok(&[
        "package",
        "--from",
        "ai/tiny",
        "--context-size",
        "256",
        "--chat-template",
        &template,
        "--license",
        &licence,
        "ai/small",
    ]);
    assert_eq!(blobs(), before + 3, "a template, a licence and a config");
    assert_eq!(model(&daemon, "ai/small")["config"]["context_size"], 256);
    assert_eq!(answer(&daemon, "ai/small"), answer(&daemon, "ai/tiny"));
    let loaded = daemon.loaded();
    let small = loaded
        .iter()
        .find(|model| model["model_name"].as_str().is_some_and(|name| name.contains("small")));
    assert_eq!(small.unwrap()["context_size"], 256);
}

#[test]
fn an_adapter_changes_what_the_model_says() {
    let daemon = Daemon::with("ai/tiny", &models::tiny());
    let lora = daemon.file("lora.gguf", &adapter("llama").bytes());
    daemon.cli_ok(&["package", "--from", "ai/tiny", "--lora", &lora, "ai/other"]);
    let (plain, other) = (answer(&daemon, "ai/tiny"), answer(&daemon, "ai/other"));
    assert_ne!(plain, other);
    // The same from files, and as an archive of another daemon.
    let weights = daemon.file("tiny.gguf", &models::tiny().bytes());
    daemon.cli_ok(&["package", "--gguf", &weights, "--lora", &lora, "ai/files"]);
    assert_eq!(answer(&daemon, "ai/files"), other);
    let tar = daemon.dir().join("other.tar").to_str().unwrap().to_owned();
    daemon.cli_ok(&["export", "ai/other", "-o", &tar]);
    let second = Daemon::builder().start();
    second.cli_ok(&["load", "-i", &tar, "--name", "ai/other"]);
    assert_eq!(answer(&second, "ai/other"), other);
}

#[test]
fn an_adapter_of_another_model_is_refused_with_both_names() {
    let mut daemon = Daemon::with("ai/tiny", &models::tiny());
    let lora = daemon.file("qwen.gguf", &adapter("qwen2").bytes());
    let weights = daemon.file("tiny.gguf", &models::tiny().bytes());
    for source in [["--from", "ai/tiny"], ["--gguf", &weights]] {
        let refused = daemon.cli(&["package", source[0], source[1], "--lora", &lora, "ai/bad"]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.contains("qwen2") && said.contains("llama"), "{said}");
    }
    // One whose numbers do not fit is found when it is applied, and says so.
    let mut wrong = adapter("llama");
    for tensor in &mut wrong.tensors {
        tensor.dims = vec![tensor.dims.iter().product::<u64>() / 2, 2];
    }
    let lora = daemon.file("shape.gguf", &wrong.bytes());
    daemon.cli_ok(&["package", "--from", "ai/tiny", "--lora", &lora, "ai/bad"]);
    let body = json!({"model": "ai/bad", "messages": [{"role": "user", "content": "Hi"}]});
    let refused = daemon.client().post("/v1/chat/completions", &body).expect(422).text();
    assert!(refused.contains("LoRA adapter 1 of 1"), "{refused}");
    assert!(!refused.contains("blobs/"), "no paths: {refused}");
    assert!(daemon.is_alive());
}
