//! The end of a daemon that nobody uses, where somebody else holds its sockets and starts it again.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::activity::Activity;
use crate::scheduler::Scheduler;
use crate::service::Transfers;

/// How often a transfer that nobody watches is looked at; it tells of its end in no other way.
const LOOK_AT_TRANSFERS: Duration = Duration::from_secs(5);

/// What has to be over before the daemon may go.
pub(super) struct Use {
    pub activity: Activity,
    pub scheduler: Scheduler,
    pub transfers: Transfers,
}

impl Use {
    /// Whether nothing is being done for anybody: no request, no connection that may bring one, no
    /// loaded model, no transfer.
    pub(super) fn is_over(&self) -> bool {
        self.activity.is_quiet()
            && self.scheduler.snapshot().models.is_empty()
            && self.transfers.is_idle()
    }

    /// Completes when it has been over for `limit` without a break.
    pub(super) async fn over_for(&self, limit: Duration) {
        let mut connections = self.activity.changes();
        let mut models = self.scheduler.changes();
        loop {
            connections.mark_unchanged();
            models.mark_unchanged();
            let over = self.is_over();
            let wait = if over {
                Some(limit)
            } else if self.transfers.is_idle() {
                // What ends says so.
                None
            } else {
                Some(LOOK_AT_TRANSFERS.min(limit))
            };
            tokio::select! {
                () = elapsed(wait) => {
                    if over && self.is_over() {
                        return;
                    }
                }
                () = change(&mut connections) => {}
                () = change(&mut models) => {}
            }
        }
    }
}

async fn elapsed(wait: Option<Duration>) {
    match wait {
        Some(wait) => sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// Without its sender nothing changes any more.
async fn change<T>(of: &mut watch::Receiver<T>) {
    if of.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
