use oci_client::Reference;

use crate::domain::{Digest, Error, ErrorKind};

use super::key::PublicKey;
use super::pattern::{Pattern, repository_of};
use super::payload;

/// How many flaws a refusal names.
const SHOWN_FLAWS: usize = 5;

/// What is wrong with one signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant is its documentation")]
pub enum Flaw {
    #[error("another key made it, or its payload was changed")]
    OtherKey,
    #[error("its payload cannot be read: {0}")]
    NoPayload(String),
    #[error("its payload is of type {0:?}")]
    OtherKind(String),
    #[error("it is for the manifest {0:?}")]
    OtherManifest(String),
    #[error("it is for the repository {0:?}")]
    OtherRepository(String),
}

/// That the models of a repository must be signed by one of some keys.
#[derive(Debug, Clone, Copy)]
pub struct Demand<'a> {
    pub(super) pattern: &'a Pattern,
    pub(super) keys: &'a [PublicKey],
}

impl Demand<'_> {
    /// Checks one signature (raw, as its algorithm defines it) over `payload` for the manifest of
    /// `named`. Of the payload nothing is read before one of the keys vouches for it.
    ///
    /// # Errors
    /// [`Flaw`], for people.
    pub fn accepts(
        &self,
        payload: &[u8],
        signature: &[u8],
        manifest: Digest,
        named: &Reference,
    ) -> Result<(), Flaw> {
        if !self.keys.iter().any(|key| key.verifies(payload, signature)) {
            return Err(Flaw::OtherKey);
        }
        payload::check(payload, manifest, &repository_of(named))
    }

    /// The refusal of a model of which `found` signatures were seen and none was accepted;
    /// `flaws` says why, each in a sentence's part.
    pub fn refusal(
        &self,
        named: &Reference,
        manifest: Digest,
        found: usize,
        flaws: &[String],
    ) -> Error {
        let mut distinct: Vec<&str> = Vec::new();
        for flaw in flaws {
            if !distinct.contains(&flaw.as_str()) {
                distinct.push(flaw);
            }
        }
        let more = match distinct.len().saturating_sub(SHOWN_FLAWS) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        distinct.truncate(SHOWN_FLAWS);
        let why = match distinct.is_empty() {
            true => String::new(),
            false => format!(": {}{more}", distinct.join("; ")),
        };
        let found = match found {
            0 => "no signature was found".to_owned(),
            1 => "the one signature found is not accepted".to_owned(),
            many => format!("none of the {many} signatures found is accepted"),
        };
        let (pattern, keys) = (self.pattern, self.keys.len());
        Error::new(
            ErrorKind::SignatureRefused,
            format!(
                "{named} is not pulled: {pattern:?} in --signature-key demands a cosign signature \
                 of {manifest} by {}, but {found}{why}. Have this digest signed with `cosign sign \
                 --key …` (cosign 3: and --new-bundle-format=false --use-signing-config=false), or \
                 change --signature-key",
                match keys {
                    1 => "its key".to_owned(),
                    many => format!("one of its {many} keys"),
                },
                pattern = pattern.to_string(),
            ),
        )
    }

    /// The refusal of a model where there are no signatures at all.
    pub fn unsignable(&self, named: &Reference) -> Error {
        let pattern = self.pattern.to_string();
        Error::new(
            ErrorKind::SignatureRefused,
            format!(
                "{named} is not pulled: {pattern:?} in --signature-key demands a signature, and \
                 models of {} have none; pull a signed copy from an OCI registry, or give \
                 --signature-key a pattern that does not match this model",
                named.registry()
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_was_found_and_stays_short() {
        let pattern = Pattern::parse("myorg/*").unwrap();
        let demand = Demand { pattern: &pattern, keys: &[] };
        let named: Reference = "docker.io/myorg/m:t".parse().unwrap();
        let message = |found, flaws: &[String]| {
            let error = demand.refusal(&named, Digest::of(b"m"), found, flaws);
            assert_eq!(error.kind, ErrorKind::SignatureRefused);
            error.message
        };
        assert!(message(0, &[]).contains("no signature was found. Have"));
        let same = vec!["x".to_owned(); 900];
        assert!(message(900, &same).contains("none of the 900 signatures found is accepted: x. "));
        let many: Vec<String> = (0..900).map(|n| format!("flaw {n}")).collect();
        let many = message(900, &many);
        assert!(many.contains("flaw 4; and 895 more. Have"), "{many}");
        assert!(many.contains("\"myorg/*\" in --signature-key"), "{many}");
        let message = demand.unsignable(&named).message;
        assert!(message.contains("models of docker.io have none"), "{message}");
    }
}
