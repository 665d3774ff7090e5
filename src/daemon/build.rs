use std::sync::Arc;
use std::time::Duration;

use axum::Router;

use super::DaemonError;
use super::activation::Inherited;
use super::limits::hardened;
use super::listen::{Address, Listeners};
use super::lock::StoreLock;
use super::phase::Patience;
use super::registries::Outside;
use super::shutdown::Shutdown;
use crate::api::{self, ApiState};
use crate::config::{Config, Variables};
use crate::engine::{CountedFactory, EngineFactory};
use crate::logbook::{LogControl, Logbook};
use crate::metrics::Metrics;
use crate::models::Models;
use crate::scheduler::{Scheduler, SchedulerConfig};
use crate::service::{ModelSettings, Service, Transfers};
use crate::store::Store;

/// What the daemon is made of besides its settings.
pub struct Parts {
    /// What loads models.
    pub engines: Arc<dyn EngineFactory>,
    /// Listeners that somebody opened for us.
    pub inherited: Vec<Inherited>,
    /// What the environment says about proxies and logins.
    pub variables: Variables,
    /// The log's files, where they are kept.
    pub log: Option<Logbook>,
    /// What says which lines are logged.
    pub log_control: LogControl,
}

/// How long the first log lines may take to be written before the daemon goes on without them.
const SETTLE: Duration = Duration::from_millis(200);

/// The daemon before it exists.
#[derive(Debug, Clone, Copy)]
pub struct Daemon;

/// A daemon that holds its sockets and serves nobody yet: connections wait in the backlog.
pub struct Bound {
    pub(super) listeners: Listeners,
    pub(super) store_lock: StoreLock,
    pub(super) router: Router,
    pub(super) scheduler: Scheduler,
    pub(super) transfers: Transfers,
    pub(super) shutdown: Shutdown,
    pub(super) patience: Patience,
    pub(super) grace: std::time::Duration,
}

impl Daemon {
    /// Opens the store, puts the parts together and binds the listeners. Everything that can fail
    /// does so here. The sockets come first: whoever loses against another daemon has not touched
    /// the store. Must be called inside the runtime.
    ///
    /// # Errors
    /// Every [`DaemonError`].
    pub async fn build(
        config: &Config,
        parts: Parts,
        shutdown: Shutdown,
    ) -> Result<Bound, DaemonError> {
        let outside = Outside::new(config, &parts.variables)?;
        let listeners = Listeners::open(config, parts.inherited).await?;
        // Before the store is opened: opening removes what dead writers left, and only the lock
        // says that they are dead.
        let store_lock = StoreLock::take(&config.models_path.value)?;
        let models =
            Models::new(Store::open(&config.models_path.value)?).with_registry(outside.registry);
        let settings = ModelSettings {
            max_context: config.context.value,
            auto_pull: config.auto_pull.value,
            ..ModelSettings::default()
        };
        let metrics = if config.metrics.value { Metrics::on() } else { Metrics::off() };
        metrics.counts_dropped_log_lines(parts.log_control.dropped().clone());
        let engines = Arc::new(CountedFactory::new(parts.engines, metrics.clone()));
        let scheduler = Scheduler::start_within(
            engines,
            SchedulerConfig {
                max_waiting: config.max_queue.value,
                max_waiting_tokens: config.max_queue_tokens.value,
                keep_alive: config.keep_alive.value,
            },
            settings.memory_budget,
        );
        let service = Service::new(models, scheduler.clone())
            .with_settings(settings)
            .with_accounts(outside.accounts)
            .with_max_pulls(config.max_pulls.value)
            .with_metrics(metrics);
        let transfers = service.all_transfers();
        let state = ApiState::new(service, shutdown.draining().clone())
            .with_origins(config.origins.value.clone())
            .with_log(parts.log)
            .with_log_control(parts.log_control.clone())
            .with_process(hardened());
        let state = if config.record_requests.value { state.recording() } else { state };
        // Whoever is told that the daemon is ready finds in the log how it got there.
        parts.log_control.flush(SETTLE);
        Ok(Bound {
            listeners,
            store_lock,
            router: api::router(state),
            scheduler,
            transfers,
            shutdown,
            patience: Patience::default(),
            grace: config.grace.value,
        })
    }
}

impl Bound {
    /// Where it listens.
    pub fn addresses(&self) -> &[Address] {
        &self.listeners.addresses
    }
}
