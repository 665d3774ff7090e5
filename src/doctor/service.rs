use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use super::finding::Finding;
use super::patient::Patient;

const CHECK: &str = "service";

/// What the service manager says, as far as there is one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Manager {
    /// Why it says nothing.
    problem: Option<String>,
    socket: Unit,
    service: Unit,
    linger: Option<bool>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Unit {
    load: String,
    active: String,
    file: String,
    /// Where it listens.
    listens: Vec<String>,
}

impl Manager {
    /// One that was asked and did not answer.
    pub(super) fn silent(patience: Duration) -> Self {
        let problem = format!("systemctl did not answer within {} s", patience.as_secs());
        Self { problem: Some(problem), ..Self::default() }
    }

    /// Whether a connection to `socket` would start a daemon.
    pub(super) fn holds_an_idle_socket(&self, socket: &Path) -> bool {
        let listens = self.socket.listens.iter().any(|place| Path::new(place) == socket);
        self.socket.active == "active" && self.service.active != "active" && listens
    }
}

/// Asks systemd about the units, and whether its user's services outlive a session.
pub(super) fn look(patient: &Patient) -> Manager {
    if cfg!(target_os = "macos") {
        return Manager { problem: Some("launchd is not asked".to_owned()), ..Manager::default() };
    }
    let unit = |name: &str| -> Result<Unit, String> {
        let properties = "--property=LoadState,ActiveState,UnitFileState,Listen";
        match patient.programs.run("systemctl", &["--user", "show", name, properties]) {
            Ok(done) if done.is_success() => Ok(parse(&done.out)),
            Ok(done) => Err(done.problem()),
            Err(e) => Err(format!("systemctl: {e}")),
        }
    };
    let (socket, service) = match (unit("modeld.socket"), unit("modeld.service")) {
        (Ok(socket), Ok(service)) => (socket, service),
        (Err(problem), _) | (_, Err(problem)) => {
            return Manager { problem: Some(problem), ..Manager::default() };
        }
    };
    let uid = patient.uid.to_string();
    let linger = patient.programs.run("loginctl", &["show-user", &uid, "--property=Linger"]);
    let linger = linger.ok().and_then(|done| match done.out.trim() {
        "Linger=yes" => Some(true),
        "Linger=no" => Some(false),
        _ => None,
    });
    Manager { problem: None, socket, service, linger }
}

pub(super) fn judge(manager: &Manager) -> Vec<Finding> {
    if let Some(problem) = &manager.problem {
        let text = format!("no service manager starts it here ({problem})");
        let fix = "start it with `modeld serve`, or hold its socket with `modeld activate`";
        return vec![Finding::warn(CHECK, text, fix)];
    }
    let (socket, service) = (&manager.socket, &manager.service);
    if [socket, service].iter().all(|unit| unit.load != "loaded") {
        let text = "systemd has no units of modeld";
        return vec![Finding::warn(CHECK, text, "modeld service install")];
    }
    let mut found = Vec::new();
    let units = [("modeld.socket", socket), ("modeld.service", service)];
    // A service that was started too often takes its socket along, and neither comes back by a reset
    // of the other, nor by any reset alone.
    let failed: Vec<&str> =
        units.iter().filter(|(_, unit)| unit.active == "failed").map(|(name, _)| *name).collect();
    let first = if socket.load == "loaded" { "modeld.socket" } else { "modeld.service" };
    for (name, unit) in units {
        let Unit { load, active, file, .. } = unit;
        let text = format!("{name} is {load}, {active}, {file}");
        if active == "failed" {
            let fix = format!(
                "`modeld service logs` says why; once that is mended: systemctl --user reset-failed \
                 {} && systemctl --user start {first}",
                failed.join(" ")
            );
            found.push(Finding::fail(CHECK, text, fix));
        } else if !matches!(load.as_str(), "loaded" | "not-found") {
            let fix = format!("systemctl --user status {name} says why");
            found.push(Finding::fail(CHECK, text, fix));
        } else {
            found.push(Finding::ok(CHECK, text));
        }
    }
    if socket.active != "active" && service.active != "active" && found.len() == 2 {
        let text = "neither the socket nor the service is active: nothing starts the daemon";
        found.push(Finding::warn(CHECK, text, "systemctl --user enable --now modeld.socket"));
    }
    if manager.linger == Some(false) {
        let text = "lingering is off: the daemon ends when you log out, and starts when you log in";
        found.push(Finding::ok(CHECK, text));
    }
    found
}

/// Where a socket listens, of what `systemctl show` says of it: one line for each place, with its
/// type behind it, as `Listen=/run/s (Stream)`.
pub fn listening_places(shown: &str) -> Vec<String> {
    let lines = shown.lines().filter_map(|line| line.strip_prefix("Listen="));
    lines.filter_map(|line| line.rsplit_once(" (")).map(|(at, _)| at.to_owned()).collect()
}

fn parse(text: &str) -> Unit {
    let all: HashMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let get = |key: &str| all.get(key).copied().unwrap_or_default().to_owned();
    Unit {
        load: get("LoadState"),
        active: get("ActiveState"),
        file: get("UnitFileState"),
        listens: listening_places(text),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::finding::{Verdict, worst};
    use super::super::patient::testing::{Says, patient};
    use super::*;
    use crate::doctor::Finished;

    fn unit(load: &str, active: &str) -> Unit {
        parse(&format!(
            "LoadState={load}\nActiveState={active}\nUnitFileState=enabled\nListen=/run/s (Stream)\n"
        ))
    }

    fn manager(socket: Unit, service: Unit) -> Manager {
        Manager { socket, service, ..Manager::default() }
    }

    #[test]
    fn states_are_judged() {
        let (loaded, dead) = ("loaded", "inactive");
        for (socket, service, verdict) in [
            (unit(loaded, "active"), unit(loaded, dead), Verdict::Ok),
            (unit(loaded, "active"), unit(loaded, "active"), Verdict::Ok),
            (unit(loaded, dead), unit(loaded, dead), Verdict::Warn),
            (unit(loaded, "failed"), unit(loaded, dead), Verdict::Fail),
            (unit(loaded, "active"), unit("bad-setting", dead), Verdict::Fail),
            (unit("not-found", dead), unit("not-found", dead), Verdict::Warn),
        ] {
            let manager = manager(socket, service);
            assert_eq!(worst(&judge(&manager)), verdict, "{manager:?}");
        }
    }

    #[test]
    fn what_failed_is_reset_and_started_again() {
        let failed = || unit("loaded", "failed");
        let fixes = |manager: &Manager| -> Vec<String> {
            judge(manager).into_iter().filter_map(|finding| finding.fix).collect()
        };
        let both = fixes(&manager(failed(), failed()));
        let does = "systemctl --user reset-failed modeld.socket modeld.service && systemctl --user \
                    start modeld.socket";
        assert!(both.len() >= 2 && both.iter().take(2).all(|fix| fix.ends_with(does)), "{both:?}");
        let alone = fixes(&manager(unit("not-found", "inactive"), failed()));
        assert!(
            alone[0]
                .ends_with("reset-failed modeld.service && systemctl --user start modeld.service")
        );
    }

    #[test]
    fn a_socket_that_would_start_the_daemon_is_known() {
        let idle = manager(unit("loaded", "active"), unit("loaded", "inactive"));
        assert!(idle.holds_an_idle_socket(Path::new("/run/s")));
        assert!(!idle.holds_an_idle_socket(Path::new("/run/other")));
        let spaced = parse(
            "ActiveState=active\nListen=/My Home/s (x)/s (Stream)\nListen=[::1]:5 (Stream)\n",
        );
        let idle = manager(spaced, unit("loaded", "inactive"));
        assert!(idle.holds_an_idle_socket(Path::new("/My Home/s (x)/s")), "{idle:?}");
        let serving = manager(unit("loaded", "active"), unit("loaded", "active"));
        assert!(!serving.holds_an_idle_socket(Path::new("/run/s")));
    }

    #[test]
    fn without_a_manager_the_others_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut patient = patient(dir.path());
        let err = "Failed to connect to bus".to_owned();
        let refuses = Says(Some(Finished { code: 1, out: String::new(), err }));
        for programs in [refuses, Says(None)] {
            patient.programs = Arc::new(programs);
            let found = judge(&look(&patient));
            assert!(found[0].fix.as_deref().unwrap().contains("modeld activate"), "{found:?}");
        }
    }
}
