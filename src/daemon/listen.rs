use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::net::{TcpListener, TcpSocket, UnixListener};

use super::accept::{Acceptor, Door};
use super::activation::Inherited;
use super::listener_control::TcpListeners;
use super::lock::DaemonLock;
use super::socket::{self, SocketFile};
use super::{DaemonError, containers};
use crate::config::Config;

/// Where the daemon listens, for logs, the service manager and tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A path of the file system; `None` for an inherited socket without one.
    Unix(Option<PathBuf>),
    /// An address of this machine.
    Tcp(SocketAddr),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(Some(path)) => write!(f, "unix://{}", path.display()),
            Self::Unix(None) => f.write_str("an unnamed unix socket"),
            Self::Tcp(address) => write!(f, "http://{address}"),
        }
    }
}

/// Listening sockets and what has to live as long as they do.
#[derive(Debug)]
pub(super) struct Listeners {
    unix: Vec<UnixListener>,
    tcp: Vec<(TcpListener, Door)>,
    /// How many of these, the first ones, somebody passed.
    inherited: usize,
    pub addresses: Vec<Address>,
    /// Removes the socket file that we made.
    file: Option<SocketFile>,
    /// Keeps other daemons out; goes last.
    lock: Option<DaemonLock>,
}

impl Listeners {
    /// Takes over what the service manager passed and binds what is missing. The Unix socket is
    /// always there.
    pub(super) async fn open(
        config: &Config,
        inherited: Vec<Inherited>,
    ) -> Result<Self, DaemonError> {
        let mut all = Self {
            unix: Vec::new(),
            tcp: Vec::new(),
            inherited: 0,
            addresses: Vec::new(),
            file: None,
            lock: None,
        };
        for listener in inherited {
            all.adopt(listener)?;
        }
        all.inherited = all.tcp.len();
        if all.unix.is_empty() {
            all.bind_unix(config).await?;
        }
        if let Some(address) = config.tcp.value
            && !all.addresses.contains(&Address::Tcp(address))
        {
            all.bind_tcp(address, Door::Anybody)?;
        }
        if let Some(address) = config.ollama.value {
            all.bind_tcp(address, Door::Ollama)?;
        }
        if let Some(wanted) = config.containers.value {
            all.bind_tcp(containers::address(wanted), Door::Containers)?;
        }
        Ok(all)
    }

    /// Starts one accepting task for each listener. What comes back has to be dropped when they
    /// have stopped.
    pub(super) fn serve(
        self,
        acceptor: &Acceptor,
        control: &TcpListeners,
    ) -> (Option<SocketFile>, Option<DaemonLock>) {
        for listener in self.unix {
            acceptor.connections.spawn(acceptor.clone().unix(listener));
        }
        for (at, (listener, door)) in self.tcp.into_iter().enumerate() {
            control.serve(acceptor, listener, door, at < self.inherited);
        }
        (self.file, self.lock)
    }

    fn adopt(&mut self, listener: Inherited) -> Result<(), DaemonError> {
        let failed = |e| DaemonError::io("use an inherited listener", e);
        match listener {
            Inherited::Unix(unix) => {
                let address = unix.local_addr().map_err(failed)?;
                let path = address.as_pathname().map(ToOwned::to_owned);
                // One daemon per directory holds under socket activation, too.
                if let (Some(path), None) = (&path, &self.lock) {
                    self.lock = Some(DaemonLock::take(path)?);
                }
                self.unix.push(UnixListener::from_std(unix).map_err(failed)?);
                self.addresses.push(Address::Unix(path));
            }
            Inherited::Tcp(tcp) => {
                self.addresses.push(Address::Tcp(tcp.local_addr().map_err(failed)?));
                let listener = TcpListener::from_std(tcp).map_err(failed)?;
                self.tcp.push((listener, Door::Anybody));
            }
        }
        Ok(())
    }

    async fn bind_unix(&mut self, config: &Config) -> Result<(), DaemonError> {
        let path = &config.socket.value;
        socket::prepare_directory(path)?;
        self.lock = Some(DaemonLock::take(path)?);
        let (listener, file) = socket::bind(path).await?;
        self.unix.push(listener);
        self.file = Some(file);
        self.addresses.push(Address::Unix(Some(path.clone())));
        Ok(())
    }

    fn bind_tcp(&mut self, address: SocketAddr, door: Door) -> Result<(), DaemonError> {
        let listener = open_tcp(address, door)?;
        let failed = |source| DaemonError::Tcp { address, flag: door.flag(), source };
        self.addresses.push(Address::Tcp(listener.local_addr().map_err(failed)?));
        self.tcp.push((listener, door));
        Ok(())
    }
}

/// Binds and listens.
///
/// # Errors
/// [`DaemonError::Tcp`].
pub(super) fn open_tcp(address: SocketAddr, door: Door) -> Result<TcpListener, DaemonError> {
    let failed = |source| DaemonError::Tcp { address, flag: door.flag(), source };
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.map_err(failed)?;
    // A port of a daemon that just ended can be taken again; a living listener still refuses.
    socket.set_reuseaddr(true).map_err(failed)?;
    if door == Door::Containers {
        let_bind_early(&socket).map_err(failed)?;
    }
    socket.bind(address).map_err(failed)?;
    socket.listen(socket::BACKLOG).map_err(failed)
}

/// The bridge may come later: Docker makes it when it starts, and a user's daemon is often first.
#[cfg(target_os = "linux")]
fn let_bind_early(socket: &TcpSocket) -> std::io::Result<()> {
    Ok(rustix::net::sockopt::set_ip_freebind(socket, true)?)
}

/// Elsewhere containers live in a virtual machine, and its bridge is there or is not.
#[cfg(not(target_os = "linux"))]
fn let_bind_early(_: &TcpSocket) -> std::io::Result<()> {
    Ok(())
}
