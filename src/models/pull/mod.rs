//! Pulls: from a reference to a model in the store, through whatever registry it names.
//!
//! Owns how the bytes of layers come in: how many at once, over how many connections, what is
//! tried again and when, and that each blob is downloaded once however many ask for it. Bytes are
//! written and hashed on threads of their own; the runtime never waits for a disk. It never speaks
//! to a registry itself, and never shows a model whose files were not verified.

mod ask;
mod backoff;
mod fetch;
mod flights;
mod layer;
mod limits;
mod meter;
mod plan;
mod run;
mod sink;
#[cfg(test)]
mod tests;
mod work;

pub use limits::PullLimits;
pub(super) use limits::Pulls;
pub use plan::PullPlan;
