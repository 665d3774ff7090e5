//! Images and sounds in requests: out of data URLs and base64, recognised and bounded.
//!
//! Nothing is decoded here: that is the worker's, which is confined. Shared by all dialects.

use crate::domain::{Error, Media, Result};

/// An image or sound from a `data:` URL. `param` is the field that holds it.
///
/// # Errors
/// `InvalidValue` for what cannot be read, is too large or is no known format; `Unsupported` for a
/// remote URL.
pub(super) fn from_url(_url: &str, param: &str) -> Result<Media> {
    Err(Error::unsupported(param, "images are not done yet; send text"))
}

/// An image or sound from base64 alone.
///
/// # Errors
/// As [`from_url`].
pub(super) fn from_base64(_data: &str, param: &str) -> Result<Media> {
    Err(Error::unsupported(param, "images are not done yet; send text"))
}
