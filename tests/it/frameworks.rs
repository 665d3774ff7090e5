//! Client libraries that make more of the API than a chat, with a real small model. `contrib/test`
//! installs them and says where.

use std::path::Path;
use std::process::Command;

use crate::support::{Daemon, from_env};

#[test]
fn the_python_library_calls_tools_and_reads_probabilities() {
    python("openai_tools.py", "MODELD_TEST_PYTHON");
}

#[test]
fn twenty_schemas_of_the_python_library_hold() {
    python("openai_schemas.py", "MODELD_TEST_PYTHON");
}

#[test]
fn the_python_library_uses_responses() {
    python("openai_responses.py", "MODELD_TEST_PYTHON");
}

#[test]
fn langchain_works() {
    python("langchain_chat.py", "MODELD_TEST_FRAMEWORKS");
}

#[test]
fn the_python_library_of_ollama_works() {
    ollama(|| from_env("ollama_client.py", "MODELD_TEST_PYTHON"), "ollama_client.py");
}

#[test]
fn the_ollama_of_langchain_works() {
    ollama(|| from_env("langchain_ollama.py", "MODELD_TEST_FRAMEWORKS"), "langchain_ollama.py");
}

#[test]
fn the_node_library_of_ollama_works() {
    let name = "the_node_library_of_ollama_works";
    let Some(modules) = from_env(name, "MODELD_TEST_NODE_MODULES") else { return };
    // An ES module looks for packages from its own place upwards: from a directory of this test.
    let dir = tempfile::TempDir::new().expect("a directory");
    let script = dir.path().join("ollama_client.mjs");
    std::fs::copy(client("ollama_client.mjs"), &script).expect("a writable directory");
    std::os::unix::fs::symlink(Path::new(&modules), dir.path().join("node_modules"))
        .expect("a link");
    let Some(daemon) = ollama_daemon(name) else { return };
    run_ollama(&daemon, Command::new("node").arg(script));
}

#[test]
fn litellm_works() {
    python("litellm_chat.py", "MODELD_TEST_FRAMEWORKS");
}

#[test]
fn the_node_library_calls_tools_and_parses() {
    let name = "the_node_library_calls_tools_and_parses";
    let Some(modules) = from_env(name, "MODELD_TEST_NODE_MODULES") else { return };
    let Some(daemon) = daemon(name) else { return };
    // An ES module looks for packages from its own place upwards, so it has to lie beside them.
    let script = Path::new(&modules).join("../openai_tools.mjs");
    std::fs::copy(client("openai_tools.mjs"), &script).expect("a writable directory");
    run(&daemon, Command::new("node").arg(script));
}

#[test]
fn the_rust_library_works() {
    use async_openai::Client;
    use async_openai::config::OpenAIConfig;
    use async_openai::types::chat::{
        ChatCompletionRequestUserMessageArgs, CreateChatCompletionRequestArgs,
    };
    use futures_util::StreamExt;

    let Some(daemon) = daemon("the_rust_library_works") else { return };
    let config = OpenAIConfig::new().with_api_base(base_url(&daemon)).with_api_key("unused");
    let client = Client::with_config(config);
    let user = ChatCompletionRequestUserMessageArgs::default()
        .content("Say hello.")
        .build()
        .expect("a message");
    let request = CreateChatCompletionRequestArgs::default()
        .model("ai/smollm2")
        .messages([user.into()])
        .max_completion_tokens(16u32)
        .temperature(0.0)
        .n(2u8)
        .logprobs(true)
        .build()
        .expect("a request");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let models = client.models().list().await.expect("a list");
        assert!(models.data.iter().any(|model| model.id.contains("smollm2")));
        let answer = client.chat().create(request.clone()).await.expect("an answer");
        assert_eq!(answer.choices.len(), 2);
        let text = answer.choices.first().and_then(|choice| choice.message.content.clone());
        assert!(text.as_ref().is_some_and(|text| !text.is_empty()));
        assert!(answer.choices.iter().all(|choice| choice.logprobs.is_some()));
        let mut stream = client.chat().create_stream(request).await.expect("a stream");
        let mut streamed = String::new();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.expect("a chunk");
            for choice in chunk.choices.into_iter().filter(|choice| choice.index == 0) {
                streamed.push_str(&choice.delta.content.unwrap_or_default());
            }
        }
        assert_eq!(Some(streamed), text);
    });
}

/// The real model under a name, and the embedding model where there is one.
fn daemon(test: &str) -> Option<Daemon> {
    let path = from_env(test, "MODELD_TEST_MODEL")?;
    let daemon = Daemon::builder().tcp().start();
    daemon.cli_ok(&["package", "--gguf", &path, "ai/smollm2"]);
    Some(daemon)
}

/// As [`daemon`], on Ollama's port.
fn ollama_daemon(test: &str) -> Option<Daemon> {
    let path = from_env(test, "MODELD_TEST_MODEL")?;
    let daemon = Daemon::builder().ollama().start();
    daemon.cli_ok(&["package", "--gguf", &path, "ai/smollm2"]);
    Some(daemon)
}

#[track_caller]
fn ollama(interpreter: impl Fn() -> Option<String>, script: &str) {
    let Some(python) = interpreter() else { return };
    let Some(daemon) = ollama_daemon(script) else { return };
    run_ollama(&daemon, Command::new(python).arg(client(script)));
}

#[track_caller]
fn run_ollama(daemon: &Daemon, command: &mut Command) {
    run(daemon, command.env("OLLAMA_HOST", format!("http://{}", daemon.port())));
}

fn base_url(daemon: &Daemon) -> String {
    format!("http://{}/v1", daemon.port())
}

fn client(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

#[track_caller]
fn python(script: &str, interpreter: &str) {
    let Some(python) = from_env(script, interpreter) else { return };
    let Some(daemon) = daemon(script) else { return };
    run(&daemon, Command::new(python).arg(client(script)));
}

#[track_caller]
fn run(daemon: &Daemon, command: &mut Command) {
    let command = command.env("BASE_URL", base_url(daemon)).env("MODEL", "ai/smollm2");
    let output = command.output().expect("the interpreter runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    assert!(text.trim_end().ends_with("all checks passed"), "{text}");
}
