use std::time::Duration;

use crate::domain::{Digest, Error, ErrorKind, KeepAlive, Result, Wishes};
use crate::service::Service;
use crate::service::runnable::{purpose_of, wrong_kind};

use super::{Configured, Reconfigure, Settings};

impl Service {
    /// Configures a model from now on, also beyond the end of the daemon, and loads it in the
    /// background. What needs it to be loaded anew takes effect with its next load: an idle one is
    /// loaded anew by the next request.
    ///
    /// # Errors
    /// `InvalidReference`, `ModelNotFound`, `UnsupportedModel` for a purpose that it is not for;
    /// `InvalidValue` and `Unsupported` for flags; `Conflict` while requests use it, if it would
    /// have to be loaded anew; `DiskFull`.
    pub async fn configure(&self, model: &str, change: Reconfigure) -> Result<()> {
        // Before the model is looked for: one that is deleted meanwhile is forgotten afterwards.
        let changing = self.configured.changing().await;
        let local = self.models.resolve(model).await?;
        let (id, purpose) = (local.entry.id, purpose_of(&local.facts));
        if let Some(wanted) = change.purpose.filter(|wanted| *wanted != purpose) {
            return Err(wrong_kind(model, purpose, wanted));
        }
        let before = self.configured.configuration(id, purpose);
        let after = change.apply(&before);
        let settings = Settings::of(&after)?;
        if let Some(wanted) = settings.purpose.filter(|wanted| *wanted != purpose) {
            return Err(wrong_kind(model, purpose, wanted));
        }
        if settings.load_differs(&self.configured.in_force(id, purpose).settings) {
            self.require_unused(id, model).await?;
        }
        let keep_alive = after.keep_alive;
        if after != before {
            self.configured.set(&changing, (id, purpose), after, settings).await?;
        }
        if keep_alive != before.keep_alive {
            self.scheduler.keep(id, keep_alive).await;
        }
        drop(changing);
        // Loading what goes at once is of no use.
        if keep_alive != Some(KeepAlive::For(Duration::ZERO)) {
            self.load_ahead(model);
        }
        Ok(())
    }

    /// What is configured, of all models of the store or of one. A name that is none of a model has
    /// nothing.
    ///
    /// # Errors
    /// `Internal` if the store cannot be read.
    pub async fn configurations(&self, model: Option<&str>) -> Result<Vec<Configured>> {
        let models = self.models.list().await?;
        let only = match model {
            None => None,
            Some(name) => match self.models.inspect(name).await {
                Ok(entry) => Some(entry.id),
                Err(_) => return Ok(Vec::new()),
            },
        };
        let mut found = Vec::new();
        for (id, purpose, configuration) in self.configured.all() {
            let Some(entry) = models.iter().find(|entry| entry.id == id) else { continue };
            if only.is_none_or(|only| only == id) {
                let name = entry.tags.first().cloned().unwrap_or_else(|| id.to_string());
                found.push(Configured { id, name, purpose, configuration });
            }
        }
        found.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        Ok(found)
    }

    async fn require_unused(&self, id: Digest, model: &str) -> Result<()> {
        let settled = self.scheduler.settled().await;
        let Some(loaded) = settled.busy().find(|loaded| loaded.id == id) else { return Ok(()) };
        let message = format!(
            "runner already active: {model} has {} running and {} waiting requests, and would have \
             to be loaded anew; try again when they are done",
            loaded.running, loaded.waiting
        );
        Err(Error::new(ErrorKind::Conflict, message))
    }

    /// Loads a model for whoever asks next. Nobody waits for it.
    fn load_ahead(&self, model: &str) {
        let (service, model) = (self.clone(), model.to_owned());
        tokio::spawn(async move {
            if let Err(error) = service.preload(&model, Wishes::default()).await {
                tracing::warn!(
                    model, %error, cause = error.cause, "a configured model was not loaded ahead"
                );
            }
        });
    }
}
