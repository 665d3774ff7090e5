//! The end of a daemon that nobody uses, where somebody else holds its sockets and starts it again.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::activity::Activity;
use crate::scheduler::Scheduler;
use crate::service::Transfers;

/// How often a transfer that nobody watches, and a stored response that nobody asks for, is looked
/// at; they tell of their end in no other way.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// What has to be over before the daemon may go.
pub(super) struct Use {
    pub activity: Activity,
    pub scheduler: Scheduler,
    pub transfers: Transfers,
    /// Whether it holds what a client may come back for and another daemon would not have.
    pub holds: Box<dyn Fn() -> bool + Send + Sync>,
}

impl Use {
    /// Whether nothing is being done for anybody: no request, no connection that may bring one, no
    /// loaded model, no transfer; and nothing would be lost.
    pub(super) fn is_over(&self) -> bool {
        self.activity.is_quiet()
            && self.scheduler.snapshot().models.is_empty()
            && !self.ends_in_silence()
    }

    fn ends_in_silence(&self) -> bool {
        !self.transfers.is_idle() || (self.holds)()
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
            } else if self.ends_in_silence() {
                Some(LOOK_AGAIN.min(limit))
            } else {
                // What ends says so.
                None
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
