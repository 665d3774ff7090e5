use std::time::Instant;

use crate::domain::{Error, ErrorKind, Result};
use crate::models::LocalModel;

use super::super::Service;
use super::pull::pullable;

impl Service {
    /// The local files of a model. One that is not in the store is pulled first where the settings
    /// say so: all requests that want it wait for one pull, which ends with the last of them.
    ///
    /// # Errors
    /// Those of [`crate::models::Models::resolve`] and [`Service::pull`]; `DeadlineExceeded` if the
    /// pull takes longer than the answer is of use.
    pub(in crate::service) async fn obtain(
        &self,
        model: &str,
        deadline: Option<Instant>,
    ) -> Result<LocalModel> {
        let missing = match self.models.resolve(model).await {
            Err(error) if error.kind == ErrorKind::ModelNotFound => error,
            found => return found,
        };
        // Ids name no registry.
        let Ok((name, _)) = pullable(model) else { return Err(missing) };
        if !self.settings.get().auto_pull {
            let message = format!("{}; `modeld pull {name}` gets it", missing.message);
            return Err(Error { message, ..missing });
        }
        let pulling = async { self.pull(model, None).await?.finish().await };
        match deadline {
            None => pulling.await?,
            Some(until) => {
                tokio::time::timeout_at(until.into(), pulling).await.map_err(|_| {
                    let message = format!(
                        "{name} is not in the store, and pulling it took longer than \
                         x-request-timeout allows; what came is kept"
                    );
                    Error::new(ErrorKind::DeadlineExceeded, message)
                })??
            }
        };
        self.models.resolve(model).await
    }
}
