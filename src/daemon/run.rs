use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::accept::{Acceptor, MAX_TCP};
use super::build::Bound;
use super::connection::Server;
use super::notify;

/// How long last events may take to reach their readers after the grace.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How a daemon ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Every stream was finished or got its last event.
    Drained,
    /// Somebody was still connected when the time was up.
    CutShort,
    /// It was told twice to stop.
    Forced,
}

impl Bound {
    /// Serves until `shutdown` asks for the end, then drains:
    ///
    /// 1. the listeners are closed, idle connections too;
    /// 2. transfers are stopped, what waits is refused, what runs may finish until the grace is over;
    /// 3. what still runs then ends with an error event, and has two seconds to be sent.
    ///
    /// Asked a second time, it returns at once.
    pub async fn run(self) -> Outcome {
        let shutdown = self.shutdown.clone();
        let acceptor = Acceptor {
            server: Server {
                router: self.router,
                patience: self.patience,
                closing: CancellationToken::new(),
                killed: CancellationToken::new(),
            },
            connections: TaskTracker::new(),
            stop: CancellationToken::new(),
            tcp_places: Arc::new(Semaphore::new(MAX_TCP)),
        };
        let places = self.listeners.addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (socket_file, lock) = self.listeners.serve(&acceptor);
        let status = format!("listening on {}", places.join(", "));
        tracing::info!("{status}");
        notify::ready(&status);
        let watchdog = tokio::spawn(notify::watchdog());

        shutdown.draining().cancelled().await;
        tracing::info!(grace_ms = self.grace.as_millis(), "stopping: finishing what runs");
        notify::stopping("finishing what runs");
        // New clients see that nobody is there rather than a socket that does not answer.
        drop(socket_file);
        acceptor.stop.cancel();
        acceptor.server.closing.cancel();
        acceptor.connections.close();
        let drained = async {
            tokio::join!(
                // At once: another pull goes on where this one stopped.
                self.transfers.close(),
                self.scheduler.drain(self.grace),
                acceptor.connections.wait()
            );
        };
        let deadline = self.grace.saturating_add(LAST_WORDS);
        let outcome = tokio::select! {
            in_time = tokio::time::timeout(deadline, drained) => match in_time {
                Ok(()) => Outcome::Drained,
                Err(_) => Outcome::CutShort,
            },
            () = shutdown.immediate().cancelled() => Outcome::Forced,
        };
        acceptor.server.killed.cancel();
        watchdog.abort();
        tracing::info!(?outcome, "stopped");
        drop((lock, self.store_lock));
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpStream, UnixStream};
    use tokio::sync::watch;

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
        passed.set_nonblocking(true).unwrap();
        let manager_side = passed.try_clone().unwrap();
        let shutdown = Shutdown::default();
        let inherited = vec![Inherited::Unix(passed)];
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
