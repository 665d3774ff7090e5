//! `modeld activate`: what systemd does with sockets, where there is no systemd.

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use crate::support::daemon::{children_of, is_running, modeld, send};
use crate::support::http::{Address, Client};
use crate::support::{models, skip, wait_until};

const SOON: Duration = Duration::from_secs(30);

/// `modeld activate` and the directory that it works in.
struct Shim {
    child: Child,
    dir: TempDir,
}

impl Shim {
    /// One that starts `program`; it listens when this returns. `{dir}` stands for the directory.
    fn start(flags: &[&str], program: &[&str]) -> Self {
        Self::start_by(|_| None, flags, program)
    }

    /// The same, where `wrap` may answer what to start it with.
    fn start_by(
        wrap: impl FnOnce(&Path) -> Option<Command>,
        flags: &[&str],
        program: &[&str],
    ) -> Self {
        let dir = TempDir::new().unwrap();
        let socket = dir.path().join("run/a.sock");
        let own = modeld(dir.path(), &socket);
        let mut command = match wrap(dir.path()) {
            None => modeld(dir.path(), &socket),
            Some(mut outer) => {
                outer.arg(own.get_program()).env_clear();
                for (name, value) in own.get_envs() {
                    outer.env(name, value.unwrap());
                }
                outer
            }
        };
        command.arg("activate").arg("--socket").arg(&socket).args(flags).arg("--");
        let here = dir.path().to_str().unwrap();
        command.args(program.iter().map(|arg| arg.replace("{dir}", here)));
        command.env("MODELS_PATH", dir.path().join("models"));
        let log = File::create(dir.path().join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap();
        let mut shim = Self { child, dir };
        wait_until(SOON, "it listens", || {
            assert!(shim.child.try_wait().unwrap().is_none(), "it ended: {}", shim.log());
            // A socket has its file before it listens.
            shim.log().contains("waiting for the first connection")
        });
        shim
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("run/a.sock")
    }

    fn client(&self) -> Client {
        Client { address: Address::Unix(self.socket()) }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Puts a model into the store that says hello.
    fn package_hello(&self) {
        let file = self.dir.path().join("model.gguf");
        fs::write(&file, models::hello().bytes()).unwrap();
        let mut package = modeld(self.dir.path(), &self.socket());
        package.args(["package", "--gguf"]).arg(&file).arg("ai/hello").stdin(Stdio::null());
        assert!(package.output().unwrap().status.success(), "{}", self.log());
    }

    /// Lines that the program wrote to `runs`, one for each start.
    fn starts(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.path().join("runs")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn program(&self) -> Option<i32> {
        children_of(self.child.id()).first().copied()
    }

    fn send(&self, signal: Signal) {
        send(self.child.id().cast_signed(), signal);
    }

    #[track_caller]
    fn end(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until(SOON, "it ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        let programs = children_of(self.child.id());
        let _ = self.child.kill();
        let _ = self.child.wait();
        if cfg!(target_os = "linux") {
            wait_until(SOON, "what it started ends with it", || {
                !programs.iter().any(|pid| is_running(*pid))
            });
        }
        if std::thread::panicking() {
            eprintln!("--- log of modeld activate\n{}--- end of the log", self.log());
        }
    }
}

const MODELD: &str = env!("CARGO_BIN_EXE_modeld");

#[test]
fn the_daemon_comes_with_the_first_connection_and_after_it_left_with_the_next() {
    let mut shim = Shim::start(&[], &[MODELD, "serve", "--idle-exit", "500ms"]);
    assert_eq!(shim.program(), None, "nobody asked for it yet");
    shim.client().get("/models").expect(200);
    let first = shim.program().expect("the daemon");
    wait_until(SOON, "it leaves", || shim.program().is_none());
    shim.client().get("/models").expect(200);
    let second = shim.program().expect("another one");
    assert_ne!(first, second);
    wait_until(SOON, "it leaves again", || shim.program().is_none());
    shim.send(Signal::TERM);
    assert_eq!(shim.end().code(), Some(0));
    assert!(!shim.socket().exists());
}

#[test]
fn a_loaded_model_keeps_the_daemon_until_its_own_time_is_over() {
    let program = [MODELD, "serve", "--idle-exit", "200ms", "--keep-alive", "2s"];
    let shim = Shim::start(&[], &program);
    shim.package_hello();
    let body = json!({ "model": "ai/hello", "messages": [{ "role": "user", "content": "Hi" }] });
    shim.client().post("/engines/v1/chat/completions", &body).expect(200);
    let answered = Instant::now();
    wait_until(SOON, "it leaves", || shim.program().is_none());
    let stayed = answered.elapsed();
    // Less what passed between the answer's end and its arrival here.
    assert!(stayed > Duration::from_millis(1800), "it left after {stayed:?}");
    shim.client().get("/models").expect(200);
}

#[test]
fn a_stored_response_keeps_the_daemon_until_it_is_deleted() {
    let program = [MODELD, "serve", "--idle-exit", "500ms", "--keep-alive", "0"];
    let (shim, other) = (Shim::start(&[], &program), Shim::start(&[], &program));
    shim.package_hello();
    let body = json!({ "model": "ai/hello", "input": "Hi" });
    let answer = shim.client().post("/v1/responses", &body).expect(200).json();
    let daemon = shim.program().expect("the daemon");
    wait_until(SOON, "the model is unloaded", || children_of(daemon.cast_unsigned()).is_empty());
    // One that comes later and holds nothing is gone before it.
    other.client().get("/models").expect(200);
    wait_until(SOON, "the other one leaves", || other.program().is_none());
    assert_eq!(shim.program(), Some(daemon));
    let path = format!("/v1/responses/{}", answer["id"].as_str().unwrap());
    shim.client().get(&path).expect(200);
    shim.client().delete(&path).expect(200);
    wait_until(SOON, "it leaves", || shim.program().is_none());
}

#[test]
fn signals_reach_the_daemon_and_its_end_is_the_end() {
    let mut shim = Shim::start(&[], &[MODELD, "serve"]);
    shim.client().get("/models").expect(200);
    let daemon = shim.program().expect("the daemon");
    shim.send(Signal::HUP);
    shim.client().get("/models").expect(200);
    assert_eq!(shim.program(), Some(daemon), "SIGHUP ends neither");
    shim.send(Signal::INT);
    assert_eq!(shim.end().code(), Some(0), "{}", shim.log());
    assert!(!is_running(daemon));
    assert!(shim.log().contains("SIGHUP") && shim.log().contains("SIGINT"), "{}", shim.log());
}

#[test]
fn a_program_gets_the_sockets_as_systemd_passes_them() {
    let script = "echo \"$LISTEN_FDS $LISTEN_FDNAMES $((LISTEN_PID - $$))\" \
                  $(readlink /proc/$$/fd/3 | cut -c1-7) $(readlink /proc/$$/fd/4 | cut -c1-7) \
                  >> {dir}/runs; exit 78";
    let mut shim = Shim::start(&["--tcp", "0"], &["sh", "-c", script]);
    let _client = UnixStream::connect(shim.socket()).unwrap();
    assert_eq!(shim.end().code(), Some(78), "{}", shim.log());
    assert_eq!(shim.starts(), ["2 unix:tcp 0 socket: socket:"], "{}", shim.log());
}

#[test]
fn a_program_that_fails_is_started_again_later_and_later() {
    let script = "date +%s%N >> {dir}/runs; exit 1";
    let mut shim = Shim::start(&[], &["sh", "-c", script]);
    // It stays in the backlog, since nobody accepts it.
    let _client = UnixStream::connect(shim.socket()).unwrap();
    wait_until(SOON, "four starts", || shim.starts().len() >= 4);
    let at: Vec<u64> = shim.starts().iter().map(|line| line.parse().unwrap()).collect();
    let waits: Vec<u64> = at.windows(2).map(|pair| (pair[1] - pair[0]) / 1_000_000).collect();
    for (wait, least) in waits.iter().zip([200, 400, 800]) {
        assert!(*wait >= least, "{waits:?} ms");
    }
    wait_until(SOON, "it waits", || shim.program().is_none());
    let asked = Instant::now();
    shim.send(Signal::TERM);
    assert_eq!(shim.end().code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(5), "a wait does not keep it");
}

#[test]
fn what_will_not_help_is_not_tried_again() {
    for (program, code) in [
        (vec!["sh", "-c", "echo x >> {dir}/runs; exit 75"], 75),
        (vec!["sh", "-c", "echo x >> {dir}/runs; exit 78"], 78),
        (vec![MODELD, "serve", "--no-such-flag"], 2),
        (vec![MODELD, "serve", "--keep-alive", "soon"], 78),
    ] {
        let mut shim = Shim::start(&[], &program);
        let _client = UnixStream::connect(shim.socket()).unwrap();
        assert_eq!(shim.end().code(), Some(code), "{program:?}: {}", shim.log());
        assert!(shim.starts().len() <= 1, "{program:?}");
        assert!(!shim.socket().exists());
    }
}

#[test]
fn a_program_that_is_being_exchanged_is_tried_again() {
    let wrap = |dir: &Path| {
        std::os::unix::fs::symlink(MODELD, dir.join("program")).unwrap();
        None
    };
    let shim = Shim::start_by(wrap, &[], &["{dir}/program", "serve"]);
    let program = shim.dir.path().join("program");
    fs::remove_file(&program).unwrap();
    let client = UnixStream::connect(shim.socket()).unwrap();
    wait_until(SOON, "it fails", || shim.log().contains("the program failed"));
    std::os::unix::fs::symlink(MODELD, &program).unwrap();
    shim.client().get("/models").expect(200);
    drop(client);
}

#[test]
fn the_end_of_the_shim_asks_the_daemon_once_and_answers_end_well() {
    let program = [MODELD, "serve", "--grace", "2m"];
    let shim = Shim::start(&[], &program);
    let file = shim.dir.path().join("model.gguf");
    fs::write(&file, models::endless().bytes()).unwrap();
    let mut package = modeld(shim.dir.path(), &shim.socket());
    package.args(["package", "--gguf"]).arg(&file).arg("ai/endless").stdin(Stdio::null());
    assert!(package.output().unwrap().status.success(), "{}", shim.log());
    let body = json!({
        "model": "ai/endless", "stream": true, "max_tokens": 300,
        "messages": [{ "role": "user", "content": "Count" }],
    });
    let mut events = shim.client().stream("/engines/v1/chat/completions", &body);
    events.first_text();
    shim.send(Signal::KILL);
    let rest: Vec<_> = events.collect();
    assert_eq!(rest.last().map(|event| event.data.as_str()), Some("[DONE]"), "{}", shim.log());
}

#[test]
fn who_waits_for_a_daemon_that_cannot_start_is_told_why() {
    let mut shim = Shim::start(&[], &[MODELD, "serve", "--keep-alive", "soon"]);
    let answer = shim.client().get("/models").expect(503);
    assert!(answer.text().contains("--keep-alive") && answer.text().contains("cannot start"));
    assert!(answer.header("retry-after").is_some());
    assert_eq!(shim.end().code(), Some(78), "{}", shim.log());
}

#[test]
fn a_program_that_is_not_there_is_named_at_once() {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("run/a.sock");
    for program in ["/nonexistent/program", "no-such-program-anywhere"] {
        let mut command = modeld(dir.path(), &socket);
        command.args(["activate", "--", program]).stdin(Stdio::null());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains(program) && !socket.exists(), "{said}");
    }
}

#[test]
fn a_second_one_at_the_same_place_gives_up_with_75() {
    let shim = Shim::start(&[], &["sh", "-c", "exec sleep 60"]);
    let mut command = modeld(shim.dir.path(), &shim.socket());
    command.arg("activate").arg("--socket").arg(shim.socket()).stdin(Stdio::null());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(75), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(shim.socket().exists());
}

/// As in a container: what others leave behind becomes its child, and somebody has to collect it.
#[test]
fn as_the_first_process_it_collects_what_others_leave() {
    let test = "as_the_first_process_it_collects_what_others_leave";
    let flags = ["-Urpf", "--kill-child", "--mount-proc"];
    let can = Command::new("unshare").args(flags).arg("true").stderr(Stdio::null()).status();
    if !can.is_ok_and(|status| status.success()) {
        return skip(test, "no process namespace can be made here");
    }
    let wrap = |_: &Path| {
        let mut outer = Command::new("unshare");
        outer.args(flags);
        Some(outer)
    };
    // Each start leaves a process behind; the second one counts the dead that nobody collected.
    let script = "(sleep 0.1 &) ; sleep 0.3; cat /proc/[0-9]*/stat | grep -c ') Z ' >> {dir}/runs; \
                  exit 1";
    let shim = Shim::start_by(wrap, &[], &["sh", "-c", script]);
    let _client = UnixStream::connect(shim.socket()).unwrap();
    wait_until(SOON, "three starts", || shim.starts().len() >= 3);
    assert!(shim.starts().iter().all(|dead| dead == "0"), "{:?}", shim.starts());
}

#[test]
fn a_passed_port_that_was_disabled_turns_clients_away_in_every_daemon_after_it() {
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap()
    };
    let modeld = env!("CARGO_BIN_EXE_modeld");
    let shim = Shim::start(
        &["--tcp", &port.to_string()],
        &[modeld, "serve", "--idle-exit", "300ms", "--models-path", "{dir}/models"],
    );
    let tcp = Client { address: Address::Tcp(port) };
    let is_turned_away = || {
        let mut stream = std::net::TcpStream::connect(port).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let read = std::io::Read::read(&mut stream, &mut [0]);
        read.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
    };
    tcp.get("/models").expect(200);
    let closed = shim.client().delete("/modeld/tcp").expect(200).json();
    assert_eq!(closed["closed"], json!([port.to_string()]), "{closed}");
    assert!(is_turned_away());
    // What turns clients away keeps no daemon running, and the next one does the same.
    for _ in 0..2 {
        wait_until(SOON, "it ends", || shim.program().is_none());
        assert!(is_turned_away());
    }
    let body = json!({"host": "127.0.0.1", "port": port.port()}).to_string();
    let json = [("Content-Type", "application/json")];
    let opened = shim.client().send("PUT", "/modeld/tcp", &json, body.as_bytes()).expect(200);
    assert_eq!(opened.json()["inherited"], true);
    tcp.get("/models").expect(200);
    wait_until(SOON, "it ends", || shim.program().is_none());
    tcp.get("/models").expect(200);
}

/// A port that another program has, until it is dropped.
fn taken() -> (std::net::TcpListener, std::net::SocketAddr) {
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap();
    (held, address)
}

impl Shim {
    /// What the daemon waits to listen on.
    fn waiting(&self) -> Vec<serde_json::Value> {
        let tcp = self.client().get("/modeld/tcp").expect(200).json();
        tcp["waiting"].as_array().unwrap().clone()
    }

    fn reload(&self) -> serde_json::Value {
        self.client().post("/modeld/reload", &json!({})).expect(200).json()
    }
}

#[test]
fn a_port_that_is_taken_keeps_nobody_from_the_socket_and_is_opened_once_it_is_free() {
    let ((held, ollama), (other, tcp)) = (taken(), taken());
    let variable = format!("MODELD_OLLAMA_PORT={}", ollama.port());
    let settings = "--config={dir}/c.toml";
    let shim = Shim::start(&[], &["env", &variable, MODELD, settings, "serve"]);
    fs::write(shim.dir.path().join("c.toml"), format!("tcp = {}\n", tcp.port())).unwrap();
    shim.client().get("/models").expect(200);
    let waiting = shim.waiting();
    let [first, second] = waiting.as_slice() else { panic!("{waiting:?}") };
    assert_eq!((&first["address"], &first["setting"]), (&json!(tcp.to_string()), &json!("tcp")));
    assert!(first["origin"].as_str().unwrap().ends_with("c.toml:1"), "{first}");
    assert_eq!(second["origin"], "MODELD_OLLAMA_PORT");
    // Who holds it is seen on Linux alone.
    let says = if cfg!(target_os = "linux") { "is taken by" } else { "was taken by" };
    assert!(second["problem"].as_str().unwrap().contains(says), "{second}");
    let mut status = modeld(shim.dir.path(), &shim.socket());
    let status = status.args(["tcp", "status"]).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(status.stdout).unwrap();
    assert!(said.contains("does not listen on TCP yet"), "{said}");
    assert!(said.contains(&format!("not open yet: {ollama} is taken")), "{said}");
    let mut doctor = modeld(shim.dir.path(), &shim.socket());
    let doctor = doctor.args(["doctor", "--offline"]).stdin(Stdio::null()).output().unwrap();
    let found = String::from_utf8(doctor.stdout).unwrap();
    assert!(found.contains("does not yet (ollama-port, as MODELD_OLLAMA_PORT says)"), "{found}");
    let warned = shim.log().lines().filter(|line| line.contains("serves without it")).count();
    assert_eq!(warned, 2, "{}", shim.log());
    // At once where somebody asks for it, and by itself.
    drop(other);
    shim.reload();
    wait_until(SOON, "the one is open", || shim.waiting().len() == 1);
    Client { address: Address::Tcp(tcp) }.get("/models").expect(200);
    drop(held);
    wait_until(SOON, "the other is open", || shim.waiting().is_empty());
    Client { address: Address::Tcp(ollama) }.get("/api/version").expect(200);
    let opened = shim.log().lines().filter(|line| line.contains("is free now")).count();
    assert_eq!(opened, 2, "{}", shim.log());
}

#[test]
fn a_taken_port_of_the_settings_is_left_to_the_daemon_and_one_of_a_flag_is_an_error() {
    let (held, tcp) = taken();
    let settings = |dir: &Path| {
        let own = dir.join(".config/modeld");
        fs::create_dir_all(&own).unwrap();
        fs::write(own.join("config.toml"), format!("tcp = {}\n", tcp.port())).unwrap();
        None
    };
    let shim = Shim::start_by(settings, &[], &[MODELD, "serve"]);
    assert_eq!(shim.waiting().len(), 1, "{}", shim.log());
    let other = TempDir::new().unwrap();
    let socket = other.path().join("run/a.sock");
    let mut command = modeld(other.path(), &socket);
    command.args(["activate", "--tcp", &tcp.port().to_string()]).stdin(Stdio::null());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("choose another port with --tcp"));
    drop(held);
    wait_until(SOON, "it is open", || shim.waiting().is_empty());
    Client { address: Address::Tcp(tcp) }.get("/models").expect(200);
}

#[test]
fn what_is_switched_off_while_it_waits_is_not_opened() {
    let ((held, tcp), (other, ollama)) = (taken(), taken());
    let settings = "--config={dir}/c.toml";
    let program = [MODELD, settings, "serve", "--idle-exit", "300ms"];
    let shim = Shim::start(&[], &program);
    let file = shim.dir.path().join("c.toml");
    fs::write(&file, format!("tcp = {}\nollama-port = {}\n", tcp.port(), ollama.port())).unwrap();
    let closed = shim.client().delete("/modeld/tcp").expect(200).json();
    assert_eq!(closed["changed"], true, "{closed}");
    assert_eq!(closed["waiting"][0]["setting"], "ollama-port", "{closed}");
    // It keeps no daemon running that nobody uses, and the next one knows what was switched off.
    wait_until(SOON, "it leaves", || shim.program().is_none());
    let waiting = shim.waiting();
    assert_eq!((waiting.len(), &waiting[0]["setting"]), (1, &json!("ollama-port")), "{waiting:?}");
    // Settings that want it no more are heeded by a reload, which has nothing to tell of it.
    fs::write(&file, "tcp = false\n").unwrap();
    let reloaded = shim.reload();
    assert_eq!((&reloaded["applied"], &reloaded["needs_restart"]), (&json!([]), &json!([])));
    assert_eq!(shim.waiting(), [json!(null); 0]);
    drop((held, other));
    for address in [tcp, ollama] {
        std::net::TcpListener::bind(address).unwrap();
    }
}

#[test]
fn what_nobody_would_mend_by_waiting_ends_the_daemon() {
    // Open to other machines, and there is no token.
    let mut shim = Shim::start(&[], &[MODELD, "serve", "--tcp", "0.0.0.0:0"]);
    let _client = UnixStream::connect(shim.socket()).unwrap();
    assert_eq!(shim.end().code(), Some(78), "{}", shim.log());
}
