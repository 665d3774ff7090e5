//! Pulls: from a reference to a model in the store, through whatever registry it names.

mod plan;

pub use plan::PullPlan;
