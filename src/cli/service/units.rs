use std::fmt::Write as _;
use std::path::Path;

use super::context::Settings;
use crate::cli::CliError;
use crate::config::Env;

/// The daemon.
pub(super) const SERVICE: &str = "modeld.service";
/// Its socket.
pub(super) const SOCKET: &str = "modeld.socket";
/// Its TCP socket, where there is one.
pub(super) const TCP_SOCKET: &str = "modeld-tcp.socket";

/// Whose manager it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Scope {
    /// Of one user.
    User,
    /// Of the machine: one daemon for all of its users.
    System,
}

impl Scope {
    /// What is installed: the name of each unit and its text as it is in the source.
    pub(super) fn units(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::User => UNITS,
            Self::System => SYSTEM_UNITS,
        }
    }

    /// What else the machine has to know, below its root.
    pub(super) fn extras(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::User => &[],
            Self::System => EXTRAS,
        }
    }
}

const UNITS: &[(&str, &str)] = &[
    (SOCKET, include_str!("../../../systemd/modeld.socket")),
    (SERVICE, include_str!("../../../systemd/modeld.service")),
    (TCP_SOCKET, include_str!("../../../systemd/modeld-tcp.socket")),
];

const SYSTEM_UNITS: &[(&str, &str)] = &[
    (SOCKET, include_str!("../../../systemd/system/modeld.socket")),
    (SERVICE, include_str!("../../../systemd/system/modeld.service")),
    (TCP_SOCKET, include_str!("../../../systemd/system/modeld-tcp.socket")),
];

/// The daemon's user and the socket's directory.
const EXTRAS: &[(&str, &str)] = &[
    ("etc/sysusers.d/modeld.conf", include_str!("../../../systemd/system/sysusers.conf")),
    ("etc/tmpfiles.d/modeld.conf", include_str!("../../../systemd/system/tmpfiles.conf")),
];

/// The program that the units in the source start.
const PACKAGED_PROGRAM: &str = "/usr/bin/modeld";

/// A unit's text with the path of this program in it, and what the settings say.
///
/// # Errors
/// For a path that no unit can name.
pub(super) fn filled(text: &str, program: &Path, settings: &Settings) -> Result<String, CliError> {
    let quoted = quoted(program)?;
    let mut whole = String::new();
    for line in text.lines() {
        let command = line.strip_prefix("ExecStart=");
        let listens = line.starts_with("ListenStream=%t/");
        match (command.and_then(|c| c.strip_prefix(PACKAGED_PROGRAM)), &settings.socket) {
            (Some(arguments), _) => {
                let _ = writeln!(whole, "ExecStart={quoted}{arguments}");
                whole.push_str(&environment(settings)?);
            }
            (None, Some((socket, _))) if listens => {
                let _ = writeln!(whole, "ListenStream={}", plain(socket)?);
            }
            (None, _) => {
                let _ = writeln!(whole, "{line}");
            }
        }
        if line == "SocketMode=0600" {
            whole.push_str(&for_group(settings));
        }
    }
    Ok(whole)
}

/// What has a package's unit start this program with these settings.
///
/// # Errors
/// Likewise.
pub(super) fn program_drop_in(program: &Path, settings: &Settings) -> Result<String, CliError> {
    let environment = environment(settings)?;
    Ok(format!("[Service]\nExecStart=\nExecStart={} serve\n{environment}", quoted(program)?))
}

/// What has a package's unit listen where these settings say; `None`: it does already.
///
/// # Errors
/// Likewise.
pub(super) fn socket_drop_in(settings: &Settings) -> Result<Option<String>, CliError> {
    let mut text = String::new();
    if let Some((socket, _)) = &settings.socket {
        let _ = writeln!(text, "ListenStream=\nListenStream={}", plain(socket)?);
    }
    text.push_str(&for_group(settings));
    Ok((!text.is_empty()).then(|| format!("[Socket]\n{text}")))
}

/// The file that the service reads in the place of its user's own.
fn environment(settings: &Settings) -> Result<String, CliError> {
    let Some(file) = &settings.file else { return Ok(String::new()) };
    let text = plain(file)?.replace('\\', "\\\\").replace('"', "\\\"");
    Ok(format!("Environment=\"{}={text}\"\n", Env::CONFIG))
}

fn for_group(settings: &Settings) -> String {
    // The last one of several lines holds.
    let open = |group: &String| format!("SocketGroup={group}\nSocketMode=0660\n");
    settings.group.as_ref().map(open).unwrap_or_default()
}

/// A path where systemd takes the rest of the line: nothing but specifiers has to be doubled.
fn plain(path: &Path) -> Result<String, CliError> {
    Ok(nameable(path)?.replace('%', "%%"))
}

/// Whether a unit starts this program.
pub(super) fn starts(text: &str, program: &Path) -> bool {
    let command = text.lines().rev().find_map(|line| line.strip_prefix("ExecStart="));
    let Ok(quoted) = quoted(program) else { return false };
    command.is_some_and(|command| command.strip_prefix(quoted.as_str()) == Some(" serve"))
}

/// A path as systemd reads it back from `ExecStart=`: specifiers and variables doubled, the rest in
/// quotes where it needs them (systemd.service(5), "COMMAND LINES").
fn quoted(program: &Path) -> Result<String, CliError> {
    let escaped = nameable(program)?.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%");
    // `$` is expanded in arguments and not in the program's own path.
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+%@:,~".contains(c);
    Ok(if escaped.chars().all(plain) { escaped } else { format!("\"{escaped}\"") })
}

fn nameable(path: &Path) -> Result<&str, CliError> {
    // A backslash at the end of a line has the next one belong to it; blanks there are dropped.
    let is_kept = |text: &&str| !text.ends_with(['\\', ' ']) && !text.contains(char::is_control);
    path.to_str().filter(is_kept).ok_or_else(|| {
        CliError::Failed(format!(
            "{} cannot be named in a unit; move it to a path of plain text",
            path.display()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Origin;

    #[test]
    fn the_program_is_the_only_thing_that_differs() {
        let (_, text) = UNITS[1];
        let own = filled(text, Path::new("/opt/a b/100%/modeld"), &Settings::default()).unwrap();
        let differing: Vec<_> = text.lines().zip(own.lines()).filter(|(a, b)| a != b).collect();
        assert_eq!(
            differing,
            [("ExecStart=/usr/bin/modeld serve", "ExecStart=\"/opt/a b/100%%/modeld\" serve")]
        );
        assert_eq!(text.lines().count(), own.lines().count());
        assert!(starts(&own, Path::new("/opt/a b/100%/modeld")));
        assert!(starts(text, Path::new("/usr/bin/modeld")));
        assert!(!starts(text, Path::new("/usr/bin/mod")));
    }

    #[test]
    fn the_socket_names_no_program() {
        let (_, text) = UNITS[0];
        assert_eq!(filled(text, Path::new("/x"), &Settings::default()).unwrap(), text);
    }

    #[test]
    fn settings_say_where_it_listens_and_what_it_reads() {
        let settings = Settings {
            socket: Some(("/run/my 100%/m.sock".into(), Origin::Default)),
            group: Some("ai".into()),
            file: Some("/home/u/my \"own\".toml".into()),
            ..Settings::default()
        };
        let of = |unit: usize| filled(UNITS[unit].1, Path::new("/x"), &settings).unwrap();
        let (socket, service, tcp) = (of(0), of(1), of(2));
        assert!(socket.contains("\nListenStream=/run/my 100%%/m.sock\n"), "{socket}");
        assert!(!socket.contains("ListenStream=%t"), "{socket}");
        let (closed, open) = ("\nSocketMode=0600\n", "SocketGroup=ai\nSocketMode=0660\n");
        assert!(socket.contains(&format!("{closed}{open}")), "{socket}");
        let named =
            "ExecStart=/x serve\nEnvironment=\"MODELD_CONFIG=/home/u/my \\\"own\\\".toml\"\n";
        assert!(service.contains(named), "{service}");
        assert_eq!(tcp, UNITS[2].1);
        let beside = program_drop_in(Path::new("/x"), &settings).unwrap();
        assert!(beside.ends_with(named), "{beside}");
        let beside = socket_drop_in(&settings).unwrap().unwrap();
        assert!(beside.starts_with("[Socket]\nListenStream=\nListenStream=/run/my 100%%/m.sock\n"));
        assert_eq!(socket_drop_in(&Settings::default()).unwrap(), None);
    }

    #[test]
    fn paths_are_quoted_as_systemd_reads_them() {
        for (path, written) in [
            ("/usr/bin/modeld", "/usr/bin/modeld"),
            ("/a\"b", "\"/a\\\"b\""),
            ("/a\\b", "\"/a\\\\b\""),
            ("/a$b", "\"/a$b\""),
            ("/é", "\"/é\""),
        ] {
            assert_eq!(quoted(Path::new(path)).unwrap(), written);
        }
        for path in ["/a\nb", "/a\\", "/a "] {
            assert!(quoted(Path::new(path)).is_err() && plain(Path::new(path)).is_err(), "{path}");
        }
    }
}
