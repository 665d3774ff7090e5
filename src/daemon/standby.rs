//! What stands in for a service manager: listens, and starts the program with the first connection.
//!
//! ```text
//!  listen ─▶ somebody connects ─▶ start, with the sockets ─▶ it ends ─┐
//!    ▲                                                     wait a little
//!    └─────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Nothing here accepts: the connection stays in the backlog until the program does, and whoever
//! connects between two programs waits for the next one. As the first process of a container it
//! also collects what others leave behind. The program gets the sockets as systemd would pass them;
//! its own process id, which that protocol wants in its environment, is known only to itself, so
//! this program is executed once more in between ([`hand_over`]).

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use command_fds::{CommandFdExt as _, FdMapping};
use futures_util::future::select_all;
use rustix::process::{Pid, WaitOptions, kill_process};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use super::activation::NAMES;
use super::door::Door;
use super::exposure::{check_tokens, tokens};
use super::lock::DaemonLock;
use super::socket::{self, SocketFile};
use super::wanted::may_pass;
use super::{Address, DaemonError, group};
use crate::config::{Config, Env, Origin};

/// The first descriptor of the systemd protocol.
const FIRST: i32 = 3;

/// The wait after a program that failed; it doubles with each that fails after it.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A program that ran this long was fine, whatever happened to it then.
const FINE_AFTER: Duration = Duration::from_secs(60);

/// Ends after which another start would end the same way: the command line makes no sense (2),
/// somebody else is running (75), a setting cannot be used (78).
const FINAL: [u8; 3] = [2, 75, 78];

/// Listeners without a program.
#[derive(Debug)]
pub struct Standby {
    sockets: Vec<(OwnedFd, &'static str)>,
    addresses: Vec<Address>,
    /// The settings file that the program is to read.
    settings: Option<PathBuf>,
    _file: SocketFile,
    /// Keeps others away that would listen for a daemon here; goes last.
    _lock: DaemonLock,
}

impl Standby {
    /// Listens on the socket and the TCP address of a configuration. Must be called inside the
    /// runtime.
    ///
    /// # Errors
    /// Those of a daemon that cannot have its sockets, or may not.
    pub async fn listen(config: &Config) -> Result<Self, DaemonError> {
        // The program would refuse to serve it, but only once somebody has come.
        check_tokens(config, &[], &tokens(config))?;
        let path = config.socket.value.clone();
        let group = config.socket_group.value.as_deref().map(group::number).transpose()?;
        socket::prepare_directory(&path, group)?;
        let lock = DaemonLock::take_standby(&path)?;
        // While it is bound and does not listen yet, it looks like one that a dead daemon left.
        let binding = DaemonLock::take(&path)?;
        let (unix, file) = socket::bind(&path, group).await?;
        drop(binding);
        let doing = |e| DaemonError::io("prepare a socket", e);
        let mut sockets = vec![(OwnedFd::from(unix.into_std().map_err(doing)?), "unix")];
        let mut addresses = vec![Address::Unix(Some(path))];
        if let Some(address) = config.tcp.value {
            let is_flag = matches!(config.tcp.origin, Origin::Flag(_));
            match socket::bind_tcp(address, false) {
                Ok(tcp) => {
                    addresses.push(Address::Tcp(tcp.local_addr().map_err(doing)?));
                    sockets.push((OwnedFd::from(tcp.into_std().map_err(doing)?), "tcp"));
                }
                // The program reads the same settings, and tries for as long as it runs.
                Err(error) if may_pass(&error) && !is_flag => tracing::warn!(
                    "cannot listen on {address} ({}): {error}; the daemon does once it runs and the \
                     address is free, while the first connection to the socket starts it",
                    config.tcp.origin
                ),
                Err(source) => {
                    return Err(DaemonError::Tcp {
                        address,
                        flag: Door::at(address).flag(),
                        source,
                    });
                }
            }
        }
        Ok(Self { sockets, addresses, settings: None, _file: file, _lock: lock })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Has the program read this settings file instead of its user's.
    #[must_use]
    pub fn with_settings(mut self, file: Option<PathBuf>) -> Self {
        self.settings = file;
        self
    }

    /// Starts `starter` (which ends in [`hand_over`]) whenever somebody connects and none runs, until
    /// SIGTERM or SIGINT, which a running one gets, too; SIGHUP only goes to it. Returns the exit
    /// code: that of the last program where it was told to end or would fail again, else 0.
    ///
    /// # Errors
    /// Where signals or sockets cannot be waited for.
    pub async fn run(&self, starter: &[OsString]) -> Result<u8, DaemonError> {
        let mut signals = Signals::new().map_err(|e| DaemonError::io("handle signals", e))?;
        let mut wait = None;
        loop {
            tokio::select! {
                () = pause(wait) => {}
                () = signals.end() => return Ok(0),
            }
            tokio::select! {
                came = self.connection() => {
                    came.map_err(|e| DaemonError::io("wait for a connection", e))?;
                }
                () = signals.end() => return Ok(0),
            }
            let started = Instant::now();
            let (told, code) = match self.start(starter) {
                Ok(child) => {
                    let (told, status) = signals.attend(child).await;
                    (told, code_of(status))
                }
                Err(error) => {
                    tracing::warn!(%error, "the program could not be started");
                    (false, 1)
                }
            };
            if told || FINAL.contains(&code) {
                return Ok(code);
            }
            wait = Some(next_wait(wait, code == 0, started.elapsed()));
            match code {
                0 => tracing::info!("the program ended; the next connection starts it again"),
                code => tracing::warn!(code, ?wait, "the program failed; it is started again"),
            }
        }
    }

    /// Completes when somebody waits to be accepted.
    async fn connection(&self) -> std::io::Result<()> {
        #[expect(
            deprecated,
            reason = "its danger is a descriptor that is closed too early; these are borrowed"
        )]
        let watched: std::io::Result<Vec<_>> = self
            .sockets
            .iter()
            .map(|(socket, _)| AsyncFd::with_interest(socket.as_fd(), Interest::READABLE))
            .collect();
        let watched = watched?;
        let waits = watched.iter().map(|socket| Box::pin(socket.readable()));
        select_all(waits).await.0.map(drop)
    }

    fn start(&self, starter: &[OsString]) -> std::io::Result<Pid> {
        let (program, args) = starter.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
        let names: Vec<&str> = self.sockets.iter().map(|(_, name)| *name).collect();
        let mut command = Command::new(program);
        command
            .args(args)
            .env("LISTEN_FDS", names.len().to_string())
            .env(NAMES, names.join(":"))
            .env_remove("LISTEN_PID")
            .envs(self.settings.as_ref().map(|file| (Env::CONFIG, file)))
            .stdin(Stdio::null())
            // Ctrl-C reaches us alone; the program gets it once, from us.
            .process_group(0);
        let mappings: std::io::Result<Vec<FdMapping>> = (FIRST..)
            .zip(&self.sockets)
            .map(|(child_fd, (socket, _))| {
                Ok(FdMapping { parent_fd: socket.try_clone()?, child_fd })
            })
            .collect();
        command.fd_mappings(mappings?).map_err(std::io::Error::other)?;
        let child = command.spawn()?;
        // Collected with everything else that ends here, and never through this handle.
        i32::try_from(child.id())
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| std::io::Error::other("the program has no process id"))
    }
}

/// Becomes `program`, with the sockets that this process was started with by `parent`, and ends with
/// that. Returns only if that is not possible.
pub fn hand_over(parent: u32, program: &[OsString]) -> DaemonError {
    let name = program.first().map_or(OsStr::new(""), OsString::as_os_str);
    // Nobody would start it again; it ends as if told to.
    #[cfg(target_os = "linux")]
    if let Err(error) =
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
    {
        tracing::debug!(%error, "the end of the parent will not be noticed");
    }
    // It may have ended before that.
    let now = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    if now != i32::try_from(parent).ok() {
        let gone = std::io::Error::other("who listens for it has ended");
        return DaemonError::io(format!("run {}", name.display()), gone);
    }
    let mut command = Command::new(name);
    command.args(program.iter().skip(1)).env("LISTEN_PID", std::process::id().to_string());
    DaemonError::io(format!("run {}", name.display()), command.exec())
}

/// What reaches this process from outside.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    child: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        // As for the daemon, these mean nothing.
        drop((signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?));
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            child: signal(SignalKind::child())?,
        })
    }

    /// Completes when we are told to end, while no program runs.
    async fn end(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => {}
                _ = self.child.recv() => {
                    let _ = collect(None);
                }
            }
        }
    }

    /// Passes signals on until the program ends. Answers whether it was told to, and how it did.
    async fn attend(&mut self, program: Pid) -> (bool, Option<ExitStatus>) {
        let mut told = false;
        loop {
            let passed = tokio::select! {
                _ = self.terminate.recv() => rustix::process::Signal::TERM,
                _ = self.interrupt.recv() => rustix::process::Signal::INT,
                _ = self.hangup.recv() => rustix::process::Signal::HUP,
                _ = self.child.recv() => match collect(Some(program)) {
                    Some(status) => return (told, status),
                    None => continue,
                },
            };
            told |= passed != rustix::process::Signal::HUP;
            if let Err(error) = kill_process(program, passed) {
                tracing::debug!(%error, "a signal did not reach the program");
            }
        }
    }
}

/// Collects every process that has ended: our own, and as the first process those that nobody else
/// waits for. Answers how `wanted` ended if it was among them; the inner `None`: nobody knows.
fn collect(wanted: Option<Pid>) -> Option<Option<ExitStatus>> {
    let mut found = None;
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if Some(pid) == wanted => {
                found = Some(Some(ExitStatus::from_raw(status.as_raw())));
            }
            Ok(Some(_)) => {}
            Ok(None) => return found,
            Err(rustix::io::Errno::INTR) => {}
            // No children at all: somebody else collected it.
            Err(_) => return found.or(wanted.map(|_| None)),
        }
    }
}

/// As shells do: 128 and the signal that ended it.
fn code_of(status: Option<ExitStatus>) -> u8 {
    let Some(status) = status else { return 1 };
    let code = status.code().or_else(|| status.signal().map(|signal| signal.saturating_add(128)));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

async fn pause(wait: Option<Duration>) {
    if let Some(wait) = wait {
        tokio::time::sleep(wait).await;
    }
}

/// How long nothing is started after a program that ran for `ran`. One that ended well also leaves
/// a moment: a program that ends at once must not keep a processor busy.
fn next_wait(last: Option<Duration>, ended_well: bool, ran: Duration) -> Duration {
    match last {
        Some(last) if !ended_well && ran < FINE_AFTER => last.saturating_mul(2).min(LONGEST_WAIT),
        _ => FIRST_WAIT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{RawConfig, resolve};

    #[test]
    fn failures_in_a_row_wait_longer_and_no_longer_than_half_a_minute() {
        let mut wait = None;
        let mut waits = Vec::new();
        for _ in 0..10 {
            wait = Some(next_wait(wait, false, Duration::from_secs(1)));
            waits.push(wait.unwrap_or_default().as_millis());
        }
        assert_eq!(waits, [200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
        assert_eq!(next_wait(wait, true, Duration::ZERO), FIRST_WAIT);
        assert_eq!(next_wait(wait, false, FINE_AFTER), FIRST_WAIT);
    }

    #[tokio::test]
    async fn who_comes_second_takes_nothing_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("modeld.sock");
        let raw = RawConfig { socket: Some(path.display().to_string()), ..RawConfig::default() };
        let env = Env { data_dir: Some(dir.path().join("data")), ..Env::default() };
        let config = resolve(&raw, &env).unwrap();
        // What a killed one left, and what another one has bound and does not listen on yet.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        for take in [DaemonLock::take_standby, DaemonLock::take] {
            let held = take(&path).unwrap();
            let error = Standby::listen(&config).await.unwrap_err();
            assert!(matches!(error, DaemonError::AlreadyRunning { .. }), "{error}");
            assert!(path.exists());
            drop(held);
        }
        let first = Standby::listen(&config).await.unwrap();
        let error = Standby::listen(&config).await.unwrap_err();
        assert!(matches!(error, DaemonError::AlreadyRunning { .. }), "{error}");
        // The daemon that it starts is not kept out.
        DaemonLock::take(&path).unwrap();
        drop(first);
    }

    #[test]
    fn exit_codes_are_those_of_shells() {
        for (raw, code) in [(0, 0), (78 << 8, 78), (9, 137), (15, 143)] {
            assert_eq!(code_of(Some(ExitStatus::from_raw(raw))), code, "{raw}");
        }
        assert_eq!(code_of(None), 1);
    }
}
