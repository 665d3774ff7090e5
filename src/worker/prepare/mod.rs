//! From a prompt to tokens: validate, render, tokenise. On a thread of its own, so that a long
//! prompt never holds up a step. Images and sounds go on to another one (`encode`), so that they
//! hold up no other prompt.

mod cache;
mod chat;
mod count;
mod embed;
mod encode;
mod generic;
mod media;
mod plain;
mod query;
mod run;
mod tokenize;
mod tools;
mod validate;

pub use cache::Encodings;
pub use encode::{Encoder, Pending};
pub use media::Senses;
pub use run::Preparer;
