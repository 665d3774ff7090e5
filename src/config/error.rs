use std::path::PathBuf;

/// A setting that cannot be used. The text names the setting as the user wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A value that cannot be read.
    #[error("{from}: {value:?} is not valid: {problem}")]
    Invalid {
        /// The flag or variable that it came from.
        from: &'static str,
        /// What was written.
        value: String,
        /// What is wrong with it, and what would do.
        problem: String,
    },
    /// A host that is not on this machine.
    #[error(
        "{from}: {host} would open this port to the network, where Ollama's clients have no tokens; \
         use a loopback address: 127.0.0.1, [::1] or localhost, or --tcp, where tokens are required"
    )]
    NotLoopback {
        /// The flag or variable that it came from.
        from: &'static str,
        /// The refused host.
        host: String,
    },
    /// A path that the kernel would not take as a socket's name.
    #[error(
        "the socket path is {length} bytes long, the limit is {limit}: {path}; \
         choose a shorter one with --socket or MODEL_RUNNER_SOCK"
    )]
    SocketPathTooLong {
        /// The whole path.
        path: String,
        /// Its length in bytes.
        length: usize,
        /// The longest that works everywhere, in bytes.
        limit: usize,
    },
    /// Neither a runtime directory nor a home directory.
    #[error(
        "cannot choose a place for {what}: neither {tried} nor HOME is set; \
         name one with {flag}"
    )]
    NoPlace {
        /// What has no place.
        what: &'static str,
        /// The variable that was tried first.
        tried: &'static str,
        /// The flag that would help.
        flag: &'static str,
    },
    /// One of the two files that TLS needs, without the other.
    #[error(
        "{given} is given without {missing}: TLS needs both, the certificate and its private key \
         (`modeld config set tls-cert=FILE tls-key=FILE` sets them together)"
    )]
    HalfTls {
        /// What was given, with its place if that is a file.
        given: String,
        /// The key of the other one.
        missing: &'static str,
    },
    /// Something in a settings file, with its place.
    #[error("{}:{line}:{column}: {problem}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column, from 1, in characters.
        column: usize,
        /// What is wrong there, and what would do.
        problem: String,
    },
    /// A settings file as a whole.
    #[error("the settings file {} {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },
}
