//! The settings file: what counts more than what, what is refused, and how it is read again while
//! answers run.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::daemon::{modeld, send, spawn_ready};
use crate::support::http::{Address, Client};
use crate::support::{Daemon, models, wait_until};

const CHAT: &str = "/engines/v1/chat/completions";
const SOON: Duration = Duration::from_secs(30);

/// Where the user's file is, below the home of a test.
fn user_file(home: &Path) -> PathBuf {
    if cfg!(target_os = "macos") {
        home.join("Library/Application Support/modeld/config.toml")
    } else {
        home.join(".config/modeld/config.toml")
    }
}

fn write(home: &Path, text: &str) -> PathBuf {
    let path = user_file(home);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    // As an editor does it: whole or not at all.
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(&new, &path).unwrap();
    path
}

/// Runs a command with these variables.
fn run(home: &Path, vars: &[(&str, &str)], args: &[&str]) -> Output {
    let mut command = modeld(home, &home.join("d.sock"));
    command.envs(vars.iter().copied()).args(args).stdin(Stdio::null()).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}: {}", output.status, stderr(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// One line of `config show --json`.
fn shown(home: &Path, vars: &[(&str, &str)], flags: &[&str], key: &str) -> Value {
    let args = [&["config", "show", "--json", "--"], flags].concat();
    let all: Value = serde_json::from_str(&stdout(&run(home, vars, &args))).unwrap();
    let mut lines = all.as_array().unwrap().iter();
    lines.find(|line| line["key"] == key).unwrap_or_else(|| panic!("no {key} in {all}")).clone()
}

fn chat(model: &str, stream: bool) -> Value {
    json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": "Hi"}]})
}

fn kept(client: &Client) -> Value {
    client.get("/engines/ps").expect(200).json()[0]["keep_alive"].clone()
}

struct Running {
    child: Child,
    client: Client,
}

impl Drop for Running {
    fn drop(&mut self) {
        send(self.child.id().cast_signed(), Signal::TERM);
        let _ = self.child.wait();
    }
}

fn serve(home: &Path, vars: &[(&str, &str)], flags: &[&str]) -> Running {
    let socket = home.join("d.sock");
    let mut command = modeld(home, &socket);
    command.envs(vars.iter().copied()).arg("serve").args(flags);
    command.arg("--models-path").arg(home.join("models"));
    let child = spawn_ready(command, home);
    Running { child, client: Client { address: Address::Unix(socket) } }
}

/// What is shown is what happens: file, variable, flag, each more than the one before.
#[test]
fn each_place_counts_more_than_the_one_below() {
    let home = TempDir::new().unwrap();
    let path = home.path();
    let file = write(path, "# mine\n\nkeep-alive = \"1h\"\n");
    let gguf = path.join("m.gguf");
    fs::write(&gguf, models::hello().bytes()).unwrap();
    {
        let _daemon = serve(path, &[], &[]);
        stdout(&run(path, &[], &["package", "--gguf", gguf.to_str().unwrap(), "ai/hello"]));
    }
    let variable: &[(&str, &str)] = &[("MODELD_KEEP_ALIVE", "2h")];
    let flag: &[&str] = &["--keep-alive", "3h"];
    let in_file = format!("{}:3", file.display());
    for (vars, flags, value, origin, lasts) in [
        (&[][..], &[][..], "1h", in_file.as_str(), "1h0m0s"),
        (variable, &[], "2h", "MODELD_KEEP_ALIVE", "2h0m0s"),
        (variable, flag, "3h", "--keep-alive", "3h0m0s"),
    ] {
        let line = shown(path, vars, flags, "keep-alive");
        assert_eq!((&line["value"], &line["origin"]), (&json!(value), &json!(origin)));
        let daemon = serve(path, vars, flags);
        daemon.client.post(CHAT, &chat("ai/hello", false)).expect(200);
        assert_eq!(kept(&daemon.client), lasts);
    }
    let table = stdout(&run(path, &[], &["config", "show", "--origin"]));
    let rows = |key: &str| {
        let row = table.lines().find(|line| line.starts_with(&format!("{key} "))).unwrap();
        row.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(rows("keep-alive"), ["keep-alive", "1h", in_file.as_str()]);
    assert_eq!(rows("max-queue"), ["max-queue", "64", "default"]);
}

#[test]
fn a_file_that_cannot_be_used_exits_78_and_says_where() {
    let home = TempDir::new().unwrap();
    let path = home.path();
    for (text, says) in [
        (
            "log = \"info\"\nkeep-alvie = 5\n",
            ":2:1: unknown key \"keep-alvie\"; did you mean keep-alive?",
        ),
        ("max-queue = true\n", ":1:13: max-queue takes a whole number, not a boolean"),
        ("keep-alive = \"soon\"\n", ":1:14: keep-alive: \"soon\" is not valid"),
        ("log = \"info\n", ":1:"),
    ] {
        let file = write(path, text);
        for verb in [&["serve"][..], &["config", "check"], &["config", "show"]] {
            let output = run(path, &[], verb);
            let errors = stderr(&output);
            assert_eq!(output.status.code(), Some(78), "{verb:?} {text}: {errors}");
            assert!(errors.contains(&format!("{}{says}", file.display())), "{text}: {errors}");
        }
    }
    let file = write(path, "log = \"info\"\n");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let output = run(path, &[], &["serve"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr(&output).contains("can be written by others"), "{}", stderr(&output));
    fs::remove_file(&file).unwrap();
    for (vars, args) in [
        (&[][..], &["--config", "no.toml", "serve"][..]),
        (&[("MODELD_CONFIG", "/nonexistent/no.toml")], &["serve"]),
    ] {
        let output = run(path, vars, args);
        assert_eq!(output.status.code(), Some(78));
        assert!(stderr(&output).contains("no.toml cannot be read"), "{}", stderr(&output));
    }
}

#[test]
fn a_daemon_is_found_where_the_file_says() {
    let home = TempDir::new().unwrap();
    let path = home.path();
    write(path, "socket = \"~/mine.sock\"\nno-log-file = true\n");
    let mut command = modeld(path, &path.join("unused"));
    command.env_remove("MODEL_RUNNER_SOCK").args(["serve", "--models-path"]);
    command.arg(path.join("models"));
    let mut child = spawn_ready(command, path);
    let mut list = modeld(path, &path.join("unused"));
    let output = list.env_remove("MODEL_RUNNER_SOCK").arg("list").output().unwrap();
    // A file that is broken meanwhile keeps nobody from a daemon that a variable names.
    write(path, "typo = 1\n");
    let socket = path.join("mine.sock");
    let named = modeld(path, &socket).arg("list").output().unwrap();
    let _ = child.kill();
    let _ = child.wait();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(named.status.success(), "{}", stderr(&named));
    assert!(stderr(&named).contains("going on without it"), "{}", stderr(&named));
}

#[test]
fn the_file_is_changed_by_commands_and_its_comments_stay() {
    let home = TempDir::new().unwrap();
    let path = home.path();
    let ok = |args: &[&str]| stdout(&run(path, &[], args));
    assert_eq!(ok(&["config", "path"]).lines().next(), Some(user_file(path).to_str().unwrap()));
    ok(&["config", "set", "keep-alive", "-1"]);
    ok(&["config", "set", "origin", "https://a.example", "app://*"]);
    let file = user_file(path);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text, "keep-alive = -1\norigin = [\"https://a.example\", \"app://*\"]\n");
    write(path, &format!("# mine\n{text}"));
    let output = run(path, &[("MODELD_KEEP_ALIVE", "1h")], &["config", "set", "keep-alive", "9m"]);
    let notes = stderr(&output);
    assert!(output.status.success() && notes.contains("MODELD_KEEP_ALIVE"), "{notes}");
    assert!(notes.contains("modeld config reload"), "{notes}");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("# mine\nkeep-alive = \"9m\"\n"), "{text}");
    for args in [
        ["config", "set", "keep-alive", "soon"],
        ["config", "set", "keep-alvie", "5m"],
        ["config", "set", "ollama-port", "0.0.0.0:1"],
    ] {
        let output = run(path, &[], &args);
        assert_eq!(output.status.code(), Some(78), "{args:?}: {}", stderr(&output));
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
    }
    let restart = run(path, &[], &["config", "set", "tcp", "12434"]);
    assert!(stderr(&restart).contains("needs a restart"), "{}", stderr(&restart));
    ok(&["config", "unset", "tcp"]);
    ok(&["config", "check"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn a_hundred_reloads_drop_nothing() {
    let daemon = Daemon::builder().model("ai/endless", &models::endless());
    let mut daemon = daemon.start();
    let mut body = chat("ai/endless", true);
    body["max_tokens"] = json!(3000);
    let mut stream = daemon.client().stream(CHAT, &body);
    stream.first_text();
    let pid = daemon.worker();
    let files = |pid: u32| fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    write(daemon.dir(), "keep-alive = \"1h\"\n");
    daemon.client().post("/modeld/reload", &json!({})).expect(200);
    let before = files(daemon.pid());
    for round in 0..100 {
        let hours = if round % 2 == 0 { 2 } else { 1 };
        write(daemon.dir(), &format!("keep-alive = \"{hours}h\"\n"));
        if round % 10 == 0 {
            send(daemon.pid().cast_signed(), Signal::HUP);
        }
        let answer = daemon.client().post("/modeld/reload", &json!({})).expect(200).json();
        // What a signal asked for may have been faster.
        let applied = answer["applied"].as_array().unwrap();
        assert!(applied.iter().all(|it| it["to"] == format!("{hours}h")), "{round}: {answer}");
        assert_eq!(daemon.loaded()[0]["keep_alive"], format!("{hours}h0m0s"));
    }
    assert!(files(daemon.pid()) <= before + 2, "descriptors pile up: {before}");
    assert_eq!(daemon.worker(), pid, "the model stays loaded");
    let rest: Vec<_> = stream.collect();
    let [.., finish, done] = rest.as_slice() else { panic!("{rest:?}") };
    assert_eq!(
        (done.data.as_str(), &finish.json()["choices"][0]["finish_reason"]),
        ("[DONE]", &json!("length"))
    );
    assert!(daemon.is_alive());
}

#[test]
fn sighup_reads_the_file_and_ends_nothing() {
    let mut daemon = Daemon::with("ai/hello", &models::hello());
    daemon.client().post(CHAT, &chat("ai/hello", false)).expect(200);
    assert_eq!(kept(&daemon.client()), "5m0s");
    write(daemon.dir(), "keep-alive = -1\nlog = \"debug\"\n");
    send(daemon.pid().cast_signed(), Signal::HUP);
    wait_until(SOON, "the model stays", || kept(&daemon.client()) == "-1");
    wait_until(SOON, "it is logged", || {
        daemon.log().contains("reload: keep-alive is -1 now, it was 5m")
    });
    assert!(daemon.is_alive());
    assert!(daemon.stop().success());
}

#[test]
fn a_broken_file_changes_nothing_and_what_needs_a_restart_is_named() {
    let daemon = Daemon::with("ai/hello", &models::hello());
    daemon.client().post(CHAT, &chat("ai/hello", false)).expect(200);
    let reload = || daemon.client().post("/modeld/reload", &json!({}));
    write(daemon.dir(), "keep-alive = \"1h\"\nmax-queue = 0\n");
    let refused = reload().expect(409).text();
    assert!(
        refused.contains(":2:13: max-queue") && refused.contains("nothing was changed"),
        "{refused}"
    );
    assert_eq!(kept(&daemon.client()), "5m0s");
    assert!(daemon.log().contains("those from before hold"));
    let output = daemon.cli(&["config", "reload"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains(":2:13: max-queue"), "{}", stderr(&output));

    write(daemon.dir(), "keep-alive = \"1h\"\ntcp = 0\n");
    for applied in [json!([{"key": "keep-alive", "from": "5m", "to": "1h"}]), json!([])] {
        let answer = reload().expect(200).json();
        assert_eq!(answer["applied"], applied);
        // Until the restart, however often it is read.
        assert_eq!(answer["needs_restart"], json!([{"key": "tcp", "from": "off", "to": "0"}]));
    }
    assert!(daemon.log().contains("reload: tcp stays off until a restart"));
    assert_eq!(kept(&daemon.client()), "1h0m0s");
    fs::remove_file(user_file(daemon.dir())).unwrap();
    let told = daemon.cli_ok(&["config", "reload"]);
    assert_eq!(told, "keep-alive: 5m (was 1h)\n");
}

/// Recording, log and web pages' origins begin and end with a reload.
#[test]
fn what_is_switched_at_run_time() {
    let daemon = Daemon::builder().model("ai/hello", &models::hello()).tcp().start();
    let page = |status: u16| {
        let headers = [("origin", "https://page.example")];
        daemon.tcp_client().send("GET", "/models", &headers, b"").expect(status);
    };
    page(403);
    daemon.client().get("/engines/requests").expect(409);
    write(
        daemon.dir(),
        "origin = [\"https://page.example\"]\nrecord-requests = true\nlog = \"off\"\n",
    );
    daemon.cli_ok(&["config", "reload"]);
    page(200);
    daemon.client().post(CHAT, &chat("ai/hello", false)).expect(200);
    let recorded = daemon.client().get("/engines/requests").expect(200).json();
    assert_eq!(recorded[0]["count"], 1);
    let quiet = daemon.log();
    write(daemon.dir(), "");
    daemon.cli_ok(&["config", "reload"]);
    page(403);
    daemon.client().get("/engines/requests").expect(409);
    daemon.cli_ok(&["config", "reload"]);
    let log = daemon.log();
    let since = log.strip_prefix(&quiet).expect("what was logged stays");
    assert!(!log.contains("chat/completions"), "nothing of what happened meanwhile: {log}");
    let first = since.lines().next().unwrap_or_default();
    assert!(first.contains("settings reloaded"), "{since}");
}

#[test]
fn variables_of_docker_model_runner_are_heeded_or_named() {
    let home = TempDir::new().unwrap();
    let path = home.path();
    let vars = [
        ("LOG_LEVEL", "debug"),
        ("MODEL_RUNNER_LOG_DIR", "logs"),
        ("DEFAULT_REGISTRY", "127.0.0.1:1"),
        ("INSECURE_REGISTRY", "true"),
        ("DMR_ORIGINS", "https://page.example"),
        ("DISABLE_METRICS", "true"),
        ("DO_NOT_TRACK", "1"),
        ("LLAMA_SERVER_PATH", "/opt/llama"),
        ("LLAMA_ARGS", "-ngl 99"),
    ];
    let value = |key: &str| shown(path, &vars, &[], key)["value"].clone();
    assert_eq!(value("log"), "debug");
    assert_eq!(value("registry-mirror"), "docker.io=http://127.0.0.1:1/");
    assert_eq!(value("insecure-registry"), "127.0.0.1:1");
    assert_eq!(value("origin"), "https://page.example");
    assert_eq!(value("no-metrics"), "on");
    let log_dir = path.join("logs");
    let vars = [&vars[..], &[("MODEL_RUNNER_LOG_DIR", log_dir.to_str().unwrap())]].concat();
    let daemon = serve(path, &vars, &[]);
    daemon.client.get("/metrics").expect(404);
    drop(daemon);
    let log = fs::read_to_string(log_dir.join("modeld.log")).unwrap();
    for word in ["LLAMA_SERVER_PATH has no effect", "LLAMA_ARGS has no effect"] {
        assert!(log.contains(word), "{word} in {log}");
    }
    assert!(!log.contains("DO_NOT_TRACK"), "{log}");
    // A client's own way to the daemon.
    let host = [("MODEL_RUNNER_HOST", "http://127.0.0.1:1")];
    let output = run(path, &host, &["list"]);
    assert_eq!(output.status.code(), Some(69));
    assert!(stderr(&output).contains("127.0.0.1:1"), "{}", stderr(&output));
}
