//! Settings: from what was typed ([`RawConfig`], [`Env`]) to what holds ([`Config`]).
//!
//! ```text
//! flags ──▶ RawConfig ─┐
//!                      ├─▶ resolve (pure) ─▶ Config: every value with its origin
//! process ─▶ Env ──────┘
//! ```
//!
//! A flag beats a variable, a variable beats the default. [`Env::from_process`] is the only place
//! of the program that reads environment variables for settings; [`resolve`] touches neither the
//! environment nor the disk, so that every rule has a table test. Nothing here binds or creates.

mod containers;
mod duration;
mod env;
mod error;
mod host;
mod keep;
mod loopback;
mod raw;
mod registries;
mod resolve;
mod resolved;
pub mod settings;

pub use containers::ContainerAddress;
pub use duration::{parse_age, parse_duration, parse_keep_alive};
pub use env::{Env, Variables, path_variable};
pub use error::ConfigError;
pub use host::{DaemonHost, daemon_host};
pub use keep::{KeepError, file as settings_file, keep, kept};
pub use loopback::{TCP_PORT, loopback_address};
pub use raw::RawConfig;
pub use registries::{Mirror, SignatureKey};
pub use resolve::{MAX_SOCKET_PATH, resolve, socket_path};
pub use resolved::{Config, LogFormat, Origin, Set};
pub use settings::{SETTINGS, Setting};
