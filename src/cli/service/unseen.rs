//! A manager that does not see what was written for it: it was started with other variables than this
//! shell has, and looks for units elsewhere.

use std::path::{Path, PathBuf};

use super::context::Context;
use super::systemd::Systemd;
use super::units::Scope;
use crate::cli::{CliError, Printer};
use crate::config::path_variable;
use crate::files::shell_word;

/// Directories of the machine, where no user's units are.
const MACHINES: [&str; 5] = ["/etc", "/usr", "/run", "/lib", "/var"];

/// Why a unit could not be enabled. Where the manager does not know it, what was `made` for it is
/// taken away again.
pub(super) fn judge(
    context: &Context<'_>,
    systemd: &Systemd<'_>,
    unit: &str,
    made: &[PathBuf],
    error: CliError,
    printer: &mut Printer,
) -> CliError {
    let is_known = systemd.unit(unit).is_ok_and(|known| known.load != "not-found");
    if context.scope != Scope::User || is_known {
        return error;
    }
    let looks = systemd.run(&["show", "--property=UnitPath"]).map(|done| done.out);
    let looks = users_own(looks.as_deref().unwrap_or_default());
    if looks.contains(&context.units) {
        return error;
    }
    let mut stays = Vec::new();
    for path in made {
        match std::fs::remove_file(path) {
            // Whoever reads the lines reads the error, too.
            Ok(()) => drop(printer.line(format!("removed    {}", path.display()))),
            Err(_) => stays.push(path.display().to_string()),
        }
    }
    // Ours alone, if they are empty.
    let _ = std::fs::remove_dir(&context.units);
    let _ = context.units.parent().map(std::fs::remove_dir);
    let _ = systemd.run(&["daemon-reload"]);
    let looks: Vec<String> = looks.iter().map(|path| path.display().to_string()).collect();
    let looks = match looks.as_slice() {
        [] => "it looks elsewhere".to_owned(),
        some => format!("it looks in {}", some.join(", ")),
    };
    let stays = match stays.as_slice() {
        [] => "what was written is removed again".to_owned(),
        some => format!("{} could not be removed", some.join(" and ")),
    };
    CliError::Failed(format!(
        "the service manager does not find {unit} in {}: {looks}; {stays}. {} ({error})",
        context.units.display(),
        remedy(path_variable("XDG_CONFIG_HOME").as_deref(), &context.home)
    ))
}

/// Of the directories in which it looks for units, those that may be this user's own.
fn users_own(shown: &str) -> Vec<PathBuf> {
    let line = shown.lines().find_map(|line| line.strip_prefix("UnitPath="));
    let all = line.unwrap_or_default().split_whitespace().map(PathBuf::from);
    let is_own = |path: &PathBuf| {
        path.ends_with("systemd/user") && !MACHINES.iter().any(|machine| path.starts_with(machine))
    };
    all.filter(is_own).collect()
}

fn remedy(config: Option<&Path>, home: &Path) -> String {
    match config {
        Some(dir) => format!(
            "This shell has XDG_CONFIG_HOME={}, and the manager has not: install without it (env -u \
             XDG_CONFIG_HOME modeld service install), or set it for the session and log in again",
            shell_word(dir)
        ),
        None => format!(
            "This shell has HOME={}, and the manager may have another or an XDG_CONFIG_HOME: install \
             with those (systemctl --user show-environment)",
            shell_word(home)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_that_parts_them_is_named() {
        let home = Path::new("/h");
        let set = remedy(Some(Path::new("/x y")), home);
        assert!(set.contains("XDG_CONFIG_HOME='/x y'") && set.contains("env -u"), "{set}");
        assert!(remedy(None, home).contains("HOME=/h"));
    }
}
