//! Reranking and scoring: how well documents answer a query.
//!
//! `…/rerank` takes and answers what Jina's, Cohere's and vLLM's APIs have in common, `…/score` is
//! vLLM's. A reranker's own scores are logits of any size; shown is their logistic function, from 0
//! to 1, as those APIs do.

mod convert;
mod handler;
pub(super) mod types;

pub(in crate::api) use handler::{rerank, score};
