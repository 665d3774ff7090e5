//! From a logits row to the next token.
//!
//! Same parameters, same seed, same tokens before and same logits give the same token, whatever else
//! is in the batch. The order of the filters is the field's usual one: biases, penalties, top-k,
//! typical-p, top-p, min-p, temperature, then the draw. Nothing here allocates per token once its buffers have grown.

mod logprobs;
mod params;
mod penalties;
mod rng;
mod sampler;
mod select;

pub use logprobs::{Logprobs, logprobs};
pub use params::{Params, resolve};
pub use sampler::{Sampler, Scratch};
