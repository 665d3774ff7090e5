//! Responses in memory: bounded by number, bytes and age, each for its client alone.
//!
//! Nothing is written to disk: what a conversation said is gone when the daemon ends.

mod memory;
mod record;
mod size;

pub(super) use memory::Owner;
pub(in crate::api) use memory::ResponseStore;
pub(super) use record::Record;

#[cfg(test)]
mod tests;
