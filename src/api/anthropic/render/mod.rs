//! Answers, streamed or whole, from the same blocks.

mod blocks;
mod parts;
mod stream;
mod whole;

pub(super) use parts::{CALL_PREFIX, Meta};
pub(super) use stream::MessageStream;
pub(super) use whole::Whole;

#[cfg(test)]
mod tests;
