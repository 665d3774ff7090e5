//! One function for each route.

mod count;
mod create;
mod stored;

pub(super) use count::Count;
pub(in crate::api) use count::count;
pub(in crate::api) use create::create;
pub(super) use stored::{Deleted, Page};
pub(in crate::api) use stored::{cancel, delete, input_items, retrieve};
