//! OpenAI's Responses API, under every `/v1` tree and at the two places where Docker Model Runner
//! has it besides: `/responses` and `/engines/responses`.
//!
//! `convert` turns items into turns of a conversation; `render` builds items from events, once for
//! streams and whole answers alike; `store` keeps responses in memory, bounded and each for its
//! client alone. Every known field of a request is mapped, refused by name, or ignored with a
//! reason in `convert`; unknown fields are ignored and `null` means absent.
//!
//! What differs from OpenAI on purpose: instructions and settings that are not given are echoed as
//! null, the model's own; thinking is shown whole as its summary; `web_search` and `tool_search`
//! tools are left out, since agents send them to everybody and do without; other hosted tools are
//! refused. An item list that ends with an assistant's message is a prefill.

mod callable;
mod convert;
mod fields;
mod handlers;
mod object;
mod operations;
mod render;
mod shapes;
mod store;
mod types;

pub(super) use fields::CREATE;
pub(super) use handlers::{cancel, count, create, delete, input_items, retrieve};
pub(super) use operations::DIALECT;
pub(super) use store::ResponseStore;
