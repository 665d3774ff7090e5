//! `POST …/v1/embeddings`: texts or tokens to vectors of length 1.

mod convert;
mod fields;
mod handler;
pub(super) mod types;

pub(in crate::api) use fields::EMBEDDINGS;
pub(in crate::api) use handler::embeddings;
