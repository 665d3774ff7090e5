//! The seam between scheduling and computing: [`Engine`] is one loaded model.
//!
//! `worker` runs it in a process of its own, `scripted` plays a fixed script for tests. Whoever
//! holds an engine sees events and errors only; frames, processes and signals stay in here.

mod counted;
mod outbox;
pub mod scripted;
mod seam;
pub mod worker;

pub use counted::CountedFactory;
pub use outbox::{Attempt, AttemptEnd, EventReceiver, EventSender, outbox};
pub use seam::{BoxFuture, Engine, EngineFactory, Exit, LoadProgress, Start};
