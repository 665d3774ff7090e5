//! The places where what clients say could turn up when something goes wrong: the journal, the text
//! of panics, the last words of processes, core files, and what templates complain about.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use modeld::config::{Env, RawConfig, Variables, resolve};
use modeld::daemon::{Daemon as Bound, Parts, Shutdown, start_logging};
use modeld::engine::scripted::ScriptedFactory;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::canary::{ANSWER, MODEL, PROMPT, TOKEN, builder, found, is_kept_secret, sing, speaks};
use crate::support::daemon::{modeld, send, spawn_ready};
use crate::support::http::{Address, Client, JSON};
use crate::support::journal::Journal;
use crate::support::models::{self, Piece, Then};
use crate::support::{Daemon, skip, wait_until};

const CHAT: &str = "/v1/chat/completions";

fn chat(model: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": PROMPT }] })
}

#[test]
fn the_journal_hears_no_more_than_the_log() {
    if !Journal::can_be_played() {
        return skip("the_journal_hears_no_more_than_the_log", "no namespaces can be made here");
    }
    let daemon = builder().args(&["--log", "trace"]).journal().start();
    sing(&daemon);
    daemon.client().send("GET", "/version", &[("X-Request-Id", "the-last-request")], b"");
    let has = |word: &str| String::from_utf8_lossy(&daemon.journal()).contains(word);
    wait_until(Duration::from_secs(60), "the last line came", || has("the-last-request"));
    let journal = daemon.journal();
    let journal = String::from_utf8_lossy(&journal);
    for word in ["MODELD_ROUTE", "/v1/chat/completions", "modeld::access", "modeld starts"] {
        assert!(journal.contains(word), "no {word} in the journal");
    }
    for canary in [PROMPT, TOKEN, ANSWER] {
        let line = journal.lines().find(|line| line.contains(canary));
        assert_eq!(line, None, "{canary}");
    }
    assert_eq!(daemon.log(), "", "and standard error is not used besides");
    is_kept_secret(&daemon, "trace");
}

/// Where tokens come over TCP, in the ways that clients and browsers know.
#[test]
fn tokens_of_strangers_are_nowhere() {
    let daemon = builder().args(&["--log", "trace", "--require-token"]).tcp().start();
    let client = daemon.tcp_client();
    let bearer = format!("Bearer {TOKEN}");
    let referer = format!("http://localhost/?access_token={TOKEN}");
    for (name, value) in [
        ("Authorization", bearer.as_str()),
        ("Authorization", TOKEN),
        ("Proxy-Authorization", &bearer),
        ("X-Api-Key", TOKEN),
        ("Api-Key", TOKEN),
        ("X-Goog-Api-Key", TOKEN),
        ("Sec-WebSocket-Protocol", TOKEN),
        ("Cookie", TOKEN),
        ("Referer", &referer),
        ("Forwarded", TOKEN),
        ("X-Forwarded-For", TOKEN),
        ("X-Client-Id", TOKEN),
    ] {
        for path in [CHAT.to_owned(), format!("{CHAT}?token={TOKEN}&access_token={TOKEN}")] {
            let headers = [("Content-Type", "application/json"), (name, value)];
            let answer = client.send("POST", &path, &headers, chat(MODEL).to_string().as_bytes());
            assert!(answer.status >= 400, "{name}: {}", answer.status);
            assert!(!answer.text().contains(TOKEN), "{name}: {}", answer.text());
        }
    }
    for raw in [
        format!("GET http://u:{TOKEN}@localhost/models HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        format!("CONNECT {TOKEN}:443 HTTP/1.1\r\nHost: {TOKEN}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {TOKEN}.example\r\nOrigin: https://{TOKEN}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer\u{1}{TOKEN}\r\n\r\n"),
    ] {
        client.raw_cut_off(raw.as_bytes());
    }
    is_kept_secret(&daemon, "trace");
    assert!(daemon.log().contains("modeld::access"), "was anything logged?");
}

/// The owner's own token for the Hub stays in the variable that it was given in.
#[test]
fn the_token_of_the_hub_goes_to_no_worker_and_no_file() {
    let daemon = builder().args(&["--log", "trace"]).env("HF_TOKEN", TOKEN).start();
    daemon.client().post(CHAT, &chat(MODEL)).expect(200);
    let pull = json!({ "from": "hf.co/a/b" });
    let refused = daemon.client().send("POST", "/models/create", JSON, pull.to_string().as_bytes());
    assert!(!refused.text().contains(TOKEN), "{}", refused.text());
    let own = format!("/proc/{}/environ:", daemon.pid());
    let elsewhere: Vec<String> =
        found(&daemon).into_iter().filter(|place| !place.starts_with(&own)).collect();
    assert_eq!(elsewhere, [""; 0]);
}

/// Templates are programs of others, which quote what they are given.
#[test]
fn what_templates_say_of_a_prompt_goes_to_its_client_alone() {
    let content = "messages[0]['content']";
    let templates = [
        ("ai/raises", format!("{{{{ raise_exception({content}) }}}}")),
        ("ai/filter", format!("{{{{ {content} | nosuchfilter }}}}")),
        ("ai/index", format!("{{{{ {content}.a.b[{content}] + 1 }}}}")),
        ("ai/call", format!("{{{{ {content}() }}}}")),
        ("ai/tools", include_str!("../templates/hermes.jinja").to_owned()),
    ];
    let mut builder = builder().args(&["--log", "trace"]);
    for (name, template) in &templates {
        builder = builder.model(name, &speaks(Some(template)));
    }
    // A call that ends in the middle, and one that is none.
    let template = include_str!("../templates/hermes.jinja");
    let pieces = [Piece::Text("<tool_call>\n{\"name\": \"canary-ans"), Piece::Text("wer-3d84")];
    let mut broken = models::scripted(&pieces, Then::End);
    broken.keys.retain(|(key, _)| key != "tokenizer.chat_template");
    broken.set("tokenizer.chat_template", crate::support::gguf::Value::str(template));
    let daemon = builder.model("ai/broken", &broken).start();
    let tools = json!([{ "type": "function", "function": {
        "name": PROMPT, "description": PROMPT,
        "parameters": { "type": "object", "properties": { PROMPT: { "type": "string" } } },
    } }]);
    let mut refused = 0;
    for name in templates.iter().map(|(name, _)| *name).chain(["ai/broken"]) {
        for choice in [json!(null), json!("auto"), json!("required")] {
            let mut body = chat(name);
            if !choice.is_null() {
                body["tools"] = tools.clone();
                body["tool_choice"] = choice;
            }
            body["max_tokens"] = json!(20);
            let answer = daemon.client().send("POST", CHAT, JSON, body.to_string().as_bytes());
            refused += usize::from(answer.status >= 400);
        }
    }
    assert!(refused >= 4, "{refused} were refused: did any template complain?");
    is_kept_secret(&daemon, "trace");
}

/// Files that a core dump could be, in the directories where one would be written.
fn cores(dir: &std::path::Path) -> BTreeSet<OsString> {
    let here = std::env::current_dir().expect("a directory");
    let all = [dir.to_owned(), here].into_iter().filter_map(|dir| std::fs::read_dir(dir).ok());
    let names = all.flatten().flatten().map(|entry| entry.file_name());
    names.filter(|name| name.to_string_lossy().contains("core")).collect()
}

#[test]
fn processes_that_are_struck_down_leave_no_core_behind() {
    let endless = models::scripted(&["canary-ans", "wer-3d84 "].map(Piece::Text), Then::Repeat);
    let mut daemon = Daemon::builder().model(MODEL, &endless).args(&["--log", "trace"]).start();
    let before = cores(daemon.dir());
    // A SIGSEGV that was sent, and not earned, is ignored once by the runtime of Rust.
    for signal in [Signal::ABORT, Signal::ILL] {
        let mut body = chat(MODEL);
        body["stream"] = json!(true);
        let mut stream = daemon.client().stream(CHAT, &body);
        stream.first_text();
        send(daemon.worker(), signal);
        stream.count();
    }
    is_kept_secret(&daemon, "trace");
    assert!(daemon.log().contains("worker died"), "{}", daemon.log());
    let mut stream = daemon.client().stream(CHAT, &{
        let mut body = chat(MODEL);
        body["stream"] = json!(true);
        body
    });
    stream.first_text();
    daemon.worker();
    send(daemon.pid().cast_signed(), Signal::ABORT);
    drop(stream);
    let status = daemon.wait(Duration::from_secs(30));
    assert!(!status.success(), "{status}");
    assert_eq!(cores(daemon.dir()), before);
    daemon.start();
    is_kept_secret(&daemon, "trace");
}

const PLACE: &str = "MODELD_TEST_PANICS";

/// A daemon whose engine panics with the prompt in its message, as a `{:?}` in an `expect` would.
#[test]
#[ignore = "a process of its own, which panics on purpose"]
fn daemon_that_panics() {
    let Some(place) = std::env::var_os(PLACE).map(PathBuf::from) else { return };
    let path = |name: &str| Some(place.join(name).to_str().unwrap().to_owned());
    let raw = RawConfig {
        socket: path("d.sock"),
        models_path: path("models"),
        log: Some("trace".to_owned()),
        log_file: path("modeld.log"),
        ..RawConfig::default()
    };
    let config = resolve(&raw, &Env::from_process()).unwrap();
    let logging = start_logging(&config).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let engines = ScriptedFactory::choosing(|prompt| panic!("no script for {prompt:?}"));
        let parts = Parts {
            engines: Arc::new(engines),
            inherited: Vec::new(),
            variables: Variables::default(),
            log: logging.book.clone(),
            log_control: logging.control.clone(),
            reload: None,
        };
        let shutdown = Shutdown::on_signals().unwrap();
        let bound = Bound::build(&config, parts, shutdown).await.unwrap();
        bound.run().await;
    });
}

#[test]
fn a_panic_says_where_and_not_what() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["canary_places::daemon_that_panics", "--exact", "--ignored", "--nocapture"]);
    command.env_clear().env("HOME", dir.path()).env("XDG_RUNTIME_DIR", dir.path());
    command.env(PLACE, dir.path()).env("RUST_BACKTRACE", "1");
    let mut child = spawn_ready(command, dir.path());
    let socket = dir.path().join("d.sock");
    let file = dir.path().join("model.gguf");
    std::fs::write(&file, models::hello().bytes()).unwrap();
    let mut package = modeld(dir.path(), &socket);
    let done = package.args(["package", "--gguf", file.to_str().unwrap(), MODEL]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let client = Client { address: Address::Unix(socket) };
    let answer = client.send("POST", CHAT, JSON, chat(MODEL).to_string().as_bytes());
    assert!(answer.status >= 500, "{}", answer.text());
    assert!(!answer.text().contains(PROMPT), "{}", answer.text());
    // It goes on, and says what it counts.
    let metrics = client.get("/metrics").expect(200).text();
    let log = || std::fs::read_to_string(dir.path().join("log")).unwrap_or_default();
    wait_until(Duration::from_secs(20), "the panic is told", || log().contains("a panic"));
    send(child.id().cast_signed(), Signal::TERM);
    wait_until(Duration::from_secs(20), "it ends", || child.try_wait().unwrap().is_some());
    let file = std::fs::read_to_string(dir.path().join("modeld.log")).unwrap();
    for (place, text) in [("output", log()), ("file", file), ("metrics", metrics)] {
        let line = text.lines().find(|line| line.contains(PROMPT));
        assert_eq!(line, None, "{place}");
    }
    assert!(log().contains("canary_places.rs:"), "{}", log());
}
