use std::path::Path;

use super::args::Install;
use super::context::Context;
use super::files::{self, Comment, Written};
use super::systemd::Systemd;
use super::units::{self, SERVICE, SOCKET, Scope};
use crate::cli::{CliError, Printer};

/// The drop-in that has a package's unit start this program.
pub(super) const DROP_IN: &str = "modeld.service.d/50-program.conf";

/// Writes the units, has the manager read them, enables and starts the socket.
pub(super) fn run(
    context: &Context<'_>,
    args: Install,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let systemd = Systemd::find(context)?;
    let (changed, left) = write_units(context, args.force, printer)?;
    if changed {
        systemd.run(&["daemon-reload"])?;
    }
    if !left.is_empty() {
        return Err(CliError::Failed(format!(
            "{} {} not what this command writes and was left alone: compare it with \
             `modeld service install --force`, which replaces it, or keep yours and use \
             systemctl --user enable --now {SOCKET}",
            left.join(" and "),
            if left.len() == 1 { "is" } else { "are" }
        )));
    }
    if context.scope == Scope::System && changed {
        prepare(context)?;
    }
    let user = if context.scope == Scope::User { " --user" } else { "" };
    let wanted: &[&str] = if args.always { &[SOCKET, SERVICE] } else { &[SOCKET] };
    for unit in wanted {
        if systemd.unit(unit)?.is_enabled() {
            printer.line(format!("unchanged  {unit} is enabled"))?;
        } else {
            systemd.run(&["enable", unit])?;
            printer.line(format!("enabled    {unit}"))?;
        }
    }
    let program = context.program.display();
    let system = if context.scope == Scope::System { " --system" } else { "" };
    if args.no_start {
        printer.note(format!("Nothing was started: systemctl{user} start {SOCKET} does."));
    } else if start(context, &systemd, wanted, printer)? && changed {
        printer.note(format!(
            "A running daemon goes on as it is; systemctl{user} restart {SERVICE} has it use what \
             changed."
        ));
    }
    printer.note(format!(
        "\n{program} is started {}, with the socket {}.\nLook: modeld service status{system}; undo: \
         modeld service uninstall{system}.",
        if args.always { "at login" } else { "with the first connection" },
        context.socket.display()
    ));
    if context.scope == Scope::System {
        printer.note(format!(
            "Members of the group modeld may use it: usermod -aG modeld NAME; their programs find it \
             by MODELD_HOST=unix://{}",
            context.socket.display()
        ));
    }
    Ok(())
}

/// Writes what is missing. Answers whether anything changed, and what somebody else changed.
fn write_units(
    context: &Context<'_>,
    force: bool,
    printer: &mut Printer,
) -> Result<(bool, Vec<String>), CliError> {
    if let Some(package) = context.packaged(SERVICE).filter(|_| !force) {
        return Ok((beside_package(context, &package, printer)?, Vec::new()));
    }
    let (mut changed, mut left) = (false, Vec::new());
    for (name, text) in context.scope.units() {
        let path = context.units.join(name);
        let own = units::with_program(text, &context.program)?;
        let done = files::put(&path, &own, Comment::Hash, Some(text), force)?;
        changed |= report(done, &path, printer)?;
        if done == Written::Left {
            left.push(path.display().to_string());
        }
    }
    for (name, text) in context.scope.extras() {
        let path = context.root.join(name);
        let done = files::put(&path, text, Comment::Hash, Some(text), force)?;
        changed |= report(done, &path, printer)?;
        if done == Written::Left {
            left.push(path.display().to_string());
        }
    }
    Ok((changed, left))
}

/// Makes the user of the machine's daemon and the directory of its socket.
fn prepare(context: &Context<'_>) -> Result<(), CliError> {
    for (program, args) in
        [("systemd-sysusers", &[][..]), ("systemd-tmpfiles", &["--create", "modeld.conf"][..])]
    {
        let done = context.programs.run(program, args);
        let problem = match done {
            Ok(done) if done.is_success() => continue,
            Ok(done) => done.problem(),
            Err(e) => e.to_string(),
        };
        return Err(CliError::Failed(format!(
            "{program}: {problem}; the units are written and nothing was started"
        )));
    }
    Ok(())
}

/// A package has brought the units: only the program may have to be another one.
fn beside_package(
    context: &Context<'_>,
    package: &Path,
    printer: &mut Printer,
) -> Result<bool, CliError> {
    printer.line(format!("unchanged  {} is a package's", package.display()))?;
    let text = std::fs::read_to_string(package)
        .map_err(|e| CliError::Failed(format!("cannot read {}: {e}", package.display())))?;
    let path = context.units.join(DROP_IN);
    if units::starts(&text, &context.program) {
        let removed = files::remove(&path, None, false)? == Some(true);
        if removed {
            printer.line(format!("removed    {}", path.display()))?;
        }
        return Ok(removed);
    }
    let text = units::drop_in(&context.program)?;
    let done = files::put(&path, &text, Comment::Hash, None, false)?;
    if done == Written::Left {
        printer.note(format!("{} was changed by somebody and left alone.", path.display()));
    }
    report(done, &path, printer)
}

fn report(done: Written, path: &Path, printer: &mut Printer) -> Result<bool, CliError> {
    let (word, changed) = match done {
        Written::Made => ("wrote", true),
        Written::Updated => ("updated", true),
        Written::Unchanged => ("unchanged", false),
        Written::Left => ("left", false),
    };
    printer.line(format!("{word:<10} {}", path.display()))?;
    Ok(changed)
}

/// Starts what is wanted and can be. Answers whether a daemon of the service ran before.
fn start(
    context: &Context<'_>,
    systemd: &Systemd<'_>,
    wanted: &[&str],
    printer: &mut Printer,
) -> Result<bool, CliError> {
    let (socket, service) = (systemd.unit(SOCKET)?, systemd.unit(SERVICE)?);
    let ran = service.is_active();
    if !socket.is_active() {
        if ran {
            printer.note(
                "modeld.service runs without its socket, which cannot be opened under it; this \
                 does, and ends what runs: systemctl --user stop modeld.service; \
                 systemctl --user start modeld.socket",
            );
            return Ok(ran);
        }
        // systemd would take the path away from under it.
        if context.is_answered() {
            printer.note(format!(
                "Not started: another daemon serves {} already. End it, then: \
                 systemctl --user start {}",
                context.socket.display(),
                wanted.join(" ")
            ));
            return Ok(false);
        }
    }
    for unit in wanted {
        let active = if *unit == SOCKET { socket.is_active() } else { ran };
        if active {
            printer.line(format!("unchanged  {unit} is active"))?;
        } else {
            systemd.run(&["start", unit])?;
            printer.line(format!("started    {unit}"))?;
        }
    }
    Ok(ran)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Manager, Place};
    use super::*;

    fn install(place: &Place, manager: &Manager, args: Install) -> (Result<(), CliError>, String) {
        place.capture(|printer| run(&place.context(manager), args, printer))
    }

    #[test]
    fn the_first_time_everything_is_made_and_the_second_nothing() {
        let place = Place::new();
        let manager = Manager::default();
        let (done, said) = install(&place, &manager, Install::default());
        done.unwrap();
        assert_eq!(
            manager.changes(),
            ["daemon-reload", "enable modeld.socket", "start modeld.socket"]
        );
        assert!(said.contains("wrote") && said.contains("modeld service uninstall"), "{said}");
        let unit = std::fs::read_to_string(place.units().join(SERVICE)).unwrap();
        assert!(unit.contains(&format!("ExecStart={} serve\n", place.program().display())));
        let again = Manager::running();
        let (done, said) = install(&place, &again, Install::default());
        done.unwrap();
        assert_eq!(again.changes(), [] as [&str; 0]);
        assert_eq!(said.lines().filter(|line| line.starts_with("unchanged")).count(), 5, "{said}");
    }

    #[test]
    fn the_machines_service_has_a_user_of_its_own() {
        let place = Place::new();
        let manager = Manager::default();
        let system = |uid| {
            let mut context = place.context(&manager);
            context.uid = uid;
            context.of_system(true)
        };
        assert!(system(7).err().unwrap().to_string().contains("root's"));
        let context = system(0).unwrap();
        place.capture(|printer| run(&context, Install::default(), printer)).0.unwrap();
        assert_eq!(
            manager.changes(),
            [
                "system daemon-reload",
                "systemd-sysusers ",
                "systemd-tmpfiles --create modeld.conf",
                "system enable modeld.socket",
                "system start modeld.socket"
            ]
        );
        for file in
            ["systemd/system/modeld.service", "sysusers.d/modeld.conf", "tmpfiles.d/modeld.conf"]
        {
            assert!(place.root().join("etc").join(file).exists(), "{file}");
        }
        let mut hidden = place.context(&manager);
        (hidden.uid, hidden.program) = (0, "/home/u/.cargo/bin/modeld".into());
        assert!(hidden.of_system(true).err().unwrap().to_string().contains("/usr/local/bin"));
    }

    #[test]
    fn always_is_the_service_too() {
        let place = Place::new();
        let manager = Manager::default();
        install(&place, &manager, Install { always: true, ..Install::default() }).0.unwrap();
        let changes = manager.changes();
        assert!(changes.contains(&"enable modeld.service".to_owned()), "{changes:?}");
        assert!(changes.contains(&"start modeld.service".to_owned()), "{changes:?}");
    }

    #[test]
    fn a_unit_that_a_person_changed_is_theirs() {
        let place = Place::new();
        install(&place, &Manager::default(), Install::default()).0.unwrap();
        let path = place.units().join(SERVICE);
        let own = std::fs::read_to_string(&path).unwrap().replace("WatchdogSec=30", "");
        std::fs::write(&path, &own).unwrap();
        let manager = Manager::default();
        let (done, _) = install(&place, &manager, Install::default());
        assert!(done.unwrap_err().to_string().contains("left alone"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), own);
        assert_eq!(manager.changes(), [] as [&str; 0]);
        install(&place, &manager, Install { force: true, ..Install::default() }).0.unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().contains("WatchdogSec=30"));
    }

    #[test]
    fn a_package_is_only_told_of_another_program() {
        let place = Place::new();
        let package = place.package(SERVICE, "[Service]\nExecStart=/usr/bin/modeld serve\n");
        let manager = Manager::default();
        install(&place, &manager, Install::default()).0.unwrap();
        assert!(!place.units().join(SERVICE).exists());
        let drop_in = std::fs::read_to_string(place.units().join(DROP_IN)).unwrap();
        assert!(drop_in.contains(&format!("ExecStart={} serve", place.program().display())));
        assert!(manager.changes().contains(&"enable modeld.socket".to_owned()));
        // Once the package's program is this one, the drop-in goes.
        let same = format!("[Service]\nExecStart={} serve\n", place.program().display());
        std::fs::write(package, same).unwrap();
        install(&place, &manager, Install::default()).0.unwrap();
        assert!(!place.units().join(DROP_IN).parent().unwrap().exists());
    }

    #[test]
    fn without_a_manager_nothing_is_written_and_others_are_named() {
        let place = Place::new();
        for manager in [Manager::absent(), Manager::out_of_reach()] {
            let (done, _) = install(&place, &manager, Install::default());
            let said = done.unwrap_err().to_string();
            for word in ["modeld activate", "modeld serve", "XDG_RUNTIME_DIR"] {
                assert!(said.contains(word), "{said}");
            }
            assert!(!place.units().exists());
        }
    }

    #[test]
    fn the_socket_of_another_daemon_is_not_taken_away() {
        let place = Place::new();
        let _daemon = std::os::unix::net::UnixListener::bind(place.socket()).unwrap();
        let manager = Manager::default();
        let (done, said) = install(&place, &manager, Install::default());
        done.unwrap();
        assert!(said.contains("another daemon serves"), "{said}");
        assert_eq!(manager.changes(), ["daemon-reload", "enable modeld.socket"]);
    }
}
