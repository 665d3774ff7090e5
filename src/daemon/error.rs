use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::Origin;
use crate::store::StoreError;

/// Why the daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Another daemon lives at this socket; it was left alone.
    #[error(
        "another daemon is already running at {}{}; stop it first, or choose another place with --socket",
        socket.display(),
        pid.map(|p| format!(" (pid {p})")).unwrap_or_default()
    )]
    AlreadyRunning {
        /// The contested socket.
        socket: PathBuf,
        /// The other process, where it is known.
        pid: Option<u32>,
    },
    /// Another daemon uses this store.
    #[error(
        "another daemon uses the models in {}; stop it first, or choose another place with \
         --models-path",
        root.display()
    )]
    StoreInUse {
        /// The store's root.
        root: PathBuf,
    },
    /// The socket's directory cannot be trusted.
    #[error(
        "the socket directory {} {problem}; only its owner may be able to write there: {advice}",
        path.display()
    )]
    UnsafeDirectory {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        advice: String,
    },
    /// Something that is not ours to remove sits where the socket belongs.
    #[error("{} {problem}; it was left alone, choose another place with --socket", path.display())]
    SocketTaken {
        /// The socket's path.
        path: PathBuf,
        /// What is there.
        problem: String,
    },
    /// A TCP listener could not be made.
    #[error("cannot listen on {address}: {source}; choose another port with {flag}")]
    Tcp {
        /// The wanted address.
        address: SocketAddr,
        /// Which flag says so.
        flag: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A descriptor that the service manager passed is of no use.
    #[error("the service manager passed descriptor {number}, which {problem}")]
    Inherited {
        /// Its number.
        number: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// An address that other machines reach, and nobody who may use it.
    #[error(
        "{from}: {address} is open to the network, where every request needs a token, and there is \
         none; make one first: modeld token create"
    )]
    NoTokens {
        /// The flag or variable that asks for it, or the socket that was passed.
        from: String,
        /// The address.
        address: SocketAddr,
    },
    /// The certificate of the TCP listener cannot be used.
    #[error("{setting}: {problem}")]
    Tls {
        /// The flag or variable that asks for TLS.
        setting: Origin,
        /// What is wrong, naming the file.
        problem: String,
    },
    /// Our own certificate authority cannot be used.
    #[error("{}: {problem}", path.display())]
    Authority {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// The group of the socket is not known.
    #[error("{problem}")]
    SocketGroup {
        /// Which one, and what to do.
        problem: String,
    },
    /// What registries are spoken to with cannot be used.
    #[error("{setting}: {problem}")]
    Registries {
        /// The flag or variable at fault.
        setting: String,
        /// What is wrong, naming the file.
        problem: String,
    },
    /// The system refused something.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was tried, with the path.
        doing: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The model store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl DaemonError {
    /// Whether another start would end the same way until a person changes a setting or what it
    /// names.
    pub fn needs_other_settings(&self) -> bool {
        match self {
            Self::UnsafeDirectory { .. }
            | Self::SocketTaken { .. }
            | Self::Inherited { .. }
            | Self::NoTokens { .. }
            | Self::Tls { .. }
            | Self::Authority { .. }
            | Self::SocketGroup { .. }
            | Self::Registries { .. } => true,
            // A port below 1024; one that is taken may be free again soon.
            Self::Tcp { source, .. } => source.kind() == ErrorKind::PermissionDenied,
            Self::Io { source, .. } => matches!(
                source.kind(),
                ErrorKind::PermissionDenied
                    | ErrorKind::NotADirectory
                    | ErrorKind::AlreadyExists
                    | ErrorKind::ReadOnlyFilesystem
            ),
            Self::Store(error) => error.needs_other_settings(),
            Self::AlreadyRunning { .. } | Self::StoreInUse { .. } => false,
        }
    }

    pub(super) fn io(doing: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self::Io { doing: doing.into(), source: source.into() }
    }
}
