//! The seam to whoever holds the sockets: listeners that are opened and closed while the daemon runs.

use std::net::SocketAddr;
use std::path::PathBuf;

use futures_util::future::BoxFuture;

use crate::domain::Result;

/// Opens and closes TCP listeners of the running daemon, and keeps the choice for the next one.
pub trait ListenerControl: Send + Sync {
    /// What is open. Reads the settings file, which blocks for a moment.
    fn state(&self) -> TcpState;

    /// Opens what is wished and keeps it. Where a listener of the kind is open at another address,
    /// the new one is opened first. What is served on an old one ends normally. It is done as a
    /// whole, also where the future is dropped.
    fn open(&self, wish: TcpWish) -> BoxFuture<'_, Result<TcpChange>>;

    /// Closes the listeners of `--tcp` and for containers (or those for containers alone), and keeps
    /// that they are off. What is served on them ends normally. `released`: as in [`TcpWish`]. As a
    /// whole, likewise.
    fn close(
        &self,
        containers_alone: bool,
        released: Vec<SocketAddr>,
    ) -> BoxFuture<'_, Result<TcpChange>>;
}

/// What is to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpWish {
    /// Where on loopback.
    pub address: SocketAddr,
    /// Whether for containers as well, at the same port.
    pub containers: bool,
    /// Where who passed sockets has closed them since: nobody has to be turned away there any more,
    /// and what is open there is the daemon's alone.
    pub released: Vec<SocketAddr>,
}

/// What is open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TcpState {
    /// The listeners, the one first that clients are told of.
    pub listeners: Vec<TcpPlace>,
    /// What the settings want and could not be opened yet.
    pub waiting: Vec<TcpWaiting>,
    /// Where who connects is disconnected at once, because somebody else holds the socket.
    pub parked: Vec<SocketAddr>,
    /// What the settings file says about `--tcp`, as an address if it is one.
    pub kept: Option<String>,
    /// That file.
    pub settings_file: Option<PathBuf>,
    /// Where the daemon keeps its own files besides the models: settings, tokens, logins.
    pub settings_directory: Option<PathBuf>,
}

/// One listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpPlace {
    /// Where; all addresses of this machine, where it is unspecified.
    pub address: SocketAddr,
    /// For whom.
    pub audience: Audience,
    /// Whether the service manager opened it, and goes on to hold it.
    pub inherited: bool,
    /// What is spoken there.
    pub transport: Transport,
}

/// A listener that is to be opened as soon as it can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpWaiting {
    /// Where.
    pub address: SocketAddr,
    /// For whom.
    pub audience: Audience,
    /// The key of the setting that wants it.
    pub setting: &'static str,
    /// Who says so: a place in a file, a variable, a flag.
    pub origin: String,
    /// What is in the way, as a sentence that begins with the address.
    pub problem: String,
}

/// Whom a TCP listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// This machine.
    Loopback,
    /// Other machines, with a token.
    Network,
    /// Clients of Ollama on this machine.
    Ollama,
    /// Containers on this machine.
    Containers,
}

/// What is spoken on a TCP listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// HTTP.
    Plain,
    /// HTTPS with a certificate of modeld's own authority.
    SelfSigned,
    /// HTTPS with a certificate of its owner's.
    Certificate,
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
