use std::fmt;

use oci_client::Reference;

use super::{Digest, Error, ErrorKind, Result};

/// A model as its user names it, normalised once: `smollm2` is `docker.io/ai/smollm2:latest`
/// everywhere (rules: the name normalisation of Docker Model Runner).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelRef {
    /// A full model id, the digest of its manifest.
    Id(Digest),
    /// The first 12 hexadecimal digits of an id.
    ShortId(String),
    /// A registry name with tag or digest.
    Named(Reference),
}

impl ModelRef {
    /// Normalises and parses what a user or client wrote.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidReference`], naming what is wrong; nothing is looked up.
    pub fn parse(text: &str) -> Result<Self> {
        let reference = text
            .parse::<Reference>()
            .map_err(|e| Error::new(ErrorKind::InvalidReference, e.to_string()))?;
        Ok(Self::Named(reference))
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(digest) => digest.fmt(f),
            Self::ShortId(hex) => f.write_str(hex),
            Self::Named(reference) => fmt::Display::fmt(reference, f),
        }
    }
}
