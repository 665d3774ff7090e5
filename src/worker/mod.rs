//! What runs inside a worker process: one model, one step loop.
//!
//! ```text
//! stdin ─▶ reader ─┬─ Prepare ─▶ prepare thread (template, tokenise) ─┐
//!                  ├─ Start, Cancel ──────────────────────────────────┼─▶ step thread ─▶ frames
//!                  └─ Cancel ─▶ cancel board ─▶ abort flag (llama.cpp) ┘
//! ```
//!
//! The process trusts the daemon that started it, and nothing else: the model file is hostile until
//! proven otherwise, which is why the process confines itself before it opens it and why anything
//! that goes wrong ends the process rather than going on. The public face is [`run`].
//!
//! * `entry`: the order of things. `process`, `sandbox`, `seccomp`, `cpu`: what comes before the model.
//!   `load`, `progress`: the model. `exit`: how it ends.
//! * `reader`, `jobs`, `frames_out`: frames in and out. `prepare`, `quote`, `watchdog`,
//!   `thread_clock`: prompts to tokens.
//! * `step`, `sampling`, `text`, `cancel`: tokens to answers, on the seam `compute`.
//! * `output`: from the text of answers to content, thoughts and calls.
//! * `embed`: inputs to vectors and scores.
//! * `media`: images and sounds to pixels and samples.
//! * `constraint`: what answers may look like, token by token.
//! * `llama`: llama.cpp; the only `unsafe`.

pub mod cancel;
pub mod compute;
pub mod sampling;
pub mod step;
pub mod text;

mod constraint;
mod cpu;
mod embed;
mod entry;
mod exit;
mod frames_out;
mod jobs;
mod llama;
mod load;
mod media;
mod output;
mod prepare;
mod process;
mod progress;
mod quote;
mod reader;
mod sandbox;
#[cfg(all(test, target_os = "linux"))]
mod sandbox_tests;
#[cfg(target_os = "linux")]
mod seccomp;
mod thread_clock;
mod watchdog;

pub use cpu::check_features;
pub use entry::run;
