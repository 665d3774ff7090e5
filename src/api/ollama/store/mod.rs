//! What is in the store, through Ollama's API: pull, push, create, copy, delete and uploaded files.
//!
//! All of it is management, and so for the Unix socket alone. Where Ollama commits a 200 before it
//! has asked the registry, a failure keeps its true status here: the manifest is fetched and the
//! right to it checked before the first line, so that a model that does not exist is a 404 in
//! Ollama's words and not a line of a stream.
//!
//! A new model overwrites the one of its name, as in Ollama; one that is left without any name
//! goes, unless it is in use. An uploaded file is kept for a day after it was last asked for, or
//! until a model is made of it.

mod account;
mod blobs;
mod convert;
mod create;
mod names;
mod operations;
mod progress;
mod pull;
mod push;
mod types;

pub(in crate::api) use account::{me, recommendations, signout, status};
pub(in crate::api) use blobs::{has_blob, upload_blob};
pub(in crate::api) use create::create;
pub(in crate::api) use names::{copy, delete};
pub(in crate::api) use operations::DIALECT as STORE_DIALECT;
pub(in crate::api) use pull::pull;
pub(in crate::api) use push::push;
