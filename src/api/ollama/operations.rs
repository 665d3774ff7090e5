//! The routes, as the OpenAPI document shows them.

use crate::api::describe::{Content, DEADLINE, Dialect, Operation, named, opaque};
use crate::api::lines::NDJSON;
use crate::api::reply::JSON;

use super::catalog::{Running, Shown, Tags};
use super::error::Envelope;
use super::handlers::{EmbedAnswer, EmbeddingAnswer};
use super::shapes;
use super::types::{ChatRequest, EmbedRequest, EmbeddingsRequest, GenerateRequest, ShowRequest};
use super::version::Version;

/// Any error.
const ERROR: Content = (JSON, named::<Envelope<'static>>);

/// Ollama's API.
pub(in crate::api) const DIALECT: Dialect = Dialect {
    tag: "Ollama",
    description: "Ollama's API",
    errors: &[ERROR],
    operations: &[
        Operation {
            method: "GET",
            paths: &["/api/version"],
            parameters: &[],
            request: None,
            answers: &[(200, &[(JSON, named::<Version>)])],
        },
        Operation {
            method: "GET",
            paths: &["/api/tags"],
            parameters: &[],
            request: None,
            answers: &[(200, &[(JSON, named::<Tags>)])],
        },
        Operation {
            method: "GET",
            paths: &["/api/ps"],
            parameters: &[],
            request: None,
            answers: &[(200, &[(JSON, named::<Running>)])],
        },
        Operation {
            method: "POST",
            paths: &["/api/show"],
            parameters: &[],
            request: Some((JSON, named::<ShowRequest>)),
            answers: &[(200, &[(JSON, named::<Shown>)])],
        },
        Operation {
            method: "POST",
            paths: &["/api/chat"],
            parameters: &[DEADLINE],
            request: Some((JSON, named::<ChatRequest>)),
            answers: &[(200, &[(JSON, shapes::chat), (NDJSON, opaque)])],
        },
        Operation {
            method: "POST",
            paths: &["/api/generate"],
            parameters: &[DEADLINE],
            request: Some((JSON, named::<GenerateRequest>)),
            answers: &[(200, &[(JSON, shapes::generated), (NDJSON, opaque)])],
        },
        Operation {
            method: "POST",
            paths: &["/api/embed"],
            parameters: &[DEADLINE],
            request: Some((JSON, named::<EmbedRequest>)),
            answers: &[(200, &[(JSON, named::<EmbedAnswer>)])],
        },
        Operation {
            method: "POST",
            paths: &["/api/embeddings"],
            parameters: &[DEADLINE],
            request: Some((JSON, named::<EmbeddingsRequest>)),
            answers: &[(200, &[(JSON, named::<EmbeddingAnswer>)])],
        },
    ],
};
