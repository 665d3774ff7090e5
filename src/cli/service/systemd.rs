use std::collections::HashMap;

use serde::Serialize;

use super::context::Context;
use super::units::Scope;
use crate::cli::CliError;
use crate::doctor::{Finished, Programs, listening_places};

/// The manager, spoken to through `systemctl`.
pub(super) struct Systemd<'a> {
    programs: &'a dyn Programs,
    scope: Scope,
    uid: u32,
}

/// What the manager says of a unit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Unit {
    /// `loaded`, `not-found`, `bad-setting`, …
    pub load: String,
    /// `active`, `inactive`, `failed`, …
    pub active: String,
    /// `listening`, `running`, `dead`, …
    pub sub: String,
    /// `enabled`, `disabled`, `static`, …; empty without a file.
    pub file: String,
    /// Where its file is.
    pub path: String,
    /// The process, if one runs.
    pub pid: Option<u32>,
    /// Where a socket listens, if anywhere.
    pub listens: Vec<String>,
}

impl Unit {
    pub(super) fn is_loaded(&self) -> bool {
        self.load == "loaded"
    }

    /// Whether somebody forbade to start it; `mask` links its file to nothing.
    pub(super) fn is_masked(&self) -> bool {
        self.load == "masked" || self.file.starts_with("masked")
    }

    pub(super) fn is_active(&self) -> bool {
        matches!(self.active.as_str(), "active" | "activating" | "reloading")
    }

    /// Whether it ended in a way that nobody wanted, or was started too often.
    pub(super) fn has_failed(&self) -> bool {
        self.active == "failed"
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.file == "enabled"
    }
}

impl<'a> Systemd<'a> {
    /// The manager, if it answers.
    ///
    /// # Errors
    /// Says that there is none, and what to do without one.
    pub(super) fn find(context: &Context<'a>) -> Result<Self, CliError> {
        let Context { programs, scope, uid, .. } = *context;
        let found = Self { programs, scope, uid };
        let words = found.words(&["show", "--property=Version"]);
        let problem = match programs.run("systemctl", &words) {
            Ok(done) if done.is_success() => return Ok(found),
            Ok(done) => done.problem(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                "there is no systemctl".to_owned()
            }
            Err(e) => e.to_string(),
        };
        Err(found.missing(&problem))
    }

    /// Runs `systemctl --user`, which has to succeed.
    ///
    /// # Errors
    /// What it said.
    pub(super) fn run(&self, args: &[&str]) -> Result<Finished, CliError> {
        let done = self.ask(args)?;
        if done.is_success() {
            return Ok(done);
        }
        let what = self.words(args).join(" ");
        Err(CliError::Failed(format!("systemctl {what}: {}", done.problem())))
    }

    /// Asks for the state of a unit.
    ///
    /// # Errors
    /// Where the manager does not answer.
    pub(super) fn unit(&self, name: &str) -> Result<Unit, CliError> {
        let properties =
            "--property=LoadState,ActiveState,SubState,UnitFileState,FragmentPath,MainPID,Listen";
        Ok(parse(&self.run(&["show", name, properties])?.out))
    }

    /// Has the manager forget that units failed and how often they were started: one that was
    /// started too often would be refused again, however well it would do by now. What never failed
    /// may be unknown here, which is no reason not to start it.
    pub(super) fn forgive(&self, units: &[&str]) {
        let _ = self.ask(&[&["reset-failed"], units].concat());
    }

    /// Looks whether units that were started stayed so, and those that they start did not fail.
    ///
    /// # Errors
    /// Which did not, and the command that shows why; where the manager does not answer.
    pub(super) fn stay(&self, started: &[&str], behind: &[&str]) -> Result<(), CliError> {
        let mut fallen = Vec::new();
        for name in started {
            let unit = self.unit(name)?;
            if !unit.is_active() {
                fallen.push(format!("{name} is {} ({})", unit.active, unit.sub));
            }
        }
        for name in behind.iter().filter(|name| !started.contains(name)) {
            let unit = self.unit(name)?;
            if unit.has_failed() {
                fallen.push(format!("{name} is {} ({})", unit.active, unit.sub));
            }
        }
        if fallen.is_empty() {
            return Ok(());
        }
        let user = if self.scope == Scope::User { " --user" } else { "" };
        let all: Vec<&str> = started
            .iter()
            .chain(behind.iter().filter(|name| !started.contains(name)))
            .copied()
            .collect();
        Err(CliError::Failed(format!(
            "started, and down again: {}; this shows why: systemctl{user} status {}",
            fallen.join(", "),
            all.join(" ")
        )))
    }

    fn ask(&self, args: &[&str]) -> Result<Finished, CliError> {
        let done = self.programs.run("systemctl", &self.words(args));
        done.map_err(|e| CliError::Failed(format!("systemctl: {e}")))
    }

    fn words<'b>(&self, args: &[&'b str]) -> Vec<&'b str> {
        let user = (self.scope == Scope::User).then_some("--user");
        user.into_iter().chain(args.iter().copied()).collect()
    }

    fn missing(&self, problem: &str) -> CliError {
        if self.scope == Scope::System {
            return CliError::Failed(format!(
                "systemd does not manage this machine: {problem}. Nothing was changed. Without it, \
                 have what does start `modeld serve` as a user of its own"
            ));
        }
        CliError::Failed(format!(
            "systemd does not manage services for this user here: {problem}. Nothing was changed. \
             Without it, `modeld activate` holds the socket and starts the daemon with the first \
             connection, and `modeld serve` runs it in the foreground. In a shell of su, sudo or \
             cron, systemd may only be out of sight: set XDG_RUNTIME_DIR=/run/user/{}",
            self.uid
        ))
    }
}

fn parse(text: &str) -> Unit {
    let all: HashMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let get = |key: &str| all.get(key).copied().unwrap_or_default().to_owned();
    Unit {
        listens: listening_places(text),
        load: get("LoadState"),
        active: get("ActiveState"),
        sub: get("SubState"),
        file: get("UnitFileState"),
        path: get("FragmentPath"),
        pid: get("MainPID").parse().ok().filter(|pid| *pid != 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_managers_words_are_read() {
        let text = "MainPID=7\nLoadState=loaded\nActiveState=active\nSubState=running\n\
                    FragmentPath=/a=b\nUnitFileState=enabled\n";
        let unit = parse(text);
        assert!(unit.is_loaded() && unit.is_active() && unit.is_enabled(), "{unit:?}");
        assert_eq!((unit.pid, unit.path.as_str()), (Some(7), "/a=b"));
        let none = parse("MainPID=0\nLoadState=not-found\nActiveState=inactive\n");
        assert!(!none.is_loaded() && !none.is_active() && none.pid.is_none());
        assert_eq!(parse("garbage"), Unit::default());
        let socket = parse("Listen=/a b/s (Stream)\nListen=[::1]:5 (Stream)\nLoadState=masked\n");
        assert_eq!(socket.listens, ["/a b/s", "[::1]:5"]);
        assert!(socket.is_masked() && !unit.is_masked());
    }
}
