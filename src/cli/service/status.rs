use serde::Serialize;

use super::args::Status;
use super::context::Context;
use super::systemd::{Systemd, Unit};
use super::units::{SERVICE, SOCKET, Scope, TCP_SOCKET};
use super::{launchd, linger};
use crate::cli::{CliError, Printer};
use crate::client::Client;

/// What is known of the service.
#[derive(Debug, Default, Serialize)]
struct Report {
    /// What is to be said where there are no units.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// Whether launchd has the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<bool>,
    socket: Option<Unit>,
    tcp_socket: Option<Unit>,
    service: Option<Unit>,
    /// Whether it runs while nobody is logged in.
    linger: Option<bool>,
    socket_path: String,
    /// Whether a daemon answers; absent where asking would start one.
    answering: Option<bool>,
    daemon_version: Option<String>,
    program_version: &'static str,
    /// What speaks to the manager.
    #[serde(skip)]
    systemctl: &'static str,
}

/// Shows it; the exit code says whether the service is there.
pub(super) async fn run(
    context: &Context<'_>,
    args: Status,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let mut report = look(context);
    let is_active = |unit: &Option<Unit>| unit.as_ref().is_some_and(Unit::is_active);
    // A connection to the manager's socket would start the daemon.
    if is_active(&report.service) || !is_active(&report.socket) {
        match client.version().await {
            Ok(version) => {
                report.answering = Some(true);
                report.daemon_version = Some(version.version);
            }
            Err(_) => report.answering = Some(false),
        }
    }
    let has_agent = report.agent == Some(true);
    let fine = has_agent || is_active(&report.socket) || is_active(&report.service);
    if args.json {
        printer.json(&report)?;
    } else {
        for line in lines(&report) {
            printer.line(line)?;
        }
    }
    if fine { Ok(()) } else { Err(CliError::Reported) }
}

fn look(context: &Context<'_>) -> Report {
    let mut report = Report {
        socket_path: context.socket.display().to_string(),
        program_version: env!("CARGO_PKG_VERSION"),
        systemctl: if context.scope == Scope::User { "systemctl --user" } else { "systemctl" },
        linger: linger::is_enabled(context).filter(|_| context.scope == Scope::User),
        ..Report::default()
    };
    if cfg!(target_os = "macos") {
        let (loaded, said) = launchd::state(context);
        return Report { agent: Some(loaded), problem: Some(said), linger: None, ..report };
    }
    match Systemd::find(context) {
        Ok(systemd) => {
            let unit = |name| systemd.unit(name).ok().filter(Unit::is_loaded);
            report.socket = unit(SOCKET);
            report.tcp_socket = unit(TCP_SOCKET);
            report.service = unit(SERVICE);
        }
        Err(error) => report.problem = Some(error.to_string()),
    }
    report
}

fn lines(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    let mut say = |name: &str, text: String| lines.push(format!("{name:<10} {text}"));
    if let Some(problem) = &report.problem {
        say("Service", problem.clone());
    }
    for (name, unit) in
        [("Socket", &report.socket), ("TCP", &report.tcp_socket), ("Service", &report.service)]
    {
        match unit {
            Some(Unit { active, sub, file, path, pid, .. }) => {
                let pid = pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
                say(name, format!("{active} ({sub}), {file}{pid}  {path}"));
            }
            None if report.problem.is_none() && name != "TCP" => {
                say(name, "not installed: modeld service install".to_owned());
            }
            None => {}
        }
    }
    if let Some(advice) = revival(report) {
        say("", advice);
    }
    match report.linger {
        Some(true) => say("Lingering", "on: it runs while nobody is logged in".to_owned()),
        Some(false) => say(
            "Lingering",
            "off: it ends when you log out; modeld service enable-linger changes that".to_owned(),
        ),
        None => {}
    }
    say("Path", report.socket_path.clone());
    let listens = report.socket.iter().flat_map(|unit| &unit.listens);
    for place in listens.filter(|place| **place != report.socket_path) {
        say(
            "",
            format!(
                "the unit listens on {place}, where no command looks: modeld service install \
                 brings it to where the settings say"
            ),
        );
    }
    match (report.answering, report.daemon_version.as_deref()) {
        (None, _) => say("Daemon", "not running; the first connection starts it".to_owned()),
        (_, Some(version)) if version == report.program_version => {
            say("Daemon", format!("answers, version {version}, as this program"));
        }
        (_, Some(version)) => say(
            "Daemon",
            format!(
                "answers, version {version}; this program is {}: systemctl --user restart {SERVICE}",
                report.program_version
            ),
        ),
        _ => say("Daemon", "does not answer".to_owned()),
    }
    lines
}

/// What has units that are there, and neither listen nor run, do so again.
fn revival(report: &Report) -> Option<String> {
    let ctl = report.systemctl;
    let units =
        [(SOCKET, &report.socket), (TCP_SOCKET, &report.tcp_socket), (SERVICE, &report.service)];
    let failed: Vec<&str> = units
        .iter()
        .filter(|(_, unit)| unit.as_ref().is_some_and(|unit| unit.active == "failed"))
        .map(|(name, _)| *name)
        .collect();
    if !failed.is_empty() {
        // A reset alone starts nothing.
        let tcp = failed.iter().find(|name| **name == TCP_SOCKET);
        let tcp = tcp.map(|name| format!(" {name}")).unwrap_or_default();
        return Some(format!(
            "`modeld service logs` says what failed; once that is mended: {ctl} reset-failed {} && \
             {ctl} start {SOCKET}{tcp}",
            failed.join(" ")
        ));
    }
    let is_active = |unit: &Option<Unit>| unit.as_ref().is_some_and(Unit::is_active);
    let is_idle = report.socket.is_some() && !is_active(&report.socket);
    (is_idle && !is_active(&report.service)).then(|| format!("{ctl} start {SOCKET} opens it again"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Manager, Place};
    use super::*;

    #[test]
    fn what_people_read() {
        let place = Place::new();
        let mut report = look(&place.context(&Manager::running()));
        report.socket_path = "/run/s".into();
        report.answering = Some(true);
        report.daemon_version = Some("9.9.9".into());
        report.program_version = "0.1.0";
        report.linger = Some(false);
        insta::assert_snapshot!(lines(&report).join("\n"), @r"
        Socket     active (x), enabled  /u/modeld.socket
        Service    active (x), disabled, pid 42  /u/modeld.service
        Lingering  off: it ends when you log out; modeld service enable-linger changes that
        Path       /run/s
        Daemon     answers, version 9.9.9; this program is 0.1.0: systemctl --user restart modeld.service
        ");
        for unit in [&mut report.socket, &mut report.service] {
            unit.as_mut().unwrap().active = "failed".into();
        }
        let text = lines(&report).join("\n");
        let does = "systemctl --user reset-failed modeld.socket modeld.service && systemctl --user \
                    start modeld.socket\n";
        assert!(text.contains(does), "{text}");
        report.socket.as_mut().unwrap().active = "inactive".into();
        report.service = None;
        let text = lines(&report).join("\n");
        assert!(text.contains("systemctl --user start modeld.socket opens it again"), "{text}");
        let none = look(&place.context(&Manager::default()));
        let text = lines(&none).join("\n");
        assert!(text.contains("Socket     not installed: modeld service install"), "{text}");
        assert!(text.contains("the first connection starts it"), "{text}");
        let absent = lines(&look(&place.context(&Manager::absent()))).join("\n");
        assert!(absent.contains("modeld activate"), "{absent}");
    }
}
