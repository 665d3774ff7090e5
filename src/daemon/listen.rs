use std::fmt;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::accept::{Acceptor, Door};
use super::activation::{Inherited, Socket, kept_name};
use super::listener_control::TcpListeners;
use super::lock::DaemonLock;
use super::socket::{self, SocketFile};
use super::{DaemonError, containers, group, notify};
use crate::config::Config;

/// Where the daemon listens, for logs, the service manager and tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A path of the file system; `None` for an inherited socket without one.
    Unix(Option<PathBuf>),
    /// An address of this machine.
    Tcp(SocketAddr),
    /// The same with TLS.
    Tls(SocketAddr),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(Some(path)) => write!(f, "unix://{}", path.display()),
            Self::Unix(None) => f.write_str("an unnamed unix socket"),
            Self::Tcp(address) => write!(f, "http://{address}"),
            Self::Tls(address) => write!(f, "https://{address}"),
        }
    }
}

/// One listening socket.
#[derive(Debug)]
enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener, Door),
}

/// Listening sockets and what has to live as long as they do.
#[derive(Debug)]
pub(super) struct Listeners {
    listeners: Vec<Listener>,
    /// How many of these, the first ones, somebody passed to be served.
    inherited: usize,
    pub addresses: Vec<Address>,
    /// Whether somebody else holds all of them, too.
    pub managed: bool,
    /// Whether the service manager keeps what we bind; then it outlives us.
    keeps: bool,
    /// What it kept of an earlier daemon and nobody wanted yet.
    kept: Vec<Socket>,
    /// Removes the socket file that we made.
    file: Option<SocketFile>,
    /// Keeps other daemons out; goes last.
    lock: Option<DaemonLock>,
}

impl Listeners {
    /// Takes over what the service manager passed and binds what is missing. The Unix socket is
    /// always there. `keeps`: the manager keeps what we bind for the next daemon.
    pub(super) async fn open(
        config: &Config,
        inherited: Vec<Inherited>,
        keeps: bool,
    ) -> Result<Self, DaemonError> {
        let mut all = Self {
            listeners: Vec::new(),
            inherited: 0,
            addresses: Vec::new(),
            managed: true,
            keeps,
            kept: Vec::new(),
            file: None,
            lock: None,
        };
        for Inherited { socket, kept } in inherited {
            if kept {
                all.kept.push(socket);
            } else {
                all.adopt(socket)?;
            }
        }
        all.inherited = all.listeners.len();
        all.discard_unwanted(config);
        if all.listeners.iter().all(|listener| matches!(listener, Listener::Tcp(..))) {
            all.bind_unix(config).await?;
        }
        if let Some(address) = config.tcp.value
            && !all.addresses.contains(&Address::Tcp(address))
        {
            all.bind_tcp(address, Door::at(address))?;
        }
        if config.tls.value.is_some() {
            for address in &mut all.addresses {
                if let Address::Tcp(plain) = *address {
                    *address = Address::Tls(plain);
                }
            }
        }
        if let Some(address) = config.ollama.value
            && !all.has(Door::Ollama)
        {
            all.bind_tcp(address, Door::Ollama)?;
        }
        if let Some(wanted) = config.containers.value
            && !all.has(Door::Containers)
        {
            all.bind_tcp(containers::address(wanted), Door::Containers)?;
        }
        while let Some(door) = all.kept.first().map(Socket::door) {
            all.discard(door);
        }
        Ok(all)
    }

    /// How many listeners share the connections over TCP.
    pub(super) fn tcp_count(&self) -> usize {
        self.listeners.iter().filter(|listener| matches!(listener, Listener::Tcp(..))).count()
    }

    /// Starts to accept on all of them, TCP under `control`. The second part has to be dropped when
    /// that has ended.
    pub(super) fn serve(
        self,
        acceptor: Acceptor,
        control: TcpListeners,
    ) -> (Doors, (Option<SocketFile>, Option<DaemonLock>)) {
        control.start(&acceptor, self.keeps);
        let mut closed = Vec::new();
        for (at, listener) in self.listeners.into_iter().enumerate() {
            match listener {
                Listener::Unix(unix) => closed.push(unix),
                Listener::Tcp(tcp, door) => {
                    control.serve(&acceptor, tcp, door, at < self.inherited)
                }
            }
        }
        let mut doors = Doors { acceptor, closed, open: Vec::new(), tcp: control };
        doors.open();
        (doors, (self.file, self.lock))
    }

    fn has(&self, wanted: Door) -> bool {
        self.listeners
            .iter()
            .any(|listener| matches!(listener, Listener::Tcp(_, d) if *d == wanted))
    }

    fn adopt(&mut self, socket: Socket) -> Result<(), DaemonError> {
        let failed = |e| DaemonError::io("use an inherited listener", e);
        match socket {
            Socket::Unix(unix) => {
                let address = unix.local_addr().map_err(failed)?;
                let path = address.as_pathname().map(ToOwned::to_owned);
                // One daemon per directory holds under socket activation, too.
                if let (Some(path), None) = (&path, &self.lock) {
                    self.lock = Some(DaemonLock::take(path)?);
                }
                self.addresses.push(Address::Unix(path));
                self.listeners.push(Listener::Unix(UnixListener::from_std(unix).map_err(failed)?));
            }
            Socket::Tcp(tcp, door) => {
                let local = tcp.local_addr().map_err(failed)?;
                self.addresses.push(Address::Tcp(local));
                let listener = TcpListener::from_std(tcp).map_err(failed)?;
                let door = if door == Door::Anybody { Door::at(local) } else { door };
                self.listeners.push(Listener::Tcp(listener, door));
            }
        }
        Ok(())
    }

    async fn bind_unix(&mut self, config: &Config) -> Result<(), DaemonError> {
        self.managed = false;
        let path = &config.socket.value;
        let group = config.socket_group.value.as_deref().map(group::number).transpose()?;
        socket::prepare_directory(path, group)?;
        if SocketFile::is_there(path)
            && let Some(kept) = self.take_back(|socket| socket.is_at(path))
        {
            // It may have been made under other settings.
            socket::admit(path, group)?;
            return self.adopt(kept);
        }
        self.discard(None);
        self.lock = Some(DaemonLock::take(path)?);
        let (listener, mut file) = socket::bind(path, group).await?;
        if self.keeps {
            notify::store(kept_name(None), listener.as_fd());
            // Nobody may find it gone while the next daemon is on its way.
            file.leave();
        }
        self.listeners.push(Listener::Unix(listener));
        self.file = Some(file);
        self.addresses.push(Address::Unix(Some(path.clone())));
        Ok(())
    }

    fn bind_tcp(&mut self, address: SocketAddr, door: Door) -> Result<(), DaemonError> {
        self.managed = false;
        if let Some(kept) = self.take_back(|socket| socket.serves(address, door)) {
            return self.adopt(kept);
        }
        self.discard(Some(door));
        let failed = |source| DaemonError::Tcp { address, flag: door.flag(), source };
        let listener = open_tcp(address, door)?;
        if self.keeps {
            keep_tcp(listener.as_fd(), door);
        }
        self.addresses.push(Address::Tcp(listener.local_addr().map_err(failed)?));
        self.listeners.push(Listener::Tcp(listener, door));
        Ok(())
    }

    fn take_back(&mut self, wanted: impl Fn(&Socket) -> bool) -> Option<Socket> {
        let index = self.kept.iter().position(wanted)?;
        Some(self.kept.swap_remove(index))
    }

    /// Lets go of kept ports that are for something else now: they would be in the way of their own
    /// successors.
    fn discard_unwanted(&mut self, config: &Config) {
        let wanted = [
            config.tcp.value.map(|address| (address, Door::at(address))),
            config.ollama.value.map(|address| (address, Door::Ollama)),
            config.containers.value.map(|at| (containers::address(at), Door::Containers)),
        ];
        let is_wanted = |socket: &Socket| {
            wanted.iter().flatten().any(|(address, door)| socket.serves(*address, *door))
        };
        let unwanted = self.kept.iter().filter(|socket| !is_wanted(socket));
        let doors: Vec<Door> = unwanted.filter_map(Socket::door).collect();
        for door in doors {
            self.discard(Some(door));
        }
    }

    /// Has the manager close what it keeps for a door, before another takes its name.
    fn discard(&mut self, door: Option<Door>) {
        let before = self.kept.len();
        self.kept.retain(|socket| socket.door() != door);
        if self.kept.len() < before {
            notify::forget(kept_name(door));
        }
    }
}

impl Socket {
    fn door(&self) -> Option<Door> {
        match self {
            Self::Unix(_) => None,
            Self::Tcp(_, door) => Some(*door),
        }
    }

    fn is_at(&self, path: &Path) -> bool {
        match self {
            Self::Unix(unix) => unix.local_addr().is_ok_and(|a| a.as_pathname() == Some(path)),
            Self::Tcp(..) => false,
        }
    }

    fn serves(&self, address: SocketAddr, wanted: Door) -> bool {
        match self {
            Self::Unix(_) => false,
            Self::Tcp(tcp, door) => {
                *door == wanted && tcp.local_addr().is_ok_and(|local| local == address)
            }
        }
    }
}

/// Binds and listens.
///
/// # Errors
/// [`DaemonError::Tcp`].
pub(super) fn open_tcp(address: SocketAddr, door: Door) -> Result<TcpListener, DaemonError> {
    let failed = |source| DaemonError::Tcp { address, flag: door.flag(), source };
    socket::bind_tcp(address, door == Door::Containers).map_err(failed)
}

/// Has the service manager keep a socket for the next daemon.
pub(super) fn keep_tcp(listener: BorrowedFd<'_>, door: Door) {
    // What is kept has to be fit for whoever takes it, with a token or without.
    if door != Door::Public {
        notify::store(kept_name(Some(door)), listener);
    }
}

/// Has it keep no such socket any longer.
pub(super) fn forget_tcp(door: Door) {
    if door != Door::Public {
        notify::forget(kept_name(Some(door)));
    }
}

/// Sockets that are being accepted on, or not: those who connect meanwhile wait in the backlog.
pub(super) struct Doors {
    acceptor: Acceptor,
    closed: Vec<UnixListener>,
    open: Vec<JoinHandle<UnixListener>>,
    tcp: TcpListeners,
}

impl Doors {
    /// Accepts, with one task for each socket.
    pub(super) fn open(&mut self) {
        self.acceptor.stop = CancellationToken::new();
        for listener in self.closed.drain(..) {
            self.open.push(tokio::spawn(self.acceptor.clone().unix(listener)));
        }
        self.tcp.resume();
    }

    /// Accepts no more. When it returns, every connection that was accepted is being served, and
    /// every other one still waits.
    pub(super) async fn close(&mut self) {
        self.acceptor.stop.cancel();
        for task in self.open.drain(..) {
            match task.await {
                Ok(listener) => self.closed.push(listener),
                Err(error) => tracing::error!(%error, "a listener was lost"),
            }
        }
        self.tcp.pause().await;
    }

    /// Whether somebody else holds all of them, too, those included that were opened meanwhile.
    pub(super) fn are_managed(&self) -> bool {
        self.tcp.are_inherited()
    }

    /// Closes our descriptors; what others hold goes on listening.
    pub(super) fn end(self) {
        self.tcp.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Env, RawConfig, resolve};

    fn place(tcp: Option<&str>) -> (tempfile::TempDir, Config) {
        let dir = tempfile::tempdir().unwrap();
        let env = Env {
            runtime_dir: Some(dir.path().join("run")),
            data_dir: Some(dir.path().join("data")),
            ..Env::default()
        };
        let raw = RawConfig { tcp: tcp.map(str::to_owned), ..RawConfig::default() };
        (dir, resolve(&raw, &env).unwrap())
    }

    /// What a manager passes to the next daemon.
    fn kept(listener: &Listener) -> Inherited {
        let socket = match listener {
            Listener::Unix(unix) => Socket::Unix(unix.as_fd().try_clone_to_owned().unwrap().into()),
            Listener::Tcp(tcp, door) => {
                Socket::Tcp(tcp.as_fd().try_clone_to_owned().unwrap().into(), *door)
            }
        };
        Inherited { socket, kept: true }
    }

    #[tokio::test]
    async fn what_was_kept_is_taken_back_and_outlives_its_daemon() {
        let (_dir, mut config) = place(Some("0"));
        let mut first = Listeners::open(&config, Vec::new(), true).await.unwrap();
        assert!(!first.managed);
        let addresses = first.addresses.clone();
        let Some(Address::Tcp(port)) = addresses.last() else { panic!("{addresses:?}") };
        config.tcp.value = Some(*port);
        let passed: Vec<Inherited> = first.listeners.iter().map(kept).collect();
        let waiting = tokio::net::UnixStream::connect(&config.socket.value).await.unwrap();
        drop((first.file.take(), first));
        assert!(config.socket.value.exists());

        let second = Listeners::open(&config, passed, true).await.unwrap();
        assert_eq!(second.addresses, addresses);
        assert!(!second.managed, "a manager that keeps sockets does not start us by them");
        let [Listener::Unix(unix), Listener::Tcp(..)] = second.listeners.as_slice() else {
            panic!("{second:?}");
        };
        unix.accept().await.unwrap();
        drop(waiting);
    }

    #[tokio::test]
    async fn what_was_kept_for_another_place_is_let_go() {
        let (_dir, config) = place(Some("0"));
        let first = Listeners::open(&config, Vec::new(), true).await.unwrap();
        let passed: Vec<Inherited> = first.listeners.iter().map(kept).collect();
        let old = first.addresses.clone();
        drop(first);
        let (_other, config) = place(None);
        let second = Listeners::open(&config, passed, false).await.unwrap();
        assert_eq!(second.addresses, [Address::Unix(Some(config.socket.value.clone()))]);
        assert!(second.kept.is_empty());
        let Some(Address::Tcp(port)) = old.last() else { panic!("{old:?}") };
        tokio::net::TcpStream::connect(port).await.unwrap_err();
    }

    #[tokio::test]
    async fn a_kept_port_may_be_for_another_door_now() {
        let (_dir, mut config) = place(Some("0"));
        let first = Listeners::open(&config, Vec::new(), true).await.unwrap();
        let passed: Vec<Inherited> = first.listeners.iter().map(kept).collect();
        let Some(Address::Tcp(port)) = first.addresses.last().cloned() else { panic!("no port") };
        drop(first);
        config.tcp.value = None;
        config.ollama.value = Some(port);
        let second = Listeners::open(&config, passed, true).await.unwrap();
        assert!(second.has(Door::Ollama) && !second.has(Door::Anybody));
    }

    #[tokio::test]
    async fn a_kept_socket_is_for_the_group_that_holds_now() {
        use std::os::unix::fs::MetadataExt as _;
        use std::os::unix::fs::PermissionsExt as _;
        let (dir, mut config) = place(None);
        let own = rustix::process::getegid().as_raw();
        // A place that a group can reach.
        std::fs::create_dir_all(config.socket.value.parent().unwrap()).unwrap();
        for place in ["", "run", "run/modeld"] {
            let open = std::fs::Permissions::from_mode(0o711);
            std::fs::set_permissions(dir.path().join(place), open).unwrap();
        }
        for (group, mode) in [(None, 0o600), (Some(own), 0o660), (None, 0o600)] {
            config.socket_group.value = group.map(|group| group.to_string());
            // Made under the other setting, and kept.
            let mut other = config.clone();
            other.socket_group.value = group.is_none().then(|| own.to_string());
            let first = Listeners::open(&other, Vec::new(), true).await.unwrap();
            let passed: Vec<Inherited> = first.listeners.iter().map(kept).collect();
            drop(first);
            let _second = Listeners::open(&config, passed, true).await.unwrap();
            let meta = std::fs::metadata(&config.socket.value).unwrap();
            assert_eq!(meta.mode() & 0o777, mode, "{group:?}");
            std::fs::remove_file(&config.socket.value).unwrap();
        }
    }

    #[tokio::test]
    async fn a_kept_socket_whose_file_is_gone_is_bound_anew() {
        let (_dir, config) = place(None);
        let first = Listeners::open(&config, Vec::new(), true).await.unwrap();
        let passed: Vec<Inherited> = first.listeners.iter().map(kept).collect();
        drop(first);
        std::fs::remove_file(&config.socket.value).unwrap();
        let _second = Listeners::open(&config, passed, true).await.unwrap();
        tokio::net::UnixStream::connect(&config.socket.value).await.unwrap();
    }

    #[tokio::test]
    async fn names_open_the_doors_of_their_flags_once() {
        let (dir, mut config) = place(None);
        let path = dir.path().join("s.sock");
        let unix = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let ollama = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        config.ollama.value = Some("127.0.0.1:1".parse().unwrap());
        let passed =
            vec![Inherited::unix(unix).unwrap(), Inherited::tcp(ollama, "ollama").unwrap()];
        let all = Listeners::open(&config, passed, false).await.unwrap();
        assert!(all.managed);
        assert!(all.has(Door::Ollama) && !all.has(Door::Anybody));
        assert_eq!(all.listeners.len(), 2, "{all:?}");
    }
}
