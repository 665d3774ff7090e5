use tokio::net::UnixListener;
use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::accept::Acceptor;
use super::tcp_listeners::TcpListeners;

/// Sockets that are being accepted on, or not: those who connect meanwhile wait in the backlog.
pub(super) struct Doors {
    acceptor: Acceptor,
    closed: Vec<UnixListener>,
    open: Vec<JoinHandle<Option<UnixListener>>>,
    tcp: TcpListeners,
    /// While they are closed, no listener comes or goes.
    none_changes: Option<OwnedMutexGuard<()>>,
}

impl Doors {
    /// Those of these Unix sockets are not open yet, those over TCP are.
    pub(super) fn new(acceptor: Acceptor, closed: Vec<UnixListener>, tcp: TcpListeners) -> Self {
        Self { acceptor, closed, open: Vec::new(), tcp, none_changes: None }
    }

    /// Accepts, with one task for each socket.
    pub(super) fn open(&mut self) {
        self.acceptor.stop = CancellationToken::new();
        for listener in self.closed.drain(..) {
            self.open.push(tokio::spawn(self.acceptor.clone().unix(listener)));
        }
        self.tcp.resume();
        self.none_changes = None;
    }

    /// Accepts no more. When it returns, every connection that was accepted is being served, and
    /// every other one still waits. Where they are closed, nothing happens.
    pub(super) async fn close(&mut self) {
        self.acceptor.stop.cancel();
        for task in self.open.drain(..) {
            match task.await {
                Ok(listener) => self.closed.extend(listener),
                Err(error) => tracing::error!(%error, "a listener was lost"),
            }
        }
        if self.none_changes.is_none() {
            self.none_changes = Some(self.tcp.pause().await);
        }
    }

    /// Whether somebody else holds all of them, too, those included that were opened meanwhile.
    pub(super) fn are_managed(&self) -> bool {
        self.tcp.are_inherited()
    }

    /// Accepts no more and closes our descriptors; what others hold goes on listening. Whoever waits
    /// to open another one learns that the daemon stops.
    pub(super) async fn end(mut self) {
        self.close().await;
        self.tcp.end();
    }
}
