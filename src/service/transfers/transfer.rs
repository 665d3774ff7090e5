use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::watch;

use crate::domain::{Error, Result, TransferEvent};

use super::job::{Direction, Job, Moved, TransferInfo};

/// One watcher of a transfer. Dropping the last one stops the transfer, unless it is detached.
pub struct Transfer {
    job: Arc<Job>,
    changes: watch::Receiver<()>,
    seen: u64,
    news: VecDeque<TransferEvent>,
    over: bool,
}

/// What a watcher sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// News.
    Event(TransferEvent),
    /// Nothing follows.
    Ended(Result<Moved>),
}

impl Transfer {
    pub(super) fn new(job: Arc<Job>) -> Self {
        let changes = job.board.changes();
        Self { job, changes, seen: 0, news: VecDeque::new(), over: false }
    }

    /// The next step; `None` after the end. Begins with the state as it is, so that who joins late
    /// knows as much as who came first. May be dropped and called again.
    pub async fn next(&mut self) -> Option<Step> {
        if self.over {
            return None;
        }
        loop {
            if let Some(event) = self.news.pop_front() {
                return Some(Step::Event(event));
            }
            self.changes.borrow_and_update();
            let (news, end) = self.job.board.since(&mut self.seen);
            self.news.extend(news);
            if !self.news.is_empty() {
                continue;
            }
            if let Some(end) = end {
                self.over = true;
                return Some(Step::Ended(end));
            }
            if self.changes.changed().await.is_err() {
                // Cannot be: the board is in the job.
                self.over = true;
                return Some(Step::Ended(Err(Error::internal("a transfer lost its board"))));
            }
        }
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// What ended it instead.
    pub async fn finish(mut self) -> Result<Moved> {
        while let Some(step) = self.next().await {
            if let Step::Ended(end) = step {
                return end;
            }
        }
        Err(Error::internal("a transfer ended without a word"))
    }

    /// Lets it go on without watchers.
    pub fn detach(&self) {
        self.job.detach();
    }

    /// Which way it goes.
    pub fn direction(&self) -> Direction {
        self.job.direction
    }

    /// What lists show of it.
    pub fn info(&self) -> TransferInfo {
        self.job.info()
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.job.leave();
    }
}
