//! Small files that are read and written as a whole: settings, tokens, logins, certificates, units.
//!
//! Owns how such a file is replaced so that nobody ever sees half of it, how one is read without
//! waiting for anybody, how programs that change it wait for each other, and how its path is written into a command for people. What stands in it, and
//! who may own it, is for whoever asks.

mod lock;
mod read;
mod replace;
mod shell;

pub use lock::{ChangeLock, lock_for_change};
pub use read::{ReadError, Regular, open_regular, read_regular};
pub use replace::{create, destination, make_private_dir, renew, replace};
pub use shell::shell_word;
