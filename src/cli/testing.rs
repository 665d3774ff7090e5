//! A daemon that answers with canned JSON on a real socket, and commands run against it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use clap::Parser as _;
use futures_util::StreamExt as _;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::repl::{self, Terminal};
use super::{Cli, CliError, ExitCode, Printer, app, login, run};
use crate::client::Client;
use crate::config::{DaemonHost, Sources};

/// The fake daemon; gone when dropped.
pub(super) struct Fake {
    dir: tempfile::TempDir,
    seen: Seen,
}

/// What a command did.
pub(super) struct Done {
    pub out: String,
    pub err: String,
    pub code: u8,
}

/// What the fake daemon was asked and given.
#[derive(Clone, Default)]
struct Seen {
    requests: Arc<Mutex<Vec<String>>>,
    uploaded: Arc<Mutex<Vec<u8>>>,
}

pub(super) fn model_list() -> Value {
    json!([
        {
            "id": format!("sha256:{}", "a".repeat(64)),
            "tags": ["docker.io/ai/smollm2:latest", "docker.io/ai/smollm2:135M-Q4_1"],
            "created": 1_760_000_000,
            "config": {
                "format": "gguf", "quantization": "Q4_1", "parameters": "134.52M",
                "architecture": "llama", "size": "93.81MiB",
                "gguf": {"llama.context_length": "8192"}
            }
        },
        {
            "id": format!("sha256:{}", "b".repeat(64)),
            "created": 0,
            "config": {"architecture": "bert", "context_size": 512, "size": "20.1MiB"},
            "something_newer": true
        }
    ])
}

pub(super) fn running_list() -> Value {
    let running = |name: &str, used: &str| {
        json!({"backend_name": "llama.cpp", "model_name": name, "mode": "completion",
               "last_used": used, "keep_alive": "5m0s"})
    };
    let mut forever = running("docker.io/ai/gemma3:4B", "2026-01-01T00:00:00Z");
    forever["keep_alive"] = "-1".into();
    let mut loading = running(&format!("sha256:{}", "c".repeat(64)), "0001-01-01T00:00:00Z");
    loading["loading"] = true.into();
    let mut busy = running("myorg/m:latest", "0001-01-01T00:00:00Z");
    busy["in_use"] = true.into();
    let idle = running("docker.io/ai/smollm2:latest", "2026-01-01T00:00:00Z");
    let late = running("late", "2025-12-31T00:00:00Z");
    json!([idle, forever, loading, busy, late])
}

impl Fake {
    pub(super) async fn start() -> Self {
        let fake = Self::absent();
        let listener = tokio::net::UnixListener::bind(fake.socket()).unwrap();
        let router = Router::new().fallback(any(answer)).with_state(fake.seen.clone());
        tokio::spawn(async move { axum_serve(listener, router).await });
        fake
    }

    /// Nobody listens.
    pub(super) fn absent() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), seen: Seen::default() }
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.dir.path().join("modeld.sock")
    }

    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn client(&self) -> Client {
        Client::new(&DaemonHost::Unix(self.socket()))
    }

    /// The last request: method, path and query.
    pub(super) fn last(&self) -> String {
        self.all().pop().unwrap_or_default()
    }

    pub(super) fn all(&self) -> Vec<String> {
        self.seen.requests.lock().unwrap().clone()
    }

    pub(super) fn uploaded(&self) -> Vec<u8> {
        self.seen.uploaded.lock().unwrap().clone()
    }

    /// A whole command line, but for the program's name.
    pub(super) async fn run(&self, args: &[&str]) -> Done {
        let cli = match Cli::try_parse_from(["modeld"].iter().chain(args)) {
            Ok(cli) => cli,
            Err(e) => return Done { out: String::new(), err: e.to_string(), code: 2 },
        };
        let sources = Sources::default();
        self.capture(async |client, printer| {
            app::dispatch(cli.command, client, &sources, printer).await
        })
        .await
    }

    /// `modeld run MODEL PROMPT`, whatever the standard input of the tests is.
    pub(super) async fn ask(&self, model: &str, prompt: &str) -> Done {
        let prompt = prompt.to_owned();
        self.capture(async |client, printer| run::once(client, model, prompt, printer).await).await
    }

    /// A conversation with these lines typed, and Ctrl-C once an answer hangs.
    pub(super) async fn talk(&self, model: &str, lines: &[&str], interrupt: bool) -> Done {
        let (line, receiver) = mpsc::channel(16);
        for text in lines {
            line.try_send((*text).to_owned()).unwrap();
        }
        let (ctrl_c, interrupts) = mpsc::channel(1);
        let out = Sink::default();
        let screen = out.clone();
        let typing = tokio::spawn(async move {
            if interrupt {
                screen.shows("half an").await;
                ctrl_c.send(()).await.unwrap();
            }
            drop(line);
        });
        let terminal = Terminal { lines: receiver, interrupts };
        let talk = async |client: &Client, printer: &mut Printer| {
            repl::talk(client, model, terminal, printer).await
        };
        let done = self.capture_in(out, talk).await;
        typing.await.unwrap();
        done
    }

    /// `modeld login …` with an input of this text; where it is a terminal, answers are typed.
    pub(super) async fn log_in(&self, args: &[&str], input: login::Typed) -> Done {
        let line = ["modeld", "login"].iter().chain(args);
        let app::Command::Login(args) = Cli::try_parse_from(line).unwrap().command else {
            panic!("another command");
        };
        let mut input = input;
        self.capture(async |client, printer| login::run(args, client, printer, &mut input).await)
            .await
    }

    async fn capture<F>(&self, command: F) -> Done
    where
        F: AsyncFnOnce(&Client, &mut Printer) -> Result<(), CliError>,
    {
        self.capture_in(Sink::default(), command).await
    }

    async fn capture_in<F>(&self, out: Sink, command: F) -> Done
    where
        F: AsyncFnOnce(&Client, &mut Printer) -> Result<(), CliError>,
    {
        let err = Sink::default();
        let mut printer = Printer::to(out.clone(), err.clone());
        let done = command(&self.client(), &mut printer).await.map(|()| ExitCode::Success);
        let code = app::finish(done, &mut printer) as u8;
        Done { out: out.text(), err: err.text(), code }
    }
}

/// What a command without a daemon does, and what it prints: data, then notes.
pub(super) fn captured<T>(command: impl FnOnce(&mut Printer) -> T) -> (T, String, String) {
    let (out, err) = (Sink::default(), Sink::default());
    let done = command(&mut Printer::to(out.clone(), err.clone()));
    (done, out.text(), err.text())
}

#[derive(Clone, Default)]
struct Sink {
    written: Arc<Mutex<Vec<u8>>>,
    changed: Arc<tokio::sync::Notify>,
}

impl Sink {
    fn text(&self) -> String {
        String::from_utf8(self.written.lock().unwrap().clone()).unwrap()
    }

    async fn shows(&self, text: &str) {
        while !self.text().contains(text) {
            self.changed.notified().await;
        }
    }
}

impl Write for Sink {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.changed.notify_one();
        self.written.lock().unwrap().write(buf)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn axum_serve(listener: tokio::net::UnixListener, router: Router) {
    while let Ok((stream, _)) = listener.accept().await {
        let service = hyper_util::service::TowerToHyperService::new(router.clone());
        let io = hyper_util::rt::TokioIo::new(stream);
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
    }
}

async fn answer(State(seen): State<Seen>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let preload = if parts.headers.contains_key("x-preload-only") { " preload" } else { "" };
    let mut line = format!("{} {}{preload}", parts.method, parts.uri);
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    if parts.uri.path() == "/models/create" {
        let create: Value = serde_json::from_slice(&body).unwrap();
        let detached = if create["detach"] == true { " detached" } else { "" };
        line = format!("{line} {}{detached}", create["from"].as_str().unwrap());
    }
    let shown = ["/modeld/prune", "/modeld/fsck", "/engines/_configure"];
    if parts.method == "POST" && shown.contains(&parts.uri.path()) {
        let body: Value = serde_json::from_slice(&body).unwrap();
        line = format!("{line} {body}");
    }
    if line == "PUT /modeld/log-level" {
        line = format!("{line} {}", String::from_utf8_lossy(&body));
        seen.requests.lock().unwrap().push(line);
        return axum::Json(serde_json::from_slice::<Value>(&body).unwrap()).into_response();
    }
    seen.requests.lock().unwrap().push(line.clone());
    if let Some(answer) = upkeep(&line) {
        return answer;
    }
    if line.contains("nope") {
        return missing();
    }
    let id = format!("sha256:{}", "a".repeat(64));
    match line.as_str() {
        "GET /models" => axum::Json(model_list()).into_response(),
        "GET /models/smollm2" => axum::Json(model_list()[0].clone()).into_response(),
        "GET /engines/v1/models" => {
            axum::Json(json!({"object": "list", "data": []})).into_response()
        }
        "GET /engines/v1/models/smollm2" => axum::Json(json!({"object": "model"})).into_response(),
        "GET /engines/ps" => axum::Json(running_list()).into_response(),
        "GET /modeld/log-level" => axum::Json(json!({"filter": "info"})).into_response(),
        "GET /modeld/status" => axum::Json(json!({
            "process": "no core dumps",
            "workers": [{"model": "ai/smollm2", "pid": 7, "sandbox": "Landlock ABI 7"}]
        }))
        .into_response(),
        "GET /engines/status" => axum::Json(json!({"llama.cpp": "Running"})).into_response(),
        line if line.starts_with("POST /engines/_configure") => {
            StatusCode::ACCEPTED.into_response()
        }
        line if line.starts_with("GET /engines/_configure") => {
            axum::Json(json!([{"Model": "smollm2", "Mode": "completion"}])).into_response()
        }
        "GET /version" => axum::Json(json!({"version": "9.9.9"})).into_response(),
        "POST /modeld/reload" => axum::Json(json!({
            "applied": [{"key": "keep-alive", "from": "5m", "to": "1h"}],
            "needs_restart": [{"key": "tcp", "from": "off", "to": "5"}],
        }))
        .into_response(),
        "POST /engines/unload" => {
            let body: Value = serde_json::from_slice(&body).unwrap();
            let hit = body["models"] == json!(["smollm2"]);
            axum::Json(json!({"unloaded_runners": u8::from(hit)})).into_response()
        }
        "POST /modeld/login" => {
            *seen.uploaded.lock().unwrap() = body.to_vec();
            let login: Value = serde_json::from_slice(&body).unwrap();
            if login["password"] == "wrong" {
                let text = "the login to docker.io failed: wrong password; nothing was stored\n";
                return (StatusCode::UNAUTHORIZED, text).into_response();
            }
            let verified = login["registry"] != "open.example";
            axum::Json(json!({"registry": login["registry"], "username": login["username"],
                              "verified": verified}))
            .into_response()
        }
        "GET /modeld/login" => axum::Json(json!([
            {"registry": "docker.io", "username": "u"}, {"registry": "ghcr.io", "username": null}
        ]))
        .into_response(),
        line if line.starts_with("DELETE /modeld/login?registry=") => {
            let registry = line.rsplit('=').next().unwrap_or_default();
            let removed = registry == "docker.io";
            axum::Json(json!({"registry": registry, "removed": removed})).into_response()
        }
        line if line.starts_with("GET /modeld/search?query=silent") => {
            let errors = json!([{"source": "docker.io", "message": "it stalled"}]);
            axum::Json(json!({"results": [], "errors": errors})).into_response()
        }
        line if line.starts_with("GET /modeld/search?") => axum::Json(json!({
            "results": [
                {"name": "ai/smollm2", "source": "docker.io", "description": "Tiny\u{1b}[2J LLM",
                 "downloads": 1_234_567, "stars": 12, "updated": 0, "gguf": false},
                {"name": "hf.co/org/Repo-GGUF", "source": "huggingface.co",
                 "description": "d".repeat(100), "downloads": 999, "newer": 1}
            ],
            "errors": [{"source": "docker.io", "message": "docker.io:443 stalled"}]
        }))
        .into_response(),
        "POST /models/load" => {
            *seen.uploaded.lock().unwrap() = body.to_vec();
            let id = format!("sha256:{}", "d".repeat(64));
            format!("{}\n", json!({"type": "success", "message": "Model loaded", "model": id}))
                .into_response()
        }
        "GET /models/smollm2/export" => "an archive".into_response(),
        "GET /models/broken/export" => {
            let parts = [Ok("half of"), Err(std::io::Error::other("the disk failed"))];
            Body::from_stream(futures_util::stream::iter(parts)).into_response()
        }
        "POST /models/smollm2/repackage" => {
            *seen.uploaded.lock().unwrap() = body.to_vec();
            let answer = json!({"message": "", "model": format!("sha256:{}", "e".repeat(64))});
            (StatusCode::CREATED, axum::Json(answer)).into_response()
        }
        "POST /models/create good" => progress(&["waiting", "warning", "half", "all", "pulled"]),
        "POST /models/create good detached" => {
            (StatusCode::ACCEPTED, axum::Json(transfers()[0].clone())).into_response()
        }
        "POST /models/create bad" => progress(&["half", "error"]),
        "POST /models/create truncated" => progress(&["half"]),
        "POST /models/create unavailable" => {
            (StatusCode::BAD_GATEWAY, "the registry stalls\n").into_response()
        }
        "POST /models/me/good/push" => progress(&["half", "all", "pushed"]),
        "GET /modeld/transfers" | "DELETE /modeld/transfers?reference=smollm2" => {
            axum::Json(transfers()).into_response()
        }
        "POST /engines/v1/chat/completions" => chat(&body),
        "POST /engines/v1/chat/completions preload" => StatusCode::OK.into_response(),
        line if line.contains("/tag?") => {
            (StatusCode::CREATED, axum::Json(json!({"message": "", "target": ""}))).into_response()
        }
        line if line.starts_with("DELETE ") => axum::Json(json!([
            {"Untagged": "docker.io/ai/smollm2:latest"}, {"Deleted": id}
        ]))
        .into_response(),
        _ => missing(),
    }
}

fn transfers() -> Value {
    json!([{"mode": "pull", "reference": "docker.io/ai/smollm2:latest", "total": 100,
            "current": 50, "started": "2026-01-01T00:00:00Z", "watchers": 1}])
}

/// What upkeep answers.
fn upkeep(line: &str) -> Option<Response> {
    let lines = |all: &[Value]| {
        all.iter().map(|line| format!("{line}\n")).collect::<String>().into_response()
    };
    if line.starts_with("POST /modeld/prune") {
        let removed = json!({"type": "removed", "what": "blob sha256:00", "bytes": 1 << 20});
        let report = json!({"type": "report", "removed": 1, "bytes": 1 << 20, "dry_run": false});
        return Some(lines(&[removed, report]));
    }
    let step = json!({"type": "progress", "digest": "sha256:00", "done": 9, "total": 9});
    let report = |problems: Value| {
        json!({"type": "report", "clean": problems == json!([]), "blobs": 2, "bytes": 9,
               "manifests": 1, "problems": problems})
    };
    Some(match line {
        "GET /engines/df" => axum::Json(usage()).into_response(),
        "DELETE /models/purge?force=true" => "".into_response(),
        "POST /modeld/fsck {\"repair\":true}" => lines(&[step, report(json!([]))]),
        "POST /modeld/fsck {\"repair\":false}" => {
            let hurt = json!([{"id": format!("sha256:{}", "a".repeat(64)),
                               "tags": ["docker.io/ai/smollm2:latest"],
                               "command": "modeld pull ai/smollm2:latest"},
                              {"id": format!("sha256:{}", "b".repeat(64)), "tags": []}]);
            let damaged = json!({"path": "blobs/sha256/00", "digest": "sha256:00",
                                 "problem": "it is damaged", "repaired": false, "models": hurt});
            let missing = json!({"path": "blobs/sha256/01", "problem": "it is missing",
                                 "repaired": false, "models": hurt});
            lines(&[step, report(json!([damaged, missing]))])
        }
        _ => return None,
    })
}

fn usage() -> Value {
    json!({"models_disk_usage": 104_000_000, "default_backend_disk_usage": 0,
           "model_bytes": 98_362_432, "shared_bytes": 0, "adopted_bytes": 1 << 30,
           "orphan_bytes": 5 << 20, "orphans": 2, "partial_bytes": 3 << 20, "interrupted": 3,
           "interrupted_bytes": 2 << 20, "free_bytes": 1u64 << 40, "something_newer": 1,
           "models": [
               {"id": format!("sha256:{}", "a".repeat(64)), "own_bytes": 98_362_432,
                "tags": ["docker.io/ai/smollm2:latest", "docker.io/me/m:v1"],
                "shared_bytes": 0, "adopted_bytes": 0},
               {"id": format!("sha256:{}", "b".repeat(64)), "own_bytes": 300, "tags": [],
                "shared_bytes": 4096, "adopted_bytes": 1 << 30}]})
}

/// Lines of a progress stream.
fn progress(lines: &[&str]) -> Response {
    let layer = |current: u64| {
        json!({"type": "progress", "message": "", "total": 1 << 20,
               "layer": {"id": format!("sha256:{}", "d".repeat(64)), "size": 1 << 20, "current": current}})
    };
    let plain = |kind: &str, message: &str| json!({"type": kind, "message": message, "layer": {"size": 0, "current": 0}});
    let value = |line: &&str| match *line {
        "half" => layer(1 << 19),
        "all" => layer(1 << 20),
        "waiting" => plain("progress", "waiting for 1 other pull"),
        "warning" => plain("warning", "an old name"),
        "pulled" => plain("success", "Model pulled successfully"),
        "pushed" => plain("success", "Model pushed successfully"),
        _ => plain("error", "Error: the disk is full"),
    };
    lines.iter().map(|line| format!("{}\n", value(line))).collect::<String>().into_response()
}

fn missing() -> Response {
    (StatusCode::NOT_FOUND, "no model nope\n").into_response()
}

/// Answers with all that was said so far, or does what the last word asks for.
fn chat(body: &Bytes) -> Response {
    let request: Value = serde_json::from_slice(body).unwrap();
    if request["model"] == "nope" {
        return missing();
    }
    let said = request["messages"].as_array().unwrap().iter();
    let said: Vec<_> = said.map(|m| m["content"].as_str().unwrap()).collect();
    let piece = |text: &str| {
        format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": {"content": text}}]}))
    };
    let end = |reason: &str| {
        let last = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]});
        format!("data: {last}\n\ndata: {}\n\ndata: [DONE]\n\n", json!({"choices": [], "usage": {}}))
    };
    let half = || piece("half an");
    let text = match said.last() {
        Some(&"fail") => {
            let error = json!({"error": {"message": "the model's process died", "code": 500}});
            format!("{}data: {error}\n\n", half())
        }
        Some(&"stop") => half(),
        Some(&"long") => half() + &end("length"),
        Some(&"hang") => {
            let first = futures_util::stream::once(std::future::ready(Ok::<_, String>(half())));
            let stream = first.chain(futures_util::stream::pending());
            return Body::from_stream(stream).into_response();
        }
        Some(_) | None => {
            format!(": queued\n\n{}{}{}", piece("you said: "), piece(&said.join("|")), end("stop"))
        }
    };
    ([("content-type", "text/event-stream")], text).into_response()
}
