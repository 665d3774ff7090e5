use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How a running daemon is told to end: once to drain, twice to end at once; and how it is told to
/// read its settings again. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    drain: CancellationToken,
    now: CancellationToken,
    reload: Arc<Notify>,
}

impl Shutdown {
    /// SIGTERM and SIGINT: the first drains, the second ends at once. SIGHUP has the settings read
    /// again and ends nothing, so that closing a terminal does not cut answers short.
    ///
    /// # Errors
    /// Those of installing a signal handler. Must be called inside the runtime.
    pub fn on_signals() -> std::io::Result<Self> {
        let shutdown = Self::default();
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        let hangup = signal(SignalKind::hangup())?;
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
        loop {
            tokio::select! {
                _ = terminate.recv() => tracing::info!("SIGTERM"),
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
