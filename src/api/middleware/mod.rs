//! What every request passes before it is routed, from the outside in: `trace` (request id, access
//! log), `token` (keys and tokens leave the headers), `front` (path rules; error bodies), `browser`
//! (Host and Origin), `token` again (who has to have one). `rights` guards the routes that manage
//! models.

mod browser;
mod front;
mod rights;
mod token;
mod trace;

pub(super) use browser::guard_browser;
pub(super) use front::front;
pub(super) use rights::{may_manage, require_management};
pub(super) use token::{require_token, take_token};
pub(super) use trace::{note_template, trace};
