use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, getpgid};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::Server;
use super::containers;
use crate::api::{ListenerClass, PeerInfo};
use crate::config::settings;

/// Connections on all TCP listeners together. The Unix socket has no such cap, so that a flood
/// from a browser cannot lock the owner out.
pub(super) const MAX_TCP: usize = 1024;

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
    pub tcp_places: Arc<Semaphore>,
}

impl Acceptor {
    /// Serves a Unix socket: our own user and root alone. Gives it back when told to stop; what was
    /// accepted is being served then.
    pub(super) async fn unix(self, listener: UnixListener) -> UnixListener {
        let owner = rustix::process::geteuid().as_raw();
        let mut trouble = Trouble::default();
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return listener,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    trouble.over();
                    if let Some(peer) = identify(&stream, owner) {
                        let served = self.server.clone().serve(stream, ListenerClass::Unix, peer);
                        self.connections.spawn(served);
                    }
                }
                Err(error) => trouble.wait(&error, &self.stop).await,
            }
        }
    }

    /// Serves a TCP socket. A place is taken before accepting: what is over the cap waits in the
    /// kernel's backlog. Gives the socket back as [`Acceptor::unix`] does.
    pub(super) async fn tcp(self, listener: TcpListener, door: Door) -> TcpListener {
        let mut trouble = Trouble::default();
        loop {
            let accepted = async {
                let place = Arc::clone(&self.tcp_places).acquire_owned().await;
                (place, listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                () = self.stop.cancelled() => return listener,
                accepted = accepted => accepted,
            };
            match accepted.and_then(|(stream, remote)| Ok((tuned(&stream)?, remote, stream))) {
                Ok((local, remote, stream)) => {
                    trouble.over();
                    let class = door.class(local);
                    if door == Door::Containers && !is_container(remote.ip()) {
                        continue;
                    }
                    let served = self.server.clone().serve(stream, class, PeerInfo::Tcp { remote });
                    self.connections.spawn(async move {
                        let _place = place;
                        served.await;
                    });
                }
                Err(error) => trouble.wait(&error, &self.stop).await,
            }
        }
    }
}

/// Whom a TCP listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// Whoever reaches it.
    Anybody,
    /// Clients of Ollama.
    Ollama,
    /// Peers in the network of a bridge.
    Containers,
}

impl Door {
    /// Who comes through it, to the local address of the connection.
    fn class(self, local: SocketAddr) -> ListenerClass {
        match self {
            Self::Anybody => ListenerClass::Tcp { local },
            Self::Ollama => ListenerClass::Ollama { local },
            Self::Containers => ListenerClass::Containers { local },
        }
    }

    /// What the user opens it with.
    pub(super) fn flag(self) -> &'static str {
        match self {
            Self::Anybody => settings::TCP.flag,
            Self::Ollama => settings::OLLAMA_PORT.flag,
            Self::Containers => settings::CONTAINERS.flag,
        }
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

/// Who is at the other end; `None`, which closes without an answer, for everybody but the owner
/// and root, whatever the mode bits of the socket say by now.
fn identify(stream: &UnixStream, owner: u32) -> Option<PeerInfo> {
    let credentials = match stream.peer_cred() {
        Ok(credentials) => credentials,
        Err(error) => {
            tracing::warn!(%error, "a connection without credentials was closed");
            return None;
        }
    };
    let uid = credentials.uid();
    if !may_connect(uid, owner) {
        tracing::warn!(uid, "a connection of another user was closed");
        return None;
    }
    // A process of another pid namespace shows as pid 0; one that has ended has no group.
    let group = credentials.pid().and_then(Pid::from_raw).and_then(|pid| getpgid(Some(pid)).ok());
    let pgid = group.and_then(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok());
    Some(PeerInfo::Unix { uid, pgid })
}

fn may_connect(uid: u32, owner: u32) -> bool {
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

    async fn wait(&mut self, error: &io::Error, stop: &CancellationToken) {
        if !is_exhaustion(error) {
            // The client went away between its connect and our accept.
            tracing::debug!(%error, "accept failed");
            return;
        }
        if !std::mem::replace(&mut self.0, true) {
            tracing::warn!(%error, "no connection can be accepted; trying again");
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(BACK_OFF) => {}
        }
    }
}

fn is_exhaustion(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_and_root_may_connect() {
        for (uid, owner, may) in
            [(1000, 1000, true), (0, 1000, true), (1001, 1000, false), (1000, 0, false)]
        {
            assert_eq!(may_connect(uid, owner), may, "uid {uid} at uid {owner}'s daemon");
        }
    }

    #[tokio::test]
    async fn a_peer_is_a_user_and_a_process_group() {
        let (here, _there) = UnixStream::pair().unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let group = u32::try_from(getpgid(None).unwrap().as_raw_nonzero().get()).unwrap();
        assert_eq!(identify(&here, uid), Some(PeerInfo::Unix { uid, pgid: Some(group) }));
        let stranger = identify(&here, uid.wrapping_add(1));
        assert_eq!(stranger.is_some(), uid == 0);
    }

    #[test]
    fn running_out_is_told_from_a_client_that_left() {
        for (errno, exhausted) in
            [(Errno::MFILE, true), (Errno::NFILE, true), (Errno::CONNABORTED, false)]
        {
            assert_eq!(is_exhaustion(&errno.into()), exhausted, "{errno:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn running_out_of_descriptors_backs_off() {
        let mut trouble = Trouble::default();
        let stop = CancellationToken::new();
        let start = tokio::time::Instant::now();
        trouble.wait(&Errno::MFILE.into(), &stop).await;
        assert_eq!(start.elapsed(), BACK_OFF);
        trouble.wait(&Errno::CONNABORTED.into(), &stop).await;
        assert_eq!(start.elapsed(), BACK_OFF);
    }
}
