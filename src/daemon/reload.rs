//! Reading the settings again while the daemon runs: what can change changes at once, the rest is said
//! by name, and what cannot be used changes nothing. No connection, queue or answer is dropped.

use tokio::sync::mpsc;

use super::listener_control::TcpControl;
use super::notify;
use super::shutdown::Shutdown;
use crate::api::{ApiState, Reloads};
use crate::config::{self, Change, Config, ConfigError, Live, Shown, Sources};
use crate::logbook::LogControl;
use crate::scheduler::{Scheduler, SchedulerConfig};
use crate::service::{ModelSettings, Service, Transfers};

/// Requests over HTTP that may wait for their turn.
const MAX_ASKED: usize = 16;

/// What a reload needs from whoever starts the daemon.
#[derive(Debug, Clone)]
pub struct Reload {
    /// What was read at the start, to be read again.
    pub sources: Sources,
    /// What was read.
    pub holds: Vec<Shown>,
    /// Who decides what is logged.
    pub log: LogControl,
}

/// The parts of a daemon that can be told other settings.
pub(super) struct Knobs {
    pub(super) scheduler: Scheduler,
    pub(super) settings: Live<ModelSettings>,
    pub(super) transfers: Transfers,
    pub(super) state: ApiState,
    pub(super) grace: Live<std::time::Duration>,
    pub(super) tcp: TcpControl,
}

/// Reads settings again when it is asked to.
pub(super) struct Reloader {
    reload: Reload,
    knobs: Knobs,
    asked: mpsc::Receiver<AskedBy>,
}

type AskedBy = tokio::sync::oneshot::Sender<Result<Vec<Change>, ConfigError>>;

/// The way to ask a reloader, and its other end.
pub(super) fn channel() -> (Reloads, mpsc::Receiver<AskedBy>) {
    mpsc::channel(MAX_ASKED)
}

impl Knobs {
    pub(super) fn of(
        service: &Service,
        scheduler: Scheduler,
        state: ApiState,
        grace: Live<std::time::Duration>,
        tcp: TcpControl,
    ) -> Self {
        let (settings, transfers) = (service.settings().clone(), service.all_transfers());
        Self { scheduler, settings, transfers, state, grace, tcp }
    }

    /// Brings everything that can change to what `config` says; the same again is no change.
    async fn turn(&self, config: &Config) {
        let settings = self.settings.get();
        self.settings.set(ModelSettings {
            max_context: config.context.value,
            auto_pull: config.auto_pull.value,
            ..settings
        });
        self.transfers.set_places(config.max_pulls.value);
        self.state.set_origins(config.origins.value.clone());
        self.state.set_recording(config.record_requests.value);
        self.grace.set(config.grace.value);
        self.scheduler.reconfigure(scheduler_config(config)).await;
    }
}

/// What settings mean to the scheduler.
pub(super) fn scheduler_config(config: &Config) -> SchedulerConfig {
    SchedulerConfig {
        max_waiting: config.max_queue.value,
        max_waiting_tokens: config.max_queue_tokens.value,
        keep_alive: config.keep_alive.value,
    }
}

impl Reloader {
    pub(super) fn new(reload: Reload, knobs: Knobs, asked: mpsc::Receiver<AskedBy>) -> Self {
        Self { reload, knobs, asked }
    }

    /// Until the daemon stops.
    pub(super) async fn run(mut self, shutdown: Shutdown) {
        loop {
            let reply = tokio::select! {
                () = shutdown.draining().cancelled() => return,
                () = shutdown.reload_asked() => None,
                Some(reply) = self.asked.recv() => Some(reply),
            };
            notify::reloading();
            let outcome = self.again().await;
            notify::reloaded();
            if let Some(reply) = reply {
                // Whoever asked may have gone.
                let _ = reply.send(outcome);
            }
        }
    }

    /// What was opened or closed at run time holds, whatever the settings said at the start.
    async fn hold_listeners(&mut self, config: &Config, shown: &[Shown]) {
        let given_up = self.knobs.tcp.reconsider(config).await;
        for (held, new) in self.reload.holds.iter_mut().zip(shown) {
            match self.knobs.tcp.holding(held.setting, config, &given_up) {
                Some(None) => *held = new.clone(),
                Some(Some(now)) => held.value = now,
                None => {}
            }
        }
    }

    async fn again(&mut self) -> Result<Vec<Change>, ConfigError> {
        let sources = self.reload.sources.clone();
        // The file may lie on a disk that is slow.
        let read = tokio::task::spawn_blocking(move || sources.shown()).await;
        let read = read.unwrap_or_else(|_| {
            let path = self.reload.sources.user_file().unwrap_or_default();
            Err(ConfigError::File { path, problem: "cannot be read while stopping".to_owned() })
        });
        let (config, shown) = read.inspect_err(|error| {
            tracing::error!("the settings were not reloaded, those from before hold: {error}");
        })?;
        self.hold_listeners(&config, &shown).await;
        let changes = config::changes(&self.reload.holds, &shown);
        for Change { key, from, to, applied } in &changes {
            let (from, to) = (config::or_none(from), config::or_none(to));
            if *applied {
                tracing::info!("reload: {key} is {to} now, it was {from}");
            } else {
                tracing::warn!("reload: {key} stays {from} until a restart; it is to be {to}");
            }
        }
        self.knobs.turn(&config).await;
        // Last, so that what changed is logged even where nothing will be.
        // What was said at run time holds unless the settings say something else than before.
        if changes.iter().any(|change| change.key == "log")
            && let Err(problem) = self.reload.log.set_filter(&config.log.value)
        {
            tracing::warn!("reload: the log stays as it was: {problem}");
        }
        tracing::info!(changes = changes.len(), "settings reloaded");
        // Of what needs a restart, what held at the start still holds.
        for (held, new) in self.reload.holds.iter_mut().zip(shown) {
            if new.setting.reloads() {
                *held = new;
            }
        }
        Ok(changes)
    }
}
