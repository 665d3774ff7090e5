//! Reads the header of a GGUF file (version 2 and 3) and refuses what must not reach llama.cpp.
//!
//! Owns: the bounds of every number in a header, what a model says about itself, and how much
//! memory it will take. Pure parsing over any [`std::io::Read`]: it opens no file, keeps no large
//! array, and no input makes it panic or take more than a few tens of megabytes.

mod adapter;
mod error;
mod facts;
mod header;
mod human;
mod memory;
mod shards;
mod source;
mod tensor;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod value;

pub use adapter::Adapter;
pub use error::GgufError;
pub use facts::{Facts, Shape, Split};
pub use header::{Header, MAX_HEADER_BYTES, MAX_KEYS, MAX_TENSORS, read_header};
pub use human::{human_bytes, human_count};
pub use memory::{
    Estimate, MIN_CONTEXT, POOLED_CHUNK, estimate, estimate_pooled, fit_context, pools_in_chunks,
};
pub use shards::{ShardName, facts_of};
pub use tensor::TensorInfo;
pub use value::{Array, Value};
