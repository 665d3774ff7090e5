//! The command line: one file per command, one [`Printer`], one table of exit codes.
//!
//! Verbs, flags and columns are those of `docker model`, so that scripts and fingers can stay as
//! they are. Data goes to stdout, notes and errors to stderr. Every verb goes through the daemon,
//! but for those that must work before there is one (`token`, `tls`, `config`): nothing here opens the
//! store or loads a model, and `serve` and `activate` only hand over to [`crate::daemon`].

mod activate;
mod app;
mod chat;
mod completions;
mod config;
mod config_edit;
mod config_show;
mod configure;
mod confirm;
mod df;
mod doctor;
mod editor;
mod elsewhere;
mod error;
mod exit;
mod export;
mod fsck;
mod human;
mod import;
mod inspect;
mod list;
mod load;
mod log_level;
mod login;
mod logout;
mod logs;
mod man;
mod names;
mod package;
mod printer;
mod progress;
mod prune;
mod ps;
mod pull;
mod purge;
mod push;
mod repl;
mod requests;
mod rm;
mod run;
mod search;
mod serve;
mod service;
mod status;
mod stream;
mod table;
mod tag;
mod tcp;
#[cfg(test)]
mod testing;
mod tls;
mod token;
mod transfers;
mod unload;
mod version;

pub use app::{Cli, Command, main};
pub use error::CliError;
pub use exit::ExitCode;
pub use printer::Printer;
