use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::service::Service;

use super::responses::ResponseStore;

/// What every handler may use; cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    pub(super) service: Service,
    pub(super) draining: CancellationToken,
    pub(super) responses: ResponseStore,
    pub(super) origins: Arc<[String]>,
}

impl ApiState {
    /// `draining` is cancelled by the daemon when it begins to stop: from then on `/ready` answers
    /// 503. Everything else is refused or finished by the queue.
    pub fn new(service: Service, draining: CancellationToken) -> Self {
        Self { service, draining, responses: ResponseStore::default(), origins: Arc::default() }
    }

    /// Says which web pages may ask over TCP besides those of this machine: origins in small letters,
    /// with `*` for anything.
    #[must_use]
    pub fn with_origins(mut self, origins: Vec<String>) -> Self {
        self.origins = origins.into();
        self
    }
}
