//! From the text that a model writes to what it means: content, thoughts and calls.
//!
//! ```text
//! step loop ─▶ OutputSink ─┬─ jobs without a format ───────────────────▶ frames
//!                          └─ jobs with one ─▶ output thread (parses) ─▶ frames
//! ```
//!
//! * `sink`: who goes where. All frames of a job with a [`Format`] take the way through the thread,
//!   from its preparation to its last, so they stay in order.
//! * `thread`: one for all jobs. Parsing costs time in proportion to the length of the answer so
//!   far, so it happens as often as a tenth of a core's time allows, and at once for what is short.
//! * `answer`: one answer of a job, and what of it was shown. What was shown is never taken back:
//!   what may still change is held back. `shown`: how much of a parse may be shown.
//! * `logprobs`: which tokens belong to which content.
//! * `format`: how answers of one job are read: by llama.cpp's parser of the model's template, or
//!   as modeld's own format for models whose templates know no tools (`generic`).
//!
//! It must never block but on the frames themselves, and never lose text: what cannot be read is
//! content.
//!
//! A request's own stop strings are looked for in the text as the model writes it, so one that
//! occurs in a call ends the call.

mod answer;
mod format;
mod generic;
mod logprobs;
mod shown;
mod sink;
mod thread;

#[cfg(test)]
mod families;
#[cfg(test)]
mod tests;

pub use format::{Format, Reader};
pub use sink::{Formats, OutputSink};
