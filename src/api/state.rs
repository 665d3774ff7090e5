use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::logbook::{LogControl, Logbook};
use crate::service::Service;

use super::recorder::Recorder;
use super::responses::ResponseStore;

/// What every handler may use; cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    pub(super) service: Service,
    pub(super) draining: CancellationToken,
    pub(super) responses: ResponseStore,
    pub(super) origins: Arc<[String]>,
    /// `None`: nothing is recorded.
    pub(super) recorder: Option<Recorder>,
    /// `None`: the log goes to stderr alone.
    pub(super) log: Option<Logbook>,
    pub(super) log_control: LogControl,
    /// What the daemon's process has given up, in words.
    pub(super) process: Arc<str>,
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
            origins: Arc::default(),
            recorder: None,
            log: None,
            log_control: LogControl::idle("info"),
            process: Arc::default(),
        }
    }

    /// Says which web pages may ask over TCP besides those of this machine: origins in small letters,
    /// with `*` for anything.
    #[must_use]
    pub fn with_origins(mut self, origins: Vec<String>) -> Self {
        self.origins = origins.into();
        self
    }

    /// Keeps the last requests and answers of each model in memory, for their owner to read.
    #[must_use]
    pub fn recording(mut self) -> Self {
        self.recorder = Some(Recorder::default());
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
}
