use secrecy::SecretString;

use crate::domain::{Error, ErrorKind, ModelEntry, ModelRef, Result};

use super::super::Service;
use super::{Direction, Moved, Transfer};

impl Service {
    /// Pulls a model, or watches the pull that is at it already. The registry is asked first, with
    /// `token` if there is one: what is not there or not allowed is known when this answers.
    ///
    /// # Errors
    /// `InvalidReference`; those of [`crate::registry::Registry::resolve`]; `QueueFull` for too many
    /// transfers; `ShuttingDown`. What goes wrong later comes through the transfer.
    pub async fn pull(&self, reference: &str, token: Option<SecretString>) -> Result<Transfer> {
        let (asked, reference) = pullable(reference)?;
        let planning = self.models.plan_pull(&asked, token.as_ref());
        let plan = self.transfers.unless_closing(planning).await?;
        let transfer = plan.transfer();
        // Only a tag is to be set then: no reason to wait behind others that move files.
        let at_once = match transfer.id {
            Some(id) => self.models.inspect(&id.to_string()).await.is_ok(),
            None => false,
        };
        let job = (Direction::Pull, reference, transfer);
        self.transfers.join_or_start(job, at_once, |job| async move {
            let begun = std::time::Instant::now();
            let pulled = plan.run(|event| job.board.post(event)).await;
            let seconds = begun.elapsed().as_secs();
            match &pulled {
                Ok(pulled) => tracing::info!(
                    reference = job.reference,
                    id = %pulled.id,
                    cached = pulled.cached,
                    bytes = pulled.bytes,
                    seconds,
                    "pulled"
                ),
                Err(error) => tracing::warn!(
                    reference = job.reference,
                    kind = ?error.kind,
                    cause = error.cause,
                    seconds,
                    "a pull failed: {error}"
                ),
            }
            pulled.map(Moved::Pulled)
        })
    }

    /// A model as its registry describes it; nothing is moved.
    ///
    /// # Errors
    /// As [`Service::pull`].
    pub async fn remote_inspect(
        &self,
        reference: &str,
        token: Option<SecretString>,
    ) -> Result<ModelEntry> {
        let (asked, _) = pullable(reference)?;
        let asking = self.models.inspect_remote(&asked, token.as_ref());
        self.transfers.unless_closing(asking).await
    }
}

/// What to ask the registry for, and its normal form.
pub(super) fn pullable(reference: &str) -> Result<(String, String)> {
    match ModelRef::parse(reference)? {
        ModelRef::Named(name) => Ok((reference.trim().to_owned(), name.whole())),
        // To a registry it can only be a name.
        ModelRef::ShortId(hex) => {
            let named = ModelRef::named(&hex)?.to_string();
            Ok((named.clone(), named))
        }
        ModelRef::Id(id) => {
            let message = format!("{id} names no registry; pull by a name, as `smollm2`");
            Err(Error::new(ErrorKind::InvalidReference, message))
        }
    }
}
