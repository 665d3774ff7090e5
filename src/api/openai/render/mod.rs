//! Answers, streamed or whole, from the same events.

mod chunk;
mod parts;
mod whole;

pub(super) use chunk::ChunkStream;
pub(super) use parts::{Meta, Shape};
pub(super) use whole::whole;

#[cfg(test)]
mod tests;
