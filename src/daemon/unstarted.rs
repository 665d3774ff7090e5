//! What is said where the daemon cannot start and somebody else holds its sockets.
//!
//! Who connects there has it started. If it only ended, they would wait on, and have it started again
//! at once: a service manager gives up after some of that, the sockets too, and then nobody is there
//! when the cause is mended. So those who wait are told, for longer than a manager minds.

use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::accept::Acceptor;
use super::activation::Socket;
use super::activity::Activity;
use super::connection::Server;
use super::phase::Patience;
use super::seats::Seats;
use super::{Inherited, notify};
use crate::api;

/// For how long: the units of modeld allow 20 starts a minute.
const ATTEND: Duration = Duration::from_secs(4);
/// How long who came last may take to read it.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The sockets that were passed, a second time: for when the daemon does not come to serve them.
#[derive(Debug)]
pub struct Callers(Vec<Socket>);

impl Callers {
    /// Those who wait on these sockets, as far as there are descriptors for it.
    pub fn of(inherited: &[Inherited]) -> Self {
        let again = |one: &Inherited| match &one.socket {
            Socket::Unix(unix) => unix.try_clone().map(Socket::Unix),
            Socket::Tcp(tcp, door) => tcp.try_clone().map(|tcp| Socket::Tcp(tcp, *door)),
        };
        Self(inherited.iter().filter_map(|one| again(one).ok()).collect())
    }

    /// Answers everybody who connects, for some seconds or until the process is told to end, why
    /// there is no daemon. Back at once where nobody passed a socket.
    pub fn tell(self, reason: &str) {
        if self.0.is_empty() {
            return;
        }
        notify::status(&format!("cannot start: {reason}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if let Ok(runtime) = runtime {
            runtime.block_on(self.attend(reason));
        }
    }

    async fn attend(self, reason: &str) {
        let acceptor = Acceptor {
            server: Server {
                router: api::unstarted(reason),
                patience: Patience::default(),
                activity: Activity::default(),
                closing: CancellationToken::new(),
                killed: CancellationToken::new(),
            },
            connections: TaskTracker::new(),
            stop: CancellationToken::new(),
            seats: Seats::within(getrlimit(Resource::Nofile).current),
            tls: None,
        };
        for socket in self.0 {
            let own = acceptor.clone();
            match socket {
                Socket::Unix(unix) => {
                    let Ok(unix) = UnixListener::from_std(unix) else { continue };
                    tokio::spawn(async move { drop(own.unix(unix).await) });
                }
                Socket::Tcp(tcp, door) => {
                    let Ok(tcp) = TcpListener::from_std(tcp) else { continue };
                    tokio::spawn(async move { drop(own.tcp(tcp, door).await) });
                }
            }
        }
        let told = async {
            match signal(SignalKind::terminate()) {
                Ok(mut terminate) => drop(terminate.recv().await),
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            () = tokio::time::sleep(ATTEND) => {}
            () = told => {}
        }
        acceptor.stop.cancel();
        acceptor.server.closing.cancel();
        acceptor.connections.close();
        let _ = tokio::time::timeout(LAST_WORDS, acceptor.connections.wait()).await;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn who_waits_is_told_and_the_socket_is_empty_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let callers = Callers::of(&[Inherited::unix(listener.try_clone().unwrap()).unwrap()]);
        let ask = |path: &str| {
            let mut stream = UnixStream::connect(dir.path().join("s")).unwrap();
            write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            stream
        };
        let mut waiting = [ask("/models"), ask("/v1/models"), ask("/api/tags")];
        // One that says nothing keeps nobody.
        let _silent = UnixStream::connect(&path).unwrap();
        callers.tell("config.toml:3: no such key");
        let answers = waiting.each_mut().map(|stream| {
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 10"));
            answer.split("\r\n\r\n").nth(1).unwrap().to_owned()
        });
        let said = "modeld cannot start: config.toml:3: no such key";
        assert_eq!(answers[0].trim_end(), said);
        assert!(answers[1].contains("\"type\":\"server_error\"") && answers[1].contains(said));
        assert!(answers[2].starts_with("{\"error\":\"modeld cannot start"), "{}", answers[2]);
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err(), "nobody waits on");
    }
}
