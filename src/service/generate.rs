use crate::domain::{GenerateRequest, Result};
use crate::scheduler::{Generation, Runnable, Submission};

use super::runnable::runnable;
use super::{Caller, Service};

impl Service {
    /// Finds the model, checks that it can generate, and puts the request into its queue.
    ///
    /// # Errors
    /// `InvalidReference`, `ModelNotFound`, `UnsupportedModel`, `InvalidModel`, `ModelTooLarge`,
    /// and those of [`crate::scheduler::Scheduler::submit`]. What goes wrong later comes through the
    /// generation.
    pub async fn generate(
        &self,
        caller: Caller,
        model: &str,
        request: GenerateRequest,
    ) -> Result<Generation> {
        let Caller { client, deadline } = caller;
        let model = self.find(model).await?;
        self.scheduler.submit(Submission { model, request, client, deadline }).await
    }

    /// Loads the model without asking it anything.
    ///
    /// # Errors
    /// As [`Service::generate`], and those of the load.
    pub async fn preload(&self, model: &str) -> Result<()> {
        let model = self.find(model).await?;
        self.scheduler.preload(model).await.map(drop)
    }

    async fn find(&self, model: &str) -> Result<Runnable> {
        runnable(model, self.models.resolve(model).await?, &self.settings)
    }
}
