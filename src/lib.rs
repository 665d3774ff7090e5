//! modeld

pub mod api;
pub mod domain;
pub mod engine;
pub mod gguf;
pub mod models;
pub mod protocol;
pub mod registry;
pub mod scheduler;
pub mod service;
pub mod store;
pub mod worker;
