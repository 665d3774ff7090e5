//! The routes, as the OpenAPI document shows them.

use crate::api::describe::{
    Content, DEADLINE, Dialect, Operation, integer, named, opaque, query, text,
};
use crate::api::reply::{EVENTS, JSON};

use super::error::Envelope;
use super::handlers::Count;
use super::models::{List, WireModel};
use super::shapes;
use super::types::MessagesRequest;

/// A page of models.
pub(in crate::api) const MODELS: Content = (JSON, named::<List>);
/// One model.
pub(in crate::api) const MODEL: Content = (JSON, named::<WireModel>);
/// Any error.
pub(in crate::api) const ERROR: Content = (JSON, named::<Envelope<'static>>);

/// Everything but the list of models under `/v1`, whose path is shared.
pub(in crate::api) const DIALECT: Dialect = Dialect {
    tag: "Anthropic",
    description: "Anthropic's Messages API",
    errors: &[ERROR],
    operations: &[
        Operation {
            method: "POST",
            paths: &["/v1/messages", "/anthropic/v1/messages"],
            parameters: &[DEADLINE],
            request: Some((JSON, shapes::bounded)),
            answers: &[(200, &[(JSON, shapes::message), (EVENTS, opaque)])],
        },
        Operation {
            method: "POST",
            paths: &["/v1/messages/count_tokens", "/anthropic/v1/messages/count_tokens"],
            parameters: &[DEADLINE],
            request: Some((JSON, named::<MessagesRequest>)),
            answers: &[(200, &[(JSON, named::<Count>)])],
        },
        Operation {
            method: "GET",
            paths: &["/anthropic/v1/models"],
            parameters: &[
                query("limit", integer, "1 to 1000; default 20"),
                query("after_id", text, "the id of the model before the page"),
                query("before_id", text, "the id of the model after the page"),
            ],
            request: None,
            answers: &[(200, &[MODELS])],
        },
        Operation {
            method: "GET",
            paths: &["/anthropic/v1/models/{*model}"],
            parameters: &[],
            request: None,
            answers: &[(200, &[MODEL])],
        },
    ],
};
