//! The routes, as the OpenAPI document shows them.

use crate::api::describe::{Content, Dialect, Operation, named};
use crate::api::reply::JSON;

use super::error::Envelope;
use super::version::Version;

/// Any error.
const ERROR: Content = (JSON, named::<Envelope<'static>>);

/// Ollama's API.
pub(in crate::api) const DIALECT: Dialect = Dialect {
    tag: "Ollama",
    description: "Ollama's API",
    errors: &[ERROR],
    operations: &[Operation {
        method: "GET",
        paths: &["/api/version"],
        parameters: &[],
        request: None,
        answers: &[(200, &[(JSON, named::<Version>)])],
    }],
};
