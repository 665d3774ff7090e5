use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use super::containers::ContainerAddress;
use super::registries::{Mirror, SignatureKey};

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The command line; the flag's name.
    Flag(&'static str),
    /// An environment variable; its name.
    Env(&'static str),
    /// A settings file.
    File {
        /// Which one.
        path: &'static Path,
        /// Where in it, from 1.
        line: usize,
    },
    /// Nobody said anything.
    Default,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flag(name) | Self::Env(name) => f.write_str(name),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value and where it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Set<T> {
    /// The value that holds.
    pub value: T,
    /// Who said so.
    pub origin: Origin,
}

/// Where a certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tls {
    /// modeld's own authority makes it.
    SelfSigned,
    /// Files of the owner.
    Files {
        /// The certificate and those that lead to its authority, in PEM.
        cert: PathBuf,
        /// Its private key, in PEM.
        key: PathBuf,
    },
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One readable line each.
    Text,
    /// One JSON object each.
    Json,
}

/// Everything that `modeld serve` can be told; all of it valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The Unix socket; an absolute path short enough for the kernel.
    pub socket: Set<PathBuf>,
    /// A group that may use the socket, by name or number.
    pub socket_group: Set<Option<String>>,
    /// A TCP listener beside it; one that other machines reach needs tokens.
    pub tcp: Set<Option<SocketAddr>>,
    /// Whether every request over TCP needs a token.
    pub require_token: Set<bool>,
    /// What the TCP listener shows for itself; `None`: it does not speak TLS.
    pub tls: Set<Option<Tls>>,
    /// Another one for containers.
    pub containers: Set<Option<ContainerAddress>>,
    /// A TCP listener for Ollama's clients, on a loopback address.
    pub ollama: Set<Option<SocketAddr>>,
    /// Origins of web pages that may ask over TCP, `*` for anything.
    pub origins: Set<Vec<String>>,
    /// The root of the model store; an absolute path.
    pub models_path: Set<PathBuf>,
    /// How long an idle model stays loaded; `None`: for ever.
    pub keep_alive: Set<Option<Duration>>,
    /// Waiting requests per model.
    pub max_queue: Set<usize>,
    /// Waiting prompt tokens per model.
    pub max_queue_tokens: Set<u64>,
    /// The tokens of context that a model gets where nobody says another number.
    pub context: Set<u32>,
    /// Pulls at once, and pushes.
    pub max_pulls: Set<NonZeroUsize>,
    /// Whether a request for a model that is not in the store pulls it.
    pub auto_pull: Set<bool>,
    /// How long running answers may go on after the daemon was told to stop.
    pub grace: Set<Duration>,
    /// How long it goes on where nobody uses it; `None`: for ever.
    pub idle_exit: Set<Option<Duration>>,
    /// Mirrors of registries, in the order in which they are asked.
    pub registry_mirrors: Set<Vec<Mirror>>,
    /// Registries that speak plain HTTP.
    pub insecure_registries: Set<Vec<String>>,
    /// Hosts that may have private addresses although only an answer named them.
    pub registry_private_hosts: Set<Vec<String>>,
    /// PEM files with further certificate authorities.
    pub registry_ca: Set<Vec<PathBuf>>,
    /// The Hugging Face Hub, or what stands in for it.
    pub hub_url: Set<Url>,
    /// Whose signatures the models of which repositories must have.
    pub signature_keys: Set<Vec<SignatureKey>>,
    /// Where modeld keeps its own files besides the models: registry logins. `None` without a home.
    pub config_dir: Option<PathBuf>,
    /// The settings file that commands change; `None`: there is no place for one.
    pub settings_file: Option<PathBuf>,
    /// The home directory; where Docker's and other tools' files are. `None` where there is none.
    pub home: Option<PathBuf>,
    /// Which log lines are written; known to parse.
    pub log: Set<String>,
    /// How they look.
    pub log_format: Set<LogFormat>,
    /// The file that keeps them; `None`: none does.
    pub log_file: Set<Option<PathBuf>>,
    /// Whether processes that crash may leave their memory behind.
    pub core_dumps: Set<bool>,
    /// Whether requests and answers are kept in memory for their owner to read.
    pub record_requests: Set<bool>,
    /// Whether anything is counted.
    pub metrics: Set<bool>,
    /// Whether they carry the time; not under journald, which has its own. Not a setting.
    pub log_time: bool,
    /// What of the environment has no effect although other programs know it, in sentences.
    pub notes: Vec<String>,
}
