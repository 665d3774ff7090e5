//! The settings file: what counts more than what, what is refused, and how it is read again while
//! answers run.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
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

/// A command never says that no daemon runs where it could not even look.
#[test]
fn a_client_says_what_is_wrong_with_the_file() {
    let home = TempDir::new().unwrap();
    let path = home.path();
    let list = |vars: &[(&str, &str)]| {
        let mut command = modeld(path, &path.join("unused"));
        command.env_remove("MODEL_RUNNER_SOCK").envs(vars.iter().copied()).arg("list");
        let output = command.stdin(Stdio::null()).output().unwrap();
        (output.status.code(), stderr(&output))
    };
    for (text, says, looks) in [
        ("keep-alvie = 5\n", ":1:1: unknown key \"keep-alvie\"; did you mean keep-alive?", true),
        ("max-queue = true\n", ":1:13: max-queue takes a whole number", true),
        ("socket = 5\n", ":1:10: socket takes a text in quotes", false),
        ("socket = \"/x\n", ":1:", false),
    ] {
        let file = write(path, text);
        let (code, said) = list(&[]);
        assert_eq!(code, Some(78), "{text}: {said}");
        assert!(said.contains(&format!("{}{says}", file.display())), "{text}: {said}");
        assert_eq!(said.contains("is not running"), looks, "{text}: {said}");
        assert!(!said.contains("start it with"), "{text}: {said}");
        let (code, said) = list(&[("MODEL_RUNNER_SOCK", "/nonexistent/s")]);
        assert_eq!(code, Some(69), "{text}: {said}");
        assert!(said.contains(says) && said.contains("going on without it"), "{text}: {said}");
    }
    write(path, "max-queue = 5\n");
    assert_eq!(list(&[]).0, Some(69));
}

#[test]
fn a_certificate_and_its_key_are_set_together_or_one_by_one() {
    let home = TempDir::new().unwrap();
    let path = home.path();
    let file = user_file(path);
    let read = || fs::read_to_string(&file).unwrap();
    let set = |args: &[&str]| {
        let mut command = modeld(path, &path.join("d.sock"));
        command.current_dir(path).args(["config", "set"]).args(args);
        let output = command.stdin(Stdio::null()).output().unwrap();
        (output.status.code(), stderr(&output))
    };
    let (here, both) = (path.canonicalize().unwrap(), ["tls-cert=c.pem", "tls-key=/k.pem"]);
    assert_eq!(set(&both).0, Some(0));
    let text = format!("tls-cert = \"{}/c.pem\"\ntls-key = \"/k.pem\"\n", here.display());
    assert_eq!(read(), text);
    // All of it or nothing.
    assert_eq!(set(&["tls-cert=/other", "max-queue=0"]).0, Some(78));
    assert_eq!(read(), text);
    fs::remove_file(&file).unwrap();
    let (code, said) = set(&["tls-cert", "/c.pem"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("will not start yet") && said.contains("without tls-key"), "{said}");
    for verb in ["serve", "config check"] {
        let output = run(path, &[], &verb.split(' ').collect::<Vec<_>>());
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(78), "{said}");
        let place = format!("{}:1: tls-cert is given without tls-key", file.display());
        assert!(said.contains(&place), "{said}");
    }
    let (code, said) = set(&["tls-key", "/k.pem"]);
    assert!(code == Some(0) && !said.contains("will not start"), "{said}");
    // A file's own relative paths begin at the file.
    write(path, "models-path = \"m\"\n");
    let is = file.parent().unwrap().join("m");
    assert_eq!(shown(path, &[], &[], "models-path")["value"], json!(is));
}

#[test]
fn an_editor_changes_a_copy_that_has_to_be_right() {
    let home = TempDir::new().unwrap();
    let path = home.path();
    let file = write(path, "# mine\nkeep-alive = \"5m\"\n");
    let edit = |editor: &str| {
        let output = run(path, &[("VISUAL", ""), ("EDITOR", editor)], &["config", "edit"]);
        (output.status.code(), stderr(&output))
    };
    let files = || fs::read_dir(file.parent().unwrap()).unwrap().count();
    assert_eq!(edit("true").0, Some(0));
    assert_eq!(edit("sed -i.bak -e s/5m/7m/").0, Some(0));
    assert_eq!(fs::read_to_string(&file).unwrap(), "# mine\nkeep-alive = \"7m\"\n");
    let before = files();
    let (code, said) = edit("sed -i -e s/7m/soon/");
    assert_eq!(code, Some(78), "{said}");
    assert!(
        said.contains(":2:14: keep-alive: \"soon\"") && said.contains("is as it was"),
        "{said}"
    );
    let kept = said.trim_end().rsplit_once("what you wrote is in ").unwrap().1;
    assert_eq!(fs::read_to_string(kept).unwrap(), "# mine\nkeep-alive = \"soon\"\n");
    assert_eq!(fs::read_to_string(&file).unwrap(), "# mine\nkeep-alive = \"7m\"\n");
    assert_eq!(files(), before + 1);
    let (code, said) = edit("false");
    assert!(code == Some(1) && said.contains("VISUAL or EDITOR"), "{said}");
    let other = format!("sh -c 'echo tcp=false >> {}; echo log=1 > $0'", file.display());
    let (code, said) = edit(&other.replace("log=1", "\"log=\\\"warn\\\"\""));
    assert!(code == Some(1) && said.contains("by somebody else meanwhile"), "{said}");
}

/// Whatever goes wrong after the editor: the file is as it was, and what was written is named.
#[test]
fn what_an_editor_wrote_is_never_lost() {
    let home = TempDir::new().unwrap();
    let path = home.path();
    let text = "# mine\nkeep-alive = \"5m\"\n";
    let file = write(path, text);
    let edit = |editor: &str| {
        let output = run(path, &[("VISUAL", ""), ("EDITOR", editor)], &["config", "edit"]);
        (output.status.code(), stderr(&output))
    };
    for (after, code, says) in [
        ("printf \"log=\\\\351\" > $0", 78, "is not UTF-8 from byte 4 on"),
        (&format!("chmod 666 {}", file.display()), 78, "can be written by others (mode 666)"),
        ("false", 1, "VISUAL or EDITOR names another one"),
        (&format!("echo >> {}", file.display()), 1, "by somebody else meanwhile"),
    ] {
        write(path, text);
        let wrote = format!("sh -c 'echo max-queue=7 > $0; {after}'");
        let (ended, said) = edit(&wrote);
        assert_eq!(ended, Some(code), "{after}: {said}");
        assert!(said.contains(says), "{after}: {said}");
        let (_, kept) = said.trim_end().rsplit_once("; what you wrote is in ").expect(&said);
        assert!(!fs::read(kept).unwrap().starts_with(b"# mine"), "{after}");
        assert_eq!(fs::read_to_string(&file).unwrap().trim_end(), text.trim_end(), "{after}");
    }
    // The copy is of the editor's mode, the file of ours.
    write(path, text);
    let (code, said) = edit("sh -c 'echo max-queue=7 > $0; chmod 664 $0'");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "max-queue=7\n");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

/// Ctrl-C goes to everybody at the terminal, and to most editors it is a key.
#[test]
fn the_keys_of_an_editor_do_not_end_the_command_under_it() {
    let home = TempDir::new().unwrap();
    let path = home.path();
    let file = write(path, "max-queue = 5\n");
    let (open, leave) = (path.join("open"), path.join("leave"));
    let fifo = std::ffi::CString::new(leave.to_str().unwrap()).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &*fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let editor = format!(
        "sh -c 'trap \"\" INT QUIT; touch {}; read key < {}; echo max-queue=7 > $0'",
        open.display(),
        leave.display()
    );
    let mut command = modeld(path, &path.join("d.sock"));
    command.env("VISUAL", "").env("EDITOR", editor).args(["config", "edit"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
    let mut child = command.spawn().unwrap();
    wait_until(SOON, "the editor is open", || open.exists());
    let group = Pid::from_raw(child.id().cast_signed()).unwrap();
    for key in [Signal::INT, Signal::QUIT] {
        kill_process_group(group, key).unwrap();
    }
    fs::write(&leave, "q\n").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(fs::read_to_string(&file).unwrap(), "max-queue=7\n");
}

/// What starting again would not change ends with the code that the units list for that.
#[test]
fn what_a_person_has_to_change_ends_with_78() {
    let home = TempDir::new().unwrap();
    let path = home.path();
    fs::create_dir(path.join("photos")).unwrap();
    fs::write(path.join("photos/cat.jpg"), "x").unwrap();
    fs::write(path.join("file"), "x").unwrap();
    let at = |name: &str| path.join(name).to_str().unwrap().to_owned();
    let (file, photos) = (at("file"), at("photos"));
    let below_file = at("file/m.sock");
    for (flags, says) in [
        (&["--models-path", &photos][..], "no layout.json"),
        (&["--models-path", &file], "file"),
        (&["--socket", &below_file], "file"),
        (&["--socket", &file], "is not a socket"),
        (&["--idle-exit", "0"], "off says never"),
        (&["--grace", "-5s"], "must not be negative"),
        (&["--max-queue", "-1"], "write a whole number from 1"),
        (&["--tls-cert", &file], "without tls-key"),
        (
            &["--tls-cert", "/dev/zero", "--tls-key", &file],
            "--tls-cert: the certificate /dev/zero: it is a device",
        ),
        (&["--tcp", "0.0.0.0:1"], "modeld token create"),
        (&["--registry-ca", &file], "no PEM certificate"),
        (&["--socket-group", "no-such-group"], "groupadd"),
    ] {
        let mut args = vec!["serve", "--models-path", "models"];
        if flags[0] == "--models-path" {
            args.truncate(1);
        }
        let output = run(path, &[], &[&args[..], flags].concat());
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(78), "{flags:?}: {said}");
        assert!(said.contains(says), "{flags:?}: {said}");
    }
    let unit = include_str!("../../systemd/modeld.service");
    assert!(unit.contains("\nRestartPreventExitStatus=2 75 78\n"));
    assert_eq!(run(path, &[], &["serve", "--no-such-flag"]).status.code(), Some(2));
}

#[test]
fn tls_without_tcp_is_said() {
    let home = TempDir::new().unwrap();
    let daemon = serve(home.path(), &[], &["--tls", "self-signed", "--idle-exit", "-1"]);
    daemon.client.get("/models").expect(200);
    drop(daemon);
    let log = fs::read_to_string(home.path().join("log")).unwrap();
    assert!(log.contains("--tls is of no effect: nothing listens on TCP"), "{log}");
    assert!(!log.contains("--idle-exit is of no effect"), "{log}");
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
    for (line, says) in [
        ("registry-ca = \"/nonexistent.pem\"", "/nonexistent.pem"),
        ("socket-group = \"no-such-group\"", "groupadd"),
        ("tcp = \"192.0.2.1:1\"", "modeld token create"),
    ] {
        let other = path.join("other.toml");
        fs::write(&other, line).unwrap();
        let output = run(path, &[], &["config", "check", other.to_str().unwrap()]);
        let said = stderr(&output);
        assert!(output.status.code() == Some(78) && said.contains(says), "{line}: {said}");
    }
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

/// The manager is told the beginning and the end of a reload, and keeps what it knows of the daemon.
#[test]
fn the_service_manager_keeps_its_status_over_a_reload() {
    let home = TempDir::new().unwrap();
    let daemon = serve(home.path(), &[], &[]);
    let manager = home.path().join("notify");
    fs::remove_file(&manager).unwrap();
    let manager = std::os::unix::net::UnixDatagram::bind(&manager).unwrap();
    manager.set_read_timeout(Some(SOON)).unwrap();
    // What the daemon does is told in between, whenever it changes.
    let told = |what: &str| loop {
        let mut message = [0; 4096];
        let length = manager.recv(&mut message).expect("a message");
        let message = String::from_utf8_lossy(&message[..length]).into_owned();
        if message.lines().any(|line| line == what) {
            break message;
        }
    };
    send(daemon.child.id().cast_signed(), Signal::HUP);
    let begin = told("RELOADING=1");
    let since = begin.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    assert!(since.is_some_and(|since| since.parse::<u64>().is_ok()), "{begin}");
    assert_eq!(told("READY=1").trim_end(), "READY=1");
}
