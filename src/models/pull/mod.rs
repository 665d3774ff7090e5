//! Pulls: from a reference to a model in the store, through whatever registry it names.

mod ask;
mod plan;

pub use plan::PullPlan;
