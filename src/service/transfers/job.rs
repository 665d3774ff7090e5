use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio_util::sync::CancellationToken;

use crate::domain::{Digest, Error, ErrorKind, Pulled, TransferEvent, TransferPlan};
use crate::metrics::ByteMeter;

use super::board::Board;
use super::transfer::Transfer;

/// Which way a transfer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From a registry into the store.
    Pull,
    /// From the store to a registry.
    Push,
}

impl Direction {
    /// `pull` or `push`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
        }
    }
}

/// How a transfer ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moved {
    /// The model is in the store.
    Pulled(Pulled),
    /// The registry has the model.
    Pushed,
}

/// A running or waiting transfer, for lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferInfo {
    /// Which way.
    pub direction: Direction,
    /// The normalised reference.
    pub reference: String,
    /// The model's id.
    pub id: Option<Digest>,
    /// Bytes to move, those that are there already included.
    pub total: u64,
    /// Bytes done.
    pub current: u64,
    /// When it was asked for.
    pub started: SystemTime,
    /// Who watches it right now.
    pub watchers: usize,
    /// Goes on without watchers.
    pub detached: bool,
}

/// One transfer.
pub(super) struct Job {
    pub(super) direction: Direction,
    pub(super) reference: String,
    pub(super) id: Option<Digest>,
    pub(super) board: Board,
    /// Completes when it has to stop.
    pub(super) stop: CancellationToken,
    /// Completes when nothing of it is left.
    pub(super) gone: CancellationToken,
    started: SystemTime,
    interest: Mutex<Interest>,
}

#[derive(Default)]
struct Interest {
    watchers: usize,
    detached: bool,
    /// Why it was stopped.
    stopped: Option<Error>,
}

impl Job {
    pub(super) fn new(
        direction: Direction,
        reference: String,
        plan: TransferPlan,
        meter: ByteMeter,
    ) -> Self {
        let (id, board) = (plan.id, Board::counting(meter));
        board.post(TransferEvent::Planned(plan));
        Self {
            direction,
            reference,
            id,
            board,
            stop: CancellationToken::new(),
            gone: CancellationToken::new(),
            started: SystemTime::now(),
            interest: Mutex::default(),
        }
    }

    /// One more watcher; none where it is over or about to be.
    pub(super) fn join(self: &Arc<Self>) -> Option<Transfer> {
        let mut interest = self.lock();
        if interest.stopped.is_some() || self.board.has_ended() {
            return None;
        }
        interest.watchers = interest.watchers.saturating_add(1);
        Some(Transfer::new(Arc::clone(self)))
    }

    /// One watcher less; the last one stops what is not detached.
    pub(super) fn leave(&self) {
        let mut interest = self.lock();
        interest.watchers = interest.watchers.saturating_sub(1);
        if interest.watchers == 0 && !interest.detached {
            let message = format!("nobody waits for the {} any more", self.direction.word());
            interest.stopped.get_or_insert(Error::new(ErrorKind::Cancelled, message));
            self.stop.cancel();
        }
    }

    pub(super) fn detach(&self) {
        self.lock().detached = true;
    }

    /// The first reason counts.
    pub(super) fn stop_because(&self, reason: Error) {
        self.lock().stopped.get_or_insert(reason);
        self.stop.cancel();
    }

    pub(super) fn reason(&self) -> Error {
        let stopped = self.lock().stopped.clone();
        stopped.unwrap_or_else(|| Error::internal("a transfer was stopped without a reason"))
    }

    pub(super) fn info(&self) -> TransferInfo {
        let (total, current) = self.board.progress();
        let interest = self.lock();
        TransferInfo {
            direction: self.direction,
            reference: self.reference.clone(),
            id: self.id,
            total,
            current,
            started: self.started,
            watchers: interest.watchers,
            detached: interest.detached,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Interest> {
        self.interest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
