//! modeld

pub mod api;
pub mod domain;
pub mod engine;
pub mod protocol;
pub mod scheduler;
pub mod service;
pub mod worker;
