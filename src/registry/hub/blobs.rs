use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt as _};

use crate::domain::{Digest, ErrorKind};
use crate::registry::{BlobBody, BlobSource, Descriptor, FetchError};

use super::client::{Access, Hub};
use super::listing::Repository;
use super::ranges;

/// Opens the files of one repository at one commit.
#[derive(Clone)]
pub(super) struct Opener {
    pub(super) hub: Hub,
    pub(super) access: Access,
    pub(super) repository: Repository,
}

impl Opener {
    /// Begins to read `range` of the file at `path`, which has `size` bytes.
    pub(super) async fn open(
        &self,
        path: &str,
        size: u64,
        range: Range<u64>,
    ) -> Result<BlobBody, FetchError> {
        let range = range.start.min(size)..range.end.min(size);
        if range.is_empty() {
            return Ok(ranges::of_memory(&Bytes::new(), &(0..0)));
        }
        let Repository { id, commit, .. } = &self.repository;
        let url = self
            .hub
            .url(&[id, "resolve", commit, path])
            .map_err(|error| FetchError { error, retry: crate::registry::Retry::Never })?;
        let asked = (range != (0..size)).then(|| range.clone());
        let response = self.hub.get(url, &self.access, asked, path).await?;
        ranges::checked(response, &range, size, path)
    }
}

/// Where the bytes of one layer are.
pub(super) enum Place {
    /// In the repository, at this path.
    Hub(String),
    /// Here: small files were fetched to learn their digests.
    Memory(Bytes),
}

/// The layers of one model.
pub(super) struct HubBlobs {
    pub(super) opener: Opener,
    pub(super) places: HashMap<Digest, Place>,
}

impl BlobSource for HubBlobs {
    fn open<'a>(
        &'a self,
        blob: &'a Descriptor,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<BlobBody, FetchError>> {
        async move {
            match self.places.get(&blob.digest) {
                Some(Place::Memory(bytes)) => Ok(ranges::of_memory(bytes, &range)),
                Some(Place::Hub(path)) => self.opener.open(path, blob.size, range).await,
                None => {
                    let text = format!("the model has no blob {}", blob.digest);
                    Err(FetchError::fatal(ErrorKind::RegistryNotFound, text))
                }
            }
        }
        .boxed()
    }
}
