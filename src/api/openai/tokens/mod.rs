//! `…/tokenize` and `…/detokenize`, in llama-server's shape and in vLLM's.

mod convert;
mod handler;
pub(super) mod types;

pub(in crate::api) use handler::{detokenize, tokenize};
