//! The served HTTP and JSON: routes, the dialects, and what stands before them.
//!
//! A dialect is three things: `convert` (request → [`crate::domain::GenerateRequest`]), `render`
//! (events → bytes) and an error envelope. Handlers return a [`crate::domain::Error`] and never
//! choose a status: `status` holds the only table of them, and one layer writes every error body.
//!
//! Nothing here knows llama.cpp, the disk or the queue; it asks [`crate::service::Service`]. The
//! socket and the connection belong to the daemon, which must put a [`ListenerClass`] and a
//! [`PeerInfo`] into the extensions of every request: without them all but the Unix rights are
//! refused.

mod anthropic;
mod bearer;
mod body;
mod caller;
mod checks;
mod describe;
mod endpoints;
mod family;
mod fields;
mod go_duration;
mod ids;
mod json;
mod lines;
mod listeners;
mod media;
mod middleware;
mod native;
mod ollama;
mod openai;
mod openai_error;
mod openapi;
mod owner;
mod params;
mod path;
mod peer;
mod pipe;
mod recorder;
mod refusal;
mod reply;
mod responses;
mod router;
mod routes;
mod state;
mod status;
mod tools;
mod unstarted;
mod vector;

pub use fields::compatibility;
pub use listeners::{
    Audience, ListenerControl, TcpChange, TcpPlace, TcpState, TcpWaiting, TcpWish, Transport,
};
pub use owner::PeerOwner;
pub use peer::{ListenerClass, PeerInfo};
pub use router::router;
pub use routes::{ACTIONS, ROUTES, Route};
pub use state::{ApiState, Reloads};
pub use unstarted::unstarted;

#[cfg(test)]
mod tests;
