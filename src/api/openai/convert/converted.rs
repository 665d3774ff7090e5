use crate::domain::GenerateRequest;

use super::super::render::Layout;

/// Requests for an answer, with what its rendering needs to know.
#[derive(Debug)]
pub(in crate::api::openai) struct Converted {
    pub(in crate::api::openai) model: String,
    pub(in crate::api::openai) stream: bool,
    pub(in crate::api::openai) include_usage: bool,
    pub(in crate::api::openai) layout: Layout,
    /// One for each prompt, at least one; each for [`Layout::generated`] answers.
    pub(in crate::api::openai) requests: Vec<GenerateRequest>,
}
