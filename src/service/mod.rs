//! The use cases, one file each, without HTTP: what `api` and `daemon` ask for, in terms of models
//! and the queue.
//!
//! Connects [`crate::models`] with [`crate::scheduler`]: finds and checks the model, decides its
//! context, and hands the queue memory estimates as numbers. It knows no dialect and no socket,
//! and holds no state of its own, besides the running [`Transfers`], the leases of files that were
//! uploaded for models to come, and what is configured for single models ([`Configuration`]).

mod accounts;
mod archive;
mod blobs;
mod catalog;
mod configure;
mod create;
mod embed;
mod export;
mod generate;
mod handle;
mod import;
mod portrait;
mod runnable;
mod status;
pub(crate) mod transfers;
mod upkeep;

pub use accounts::Accounts;
pub use configure::{ALL_CONTEXT, Configuration, Configured, Reconfigure};
pub use embed::{Embedded, MAX_INPUTS};
pub use export::Exporting;
pub use handle::{Caller, Service};
pub use portrait::Loaded;
pub use runnable::ModelSettings;
pub use transfers::{DEFAULT_MAX_PULLS, Direction, Moved, Step, Transfer, TransferInfo, Transfers};
