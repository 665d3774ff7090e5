use crate::domain::{Error, ErrorKind, Result};
use crate::models::{ImportEvent, ImportOptions};

use super::Service;

impl Service {
    /// Takes in what other programs have, see [`crate::models::Models::import`]. One at a time:
    /// reading every model of a machine keeps its disk busy.
    ///
    /// # Errors
    /// `InvalidReference`; `Conflict` while another import runs.
    pub async fn import(
        &self,
        options: ImportOptions,
        events: impl Fn(ImportEvent) + Send + 'static,
    ) -> Result<()> {
        let permit = self.imports.clone().try_acquire_owned().map_err(|_| {
            Error::new(ErrorKind::Conflict, "another import is running; wait until it is done")
        })?;
        let events = move |event| {
            let _held = &permit;
            events(event);
        };
        self.models.import(options, events).await
    }
}
