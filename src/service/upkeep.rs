use std::ops::ControlFlow;

use crate::domain::{Error, ErrorKind, Result};
use crate::scheduler::UnloadTarget;
use crate::store::{DiskUsage, FsckProgress, FsckReport, PruneOptions, Pruned};

use super::Service;

impl Service {
    /// Where the disk space goes.
    ///
    /// # Errors
    /// `Internal` where the store cannot be read.
    pub async fn usage(&self) -> Result<DiskUsage> {
        self.models.usage().await
    }

    /// Removes what no model needs; what is in use or being written stays.
    ///
    /// # Errors
    /// `Internal` where the store cannot be read.
    pub async fn prune(&self, options: PruneOptions) -> Result<Pruned> {
        self.models.prune(options).await
    }

    /// Reads every byte of the store and compares it with its name. One check at a time: it keeps
    /// the disk busy. `progress` may break it off.
    ///
    /// # Errors
    /// `Conflict` while another check runs; `Internal` where the store cannot be read.
    pub async fn fsck(
        &self,
        mut progress: impl FnMut(FsckProgress) -> ControlFlow<()> + Send + 'static,
        repair: bool,
    ) -> Result<FsckReport> {
        let permit = self.checks.clone().try_acquire_owned().map_err(|_| {
            let message = "another check of the store is running; wait until it is done";
            Error::new(ErrorKind::Conflict, message)
        })?;
        let progress = move |told| {
            let _held = &permit;
            progress(told)
        };
        self.models.fsck(progress, repair).await
    }

    /// Removes every model and download. Transfers are stopped and idle models unloaded first;
    /// with `force` busy ones as well, which ends their requests with an error.
    ///
    /// # Errors
    /// `Conflict` while requests run or wait, without `force`, and then nothing is changed;
    /// `DiskFull`, `Internal`.
    pub async fn purge(&self, force: bool) -> Result<Pruned> {
        let settled = self.scheduler.settled().await;
        if let Some(loaded) = settled.busy().next().filter(|_| !force) {
            let message = format!(
                "{} is in use: {} running and {} waiting requests; wait until they are done, or \
                 purge with force=true, which ends them",
                loaded.name, loaded.running, loaded.waiting
            );
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        self.transfers.stop_all("all models are being removed").await;
        if force {
            for loaded in &settled.models {
                self.scheduler.evict(loaded.id, "all models were deleted").await;
            }
        }
        self.scheduler.unload(UnloadTarget::All).await;
        // A request that came meanwhile keeps its model's files until it ends.
        let purged = self.models.purge().await?;
        self.configured.forget(|_| true).await;
        Ok(purged)
    }
}
