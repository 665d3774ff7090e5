use futures_util::StreamExt;

use crate::domain::{EmbedInput, Error, GenerateRequest, Prompt, Result, Transcript, Usage};
use crate::scheduler::Generation;

use super::{Caller, Service};

/// Inputs of one request (OpenAI's own bound). They are one job: the worker takes them in turn with
/// those of others.
pub const MAX_INPUTS: usize = 2_048;

/// What an embedding model or a reranker made of some inputs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Embedded {
    /// For each input its vector as the model pools it, or its one score; in order.
    pub vectors: Vec<Vec<f32>>,
    /// What was computed.
    pub usage: Usage,
}

impl Service {
    /// Vectors of texts or tokens, or scores of pairs: puts all of the inputs into the model's queue
    /// as one request. [`Embedded::collect`] reads its answer.
    ///
    /// # Errors
    /// `InvalidValue` for no inputs, or more than [`MAX_INPUTS`]; those of [`Service::generate`].
    pub async fn embed(
        &self,
        caller: Caller,
        model: &str,
        inputs: Vec<EmbedInput>,
    ) -> Result<Generation> {
        let count = inputs.len();
        if count == 0 || count > MAX_INPUTS {
            let message = format!("{count} inputs were sent: send 1 to {MAX_INPUTS} at once");
            return Err(Error::invalid("input", message));
        }
        self.generate(caller, model, GenerateRequest::new(Prompt::Embed(inputs))).await
    }
}

impl Embedded {
    /// Reads the answer to so many inputs to its end.
    ///
    /// # Errors
    /// What ended the request instead.
    pub async fn collect(generation: &mut Generation, inputs: usize) -> Result<Self> {
        let mut transcript = Transcript::default();
        while let Some(event) = generation.next().await {
            transcript.push(event?);
        }
        let Some(outcome) = transcript.outcome else {
            return Err(Error::internal("an embedding ended without a result"));
        };
        let vectors = transcript.vectors;
        if vectors.len() != inputs || vectors.iter().any(Vec::is_empty) {
            let cause = format!("{} vectors came for {inputs} inputs", vectors.len());
            return Err(Error::internal(cause));
        }
        Ok(Self { vectors, usage: outcome.usage })
    }
}
