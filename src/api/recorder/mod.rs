//! The request recorder: the last requests to models and their answers, for the owner of the socket
//! to read (`GET /engines/requests`).
//!
//! It exists only where the daemon was told to record. It copies what passes, bounded, and never
//! holds anything up: a follower that falls behind loses records. What it holds is in memory and
//! nowhere else: nothing here may write to a disk or a log. It knows no dialect but the shapes of
//! their streams, which it folds into what the answer would have been in one piece.

mod cut;
mod draft;
mod fold;
mod merge;
mod messages;
mod record;
mod store;
mod tap;

pub(super) use record::Record;
pub(super) use store::{Follow, Recorder};
pub(super) use tap::record;
