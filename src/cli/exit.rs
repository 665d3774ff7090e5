/// Every exit code of `modeld`; scripts and service units may rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// It did what was asked.
    Success = 0,
    /// It could not; stderr says why.
    Failure = 1,
    /// The command line makes no sense; stderr says how it would.
    Usage = 2,
    /// No daemon is running (`EX_UNAVAILABLE`).
    NotRunning = 69,
    /// Another daemon is already running (`EX_TEMPFAIL`).
    AlreadyRunning = 75,
    /// A setting cannot be used (`EX_CONFIG`); starting again will not help.
    Config = 78,
    /// Ctrl-C, or a second signal while the daemon was stopping (128 + SIGINT).
    Interrupted = 130,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}
