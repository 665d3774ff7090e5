//! Anthropic's API: messages, token counts and the model list, under `/anthropic/v1` and every
//! `/v1` tree.
//!
//! Every known field of a request is mapped, refused by name, or ignored with a reason in
//! `convert`; unknown fields are ignored, because the clients send new ones all the time, and
//! `null` means absent. An answer is a list of blocks; one builder makes them for whole and for
//! streamed answers. Nothing here knows the other dialects.

mod convert;
mod error;
mod fields;
mod handlers;
mod models;
mod operations;
mod render;
mod shapes;
mod types;

pub(super) use error::error_body;
pub(super) use fields::MESSAGES;
pub(super) use handlers::{count_tokens, messages};
pub(super) use models::{list, retrieve};
pub(super) use operations::{DIALECT, ERROR, MODEL, MODELS};
