//! Ollama's API under `/api`: chat, generation, embeddings, what there is and what is loaded.
//!
//! Every known field of a request is mapped, refused by name, or ignored with a reason in
//! `convert`; unknown fields are ignored, also among the `options`, and `null` means absent. Bodies
//! are JSON whatever their content type says. Answers are lines of JSON unless `"stream": false`
//! asks for one object; both come from the same events. Nothing here knows the other dialects.
//!
//! Two things differ from upstream on purpose. Nothing is cut unless the client says `"truncate":
//! true`: what does not fit is an error that names both numbers. And the defaults of sampling are
//! those of all dialects.

mod body;
mod catalog;
mod convert;
mod error;
mod fields;
mod handlers;
mod operations;
mod render;
mod shapes;
mod store;
mod types;
mod version;

pub(super) use catalog::{ps, show, tags};
pub(super) use error::error_body;
pub(super) use fields::OLLAMA;
pub(super) use handlers::{chat, embed, embeddings, generate};
pub(super) use operations::DIALECT;
pub(super) use store::*;
pub(super) use version::{RUNNING, version};
