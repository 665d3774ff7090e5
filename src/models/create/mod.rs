//! Models made from others or from files that were uploaded: the same weights under another manifest.
//!
//! Owns what such a recipe may say and how it becomes the documents of an artifact. It copies no
//! blob, renders no template, and knows no dialect.

mod files;
mod parts;
mod recipe;
mod run;
mod template;

pub use recipe::{Base, Created, Recipe};
