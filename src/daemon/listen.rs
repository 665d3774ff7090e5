use std::fmt;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use tokio::net::{TcpListener, UnixListener};

use super::accept::Acceptor;
use super::activation::{Inherited, Socket, kept_name};
use super::door::Door;
use super::doors::Doors;
use super::lock::DaemonLock;
use super::socket::{self, SocketFile};
use super::tcp_listeners::{Purpose, TcpListeners, excludes};
use super::wanted::{Wanted, may_pass};
use super::{DaemonError, containers, group, notify};
use crate::config::{Config, Origin};

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

impl Address {
    /// Of a listener, where some of them speak TLS, or none does.
    pub(super) fn over_tcp(address: SocketAddr, door: Door, with_tls: bool) -> Self {
        match with_tls && door.speaks_tls() {
            true => Self::Tls(address),
            false => Self::Tcp(address),
        }
    }
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
    Tcp {
        tcp: TcpListener,
        door: Door,
        /// Whether somebody passed it to be served, and holds it as well.
        inherited: bool,
        purpose: Purpose,
    },
}

/// Listening sockets and what has to live as long as they do.
#[derive(Debug)]
pub(super) struct Listeners {
    listeners: Vec<Listener>,
    /// Where clients find us.
    pub addresses: Vec<Address>,
    /// Whether somebody else holds all of them, too.
    pub managed: bool,
    speaks_tls: bool,
    /// Whether the service manager keeps what we bind; then it outlives us.
    keeps: bool,
    /// What it kept of an earlier daemon and nobody wanted yet.
    kept: Vec<Socket>,
    /// What could not be opened yet.
    wanted: Vec<Wanted>,
    /// Removes the socket file that we made.
    file: Option<SocketFile>,
    /// Keeps other daemons out; goes last.
    lock: Option<DaemonLock>,
}

impl Listeners {
    /// Takes over what the service manager passed and binds what is missing. The Unix socket is
    /// always there. `keeps`: the manager keeps what we bind for the next daemon.
    ///
    /// Whom sockets were passed to was started for somebody who waits there, and watches nothing: a
    /// port that is taken is no reason to leave them without an answer.
    pub(super) async fn open(
        config: &Config,
        inherited: Vec<Inherited>,
        keeps: bool,
    ) -> Result<Self, DaemonError> {
        let mut all = Self {
            listeners: Vec::new(),
            addresses: Vec::new(),
            managed: true,
            speaks_tls: config.tls.value.is_some(),
            keeps,
            kept: Vec::new(),
            wanted: Vec::new(),
            file: None,
            lock: None,
        };
        let is_passed = inherited.iter().any(|one| !one.kept);
        for Inherited { socket, kept } in inherited {
            if kept {
                all.keep(socket);
            } else {
                let purpose = purpose(&socket, config);
                if let (Socket::Tcp(tcp, door), Purpose::Parked) = (&socket, purpose) {
                    warn_of_parked(tcp, *door, config);
                }
                all.adopt(socket, true, purpose)?;
            }
        }
        all.discard_unwanted(config);
        if all.listeners.iter().all(|listener| matches!(listener, Listener::Tcp { .. })) {
            all.bind_unix(config).await?;
        }
        for wanted in Wanted::of(config) {
            let (door, address) = (wanted.door, wanted.address());
            let is_there = match door.is_of_tcp() {
                true => all.addresses.contains(&all.address_of(address, door)),
                false => all.has(door),
            };
            if is_there {
                continue;
            }
            match all.bind_tcp(address, door) {
                Ok(()) => {}
                Err(DaemonError::Tcp { source, .. }) if is_passed && may_pass(&source) => {
                    all.put_off(wanted.because(source.kind()), &source).await;
                }
                Err(final_one) => return Err(final_one),
            }
        }
        while let Some(door) = all.kept.first().map(Socket::door) {
            all.discard(door);
        }
        Ok(all)
    }

    /// Leaves a listener for later.
    async fn put_off(&mut self, wanted: Wanted, error: &std::io::Error) {
        let address = wanted.address();
        let problem = match self.in_the_way_of(address) {
            Some(_) => format!("cannot be listened on: {error}"),
            None => {
                let own = wanted.clone();
                let looked = tokio::task::spawn_blocking(move || own.problem(address)).await;
                looked.unwrap_or_else(|_| error.to_string())
            }
        };
        let key = wanted.door.setting().key();
        let end = match wanted.why {
            std::io::ErrorKind::AddrInUse => "end what holds it, or ",
            _ => "",
        };
        tracing::warn!(
            "{address} {problem} ({key}, as {} says): the daemon serves without it, and listens there \
             as soon as it can; {end}set `{key}` to another place or to off",
            wanted.origin
        );
        self.wanted.push(wanted);
    }

    /// Whether one that speaks TLS is to be opened later.
    pub(super) fn wants_tls(&self) -> bool {
        self.speaks_tls && self.wanted.iter().any(|wanted| wanted.door.speaks_tls())
    }

    /// The addresses that a certificate has to name.
    pub(super) fn secured(&self) -> Vec<SocketAddr> {
        let secured = self.addresses.iter().filter_map(|address| match address {
            Address::Tls(address) => Some(*address),
            Address::Unix(_) | Address::Tcp(_) => None,
        });
        secured.collect()
    }

    fn address_of(&self, address: SocketAddr, door: Door) -> Address {
        Address::over_tcp(address, door, self.speaks_tls)
    }

    /// Starts to accept on all of them, TCP as `all`. The second part has to be dropped when
    /// that has ended.
    pub(super) fn serve(
        self,
        acceptor: Acceptor,
        all: TcpListeners,
    ) -> (Doors, (Option<SocketFile>, Option<DaemonLock>)) {
        all.start(&acceptor, self.keeps);
        self.wanted.into_iter().for_each(|wanted| all.want(wanted));
        let mut closed = Vec::new();
        for listener in self.listeners {
            match listener {
                Listener::Unix(unix) => closed.push(unix),
                Listener::Tcp { tcp, door, inherited, purpose } => {
                    all.serve(&acceptor, tcp, door, inherited, purpose);
                }
            }
        }
        let mut doors = Doors::new(acceptor, closed, all);
        doors.open();
        (doors, (self.file, self.lock))
    }

    fn has(&self, wanted: Door) -> bool {
        self.listeners.iter().any(|listener| {
            matches!(
                listener,
                Listener::Tcp { door, purpose: Purpose::Open, .. } if *door == wanted
            )
        })
    }

    fn adopt(
        &mut self,
        socket: Socket,
        inherited: bool,
        purpose: Purpose,
    ) -> Result<(), DaemonError> {
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
                if purpose == Purpose::Open {
                    self.addresses.push(self.address_of(local, door));
                }
                let tcp = TcpListener::from_std(tcp).map_err(failed)?;
                self.listeners.push(Listener::Tcp { tcp, door, inherited, purpose });
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
            return self.adopt(kept, false, Purpose::Open);
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
        if let Some(kept) = self.take_back(|socket| socket.serves(address, door)) {
            self.managed = false;
            return self.adopt(kept, false, Purpose::Open);
        }
        self.discard(Some(door));
        let failed = |source| DaemonError::Tcp { address, flag: door.flag(), source };
        let listener = open_tcp(address, door).map_err(|error| match self.in_the_way_of(address) {
            Some(passed) => failed(std::io::Error::new(
                std::io::ErrorKind::AddrInUse,
                format!(
                    "who started the daemon holds {passed}, which is another address of that port; \
                     have its unit listen on {address}"
                ),
            )),
            None => error,
        })?;
        // What nobody else holds ends with us.
        self.managed = false;
        if self.keeps {
            keep_tcp(listener.as_fd(), door);
        }
        let local = listener.local_addr().map_err(failed)?;
        self.addresses.push(self.address_of(local, door));
        let (inherited, purpose) = (false, Purpose::Open);
        self.listeners.push(Listener::Tcp { tcp: listener, door, inherited, purpose });
        Ok(())
    }

    /// A passed socket beside which nothing can listen there.
    fn in_the_way_of(&self, address: SocketAddr) -> Option<SocketAddr> {
        let passed = self.listeners.iter().filter_map(|listener| match listener {
            Listener::Tcp { tcp, inherited: true, .. } => tcp.local_addr().ok(),
            Listener::Tcp { .. } | Listener::Unix(_) => None,
        });
        passed.into_iter().find(|passed| excludes(*passed, address))
    }

    /// One that was shut down while it was kept would serve nobody.
    fn keep(&mut self, socket: Socket) {
        if socket.listens() {
            self.kept.push(socket);
        } else {
            tracing::warn!("a socket that was kept listens no more, and is let go");
            notify::forget(kept_name(socket.door()));
        }
    }

    fn take_back(&mut self, wanted: impl Fn(&Socket) -> bool) -> Option<Socket> {
        let index = self.kept.iter().position(wanted)?;
        Some(self.kept.swap_remove(index))
    }

    /// Lets go of kept ports that are for something else now: they would be in the way of their own
    /// successors.
    fn discard_unwanted(&mut self, config: &Config) {
        let wanted = Wanted::of(config);
        let is_wanted =
            |socket: &Socket| wanted.iter().any(|one| socket.serves(one.address(), one.door));
        let unwanted = self.kept.iter().filter(|socket| !is_wanted(socket));
        let doors: Vec<Door> = unwanted.filter_map(Socket::door).collect();
        for door in doors {
            self.discard(Some(door));
        }
    }

    /// Has the manager close what it keeps for a door, before another takes its name.
    fn discard(&mut self, door: Option<Door>) {
        let gone: Vec<Socket> = self.kept.extract_if(.., |socket| socket.door() == door).collect();
        for socket in &gone {
            if let Socket::Tcp(tcp, _) = socket {
                release_port(tcp);
            }
        }
        if !gone.is_empty() {
            notify::forget(kept_name(door));
        }
    }
}

/// A socket that was passed to be served is, unless somebody said that its port is off, or a settings
/// file, where choices at run time are kept too, has it elsewhere. What a flag or a variable opens is a
/// listener of its own.
pub(super) fn purpose(socket: &Socket, config: &Config) -> Purpose {
    let Socket::Tcp(tcp, door) = socket else { return Purpose::Open };
    let (wanted, is_named) = match door {
        Door::Anybody | Door::Public => (config.tcp.value, true),
        Door::Ollama => (config.ollama.value, true),
        Door::Containers => {
            let wanted = config.containers.value;
            (wanted.map(containers::address), wanted.is_some_and(|at| at.ip.is_some()))
        }
    };
    let Ok(local) = tcp.local_addr() else { return Purpose::Open };
    let is_wanted = wanted.is_some_and(|wanted| door.is_meant(local, wanted, is_named));
    match origin(*door, config) {
        Origin::File { .. } if !is_wanted => Purpose::Parked,
        Origin::Flag(_) | Origin::Env(_) if wanted.is_none() => Purpose::Parked,
        Origin::File { .. } | Origin::Flag(_) | Origin::Env(_) | Origin::Default => Purpose::Open,
    }
}

/// Who said what becomes of a door.
fn origin(door: Door, config: &Config) -> Origin {
    match door {
        Door::Anybody | Door::Public => config.tcp.origin,
        Door::Ollama => config.ollama.origin,
        Door::Containers => config.containers.origin,
    }
}

fn warn_of_parked(tcp: &std::net::TcpListener, door: Door, config: &Config) {
    let Ok(local) = tcp.local_addr() else { return };
    let origin = origin(door, config);
    let remedy = match origin {
        Origin::Flag(name) | Origin::Env(name) => format!("take {name} away to open it"),
        Origin::File { .. } | Origin::Default => door.remedy(local, &origin.to_string()),
    };
    tracing::warn!(
        "{local} was passed to be served, but is closed to clients, as {origin} says otherwise \
         ({}); {remedy}",
        door.setting().key()
    );
}

/// Binds and listens.
///
/// # Errors
/// [`DaemonError::Tcp`].
pub(super) fn open_tcp(address: SocketAddr, door: Door) -> Result<TcpListener, DaemonError> {
    let failed = |source| DaemonError::Tcp { address, flag: door.flag(), source };
    socket::bind_tcp(address, door == Door::Containers).map_err(failed)
}

/// Frees the port of a listener that is ours, though the service manager keeps a copy of it: it lets go
/// of that a moment later than we, and the port may be wanted at once.
pub(super) fn release_port(listener: impl AsFd) {
    if let Err(error) = rustix::net::shutdown(listener, rustix::net::Shutdown::Both) {
        tracing::debug!(%error, "a listener could not be shut down");
    }
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::testing::{free, own_ip};
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
            Listener::Tcp { tcp, door, .. } => {
                Socket::Tcp(tcp.as_fd().try_clone_to_owned().unwrap().into(), *door)
            }
        };
        Inherited { socket, kept: true }
    }

    #[tokio::test]
    async fn what_was_kept_is_taken_back_and_outlives_its_daemon() {
        let (_dir, mut config) = place(Some(&format!("{}:0", own_ip())));
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
        let [Listener::Unix(unix), Listener::Tcp { .. }] = second.listeners.as_slice() else {
            panic!("{second:?}");
        };
        unix.accept().await.unwrap();
        drop(waiting);
    }

    #[tokio::test]
    async fn what_was_kept_for_another_place_is_let_go() {
        let (_dir, config) = place(Some(&format!("{}:0", own_ip())));
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
        let (_dir, mut config) = place(Some(&format!("{}:0", own_ip())));
        let first = Listeners::open(&config, Vec::new(), true).await.unwrap();
        let passed: Vec<Inherited> = first.listeners.iter().map(kept).collect();
        let Some(Address::Tcp(port)) = first.addresses.last().cloned() else { panic!("no port") };
        // The manager's copies, which it has not closed yet.
        let _held: Vec<Inherited> = first.listeners.iter().map(kept).collect();
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

    /// Addresses and purposes of the listeners over TCP.
    fn tcp(all: &Listeners) -> Vec<(SocketAddr, Purpose)> {
        let tcp = all.listeners.iter().filter_map(|listener| match listener {
            Listener::Tcp { tcp, purpose, .. } => Some((tcp.local_addr().unwrap(), *purpose)),
            Listener::Unix(_) => None,
        });
        tcp.collect()
    }

    #[tokio::test]
    async fn who_has_a_port_off_or_elsewhere_closes_sockets_that_are_passed() {
        let file = || Origin::File { path: Path::new("/c.toml"), line: 1 };
        let other = free();
        for (origin, elsewhere, purpose) in [
            (Origin::Default, false, Purpose::Open),
            (file(), false, Purpose::Parked),
            (file(), true, Purpose::Parked),
            (Origin::Flag("--tcp"), true, Purpose::Open),
            (Origin::Flag("--tcp"), false, Purpose::Parked),
            (Origin::Env("MODELD_TCP"), false, Purpose::Parked),
        ] {
            let (_dir, mut config) = place(None);
            config.tcp.origin = origin;
            config.tcp.value = elsewhere.then_some(other);
            let passed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = passed.local_addr().unwrap();
            let passed = vec![Inherited::tcp(passed, "tcp").unwrap()];
            let all = Listeners::open(&config, passed, false).await.unwrap();
            let mut expected = vec![(address, purpose)];
            expected.extend(elsewhere.then_some((other, Purpose::Open)));
            assert_eq!(tcp(&all), expected, "{origin:?}");
            let told = all.addresses.contains(&Address::Tcp(address));
            assert_eq!(told, purpose == Purpose::Open, "{origin:?}");
        }
        // The address that the file names is served on the socket that was passed for it.
        let (_dir, mut config) = place(None);
        let passed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = passed.local_addr().unwrap();
        (config.tcp.origin, config.tcp.value) = (file(), Some(address));
        let passed = vec![Inherited::tcp(passed, "tcp").unwrap()];
        let all = Listeners::open(&config, passed, false).await.unwrap();
        assert_eq!(tcp(&all), [(address, Purpose::Open)]);
    }

    #[tokio::test]
    async fn what_is_open_to_all_does_not_stand_in_for_one_address() {
        let (_dir, mut config) = place(None);
        let any = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let port = any.local_addr().unwrap().port();
        config.tcp.origin = Origin::File { path: Path::new("/c.toml"), line: 1 };
        config.tcp.value = Some(SocketAddr::new([192, 168, 1, 5].into(), port));
        let passed = Inherited::tcp(any, "tcp").unwrap();
        assert_eq!(purpose(&passed.socket, &config), Purpose::Parked);
        // Who is in the way is said.
        config.tcp.value = Some(SocketAddr::new([127, 0, 0, 1].into(), port));
        let all = Listeners::open(&config, vec![passed], false).await.unwrap();
        assert_eq!(all.wanted.first().map(Wanted::address), config.tcp.value);
        assert!(all.in_the_way_of(config.tcp.value.unwrap()).is_some());
    }

    #[tokio::test]
    async fn a_kept_socket_that_was_shut_down_is_bound_anew() {
        let (_dir, config) = place(Some(&free().to_string()));
        let first = Listeners::open(&config, Vec::new(), true).await.unwrap();
        let passed: Vec<Inherited> = first.listeners.iter().map(kept).collect();
        for listener in &first.listeners {
            if let Listener::Tcp { tcp, .. } = listener {
                release_port(tcp);
            }
        }
        drop(first);
        let second = Listeners::open(&config, passed, true).await.unwrap();
        let Some(Address::Tcp(port)) = second.addresses.last() else { panic!("{second:?}") };
        tokio::net::TcpStream::connect(port).await.unwrap();
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
