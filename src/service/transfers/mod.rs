//! Pulls and pushes as the daemon's own jobs: whoever asked for one watches it, and so may others.
//!
//! A job belongs to the daemon. It is asked for by a client whose rights the registry has checked
//! (a pull's plan is made for each of them, also where the job runs already), and has any number
//! of watchers. When the last one leaves, it is stopped, unless somebody detached it; what came
//! stays in the store's place for unfinished blobs, where the next pull goes on. There is one job
//! for one reference and manifest; at most so many run at once, the others wait and say so.
//!
//! A watcher reads at its own pace: it sees the latest state of each layer, never a backlog, and
//! always the end. So nothing here grows with the time that a transfer takes.
//!
//! Deleting and pulling do not exclude each other. A model becomes visible when its pull ends and
//! not before; deleting the name meanwhile removes what was there before, and the pull still ends
//! with the model in the store. Who wants neither cancels the pull first. Blobs that a pull has
//! stored already are leased by it and outlive such a deletion.
//!
//! Nothing here speaks to a registry or touches the disk: [`crate::models`] does.

mod auto;
mod board;
mod hub;
mod job;
mod lane;
mod manage;
mod pull;
mod push;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod transfer;

pub use hub::{DEFAULT_MAX_PULLS, Transfers};
pub use job::{Direction, Moved, TransferInfo};
pub use transfer::{Step, Transfer};
