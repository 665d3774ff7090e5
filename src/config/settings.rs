//! The table of settings: one constant each, so that a flag's help, the manual and the README say the
//! same.

/// One line of the table of settings, as help, manual and README show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// What it is called in messages.
    pub name: &'static str,
    /// The flag of `modeld serve`.
    pub flag: &'static str,
    /// The value's placeholder in help texts.
    pub value: &'static str,
    /// The environment variable.
    pub env: &'static str,
    /// What holds when nobody says anything.
    pub default: &'static str,
    /// What it does.
    pub meaning: &'static str,
}

impl Setting {
    /// The key in settings files: the flag without its hyphens.
    pub fn key(&self) -> &'static str {
        self.flag.trim_start_matches('-')
    }

    /// Whether a running daemon takes over another value when it is told to reload; else it needs a
    /// restart.
    pub fn reloads(&self) -> bool {
        RELOADED.contains(&self.flag)
    }
}

/// The settings that a running daemon can change.
const RELOADED: [&str; 10] = [
    ORIGIN.flag,
    KEEP_ALIVE.flag,
    MAX_QUEUE.flag,
    MAX_QUEUE_TOKENS.flag,
    CONTEXT.flag,
    MAX_PULLS.flag,
    AUTO_PULL.flag,
    GRACE.flag,
    LOG.flag,
    RECORD_REQUESTS.flag,
];

/// The socket.
pub const SOCKET: Setting = Setting {
    name: "socket",
    flag: "--socket",
    value: "PATH",
    env: "MODEL_RUNNER_SOCK",
    default: "$XDG_RUNTIME_DIR/modeld/modeld.sock",
    meaning: "The Unix socket to listen on",
};
/// The TCP listener.
pub const TCP: Setting = Setting {
    name: "tcp",
    flag: "--tcp",
    value: "[HOST:]PORT",
    env: "MODEL_RUNNER_PORT",
    default: "off",
    meaning: "Listen on TCP as well; the bare flag means 127.0.0.1:12434, and an address that other \
              machines reach needs tokens",
};
/// Tokens for everybody.
pub const REQUIRE_TOKEN: Setting = Setting {
    name: "require token",
    flag: "--require-token",
    value: "on|off",
    env: "MODELD_REQUIRE_TOKEN",
    default: "off",
    meaning: "Whether every request over TCP needs a token of `modeld token create`; the bare flag \
              means on; an address that other machines reach always does",
};
/// TLS of our own authority.
pub const TLS: Setting = Setting {
    name: "tls",
    flag: "--tls",
    value: "off|self-signed",
    env: "MODELD_TLS",
    default: "off",
    meaning: "Whether --tcp speaks TLS with a certificate of modeld's own authority, which `modeld \
              tls ca` prints",
};
/// A certificate.
pub const TLS_CERT: Setting = Setting {
    name: "tls cert",
    flag: "--tls-cert",
    value: "FILE",
    env: "MODELD_TLS_CERT",
    default: "",
    meaning: "A PEM file with a certificate and those that lead to its authority: --tcp speaks TLS \
              with it",
};
/// Its key.
pub const TLS_KEY: Setting = Setting {
    name: "tls key",
    flag: "--tls-key",
    value: "FILE",
    env: "MODELD_TLS_KEY",
    default: "",
    meaning: "A PEM file with the private key of --tls-cert",
};
/// The socket's group.
pub const SOCKET_GROUP: Setting = Setting {
    name: "socket group",
    flag: "--socket-group",
    value: "GROUP",
    env: "MODELD_SOCKET_GROUP",
    default: "",
    meaning: "A group whose members may use and list models on the Unix socket, by name or number",
};
/// The listener for containers.
pub const CONTAINERS: Setting = Setting {
    name: "containers",
    flag: "--containers",
    value: "[IP][:PORT]",
    env: "MODELD_CONTAINERS",
    default: "off",
    meaning: "Listen for containers as well, on the address of a bridge; the bare flag means that \
              of docker0 (172.17.0.1:12434)",
};
/// The listener for Ollama's clients.
pub const OLLAMA_PORT: Setting = Setting {
    name: "ollama port",
    flag: "--ollama-port",
    value: "[HOST:]PORT",
    env: "MODELD_OLLAMA_PORT",
    default: "off",
    meaning: "Listen on loopback TCP where Ollama's clients look; the bare flag means \
              127.0.0.1:11434",
};
/// Pages that may ask.
pub const ORIGIN: Setting = Setting {
    name: "origin",
    flag: "--origin",
    value: "ORIGIN",
    env: "DMR_ORIGINS",
    default: "",
    meaning: "Web pages that may use modeld over TCP besides those of this machine; * stands for \
              anything (https://*.example.com), several with commas; those of OLLAMA_ORIGINS are added",
};
/// The store.
pub const MODELS_PATH: Setting = Setting {
    name: "models path",
    flag: "--models-path",
    value: "DIR",
    env: "MODELS_PATH",
    default: "$XDG_DATA_HOME/modeld/models",
    meaning: "Where models are stored",
};
/// How long models stay.
pub const KEEP_ALIVE: Setting = Setting {
    name: "keep alive",
    flag: "--keep-alive",
    value: "DURATION",
    env: "MODELD_KEEP_ALIVE",
    default: "5m",
    meaning: "How long an idle model stays loaded: 30s, 5m, 1h30m; 0 unloads at once, -1 never",
};
/// The queue's length.
pub const MAX_QUEUE: Setting = Setting {
    name: "max queue",
    flag: "--max-queue",
    value: "N",
    env: "MODELD_MAX_QUEUE",
    default: "64",
    meaning: "How many requests may wait for one model; more are refused with 429",
};
/// The queue's weight.
pub const MAX_QUEUE_TOKENS: Setting = Setting {
    name: "max queue tokens",
    flag: "--max-queue-tokens",
    value: "N",
    env: "MODELD_MAX_QUEUE_TOKENS",
    default: "1048576",
    meaning: "How many prompt tokens may wait for one model; more are refused with 429",
};
/// The context.
pub const CONTEXT: Setting = Setting {
    name: "context",
    flag: "--context",
    value: "TOKENS",
    env: "MODELD_CONTEXT",
    default: "32768",
    meaning: "The context of a model where neither a request nor its configuration says another; less where the model, its package or the memory says so",
};
/// Pulls at once.
pub const MAX_PULLS: Setting = Setting {
    name: "max pulls",
    flag: "--max-pulls",
    value: "N",
    env: "MODELD_MAX_PULLS",
    default: "3",
    meaning: "How many pulls, and how many pushes, run at once; more wait",
};
/// Pulling by itself.
pub const AUTO_PULL: Setting = Setting {
    name: "auto pull",
    flag: "--auto-pull",
    value: "on|off",
    env: "MODELD_AUTO_PULL",
    default: "off",
    meaning: "Whether a request for a model that is not in the store pulls it first; the bare \
              flag means on",
};
/// The drain.
pub const GRACE: Setting = Setting {
    name: "grace",
    flag: "--grace",
    value: "DURATION",
    env: "MODELD_GRACE",
    default: "10s",
    meaning: "How long running answers may go on after the daemon was told to stop",
};
/// The end of a daemon that nobody uses.
pub const IDLE_EXIT: Setting = Setting {
    name: "idle exit",
    flag: "--idle-exit",
    value: "DURATION",
    env: "MODELD_IDLE_EXIT",
    default: "off",
    meaning: "End after this long without requests, loaded models, transfers and stored responses, \
              where all sockets belong to a service manager or `modeld activate`, which start it \
              again; recordings, which are in memory alone, go with it",
};
/// Mirrors.
pub const REGISTRY_MIRROR: Setting = Setting {
    name: "registry mirror",
    flag: "--registry-mirror",
    value: "[HOST=]URL",
    env: "MODEL_RUNNER_REGISTRY_MIRRORS",
    default: "",
    meaning: "Where to look first for the models of a registry (of Docker Hub, where none is named); \
              several with commas",
};
/// Registries without TLS.
pub const INSECURE_REGISTRY: Setting = Setting {
    name: "insecure registry",
    flag: "--insecure-registry",
    value: "HOST[:PORT]",
    env: "MODELD_INSECURE_REGISTRIES",
    default: "",
    meaning: "A registry that speaks plain HTTP, as loopback addresses may anyway; several with \
              commas",
};
/// Hosts of private networks that registries refer to.
pub const REGISTRY_PRIVATE_HOST: Setting = Setting {
    name: "registry private host",
    flag: "--registry-private-host",
    value: "HOST[:PORT]",
    env: "MODELD_REGISTRY_PRIVATE_HOSTS",
    default: "",
    meaning: "A host that may have a private address although only a registry's answer names it; \
              several with commas",
};
/// Further certificate authorities.
pub const REGISTRY_CA: Setting = Setting {
    name: "registry CA",
    flag: "--registry-ca",
    value: "FILE",
    env: "MODELD_REGISTRY_CA",
    default: "",
    meaning: "A PEM file with certificate authorities to trust besides the system's; several with \
              commas",
};
/// The Hugging Face Hub.
pub const HUB_URL: Setting = Setting {
    name: "hub",
    flag: "--hub-url",
    value: "URL",
    env: "HF_ENDPOINT",
    default: "https://huggingface.co",
    meaning: "Where the models of hf.co/… come from",
};
/// Signatures.
pub const SIGNATURE_KEY: Setting = Setting {
    name: "signature key",
    flag: "--signature-key",
    value: "PATTERN=FILE",
    env: "MODELD_SIGNATURE_KEYS",
    default: "",
    meaning: "Pull models of these repositories (docker.io/myorg/*) only with a cosign signature by \
              this public key; several with commas",
};
/// The log's filter.
pub const LOG: Setting = Setting {
    name: "log",
    flag: "--log",
    value: "FILTER",
    env: "MODELD_LOG",
    default: "info",
    meaning: "What to log: off, error, warn, info, debug, trace, or per module: \
              warn,modeld::scheduler=debug",
};
/// The log's shape.
pub const LOG_FORMAT: Setting = Setting {
    name: "log format",
    flag: "--log-format",
    value: "FORMAT",
    env: "MODELD_LOG_FORMAT",
    default: "text",
    meaning: "How log lines look: text or json",
};

/// The log's file.
pub const LOG_FILE: Setting = Setting {
    name: "log file",
    flag: "--log-file",
    value: "PATH",
    env: "MODELD_LOG_FILE",
    default: "$XDG_STATE_HOME/modeld/modeld.log",
    meaning: "Where the log is kept besides standard error, for `modeld logs`; 10 MiB, then it is \
              renamed, and five files are kept",
};
/// No file for the log.
pub const NO_LOG_FILE: Setting = Setting {
    name: "no log file",
    flag: "--no-log-file",
    value: "on|off",
    env: "MODELD_NO_LOG_FILE",
    default: "off",
    meaning: "Keep no log file; `modeld logs` has nothing to show then",
};
/// Core dumps.
pub const CORE_DUMPS: Setting = Setting {
    name: "core dumps",
    flag: "--core-dumps",
    value: "on|off",
    env: "MODELD_CORE_DUMPS",
    default: "off",
    meaning: "Let processes that crash leave a core dump, and debuggers in, for finding faults: what \
              a core dump holds are prompts; the bare flag means on",
};
/// The request recorder.
pub const RECORD_REQUESTS: Setting = Setting {
    name: "record requests",
    flag: "--record-requests",
    value: "on|off",
    env: "MODELD_RECORD_REQUESTS",
    default: "off",
    meaning: "Whether the last requests of each model and their answers are kept in memory, prompts \
              included, for `modeld requests`; the bare flag means on",
};
/// No metrics.
pub const NO_METRICS: Setting = Setting {
    name: "no metrics",
    flag: "--no-metrics",
    value: "on|off",
    env: "DISABLE_METRICS",
    default: "off",
    meaning: "Count nothing and do not serve `/metrics`; the bare flag means on",
};

/// Every setting of `modeld serve`, in the order of the help text.
pub const SETTINGS: &[Setting] = &[
    SOCKET,
    SOCKET_GROUP,
    TCP,
    REQUIRE_TOKEN,
    TLS,
    TLS_CERT,
    TLS_KEY,
    CONTAINERS,
    OLLAMA_PORT,
    ORIGIN,
    MODELS_PATH,
    KEEP_ALIVE,
    MAX_QUEUE,
    MAX_QUEUE_TOKENS,
    CONTEXT,
    MAX_PULLS,
    AUTO_PULL,
    GRACE,
    IDLE_EXIT,
    REGISTRY_MIRROR,
    INSECURE_REGISTRY,
    REGISTRY_PRIVATE_HOST,
    REGISTRY_CA,
    HUB_URL,
    SIGNATURE_KEY,
    LOG,
    LOG_FORMAT,
    LOG_FILE,
    NO_LOG_FILE,
    CORE_DUMPS,
    RECORD_REQUESTS,
    NO_METRICS,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::SETTINGS;

    #[test]
    fn names_flags_and_variables_are_unique() {
        for column in [
            SETTINGS.iter().map(|s| s.flag).collect::<BTreeSet<_>>(),
            SETTINGS.iter().map(|s| s.env).collect(),
            SETTINGS.iter().map(|s| s.name).collect(),
        ] {
            assert_eq!(column.len(), SETTINGS.len(), "{column:?}");
        }
    }
}
