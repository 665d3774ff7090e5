//! Ollama's API under `/api`: chat, generation, embeddings, what there is and what is loaded.
//!
//! Every known field of a request is mapped, refused by name, or ignored with a reason in
//! `convert`; unknown fields are ignored, also among the `options`, and `null` means absent. Bodies
//! are JSON whatever their content type says. Answers are lines of JSON unless `"stream": false`
//! asks for one object; both come from the same events. Nothing here knows the other dialects.

mod body;
mod error;
mod operations;
mod store;
mod version;

pub(super) use error::error_body;
pub(super) use operations::DIALECT;
pub(super) use store::*;
pub(super) use version::version;
