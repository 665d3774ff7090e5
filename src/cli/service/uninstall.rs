use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::args::Uninstall;
use super::context::Context;
use super::files;
use super::install::{DROP_IN, SOCKET_DROP_IN};
use super::systemd::Systemd;
use super::tcp_socket::DROP_IN as TCP_DROP_IN;
use super::units::{SERVICE, SOCKET, Scope, TCP_SOCKET};
use crate::cli::{CliError, Printer};

/// Stops and disables the units and removes what `install` and `tcp enable` made.
pub(super) fn run(
    context: &Context<'_>,
    args: Uninstall,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let systemd = Systemd::find(context)?;
    let mut did = false;
    // The sockets first: a connection in between must not start the daemon again.
    for name in [TCP_SOCKET, SOCKET, SERVICE] {
        let unit = systemd.unit(name)?;
        if unit.is_active() {
            systemd.run(&["stop", name])?;
            printer.line(format!("stopped    {name}"))?;
            did = true;
        }
        if unit.is_enabled() {
            systemd.run(&["disable", name])?;
            printer.line(format!("disabled   {name}"))?;
            did = true;
        }
    }
    let mut left = Vec::new();
    let drop_ins = [DROP_IN, SOCKET_DROP_IN, TCP_DROP_IN].map(|name| (name, None));
    let shipped = |(name, text): &(&'static str, &'static str)| (*name, Some(*text));
    let units = context.scope.units().iter().map(shipped).chain(drop_ins);
    let extras = context.scope.extras().iter().map(shipped);
    let all = units.map(|(name, text)| (name, context.units.join(name), text));
    let all = all.chain(extras.map(|(name, text)| (name, context.root.join(name), text)));
    for (name, path, shipped) in all {
        match files::remove(&path, shipped, args.force)? {
            Some(true) => {
                printer.line(format!("removed    {}", path.display()))?;
                did = true;
            }
            Some(false) => {}
            None => left.push(path),
        }
        did |= remove_wants(&context.units, name, printer)?;
    }
    if did {
        systemd.run(&["daemon-reload"])?;
        // What failed once would be listed for ever; nothing there is no failure.
        let _ = systemd.run(&["reset-failed", SERVICE, SOCKET]);
        // Elsewhere the directory is somebody's own.
        if context.settings.socket.is_none() {
            remove_runtime(&context.socket);
        }
    } else {
        printer.line("unchanged  nothing was installed")?;
    }
    for path in &left {
        printer.note(format!(
            "{} stays: it is not what `install` wrote. Remove it yourself, or use --force.",
            path.display()
        ));
    }
    if context.scope == Scope::System {
        printer.note("Not touched: the user and the group modeld");
    }
    if let Some(package) = context.packaged(SERVICE) {
        printer.note(format!("{} stays: it is a package's.", package.display()));
    }
    for (what, path) in context.staying.iter().filter(|(_, path)| path.exists()) {
        printer.note(format!("Not touched: {what} in {}", path.display()));
    }
    if left.is_empty() { Ok(()) } else { Err(CliError::Reported) }
}

/// The lock beside the socket, and their directory: of no use without a daemon.
fn remove_runtime(socket: &Path) {
    let path = socket.with_file_name("daemon.lock");
    let Ok(file) = std::fs::File::open(&path) else { return };
    // Another daemon may have come meanwhile, without the service.
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
        let _ = std::fs::remove_file(&path);
        if let Some(dir) = path.parent() {
            let _ = std::fs::remove_dir(dir);
        }
    }
}

/// Links that `enable` made and `disable` did not find, because the unit had been removed before.
fn remove_wants(units: &Path, name: &str, printer: &mut Printer) -> Result<bool, CliError> {
    let mut did = false;
    for target in ["default.target.wants", "sockets.target.wants"] {
        let link = units.join(target).join(name);
        let dangles =
            std::fs::symlink_metadata(&link).is_ok_and(|meta| meta.is_symlink()) && !link.exists();
        if dangles {
            std::fs::remove_file(&link)
                .map_err(|e| CliError::Failed(format!("cannot remove {}: {e}", link.display())))?;
            printer.line(format!("removed    {}", link.display()))?;
            did = true;
        }
        // One with links of other units stays, as it is not empty.
        let _ = std::fs::remove_dir(units.join(target));
    }
    Ok(did)
}

#[cfg(test)]
mod tests {
    use super::super::args::Install;
    use super::super::install;
    use super::super::testing::{Manager, Place};
    use super::*;

    fn uninstall(place: &Place, manager: &Manager, force: bool) -> (Result<(), CliError>, String) {
        let args = Uninstall { system: false, force };
        place.capture(|printer| run(&place.context(manager), args, printer))
    }

    #[test]
    fn nothing_of_ours_is_left() {
        let place = Place::new();
        let context_of = |manager| place.context(manager);
        let manager = Manager::default();
        place
            .capture(|printer| install::run(&context_of(&manager), Install::default(), printer))
            .0
            .unwrap();
        let wants = place.units().join("sockets.target.wants");
        std::fs::create_dir_all(&wants).unwrap();
        std::os::unix::fs::symlink(place.units().join(SOCKET), wants.join(SOCKET)).unwrap();
        let manager = Manager::running();
        let (done, said) = uninstall(&place, &manager, false);
        done.unwrap();
        assert_eq!(
            manager.changes(),
            [
                "stop modeld.socket",
                "disable modeld.socket",
                "stop modeld.service",
                "daemon-reload",
                "reset-failed modeld.service modeld.socket"
            ]
        );
        assert_eq!(std::fs::read_dir(place.units()).unwrap().count(), 0, "{said}");
        let (done, said) = uninstall(&place, &Manager::default(), false);
        done.unwrap();
        assert!(said.contains("nothing was installed"), "{said}");
    }

    #[test]
    fn what_somebody_changed_stays_and_is_named() {
        let place = Place::new();
        std::fs::create_dir_all(place.units()).unwrap();
        let path = place.units().join(SERVICE);
        std::fs::write(&path, "mine\n").unwrap();
        let (done, said) = uninstall(&place, &Manager::default(), false);
        assert!(matches!(done, Err(CliError::Reported)), "{done:?}");
        assert!(said.contains("modeld.service stays") && path.exists(), "{said}");
        uninstall(&place, &Manager::default(), true).0.unwrap();
        assert!(!path.exists());
    }
}
