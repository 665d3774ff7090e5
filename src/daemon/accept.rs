use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, getpgid};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::Server;
use super::door::Door;
use super::phase::LATE_FIRST;
use super::seats::Seats;
use super::secured::Secured;
use super::{containers, group, tls};
use crate::api::{ListenerClass, PeerInfo};

/// How long a client may take for its part of a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long to wait after the system ran out of descriptors or memory: long enough not to spin,
/// short enough to recover within a second.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Accepts on listeners until told to stop; dropping a listener closes our descriptor and nothing
/// else.
#[derive(Clone)]
pub(super) struct Acceptor {
    pub server: Server,
    pub connections: TaskTracker,
    pub stop: CancellationToken,
    /// How many connections over TCP there may be.
    pub seats: Arc<Seats>,
    /// What the listeners for everybody speak TLS with, if they do.
    pub tls: Option<Secured>,
}

impl Acceptor {
    /// Serves a Unix socket: our own user and root, and the group that may write to it. Gives it back
    /// when told to stop; what was accepted is being served then. `None`: it listens no more.
    pub(super) async fn unix(self, listener: UnixListener) -> Option<UnixListener> {
        let owner = rustix::process::geteuid().as_raw();
        let path = listener.local_addr().ok();
        // Once and for all: who makes the mode wider later has not asked us.
        let group = group::of_socket(path.as_ref().and_then(|address| address.as_pathname()));
        let mut trouble = Trouble::default();
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return Some(listener),
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    trouble.over();
                    if let Some((class, peer)) = identify(&stream, owner, group) {
                        self.connections.spawn(self.server.clone().serve(stream, class, peer));
                    }
                }
                Err(error) => trouble.wait(&error, &self.stop).await?,
            }
        }
    }

    /// Serves a TCP socket. A seat is taken before accepting: what is over the cap waits in the
    /// kernel's backlog. Gives the socket back as [`Acceptor::unix`] does.
    pub(super) async fn tcp(self, listener: TcpListener, door: Door) -> Option<TcpListener> {
        let mut trouble = Trouble::default();
        let share = self.seats.share();
        let tls = self.tls.as_ref().filter(|_| door.speaks_tls());
        loop {
            let accepted = async {
                let seat = share.seat().await;
                (seat, listener.accept().await)
            };
            let (seat, accepted) = tokio::select! {
                () = self.stop.cancelled() => return Some(listener),
                accepted = accepted => accepted,
            };
            match accepted {
                Ok((stream, remote)) => {
                    trouble.over();
                    let local = match tuned(&stream) {
                        Ok(local) => local,
                        Err(error) => {
                            tracing::debug!(%error, "a client was gone at once");
                            continue;
                        }
                    };
                    let class = door.class(local);
                    if door == Door::Containers && !is_container(remote.ip()) {
                        continue;
                    }
                    let server = self.server.clone().among(share.is_scarce());
                    let peer = PeerInfo::Tcp { remote };
                    let Some(tls) = tls.map(Secured::acceptor) else {
                        let served = server.serve(stream, class, peer);
                        self.connections.spawn(async move {
                            let _seat = seat;
                            served.await;
                        });
                        continue;
                    };
                    let present = server.activity.enter();
                    self.connections.spawn(async move {
                        let _seat = seat;
                        let secured = secured(&tls, stream, &server.closing, &server.killed).await;
                        match secured.map(|stream| server.serve(stream, class, peer)) {
                            Ok(served) => {
                                drop(present);
                                served.await;
                            }
                            Err(error) => tracing::debug!(%error, "no TLS with a client"),
                        }
                    });
                }
                Err(error) => trouble.wait(&error, &self.stop).await?,
            }
        }
    }
}

/// Accepts on a listener that is closed to clients while somebody else holds its socket as well: where
/// nobody accepted, they would wait in its backlog for an answer that never comes. Shutting it down
/// would do that, too, but to the other's socket (systemd gives up a unit whose socket was). Gives
/// it back when told to stop, as [`Acceptor::unix`] does.
pub(super) async fn turn_away(
    listener: TcpListener,
    stop: CancellationToken,
) -> Option<TcpListener> {
    let mut trouble = Trouble::default();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return Some(listener),
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                trouble.over();
                // Closed with a reset, which no client takes for an answer without content.
                let _ = rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
            }
            Err(error) => trouble.wait(&error, &stop).await?,
        }
    }
}

/// The connection with TLS around it. Whoever connected before the daemon began to close has as long
/// for it as others have for their first byte.
async fn secured(
    tls: &TlsAcceptor,
    stream: TcpStream,
    closing: &CancellationToken,
    killed: &CancellationToken,
) -> io::Result<TlsStream<TcpStream>> {
    let too_late = async {
        closing.cancelled().await;
        tokio::time::sleep(LATE_FIRST).await;
    };
    tokio::select! {
        done = timeout(HANDSHAKE, tls.accept(stream)) => done.unwrap_or_else(|_| Err(tls::too_slow())),
        () = too_late => Err(io::ErrorKind::ConnectionAborted.into()),
        () = killed.cancelled() => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}

/// Whoever is not is closed without an answer.
fn is_container(peer: IpAddr) -> bool {
    match containers::may_connect(peer) {
        Ok(true) => true,
        Ok(false) => {
            tracing::warn!(%peer, "a connection from outside of every bridge was closed");
            false
        }
        Err(error) => {
            tracing::warn!(%peer, %error, "a connection was closed: the bridges cannot be read");
            false
        }
    }
}

/// Small frames of a stream must not wait for each other.
fn tuned(stream: &TcpStream) -> io::Result<SocketAddr> {
    stream.set_nodelay(true)?;
    stream.local_addr()
}

/// Who is at the other end; `None`, which closes without an answer, for everybody but the owner,
/// root and members of the group, whatever the mode bits of the socket say by now.
fn identify(
    stream: &UnixStream,
    owner: u32,
    group: Option<u32>,
) -> Option<(ListenerClass, PeerInfo)> {
    let credentials = match stream.peer_cred() {
        Ok(credentials) => credentials,
        Err(error) => {
            tracing::warn!(%error, "a connection without credentials was closed");
            return None;
        }
    };
    let uid = credentials.uid();
    let is_member = |group| group::has_member(group, credentials.gid(), credentials.pid());
    let class = if is_owner(uid, owner) {
        ListenerClass::Unix
    } else if group.is_some_and(is_member) {
        ListenerClass::Group
    } else {
        tracing::warn!(uid, "a connection of another user was closed");
        return None;
    };
    // A process of another pid namespace shows as pid 0; one that has ended has no group.
    let group = credentials.pid().and_then(Pid::from_raw).and_then(|pid| getpgid(Some(pid)).ok());
    let pgid = group.and_then(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok());
    Some((class, PeerInfo::Unix { uid, pgid }))
}

fn is_owner(uid: u32, owner: u32) -> bool {
    uid == owner || uid == 0
}

/// Remembers that accepting fails, so that a minute without descriptors is one log line.
#[derive(Default)]
struct Trouble(bool);

impl Trouble {
    fn over(&mut self) {
        if std::mem::take(&mut self.0) {
            tracing::info!("connections are accepted again");
        }
    }

    /// Waits until it is worth trying again. `None`: it never is.
    async fn wait(&mut self, error: &io::Error, stop: &CancellationToken) -> Option<()> {
        match Fault::of(error) {
            Fault::Client => {
                tracing::debug!(%error, "accept failed");
                return Some(());
            }
            Fault::Listener => {
                tracing::warn!(%error, "a socket listens no more and is closed: it was shut down elsewhere");
                return None;
            }
            Fault::System => {}
        }
        if !std::mem::replace(&mut self.0, true) {
            tracing::warn!(%error, "no connection can be accepted; trying again");
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(BACK_OFF) => {}
        }
        Some(())
    }
}

/// What is to blame where nothing was accepted.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    /// The client or the way to it (accept(2) passes errors of the network on); the next one may do
    /// better.
    Client,
    /// The socket: somebody who holds it as well has shut it down.
    Listener,
    /// This process or the machine ran out of something, or what we know nothing of.
    System,
}

impl Fault {
    fn of(error: &io::Error) -> Self {
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::INVAL | Errno::BADF | Errno::NOTSOCK) => Self::Listener,
            Some(
                Errno::CONNABORTED
                | Errno::CONNRESET
                | Errno::PROTO
                | Errno::PERM
                | Errno::TIMEDOUT
                | Errno::NOPROTOOPT
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::OPNOTSUPP
                | Errno::INTR,
            ) => Self::Client,
            _ => Self::System,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_connected_in_time_may_still_agree_on_tls() {
        let dir = tempfile::tempdir().unwrap();
        let env = crate::config::Env {
            runtime_dir: Some(dir.path().join("run")),
            data_dir: Some(dir.path().join("data")),
            config_dir: Some(dir.path().join("config")),
            ..crate::config::Env::default()
        };
        let mut config =
            crate::config::resolve(&crate::config::RawConfig::default(), &env).unwrap();
        config.tls.value = Some(crate::config::Tls::SelfSigned);
        let tls = Secured::new(&config).unwrap().unwrap().acceptor();
        let authority =
            super::super::authority_certificate(&dir.path().join("config/modeld")).unwrap().0;
        let connector = super::super::testing::trusting(&authority);

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (closing, killed) = (CancellationToken::new(), CancellationToken::new());
        closing.cancel();
        for speaks in [true, false] {
            let stream = TcpStream::connect(address).await.unwrap();
            let (accepted, _) = listener.accept().await.unwrap();
            let ours = secured(&tls, accepted, &closing, &killed);
            if speaks {
                let theirs = connector.connect(address.ip().into(), stream);
                let (ours, theirs) = tokio::join!(ours, theirs);
                ours.unwrap();
                theirs.unwrap();
            } else {
                tokio::time::pause();
                let error = ours.await.unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
            }
        }
    }

    #[test]
    fn the_owner_and_root_are_owners() {
        for (uid, owner, may) in
            [(1000, 1000, true), (0, 1000, true), (1001, 1000, false), (1000, 0, false)]
        {
            assert_eq!(is_owner(uid, owner), may, "uid {uid} at uid {owner}'s daemon");
        }
    }

    #[tokio::test]
    async fn a_peer_is_a_user_and_a_process_group() {
        let (here, _there) = UnixStream::pair().unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let group = u32::try_from(getpgid(None).unwrap().as_raw_nonzero().get()).unwrap();
        let peer = PeerInfo::Unix { uid, pgid: Some(group) };
        assert_eq!(identify(&here, uid, None), Some((ListenerClass::Unix, peer)));
        let owner = uid.wrapping_add(1);
        let gid = rustix::process::getegid().as_raw();
        let stranger = identify(&here, owner, None);
        assert_eq!(stranger.is_some(), uid == 0);
        let member = identify(&here, owner, Some(gid)).map(|(class, _)| class);
        let class = if uid == 0 { ListenerClass::Unix } else { ListenerClass::Group };
        assert_eq!(member, Some(class));
        let other = identify(&here, owner, Some(gid.wrapping_add(12_345)));
        assert_eq!(other.is_some(), uid == 0);
    }

    #[test]
    fn running_out_is_told_from_a_client_that_left() {
        for (errno, fault) in [
            (Errno::MFILE, Fault::System),
            (Errno::NFILE, Fault::System),
            (Errno::IO, Fault::System),
            (Errno::CONNABORTED, Fault::Client),
            (Errno::INVAL, Fault::Listener),
        ] {
            assert_eq!(Fault::of(&errno.into()), fault, "{errno:?}");
        }
    }

    #[tokio::test]
    async fn a_socket_that_was_shut_down_elsewhere_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        rustix::net::shutdown(&listener, rustix::net::Shutdown::Both).unwrap();
        let gone = timeout(HANDSHAKE, turn_away(listener, CancellationToken::new())).await;
        assert!(gone.expect("it does not go on").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn running_out_of_descriptors_backs_off() {
        let mut trouble = Trouble::default();
        let stop = CancellationToken::new();
        let start = tokio::time::Instant::now();
        assert!(trouble.wait(&Errno::MFILE.into(), &stop).await.is_some());
        assert_eq!(start.elapsed(), BACK_OFF);
        assert!(trouble.wait(&Errno::CONNABORTED.into(), &stop).await.is_some());
        assert_eq!(start.elapsed(), BACK_OFF);
    }
}
