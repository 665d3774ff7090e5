//! From a reference to local, verified, leased files; and from files to an artifact.
//!
//! Owns what connects the store with the formats: catalogue entries, the check of weights before
//! anything else sees them, the directories that sharded models run from, loading, writing,
//! exporting and changing of Docker model archives, models made from others or from uploaded files, and upkeep of the store that has to know what a
//! model is. It never runs a model, and speaks to registries only through [`crate::registry`].

mod archive;
mod blobs;
mod bundle;
mod card;
mod catalog;
mod create;
mod export;
mod import;
mod maintenance;
mod ollama_layers;
mod package;
mod portrait;
mod pull;
mod repackage;
mod resolve;
mod tar_out;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod upkeep_tests;

pub use archive::load_archive;
pub use blobs::FoundBlob;
pub use catalog::Models;
pub use create::{Base, Created, Recipe};
pub use export::Export;
pub use import::{ImportEvent, ImportOptions, Imported, Origin, Places};
pub use ollama_layers::{OllamaLayers, StoredMessage};
pub use package::{PackageOptions, PackagePlan};
pub use portrait::{Abilities, Headers, Portrait};
pub use pull::{PullLimits, PullPlan};
pub use repackage::{Changes, Repackaged};
pub use resolve::LocalModel;
