//! Requests become what the service takes; nothing below knows this dialect.

mod chat;
mod common;
mod converted;
mod embed;
mod format;
mod generate;
mod keep_alive;
mod messages;
mod options;
#[cfg(test)]
mod tests;
mod think;
mod tools;

pub(super) use chat::convert as chat;
pub(super) use common::{check_top_logprobs, model_name};
pub(super) use converted::{Converted, Task};
pub(super) use embed::{Embedding, convert as embed};
pub(super) use generate::convert as generate;
pub(super) use keep_alive::keep_alive;
pub(super) use options::{Kind, OPTIONS, check as check_options, context};
