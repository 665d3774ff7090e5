//! Who is served when: queues, loaded models, and the way of each request to its engine.
//!
//! ```text
//!  submit ─▶ queue ─▶ prepare ─▶ start ─▶ events ─▶ Generation      drop = cancel
//!             (fair, bounded)      │                    ▲
//!                                  └── engine ──────────┘  directly, never through the driver
//! ```
//!
//! `queue` and `residency` are plain values with property tests; one task, the `driver`,
//! owns them and everything else that changes. Readers get a [`Snapshot`]; nobody takes a lock.
//!
//! This module knows engines by their trait only. It never touches a file, a process or a socket,
//! and memory estimates come to it as numbers.

mod driver;
mod generation;
mod handle;
mod queue;
mod rates;
mod residency;
mod ticket;
mod types;

pub use generation::Generation;
pub use handle::Scheduler;
pub use types::{LoadedModel, Runnable, SchedulerConfig, Snapshot, Submission, UnloadTarget};

#[cfg(test)]
mod tests;
