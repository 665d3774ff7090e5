use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::net::TcpListener;

use super::accept::Acceptor;
use super::door::Door;
use super::secured::Secured;
use super::taken::{own_place, taken, taken_by_another, waiting};
use super::tcp_listeners::{Place, Purpose, TcpListeners};
use super::wanted::Wanted;
use super::{DaemonError, containers, listen};
use crate::api::{Audience, ListenerControl, TcpChange, TcpPlace, TcpState, TcpWish, Transport};
use crate::config::{
    Config, ContainerAddress, KeepError, Origin, Setting, is_for_others, keep, kept, public_stays,
    settings, tcp_address,
};
use crate::domain::{Error, ErrorKind, Result};

/// What the owner may do to the TCP listeners while the daemon runs. Every choice is kept for the next
/// daemon. Cheap to clone.
#[derive(Clone)]
pub(super) struct TcpControl {
    inner: Arc<Inner>,
}

struct Inner {
    listeners: TcpListeners,
    secured: Option<Secured>,
    /// `None`: there is no home, and nothing is kept.
    file: Option<PathBuf>,
    /// Where tokens are, and settings unless a file was named.
    directory: Option<PathBuf>,
    /// Who said what is open at the start, where that outlives a change.
    told: [(Door, Origin); 2],
    /// Whether there was a change: what holds is no longer what the settings said at the start.
    is_changed: AtomicBool,
}

/// A choice for the settings file.
struct Choice {
    door: Door,
    /// `None`: it is off.
    address: Option<String>,
}

impl TcpControl {
    pub(super) fn new(config: &Config, listeners: TcpListeners, secured: Option<Secured>) -> Self {
        let inner = Inner {
            listeners,
            secured,
            file: config.settings_file.clone(),
            directory: config.config_dir.clone(),
            told: [
                (Door::Anybody, config.tcp.origin),
                (Door::Containers, config.containers.origin),
            ],
            is_changed: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// What holds of a setting that was chosen at run time, if it is not what `config` wants: in the
    /// words of the setting. The inner `None`: it is as wanted. `None`: the settings of the start
    /// hold. `given_up`: what they wanted and was never open.
    pub(super) fn holding(
        &self,
        setting: &Setting,
        config: &Config,
        given_up: &[Door],
    ) -> Option<Option<String>> {
        let is_given_up = given_up.iter().any(|door| door.setting().flag == setting.flag);
        if !is_given_up && !self.inner.is_changed.load(Ordering::Relaxed) {
            return None;
        }
        let (wanted, doors): (_, &[Door]) = match setting.flag {
            flag if flag == settings::TCP.flag => {
                (config.tcp.value, &[Door::Anybody, Door::Public])
            }
            flag if flag == settings::CONTAINERS.flag => {
                (config.containers.value.map(containers::address), &[Door::Containers])
            }
            flag if flag == settings::OLLAMA_PORT.flag && is_given_up => {
                (config.ollama.value, &[Door::Ollama])
            }
            _ => return None,
        };
        let open = self.inner.listeners.open();
        let waiting = self.inner.listeners.wanted();
        let waiting = waiting.iter().map(|one| (one.door, one.address()));
        let open: Vec<SocketAddr> = open
            .iter()
            .map(|place| (place.door, place.address))
            .chain(waiting)
            .filter(|(door, _)| doors.contains(door))
            .map(|(_, address)| address)
            .collect();
        let is_wanted = match wanted {
            Some(wanted) => open.contains(&wanted),
            None => open.is_empty(),
        };
        if is_wanted {
            return Some(None);
        }
        let open: Vec<String> = open.iter().map(SocketAddr::to_string).collect();
        Some(Some(if open.is_empty() { "off".to_owned() } else { open.join(" and ") }))
    }

    /// Settings were read again: what was to be opened and is wanted no more is given up, and
    /// answered; for the rest it is time to try once more.
    pub(super) async fn reconsider(&self, config: &Config) -> Vec<Door> {
        let listeners = &self.inner.listeners;
        let _one = listeners.change().await;
        let still = Wanted::of(config);
        let is_gone = |one: &Wanted| !still.iter().any(|other| other.is_alike(one));
        let mut gone = listeners.wanted();
        gone.retain(is_gone);
        listeners.unwant(is_gone);
        listeners.try_again();
        gone.into_iter().map(|one| one.door).collect()
    }

    fn running(&self) -> Result<Acceptor> {
        self.inner.listeners.acceptor().ok_or_else(|| {
            Error::new(ErrorKind::ShuttingDown, "the daemon is stopping; start it again first")
        })
    }

    async fn open(self, wish: TcpWish) -> Result<TcpChange> {
        let listeners = &self.inner.listeners;
        let _one = listeners.change().await;
        let acceptor = self.running()?;
        let mut wanted = vec![(Door::Anybody, wish.address)];
        if wish.containers {
            let at = ContainerAddress { ip: None, port: wish.address.port() };
            wanted.push((Door::Containers, containers::address(at)));
        }
        // All of them before any changes: one that is taken leaves everything as it is.
        let mut bound = Vec::new();
        for (door, address) in &wanted {
            if !listeners.places().iter().any(|place| place.is(*door, *address)) {
                bound.push((*door, self.bind(*address, *door).await?));
            }
        }
        self.secure(wanted.iter().filter(|(door, _)| door.speaks_tls()).map(|(_, at)| *at)).await?;
        let before = signature(&listeners.open());
        for (door, address) in wanted {
            // It is open now, or elsewhere.
            listeners.unwant(|one| one.door == door);
            // What one unit opens belongs together: 127.0.0.1 and [::1] of a port.
            let is_meant = |place: &Place| {
                let at = place.address;
                // Which address is Docker's may change: none of containers is named here.
                place.door == door
                    && (at == address || (place.inherited && door.is_meant(at, address, false)))
            };
            listeners.take_back(&acceptor, is_meant).await;
            let new = bound.iter().position(|(of, _)| *of == door).map(|at| bound.swap_remove(at));
            let keeping = new.as_ref().and_then(|(_, listener)| duplicate(listener));
            if let Some((_, listener)) = new {
                tracing::info!(%address, flag = door.flag(), "a listener was opened");
                listeners.serve(&acceptor, listener, door, false, Purpose::Open);
            }
            listeners.close(|place| place.door == door && !is_meant(place)).await;
            // Under the name that the old one has just left.
            if let Some(keeping) = keeping {
                listeners.keep(keeping.as_fd(), door);
            }
        }
        listeners.released(&wish.released).await;
        let changed = before != signature(&listeners.open());
        let address = wish.address.to_string();
        let mut choices = vec![Choice { door: Door::Anybody, address: Some(address) }];
        if wish.containers {
            let address = Some(format!(":{}", wish.address.port()));
            choices.push(Choice { door: Door::Containers, address });
        }
        self.remember(changed, choices).await
    }

    async fn close(self, containers_alone: bool, released: Vec<SocketAddr>) -> Result<TcpChange> {
        let listeners = &self.inner.listeners;
        let _one = listeners.change().await;
        self.running()?;
        let is_meant = |door: Door| match containers_alone {
            true => door == Door::Containers,
            false => door == Door::Containers || door.is_of_tcp(),
        };
        let given_up = listeners.unwant(|one| is_meant(one.door));
        let closed = listeners.close(|place| is_meant(place.door)).await;
        listeners.released(&released).await;
        let mut choices = vec![Choice { door: Door::Containers, address: None }];
        if !containers_alone {
            choices.push(Choice { door: Door::Anybody, address: None });
        }
        self.remember(given_up || !closed.is_empty(), choices).await
    }

    /// Listens, or says what is in the way.
    async fn bind(&self, address: SocketAddr, door: Door) -> Result<TcpListener> {
        match listen::open_tcp(address, door) {
            Ok(listener) => Ok(listener),
            Err(DaemonError::Tcp { source, .. })
                if source.kind() == std::io::ErrorKind::AddrInUse =>
            {
                let own = self.inner.listeners.places();
                match own.iter().find(|place| place.is_in_the_way_of(address)) {
                    Some(own) => Err(taken(&own_place(address, own, &self.said()))),
                    None => Err(taken_by_another(address).await),
                }
            }
            Err(DaemonError::Tcp { source, .. }) => {
                let text = format!("cannot listen on {address}: {source}; nothing was changed");
                Err(Error::new(ErrorKind::InvalidValue, text).with_param("host"))
            }
            Err(other) => Err(Error::internal(other)),
        }
    }

    /// Has the certificate name the addresses before anybody connects there.
    async fn secure(&self, addresses: impl Iterator<Item = SocketAddr>) -> Result<()> {
        let Some(secured) = self.inner.secured.clone() else { return Ok(()) };
        let addresses: Vec<SocketAddr> = addresses.collect();
        let covered = tokio::task::spawn_blocking(move || secured.cover(&addresses)).await;
        covered.map_err(Error::internal)?.map_err(|problem| {
            let text =
                format!("no certificate for the new address: {problem}; nothing was changed");
            Error::new(ErrorKind::Internal, text)
        })
    }

    /// Writes the choices down. What was done stays done where that fails.
    async fn remember(&self, changed: bool, choices: Vec<Choice>) -> Result<TcpChange> {
        self.inner.is_changed.store(true, Ordering::Relaxed);
        let own = self.clone();
        let written = tokio::task::spawn_blocking(move || {
            let mut notes = own.notes(&choices);
            let (is_new, note) = own.write(&choices);
            notes.extend(note);
            TcpChange { state: own.state(), changed: changed || is_new, notes }
        });
        written.await.map_err(Error::internal)
    }

    /// Answers whether the file says something else than before, and what is to be said of it.
    fn write(&self, choices: &[Choice]) -> (bool, Option<String>) {
        let for_now = |problem: String| {
            (
                false,
                Some(format!("it holds until the daemon ends, but could not be kept: {problem}")),
            )
        };
        let Some(file) = &self.inner.file else {
            return for_now("there is no home directory".to_owned());
        };
        let said = |door: Door| kept(file, door.setting().key()).ok().flatten();
        let means = |door: Door| match (door, said(door)?) {
            (Door::Containers, text) => Some(text),
            (_, text) => Some(tcp_address(&text).map_or(text, |address| address.to_string())),
        };
        let is_public = |text: &String| is_for_others(text);
        let public = said(Door::Anybody).filter(is_public);
        let stays = |choice: &&Choice| {
            public.is_some() && choice.address.is_some() && choice.door.is_of_tcp()
        };
        let note = choices.iter().find(stays).map(|_| {
            format!(
                "it holds until the daemon ends: {}",
                public_stays(file, public.as_deref().unwrap_or_default())
            )
        });
        let choices: Vec<&Choice> = choices.iter().filter(|choice| !stays(choice)).collect();
        // To take back what nobody had said is no news.
        let is_new = choices.iter().any(|choice| means(choice.door) != choice.address);
        // Off is said, not left out: another file, or a socket that is passed, may say on. What
        // means the same already stays as its owner wrote it.
        let texts: Vec<(&str, Option<&str>)> = choices
            .iter()
            .filter(|choice| choice.address.is_none() || means(choice.door) != choice.address)
            .map(|choice| (choice.door.setting().key(), choice.address.as_deref().or(Some("off"))))
            .collect();
        match keep(file, &texts) {
            Ok(_) => (is_new, note),
            Err(problem) => for_now(KeepError::to_string(&problem)),
        }
    }

    /// What is worth knowing about choices that were carried out.
    fn notes(&self, choices: &[Choice]) -> Vec<String> {
        let all = self.inner.listeners.places();
        let (open, parked): (Vec<&Place>, Vec<&Place>) =
            all.iter().partition(|place| place.purpose == Purpose::Open);
        let mut notes: Vec<String> = parked
            .iter()
            .filter(|place| choices.iter().any(|choice| is_alike(choice.door, place.door)))
            .map(|place| {
                format!(
                    "who started the daemon opened {at} and holds it still: whoever connects there \
                     is disconnected at once",
                    at = place.address
                )
            })
            .collect();
        for (door, origin) in &self.inner.told {
            let choice = choices.iter().find(|choice| choice.door == *door);
            if let (Some(choice), Origin::Flag(name) | Origin::Env(name)) = (choice, origin) {
                let what = if choice.address.is_some() { "this" } else { "closing it" };
                notes.push(format!(
                    "the daemon was started with {name}, which will hold again at its next start: \
                     take that away for {what} to last"
                ));
            }
        }
        let closes_all =
            choices.iter().any(|choice| choice.door.is_of_tcp() && choice.address.is_none());
        for place in open.iter().filter(|place| closes_all && place.door == Door::Ollama) {
            let (at, flag) = (place.address, place.door.flag());
            notes.push(format!("{at}, for Ollama's clients, is open still: that is {flag}"));
        }
        notes
    }

    /// Where it is said what is closed.
    fn said(&self) -> String {
        let file = self.inner.file.as_ref().map(|file| file.display().to_string());
        file.unwrap_or_else(|| "its settings".to_owned())
    }

    fn place(&self, place: &Place) -> TcpPlace {
        let transport = match &self.inner.secured {
            Some(secured) if place.door.speaks_tls() => match secured.is_self_signed() {
                true => Transport::SelfSigned,
                false => Transport::Certificate,
            },
            Some(_) | None => Transport::Plain,
        };
        TcpPlace {
            address: place.address,
            audience: place.door.audience(),
            inherited: place.inherited,
            transport,
        }
    }
}

impl ListenerControl for TcpControl {
    fn state(&self) -> TcpState {
        let file = self.inner.file.clone();
        let key = settings::TCP.key();
        let kept = file.as_deref().and_then(|file| kept(file, key).ok().flatten());
        let kept = kept.map(|text| tcp_address(&text).map_or(text, |address| address.to_string()));
        let all = self.inner.listeners.places();
        let (open, parked): (Vec<&Place>, Vec<&Place>) =
            all.iter().partition(|place| place.purpose == Purpose::Open);
        let mut listeners: Vec<TcpPlace> = open.iter().map(|place| self.place(place)).collect();
        // The first one is what clients are told.
        listeners.sort_by_key(|place| match place.audience {
            Audience::Loopback if kept == Some(place.address.to_string()) => 0,
            Audience::Loopback if place.address.is_ipv4() => 1,
            Audience::Loopback => 2,
            Audience::Network => 3,
            Audience::Containers => 4,
            Audience::Ollama => 5,
        });
        let parked = parked.iter().map(|place| place.address).collect();
        let wanted = self.inner.listeners.wanted();
        let waiting = wanted.iter().map(|one| waiting(one, &all, &self.said())).collect();
        let settings_directory = self.inner.directory.clone();
        TcpState { listeners, waiting, parked, kept, settings_file: file, settings_directory }
    }

    // In tasks of their own: half a change is left behind by nobody who goes away meanwhile.
    fn open(&self, wish: TcpWish) -> BoxFuture<'_, Result<TcpChange>> {
        // What else is wanted may be free by now, too.
        self.inner.listeners.try_again();
        finished(tokio::spawn(Self::open(self.clone(), wish)))
    }

    fn close(
        &self,
        containers_alone: bool,
        released: Vec<SocketAddr>,
    ) -> BoxFuture<'_, Result<TcpChange>> {
        finished(tokio::spawn(Self::close(self.clone(), containers_alone, released)))
    }
}

fn finished(
    change: tokio::task::JoinHandle<Result<TcpChange>>,
) -> BoxFuture<'static, Result<TcpChange>> {
    change.map(|done| done.map_err(Error::internal)?).boxed()
}

/// Whether one choice is about both.
fn is_alike(one: Door, other: Door) -> bool {
    one.setting().flag == other.setting().flag
}

fn signature(open: &[Place]) -> Vec<SocketAddr> {
    let mut addresses: Vec<SocketAddr> = open.iter().map(|place| place.address).collect();
    addresses.sort();
    addresses
}

/// For the service manager, which may be given it after the listener has begun to be served.
fn duplicate(listener: &TcpListener) -> Option<OwnedFd> {
    let copy = listener.as_fd().try_clone_to_owned();
    copy.inspect_err(|error| tracing::warn!(%error, "a listener is not kept")).ok()
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind as IoErrorKind, Read as _, Write as _};
    use std::net::TcpStream;
    use std::time::Duration;

    use axum::Router;
    use axum::routing::get;
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;

    use super::super::activity::Activity;
    use super::super::connection::Server;
    use super::super::phase::Patience;
    use super::super::seats::Seats;
    use super::super::testing::{free, own_ip, trusting};
    use super::*;
    use crate::config::{Env, RawConfig, Tls, resolve};

    /// A daemon's listeners without the daemon.
    struct Bench {
        dir: tempfile::TempDir,
        config: Config,
        acceptor: Acceptor,
        listeners: TcpListeners,
        control: TcpControl,
    }

    impl Bench {
        fn new(tls: Option<Tls>) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let env = Env {
                runtime_dir: Some(dir.path().join("run")),
                data_dir: Some(dir.path().join("data")),
                config_dir: Some(dir.path().join("config")),
                ..Env::default()
            };
            let mut config = resolve(&RawConfig::default(), &env).unwrap();
            config.tls.value = tls;
            let secured = Secured::new(&config).unwrap();
            let server = Server {
                router: Router::new().route("/", get(async || "hello")),
                patience: Patience::default(),
                activity: Activity::default(),
                closing: CancellationToken::new(),
                killed: CancellationToken::new(),
            };
            let acceptor = Acceptor {
                server,
                connections: TaskTracker::new(),
                stop: CancellationToken::new(),
                seats: Seats::within(None),
                tls: secured.clone(),
            };
            let listeners = TcpListeners::default();
            listeners.start(&acceptor, false);
            let control = TcpControl::new(&config, listeners.clone(), secured);
            Self { dir, config, acceptor, listeners, control }
        }

        /// A listener that is there, and a copy of its socket that somebody else holds.
        fn serve(&self, door: Door, inherited: bool) -> (SocketAddr, std::net::TcpListener) {
            let listener = std::net::TcpListener::bind((own_ip(), 0)).unwrap();
            listener.set_nonblocking(true).unwrap();
            let held = listener.try_clone().unwrap();
            let address = listener.local_addr().unwrap();
            let listener = TcpListener::from_std(listener).unwrap();
            self.listeners.serve(&self.acceptor, listener, door, inherited, Purpose::Open);
            (address, held)
        }

        async fn open(&self, address: SocketAddr) -> Result<TcpChange> {
            let wish = TcpWish { address, containers: false, released: Vec::new() };
            ListenerControl::open(&self.control, wish).await
        }

        async fn close(&self) -> TcpChange {
            ListenerControl::close(&self.control, false, Vec::new()).await.unwrap()
        }

        fn file(&self) -> String {
            std::fs::read_to_string(self.dir.path().join("config/modeld/config.toml")).unwrap()
        }
    }

    /// What is answered there: a status line, nothing, or the kind of the error.
    async fn ask(address: SocketAddr) -> std::result::Result<String, IoErrorKind> {
        let asked = tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(Duration::from_secs(30)))?;
            stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer.lines().next().unwrap_or_default().to_owned())
        });
        asked.await.unwrap().map_err(|error: std::io::Error| error.kind())
    }

    fn ok() -> std::result::Result<String, IoErrorKind> {
        Ok("HTTP/1.1 200 OK".to_owned())
    }

    /// The reset may come while the request is being written, or after.
    fn is_turned_away(answer: &std::result::Result<String, IoErrorKind>) -> bool {
        matches!(answer, Err(IoErrorKind::ConnectionReset | IoErrorKind::BrokenPipe))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_somebody_else_holds_turns_clients_away_until_it_is_taken_back() {
        let bench = Bench::new(None);
        let (address, _held) = bench.serve(Door::Anybody, true);
        assert_eq!(ask(address).await, ok());
        let closed = bench.close().await;
        assert!(closed.changed && closed.state.listeners.is_empty());
        assert_eq!(closed.state.parked, [address]);
        assert!(closed.notes.iter().any(|note| note.contains("disconnected at once")));
        for _ in 0..3 {
            let answer = ask(address).await;
            assert!(is_turned_away(&answer), "{answer:?}");
        }
        assert!(bench.file().contains("tcp = false"), "{}", bench.file());
        assert!(!bench.close().await.changed);
        let opened = bench.open(address).await.unwrap();
        assert!(opened.changed && opened.state.parked.is_empty());
        assert!(opened.state.listeners.iter().all(|place| place.inherited));
        assert_eq!(ask(address).await, ok());
        assert!(!bench.open(address).await.unwrap().changed);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_move_parks_what_somebody_else_holds_and_comes_back_without_it() {
        let bench = Bench::new(None);
        let ((first, held), second) = (bench.serve(Door::Anybody, true), free());
        let moved = bench.open(second).await.unwrap();
        assert_eq!((moved.state.parked, moved.changed), (vec![first], true));
        assert!(is_turned_away(&ask(first).await));
        assert_eq!(ask(second).await, ok());
        assert_eq!(bench.open(first).await.unwrap().state.parked, []);
        assert_eq!(ask(first).await, ok());
        assert_eq!(ask(second).await, Err(IoErrorKind::ConnectionRefused));
        // Its holder is told to let go, and so does the daemon.
        bench.open(second).await.unwrap();
        drop(held);
        let (other, _other) = bench.serve(Door::Ollama, true);
        bench.listeners.close(|place| place.door == Door::Ollama).await;
        let wish = TcpWish { address: second, containers: false, released: vec![first] };
        let released = ListenerControl::open(&bench.control, wish).await.unwrap();
        assert_eq!(released.state.parked, [other], "what another holds still stays closed");
        assert!(is_turned_away(&ask(other).await));
        assert_eq!(ask(first).await, Err(IoErrorKind::ConnectionRefused));
    }

    #[tokio::test]
    async fn what_its_holder_has_closed_is_the_daemons_alone() {
        let bench = Bench::new(None);
        let (address, held) = bench.serve(Door::Anybody, true);
        drop(held);
        assert!(bench.listeners.are_inherited());
        let wish = TcpWish { address, containers: false, released: vec![address] };
        let opened = ListenerControl::open(&bench.control, wish).await.unwrap();
        assert!(opened.state.listeners.iter().all(|place| !place.inherited), "{opened:?}");
        assert!(!bench.listeners.are_inherited());
        // Then it can be closed altogether.
        assert_eq!(bench.close().await.state.parked, []);
        assert_eq!(ask(address).await, Err(IoErrorKind::ConnectionRefused));
    }

    #[tokio::test]
    async fn a_move_to_another_address_of_the_port_leaves_the_old_one() {
        let bench = Bench::new(None);
        let (old, _held) = bench.serve(Door::Anybody, true);
        let new = SocketAddr::new(own_ip().into(), old.port());
        let moved = bench.open(new).await.unwrap();
        assert_eq!(moved.state.parked, [old]);
        let open: Vec<SocketAddr> =
            moved.state.listeners.iter().map(|place| place.address).collect();
        assert_eq!(open, [new]);
    }

    #[tokio::test]
    async fn they_are_there_while_they_are_paused() {
        let bench = Bench::new(None);
        let (address, _held) = bench.serve(Door::Anybody, false);
        let listeners = bench.listeners.clone();
        let pausing = tokio::spawn(async move { listeners.pause().await });
        while !pausing.is_finished() {
            tokio::task::yield_now().await;
            let state = bench.control.state();
            assert_eq!(state.listeners.first().map(|place| place.address), Some(address));
            assert!(!bench.listeners.are_inherited());
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_change_is_done_as_a_whole_though_nobody_waits_for_it() {
        let bench = Bench::new(None);
        let address = free();
        let busy = bench.listeners.change().await;
        let asked = bench.open(address);
        assert!(asked.now_or_never().is_none(), "it waits for the other change");
        let mut moved = bench.listeners.moves();
        drop(busy);
        let done = tokio::time::timeout(Duration::from_secs(60), moved.changed()).await;
        done.expect("it was left undone").unwrap();
        assert_eq!(ask(address).await, ok());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_public_listener_stays_beside_one_on_loopback() {
        let bench = Bench::new(None);
        let ((public, _), (ollama, _)) =
            (bench.serve(Door::Public, false), bench.serve(Door::Ollama, false));
        let address = free();
        let opened = bench.open(address).await.unwrap();
        let first = opened.state.listeners.first().unwrap();
        assert_eq!((first.address, first.audience), (address, Audience::Loopback));
        assert_eq!(opened.state.listeners.len(), 3);
        for address in [public, ollama, address] {
            assert_eq!(ask(address).await, ok(), "{address}");
        }
        // Its own ports are no other program's.
        for (taken, says) in [(public, "whoever has a token"), (ollama, "--ollama-port")] {
            let refused = bench.open(taken).await.unwrap_err();
            assert_eq!(refused.kind, ErrorKind::Conflict);
            assert!(refused.message.contains(says), "{}", refused.message);
            assert!(!refused.message.contains("pid"), "{}", refused.message);
        }
        let closed = bench.close().await;
        let left: Vec<SocketAddr> =
            closed.state.listeners.iter().map(|place| place.address).collect();
        assert_eq!(left, [ollama]);
        assert!(closed.notes.iter().any(|note| note.contains("--ollama-port")), "{closed:?}");
        assert_eq!(ask(public).await, Err(IoErrorKind::ConnectionRefused));
    }

    #[tokio::test]
    async fn what_means_the_same_stays_as_it_is_written() {
        let bench = Bench::new(None);
        let address = free();
        let said = format!("tcp = \"{}:0{}\" # mine\n", address.ip(), address.port());
        std::fs::create_dir_all(bench.dir.path().join("config/modeld")).unwrap();
        std::fs::write(bench.dir.path().join("config/modeld/config.toml"), &said).unwrap();
        let opened = bench.open(address).await.unwrap();
        assert_eq!(opened.state.kept, Some(address.to_string()));
        assert_eq!(bench.file(), said);
        assert!(!bench.open(address).await.unwrap().changed);
    }

    #[tokio::test]
    async fn an_address_for_other_machines_is_not_written_over() {
        let bench = Bench::new(None);
        let said = "tcp = \"0.0.0.0:12434\"\n";
        std::fs::create_dir_all(bench.dir.path().join("config/modeld")).unwrap();
        std::fs::write(bench.dir.path().join("config/modeld/config.toml"), said).unwrap();
        let opened = bench.open(free()).await.unwrap();
        assert!(opened.notes.iter().any(|note| note.contains("0.0.0.0:12434")), "{opened:?}");
        assert_eq!(bench.file(), said);
        // What else was wished is kept.
        let choices = [
            Choice { door: Door::Anybody, address: Some(free().to_string()) },
            Choice { door: Door::Containers, address: Some(":9000".to_owned()) },
        ];
        let (is_new, note) = bench.control.write(&choices);
        assert!(is_new && note.is_some_and(|note| note.contains("0.0.0.0:12434")));
        assert_eq!(bench.file(), format!("{said}containers = \":9000\"\n"));
        bench.close().await;
        assert!(bench.file().starts_with("tcp = false\n"), "{}", bench.file());
    }

    #[tokio::test]
    async fn what_holds_is_known_to_a_reload() {
        let bench = Bench::new(None);
        let address = free();
        let holding = |wanted: Option<SocketAddr>| {
            let mut config = bench.config.clone();
            config.tcp.value = wanted;
            bench.control.holding(&settings::TCP, &config, &[])
        };
        assert_eq!(holding(Some(address)), None, "nothing was changed at run time");
        bench.open(address).await.unwrap();
        assert_eq!(holding(Some(address)), Some(None));
        assert_eq!(holding(None), Some(Some(address.to_string())));
        bench.close().await;
        assert_eq!(holding(None), Some(None));
        assert_eq!(holding(Some(address)), Some(Some("off".to_owned())));
        assert_eq!(bench.control.holding(&settings::LOG, &bench.config, &[]), None);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_certificate_names_addresses_that_are_opened_later() {
        let bench = Bench::new(Some(Tls::SelfSigned));
        let (late, old) = (free(), free());
        let authority =
            super::super::authority_certificate(&bench.dir.path().join("config/modeld")).unwrap().0;
        for address in [old, late] {
            let opened = bench.open(address).await.unwrap();
            assert_eq!(opened.state.listeners[0].transport, Transport::SelfSigned);
            handshake(&authority, address).await.unwrap();
        }
    }

    async fn handshake(authority: &str, address: SocketAddr) -> std::io::Result<()> {
        let stream = tokio::net::TcpStream::connect(address).await?;
        trusting(authority).connect(address.ip().into(), stream).await.map(drop)
    }
}
