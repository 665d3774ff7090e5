//! The seam to whoever holds the sockets: listeners that are opened and closed while the daemon runs.

use std::net::SocketAddr;

use futures_util::future::BoxFuture;

use crate::domain::Result;

/// Opens and closes TCP listeners of the running daemon, and keeps the choice for the next one.
pub trait ListenerControl: Send + Sync {
    /// What is open. Reads the settings file, which blocks for a moment.
    fn state(&self) -> TcpState;

    /// Opens what is wished and keeps it. Where a listener of the kind is open at another address,
    /// the new one is opened first. What is served on an old one ends normally.
    fn open(&self, wish: TcpWish) -> BoxFuture<'_, Result<TcpChange>>;

    /// Closes the listeners on loopback and for containers (or those for containers alone), and
    /// takes the choice back. What is served on them ends normally.
    fn close(&self, containers_alone: bool) -> BoxFuture<'_, Result<TcpChange>>;
}

/// What is to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpWish {
    /// Where on loopback.
    pub address: SocketAddr,
    /// Whether for containers as well, at the same port.
    pub containers: bool,
}

/// What is open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TcpState {
    /// The listener on loopback.
    pub tcp: Option<SocketAddr>,
    /// Whether the service manager opened it, and goes on to hold it.
    pub inherited: bool,
    /// The one for containers.
    pub containers: Option<SocketAddr>,
    /// What the settings file says about the first.
    pub kept: Option<String>,
}

/// What became of a wish.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TcpChange {
    /// How it is now.
    pub state: TcpState,
    /// Whether anything is different.
    pub changed: bool,
    /// What is worth knowing, as sentences.
    pub notes: Vec<String>,
}
