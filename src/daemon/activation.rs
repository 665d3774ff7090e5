//! Sockets that somebody else opened for us: systemd, launchd, or `modeld activate`.
//!
//! What a socket is for is said by its name (`FileDescriptorName=` of a socket unit, the key in a
//! launchd property list): `unix`, `tcp`, `ollama`, `containers`. Any other name, as the unit's own
//! that systemd gives by default, leaves it to the kind of the socket. Names that begin with
//! `kept-` are those of sockets that an earlier daemon bound and had kept for this one.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixListener;
use std::path::Path;

use listenfd::ListenFd;

use super::door::Door;
use super::tcp_listeners::Purpose;
use super::{DaemonError, listen};
use crate::config::{self, Config, Variables};

/// The first descriptor of the systemd protocol.
const FIRST: usize = 3;

/// The names of the descriptors, separated by colons.
pub(super) const NAMES: &str = "LISTEN_FDNAMES";

/// A listening socket that the service manager opened or kept for us. Dropping it closes our
/// descriptor and leaves the socket listening: new connections wait for the next daemon.
#[derive(Debug)]
pub struct Inherited {
    pub(super) socket: Socket,
    /// Bound by an earlier daemon, not by the manager.
    pub(super) kept: bool,
}

#[derive(Debug)]
pub(super) enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener, Door),
}

/// What a name says of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Name {
    role: Option<Role>,
    kept: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Unix,
    Tcp(Door),
}

impl Inherited {
    /// Takes what `LISTEN_FDS` announces and clears the variable, or asks launchd. Call it before
    /// any thread starts, since it writes to the environment.
    ///
    /// # Errors
    /// [`DaemonError::Inherited`] for a descriptor that is not what its name says, or that would
    /// open modeld to the network.
    pub fn from_environment() -> Result<Vec<Self>, DaemonError> {
        let names = Variables::of_process().get(NAMES).unwrap_or_default();
        let mut names = names.split(':');
        let mut fds = ListenFd::from_env();
        let passed: Result<Vec<Self>, DaemonError> = (0..fds.len())
            .map(|index| Self::classify(&mut fds, index, names.next().unwrap_or_default()))
            .collect();
        #[cfg(target_os = "macos")]
        {
            let mut passed = passed?;
            passed.extend(super::launchd::sockets()?);
            Ok(passed)
        }
        #[cfg(not(target_os = "macos"))]
        passed
    }

    /// A Unix socket that somebody else holds as well.
    ///
    /// # Errors
    /// What the system says.
    pub fn unix(listener: UnixListener) -> std::io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { socket: Socket::Unix(listener), kept: false })
    }

    /// A TCP socket of that name.
    ///
    /// # Errors
    /// A fragment that says what is wrong with it.
    pub(super) fn tcp(listener: TcpListener, name: &str) -> Result<Self, String> {
        let name = Name::of(name);
        let local = listener.local_addr().map_err(|e| format!("has no address: {e}"))?;
        let door = match name.role {
            Some(Role::Unix) => return Err("is named unix and is a TCP socket".to_owned()),
            Some(Role::Tcp(Door::Anybody | Door::Public)) | None => Door::at(local),
            Some(Role::Tcp(door)) => door,
        };
        may_listen(local, door)?;
        listener.set_nonblocking(true).map_err(|e| format!("cannot be used: {e}"))?;
        Ok(Self { socket: Socket::Tcp(listener, door), kept: name.kept })
    }

    /// Where it is open to other machines, for whoever has a token, unless the settings have
    /// it closed.
    pub(super) fn public_address(&self, config: &Config) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(tcp, Door::Public)
                if listen::purpose(&self.socket, config) == Purpose::Open =>
            {
                tcp.local_addr().ok()
            }
            Socket::Tcp(..) | Socket::Unix(_) => None,
        }
    }

    fn classify(fds: &mut ListenFd, index: usize, name: &str) -> Result<Self, DaemonError> {
        let number = index.saturating_add(FIRST);
        let bad = |problem: String| DaemonError::Inherited { number, problem };
        if let Ok(Some(unix)) = fds.take_unix_listener(index) {
            let Name { role, kept } = Name::of(name);
            if let Some(Role::Tcp(_)) = role {
                return Err(bad(format!("is named {name} and is a Unix socket")));
            }
            let unix = Self::unix(unix).map_err(|e| bad(format!("cannot be used: {e}")))?;
            return Ok(Self { kept, ..unix });
        }
        match fds.take_tcp_listener(index) {
            Ok(Some(tcp)) => Self::tcp(tcp, name).map_err(bad),
            Ok(None) | Err(_) => Err(bad("is neither a Unix nor a TCP stream socket".to_owned())),
        }
    }
}

impl Socket {
    pub(super) fn door(&self) -> Option<Door> {
        match self {
            Self::Unix(_) => None,
            Self::Tcp(_, door) => Some(*door),
        }
    }

    pub(super) fn listens(&self) -> bool {
        let fd = match self {
            Self::Unix(unix) => unix.as_fd(),
            Self::Tcp(tcp, _) => tcp.as_fd(),
        };
        // Where that cannot be asked, accepting tells.
        rustix::net::sockopt::socket_acceptconn(fd).unwrap_or(true)
    }

    pub(super) fn is_at(&self, path: &Path) -> bool {
        match self {
            Self::Unix(unix) => unix.local_addr().is_ok_and(|a| a.as_pathname() == Some(path)),
            Self::Tcp(..) => false,
        }
    }

    pub(super) fn serves(&self, address: SocketAddr, wanted: Door) -> bool {
        match self {
            Self::Unix(_) => false,
            Self::Tcp(tcp, door) => {
                *door == wanted && tcp.local_addr().is_ok_and(|local| local == address)
            }
        }
    }
}

/// The name under which a socket of ours is kept for the next daemon.
pub(super) fn kept_name(door: Option<Door>) -> &'static str {
    match door {
        None => "kept-unix",
        Some(Door::Anybody | Door::Public) => "kept-tcp",
        Some(Door::Ollama) => "kept-ollama",
        Some(Door::Containers) => "kept-containers",
    }
}

impl Name {
    fn of(name: &str) -> Self {
        let (plain, kept) = match name.strip_prefix("kept-") {
            Some(plain) => (plain, true),
            None => (name, false),
        };
        let role = match plain {
            "unix" => Some(Role::Unix),
            "tcp" => Some(Role::Tcp(Door::Anybody)),
            "ollama" => Some(Role::Tcp(Door::Ollama)),
            "containers" => Some(Role::Tcp(Door::Containers)),
            _ => None,
        };
        Self { role, kept: kept && role.is_some() }
    }
}

/// The same rules as for the flags: what is for this machine must not leave it.
fn may_listen(local: SocketAddr, door: Door) -> Result<(), String> {
    let ip = local.ip().to_canonical();
    let (fine, instead) = match door {
        // Nobody is served there without a token, as with --tcp.
        Door::Anybody | Door::Public => return Ok(()),
        Door::Ollama => (ip.is_loopback(), "a loopback address"),
        Door::Containers => (config::is_private(ip), "the address of a bridge"),
    };
    if fine {
        return Ok(());
    }
    Err(format!(
        "listens on {local} and would open modeld to the network; use {instead} in the socket unit"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inherited_tcp_stays_on_this_machine() {
        for (address, name, fine) in [
            ("127.0.0.1:0", "tcp", true),
            ("127.0.0.1:0", "modeld-tcp.socket", true),
            ("127.0.0.1:0", "ollama", true),
            ("0.0.0.0:0", "tcp", true),
            ("0.0.0.0:0", "ollama", false),
            ("0.0.0.0:0", "containers", false),
            ("127.0.0.1:0", "containers", false),
        ] {
            let taken = Inherited::tcp(TcpListener::bind(address).unwrap(), name);
            match taken {
                Ok(taken) => {
                    assert!(fine, "{address} as {name}");
                    let is_public = matches!(taken.socket, Socket::Tcp(_, Door::Public));
                    assert_eq!(is_public, address.starts_with("0.0.0.0"), "{address} as {name}");
                }
                Err(problem) => {
                    assert!(!fine, "{address} as {name}: {problem}");
                    assert!(problem.contains("would open modeld to the network"), "{problem}");
                }
            }
        }
        let bridge = "172.17.0.1:12434".parse().unwrap();
        assert_eq!(may_listen(bridge, Door::Containers), Ok(()));
        assert!(may_listen(bridge, Door::Ollama).is_err());
    }

    #[test]
    fn names_say_what_a_socket_is_for() {
        for (name, role, kept) in [
            ("unix", Some(Role::Unix), false),
            ("containers", Some(Role::Tcp(Door::Containers)), false),
            ("modeld.socket", None, false),
            ("unknown", None, false),
            ("", None, false),
            ("kept-", None, false),
            ("kept-sake", None, false),
        ] {
            assert_eq!(Name::of(name), Name { role, kept }, "{name}");
        }
        for door in [None, Some(Door::Anybody), Some(Door::Ollama), Some(Door::Containers)] {
            let role = door.map_or(Role::Unix, Role::Tcp);
            let name = kept_name(door);
            assert_eq!(Name::of(name), Name { role: Some(role), kept: true }, "{name}");
        }
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(Inherited::tcp(tcp, "unix").unwrap_err().contains("is named unix"));
    }
}
