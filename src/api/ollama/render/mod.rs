//! Events become Ollama's objects: lines of JSON while an answer goes on, or one at its end. Both
//! are told by one fold of the events.

mod fold;
mod line;
mod logprobs;
mod metrics;
mod stream;
#[cfg(test)]
mod tests;
mod whole;

pub(super) use line::{Meta, Shape};
pub(super) use metrics::nanoseconds;
pub(super) use stream::LineStream;
pub(super) use whole::Whole;
