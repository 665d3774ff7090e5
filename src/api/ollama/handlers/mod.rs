//! The routes that run models.

mod answer;
mod ask;
mod chat;
mod context;
mod embed;
mod fit;
mod generate;

pub(in crate::api) use chat::chat;
pub(super) use embed::{EmbedAnswer, EmbeddingAnswer};
pub(in crate::api) use embed::{embed, embeddings};
pub(in crate::api) use generate::generate;
