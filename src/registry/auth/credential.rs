use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

/// The user name by which credential helpers say that the secret is an identity token
/// (<https://github.com/docker/docker-credential-helpers>).
pub(super) const TOKEN_USER: &str = "<token>";

/// What proves to a registry who the user is.
#[derive(Clone)]
pub enum Credential {
    /// A user name with a password or an access token in its place.
    Password {
        /// The user name; not secret.
        username: String,
        /// The password.
        password: SecretString,
    },
    /// An OAuth refresh token, exchanged for access tokens.
    IdentityToken(SecretString),
    /// A token that requests carry as it is.
    RegistryToken(SecretString),
}

impl Credential {
    /// From a name and a secret as credential helpers and login forms give them: the name `<token>`
    /// makes it an identity token.
    pub fn new(username: impl Into<String>, secret: SecretString) -> Self {
        let username = username.into();
        if username == TOKEN_USER {
            Self::IdentityToken(secret)
        } else {
            Self::Password { username, password: secret }
        }
    }

    /// The user name, where there is one.
    pub fn username(&self) -> Option<&str> {
        match self {
            Self::Password { username, .. } => Some(username),
            Self::IdentityToken(_) | Self::RegistryToken(_) => None,
        }
    }

    /// The secret alone.
    pub(super) fn secret(&self) -> &SecretString {
        match self {
            Self::Password { password, .. } => password,
            Self::IdentityToken(token) | Self::RegistryToken(token) => token,
        }
    }

    /// Tells credentials apart in a cache without keeping them there.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        let (kind, username): (u8, &str) = match self {
            Self::Password { username, .. } => (0, username),
            Self::IdentityToken(_) => (1, ""),
            Self::RegistryToken(_) => (2, ""),
        };
        let mut hash = Sha256::new();
        hash.update([kind]);
        hash.update(u64::try_from(username.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(username.as_bytes());
        hash.update(self.secret().expose_secret().as_bytes());
        hash.finalize().into()
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password { .. } => "Password(redacted)",
            Self::IdentityToken(_) => "IdentityToken(redacted)",
            Self::RegistryToken(_) => "RegistryToken(redacted)",
        })
    }
}

/// `Authorization: Basic …` (RFC 7617).
pub(super) fn basic(username: &str, password: &SecretString) -> Option<HeaderValue> {
    let pair = SecretString::from(format!("{username}:{}", password.expose_secret()));
    sensitive(format!("Basic {}", STANDARD.encode(pair.expose_secret())))
}

/// `Authorization: Bearer …` (RFC 6750); `None` for a token that no header can carry.
pub(super) fn bearer(token: &SecretString) -> Option<HeaderValue> {
    sensitive(format!("Bearer {}", token.expose_secret()))
}

/// Takes an `auth` entry of Docker's configuration apart: base64 of `user:password`.
pub(super) fn decode_basic(encoded: &str) -> Option<Credential> {
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (username, password) = text.split_once(':')?;
    // Old versions of Docker padded the password with zeros.
    let password = password.trim_end_matches('\0');
    (!username.is_empty() && !password.is_empty())
        .then(|| Credential::new(username, SecretString::from(password)))
}

/// Writes an `auth` entry.
pub(super) fn encode_basic(username: &str, password: &SecretString) -> SecretString {
    let pair = SecretString::from(format!("{username}:{}", password.expose_secret()));
    SecretString::from(STANDARD.encode(pair.expose_secret()))
}

fn sensitive(text: String) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_in_debug() {
        let secret = || SecretString::from("canary");
        for credential in [
            Credential::new("user", secret()),
            Credential::IdentityToken(secret()),
            Credential::RegistryToken(secret()),
        ] {
            let shown = format!("{credential:?} {:?}", bearer(credential.secret()).unwrap());
            assert!(!shown.contains("canary"), "{shown}");
        }
        let shown = format!("{:?}", basic("user", &secret()).unwrap());
        assert!(!shown.contains(&STANDARD.encode("user:canary")), "{shown}");
    }

    #[test]
    fn fingerprints_tell_kind_name_and_secret_apart() {
        let make = |user: &str, secret: &str| Credential::new(user, SecretString::from(secret));
        let all = [
            make("a", "bc"),
            make("ab", "c"),
            make("a", "bd"),
            Credential::IdentityToken("bc".into()),
            Credential::RegistryToken("bc".into()),
        ];
        let distinct: std::collections::BTreeSet<_> =
            all.iter().map(Credential::fingerprint).collect();
        assert_eq!(distinct.len(), all.len());
        assert_eq!(make("a", "b").fingerprint(), make("a", "b").fingerprint());
    }

    #[test]
    fn an_auth_entry_is_user_and_password() {
        let decoded = decode_basic(&STANDARD.encode("user:pass:word\0\0")).unwrap();
        assert_eq!(decoded.username(), Some("user"));
        assert_eq!(decoded.secret().expose_secret(), "pass:word");
        for bad in ["%%%", "", &STANDARD.encode("no colon"), &STANDARD.encode(b"\xff:\xff")] {
            assert!(decode_basic(bad).is_none(), "{bad}");
        }
        let token = decode_basic(&STANDARD.encode("<token>:x")).unwrap();
        assert!(matches!(token, Credential::IdentityToken(_)));
    }
}
