use std::path::{Path, PathBuf};

use super::args::Install;
use super::context::{Context, Settings};
use super::files::{self, Comment, Written};
use super::systemd::Systemd;
use super::tcp_socket::{self, TcpSocket};
use super::units::{self, SERVICE, SOCKET, Scope, TCP_SOCKET};
use super::unseen;
use crate::cli::{CliError, Printer};

/// The drop-in that has a package's unit start this program.
pub(super) const DROP_IN: &str = "modeld.service.d/50-program.conf";

/// The one that has a package's unit listen elsewhere.
pub(super) const SOCKET_DROP_IN: &str = "modeld.socket.d/50-socket.conf";

/// What became of the files.
#[derive(Default)]
struct Units {
    /// Whether the manager has anything to read anew.
    changed: bool,
    /// Whether that is so of the socket, which may listen at an old place.
    socket_changed: bool,
    /// What somebody else changed.
    left: Vec<String>,
    /// Units of a package that ours hid, and that are enabled.
    uncovered: Vec<&'static str>,
    /// Files that were not there before.
    made: Vec<PathBuf>,
}

/// Writes the units, has the manager read them, enables and starts the socket.
pub(super) fn run(
    context: &Context<'_>,
    args: Install,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let systemd = Systemd::find(context)?;
    let user = if context.scope == Scope::User { " --user" } else { "" };
    let tcp = context.settings.tcp.filter(|_| context.scope == Scope::User);
    let with_tcp: &[&str] = if tcp.is_some() { &[TCP_SOCKET] } else { &[] };
    for unit in [SOCKET, SERVICE].iter().chain(with_tcp) {
        if systemd.unit(unit)?.is_masked() {
            return Err(CliError::Failed(format!(
                "{unit} is masked, so that nothing can start it; nothing was changed. Somebody \
                 meant it: systemctl{user} unmask {unit}, then install again"
            )));
        }
    }
    let units = write_units(context, &systemd, args.force, printer)?;
    if units.changed {
        systemd.run(&["daemon-reload"])?;
    }
    for unit in &units.uncovered {
        // Its link leads to the file that is gone.
        systemd.run(&["reenable", unit])?;
    }
    if !units.left.is_empty() {
        return Err(CliError::Failed(format!(
            "{} {} not what this command writes and was left alone: compare it with \
             `modeld service install --force`, which replaces it, or keep yours and use \
             systemctl{user} enable --now {SOCKET}",
            units.left.join(" and "),
            if units.left.len() == 1 { "is" } else { "are" }
        )));
    }
    if context.scope == Scope::System && units.changed {
        prepare(context)?;
    }
    let wanted: &[&str] = if args.always { &[SOCKET, SERVICE] } else { &[SOCKET] };
    for unit in wanted {
        if systemd.unit(unit)?.is_enabled() {
            printer.line(format!("unchanged  {unit} is enabled"))?;
        } else {
            if let Err(error) = systemd.run(&["enable", unit]) {
                return Err(unseen::judge(context, &systemd, unit, &units.made, error, printer));
            }
            printer.line(format!("enabled    {unit}"))?;
        }
    }
    let mut opening = None;
    if let Some(address) = tcp {
        let followed = tcp_socket::follow(context, TcpSocket::Open(address))?;
        if let Some((written, path)) = &followed.file {
            report(*written, path, printer)?;
        }
        if followed.enabled {
            printer.line(format!("enabled    {TCP_SOCKET}"))?;
        }
        followed.notes.iter().for_each(|note| printer.note(note));
        opening = followed.opening;
    } else if context.scope == Scope::User {
        tcp_socket::close_unwanted(context, printer)?;
    }
    let program = context.program.display();
    let system = if context.scope == Scope::System { " --system" } else { "" };
    if args.no_start {
        printer.note(format!("Nothing was started: systemctl{user} start {SOCKET} does."));
    } else {
        match start(context, &systemd, wanted, &units, printer)? {
            Started::Before => {
                if units.changed {
                    printer.note(format!(
                        "A running daemon goes on as it is; systemctl{user} restart {SERVICE} has \
                         it use what changed."
                    ));
                }
            }
            Started::Now => {
                let with_tcp = tcp.is_some() && !args.always;
                if with_tcp && !systemd.unit(TCP_SOCKET)?.is_active() {
                    systemd.forgive(&[TCP_SOCKET]);
                    systemd.run(&["start", TCP_SOCKET])?;
                    systemd.stay(&[TCP_SOCKET], &[SERVICE])?;
                    printer.line(format!("started    {TCP_SOCKET}"))?;
                }
                opening = None;
            }
            // It would be in the way of the other daemon.
            Started::Not => opening = None,
        }
    }
    printer.note(format!(
        "\n{program} is started {}, with the socket {}.\nLook: modeld service status{system}; undo: \
         modeld service uninstall{system}.",
        if args.always { "at login" } else { "with the first connection" },
        context.socket.display()
    ));
    heeded(context, args.always, printer);
    if let Some(opening) = opening {
        printer.note(opening);
    }
    if context.scope == Scope::System {
        printer.note(format!(
            "Members of the group modeld may use it: usermod -aG modeld NAME; their programs find it \
             by MODELD_HOST=unix://{}",
            context.socket.display()
        ));
    }
    Ok(())
}

/// Says which settings the units go by: they are read once more only by the next install.
pub(super) fn heeded(context: &Context<'_>, always: bool, printer: &mut Printer) {
    let Settings { socket, group, file, tcp, tls, late, shell, tcp_place: _ } = &context.settings;
    let mut said = Vec::new();
    if let Some(file) = file {
        said.push(format!(
            "it reads {} (and install has to be told --config again)",
            file.display()
        ));
    }
    if let Some((path, origin)) = socket {
        said.push(format!("it listens on {}, as {origin} says", path.display()));
    }
    if let Some(group) = group {
        said.push(format!("the group {group} may use the socket"));
    }
    if let Some(address) = tcp.filter(|_| context.scope == Scope::User) {
        let scheme = if *tls { "https" } else { "http" };
        said.push(format!("it listens on {scheme}://{address}, as the settings say"));
    }
    if !said.is_empty() {
        printer.note(format!(
            "From the settings: {}. After a change of these, install once more.",
            said.join("; ")
        ));
    }
    if !shell.is_empty() {
        printer.note(format!(
            "The service does not see what this shell sets: {}. What it is to go by belongs in the \
             settings file: modeld config set.",
            shell.join(", ")
        ));
    }
    if !late.is_empty() && !always {
        printer.note(format!(
            "Only a running daemon listens for {}: --always starts it at login.",
            late.join(" and ")
        ));
    }
}

/// Writes what is missing.
fn write_units(
    context: &Context<'_>,
    systemd: &Systemd<'_>,
    force: bool,
    printer: &mut Printer,
) -> Result<Units, CliError> {
    if let Some(package) = context.packaged(SERVICE).filter(|_| !force) {
        return beside_package(context, systemd, &package, printer);
    }
    let mut units = Units::default();
    // Made for a package's units once; on top of whole ones they would hold what was said then.
    units.changed |= drop_in(&context.units.join(DROP_IN), None, printer)?;
    units.socket_changed |= drop_in(&context.units.join(SOCKET_DROP_IN), None, printer)?;
    units.changed |= units.socket_changed;
    for (name, text) in context.scope.units() {
        let path = context.units.join(name);
        let own = units::filled(text, &context.program, &context.settings)?;
        let done = files::put(&path, &own, Comment::Hash, Some(text), force)?;
        let changed = report(done, &path, printer)?;
        units.changed |= changed;
        units.socket_changed |= changed && *name == SOCKET;
        match done {
            Written::Left => units.left.push(path.display().to_string()),
            Written::Made => units.made.push(path),
            Written::Updated | Written::Unchanged => {}
        }
    }
    for (name, text) in context.scope.extras() {
        let path = context.root.join(name);
        let done = files::put(&path, text, Comment::Hash, Some(text), force)?;
        units.changed |= report(done, &path, printer)?;
        if done == Written::Left {
            units.left.push(path.display().to_string());
        }
    }
    Ok(units)
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

/// A package has brought the units: only the program, the settings file and the socket may have to be
/// other ones.
fn beside_package(
    context: &Context<'_>,
    systemd: &Systemd<'_>,
    package: &Path,
    printer: &mut Printer,
) -> Result<Units, CliError> {
    printer.line(format!("unchanged  {} is a package's", package.display()))?;
    let text = crate::files::read_regular(package, files::MAX_BYTES)
        .map_err(|e| CliError::Failed(format!("{} {e}", package.display())))?;
    let text = String::from_utf8_lossy(&text);
    let settings = &context.settings;
    let is_fine = units::starts(&text, &context.program) && settings.file.is_none();
    let program =
        if is_fine { None } else { Some(units::program_drop_in(&context.program, settings)?) };
    let changed = drop_in(&context.units.join(DROP_IN), program, printer)?;
    let socket = units::socket_drop_in(settings)?;
    let socket_changed = drop_in(&context.units.join(SOCKET_DROP_IN), socket, printer)?;
    let mut units =
        Units { changed: changed || socket_changed, socket_changed, ..Units::default() };
    uncover(context, systemd, &mut units, printer)?;
    Ok(units)
}

/// Takes away whole units of ours, made before there was a package: they would hide its own, and
/// stay as they are when it is upgraded.
fn uncover(
    context: &Context<'_>,
    systemd: &Systemd<'_>,
    units: &mut Units,
    printer: &mut Printer,
) -> Result<(), CliError> {
    for (name, text) in context.scope.units() {
        let path = context.units.join(name);
        if context.packaged(name).is_none() {
            continue;
        }
        let is_enabled = systemd.unit(name)?.is_enabled();
        match files::remove(&path, Some(text), false)? {
            Some(false) => continue,
            Some(true) => printer.line(format!("removed    {}", path.display()))?,
            None => {
                printer.note(format!(
                    "{} hides the package's, and was left alone: it is not what install writes.",
                    path.display()
                ));
                continue;
            }
        }
        units.changed = true;
        units.socket_changed |= *name == SOCKET;
        if is_enabled {
            units.uncovered.push(name);
        }
    }
    Ok(())
}

/// Writes a drop-in, or takes ours away where there is nothing to say.
fn drop_in(path: &Path, text: Option<String>, printer: &mut Printer) -> Result<bool, CliError> {
    let Some(text) = text else {
        let removed = files::remove(path, None, false)? == Some(true);
        if removed {
            printer.line(format!("removed    {}", path.display()))?;
        }
        return Ok(removed);
    };
    let done = files::put(path, &text, Comment::Hash, None, false)?;
    if done == Written::Left {
        printer.note(format!("{} was changed by somebody and left alone.", path.display()));
    }
    report(done, path, printer)
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

/// What became of the units.
enum Started {
    /// Something is in their way.
    Not,
    /// They are active.
    Now,
    /// So was a daemon of the service before.
    Before,
}

/// Starts what is wanted and can be.
fn start(
    context: &Context<'_>,
    systemd: &Systemd<'_>,
    wanted: &[&str],
    units: &Units,
    printer: &mut Printer,
) -> Result<Started, CliError> {
    let user = if context.scope == Scope::User { " --user" } else { "" };
    let (socket, service) = (systemd.unit(SOCKET)?, systemd.unit(SERVICE)?);
    let ran = service.is_active();
    if !socket.is_active() {
        if ran {
            printer.note(format!(
                "modeld.service runs without its socket, which cannot be opened under it; this \
                 does, and ends what runs: systemctl{user} stop modeld.service; \
                 systemctl{user} start modeld.socket"
            ));
            return Ok(Started::Before);
        }
        // systemd would take the path away from under it.
        if context.is_answered() {
            printer.note(format!(
                "Not started: another daemon serves {} already. End it, then: \
                 systemctl{user} start {}",
                context.socket.display(),
                wanted.join(" ")
            ));
            return Ok(Started::Not);
        }
    }
    if socket.is_active() && units.socket_changed {
        if ran {
            printer.note(format!(
                "The socket stays where it was until the daemon ends; this moves it, and ends what \
                 runs: systemctl{user} stop {SERVICE} && systemctl{user} restart {SOCKET}"
            ));
        } else {
            systemd.run(&["restart", SOCKET])?;
            printer.line(format!("restarted  {SOCKET}"))?;
        }
    }
    let is_active = |unit: &str| if unit == SOCKET { socket.is_active() } else { ran };
    // The socket falls with the service that it starts, so both are given another chance.
    if wanted.iter().any(|unit| !is_active(unit)) {
        systemd.forgive(&[SOCKET, SERVICE]);
    }
    for unit in wanted {
        if is_active(unit) {
            printer.line(format!("unchanged  {unit} is active"))?;
        } else {
            systemd.run(&["start", unit])?;
            systemd.stay(&[unit], &[SOCKET, SERVICE])?;
            printer.line(format!("started    {unit}"))?;
        }
    }
    Ok(if ran { Started::Before } else { Started::Now })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Manager, Place};
    use super::*;
    use crate::config::Origin;

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
            [
                "daemon-reload",
                "enable modeld.socket",
                "reset-failed modeld.socket modeld.service",
                "start modeld.socket"
            ]
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
    fn a_manager_that_looks_elsewhere_is_told_of_and_nothing_is_left() {
        let place = Place::new();
        let manager = Manager { unseen: true, ..Manager::default() };
        let (done, said) = install(&place, &manager, Install::default());
        let error = done.unwrap_err().to_string();
        assert!(
            error.contains("it looks in /h/.config/systemd/user, /h/own/systemd/user"),
            "{error}"
        );
        assert!(error.contains(&place.units().display().to_string()), "{error}");
        assert!(!error.contains("/usr/lib"), "{error}");
        assert!(!place.units().exists(), "{said}");
        assert_eq!(manager.changes(), ["daemon-reload", "enable modeld.socket", "daemon-reload"]);
        // Where it knows the unit, it is something else.
        let place = Place::new();
        let manager = Manager { unseen: true, loaded: vec![SOCKET, SERVICE], ..Manager::default() };
        let error = install(&place, &manager, Install::default()).0.unwrap_err().to_string();
        assert!(error.starts_with("systemctl --user enable"), "{error}");
        assert!(place.units().join(SOCKET).exists());
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
                "system reset-failed modeld.socket modeld.service",
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
    fn a_masked_unit_is_left_to_who_masked_it() {
        let place = Place::new();
        let manager = Manager { masked: vec![SERVICE], ..Manager::default() };
        let (done, _) = install(&place, &manager, Install::default());
        let said = done.unwrap_err().to_string();
        assert!(said.contains("systemctl --user unmask modeld.service"), "{said}");
        assert!(!place.units().exists() && manager.changes().is_empty());
    }

    #[test]
    fn units_listen_where_the_settings_say_and_say_so() {
        let place = Place::new();
        let manager = Manager { loaded: vec![TCP_SOCKET], ..Manager::default() };
        let with = |manager, socket: &str| {
            let mut context = place.context(manager);
            let origin = Origin::Flag("--socket");
            context.settings = Settings {
                socket: Some((socket.into(), origin)),
                file: Some("/c/other.toml".into()),
                tcp: Some(([127, 0, 0, 1], 9000).into()),
                late: vec!["containers"],
                ..Settings::default()
            };
            place.capture(|printer| run(&context, Install::default(), printer))
        };
        let (done, said) = with(&manager, "/run/one.sock");
        done.unwrap();
        for text in [
            "it listens on /run/one.sock, as --socket says",
            "it reads /c/other.toml",
            "http://127.0.0.1:9000",
            "Only a running daemon listens for containers: --always",
        ] {
            assert!(said.contains(text), "{text} in {said}");
        }
        let unit = std::fs::read_to_string(place.units().join(SOCKET)).unwrap();
        assert!(unit.contains("\nListenStream=/run/one.sock\n"), "{unit}");
        let changes = manager.changes();
        for change in ["enable modeld-tcp.socket", "start modeld-tcp.socket"] {
            assert!(changes.contains(&change.to_owned()), "{changes:?}");
        }
        // The next time it moves.
        let idle = Manager { on: vec![SOCKET], loaded: vec![SOCKET], ..Manager::default() };
        with(&idle, "/run/two.sock").0.unwrap();
        assert!(idle.changes().contains(&"restart modeld.socket".to_owned()));
        let busy = Manager::running();
        let (_, said) = with(&busy, "/run/three.sock");
        assert!(said.contains("systemctl --user restart modeld.socket"), "{said}");
        assert!(!busy.changes().contains(&"restart modeld.socket".to_owned()));
    }

    #[test]
    fn a_package_is_told_of_the_socket_and_the_file_and_told_no_more() {
        let place = Place::new();
        place.package(SERVICE, &format!("ExecStart={} serve\n", place.program().display()));
        let manager = Manager::default();
        let mut context = place.context(&manager);
        context.settings.socket = Some(("/run/one.sock".into(), Origin::Flag("--socket")));
        context.settings.file = Some("/c/other.toml".into());
        let run = |context: &Context<'_>| {
            place.capture(|p| super::run(context, Install::default(), p)).0.unwrap();
        };
        run(&context);
        let read = |name: &str| std::fs::read_to_string(place.units().join(name)).unwrap();
        assert!(read(SOCKET_DROP_IN).contains("ListenStream=\nListenStream=/run/one.sock\n"));
        assert!(read(DROP_IN).contains("MODELD_CONFIG=/c/other.toml"));
        context.settings = Settings::default();
        run(&context);
        assert_eq!(std::fs::read_dir(place.units()).unwrap().count(), 0);
    }

    #[test]
    fn what_was_made_for_a_package_goes_with_it_and_the_other_way_round() {
        let place = Place::new();
        let package = place.package(SERVICE, "[Service]\nExecStart=/usr/bin/modeld serve\n");
        place.package(SOCKET, "[Socket]\nListenStream=%t/modeld/modeld.sock\n");
        let manager = Manager::default();
        let mut context = place.context(&manager);
        context.settings.socket = Some(("/run/one.sock".into(), Origin::Flag("--socket")));
        let run = |context: &Context<'_>| {
            place.capture(|p| super::run(context, Install::default(), p)).0.unwrap();
        };
        run(&context);
        let exists = |name: &str| place.units().join(name).exists();
        assert!(exists(DROP_IN) && exists(SOCKET_DROP_IN) && !exists(SERVICE));
        // The package is taken away.
        std::fs::rename(package.parent().unwrap(), place.root()).unwrap();
        run(&context);
        assert!(!exists(DROP_IN) && !exists(SOCKET_DROP_IN) && exists(SERVICE) && exists(SOCKET));
        // It is back, and its units are not hidden.
        std::fs::rename(place.root(), package.parent().unwrap()).unwrap();
        let manager = Manager { on: vec![SOCKET], ..Manager::default() };
        let context = place.context(&manager);
        run(&context);
        assert!(exists(DROP_IN) && !exists(SERVICE) && !exists(SOCKET) && exists(TCP_SOCKET));
        let changes = manager.changes();
        assert_eq!(changes[..2], ["daemon-reload", "reenable modeld.socket"]);
        // What a person changed is theirs, and named.
        std::fs::write(place.units().join(SERVICE), "mine\n").unwrap();
        let (done, said) = install(&place, &manager, Install::default());
        done.unwrap();
        assert!(exists(SERVICE) && said.contains("hides the package's"), "{said}");
    }

    #[test]
    fn what_failed_is_forgiven_and_what_fails_again_is_an_error() {
        let place = Place::new();
        let at = |all: &[String], what: &str| all.iter().position(|one| one == what).unwrap();
        for failed in [SOCKET, SERVICE] {
            let manager = Manager { failed: vec![failed], ..Manager::default() };
            let (done, said) = install(&place, &manager, Install::default());
            let error = done.unwrap_err().to_string();
            assert!(error.contains(&format!("{failed} is failed (x)")), "{error}");
            let why = "systemctl --user status modeld.socket modeld.service";
            assert!(error.contains(why), "{error}");
            assert!(!said.contains("started"), "{said}");
            let changes = manager.changes();
            let forgiven = at(&changes, "reset-failed modeld.socket modeld.service");
            assert!(forgiven < at(&changes, "start modeld.socket"), "{changes:?}");
        }
    }

    #[test]
    fn a_port_that_moves_under_a_running_daemon_is_listed_with_what_opens_it() {
        let place = Place::new();
        let on = |manager: &Manager, port| {
            let mut context = place.context(manager);
            context.settings.tcp = Some(([127, 0, 0, 1], port).into());
            place.capture(|printer| run(&context, Install::default(), printer)).1
        };
        let idle = Manager { loaded: vec![SOCKET, SERVICE, TCP_SOCKET], ..Manager::default() };
        let said = on(&idle, 9000);
        let lists = |said: &str, word: &str| {
            let file = place.units().join(tcp_socket::DROP_IN);
            assert!(said.contains(&format!("{word:<10} {}\n", file.display())), "{said}");
        };
        lists(&said, "wrote");
        assert!(said.contains("started    modeld-tcp.socket"), "{said}");
        assert!(!said.contains("start modeld-tcp.socket"), "{said}");
        let open = || vec![SOCKET, TCP_SOCKET];
        let loaded = || vec![SOCKET, SERVICE, TCP_SOCKET];
        let busy = Manager { on: open(), loaded: loaded(), ..Manager::running() };
        let said = on(&busy, 9001);
        lists(&said, "updated");
        let opens =
            "systemctl --user stop modeld.service && systemctl --user start modeld-tcp.socket";
        assert!(said.contains(opens), "{said}");
        let said = on(&Manager { on: open(), loaded: loaded(), ..Manager::running() }, 9001);
        lists(&said, "unchanged");
        assert!(!said.contains(opens), "{said}");
    }

    #[test]
    fn the_url_is_the_one_that_is_spoken() {
        let place = Place::new();
        let manager = Manager::default();
        let mut context = place.context(&manager);
        context.settings.tcp = Some(([127, 0, 0, 1], 9000).into());
        context.settings.tls = true;
        let (_, said) = place.capture(|p| super::run(&context, Install::default(), p));
        assert!(said.contains("https://127.0.0.1:9000"), "{said}");
    }

    #[test]
    fn a_masked_tcp_socket_counts_where_it_is_wanted() {
        let place = Place::new();
        let manager = Manager { masked: vec![TCP_SOCKET], ..Manager::default() };
        install(&place, &manager, Install::default()).0.unwrap();
        let mut context = place.context(&manager);
        context.settings.tcp = Some(([127, 0, 0, 1], 9000).into());
        let (done, _) = place.capture(|p| super::run(&context, Install::default(), p));
        assert!(done.unwrap_err().to_string().contains("unmask modeld-tcp.socket"));
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
