use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What every token begins with, so that people and scanners of secrets know one when they see it.
const PREFIX: &str = "mdl_";
/// Random bytes of a token.
const ENTROPY: usize = 32;
/// The length of the whole text: the prefix, and 32 bytes in base64 without padding.
const LENGTH: usize = 47;
/// Random bytes of an id, which is no secret.
const ID_BYTES: usize = 5;

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// To infer and to list.
    Inference,
    /// Everything, as the owner may.
    Admin,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inference => "inference",
            Self::Admin => "admin",
        })
    }
}

/// What is kept of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// A short name that is no secret, for lists, revocation and shares of the queue.
    pub id: String,
    /// What its owner calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is good for.
    pub scope: Scope,
    /// When it was made.
    #[serde(with = "rfc3339")]
    pub created: Timestamp,
    /// From when on it is good for nothing; `None`: never.
    #[serde(default, with = "rfc3339::optional", skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// SHA-256 of the whole text. The text has 256 random bits, so nobody finds it by trying, and
    /// a slow hash would only slow down every request.
    sha256: Fingerprint,
}

impl Token {
    /// A new token and its text, of which nothing else is kept.
    ///
    /// # Errors
    /// Where the system has no randomness.
    pub(super) fn generate(
        name: Option<String>,
        scope: Scope,
        created: Timestamp,
        expires: Option<Timestamp>,
    ) -> Result<(Self, SecretString), std::io::Error> {
        let (mut random, mut id) = ([0u8; ENTROPY], [0u8; ID_BYTES]);
        getrandom::fill(&mut random).map_err(std::io::Error::other)?;
        getrandom::fill(&mut id).map_err(std::io::Error::other)?;
        let text = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random));
        let sha256 = Fingerprint::of(&text);
        let id = format!("tk-{}", hex(&id));
        Ok((Self { id, name, scope, created, expires, sha256 }, text.into()))
    }

    /// What people call it.
    pub fn label(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.id)
    }

    /// Whether its time is over.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|end| end <= now)
    }

    pub(super) fn sha256(&self) -> &Fingerprint {
        &self.sha256
    }
}

/// Whether a text could be a token at all. What clients send because they must send something
/// (`ollama`, `unused`, keys of other services) is not hashed.
pub(super) fn looks_like_one(text: &str) -> bool {
    let rest = text.strip_prefix(PREFIX);
    text.len() == LENGTH
        && rest.is_some_and(|rest| {
            rest.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        })
}

/// The SHA-256 of a token; lower-case hexadecimal in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(super) fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// Compares in a time that does not depend on where they differ.
    pub(super) fn is(&self, other: &Self) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const WRONG: &str = "a digest must be 64 hexadecimal digits";
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(WRONG);
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            let start = at.saturating_mul(2);
            let pair = text.get(start..start.saturating_add(2)).ok_or(WRONG)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| WRONG)?;
        }
        Ok(Self(bytes))
    }
}

impl From<Fingerprint> for String {
    fn from(digest: Fingerprint) -> Self {
        hex(&digest.0)
    }
}

/// Times as people read them, too.
mod rfc3339 {
    use jiff::Timestamp;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(time)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }

    pub(super) mod optional {
        use super::{Deserializer, Serializer, Timestamp};

        pub(in super::super) fn serialize<S: Serializer>(
            time: &Option<Timestamp>,
            to: S,
        ) -> Result<S::Ok, S::Error> {
            match time {
                Some(time) => to.collect_str(time),
                None => to.serialize_none(),
            }
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Option<Timestamp>, D::Error> {
            super::deserialize(from).map(Some)
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn tokens_are_long_random_and_known_by_their_digest_alone() {
        let new = || Token::generate(None, Scope::Inference, Timestamp::UNIX_EPOCH, None).unwrap();
        let ((one, text), (other, other_text)) = (new(), new());
        let (text, other_text) = (text.expose_secret(), other_text.expose_secret());
        assert!(looks_like_one(text), "{text}");
        assert!(text != other_text && one.id != other.id && one.sha256 != other.sha256);
        assert!(one.sha256().is(&Fingerprint::of(text)));
        assert!(!one.sha256().is(&Fingerprint::of(other_text)));
        let kept = serde_json::to_string(&one).unwrap();
        assert!(!kept.contains(text.strip_prefix(PREFIX).unwrap()), "{kept}");
        assert_eq!(serde_json::from_str::<Token>(&kept).unwrap(), one);
    }

    #[test]
    fn what_clients_send_for_want_of_a_token_is_none() {
        for text in ["", "unused", "ollama", "sk-abc", "mdl_", "mdl_short"] {
            assert!(!looks_like_one(text), "{text}");
        }
        assert!(!looks_like_one(&format!("mdl_{}", "ü".repeat(22))));
        assert!(!looks_like_one(&format!("mdl_{}!", "a".repeat(42))));
        assert!(!looks_like_one(&format!("mdl_{}", "a".repeat(44))));
        assert!(looks_like_one(&format!("mdl_{}", "a".repeat(43))));
    }

    #[test]
    fn a_digest_is_64_hexadecimal_digits() {
        for bad in ["", "00", &"0".repeat(63), &"g".repeat(64), &"é".repeat(32)] {
            assert!(Fingerprint::try_from(bad.to_owned()).is_err(), "{bad}");
        }
        let digest = Fingerprint::of("x");
        assert_eq!(Fingerprint::try_from(String::from(digest.clone())), Ok(digest));
    }

    #[test]
    fn the_end_of_its_life_is_the_first_moment_without_it() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let made = |end| Token::generate(None, Scope::Admin, at(0), end).unwrap().0;
        assert!(!made(None).has_expired(at(i64::from(u32::MAX))));
        let token = made(Some(at(10)));
        assert!(!token.has_expired(at(9)) && token.has_expired(at(10)));
    }
}
