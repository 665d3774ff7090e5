use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Semaphore;

use crate::config::Live;
use crate::domain::{ClientKey, Wishes};
use crate::metrics::Metrics;
use crate::models::Models;
use crate::scheduler::Scheduler;

use super::archive::MAX_UPLOADS;
use super::blobs::Shelf;
use super::configure::Book;
use super::export::MAX_EXPORTS;
use super::transfers::{DEFAULT_MAX_PULLS, Transfers};
use super::{Accounts, ModelSettings};

/// Who asks, and until when the answer is of use.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Whose share it counts against.
    pub client: ClientKey,
    /// `x-request-timeout`, resolved.
    pub deadline: Option<Instant>,
    /// What it says of the model itself.
    pub wishes: Wishes,
}

/// Every use case, without HTTP. One value for the whole daemon; cheap to clone.
#[derive(Clone)]
pub struct Service {
    pub(super) models: Models,
    pub(super) scheduler: Scheduler,
    pub(super) settings: Live<ModelSettings>,
    pub(super) configured: Book,
    pub(super) accounts: Option<Accounts>,
    pub(super) uploads: Arc<Semaphore>,
    pub(super) imports: Arc<Semaphore>,
    pub(super) checks: Arc<Semaphore>,
    pub(super) transfers: Transfers,
    pub(super) exports: Arc<Semaphore>,
    pub(super) shelf: Arc<Shelf>,
    pub(super) metrics: Metrics,
}

impl Service {
    /// A service with the default [`ModelSettings`]; what is configured for single models is read
    /// from the store's directory.
    pub fn new(models: Models, scheduler: Scheduler) -> Self {
        let uploads = Arc::new(Semaphore::new(MAX_UPLOADS));
        let [imports, checks] = [1, 1].map(|places| Arc::new(Semaphore::new(places)));
        let places = NonZeroUsize::new(DEFAULT_MAX_PULLS).unwrap_or(NonZeroUsize::MIN);
        let transfers = Transfers::new(places);
        let settings = Live::new(ModelSettings::default());
        let exports = Arc::new(Semaphore::new(MAX_EXPORTS));
        let configured = Book::open(models.store().root());
        Self {
            models,
            scheduler,
            settings,
            configured,
            accounts: None,
            uploads,
            imports,
            checks,
            transfers,
            exports,
            shelf: Arc::default(),
            metrics: Metrics::off(),
        }
    }

    /// Says how models are loaded.
    #[must_use]
    pub fn with_settings(mut self, settings: ModelSettings) -> Self {
        self.settings = Live::new(settings);
        self
    }

    /// How models are loaded from now on; it may be changed.
    pub fn settings(&self) -> &Live<ModelSettings> {
        &self.settings
    }

    /// Says how many pulls, and how many pushes, may run at once; before the first of them.
    #[must_use]
    pub fn with_max_pulls(mut self, places: NonZeroUsize) -> Self {
        self.transfers = Transfers::new(places).with_metrics(self.metrics.clone());
        self
    }

    /// Has what it does counted.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Metrics) -> Self {
        self.transfers = self.transfers.with_metrics(metrics.clone());
        self.metrics = metrics;
        self
    }

    /// Says what is logged in to and searched; without it, neither is done.
    #[must_use]
    pub fn with_accounts(mut self, accounts: Accounts) -> Self {
        self.accounts = Some(accounts);
        self
    }
}
