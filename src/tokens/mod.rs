//! Bearer tokens: who may use modeld over TCP without being known otherwise.
//!
//! ```text
//! modeld token create ─▶ TokenFile ─▶ tokens.json (0600, digests only) ─▶ Tokens ─▶ who asks?
//! ```
//!
//! A token is 256 random bits, shown once; the file keeps its SHA-256. The daemon looks at the file
//! whenever a token is presented, so that a revoked one is refused at once. A file that others could
//! have read or written is not believed: then no token is valid. Nothing here knows of HTTP or of
//! listeners, and nothing here logs a token.

mod book;
mod error;
mod file;
mod lasting;
mod token;

pub use book::{Known, Standing, Tokens};
pub use error::TokenError;
pub use file::{NewToken, TokenFile};
pub use lasting::Lasting;
pub use token::{Scope, Token};
