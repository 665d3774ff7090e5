use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use secrecy::SecretString;

use crate::domain::{Digest, Error, ErrorKind, LayerProgress, ModelRef, Result};

use super::{Artifact, Descriptor};

/// A model as a registry offers it: everything but the bytes of its layers.
#[derive(Clone)]
pub struct RemoteModel {
    /// The digest of the manifest.
    pub id: Digest,
    /// The manifest, byte for byte.
    pub manifest: Vec<u8>,
    /// The same, read and checked.
    pub artifact: Artifact,
    /// The config; its digest and size are those that the manifest names.
    pub config: Vec<u8>,
    /// Where the layers come from.
    pub blobs: Arc<dyn BlobSource>,
    /// What the user should know about how it was found.
    pub warnings: Vec<String>,
}

/// Where the bytes of a model's layers come from.
pub trait BlobSource: Send + Sync {
    /// Begins to read `range` (bytes, the end exclusive, within the blob). A source without ranges
    /// answers from 0; [`BlobBody::start`] says so, and the caller decides what to do.
    fn open<'a>(
        &'a self,
        blob: &'a Descriptor,
        range: std::ops::Range<u64>,
    ) -> BoxFuture<'a, std::result::Result<BlobBody, FetchError>>;
}

/// Bytes of a blob on their way.
pub struct BlobBody {
    /// Where they begin: what a checked `Content-Range` said, or 0 for an answer in full.
    pub start: u64,
    /// Where they end (exclusive), as the answer declared; the stream may still break off or, from
    /// a lying server, go on.
    pub end: u64,
    /// Names this very content (`ETag`), where the server has such a name: ranges of one blob from
    /// answers with different validators are not of one content.
    pub validator: Option<String>,
    /// The bytes.
    pub stream: BoxStream<'static, std::result::Result<Bytes, FetchError>>,
}

/// Why bytes did not come.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct FetchError {
    /// What the user reads if this is final.
    pub error: Error,
    /// Whether trying again can help.
    pub retry: Retry,
}

/// Whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The same would happen again.
    Never,
    /// After a pause that the caller chooses.
    Soon,
    /// Not before this time has passed: the server said so (`Retry-After`).
    After(Duration),
}

impl FetchError {
    /// A final one.
    pub fn fatal(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { error: Error::new(kind, message), retry: Retry::Never }
    }

    /// One that may pass.
    pub fn passing(message: impl Into<String>) -> Self {
        Self { error: Error::new(ErrorKind::RegistryUnavailable, message), retry: Retry::Soon }
    }
}

impl From<FetchError> for Error {
    fn from(error: FetchError) -> Self {
        error.error
    }
}

/// A model of the store on its way to a registry.
pub struct OutgoingModel {
    /// The manifest, byte for byte.
    pub manifest: Vec<u8>,
    /// The same, read.
    pub artifact: Artifact,
    /// Opens a blob of it (layer or config) for reading, from its beginning.
    pub open: OpenBlob,
}

/// Opens a blob of a stored model.
pub type OpenBlob = Arc<dyn Fn(&Digest) -> Result<std::fs::File> + Send + Sync>;

/// Hears how far the layers of a transfer are.
pub type ProgressSink = Arc<dyn Fn(LayerProgress) + Send + Sync>;

/// Where models come from and go to. Implementations decide by the reference's registry what
/// protocol is spoken; nothing is contacted that the reference, the configuration or the
/// registry's own policy-checked answer did not name.
pub trait Registry: Send + Sync {
    /// Finds out what `reference` is: manifest and config, authorised and checked, but no layer.
    /// `token` is what the client sent along for this one request.
    ///
    /// # Errors
    /// `RegistryUnauthorized`, `RegistryNotFound`, `RegistryForbidden`, `RegistryInvalid`,
    /// `RegistryUnavailable`, `UnsupportedModel`, `InvalidModel`.
    fn resolve<'a>(
        &'a self,
        reference: &'a ModelRef,
        token: Option<&'a SecretString>,
    ) -> BoxFuture<'a, Result<RemoteModel>>;

    /// Uploads a model under `reference`, blobs first and what is there already not again, the
    /// manifest last.
    ///
    /// # Errors
    /// As [`Registry::resolve`]; `Unsupported` where the protocol has no way to do it.
    fn push<'a>(
        &'a self,
        reference: &'a ModelRef,
        model: OutgoingModel,
        token: Option<&'a SecretString>,
        progress: ProgressSink,
    ) -> BoxFuture<'a, Result<()>>;
}
