//! The log's files: written line by line, rotated by size, read and followed.
//!
//! A [`Logbook`] is handed to whatever writes log lines (the daemon's subscriber) and to whatever
//! shows them. It never waits for a reader: a follower that falls behind loses lines and is told how
//! many. It never writes to the log itself, which would wait for its own lock.

mod book;
mod line;
mod reading;

pub use book::{Limits, Logbook};
pub use line::{ENGINE_TARGET, is_of_engine};
pub use reading::{Live, News, Reading};
