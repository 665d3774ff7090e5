//! The routes, as the OpenAPI document shows them.

use crate::api::describe::{Content, DEADLINE, Dialect, Operation, named, opaque};
use crate::api::openai_error::Envelope;
use crate::api::reply::{EVENTS, JSON};

use super::embeddings::types::{EmbeddingsAnswer, EmbeddingsRequest};
use super::models::{List, WireModel};
use super::rerank::types::{RerankAnswer, RerankRequest, ScoreAnswer, ScoreRequest};
use super::shapes;
use super::tokens::types::{DetokenizeAnswer, DetokenizeRequest, TokenizeAnswer, TokenizeRequest};
use super::types::{ChatRequest, TextRequest};

/// A list of models.
pub(in crate::api) const MODELS: Content = (JSON, named::<List>);
/// One model.
pub(in crate::api) const MODEL: Content = (JSON, named::<WireModel>);
/// Any error.
pub(in crate::api) const ERROR: Content = (JSON, named::<Envelope<'static>>);

/// Everything but the list of models, whose path is shared.
pub(in crate::api) const DIALECT: Dialect = Dialect {
    tag: "OpenAI",
    description: "Chat, completions, vectors, ranking and tokens, as OpenAI's clients and those of \
                  vLLM, Jina, Cohere and llama.cpp ask for them",
    errors: &[ERROR],
    operations: &[
        Operation {
            method: "POST",
            paths: &["/v1/chat/completions"],
            parameters: &[DEADLINE],
            request: Some((JSON, named::<ChatRequest>)),
            answers: &[(200, &[(JSON, shapes::chat), (EVENTS, opaque)])],
        },
        Operation {
            method: "POST",
            paths: &["/v1/completions"],
            parameters: &[DEADLINE],
            request: Some((JSON, named::<TextRequest>)),
            answers: &[(200, &[(JSON, shapes::completion_of_text), (EVENTS, opaque)])],
        },
        Operation {
            method: "POST",
            paths: &["/v1/embeddings"],
            parameters: &[DEADLINE],
            request: Some((JSON, named::<EmbeddingsRequest>)),
            answers: &[(200, &[(JSON, named::<EmbeddingsAnswer>)])],
        },
        Operation {
            method: "POST",
            paths: &["/v1/rerank", "/rerank"],
            parameters: &[DEADLINE],
            request: Some((JSON, named::<RerankRequest>)),
            answers: &[(200, &[(JSON, named::<RerankAnswer>)])],
        },
        Operation {
            method: "POST",
            paths: &["/v1/score", "/score"],
            parameters: &[DEADLINE],
            request: Some((JSON, named::<ScoreRequest>)),
            answers: &[(200, &[(JSON, named::<ScoreAnswer>)])],
        },
        Operation {
            method: "POST",
            paths: &["/v1/tokenize", "/tokenize"],
            parameters: &[DEADLINE],
            request: Some((JSON, named::<TokenizeRequest>)),
            answers: &[(200, &[(JSON, named::<TokenizeAnswer>)])],
        },
        Operation {
            method: "POST",
            paths: &["/v1/detokenize", "/detokenize"],
            parameters: &[DEADLINE],
            request: Some((JSON, named::<DetokenizeRequest>)),
            answers: &[(200, &[(JSON, named::<DetokenizeAnswer>)])],
        },
    ],
};
