//! Settings: from what was typed ([`RawConfig`], [`Env`], [`ConfigFile`]) to what holds ([`Config`]).
//!
//! ```text
//! flags ───▶ RawConfig ──┐
//! process ─▶ Env ────────┼─▶ resolve (pure) ─▶ Config: every value with its origin
//! files ───▶ ConfigFile ─┘
//!            Sources: all three, to be read again
//! ```
//!
//! A flag beats a variable, a variable beats a file, a file beats the default. [`Env::from_process`]
//! is the only place of the program that reads environment variables for settings; [`resolve()`]
//! touches neither the environment nor the disk, so that every rule has a table test. Nothing here
//! binds anything, and only what [edits](with_values) a settings file writes.

mod address;
mod containers;
mod dmr;
mod duration;
mod edit;
mod env;
mod error;
mod file;
mod host;
mod keep;
mod kind;
mod live;
mod page;
mod raw;
mod registries;
mod resolve;
mod resolved;
mod said;
pub mod settings;
mod shown;
mod sources;
mod tls;
mod values;

pub use address::{TCP_PORT, is_for_others, loopback_address, public_stays, tcp_address};
pub use containers::{ContainerAddress, is_private};
pub use dmr::{FOREIGN, Foreign};
pub use duration::{parse_age, parse_duration, parse_keep_alive, parse_limit};
pub use edit::{Pair, pairs, with_values, without, write};
pub use env::{AUTHORITY_FILE, Env, Variables, editor, path_variable, search_path};
pub use error::ConfigError;
pub use file::{ConfigFile, nearest as nearest_key};
pub use host::{DaemonHost, daemon_host};
pub use keep::{KeepError, keep, kept};
pub use kind::Kind;
pub use live::Live;
pub use page::settings_page;
pub use raw::RawConfig;
pub use registries::{Mirror, SignatureKey};
pub use resolve::{MAX_SOCKET_PATH, resolve, socket_path};
pub use resolved::{Config, LogFormat, Origin, Set, Tls};
pub use settings::{SETTINGS, Setting};
pub use shown::{Change, Shown, changes, or_none, shown};
pub use sources::{SYSTEM_FILE, Sources, Usable, read_draft, read_file};
