//! The envelope is the same for all of OpenAI's APIs.

pub(super) use crate::api::openai_error::Envelope;
pub(in crate::api) use crate::api::openai_error::error_body;
