//! Credentials: where they are found, and which hosts they may go to.
//!
//! Owns the lookup order ([`Credentials`]), modeld's own login file and the reading of Docker's
//! configuration and credential helpers, the challenges of registries, the exchange of credentials
//! for tokens, and the cache of those ([`Authorizer`]). A credential belongs to one registry; it
//! goes to that registry and to the hosts that issue its tokens (same host, same registrable
//! domain, or a short built-in list), never to whatever host an answer names. No secret is ever in
//! an error, a log line or a `Debug` output; Docker's files are never written.

mod authorizer;
mod cache;
mod challenge;
mod config_file;
mod credential;
mod credentials;
mod domain;
mod exchange;
mod file;
mod helper;
mod login;
mod login_file;
mod options;
mod realm;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use authorizer::Authorizer;
pub use credential::Credential;
pub use credentials::{Credentials, Found};
pub use login::{Login, LoginEntry, LoginReport};
pub use options::CredentialOptions;
