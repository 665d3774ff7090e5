//! OpenAI's API: chat completions, text completions and the model list, under every `/v1` tree.
//!
//! Every known field of a request is mapped, refused by name, or ignored with a reason in
//! `convert`; unknown fields are ignored, as every local server does, and `null` means absent.

mod convert;
mod error;
mod handlers;
mod models;
mod render;
mod types;

pub(in crate::api) use error::error_body;
pub(super) use handlers::{chat_completions, completions};
pub(super) use models::{list, retrieve};
