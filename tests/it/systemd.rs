//! Under a real service manager, with the units as they are shipped.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::daemon::{is_running, modeld, send};
use crate::support::http::{Address, Client, PATIENCE};
use crate::support::{is_long, models, skip, wait_until};

const CHAT: &str = "/engines/v1/chat/completions";

/// Of this project's units, where `/usr/bin/modeld` is the program that is tested.
const USER_UNITS: &[&str] = &["modeld.service", "modeld.socket", "modeld-tcp.socket"];

/// How long the manager may take for something that it does at once.
const SOON: Duration = Duration::from_secs(30);

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn runs(program: &str, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// Copies units to `to`, with the program and the port that the test has.
fn install(units: &[&str], from: &Path, to: &Path, port: u16) {
    fs::create_dir_all(to).unwrap();
    for unit in units {
        let text = fs::read_to_string(from.join(unit)).unwrap();
        let text = text.replace("/usr/bin/modeld", env!("CARGO_BIN_EXE_modeld"));
        fs::write(to.join(unit), text.replace(":12434", &format!(":{port}"))).unwrap();
    }
}

/// The service manager of a user who has our units.
struct Manager {
    child: Child,
    dir: TempDir,
    group: String,
    port: u16,
}

impl Manager {
    /// `None` where none can be started here, which is said. `service` goes below `[Service]` of the
    /// daemon's unit.
    fn start(test: &str, service: &str) -> Option<Self> {
        Self::start_with(test, service, |unit| unit)
    }

    fn start_with(test: &str, service: &str, change: fn(String) -> String) -> Option<Self> {
        let namespace = ["-m", "-Urm"]
            .into_iter()
            .find(|flags| runs("unshare", &[flags, "mount", "-t", "tmpfs", "tmpfs", "/run"]));
        let Some(namespace) = namespace else {
            skip(test, "no mount namespace can be made here");
            return None;
        };
        if !runs("systemctl", &["--version"]) {
            skip(test, "there is no systemd");
            return None;
        }
        let dir = TempDir::new().unwrap();
        let port = free_port();
        let units = dir.path().join("units");
        install(USER_UNITS, &repository().join("systemd"), &units, port);
        let unit = units.join("modeld.service");
        fs::write(&unit, change(fs::read_to_string(&unit).unwrap())).unwrap();
        fs::create_dir(units.join("modeld.service.d")).unwrap();
        let settings = format!(
            "[Unit]\nStartLimitIntervalSec=0\n[Service]\nEnvironment=MODELS_PATH={}\n{service}\n",
            dir.path().join("models").display()
        );
        fs::write(units.join("modeld.service.d/test.conf"), settings).unwrap();
        let run = dir.path().join("run");
        fs::create_dir(&run).unwrap();
        fs::set_permissions(&run, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();

        let group = format!("modeld-test-{}-{port}", std::process::id());
        let log = File::create(dir.path().join("log")).unwrap();
        let mut command = environment(dir.path(), Command::new("unshare"));
        command.args([namespace, "sh", "-c", include_str!("systemd.sh")]).env("GROUP", &group);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap();
        let mut manager = Self { child, dir, group, port };
        let mut ended = false;
        wait_until(SOON, "the manager is up or has ended", || {
            ended = manager.child.try_wait().unwrap().is_some();
            ended || manager.systemctl(&["is-active", "basic.target"]).status.success()
        });
        if ended {
            skip(test, &format!("no service manager runs here: {}", manager.log().trim()));
            return None;
        }
        Some(manager)
    }

    fn systemctl(&self, args: &[&str]) -> Output {
        let mut command = environment(self.dir.path(), Command::new("systemctl"));
        command.arg("--user").args(args).stdin(Stdio::null()).output().expect("systemctl runs")
    }

    #[track_caller]
    fn ask(&self, args: &[&str]) {
        let output = self.systemctl(args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "systemctl {args:?}: {errors}\n{}", self.log());
    }

    fn show(&self, property: &str) -> String {
        let output = self.systemctl(&["show", "-P", property, "modeld.service"]);
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    #[track_caller]
    fn wait_for(&self, property: &str, value: &str) {
        wait_until(SOON, &format!("{property} is {value}"), || self.show(property) == value);
    }

    fn pid(&self) -> i32 {
        self.show("MainPID").parse().unwrap()
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("run/modeld/modeld.sock")
    }

    fn client(&self) -> Client {
        Client { address: Address::Unix(self.socket()) }
    }

    fn tcp(&self) -> Client {
        Client { address: Address::Tcp(SocketAddr::from(([127, 0, 0, 1], self.port))) }
    }

    /// What starts a stream that does not end on its own, of a model that is put into the store.
    fn endless(&self) -> Value {
        let model = self.dir.path().join("model.gguf");
        fs::write(&model, models::endless().bytes()).unwrap();
        let packaged = environment(self.dir.path(), Command::new(env!("CARGO_BIN_EXE_modeld")))
            .args(["package", "--gguf", model.to_str().unwrap(), "ai/endless"])
            .output()
            .unwrap();
        assert!(packaged.status.success(), "{}", String::from_utf8_lossy(&packaged.stderr));
        json!({
            "model": "ai/endless", "stream": true, "max_tokens": 1_000_000,
            "messages": [{ "role": "user", "content": "Count" }],
        })
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let pid = self.child.id().cast_signed();
        // It stops its units first.
        send(pid, Signal::TERM);
        let asked = Instant::now();
        while is_running(pid) && asked.elapsed() < SOON {
            std::thread::yield_now();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        for root in ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"] {
            remove_groups(&Path::new(root).join(&self.group));
        }
        if std::thread::panicking() {
            eprintln!("--- log of the manager\n{}--- end of the log", self.log());
        }
    }
}

fn remove_groups(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_groups(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}

fn environment(dir: &Path, mut command: Command) -> Command {
    command.env_clear();
    for (name, value) in modeld(dir, &dir.join("run/modeld/modeld.sock")).get_envs() {
        if let Some(value) = value.filter(|_| name != "MODEL_RUNNER_SOCK") {
            command.env(name, value);
        }
    }
    command.env("XDG_RUNTIME_DIR", dir.join("run"));
    command.env("SYSTEMD_UNIT_PATH", format!("{}:", dir.join("units").display()));
    command.env("SYSTEMD_LOG_TARGET", "console");
    command
}

#[test]
fn the_first_connection_starts_the_daemon_and_the_next_one_after_it_left() {
    let test = "the_first_connection_starts_the_daemon_and_the_next_one_after_it_left";
    let Some(manager) = Manager::start(test, "Environment=MODELD_IDLE_EXIT=1s") else { return };
    manager.ask(&["start", "modeld.socket", "modeld-tcp.socket"]);
    assert_eq!(manager.show("ActiveState"), "inactive");
    let mode = |path: &Path| {
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions()) & 0o777
    };
    assert_eq!(mode(&manager.socket()), 0o600);
    assert_eq!(mode(manager.socket().parent().unwrap()), 0o700);

    manager.client().get("/models").expect(200);
    assert_eq!(manager.show("ActiveState"), "active");
    let status = manager.show("StatusText");
    assert!(status.starts_with("no model loaded; listening on "), "{status}");
    assert!(status.contains(&format!("unix://{}", manager.socket().display())), "{status}");
    assert!(status.contains(&format!("http://127.0.0.1:{}", manager.port)), "{status}");
    let first = manager.pid();

    manager.wait_for("ActiveState", "inactive");
    assert_eq!(manager.show("Result"), "success");
    assert_eq!(manager.show("NRestarts"), "0");
    assert!(manager.socket().exists(), "the manager listens on");
    manager.tcp().get("/models").expect(200);
    assert_ne!(manager.pid(), first);
    manager.client().get("/models").expect(200);
}

#[test]
fn a_daemon_that_hangs_is_started_again() {
    let test = "a_daemon_that_hangs_is_started_again";
    let Some(manager) = Manager::start(test, "WatchdogSec=2") else { return };
    manager.ask(&["start", "modeld.service"]);
    let first = manager.pid();
    send(first, Signal::STOP);
    // None of its threads accepts any more.
    wait_until(SOON, "it stands still", || stands_still(first));
    // This one waits for the next daemon.
    manager.client().get("/models").expect(200);
    assert_ne!(manager.pid(), first);
    assert_eq!(manager.show("NRestarts"), "1");
    assert!(!is_running(first));
}

fn stands_still(pid: i32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let mut states = threads.map(|thread| fs::read_to_string(thread.path().join("stat")));
    states.all(|stat| stat.is_ok_and(|stat| stat.contains(") T ")))
}

#[test]
fn nobody_is_refused_while_the_daemon_restarts() {
    let test = "nobody_is_refused_while_the_daemon_restarts";
    let Some(manager) = Manager::start(test, "Environment=MODELD_GRACE=1s") else { return };
    manager.ask(&["start", "modeld.socket", "modeld-tcp.socket"]);
    manager.client().get("/models").expect(200);
    let body = manager.endless();
    let rounds = if is_long() { 50 } else { 3 };
    let per_second = if is_long() { 200 } else { 50 };
    let asked = under_load(&[manager.client(), manager.tcp()], per_second, |count| {
        for round in 0..rounds {
            let before = manager.pid();
            std::thread::scope(|scope| {
                let (said, heard) = channel();
                for _ in 0..4 {
                    let (client, body, said) = (manager.client(), &body, said.clone());
                    scope.spawn(move || {
                        let mut events = client.stream(CHAT, body);
                        events.first_text();
                        said.send(()).unwrap();
                        // It ends with an event that says why, and with its body.
                        let last = events.last().expect("a last event");
                        assert!(
                            last.data.contains("stopping") || last.data == "[DONE]",
                            "{last:?}"
                        );
                    });
                }
                drop(said);
                assert_eq!(heard.iter().take(4).count(), 4, "round {round}: a stream failed");
                let started = Instant::now();
                manager.ask(&["restart", "modeld.service"]);
                eprintln!("round {round}: restarted in {:?}", started.elapsed());
            });
            assert_ne!(manager.pid(), before);
            wait_for_more(count);
        }
    });
    eprintln!("{asked} requests during {rounds} restarts");
}

/// Who gives answers more time than the unit's `TimeoutStopSec=` does not edit the unit as well.
#[test]
fn the_grace_may_be_longer_than_the_units_time_to_stop() {
    let test = "the_grace_may_be_longer_than_the_units_time_to_stop";
    let service = "Environment=MODELD_GRACE=3s\nTimeoutStopSec=1";
    let Some(manager) = Manager::start(test, service) else { return };
    manager.ask(&["start", "modeld.socket"]);
    let mut events = manager.client().stream(CHAT, &manager.endless());
    events.first_text();
    // Somebody who does not read meanwhile has no room left for the last event.
    let last = std::thread::scope(|scope| {
        let reading = scope.spawn(move || events.last());
        // The socket would start it again with the next connection.
        manager.ask(&["stop", "modeld.socket", "modeld.service"]);
        reading.join().unwrap().expect("a last event")
    });
    assert!(last.data.contains("stopping") || last.data == "[DONE]", "{last:?}");
    assert_eq!(manager.show("Result"), "success");
}

/// The daemon's unit without those of its sockets.
fn without_sockets(unit: String) -> String {
    let others = |line: &&str| !["Wants=", "After=", "Also="].iter().any(|k| line.starts_with(k));
    unit.lines().filter(others).map(|line| format!("{line}\n")).collect()
}

/// The daemon's own sockets, with neither of the socket units.
#[test]
fn sockets_of_its_own_are_kept_while_it_restarts() {
    let test = "sockets_of_its_own_are_kept_while_it_restarts";
    let port = free_port();
    let service = format!("Environment=MODEL_RUNNER_PORT={port}");
    let Some(mut manager) = Manager::start_with(test, &service, without_sockets) else { return };
    manager.port = port;
    manager.ask(&["start", "modeld.service"]);
    assert_eq!(manager.show("NFileDescriptorStore"), "2");
    let asked = under_load(&[manager.client(), manager.tcp()], 50, |count| {
        for _ in 0..3 {
            let before = manager.pid();
            manager.ask(&["restart", "modeld.service"]);
            assert_ne!(manager.pid(), before);
            wait_for_more(count);
        }
    });
    eprintln!("{asked} requests during the restarts");
    assert_eq!(manager.show("NFileDescriptorStore"), "2", "taken back, not added to");
}

#[test]
fn a_socket_that_is_kept_goes_and_comes_at_once() {
    let test = "a_socket_that_is_kept_goes_and_comes_at_once";
    let Some(manager) = Manager::start_with(test, "", without_sockets) else { return };
    manager.ask(&["start", "modeld.service"]);
    open_tcp(&manager, manager.port);
    manager.wait_for("NFileDescriptorStore", "2");
    // However long the manager takes to let go of its copy.
    let standing = Standing::still(manager.child.id().cast_signed());
    for _ in 0..3 {
        manager.client().delete("/modeld/tcp").expect(200);
        assert!(TcpStream::connect(("127.0.0.1", manager.port)).is_err());
        open_tcp(&manager, manager.port);
        manager.tcp().get("/models").expect(200);
    }
    manager.client().delete("/modeld/tcp").expect(200);
    drop(standing);
    manager.wait_for("NFileDescriptorStore", "1");
    // Two ports after each other: one is kept, and the daemon after this one has it.
    open_tcp(&manager, free_port());
    open_tcp(&manager, manager.port);
    manager.wait_for("NFileDescriptorStore", "2");
    manager.ask(&["restart", "modeld.service"]);
    manager.tcp().get("/models").expect(200);
    assert_eq!(manager.show("NFileDescriptorStore"), "2");
}

/// A process that does nothing for a while.
struct Standing(i32);

impl Standing {
    fn still(pid: i32) -> Self {
        send(pid, Signal::STOP);
        let standing = Self(pid);
        wait_until(SOON, "it stands still", || stands_still(pid));
        standing
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        send(self.0, Signal::CONT);
    }
}

/// Whether who connects is let in, only to be disconnected.
fn is_turned_away(port: u16) -> bool {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
}

fn open_tcp(manager: &Manager, port: u16) -> serde_json::Value {
    let body = json!({ "port": port }).to_string();
    let json = [("Content-Type", "application/json")];
    manager.client().send("PUT", "/modeld/tcp", &json, body.as_bytes()).expect(200).json()
}

#[test]
fn a_port_that_was_disabled_stays_closed_while_its_unit_is_active() {
    let test = "a_port_that_was_disabled_stays_closed_while_its_unit_is_active";
    let Some(manager) = Manager::start(test, "Environment=MODELD_IDLE_EXIT=1s") else { return };
    manager.ask(&["start", "modeld.socket", "modeld-tcp.socket"]);
    manager.tcp().get("/models").expect(200);
    let url = format!("http://127.0.0.1:{}", manager.port);
    assert!(manager.show("StatusText").contains(&url));
    manager.client().delete("/modeld/tcp").expect(200);
    assert!(is_turned_away(manager.port));
    wait_until(SOON, "the status tells", || !manager.show("StatusText").contains(&url));
    manager.ask(&["restart", "modeld.service"]);
    assert!(is_turned_away(manager.port));
    manager.wait_for("ActiveState", "inactive");
    // It starts the daemon, and the daemon turns it away; the unit does not mind.
    assert!(is_turned_away(manager.port));
    assert_eq!(manager.show("ActiveState"), "active");
    let unit = manager.systemctl(&["is-active", "modeld-tcp.socket"]).stdout;
    assert_eq!(String::from_utf8_lossy(&unit).trim(), "active");
    assert_eq!(open_tcp(&manager, manager.port)["inherited"], true);
    manager.tcp().get("/models").expect(200);
    // The command has the unit stopped as well, and then the port is free.
    let disable = |args: &[&str]| {
        let mut command =
            environment(manager.dir.path(), Command::new(env!("CARGO_BIN_EXE_modeld")));
        command.env("MODEL_RUNNER_SOCK", manager.socket());
        let output = command.args(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    disable(&["tcp", "disable"]);
    let unit = manager.systemctl(&["is-active", "modeld-tcp.socket"]).stdout;
    assert_eq!(String::from_utf8_lossy(&unit).trim(), "inactive");
    assert!(TcpStream::connect(("127.0.0.1", manager.port)).is_err());
    drop(TcpListener::bind(("127.0.0.1", manager.port)).unwrap());
}

/// However quick a restart is, there is a load beside it.
fn wait_for_more(count: &AtomicUsize) {
    let goal = count.load(Ordering::Relaxed) + 20;
    wait_until(SOON, "more requests are sent", || count.load(Ordering::Relaxed) >= goal);
}

/// Sends `per_second` requests, each on a connection of its own, while `work` runs; all of them have
/// to be answered. Returns how many there were.
fn under_load(clients: &[Client], per_second: u32, work: impl FnOnce(&AtomicUsize)) -> usize {
    let (count, failures) = (AtomicUsize::new(0), std::sync::Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        let (stop, stopped) = channel::<()>();
        let (count, failures) = (&count, &failures);
        scope.spawn(move || {
            let every = Duration::from_secs(1) / per_second;
            let mut turn = clients.iter().cycle();
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                let client = turn.next().unwrap();
                scope.spawn(move || {
                    count.fetch_add(1, Ordering::Relaxed);
                    if let Err(problem) = list(client) {
                        failures.lock().unwrap().push(problem);
                    }
                });
            }
        });
        work(count);
        drop(stop);
    });
    let failures = failures.into_inner().unwrap();
    let count = count.into_inner();
    assert!(failures.is_empty(), "{} of {count}: {failures:?}", failures.len());
    count
}

/// One request on one connection; says what went wrong, and where.
fn list(client: &Client) -> Result<(), String> {
    let started = Instant::now();
    let told = |doing: &str, error: std::io::Error| {
        format!("{doing} {:?}: {error} after {:?}", client.address, started.elapsed())
    };
    let (mut answer, host) = (Vec::new(), "localhost");
    let request = format!("GET /models HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    match &client.address {
        Address::Unix(path) => {
            let mut stream = std::os::unix::net::UnixStream::connect(path)
                .map_err(|error| told("connect", error))?;
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(request.as_bytes()).map_err(|error| told("write", error))?;
            stream.read_to_end(&mut answer).map_err(|error| told("read", error))?;
        }
        Address::Tcp(address) => {
            let mut stream = TcpStream::connect(address).map_err(|error| told("connect", error))?;
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(request.as_bytes()).map_err(|error| told("write", error))?;
            stream.read_to_end(&mut answer).map_err(|error| told("read", error))?;
        }
    }
    match answer.starts_with(b"HTTP/1.1 200") {
        true => Ok(()),
        false => Err(told("answer", std::io::Error::other(String::from_utf8_lossy(&answer)))),
    }
}

#[test]
fn the_units_are_clean() {
    let test = "the_units_are_clean";
    if !runs("systemd-analyze", &["--version"]) {
        return skip(test, "there is no systemd-analyze");
    }
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("run")).unwrap();
    let system = repository().join("systemd/system");
    for (scope, from) in [("--user", repository().join("systemd")), ("--system", system)] {
        let units = dir.path().join(scope.trim_start_matches('-'));
        install(USER_UNITS, &from, &units, 12434);
        let mut command = environment(dir.path(), Command::new("systemd-analyze"));
        command.env("SYSTEMD_UNIT_PATH", format!("{}:", units.display()));
        command.args([scope, "--man=no", "--recursive-errors=no", "verify"]);
        command.args(USER_UNITS.iter().map(|unit| units.join(unit)));
        let output = command.stdin(Stdio::null()).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        // A key that it does not know is a warning only.
        assert!(output.status.success() && errors.is_empty(), "{scope}: {errors}");
    }
}

#[test]
fn the_user_and_the_directory_of_the_machine_wide_daemon_can_be_made() {
    let test = "the_user_and_the_directory_of_the_machine_wide_daemon_can_be_made";
    if !runs("systemd-sysusers", &["--version"]) || !rustix::process::geteuid().is_root() {
        return skip(test, "there is no systemd-sysusers, or no right to use it");
    }
    let root = TempDir::new().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    for (program, file) in
        [("systemd-sysusers", "sysusers.conf"), ("systemd-tmpfiles", "tmpfiles.conf")]
    {
        let mut command = Command::new(program);
        command.arg(format!("--root={}", root.path().display()));
        if program == "systemd-tmpfiles" {
            command.arg("--create");
        }
        let output = command.arg(repository().join("systemd/system").join(file)).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program}: {errors}");
    }
    let users = fs::read_to_string(root.path().join("etc/passwd")).unwrap();
    assert!(users.contains("modeld:") && users.contains(":/var/lib/modeld:"), "{users}");
    assert!(root.path().join("run/modeld").is_dir());
}
