//! Engines in processes of their own: spawning, talking to and burying workers.
//!
//! ```text
//!            spawn            Hello            Ready
//!  (nothing) ─────▶ confining ─────▶ loading ─────────▶ serving ──▶ gone
//!                       │               │                 │          ▲
//!                       └───────────────┴── LoadFailed,   └──────────┤
//!                          silence, exit, broken frame: killed ──────┘
//! ```
//!
//! * [`WorkerFactory`] re-executes this binary with one end of a socket pair as its stdin. All
//!   spawning happens on one thread that lives as long as the factory: a worker asks the kernel to
//!   be killed when the *thread* that made it ends.
//! * The daemon sends `Load` at once; the worker reads it, confines itself to the files that it
//!   names and only then says hello.
//! * One task per worker (`supervisor`) reads its frames, watches that it lives, and reaps it. It
//!   alone decides that a worker is gone, and it tells every job.
//! * A worker is never trusted: a frame that does not decode, a job that nobody started or an
//!   event out of place is the end of that worker and of nothing else.
//!
//! Nothing in here decides about retries, queues or memory; that is the scheduler's.

mod command;
mod engine;
mod factory;
mod jobs;
mod last_words;
mod process;
mod spawner;
mod supervisor;

#[cfg(test)]
mod fake;

pub use factory::{Patience, WorkerConfig, WorkerFactory};
