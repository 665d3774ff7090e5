use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Semaphore;

use crate::domain::ClientKey;
use crate::models::Models;
use crate::scheduler::Scheduler;

use super::ModelSettings;
use super::archive::MAX_UPLOADS;
use super::export::MAX_EXPORTS;

/// Who asks, and until when the answer is of use.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Whose share it counts against.
    pub client: ClientKey,
    /// `x-request-timeout`, resolved.
    pub deadline: Option<Instant>,
}

/// Every use case, without HTTP. One value for the whole daemon; cheap to clone.
#[derive(Clone)]
pub struct Service {
    pub(super) models: Models,
    pub(super) scheduler: Scheduler,
    pub(super) settings: ModelSettings,
    pub(super) uploads: Arc<Semaphore>,
    pub(super) imports: Arc<Semaphore>,
    pub(super) exports: Arc<Semaphore>,
}

impl Service {
    /// A service with the default [`ModelSettings`].
    pub fn new(models: Models, scheduler: Scheduler) -> Self {
        let uploads = Arc::new(Semaphore::new(MAX_UPLOADS));
        let imports = Arc::new(Semaphore::new(1));
        let exports = Arc::new(Semaphore::new(MAX_EXPORTS));
        Self { models, scheduler, settings: ModelSettings::default(), uploads, imports, exports }
    }

    /// Says how models are loaded.
    #[must_use]
    pub fn with_settings(mut self, settings: ModelSettings) -> Self {
        self.settings = settings;
        self
    }
}
