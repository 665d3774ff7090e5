use std::time::Instant;

use crate::domain::{EmbedInput, GenerateRequest, Prompt, Result, Wishes};
use crate::protocol::{Purpose, Query, QueryAnswer};
use crate::scheduler::{Generation, Runnable, Submission};

use super::configure::InForce;
use super::runnable::{purpose_of, runnable};
use super::{Caller, Service};

impl Service {
    /// Finds the model, checks that it can generate, and puts the request into its queue. What the
    /// request does not say is what is configured for the model.
    ///
    /// # Errors
    /// `InvalidReference`, `ModelNotFound`, `UnsupportedModel`, `InvalidModel`, `ModelTooLarge`,
    /// and those of [`crate::scheduler::Scheduler::submit`]. What goes wrong later comes through the
    /// generation.
    pub async fn generate(
        &self,
        caller: Caller,
        model: &str,
        mut request: GenerateRequest,
    ) -> Result<Generation> {
        let Caller { client, deadline, wishes } = caller;
        let purpose = purpose_for(&request.prompt);
        let (model, configured) = self.find(model, Some(purpose), deadline, &wishes).await?;
        configured.settings.complete(&mut request);
        let meter = self.metrics.generation(&model.name);
        let submission = Submission { model, request, client, deadline, wishes };
        match self.scheduler.submit(submission).await {
            Ok(generation) => Ok(generation.metered(meter)),
            Err(error) => {
                meter.refused();
                Err(error)
            }
        }
    }

    /// Loads the model without asking it anything. One that is loaded begins its time to stay anew,
    /// and one that is idle is loaded anew if its context is smaller than is wished.
    ///
    /// # Errors
    /// As [`Service::generate`], and those of the load.
    pub async fn preload(&self, model: &str, wishes: Wishes) -> Result<()> {
        let (model, _) = self.find(model, None, None, &wishes).await?;
        self.scheduler.preload(model, wishes).await.map(drop)
    }

    /// Asks a model something that needs no computing; loads it if it is not. Counting the tokens of
    /// a conversation is [`Query::Tokenize`].
    ///
    /// # Errors
    /// As [`Service::generate`], and those of the load and of the question.
    pub async fn query(&self, model: &str, mut query: Query) -> Result<QueryAnswer> {
        let (model, configured) = self.find(model, None, None, &Wishes::default()).await?;
        if let Query::Tokenize(prompt) = &mut query {
            configured.settings.complete_prompt(prompt);
        }
        self.scheduler.query(model, query).await
    }

    /// The same of a model that is loaded; one that has gone meanwhile is not loaded for it.
    ///
    /// # Errors
    /// `Cancelled` if it is not loaded; those of [`Service::query`].
    pub async fn query_loaded(&self, model: &str, mut query: Query) -> Result<QueryAnswer> {
        let (model, configured) = self.find(model, None, None, &Wishes::default()).await?;
        if let Query::Tokenize(prompt) = &mut query {
            configured.settings.complete_prompt(prompt);
        }
        self.scheduler.query_loaded(model, query).await
    }

    async fn find(
        &self,
        model: &str,
        purpose: Option<Purpose>,
        deadline: Option<Instant>,
        wishes: &Wishes,
    ) -> Result<(Runnable, InForce)> {
        let local = self.obtain(model, deadline).await?;
        let configured = self.configured.in_force(local.entry.id, purpose_of(&local.facts));
        let model = runnable(model, local, &self.settings.get(), purpose, &configured, wishes)?;
        Ok((model, configured))
    }
}

/// What a model has to be for, to take a prompt.
fn purpose_for(prompt: &Prompt) -> Purpose {
    match prompt {
        Prompt::Embed(inputs) => {
            let pairs = inputs.iter().any(|input| matches!(input, EmbedInput::Pair { .. }));
            if pairs { Purpose::Rerank } else { Purpose::Embed }
        }
        Prompt::Chat(_) | Prompt::Text(_) | Prompt::Tokens(_) | Prompt::Fill { .. } => {
            Purpose::Generate
        }
    }
}
