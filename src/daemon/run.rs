use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::accept::Acceptor;
use super::activity::Activity;
use super::build::Bound;
use super::connection::Server;
use super::doors::Doors;
use super::idle::Use;
use super::listen::Address;
use super::notify;
use super::places::Places;
use super::seats::Seats;
use super::wanted::keep_trying;
use crate::config::settings;

/// How long last events may take to reach their readers after the grace.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long what follows may take: ending the workers, and the process itself.
const TIDYING: Duration = Duration::from_secs(5);

/// How a daemon ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Every stream was finished or got its last event.
    Drained,
    /// Somebody was still connected when the time was up.
    CutShort,
    /// It was told twice to stop.
    Forced,
    /// Nobody used it for as long as was said; the next connection starts another.
    Unused,
}

impl Bound {
    /// Serves until `shutdown` asks for the end, then drains:
    ///
    /// 1. the listeners are closed, idle connections too; who connected before is answered;
    /// 2. transfers are stopped, what waits is refused, what runs may finish until the grace is over;
    /// 3. what still runs then ends with an error event, and has two seconds to be sent.
    ///
    /// Asked a second time, it returns at once.
    ///
    /// Where all sockets belong to somebody who starts us again, and the settings say so, it also
    /// ends after a time without use; in that case everybody who connected is served first, however
    /// long that takes.
    pub async fn run(self) -> Outcome {
        let shutdown = self.shutdown.clone();
        let activity = Activity::default();
        let acceptor = Acceptor {
            server: Server {
                router: self.router,
                patience: self.patience,
                activity: activity.clone(),
                closing: CancellationToken::new(),
                killed: CancellationToken::new(),
            },
            connections: TaskTracker::new(),
            stop: CancellationToken::new(),
            seats: Seats::within(getrlimit(Resource::Nofile).current),
            tls: self.secured,
        };
        let Acceptor { server, connections, .. } = acceptor.clone();
        let (closing, killed) = (server.closing, server.killed);
        let usage = Use {
            activity,
            scheduler: self.scheduler.clone(),
            transfers: self.transfers.clone(),
            holds: self.holds,
        };
        let limit = self.idle_exit.filter(|_| self.listeners.managed);
        let tls_is_heard =
            self.listeners.addresses.iter().any(|address| matches!(address, Address::Tls(_)));
        let with_tls = acceptor.tls.is_some();
        let places = Places::new(&self.listeners.addresses, self.tcp.clone(), with_tls);
        let tcp = self.tcp.clone();
        let wants_tls = self.listeners.wants_tls();
        let (mut doors, (socket_file, lock)) = self.listeners.serve(acceptor, self.tcp);
        tracing::info!("{}", places.text());
        if self.idle_exit.is_some() && limit.is_none() {
            tracing::warn!(
                "{} is of no effect: a socket that the daemon opened itself ends with it, and \
                 nothing would start it again",
                settings::IDLE_EXIT.flag
            );
        }
        if with_tls && !tls_is_heard && !wants_tls {
            tracing::warn!(
                "{} is of no effect: nothing listens on TCP; {}, or modeld tcp enable, changes that",
                settings::TLS.flag,
                settings::TCP.flag
            );
        }
        notify::ready(&places.text());
        let watchdog = tokio::spawn(notify::watchdog());
        let telling = tokio::spawn(notify::tell_of(self.scheduler.clone(), places));
        tokio::spawn(keep_trying(tcp.clone()));
        if let Some(reloader) = self.reloader {
            tokio::spawn(reloader.run(shutdown.clone()));
        }

        let unused = nobody(&usage, limit, &mut doors, shutdown.draining()).await;
        telling.abort();
        let grace = self.grace.get();
        let mut doors = Some(doors);
        if unused {
            // They are closed. Who waits to change them is answered now: its connection is among
            // those that are waited for.
            if let Some(doors) = doors.take() {
                doors.end().await;
            }
            tracing::info!("nobody uses the daemon; it ends until somebody connects");
            // It is not told of the end yet: it would kill us soon, and who came in the last moment
            // may take long.
            notify::status("unused; the next connection starts it again");
            closing.cancel();
            connections.close();
            tokio::select! {
                () = connections.wait() => {}
                () = shutdown.draining().cancelled() => {}
            }
        } else {
            tracing::info!(grace_ms = grace.as_millis(), "stopping: finishing what runs");
        }
        let deadline = grace.saturating_add(LAST_WORDS);
        let at_most = deadline.saturating_add(TIDYING);
        if unused && !shutdown.draining().is_cancelled() {
            notify::stopping("unused; the next connection starts it again", at_most);
        } else {
            notify::stopping("finishing what runs", at_most);
        }
        // New clients see that nobody is there rather than a socket that does not answer.
        drop(socket_file);
        let left = async {
            // A change of listeners is finished first, and may be held up by a disk.
            if let Some(doors) = doors {
                doors.end().await;
            }
            closing.cancel();
            connections.close();
            connections.wait().await;
        };
        let drained = async {
            tokio::join!(
                // At once: another pull goes on where this one stopped.
                self.transfers.close(),
                self.scheduler.drain(grace),
                left
            );
        };
        let outcome = tokio::select! {
            in_time = tokio::time::timeout(deadline, drained) => match in_time {
                Ok(()) if unused => Outcome::Unused,
                Ok(()) => Outcome::Drained,
                Err(_) => Outcome::CutShort,
            },
            () = shutdown.immediate().cancelled() => Outcome::Forced,
        };
        killed.cancel();
        tcp.end();
        watchdog.abort();
        tracing::info!(?outcome, "stopped");
        drop((lock, self.store_lock));
        outcome
    }
}

/// Waits until nobody has used the daemon for `limit`, and answers true with the doors closed, or
/// until it is to stop. Somebody who came while they were closing keeps them open; who comes after
/// that waits for the next daemon.
async fn nobody(
    usage: &Use,
    limit: Option<Duration>,
    doors: &mut Doors,
    stop: &CancellationToken,
) -> bool {
    let Some(limit) = limit else {
        stop.cancelled().await;
        return false;
    };
    loop {
        let idle = async {
            usage.over_for(limit).await;
            // One that was opened while the daemon ran would end with us.
            while !doors.are_managed() {
                tokio::time::sleep(limit).await;
                usage.over_for(limit).await;
            }
        };
        tokio::select! {
            () = idle => {}
            () = stop.cancelled() => return false,
        }
        // A change of listeners that is stuck keeps them open. Who stops the daemon closes them
        // anyway, half closed or not.
        tokio::select! {
            () = doors.close() => {}
            () = stop.cancelled() => return false,
        }
        // What was opened while they closed would end with us.
        if usage.is_over() && doors.are_managed() {
            return true;
        }
        doors.open();
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpStream, UnixStream};
    use tokio::sync::watch;

    use super::super::tcp_listeners::TcpListeners;
    use super::super::{Address, Daemon, DaemonError, Inherited, Parts, Shutdown};
    use super::*;
    use crate::config::{Config, Env, RawConfig, Variables, resolve};
    use crate::domain::{Error, Result};
    use crate::engine::{BoxFuture, Engine, EngineFactory, LoadProgress};
    use crate::protocol::LoadSpec;

    struct NoEngines;

    impl EngineFactory for NoEngines {
        fn load(
            &self,
            _spec: LoadSpec,
            _progress: watch::Sender<LoadProgress>,
        ) -> BoxFuture<'_, Result<Arc<dyn Engine>>> {
            Box::pin(async { Err(Error::internal("no engines in this test")) })
        }
    }

    struct Place {
        dir: tempfile::TempDir,
        config: Config,
    }

    impl Place {
        fn new(raw: RawConfig) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let env = Env {
                runtime_dir: Some(dir.path().join("run")),
                data_dir: Some(dir.path().join("data")),
                ..Env::default()
            };
            let config = resolve(&raw, &env).unwrap();
            Self { dir, config }
        }

        fn socket(&self) -> &Path {
            &self.config.socket.value
        }

        async fn build(&self, shutdown: &Shutdown) -> std::result::Result<Bound, DaemonError> {
            self.build_with(shutdown, Vec::new()).await
        }

        async fn build_with(
            &self,
            shutdown: &Shutdown,
            inherited: Vec<Inherited>,
        ) -> std::result::Result<Bound, DaemonError> {
            let parts = Parts {
                engines: Arc::new(NoEngines),
                inherited,
                variables: Variables::default(),
                log: None,
                reload: None,
                log_control: crate::logbook::LogControl::idle("info"),
            };
            Daemon::build(&self.config, parts, shutdown.clone()).await
        }
    }

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

    async fn ask(socket: &Path) -> String {
        let mut stream = UnixStream::connect(socket).await.unwrap();
        stream.write_all(REQUEST).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn it_serves_drains_and_leaves_nothing_behind() {
        let place = Place::new(RawConfig::default());
        let shutdown = Shutdown::default();
        let running = tokio::spawn(place.build(&shutdown).await.unwrap().run());
        assert!(ask(place.socket()).await.starts_with("HTTP/1.1 200"));
        shutdown.ask();
        assert_eq!(running.await.unwrap(), Outcome::Drained);
        assert!(!place.socket().exists());
        place.build(&Shutdown::default()).await.unwrap();
    }

    #[tokio::test]
    async fn a_second_daemon_is_told_of_the_first_which_goes_on() {
        let place = Place::new(RawConfig::default());
        let first = Shutdown::default();
        let running = tokio::spawn(place.build(&first).await.unwrap().run());
        let error = place.build(&Shutdown::default()).await.err().unwrap();
        assert!(
            matches!(error, DaemonError::AlreadyRunning { pid: Some(p), .. } if p == std::process::id()),
            "{error}"
        );
        assert!(ask(place.socket()).await.starts_with("HTTP/1.1 200"));
        first.ask();
        running.await.unwrap();
    }

    #[tokio::test]
    async fn an_inherited_socket_is_served_and_left_in_place() {
        let place = Place::new(RawConfig::default());
        let path: PathBuf = place.dir.path().join("passed.sock");
        let passed = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let manager_side = passed.try_clone().unwrap();
        let shutdown = Shutdown::default();
        let inherited = vec![Inherited::unix(passed).unwrap()];
        let bound = place.build_with(&shutdown, inherited).await.unwrap();
        assert_eq!(bound.addresses(), [Address::Unix(Some(path.clone()))]);
        assert!(!place.socket().exists());
        let running = tokio::spawn(bound.run());
        assert!(ask(&path).await.starts_with("HTTP/1.1 200"));
        shutdown.ask();
        running.await.unwrap();
        // The manager's descriptor still listens: the next daemon finds who connects meanwhile.
        let _waiting = UnixStream::connect(&path).await.unwrap();
        manager_side.accept().unwrap();
    }

    /// A daemon on a socket of the test's own that ends after `idle` without use.
    fn passed(idle: &str) -> (Place, PathBuf, std::os::unix::net::UnixListener, Inherited) {
        let place = Place::new(RawConfig { idle_exit: Some(idle.into()), ..RawConfig::default() });
        let path = place.dir.path().join("passed.sock");
        let held = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let inherited = Inherited::unix(held.try_clone().unwrap()).unwrap();
        (place, path, held, inherited)
    }

    #[tokio::test]
    async fn nobody_uses_it_and_it_ends() {
        let (place, path, held, inherited) = passed("100ms");
        let bound = place.build_with(&Shutdown::default(), vec![inherited]).await.unwrap();
        let running = tokio::spawn(bound.run());
        assert!(ask(&path).await.starts_with("HTTP/1.1 200"));
        assert_eq!(running.await.unwrap(), Outcome::Unused);
        // Who comes now waits for the next one.
        let mut late = UnixStream::connect(&path).await.unwrap();
        late.write_all(REQUEST).await.unwrap();
        let again = Inherited::unix(held.try_clone().unwrap()).unwrap();
        let shutdown = Shutdown::default();
        let bound = place.build_with(&shutdown, vec![again]).await.unwrap();
        let running = tokio::spawn(bound.run());
        let mut answer = String::new();
        late.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        shutdown.ask();
        running.await.unwrap();
    }

    #[tokio::test]
    async fn whoever_is_connected_is_served_first() {
        let (place, path, _held, inherited) = passed("50ms");
        let bound = place.build_with(&Shutdown::default(), vec![inherited]).await.unwrap();
        let mut early = UnixStream::connect(&path).await.unwrap();
        let running = tokio::spawn(bound.run());
        // Many times as long as it may be unused: a connection that has said nothing yet is use.
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(!running.is_finished());
        early.write_all(REQUEST).await.unwrap();
        let mut answer = String::new();
        early.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(running.await.unwrap(), Outcome::Unused);
    }

    #[tokio::test]
    async fn a_connection_that_only_idles_does_not_keep_it() {
        let (place, path, _held, inherited) = passed("50ms");
        let bound = place.build_with(&Shutdown::default(), vec![inherited]).await.unwrap();
        let mut kept = UnixStream::connect(&path).await.unwrap();
        kept.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        assert_eq!(bound.run().await, Outcome::Unused);
        let mut answer = String::new();
        kept.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    #[tokio::test]
    async fn a_socket_of_its_own_is_not_left() {
        let raw = RawConfig { idle_exit: Some("10ms".into()), ..RawConfig::default() };
        let place = Place::new(raw);
        let shutdown = Shutdown::default();
        let running = tokio::spawn(place.build(&shutdown).await.unwrap().run());
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(ask(place.socket()).await.starts_with("HTTP/1.1 200"));
        shutdown.ask();
        assert_eq!(running.await.unwrap(), Outcome::Drained);
    }

    #[tokio::test]
    async fn tcp_is_served_beside_the_socket() {
        let place = Place::new(RawConfig { tcp: Some("0".into()), ..RawConfig::default() });
        let shutdown = Shutdown::default();
        let bound = place.build(&shutdown).await.unwrap();
        let [Address::Unix(_), Address::Tcp(address)] = *bound.addresses() else {
            panic!("{:?}", bound.addresses());
        };
        let running = tokio::spawn(bound.run());
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(REQUEST).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1"), "{answer}");
        assert!(ask(place.socket()).await.starts_with("HTTP/1.1 200"));
        shutdown.ask();
        running.await.unwrap();
    }

    #[tokio::test]
    async fn a_passed_socket_is_open_to_the_network_only_for_tokens() {
        let place = Place::new(RawConfig::default());
        let passed = || {
            // Bound, and nobody can connect yet.
            let any = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
            vec![Inherited::tcp(any, "tcp").unwrap()]
        };
        let error = place.build_with(&Shutdown::default(), passed()).await.err().unwrap();
        assert!(matches!(error, DaemonError::NoTokens { .. }), "{error}");
        let said = error.to_string();
        assert!(said.contains("a socket that was passed") && said.contains("0.0.0.0:"), "{said}");
        // One that is closed to clients needs none.
        let place = Place::new(RawConfig { tcp: Some("off".into()), ..RawConfig::default() });
        place.build_with(&Shutdown::default(), passed()).await.unwrap();
    }

    /// Whoever listens for clients elsewhere: a change of listeners, without what it changes.
    async fn change(tcp: TcpListeners) -> &'static str {
        let _one = tcp.change().await;
        if tcp.acceptor().is_some() { "changed" } else { "stopping" }
    }

    /// Ends a daemon that nobody uses, while a request comes at the last moment on a connection that
    /// was kept: what was answered to it.
    async fn changed_late() -> String {
        let (place, path, _held, inherited) = passed("50ms");
        let mut bound = place.build_with(&Shutdown::default(), vec![inherited]).await.unwrap();
        let tcp = bound.tcp.clone();
        let changed = tcp.clone();
        bound.router = Router::new()
            .route("/", get(async || "hello"))
            .route("/change", get(async move || change(changed).await));
        let mut kept = UnixStream::connect(&path).await.unwrap();
        kept.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let running = tokio::spawn(bound.run());
        let mut first = [0; 8];
        kept.read_exact(&mut first).await.unwrap();
        // From here on a request that was on its way may still come.
        while tcp.acceptor().is_some() {
            tokio::task::yield_now().await;
        }
        // Where it comes too late, the connection is gone.
        let asked = b"GET /change HTTP/1.1\r\nhost: localhost\r\n\r\n";
        let _ = kept.write_all(asked).await;
        let ended = tokio::time::timeout(Duration::from_secs(30), running).await;
        assert_eq!(ended.expect("it ends").unwrap(), Outcome::Unused);
        let mut answers = Vec::new();
        let _ = kept.read_to_end(&mut answers).await;
        String::from_utf8(answers).unwrap()
    }

    #[tokio::test]
    async fn a_change_that_comes_while_it_ends_unused_is_answered() {
        for _ in 0..20 {
            if changed_late().await.ends_with("stopping") {
                return;
            }
        }
        panic!("no request came in time");
    }

    #[tokio::test]
    async fn a_change_that_is_stuck_does_not_hold_up_the_end() {
        for (times, outcome) in [(1, Outcome::CutShort), (2, Outcome::Forced)] {
            let raw = RawConfig {
                grace: Some("0s".into()),
                tcp: Some("0".into()),
                ..RawConfig::default()
            };
            let place = Place::new(raw);
            let shutdown = Shutdown::default();
            let bound = place.build(&shutdown).await.unwrap();
            let _stuck = bound.tcp.change().await;
            let running = tokio::spawn(bound.run());
            assert!(ask(place.socket()).await.starts_with("HTTP/1.1 200"));
            tokio::time::pause();
            for _ in 0..times {
                shutdown.ask();
            }
            let ended = tokio::time::timeout(Duration::from_secs(60), running).await;
            assert_eq!(ended.expect("it ends").unwrap(), outcome);
            tokio::time::resume();
        }
    }

    #[tokio::test]
    async fn a_change_that_is_stuck_does_not_keep_an_unused_one_from_being_stopped() {
        let (place, _path, _held, inherited) = passed("50ms");
        let shutdown = Shutdown::default();
        let bound = place.build_with(&shutdown, vec![inherited]).await.unwrap();
        let _stuck = bound.tcp.change().await;
        tokio::time::pause();
        let running = tokio::spawn(bound.run());
        // By now it waits for the change.
        tokio::time::sleep(Duration::from_secs(1)).await;
        shutdown.ask();
        shutdown.ask();
        let ended = tokio::time::timeout(Duration::from_secs(60), running).await;
        assert_eq!(ended.expect("it ends").unwrap(), Outcome::Forced);
    }

    /// A daemon with one request that never ends on its own; returns once it is being served.
    async fn stuck(
        place: &Place,
        shutdown: &Shutdown,
    ) -> (tokio::task::JoinHandle<Outcome>, UnixStream) {
        let mut bound = place.build(shutdown).await.unwrap();
        let (began, mut served) = tokio::sync::mpsc::channel(1);
        bound.router = Router::new().route(
            "/",
            get(async move || {
                let _ = began.send(()).await;
                std::future::pending::<()>().await;
            }),
        );
        let running = tokio::spawn(bound.run());
        let mut stream = UnixStream::connect(place.socket()).await.unwrap();
        stream.write_all(REQUEST).await.unwrap();
        served.recv().await.unwrap();
        (running, stream)
    }

    #[tokio::test]
    async fn a_request_that_outlives_the_grace_is_cut() {
        let place = Place::new(RawConfig { grace: Some("0s".into()), ..RawConfig::default() });
        let shutdown = Shutdown::default();
        let (running, mut stream) = stuck(&place, &shutdown).await;
        tokio::time::pause();
        let start = tokio::time::Instant::now();
        shutdown.ask();
        assert_eq!(running.await.unwrap(), Outcome::CutShort);
        assert_eq!(start.elapsed().as_secs(), LAST_WORDS.as_secs());
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "");
    }

    #[tokio::test]
    async fn asked_twice_it_ends_at_once() {
        let place = Place::new(RawConfig { grace: Some("1h".into()), ..RawConfig::default() });
        let shutdown = Shutdown::default();
        let (running, _stream) = stuck(&place, &shutdown).await;
        shutdown.ask();
        shutdown.ask();
        assert_eq!(running.await.unwrap(), Outcome::Forced);
    }
}
