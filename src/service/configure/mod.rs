//! What is configured for single models: how they are loaded, how long they stay, and what a
//! request gets that does not say itself.
//!
//! What was said lies in a file beside the models and survives the daemon; only a model's deletion
//! forgets it. It never touches a running request: what needs the model to be loaded anew takes
//! effect once it is idle.

mod act;
mod book;
mod configuration;
mod flag_table;
mod flags;
mod settings;

pub(super) use book::Book;
pub use configuration::{ALL_CONTEXT, Configuration, Configured, Reconfigure};
pub(super) use settings::{InForce, Settings};
