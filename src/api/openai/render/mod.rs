//! Answers, streamed or whole, from the same events.

mod chunk;
mod layout;
mod logprobs;
mod parts;
mod whole;

pub(super) use chunk::ChunkStream;
pub(super) use layout::Layout;
pub(super) use parts::Meta;
pub(super) use whole::whole;

#[cfg(test)]
mod tests;
