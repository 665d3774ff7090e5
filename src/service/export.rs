use std::io::{self, Write};

use tokio::sync::OwnedSemaphorePermit;

use crate::domain::{Digest, Error, ErrorKind, Result};
use crate::models::{Changes, Export, Repackaged};

use super::Service;

/// Archives sent at once; each keeps a thread and the disk busy.
pub(super) const MAX_EXPORTS: usize = 4;

/// An archive that is being sent; its place is free when it is dropped.
#[derive(Debug)]
pub struct Exporting {
    export: Export,
    _permit: OwnedSemaphorePermit,
}

impl Service {
    /// A model as a Docker model archive, see [`crate::models::Models::export`].
    ///
    /// # Errors
    /// `InvalidReference`, `ModelNotFound`, `InvalidModel`; `QueueFull` while four others are sent.
    pub async fn export(&self, model: &str) -> Result<Exporting> {
        let permit = self.exports.clone().try_acquire_owned().map_err(|_| {
            let message = format!("{MAX_EXPORTS} models are being exported, the limit; try again");
            Error::new(ErrorKind::QueueFull, message)
        })?;
        Ok(Exporting { export: self.models.export(model).await?, _permit: permit })
    }

    /// Makes a model from another one, see [`crate::models::Models::repackage`].
    ///
    /// # Errors
    /// As there.
    pub async fn repackage(
        &self,
        source: &str,
        target: &str,
        changes: Changes,
    ) -> Result<Repackaged> {
        self.models.repackage(source, target, changes).await
    }
}

impl Exporting {
    /// The model.
    pub fn id(&self) -> Digest {
        self.export.id()
    }

    /// The exact length of the archive in bytes.
    pub fn total_bytes(&self) -> u64 {
        self.export.total_bytes()
    }

    /// Writes the archive. Blocks.
    ///
    /// # Errors
    /// As [`Export::write_tar`].
    pub fn write_tar(&self, out: &mut impl Write) -> io::Result<()> {
        self.export.write_tar(out)
    }
}
