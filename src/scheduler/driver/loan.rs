use std::sync::Arc;

use tokio::sync::oneshot;
use tokio_util::sync::DropGuard;

use crate::domain::{Error, Result};
use crate::engine::Engine;
use crate::protocol::ModelInfo;

/// An engine in the hands of somebody who asks it something beside the queue. Its model is in use
/// for as long.
pub(in crate::scheduler) struct Loan {
    pub(in crate::scheduler) engine: Arc<dyn Engine>,
    /// Counted by its model; goes before the driver is told.
    pub(super) _held: Arc<()>,
    pub(super) _told: DropGuard,
}

/// Who waits for a load beside the queue.
pub(super) enum LoadWaiter {
    /// For nothing else.
    Preload(oneshot::Sender<Result<ModelInfo>>),
    /// To ask it something.
    Borrow(oneshot::Sender<Result<Loan>>),
}

impl LoadWaiter {
    /// Tells them that it failed.
    pub(super) fn fail(self, error: Error) {
        match self {
            Self::Preload(reply) => drop(reply.send(Err(error))),
            Self::Borrow(reply) => drop(reply.send(Err(error))),
        }
    }
}
