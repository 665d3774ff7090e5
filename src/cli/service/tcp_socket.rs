use std::net::SocketAddr;
use std::path::PathBuf;

use super::context::Context;
use super::files::{self, Comment, Found, Written};
use super::systemd::Systemd;
use super::units::{SERVICE, TCP_SOCKET};
use crate::cli::{CliError, Printer};

/// What has the TCP socket's unit listen where the user said.
pub(super) const DROP_IN: &str = "modeld-tcp.socket.d/50-address.conf";

/// Where the unit listens without a drop-in.
const USUAL: &str = "127.0.0.1:12434";

/// What the manager is to do with the TCP socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum TcpSocket {
    /// Open it before the daemon starts the next time.
    Open(SocketAddr),
    /// Open it no more.
    Close,
}

/// What the manager did.
#[derive(Debug, Default)]
pub(in crate::cli) struct Followed {
    /// What of it is worth a line.
    pub notes: Vec<String>,
    /// Where it has closed sockets that it had passed to the daemon, if one ran.
    pub closed: Vec<SocketAddr>,
    /// How the socket is opened where it is wanted and is not open, for who does not do that next.
    pub opening: Option<String>,
    /// What became of the file that says where it listens.
    pub(super) file: Option<(Written, PathBuf)>,
    /// Whether it was not enabled before.
    pub(super) enabled: bool,
}

impl Followed {
    /// Nothing but a note.
    pub(in crate::cli) fn noting(note: String) -> Self {
        Self { notes: vec![note], ..Self::default() }
    }

    /// Tells of it in lines for people, after which nothing is done.
    pub(in crate::cli) fn note(&self, printer: &mut Printer) {
        if self.enabled {
            printer.note(format!("{TCP_SOCKET} is enabled"));
        }
        self.notes.iter().chain(&self.opening).for_each(|note| printer.note(note));
    }
}

/// Has the manager follow a choice, if it has a unit for the TCP socket. It is never started here:
/// the running daemon has opened the port itself.
///
/// # Errors
/// What the manager or the disk refused.
pub(in crate::cli) fn follow(
    context: &Context<'_>,
    choice: TcpSocket,
) -> Result<Followed, CliError> {
    // Without a manager the settings file says it all.
    let Ok(systemd) = Systemd::find(context) else { return Ok(Followed::default()) };
    let unit = systemd.unit(TCP_SOCKET)?;
    if !unit.is_loaded() {
        return Ok(Followed::default());
    }
    let path = context.units.join(DROP_IN);
    let mut followed = Followed::default();
    let listens = || unit.listens.iter().filter_map(|at| at.parse().ok()).collect();
    match choice {
        TcpSocket::Open(address) => {
            let changed = if address.to_string() == USUAL {
                files::remove(&path, None, false)? == Some(true)
            } else {
                let text = format!("[Socket]\nListenStream=\nListenStream={address}\n");
                let written = files::put(&path, &text, Comment::Hash, None, false)?;
                if written == Written::Left {
                    let shown = path.display();
                    followed.notes.push(format!("{shown} was changed by somebody and left"));
                }
                followed.file = Some((written, path));
                matches!(written, Written::Made | Written::Updated)
            };
            if changed {
                systemd.run(&["daemon-reload"])?;
            }
            if !unit.is_enabled() {
                systemd.run(&["enable", TCP_SOCKET])?;
                followed.enabled = true;
            }
            // One that is open already listens at the old place; under a running service it can
            // be closed, and not opened.
            if changed && unit.is_active() {
                systemd.run(&["stop", TCP_SOCKET])?;
                followed.closed = listens();
            }
            if changed || !unit.is_active() {
                followed.opening = Some(opening(&systemd)?);
            }
        }
        TcpSocket::Close => {
            if unit.is_active() {
                systemd.run(&["stop", TCP_SOCKET])?;
                followed.closed = listens();
            }
            if unit.is_enabled() {
                systemd.run(&["disable", TCP_SOCKET])?;
                followed.notes.push(format!("{TCP_SOCKET} is disabled"));
            }
            if files::remove(&path, None, false)? == Some(true) {
                systemd.run(&["daemon-reload"])?;
            }
        }
    }
    Ok(followed)
}

/// What opens the socket. The service does not do it when it starts anew: it wants only the other
/// socket, so that this one stays closed where nobody enabled it. Nor can the manager open it while
/// the service runs, which is passed its sockets when it starts.
fn opening(systemd: &Systemd<'_>) -> Result<String, CliError> {
    let service = systemd.unit(SERVICE)?;
    if !service.is_active() {
        return Ok(format!(
            "{TCP_SOCKET} opens at the next login; now: systemctl --user start {TCP_SOCKET}"
        ));
    }
    // One that always runs waits for no connection.
    let again = if service.is_enabled() { " modeld.service" } else { "" };
    Ok(format!(
        "{TCP_SOCKET} cannot be opened under {SERVICE}, which runs; this does, and ends what runs: \
         systemctl --user stop {SERVICE} && systemctl --user start {TCP_SOCKET}{again}. Until then \
         no connection there starts a daemon, and one that opened the port itself does not end when \
         it is idle"
    ))
}

/// Closes what an earlier installation opened and the settings have no more. Where they never said
/// anything, a person may have enabled the unit by hand; then it is only named.
///
/// # Errors
/// What the manager or the disk refused.
pub(super) fn close_unwanted(context: &Context<'_>, printer: &mut Printer) -> Result<(), CliError> {
    let unit = Systemd::find(context)?.unit(TCP_SOCKET)?;
    let is_ours = matches!(files::look(&context.units.join(DROP_IN), None)?, Found::Ours(_));
    let is_open = unit.is_enabled() || unit.is_active();
    if !is_ours && !is_open {
        return Ok(());
    }
    let place = context.settings.tcp_place;
    if !is_ours && place.is_none() {
        printer.note(format!(
            "{TCP_SOCKET} is open on {}, though no settings file names it: modeld tcp disable \
             closes it, modeld config set tcp=… has it belong to the settings.",
            if unit.listens.is_empty() { USUAL.to_owned() } else { unit.listens.join(", ") }
        ));
        return Ok(());
    }
    let followed = follow(context, TcpSocket::Close)?;
    let why = match place {
        Some(place) => format!("as {place} says"),
        None => "which no settings file names any more".to_owned(),
    };
    printer.line(format!("closed     {TCP_SOCKET}, {why}"))?;
    followed.notes.iter().for_each(|note| printer.note(note));
    if !followed.closed.is_empty() {
        printer.note("A daemon that runs holds on to the port until its restart.");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Manager, Place};
    use super::*;
    use crate::config::Origin;

    fn close(place: &Place, manager: &Manager, says: Option<Origin>) -> String {
        let mut context = place.context(manager);
        context.settings.tcp_place = says;
        let (done, said) = place.capture(|printer| close_unwanted(&context, printer));
        done.unwrap();
        said
    }

    #[test]
    fn what_the_settings_had_opened_closes_with_them() {
        let place = Place::new();
        let open = Manager { on: vec![TCP_SOCKET], ..Manager::with_tcp() };
        let address = TcpSocket::Open(([127, 0, 0, 1], 29000).into());
        follow(&place.context(&open), address).unwrap();
        let manager = Manager { on: vec![TCP_SOCKET], ..Manager::with_tcp() };
        let said = close(&place, &manager, None);
        assert!(said.contains("closed     modeld-tcp.socket, which no settings file"), "{said}");
        let closing = ["stop modeld-tcp.socket", "disable modeld-tcp.socket"];
        assert_eq!(manager.changes(), [&closing[..], &["daemon-reload"]].concat());
        assert!(!place.units().join(DROP_IN).exists());
        // A person enabled it, and no setting says a word.
        let by_hand = Manager { on: vec![TCP_SOCKET], ..Manager::with_tcp() };
        let said = close(&place, &by_hand, None);
        assert!(said.contains("no settings file names it") && by_hand.changes().is_empty());
        // One says a word.
        let file = Origin::File { path: std::path::Path::new("/c.toml"), line: 2 };
        let said = close(&place, &by_hand, Some(file));
        assert!(said.contains("as /c.toml:2 says"), "{said}");
        assert_eq!(by_hand.changes(), closing);
        assert_eq!(close(&place, &Manager::with_tcp(), None), "");
    }

    #[test]
    fn the_unit_follows_and_is_never_started() {
        let place = Place::new();
        let manager = Manager::with_tcp();
        let at = |text: &str| TcpSocket::Open(text.parse().unwrap());
        let context = place.context(&manager);
        follow(&context, at("127.0.0.1:12434")).unwrap();
        assert_eq!(manager.changes(), ["enable modeld-tcp.socket"]);
        assert!(!place.units().exists());
        follow(&context, at("127.0.0.1:9000")).unwrap();
        let text = std::fs::read_to_string(place.units().join(DROP_IN)).unwrap();
        assert!(text.contains("ListenStream=\nListenStream=127.0.0.1:9000\n"), "{text}");
        follow(&context, TcpSocket::Close).unwrap();
        assert!(!place.units().join(DROP_IN).exists());
        assert!(!manager.changes().iter().any(|change| change.starts_with("start")));
    }

    #[test]
    fn what_opens_it_is_said_and_is_no_restart() {
        let place = Place::new();
        let address = TcpSocket::Open(([127, 0, 0, 1], 9000).into());
        let said = |manager: &Manager| {
            let followed = follow(&place.context(manager), address).unwrap();
            let note = |printer: &mut Printer| {
                followed.note(printer);
                Ok(())
            };
            place.capture(note).1
        };
        let open = "systemctl --user start modeld-tcp.socket";
        let busy = || Manager { active: vec![SERVICE], ..Manager::with_tcp() };
        let text = said(&busy());
        let anew = format!("systemctl --user stop modeld.service && {open}. Until then");
        assert!(text.contains("is enabled\n") && text.contains(&anew), "{text}");
        // It was enabled, and never could be opened.
        assert!(said(&busy()).contains(&anew));
        // It has moved.
        std::fs::remove_file(place.units().join(DROP_IN)).unwrap();
        let moved = Manager { on: vec![TCP_SOCKET], ..busy() };
        assert!(said(&moved).contains(&anew));
        assert_eq!(said(&moved), "");
        let always = Manager { on: vec![SERVICE], ..busy() };
        assert!(said(&always).contains(&format!("{open} modeld.service. Until")));
        let text = said(&Manager::with_tcp());
        assert!(text.contains(open) && !text.contains("stop modeld.service"), "{text}");
    }

    #[test]
    fn without_the_unit_nothing_is_done() {
        let place = Place::new();
        for manager in [Manager::default(), Manager::absent()] {
            let context = place.context(&manager);
            let done = follow(&context, TcpSocket::Open(([127, 0, 0, 1], 9).into())).unwrap();
            assert_eq!((done.notes.len(), manager.changes().len()), (0, 0));
        }
    }

    #[test]
    fn what_the_unit_listened_on_is_told_when_it_is_stopped() {
        let place = Place::new();
        let mut manager = Manager::with_tcp();
        let context = place.context(&manager);
        assert_eq!(follow(&context, TcpSocket::Close).unwrap().closed, []);
        manager.on = vec![TCP_SOCKET];
        manager.listens = vec!["127.0.0.1:12434", "[::1]:12434"];
        let context = place.context(&manager);
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let both = [at("127.0.0.1:12434"), at("[::1]:12434")];
        assert_eq!(follow(&context, TcpSocket::Open(at("127.0.0.1:9000"))).unwrap().closed, both);
        assert_eq!(follow(&context, TcpSocket::Close).unwrap().closed, both);
    }
}
