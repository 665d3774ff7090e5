//! A service manager that does nothing and remembers what it was told.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::context::Context;
use super::units::{SERVICE, SOCKET, TCP_SOCKET};
use crate::cli::{CliError, Printer};
use crate::config::Env;
use crate::doctor::{Finished, Programs};

/// What it is told is kept; what it is asked for is answered from its states.
#[derive(Default)]
pub(super) struct Manager {
    pub told: Mutex<Vec<String>>,
    /// Units that are active and enabled.
    pub on: Vec<&'static str>,
    pub active: Vec<&'static str>,
    pub loaded: Vec<&'static str>,
    pub masked: Vec<&'static str>,
    /// Where each socket listens.
    pub listens: Vec<&'static str>,
    pub missing: bool,
    pub refuses: bool,
    /// Units that have failed, and fail again when they are started.
    pub failed: Vec<&'static str>,
    /// It looks for units elsewhere.
    pub unseen: bool,
    pub linger: Option<&'static str>,
}

impl Manager {
    /// The socket is enabled, the service runs.
    pub(super) fn running() -> Self {
        Self {
            on: vec![SOCKET],
            active: vec![SERVICE],
            loaded: vec![SOCKET, SERVICE],
            ..Self::default()
        }
    }

    /// It has a unit for TCP.
    pub(super) fn with_tcp() -> Self {
        Self { loaded: vec![TCP_SOCKET], ..Self::default() }
    }

    /// There is no systemctl.
    pub(super) fn absent() -> Self {
        Self { missing: true, ..Self::default() }
    }

    /// There is one, and nobody behind it.
    pub(super) fn out_of_reach() -> Self {
        Self { refuses: true, ..Self::default() }
    }

    /// What it was told to do, questions left out.
    pub(super) fn changes(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }

    fn has_started(&self, unit: &str) -> bool {
        let start = format!("start {unit}");
        self.told.lock().unwrap().iter().any(|told| told.ends_with(&start))
    }

    fn state(&self, unit: &str) -> String {
        let is = |all: &[&str]| all.contains(&unit);
        let on = is(&self.on);
        let listens: String =
            self.listens.iter().map(|at| format!("Listen={at} (Stream)\n")).collect();
        format!(
            "{listens}LoadState={}\nActiveState={}\nSubState=x\nUnitFileState={}\nFragmentPath=/u/{unit}\nMainPID={}\n",
            match unit {
                _ if is(&self.masked) => "masked",
                _ if is(&self.loaded) => "loaded",
                _ => "not-found",
            },
            match unit {
                _ if is(&self.failed) => "failed",
                _ if on || is(&self.active) || self.has_started(unit) => "active",
                _ => "inactive",
            },
            if on { "enabled" } else { "disabled" },
            if is(&self.active) { 42 } else { 0 },
        )
    }
}

impl Programs for Manager {
    fn run(&self, program: &str, args: &[&str]) -> io::Result<Finished> {
        let done = |out: &str| Ok(Finished { code: 0, out: out.to_owned(), err: String::new() });
        if self.missing {
            return Err(io::ErrorKind::NotFound.into());
        }
        if self.refuses {
            let err = "Failed to connect to bus: No medium found\n".to_owned();
            return Ok(Finished { code: 1, out: String::new(), err });
        }
        match (program, args) {
            ("systemctl", ["--user", "show", "--property=Version"]) => done("Version=252\n"),
            ("systemctl", ["--user", "show", unit, _]) => done(&self.state(unit)),
            ("loginctl", ["show-user", ..]) => match self.linger {
                Some(state) => done(state),
                None => Ok(Finished { code: 1, ..Finished::default() }),
            },
            ("systemctl", ["show", "--property=Version"]) => done("Version=252\n"),
            ("systemctl", ["show", unit, _]) => done(&self.state(unit)),
            ("systemctl", ["--user", "show", "--property=UnitPath"]) => done(
                "UnitPath=/h/.config/systemd/user /etc/systemd/user /h/own/systemd/user \
                 /run/systemd/user /usr/lib/systemd/user\n",
            ),
            ("systemctl", ["--user", "enable", unit]) if self.unseen => {
                self.told.lock().unwrap().push(format!("enable {unit}"));
                let err = format!("Failed to enable unit: Unit {unit} does not exist\n");
                Ok(Finished { code: 1, out: String::new(), err })
            }
            ("systemctl", ["--user", rest @ ..]) => {
                self.told.lock().unwrap().push(rest.join(" "));
                done("")
            }
            ("systemctl", rest) => {
                self.told.lock().unwrap().push(format!("system {}", rest.join(" ")));
                done("")
            }
            (program, rest) => {
                self.told.lock().unwrap().push(format!("{program} {}", rest.join(" ")));
                done("")
            }
        }
    }

    fn show(&self, program: &str, args: &[&str]) -> io::Result<i32> {
        self.run(program, args).map(|done| done.code)
    }
}

/// A home of its own.
pub(super) struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub(super) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(super) fn units(&self) -> PathBuf {
        self.dir.path().join("config/systemd/user")
    }

    pub(super) fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    pub(super) fn program(&self) -> PathBuf {
        self.dir.path().join("bin/modeld")
    }

    pub(super) fn socket(&self) -> PathBuf {
        std::fs::create_dir_all(self.dir.path().join("run/modeld")).unwrap();
        self.dir.path().join("run/modeld/modeld.sock")
    }

    /// A unit of a package.
    pub(super) fn package(&self, name: &str, text: &str) -> PathBuf {
        let dir = self.dir.path().join("packaged");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(name), text).unwrap();
        dir.join(name)
    }

    pub(super) fn context<'a>(&self, manager: &'a Manager) -> Context<'a> {
        let at = |name: &str| Some(self.dir.path().join(name));
        let env = Env {
            runtime_dir: at("run"),
            home: at("home"),
            data_dir: at("data"),
            config_dir: at("config"),
            state_dir: at("state"),
            ..Env::default()
        };
        let mut context = Context::of(&env, self.program(), manager).unwrap();
        context.root = self.root();
        context.packaged = vec![self.dir.path().join("packaged")];
        context
    }

    /// What a verb does, and what it says on both streams.
    pub(super) fn capture<T>(
        &self,
        verb: impl FnOnce(&mut Printer) -> Result<T, CliError>,
    ) -> (Result<T, CliError>, String) {
        let said = Said::default();
        let done = verb(&mut Printer::to(said.clone(), said.clone()));
        let text = String::from_utf8(said.0.lock().unwrap().clone()).unwrap();
        (done, text)
    }
}

#[derive(Clone, Default)]
pub(super) struct Said(pub(super) Arc<Mutex<Vec<u8>>>);

impl io::Write for Said {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
