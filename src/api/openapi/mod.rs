//! The OpenAPI document of all dialects: made of [`super::ROUTES`] and of what each dialect says of
//! its own routes, on first request, and kept. It must never say what the router does not do: tests
//! hold it to the routes.

mod document;
mod errors;
mod notes;
mod serve;

pub(super) use serve::openapi;
