//! Requests, field by field. The wire types are taken apart without `..`, so a new field does not
//! compile until it is mapped, refused by name, or ignored with a word why.

mod chat;
mod constraint;
mod converted;
mod knobs;
mod messages;
mod prompts;
mod text;
mod thinking;
mod tools;

pub(super) use chat::{convert as chat, model_of as chat_model};
pub(super) use converted::Converted;
pub(super) use knobs::model_name;
pub(super) use text::{convert as text, model_of as text_model};

#[cfg(test)]
mod tests;
