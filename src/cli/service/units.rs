use std::fmt::Write as _;
use std::path::Path;

use crate::cli::CliError;

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

/// A unit's text with the path of this program in it.
///
/// # Errors
/// For a path that no unit can name.
pub(super) fn with_program(text: &str, program: &Path) -> Result<String, CliError> {
    let quoted = quoted(program)?;
    let mut whole = String::new();
    for line in text.lines() {
        match line.strip_prefix("ExecStart=").and_then(|c| c.strip_prefix(PACKAGED_PROGRAM)) {
            Some(arguments) => {
                let _ = writeln!(whole, "ExecStart={quoted}{arguments}");
            }
            None => {
                let _ = writeln!(whole, "{line}");
            }
        }
    }
    Ok(whole)
}

/// What starts another program than the unit of a package does.
///
/// # Errors
/// Likewise.
pub(super) fn drop_in(program: &Path) -> Result<String, CliError> {
    Ok(format!("[Service]\nExecStart=\nExecStart={} serve\n", quoted(program)?))
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
    let text =
        program.to_str().filter(|text| !text.contains(char::is_control)).ok_or_else(|| {
            CliError::Failed(format!(
                "{} cannot be named in a unit; move the program to a path of plain text",
                program.display()
            ))
        })?;
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%");
    // `$` is expanded in arguments and not in the program's own path.
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+%@:,~".contains(c);
    Ok(if escaped.chars().all(plain) { escaped } else { format!("\"{escaped}\"") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_the_only_thing_that_differs() {
        let (_, text) = UNITS[1];
        let own = with_program(text, Path::new("/opt/a b/100%/modeld")).unwrap();
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
        assert_eq!(with_program(text, Path::new("/x")).unwrap(), text);
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
        assert!(quoted(Path::new("/a\nb")).is_err());
    }
}
