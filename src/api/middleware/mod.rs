//! What every request passes before it is routed, from the outside in: `trace` (request id, access
//! log), `front` (path rules; error bodies), `browser` (Host and Origin). `rights` guards the
//! routes that manage models.

mod browser;
mod front;
mod rights;
mod trace;

pub(super) use browser::guard_browser;
pub(super) use front::front;
pub(super) use rights::{may_manage, require_management};
pub(super) use trace::{note_template, trace};
