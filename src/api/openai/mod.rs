//! OpenAI's API: chat completions, text completions and the model list, under every `/v1` tree.
//!
//! Every known field of a request is mapped, refused by name, or ignored with a reason in
//! `convert`, and `fields` says which; unknown fields are ignored, as every local server does, and
//! `null` means absent.

mod convert;
mod embeddings;
mod error;
mod fan;
mod fields;
mod handlers;
mod models;
mod operations;
mod plain;
mod render;
mod rerank;
mod shapes;
mod tokens;
mod types;

pub(super) use embeddings::{EMBEDDINGS, embeddings};
pub(in crate::api) use error::error_body;
pub(super) use fields::{CHAT, TEXT};
pub(super) use handlers::{chat_completions, completions};
pub(super) use models::{list, retrieve};
pub(super) use operations::{DIALECT, ERROR, MODEL, MODELS};
pub(super) use rerank::{rerank, score};
pub(super) use tokens::{detokenize, tokenize};
