use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::logbook::Logbook;
use crate::service::Service;

use super::listeners::ListenerControl;
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
    /// `None`: listeners stay as they are.
    pub(super) listeners: Option<Arc<dyn ListenerControl>>,
}

impl ApiState {
    /// `draining` is cancelled by the daemon when it begins to stop: from then on `/ready` answers
    /// 503. Everything else is refused or finished by the queue.
    pub fn new(service: Service, draining: CancellationToken) -> Self {
        let responses = ResponseStore::default();
        let (origins, recorder, log, listeners) = (Arc::default(), None, None, None);
        Self { service, draining, responses, origins, recorder, log, listeners }
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

    /// Lets the owner open and close listeners.
    #[must_use]
    pub fn with_listeners(mut self, listeners: Arc<dyn ListenerControl>) -> Self {
        self.listeners = Some(listeners);
        self
    }
}
