use std::io;

use super::ExitCode;
use crate::client::ClientError;
use crate::config::ConfigError;
use crate::daemon::DaemonError;

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Something between us and the daemon, or its answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A setting.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The daemon did not start.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// A setting, or what it names, that cannot be used, as a sentence.
    #[error("{0}")]
    Unusable(String),
    /// Nobody listens there, and there is more to be said than how to start a daemon.
    #[error("{0}")]
    Stopped(String),
    /// Arguments that do not go together.
    #[error("{0}")]
    Usage(String),
    /// Anything else, as a sentence.
    #[error("{0}")]
    Failed(String),
    /// A failure that the user has already read.
    #[error("some of it failed")]
    Reported,
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// Standard output is closed or full.
    #[error("cannot write the output: {0}")]
    Output(#[source] io::Error),
}

impl CliError {
    /// The code that the process ends with.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Client(ClientError::NotRunning { .. }) | Self::Stopped(_) => ExitCode::NotRunning,
            Self::Daemon(DaemonError::AlreadyRunning { .. } | DaemonError::StoreInUse { .. }) => {
                ExitCode::AlreadyRunning
            }
            Self::Config(_) | Self::Unusable(_) => ExitCode::Config,
            Self::Daemon(error) if error.needs_other_settings() => ExitCode::Config,
            Self::Usage(_) => ExitCode::Usage,
            Self::Interrupted => ExitCode::Interrupted,
            // `modeld list | head -1` got what it wanted.
            Self::Output(e) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::Success,
            Self::Client(_)
            | Self::Daemon(_)
            | Self::Failed(_)
            | Self::Reported
            | Self::Output(_) => ExitCode::Failure,
        }
    }

    /// What to print; `None` where everything is said.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Reported | Self::Interrupted => None,
            Self::Output(e) if e.kind() == io::ErrorKind::BrokenPipe => None,
            Self::Client(ClientError::Status { message, retry_after: Some(seconds), .. }) => {
                Some(format!("{message} (try again in {seconds} s)"))
            }
            other => Some(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_tell_causes_apart() {
        let not_running = ClientError::NotRunning { place: "/s".into() };
        assert_eq!(
            not_running.to_string(),
            "modeld is not running (no daemon at /s); start it with: modeld serve"
        );
        let already = DaemonError::AlreadyRunning { socket: "/s".into(), pid: Some(7) };
        let config = crate::config::parse_duration("x").map_err(|problem| ConfigError::Invalid {
            from: "--grace",
            value: "x".into(),
            problem,
        });
        for (error, code) in [
            (CliError::from(not_running), 69),
            (CliError::from(already), 75),
            (CliError::from(config.unwrap_err()), 78),
            (CliError::Usage(String::new()), 2),
            (CliError::Failed(String::new()), 1),
            (CliError::Interrupted, 130),
            (CliError::Output(io::ErrorKind::BrokenPipe.into()), 0),
            (CliError::Output(io::ErrorKind::StorageFull.into()), 1),
        ] {
            assert_eq!(error.exit_code() as u8, code, "{error:?}");
        }
    }

    #[test]
    fn a_full_queue_says_when_to_come_back() {
        let error = CliError::from(ClientError::Status {
            status: 429,
            message: "64 requests are waiting".into(),
            retry_after: Some(9),
        });
        assert_eq!(error.text().unwrap(), "64 requests are waiting (try again in 9 s)");
    }
}
