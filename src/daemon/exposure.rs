use jiff::Timestamp;

use super::door::Door;
use super::{DaemonError, Inherited};
use crate::config::Config;
use crate::tokens::{TokenFile, Tokens};

/// The tokens of this user.
pub(super) fn tokens(config: &Config) -> Tokens {
    config.config_dir.as_deref().map(TokenFile::within).map(Tokens::of).unwrap_or_default()
}

/// Whom could a listener serve for which everybody needs a token, where there is none? A public one
/// would only be there to be attacked, whoever opened it; on loopback the owner may be about to make
/// the first.
///
/// # Errors
/// [`DaemonError::NoTokens`]
pub(super) fn check_tokens(
    config: &Config,
    inherited: &[Inherited],
    tokens: &Tokens,
) -> Result<(), DaemonError> {
    if tokens.has_any(Timestamp::now()) {
        return Ok(());
    }
    let bound = config.tcp.value.filter(|address| Door::at(*address) == Door::Public);
    let bound = bound.map(|address| (config.tcp.origin.to_string(), address));
    let passed = || inherited.iter().find_map(|one| one.public_address(config));
    let passed = || Some(("a socket that was passed to be served".to_owned(), passed()?));
    match bound.or_else(passed) {
        Some((from, address)) => Err(DaemonError::NoTokens { from, address }),
        None => {
            if config.require_token.value {
                tracing::warn!(
                    "tokens are required over TCP and there is none: modeld token create"
                );
            }
            Ok(())
        }
    }
}
