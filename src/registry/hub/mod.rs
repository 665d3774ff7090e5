//! The Hugging Face Hub as a source of models.
//!
//! The Hub knows repositories of files, not artifacts. This module owns what turns one into the
//! other: which files of a repository are the model that a reference means, their checked listing,
//! and the manifest and config that the packager would have written for them. Everything is pinned
//! to the commit that the repository's head had when it was resolved, so a repository that moves
//! meanwhile cannot mix files; the same commit always gives the same id.
//!
//! References are lower-cased, the Hub keeps the case of its names. It answers for a name in any
//! case, at once or after a redirect, and says the name as it is written; all further requests use
//! that one.
//!
//! Tokens go to the Hub alone: where it redirects to the servers that hold large files, they stay
//! behind.

mod answer;
mod assemble;
mod blobs;
mod choose;
mod client;
mod listing;
mod ranges;
mod search;
#[cfg(test)]
#[path = "../../../tests/it/support/hub.rs"]
mod testing;
#[cfg(test)]
mod tests;
pub(super) use answer::unexpected;
pub use client::{HUB_ENDPOINT, Hub, HubOptions, TokenSource};
