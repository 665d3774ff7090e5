use std::sync::Arc;

use secrecy::SecretString;

use crate::domain::{Error, ErrorKind, ModelRef, Result, TransferEvent};

use super::super::Service;
use super::{Direction, Moved, Transfer};

impl Service {
    /// Uploads a model of the store under its own name, or watches the push that is at it already;
    /// its files are held in the store meanwhile. Whether the registry lets us is known only when
    /// the transfer begins to move.
    ///
    /// # Errors
    /// `InvalidReference` for what is no tag, `ModelNotFound`, `InvalidModel`; `QueueFull` for too
    /// many transfers; `ShuttingDown`. What goes wrong later comes through the transfer.
    pub async fn push(&self, model: &str, token: Option<SecretString>) -> Result<Transfer> {
        let reference = ModelRef::parse(model)?;
        let Some(tag) = reference.qualified_tag() else {
            let message = format!(
                "{reference} is no tag, and only tags can be pushed; `modeld tag` gives the model one"
            );
            return Err(Error::new(ErrorKind::InvalidReference, message));
        };
        // By its full name: a push must not find another model by the last part of its own.
        let outgoing = self.models.outgoing(&tag).await?;
        let plan = outgoing.plan();
        let models = self.models.clone();
        let job = (Direction::Push, tag, plan);
        self.transfers.join_or_start(job, false, |job| async move {
            let watched = Arc::clone(&job);
            let progress = Arc::new(move |layer| watched.board.post(TransferEvent::Layer(layer)));
            let pushed = models.push(&reference, outgoing, token.as_ref(), progress).await;
            match &pushed {
                Ok(()) => tracing::info!(reference = job.reference, "pushed"),
                Err(error) => tracing::warn!(
                    reference = job.reference,
                    kind = ?error.kind,
                    cause = error.cause,
                    "a push failed: {error}"
                ),
            }
            pushed.map(|()| Moved::Pushed)
        })
    }
}
