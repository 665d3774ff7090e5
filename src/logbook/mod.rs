//! The log: which lines there are, and the way that they take.
//!
//! Whatever logs never waits for whatever takes it: each place that lines go to (standard error, the
//! file, systemd's journal) has a bounded [`Queue`] and a thread of its own, and what does not fit is
//! dropped, counted and said. A [`Logbook`] is the log's file: written line by line, rotated by size,
//! read and followed; a follower that falls behind loses lines and is told how many. [`LogControl`]
//! changes [which lines](parse_filter) there are while the daemon runs.

mod book;
mod control;
mod filter;
mod journal;
mod line;
mod queue;
mod reading;

pub use book::{Limits, Logbook};
pub use control::LogControl;
pub use filter::{LLAMA_TARGET, parse_filter};
pub use journal::{JOURNAL_SOCKET, Journal};
pub use line::{ENGINE_TARGET, is_of_engine};
pub use queue::{Dropped, Queue};
pub use reading::{Live, News, Reading};
