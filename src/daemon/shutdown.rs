use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A SIGTERM so soon after another one asks for nothing new. The kernel sends one for each thread of a
/// parent that dies, where its children asked for a signal then.
const ECHO: Duration = Duration::from_millis(500);

/// How a running daemon is told to end: once to drain, twice to end at once; and how it is told to
/// read its settings again. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    drain: CancellationToken,
    now: CancellationToken,
    reload: Arc<Notify>,
}

impl Shutdown {
    /// SIGTERM and SIGINT: the first drains, the second ends at once, unless it is the echo of a
    /// SIGTERM: one that comes within half a second of it. SIGHUP has the settings read again and
    /// ends nothing, so that closing a terminal does not cut answers short; SIGUSR1 and SIGUSR2 mean
    /// nothing.
    ///
    /// # Errors
    /// Those of installing a signal handler. Must be called inside the runtime.
    pub fn on_signals() -> std::io::Result<Self> {
        let shutdown = Self::default();
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        let hangup = signal(SignalKind::hangup())?;
        // Tools that rotate logs send them; they would end a process that has not asked for them.
        drop((signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?));
        tokio::spawn(shutdown.clone().listen(terminate, interrupt, hangup));
        Ok(shutdown)
    }

    /// Asks once more: to drain, and when that is already asked, to end at once.
    pub fn ask(&self) {
        if self.drain.is_cancelled() {
            self.now.cancel();
        }
        self.drain.cancel();
    }

    /// Asks for the settings to be read again. Asked several times before that happens, it happens
    /// once.
    pub fn ask_reload(&self) {
        self.reload.notify_one();
    }

    /// Completes once for what [`Shutdown::ask_reload`] asked.
    pub(super) async fn reload_asked(&self) {
        self.reload.notified().await;
    }

    pub(super) fn draining(&self) -> &CancellationToken {
        &self.drain
    }

    pub(super) fn immediate(&self) -> &CancellationToken {
        &self.now
    }

    async fn listen(self, mut terminate: Signal, mut interrupt: Signal, mut hangup: Signal) {
        let mut told: Option<Instant> = None;
        loop {
            tokio::select! {
                _ = terminate.recv() => {
                    if is_echo(&mut told) {
                        continue;
                    }
                    tracing::info!("SIGTERM");
                }
                _ = interrupt.recv() => tracing::info!("SIGINT"),
                _ = hangup.recv() => {
                    tracing::info!("SIGHUP");
                    self.ask_reload();
                    continue;
                }
            }
            self.ask();
        }
    }
}

/// Whether a SIGTERM that came just now is one of those that came with an earlier one; `told` is when
/// the last one came that is not.
fn is_echo(told: &mut Option<Instant>) -> bool {
    let echo = told.is_some_and(|told| told.elapsed() < ECHO);
    if !echo {
        *told = Some(Instant::now());
    }
    echo
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_signal_at_once_after_another_asks_for_nothing_new() {
        let mut told = None;
        assert!(!is_echo(&mut told));
        assert!(is_echo(&mut told));
        tokio::time::advance(ECHO).await;
        assert!(!is_echo(&mut told), "somebody asked again");
    }
}
