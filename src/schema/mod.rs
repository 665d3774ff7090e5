//! JSON schemas that clients send: which of them can be guaranteed, and what is wrong with the
//! others.
//!
//! Runs in the daemon, before anything is queued or loaded, on schemas that nobody has looked at:
//! bounded in time and memory, and without a vocabulary.

mod check;

pub use check::{SchemaFault, check};
