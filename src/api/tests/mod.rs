//! The real router over a real store, with engines that play scripts.

mod answers;
mod anthropic;
mod archives;
mod catalog;
mod configure;
mod dialects;
mod disconnect;
mod guards;
mod logs;
mod ollama;
mod ollama_store;
mod openai;
mod responses;
mod routes;
mod support;
mod tokens;
mod transfers;
mod upkeep;
mod vectors;
