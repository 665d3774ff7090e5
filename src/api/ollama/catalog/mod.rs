//! The routes that look at models without running them.

mod details;
mod info;
mod modelfile;
mod ps;
mod show;
mod tags;

pub(super) use ps::Running;
pub(in crate::api) use ps::ps;
pub(super) use show::Shown;
pub(in crate::api) use show::show;
pub(super) use tags::Tags;
pub(in crate::api) use tags::tags;
