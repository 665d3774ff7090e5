//! The loop of a model that makes vectors or scores: batch after batch.
//!
//! It owns which inputs of which jobs are in the next batch, when a job ends and what is said about
//! it. One input of each job goes in at a time, so that a job of a thousand texts holds nobody up;
//! a cancellation is felt after one batch. Nothing of an input is kept afterwards.
//!
//! It must never show a vector that is not one (NaN, infinity) and never compute for a job that is
//! cancelled. It knows llama.cpp only as [`Pool`].
//!
//! * `engine`: the loop. `job`: one request. `pool`: the seam to llama.cpp.

mod engine;
mod job;
mod pool;

#[cfg(test)]
mod tests;

pub use engine::EmbedLoop;
pub use pool::{Pool, PoolLimits};
