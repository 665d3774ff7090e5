//! Items from events. There is one builder: a whole answer is what it holds at the end, a stream is
//! what it says on the way.

mod answer;
mod frame;
mod logprobs;
mod open;
mod replay;
mod stream;

pub(super) use answer::Answer;
pub(super) use replay::replay;
pub(super) use stream::{FrameStream, Keep};

#[cfg(test)]
mod tests;
