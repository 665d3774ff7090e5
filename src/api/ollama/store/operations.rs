//! The routes, as the OpenAPI document shows them.

use crate::api::describe::{Content, Dialect, Operation, named, opaque};
use crate::api::lines::NDJSON;
use crate::api::ollama::error::Envelope;
use crate::api::reply::JSON;

use super::types::{
    CopyRequest, CreateRequest, DeleteRequest, Progress, Recommendations, Status, TransferRequest,
};

/// Any error.
const ERROR: Content = (JSON, named::<Envelope<'static>>);

/// Lines of progress, or the last of them alone.
const PROGRESS: &[(u16, &[Content])] =
    &[(200, &[(NDJSON, named::<Progress<'static>>), (JSON, named::<Progress<'static>>)])];

const fn operation(
    method: &'static str,
    paths: &'static [&'static str],
    request: Option<Content>,
    answers: &'static [(u16, &'static [Content])],
) -> Operation {
    Operation { method, paths, parameters: &[], request, answers }
}

/// The management of models in Ollama's API.
pub(in crate::api) const DIALECT: Dialect = Dialect {
    tag: "Ollama models",
    description: "Ollama's API: the management of models",
    errors: &[ERROR],
    operations: &[
        operation("POST", &["/api/pull"], Some((JSON, named::<TransferRequest>)), PROGRESS),
        operation("POST", &["/api/push"], Some((JSON, named::<TransferRequest>)), PROGRESS),
        operation("POST", &["/api/create"], Some((JSON, named::<CreateRequest>)), PROGRESS),
        operation("POST", &["/api/copy"], Some((JSON, named::<CopyRequest>)), &[(200, &[])]),
        operation("DELETE", &["/api/delete"], Some((JSON, named::<DeleteRequest>)), &[(200, &[])]),
        operation("HEAD", &["/api/blobs/{digest}"], None, &[(200, &[])]),
        operation(
            "POST",
            &["/api/blobs/{digest}"],
            Some(("application/octet-stream", opaque)),
            &[(200, &[]), (201, &[])],
        ),
        operation("POST", &["/api/me"], None, &[]),
        operation("POST", &["/api/signout"], None, &[]),
        operation("GET", &["/api/status"], None, &[(200, &[(JSON, named::<Status>)])]),
        operation(
            "GET",
            &["/api/experimental/model-recommendations"],
            None,
            &[(200, &[(JSON, named::<Recommendations>)])],
        ),
    ],
};
