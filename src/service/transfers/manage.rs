use crate::domain::{Error, ErrorKind, Result};

use super::super::Service;
use super::pull::pullable;
use super::{TransferInfo, Transfers};

impl Service {
    /// All transfers that run or wait, oldest first.
    pub fn transfers(&self) -> Vec<TransferInfo> {
        self.transfers.list()
    }

    /// Stops the transfers of a reference; their watchers hear why. Answers what they were.
    ///
    /// # Errors
    /// `InvalidReference`; `NotFound` where there is none.
    pub fn cancel_transfer(&self, reference: &str) -> Result<Vec<TransferInfo>> {
        let (_, reference) = pullable(reference)?;
        let cancelled = self.transfers.cancel(&reference);
        if cancelled.is_empty() {
            let message = format!(
                "no transfer of {reference} runs or waits; `modeld transfers` shows what does"
            );
            return Err(Error::new(ErrorKind::NotFound, message).with_param("reference"));
        }
        Ok(cancelled)
    }

    /// The transfers themselves, for whoever ends the daemon.
    pub fn all_transfers(&self) -> Transfers {
        self.transfers.clone()
    }
}
