//! From a prompt to tokens: validate, render, tokenise. On a thread of its own, so that a long
//! prompt never holds up a step.

mod chat;
mod embed;
mod generic;
mod plain;
mod query;
mod run;
mod tokenize;
mod tools;
mod validate;

pub use run::Preparer;
