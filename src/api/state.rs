use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::service::Service;

/// What every handler may use; cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    pub(super) service: Service,
    pub(super) draining: CancellationToken,
    pub(super) stream_patience: Duration,
}

impl ApiState {
    /// `draining` is cancelled by the daemon when it begins to stop: from then on `/ready` answers
    /// 503. Everything else is refused or finished by the queue.
    pub fn new(service: Service, draining: CancellationToken) -> Self {
        Self { service, draining, stream_patience: Duration::from_secs(10) }
    }

    /// How long a stream may wait for its first token before its 200 is committed (ten seconds):
    /// until then a failure keeps its true status, afterwards the client sees that it waits.
    #[must_use]
    pub fn with_stream_patience(mut self, patience: Duration) -> Self {
        self.stream_patience = patience;
        self
    }
}
