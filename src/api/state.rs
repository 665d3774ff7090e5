use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::config::{Change, ConfigError, Live};
use crate::logbook::{LogControl, Logbook};
use crate::service::Service;
use crate::tokens::Tokens;

use super::body::Rooms;
use super::listeners::ListenerControl;
use super::recorder::Recorder;
use super::responses::ResponseStore;

/// Requests to read the settings again, each with the way to tell what became of it.
pub type Reloads = mpsc::Sender<oneshot::Sender<Result<Vec<Change>, ConfigError>>>;

/// What every handler may use; cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    pub(super) service: Service,
    pub(super) draining: CancellationToken,
    pub(super) responses: ResponseStore,
    pub(super) origins: Live<Arc<[String]>>,
    /// `None`: nothing is recorded.
    pub(super) recorder: Live<Option<Recorder>>,
    /// Who may ask over TCP that is not known otherwise.
    pub(super) tokens: Tokens,
    /// Whether every request over TCP needs one of them.
    pub(super) token_required: bool,
    /// `None`: the log goes to stderr alone.
    pub(super) log: Option<Logbook>,
    /// `None`: nobody can read the settings again.
    pub(super) reloads: Option<Reloads>,
    pub(super) log_control: LogControl,
    /// What the daemon's process has given up, in words.
    pub(super) process: Arc<str>,
    /// `None`: listeners stay as they are.
    pub(super) listeners: Option<Arc<dyn ListenerControl>>,
    /// What bodies of requests may take of the memory.
    pub(super) rooms: Rooms,
}

impl ApiState {
    /// `draining` is cancelled by the daemon when it begins to stop: from then on `/ready` answers
    /// 503. Everything else is refused or finished by the queue.
    pub fn new(service: Service, draining: CancellationToken) -> Self {
        let responses = ResponseStore::default();
        Self {
            service,
            draining,
            responses,
            origins: Live::new(Arc::default()),
            recorder: Live::default(),
            tokens: Tokens::default(),
            token_required: false,
            log: None,
            reloads: None,
            log_control: LogControl::idle("info"),
            process: Arc::default(),
            listeners: None,
            rooms: Rooms::default(),
        }
    }

    /// Says which web pages may ask over TCP besides those of this machine: origins in small letters,
    /// with `*` for anything.
    #[must_use]
    pub fn with_origins(self, origins: Vec<String>) -> Self {
        self.set_origins(origins);
        self
    }

    /// The same for a daemon that runs.
    pub fn set_origins(&self, origins: Vec<String>) {
        self.origins.set(origins.into());
    }

    /// Keeps the last requests and answers of each model in memory, for their owner to read.
    #[must_use]
    pub fn recording(self) -> Self {
        self.set_recording(true);
        self
    }

    /// The same for a daemon that runs. Where it ends, what was kept is forgotten.
    pub fn set_recording(&self, on: bool) {
        if self.recorder.get().is_some() != on {
            self.recorder.set(on.then(Recorder::default));
        }
    }

    /// Whether responses are stored, which are in memory alone and end with the daemon.
    pub fn stores_responses(&self) -> bool {
        !self.responses.is_empty()
    }

    /// Has the settings read again by whoever takes these requests.
    #[must_use]
    pub fn with_reloads(mut self, reloads: Reloads) -> Self {
        self.reloads = Some(reloads);
        self
    }

    /// Takes these tokens over TCP; `required`: and nobody there without one.
    #[must_use]
    pub fn with_tokens(mut self, tokens: Tokens, required: bool) -> Self {
        self.tokens = tokens;
        self.token_required = required;
        self
    }

    /// Serves this log.
    #[must_use]
    pub fn with_log(mut self, log: Option<Logbook>) -> Self {
        self.log = log;
        self
    }

    /// Lets the owner say what is logged.
    #[must_use]
    pub fn with_log_control(mut self, control: LogControl) -> Self {
        self.log_control = control;
        self
    }

    /// Says what the daemon's process has given up.
    #[must_use]
    pub fn with_process(mut self, words: String) -> Self {
        self.process = words.into();
        self
    }

    /// Lets the owner open and close listeners.
    #[must_use]
    pub fn with_listeners(mut self, listeners: Arc<dyn ListenerControl>) -> Self {
        self.listeners = Some(listeners);
        self
    }
}
