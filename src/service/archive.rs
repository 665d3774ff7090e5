use std::io::Read;

use crate::domain::{ModelEntry, Result};

use super::Service;

impl Service {
    /// Takes in a Docker model archive, read on a thread that may block; answers its entry, which
    /// has no tag yet.
    ///
    /// # Errors
    /// `InvalidModel` for anything wrong with it, `DiskFull`; nothing is left in the store then.
    pub async fn load_archive(&self, tar: Box<dyn Read + Send>) -> Result<ModelEntry> {
        self.models.load_archive(tar).await
    }
}
