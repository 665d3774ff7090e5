//! One child process: its end, and the words for it.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::process::Child;
use tracing::warn;

use crate::domain::{Error, ErrorKind};

use super::last_words::LastWords;

/// A worker process. Dropping it kills it; the runtime reaps it.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    words: LastWords,
}

impl Process {
    /// Takes charge of a spawned child and begins to read its stderr.
    pub(super) fn new(mut child: Child, model: &str) -> Self {
        let words = LastWords::read(child.stderr.take(), model.to_owned(), child.id());
        Self { child, words }
    }

    /// Its id, until it is reaped.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Ends it: waits up to `patience` for it to go by itself, then kills it; reaps it in any case.
    pub(super) async fn bury(&mut self, patience: Duration) -> Option<ExitStatus> {
        if let Ok(status) = tokio::time::timeout(patience, self.child.wait()).await {
            return status.ok();
        }
        if let Err(error) = self.child.start_kill() {
            warn!(%error, "a worker could not be killed");
        }
        self.child.wait().await.ok()
    }

    /// Ends it and says why, for its jobs and the log. `reason`: what the daemon has against it;
    /// `None`: it went by itself.
    pub(super) async fn obituary(&mut self, reason: Option<String>) -> Error {
        // One that went by itself has closed its socket but may not be a zombie yet.
        let patience = if reason.is_some() { Duration::ZERO } else { Duration::from_secs(2) };
        let status = self.bury(patience).await;
        let words = self.words.of_the_dead().await;
        let what = match (reason, status) {
            (Some(reason), _) => reason,
            (None, Some(status)) => describe(status),
            (None, None) => "the worker process disappeared".into(),
        };
        let message = match &words.quote {
            Some(quote) => format!("{what}; last words: {quote}"),
            None => what,
        };
        Error::new(ErrorKind::EngineCrashed, message).with_cause(words.all)
    }

    /// The obituary of a worker that was loading a model. A crash is then the model's fault; being
    /// killed (for want of memory, say) is not.
    pub(super) async fn obituary_of_load(&mut self, reason: Option<String>) -> Error {
        let by_itself = reason.is_none();
        let mut error = self.obituary(reason).await;
        let signal = self.child.try_wait().ok().flatten().and_then(|status| status.signal());
        if by_itself && signal.is_some_and(is_crash) {
            error.kind = ErrorKind::LoadCrashed;
            error.message = format!(
                "the model cannot be loaded, llama.cpp crashed on it: {}; get the model anew, or \
                 another one",
                error.message
            );
        }
        error
    }
}

/// An exit status in words.
fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(9), _) => "the worker process was killed by signal 9 (SIGKILL), \
                         perhaps because the machine ran out of memory"
            .into(),
        (Some(signal), _) => match signal_name(signal) {
            Some(name) => format!("the worker process was killed by signal {signal} ({name})"),
            None => format!("the worker process was killed by signal {signal}"),
        },
        (None, Some(code)) => format!("the worker process exited with status {code}"),
        (None, None) => "the worker process ended".into(),
    }
}

/// The signals that end processes by their own fault; numbers as on Linux and macOS alike, except
/// SIGBUS.
/// Whether a process gets this signal for what it did, not from others.
fn is_crash(signal: i32) -> bool {
    use rustix::process::Signal;
    let faults = [Signal::ILL, Signal::TRAP, Signal::ABORT, Signal::BUS, Signal::FPE, Signal::SEGV];
    faults.iter().any(|fault| fault.as_raw() == signal)
}

fn signal_name(signal: i32) -> Option<&'static str> {
    use rustix::process::Signal;
    let names = [
        (Signal::ILL, "SIGILL"),
        (Signal::TRAP, "SIGTRAP"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::BUS, "SIGBUS"),
        (Signal::FPE, "SIGFPE"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::TERM, "SIGTERM"),
        (Signal::SYS, "SIGSYS"),
        (Signal::XCPU, "SIGXCPU"),
    ];
    names.iter().find(|(known, _)| known.as_raw() == signal).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_put_in_words() {
        let raw = |raw| describe(ExitStatus::from_raw(raw));
        assert_eq!(raw(6), "the worker process was killed by signal 6 (SIGABRT)");
        assert_eq!(raw(3 << 8), "the worker process exited with status 3");
        assert!(raw(9).contains("out of memory"));
        assert_eq!(raw(62), "the worker process was killed by signal 62");
    }
}
