use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;

use crate::domain::Digest;

/// A public key that may sign models.
#[derive(Clone)]
pub(super) struct PublicKey {
    key: ParsedPublicKey,
}

impl PublicKey {
    /// Every public key of a PEM file.
    ///
    /// # Errors
    /// Why there is none, or one that cannot be used: it would be missed only when a model that it
    /// signed is refused.
    pub fn all_in(pem: &[u8]) -> Result<Vec<Self>, String> {
        let keys = SubjectPublicKeyInfoDer::pem_slice_iter(pem)
            .map(|found| {
                let found = found.map_err(|e| format!("it is no PEM file: {e}"))?;
                Self::of(found.as_ref())
            })
            .collect::<Result<Vec<_>, _>>()?;
        if !keys.is_empty() {
            return Ok(keys);
        }
        let is_private = pem.windows(PRIVATE.len()).any(|part| part == PRIVATE);
        Err(match is_private {
            true => "it holds a private key; give the public one, such as cosign.pub",
            false => "it holds no public key (`-----BEGIN PUBLIC KEY-----`)",
        }
        .to_owned())
    }

    /// Whether this key made `signature` over `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.key.verify_sig(message, signature).is_ok()
    }

    /// The key of a DER-encoded `SubjectPublicKeyInfo`.
    fn of(der: &[u8]) -> Result<Self, String> {
        let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, der)
            .or_else(|_| ParsedPublicKey::new(&ED25519, der))
            .or_else(|_| ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der));
        key.map(|key| Self { key }).map_err(|_| {
            "its key is of a kind that is not known; ECDSA P-256 (what cosign makes), Ed25519 and \
             RSA are"
                .to_owned()
        })
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", Digest::of(self.key.as_ref()).short())
    }
}

const PRIVATE: &[u8] = b"PRIVATE KEY-----";

#[cfg(test)]
mod tests {
    use super::*;

    const PAYLOAD: &[u8] = include_bytes!("testdata/payload.json");
    const KINDS: [(&str, &[u8], &[u8]); 3] = [
        ("P-256", include_bytes!("testdata/p256.pub.pem"), include_bytes!("testdata/p256.sig")),
        (
            "Ed25519",
            include_bytes!("testdata/ed25519.pub.pem"),
            include_bytes!("testdata/ed25519.sig"),
        ),
        ("RSA", include_bytes!("testdata/rsa.pub.pem"), include_bytes!("testdata/rsa.sig")),
    ];

    #[test]
    fn signatures_that_openssl_made_verify() {
        for (kind, pem, signature) in KINDS {
            let keys = PublicKey::all_in(pem).unwrap();
            assert_eq!(keys.len(), 1);
            assert!(keys[0].verifies(PAYLOAD, signature), "{kind}");
            for (other, _, signature) in KINDS.iter().filter(|(other, ..)| *other != kind) {
                assert!(!keys[0].verifies(PAYLOAD, signature), "{kind} {other}");
            }
            assert!(!keys[0].verifies(PAYLOAD, b""));
            assert!(!keys[0].verifies(b"", signature));
            for bit in 0..PAYLOAD.len() * 8 {
                let mut tampered = PAYLOAD.to_vec();
                tampered[bit / 8] ^= 1 << (bit % 8);
                assert!(!keys[0].verifies(&tampered, signature), "{kind} {bit}");
            }
        }
    }

    #[test]
    fn a_file_may_hold_several_keys() {
        let all = KINDS.map(|(_, pem, _)| pem).concat();
        assert_eq!(PublicKey::all_in(&all).unwrap().len(), 3);
    }

    #[test]
    fn what_is_no_public_key_is_refused() {
        let cut = b"-----BEGIN PUBLIC KEY-----\nMFkwEw\n-----END PUBLIC KEY-----\n";
        for (pem, part) in [
            (&b""[..], "no public key"),
            (b"\xff\xfe\0", "no public key"),
            (b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n", "private key"),
            (cut, ""),
            (include_bytes!("testdata/p384.pub.pem"), "ECDSA P-256"),
            (b"-----BEGIN PUBLIC KEY-----\n", ""),
        ] {
            let error = PublicKey::all_in(pem).unwrap_err();
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}
