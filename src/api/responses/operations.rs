//! The routes, as the OpenAPI document shows them.

use crate::api::describe::{DEADLINE, Dialect, Operation, integer, named, opaque, query, text};
use crate::api::openai_error::Envelope;
use crate::api::reply::{EVENTS, JSON};

use super::handlers::{Count, Deleted, Page};
use super::shapes::{flag_word, order_word, response};
use super::types::CreateRequest;

/// All routes.
pub(in crate::api) const DIALECT: Dialect = Dialect {
    tag: "Responses",
    description: "OpenAI's Responses API; responses are kept in memory, each for its client alone",
    errors: &[(JSON, named::<Envelope<'static>>)],
    operations: &[
        Operation {
            method: "POST",
            paths: &["/v1/responses"],
            parameters: &[DEADLINE],
            request: Some((JSON, named::<CreateRequest>)),
            answers: &[(200, &[(JSON, response), (EVENTS, opaque)])],
        },
        Operation {
            method: "POST",
            paths: &["/v1/responses/input_tokens"],
            parameters: &[],
            request: Some((JSON, named::<CreateRequest>)),
            answers: &[(200, &[(JSON, named::<Count>)])],
        },
        Operation {
            method: "GET",
            paths: &["/v1/responses/{response_id}"],
            parameters: &[
                query("stream", flag_word, "whether to answer with the events"),
                query("starting_after", integer, "the number of the last event already seen"),
            ],
            request: None,
            answers: &[(200, &[(JSON, response), (EVENTS, opaque)])],
        },
        Operation {
            method: "DELETE",
            paths: &["/v1/responses/{response_id}"],
            parameters: &[],
            request: None,
            answers: &[(200, &[(JSON, named::<Deleted<'static>>)])],
        },
        Operation {
            method: "POST",
            paths: &["/v1/responses/{response_id}/cancel"],
            parameters: &[],
            request: None,
            answers: &[(200, &[(JSON, response)])],
        },
        Operation {
            method: "GET",
            paths: &["/v1/responses/{response_id}/input_items"],
            parameters: &[
                query("limit", integer, "1 to 100; default 20"),
                query("order", order_word, "the latest first or last; default `desc`"),
                query("after", text, "the id of the item before the page"),
            ],
            request: None,
            answers: &[(200, &[(JSON, named::<Page<'static>>)])],
        },
    ],
};
