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
//! A request for several answers is one job until its prompt is computed and several from then on,
//! which share the prompt's cells.
//!
//! * `command`: what comes in and goes out. `admit`: what is refused. `engine`: the loop. `plan`:
//!   what the next step computes. `room`: what happens when it does not fit. `choose`: what is said
//!   of what was computed. `media`: images and sounds in prompts.
//! * `slots`, `cells`: sequences, shared prefixes, cells. `pace`: how long a step may take.
//!   `job`: one answer. `thought`: what of it is thinking. `heartbeat`: the sign of life.

mod admit;
mod cells;
mod choose;
mod command;
mod engine;
mod heartbeat;
mod job;
mod media;
mod pace;
mod plan;
mod room;
mod slots;
mod thought;

#[cfg(test)]
mod answers;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod media_scenarios;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod shift_scenarios;
#[cfg(test)]
mod simulation;

pub use command::{FrameSink, StepCommand, StepSettings};
pub use engine::StepLoop;
pub(in crate::worker) use heartbeat::{Heartbeat, Vitals};
