use std::sync::Arc;
use std::time::Duration;

use axum::Router;

use super::DaemonError;
use super::activation::Inherited;
use super::exposure::{check_tokens, tokens};
use super::group;
use super::limits::hardened;
use super::listen::{Address, Listeners};
use super::listener_control::TcpControl;
use super::lock::StoreLock;
use super::phase::Patience;
use super::registries::Outside;
use super::reload::{self, Knobs, Reload, Reloader, scheduler_config};
use super::secured::Secured;
use super::shutdown::Shutdown;
use super::tcp_listeners::TcpListeners;
use crate::api::{self, ApiState};
use crate::config::{Config, Live, Tls, Variables};
use crate::engine::{CountedFactory, EngineFactory};
use crate::logbook::{LogControl, Logbook};
use crate::metrics::Metrics;
use crate::models::Models;
use crate::scheduler::Scheduler;
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
    /// What the settings are read from when they are to be read again; `None`: they are not.
    pub reload: Option<Reload>,
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
    pub(super) tcp: TcpListeners,
    pub(super) store_lock: StoreLock,
    pub(super) router: Router,
    pub(super) scheduler: Scheduler,
    pub(super) transfers: Transfers,
    pub(super) shutdown: Shutdown,
    pub(super) patience: Patience,
    pub(super) grace: Live<std::time::Duration>,
    pub(super) idle_exit: Option<std::time::Duration>,
    /// Whether something would be lost with the daemon although nobody uses it.
    pub(super) holds: Box<dyn Fn() -> bool + Send + Sync>,
    pub(super) reloader: Option<Reloader>,
    pub(super) secured: Option<Secured>,
}

impl Daemon {
    /// Whether what settings name can be used: files with keys and certificates, groups, tokens for
    /// what is open to the network. Opens and changes nothing; what only shows when it is opened, as
    /// a port that is taken, is not looked at.
    ///
    /// # Errors
    /// Those of [`Daemon::build`] that no waiting mends.
    pub fn check(config: &Config, variables: &Variables) -> Result<(), DaemonError> {
        Outside::new(config, variables)?;
        config.socket_group.value.as_deref().map(group::number).transpose()?;
        check_tokens(config, &[], &tokens(config))?;
        if let Some(Tls::Files { .. }) = config.tls.value {
            Secured::new(config)?;
        }
        Ok(())
    }

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
        let tokens = tokens(config);
        check_tokens(config, &parts.inherited, &tokens)?;
        let secured = Secured::new(config)?;
        let keeps = keeps_sockets(&parts.variables);
        let listeners = Listeners::open(config, parts.inherited, keeps).await?;
        if let Some(secured) = &secured {
            secured.cover(&listeners.secured())?;
        }
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
        let scheduler =
            Scheduler::start_within(engines, scheduler_config(config), settings.memory_budget);
        let service = Service::new(models, scheduler.clone())
            .with_settings(settings)
            .with_accounts(outside.accounts)
            .with_max_pulls(config.max_pulls.value)
            .with_metrics(metrics);
        let transfers = service.all_transfers();
        let grace = Live::new(config.grace.value);
        let tcp = TcpListeners::default();
        let control = TcpControl::new(config, tcp.clone(), secured.clone());
        let state = ApiState::new(service.clone(), shutdown.draining().clone())
            .with_origins(config.origins.value.clone())
            .with_tokens(tokens, config.require_token.value)
            .with_log(parts.log)
            .with_log_control(parts.log_control.clone())
            .with_process(hardened())
            .with_listeners(Arc::new(control.clone()));
        let state = if config.record_requests.value { state.recording() } else { state };
        let (state, reloader) = match parts.reload {
            Some(reload) => {
                let (asking, asked) = reload::channel();
                let state = state.with_reloads(asking);
                let knobs =
                    Knobs::of(&service, scheduler.clone(), state.clone(), grace.clone(), control);
                (state, Some(Reloader::new(reload, knobs, asked)))
            }
            None => (state, None),
        };
        let stored = state.clone();
        let holds = Box::new(move || stored.stores_responses());
        // Whoever is told that the daemon is ready finds in the log how it got there.
        parts.log_control.flush(SETTLE);
        Ok(Bound {
            listeners,
            tcp,
            store_lock,
            router: api::router(state),
            scheduler,
            transfers,
            shutdown,
            patience: Patience::default(),
            grace,
            idle_exit: config.idle_exit.value,
            holds,
            reloader,
            secured,
        })
    }
}

impl Bound {
    /// Where it listens.
    pub fn addresses(&self) -> &[Address] {
        &self.listeners.addresses
    }
}

/// Whether the service manager keeps sockets for the next daemon: how many, it says in a variable
/// (systemd since 254; the unit says it for those before).
fn keeps_sockets(variables: &Variables) -> bool {
    let most = variables.get("FDSTORE").and_then(|text| text.trim().parse::<u32>().ok());
    most.is_some_and(|most| most > 0)
}
