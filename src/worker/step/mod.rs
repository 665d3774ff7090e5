//! The step loop: every running sequence in one batch, step after step.
//!
//! It owns which sequence is where in the KV cells, what each step computes, when a job ends and
//! what is said about it. It never blocks while there is work, never computes on behalf of a job
//! that is cancelled, and asks for logits only where a token is chosen. It knows llama.cpp only as
//! [`Compute`](super::compute::Compute).
//!
//! ```text
//! commands ─▶ prepared ─▶ waiting ─▶ prefilling ─▶ decoding ─▶ gone
//!                            ▲           │            │          └▶ its sequence stays: idle prefix
//!                            └─ preempted ┴────────────┘
//! ```
//!
//! * `command`: what comes in and goes out. `engine`: the loop. `plan`: what the next step computes.
//!   `room`: what happens when it does not fit.
//! * `slots`, `cells`: sequences, shared prefixes, cells. `pace`: how long a step may take.
//!   `job`: one answer. `heartbeat`: the sign of life.

mod cells;
mod command;
mod engine;
mod heartbeat;
mod job;
mod pace;
mod plan;
mod room;
mod slots;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod simulation;

pub use command::{FrameSink, StepCommand, StepSettings};
pub use engine::StepLoop;
pub(in crate::worker) use heartbeat::{Heartbeat, Vitals};
