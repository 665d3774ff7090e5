//! Starts the real program in a directory of its own and leaves nothing behind.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::gguf::Gguf;
use super::http::{Address, Client};
use super::journal::Journal;

/// How long a start may take on a busy machine.
const START: Duration = Duration::from_secs(30);

/// What a daemon is started with.
#[derive(Default)]
pub struct Builder {
    args: Vec<String>,
    models: Vec<(String, Vec<u8>)>,
    /// The flag of a listener on a free port.
    tcp: Option<&'static str>,
    variables: Vec<(String, String)>,
    journal: bool,
}

impl Builder {
    /// Arguments of `modeld serve`, besides the socket and the store.
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// A model to package once it runs.
    pub fn model(mut self, name: &str, file: &Gguf) -> Self {
        self.models.push((name.to_owned(), file.bytes()));
        self
    }

    /// A variable of its environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Logs to a journal of its own instead of standard error; where [`Journal::can_be_played`].
    pub fn journal(mut self) -> Self {
        self.journal = true;
        self
    }

    /// Listens on a free port of the loopback interface as well.
    pub fn tcp(mut self) -> Self {
        self.tcp = Some("--tcp");
        self
    }

    /// The same, where Ollama's clients are served at the root.
    pub fn ollama(mut self) -> Self {
        self.tcp = Some("--ollama-port");
        self
    }

    #[track_caller]
    pub fn start(self) -> Daemon {
        let dir = TempDir::new().expect("a temporary directory");
        let port = self.tcp.map(|_| free_port());
        let socket = dir.path().join("d.sock");
        let mut args = self.args;
        if let (Some(flag), Some(port)) = (self.tcp, port) {
            args.extend([flag.to_owned(), port.to_string()]);
        }
        if args.iter().any(|arg| arg == "--socket-group") {
            // What a group is to reach lies where others may pass.
            let open = std::fs::Permissions::from_mode(0o711);
            std::fs::set_permissions(dir.path(), open).expect("our own directory");
        }
        let (workers, variables) = (BTreeSet::new(), self.variables);
        let journal = self.journal.then(|| Journal::start(dir.path()));
        let mut daemon =
            Daemon { child: None, dir, socket, args, port, workers, variables, journal };
        daemon.start();
        for (name, bytes) in self.models {
            daemon.package(&name, &bytes);
        }
        daemon
    }
}

/// A running daemon.
pub struct Daemon {
    child: Option<Child>,
    dir: TempDir,
    pub socket: PathBuf,
    /// Besides the socket and the store.
    args: Vec<String>,
    port: Option<SocketAddr>,
    workers: BTreeSet<i32>,
    variables: Vec<(String, String)>,
    journal: Option<Journal>,
}

impl Daemon {
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A daemon with one packaged model.
    #[track_caller]
    pub fn with(name: &str, file: &Gguf) -> Self {
        Self::builder().model(name, file).start()
    }

    /// Starts it again with what it was started with, after it has ended.
    #[track_caller]
    pub fn start(&mut self) {
        let mut command = modeld(self.dir.path(), &self.socket);
        command.arg("serve").arg("--socket").arg(&self.socket);
        command.arg("--models-path").arg(self.store()).args(&self.args);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        if let Some(journal) = &self.journal {
            command = journal.around(&command);
        }
        self.child = Some(spawn_ready(command, self.dir.path()));
    }

    /// Ends it at this very moment, as a crash does.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("a running daemon");
        child.kill().expect("a child of this test");
        child.wait().expect("a child of this test");
    }

    /// Where its models lie.
    pub fn store(&self) -> PathBuf {
        self.dir.path().join("models")
    }

    /// A client of the Unix socket.
    pub fn client(&self) -> Client {
        Client { address: Address::Unix(self.socket.clone()) }
    }

    /// A client of the TCP listener.
    pub fn tcp_client(&self) -> Client {
        Client { address: Address::Tcp(self.port.expect("started with tcp()")) }
    }

    pub fn port(&self) -> SocketAddr {
        self.port.expect("started with tcp()")
    }

    /// A directory that goes with the daemon.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("a running daemon").id()
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        let child = self.child.as_mut().expect("a running daemon");
        child.try_wait().expect("a child of this test").is_none()
    }

    /// Runs a `modeld` command that talks to this daemon.
    pub fn cli(&self, args: &[&str]) -> Output {
        let mut command = modeld(self.dir.path(), &self.socket);
        command.args(args).stdin(Stdio::null()).output().expect("modeld runs")
    }

    /// Runs a command that has to succeed, and returns what it printed.
    #[track_caller]
    pub fn cli_ok(&self, args: &[&str]) -> String {
        let output = self.cli(args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "modeld {args:?}: {}\n{errors}", output.status);
        String::from_utf8(output.stdout).expect("UTF-8 output")
    }

    /// Writes a file beside the daemon's own and returns its path.
    pub fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, bytes).expect("a writable directory");
        path.to_str().expect("a UTF-8 path").to_owned()
    }

    /// Stores a model under `name`.
    #[track_caller]
    pub fn package(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.file("model.gguf", bytes);
        self.cli_ok(&["package", "--gguf", &path, name])
    }

    /// The loaded models as `GET /engines/ps` shows them.
    pub fn loaded(&self) -> Vec<Value> {
        let list = self.client().get("/engines/ps").expect(200).json();
        list.as_array().expect("an array").clone()
    }

    /// Whether any model is computing, loading or has requests.
    pub fn is_busy(&self) -> bool {
        let set = |value: &Value| value.as_bool() == Some(true);
        self.loaded().iter().any(|model| set(&model["in_use"]) || set(&model["loading"]))
    }

    /// The process of the only loaded model.
    #[track_caller]
    pub fn worker(&mut self) -> i32 {
        let loaded = self.loaded();
        let [model] = loaded.as_slice() else { panic!("one loaded model, not {loaded:?}") };
        let pid = model["pid"].as_i64().expect("its process id");
        let pid = i32::try_from(pid).expect("a process id");
        self.workers.insert(pid);
        pid
    }

    /// Asks it to stop and waits until it has.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.workers.extend(children_of(self.pid()));
        send(self.pid().cast_signed(), Signal::TERM);
        self.wait(Duration::from_secs(30))
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let mut child = self.child.take().expect("a running daemon");
        let mut status = None;
        wait_until(limit, "the daemon ends", || {
            status = child.try_wait().expect("a child of this test");
            status.is_some()
        });
        status.expect("it ended")
    }

    /// What it sent to the journal so far.
    pub fn journal(&self) -> Vec<u8> {
        self.journal.as_ref().expect("started with journal()").entries()
    }

    /// What it wrote to its log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            self.workers.extend(children_of(child.id()));
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- log of the daemon\n{}--- end of the log", self.log());
            return;
        }
        // However a daemon ends, its workers end with it.
        wait_until(Duration::from_secs(10), "every worker is gone", || {
            !self.workers.iter().any(|pid| is_running(*pid))
        });
    }
}

/// The program with nothing of the caller's environment that could change what it does.
pub fn modeld(dir: &Path, socket: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_modeld"));
    command.env_clear();
    for name in ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.env("HOME", dir).env("XDG_RUNTIME_DIR", dir).env("MODEL_RUNNER_SOCK", socket);
    // Nobody listens there: no test reaches a registry that it has not started on this machine.
    let own = rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
    command.env("HTTPS_PROXY", "http://127.0.0.1:1").env("NO_PROXY", format!("localhost,{own}"));
    command
}

/// Spawns a daemon and returns when it has said `READY=1`; its output goes to `dir/log`.
#[track_caller]
pub fn spawn_ready(mut command: Command, dir: &Path) -> Child {
    let notify = dir.join("notify");
    let _ = fs::remove_file(&notify);
    let listener = UnixDatagram::bind(&notify).expect("a socket for the notification");
    listener.set_read_timeout(Some(Duration::from_millis(100))).expect("a positive timeout");
    let log = File::options().create(true).append(true).open(dir.join("log")).expect("a log file");
    command.env("NOTIFY_SOCKET", &notify).stdin(Stdio::null());
    command.stdout(log.try_clone().expect("a second handle")).stderr(log);
    let mut child = command.spawn().expect("modeld starts");
    let started = Instant::now();
    let mut message = [0; 4096];
    loop {
        match listener.recv(&mut message) {
            Ok(len) if message[..len].split(|byte| *byte == b'\n').any(|l| l == b"READY=1") => {
                return child;
            }
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => panic!("waiting for the daemon: {e}"),
        }
        let log = || fs::read_to_string(dir.join("log")).unwrap_or_default();
        if let Some(status) = child.try_wait().expect("a child of this test") {
            panic!("the daemon ended before it was ready: {status}\n{}", log());
        }
        if started.elapsed() > START {
            let _ = child.kill();
            let _ = child.wait();
            panic!("the daemon was not ready after {START:?}\n{}", log());
        }
    }
}

/// Waits for something that happens in another process and announces itself in no other way.
#[track_caller]
pub fn wait_until(limit: Duration, what: &str, mut happened: impl FnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !happened() {
        assert!(started.elapsed() < limit, "{what}: not within {limit:?}");
        #[expect(
            clippy::disallowed_methods,
            reason = "a process of its own has no event to wait on"
        )]
        std::thread::sleep(Duration::from_millis(2));
    }
    started.elapsed()
}

/// Sends a signal; a process that is gone is fine.
pub fn send(pid: i32, signal: Signal) {
    let pid = Pid::from_raw(pid).expect("a process id");
    let _ = kill_process(pid, signal);
}

/// Whether a process exists and is more than a zombie.
pub fn is_running(pid: i32) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => !stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')),
        Err(_) => {
            cfg!(not(target_os = "linux"))
                && Pid::from_raw(pid)
                    .is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
        }
    }
}

/// The processes that `parent` has started and that still run.
pub fn children_of(parent: u32) -> Vec<i32> {
    if cfg!(target_os = "linux") {
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        return pids.filter(|pid| is_running(*pid) && parent_of(*pid) == Some(parent)).collect();
    }
    let list = Command::new("ps").args(["-A", "-o", "pid=,ppid="]).output();
    let list = list.map(|output| output.stdout).unwrap_or_default();
    let lines = String::from_utf8_lossy(&list);
    let pairs = lines.lines().filter_map(|line| line.trim().split_once(char::is_whitespace));
    let children = pairs.filter(|(_, ppid)| ppid.trim() == parent.to_string());
    children.filter_map(|(pid, _)| pid.parse().ok()).collect()
}

fn parent_of(pid: i32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before the last parenthesis may hold anything; state and parent come after it.
    stat.rsplit(") ").next()?.split(' ').nth(1)?.parse().ok()
}

fn free_port() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address")
}
