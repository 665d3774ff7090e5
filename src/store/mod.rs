//! The models on disk: blobs by digest, manifests by digest, and an index of tags.
//!
//! Owns the layout that Docker Model Runner uses (`layout.json`, `models.json`, `blobs/`,
//! `manifests/`, `bundles/`), so that either program can open what the other wrote; our own files
//! beside it are `ingest/` (what is being written, and downloads that were interrupted),
//! `adopted.json` (blobs that are files of other programs) and `modeld.lock`. Everything blocks and is
//! called from threads that may. It must never show a blob whose bytes were not hashed, never
//! build a path from anything but a parsed digest, and never interpret a model.
//!
//! Changes of the index hold a lock within and across processes; readers take none and see the
//! last complete file. Upkeep (measuring, pruning, checking) holds that lock only where it changes
//! something. Every call to the disk that can fail goes through one seam, so that tests can let
//! each of them fail; what an error leaves behind the next start or a prune removes.

mod adopt;
mod adopted;
#[cfg(test)]
mod adopted_tests;
mod catalog;
mod durable;
mod error;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod faults;
mod fsck;
mod fsck_adopted;
mod fsck_progress;
mod fsck_report;
mod glance;
mod index;
mod ingest;
mod layout;
mod lease;
mod open;
mod partial;
mod partial_journal;
mod partial_list;
#[cfg(test)]
mod partial_tests;
mod prune;
#[cfg(test)]
mod race_tests;
mod ranges;
mod rebuild;
mod survey;
mod sys;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod upkeep_tests;
mod usage;

pub use adopt::AdoptedAs;
pub use adopted::BlobState;
pub use catalog::{Found, FoundBy, StoredModel};
pub use error::StoreError;
pub use fsck_report::{AdoptedFault, Finding, FsckModel, FsckProgress, FsckReport, Problem};
pub use glance::{Flaw, FlawKind, Glance, glance};
pub use ingest::{Blob, BlobWriter};
pub use lease::Lease;
pub use open::Store;
pub use partial::{PartialBlob, PartialHash};
pub use partial_list::PartialInfo;
pub use prune::{PruneOptions, Pruned};
pub use usage::{DiskUsage, ModelUsage};
