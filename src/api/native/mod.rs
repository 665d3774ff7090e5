//! The native API: the routes and JSON of Docker Model Runner, so that its clients work as they
//! are. Its errors are one line of text, because those clients print the body.

mod backends;
mod configure;
mod create;
mod disk;
mod engines;
mod error;
mod export;
mod fsck;
mod import;
mod load;
mod log_level;
mod login;
mod logs;
mod metrics;
mod models;
mod operations;
mod progress;
mod push;
mod query;
mod reload;
mod repackage;
mod requests;
mod search;
mod status;
mod tcp;
mod transfers;
mod types;
mod utility;

use super::lines;

pub(super) use backends::{install, uninstall};
pub(super) use configure::{configurations, configure};
pub(super) use create::create;
pub(super) use disk::{df, prune, purge};
pub(super) use engines::{ps, status, unload};
pub(super) use error::{error_json, error_text};
pub(super) use fsck::fsck;
pub(super) use import::import;
pub(super) use load::load;
pub(super) use log_level::{log_level, set_log_level};
pub(super) use login::{login, logins, logout};
pub(super) use logs::logs;
pub(super) use metrics::metrics;
pub(super) use models::{act, inspect, list, remove};
pub(super) use operations::DIALECT;
pub(super) use reload::reload;
pub(super) use requests::requests;
pub(super) use search::search;
pub(super) use status::daemon_status;
pub(super) use tcp::{close_tcp, open_tcp, tcp};
pub(super) use transfers::{cancel, transfers};
pub(super) use utility::{health, ready, root, version};
