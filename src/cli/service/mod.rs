//! `modeld service`: the units of the user's service manager, made, looked at and taken away.
//!
//! Owns which files those are and when one of them may be written: never over what a person changed
//! or a package brought, unless that is asked for. It speaks to `systemctl`, `loginctl`,
//! `journalctl` and `launchctl` through [`crate::doctor::Programs`] and never touches models or
//! settings.

mod args;
mod context;
mod files;
mod install;
mod launchd;
mod linger;
mod logs;
mod status;
mod systemd;
mod tcp_socket;
#[cfg(test)]
mod testing;
mod uninstall;
mod units;
mod unseen;

pub use args::Args;
pub(super) use args::run;
pub(super) use context::Context;
pub(super) use tcp_socket::{Followed, TcpSocket, follow};
