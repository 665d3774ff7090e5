//! Signatures that models of some repositories must have.
//!
//! Owns which repositories these are ([`Keyring`]), whose keys count for them, and what a signature
//! has to say ([`Demand::accepts`]): signatures with a key as cosign makes them over a "simple
//! signing" payload (<https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md>).
//! Keyless signatures, transparency logs and sigstore bundles are not read; cosign 3 makes the
//! signatures that are when it is told `--new-bundle-format=false --use-signing-config=false`.
//! It speaks to nobody, believes nothing that is not signed, and never lets a fault pass for a
//! permission.

mod demand;
mod key;
mod keyring;
mod pattern;
mod payload;

pub use demand::{Demand, Flaw};
pub use keyring::{Keyring, KeyringError};
