use std::io::{self, Read};

use tokio::sync::OwnedSemaphorePermit;

use crate::domain::{Error, ErrorKind, ModelEntry, Result};

use super::Service;

/// Archives taken in at once; each keeps a thread.
pub(super) const MAX_UPLOADS: usize = 4;

impl Service {
    /// Takes in a Docker model archive, read on a thread that may block; answers its entry, which
    /// has no tag yet.
    ///
    /// # Errors
    /// `InvalidModel` for anything wrong with it, `DiskFull`; nothing is left in the store then.
    /// `QueueFull` while four others are taken in.
    pub async fn load_archive(&self, tar: Box<dyn Read + Send>) -> Result<ModelEntry> {
        let permit = self.uploads.clone().try_acquire_owned().map_err(|_| {
            let message = format!("{MAX_UPLOADS} models are being taken in, the limit; try again");
            Error::new(ErrorKind::QueueFull, message)
        })?;
        self.models.load_archive(Box::new(Upload { tar, _permit: permit })).await
    }
}

/// Holds its place until the thread that reads it has let go.
struct Upload {
    tar: Box<dyn Read + Send>,
    _permit: OwnedSemaphorePermit,
}

impl Read for Upload {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.tar.read(out)
    }
}
