use std::io::{self, Write};

use crate::domain::{Digest, Result};
use crate::registry::{Artifact, Descriptor};
use crate::store::{Lease, Store};

use super::catalog::{Inner, Models};
use super::resolve::check_blobs;
use super::tar_out::{ArchiveWriter, archive_bytes};

/// A model on its way out as a Docker model archive. Its files stay in the store while this lives.
pub struct Export {
    store: Store,
    blobs: Vec<Descriptor>,
    manifest: Vec<u8>,
    id: Digest,
    _lease: Lease,
}

impl Models {
    /// Prepares the archive of a model: every blob is there, with the size that the manifest says.
    ///
    /// # Errors
    /// `InvalidReference`, `ModelNotFound`; `InvalidModel` naming the file that is missing.
    pub async fn export(&self, model: &str) -> Result<Export> {
        let model = model.to_owned();
        self.blocking(move |inner| export(inner, &model)).await
    }
}

fn export(inner: &Inner, model: &str) -> Result<Export> {
    let store = &inner.store;
    let id = store.find(model)?.model.id;
    let lease = store.lease(&id)?;
    let manifest = store.read_manifest(&id)?;
    let artifact = Artifact::parse(&manifest)?;
    check_blobs(store, &artifact)?;
    let mut blobs: Vec<Descriptor> = Vec::new();
    for blob in artifact.layers.iter().map(|layer| layer.blob).chain([artifact.config]) {
        if !blobs.iter().any(|known| known.digest == blob.digest) {
            blobs.push(blob);
        }
    }
    Ok(Export { store: store.clone(), blobs, manifest, id, _lease: lease })
}

impl std::fmt::Debug for Export {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Export").field(&self.id).finish()
    }
}

impl Export {
    /// The model.
    pub fn id(&self) -> Digest {
        self.id
    }

    /// The exact length of the archive in bytes.
    pub fn total_bytes(&self) -> u64 {
        archive_bytes(self.blobs.iter().map(|blob| blob.size), self.manifest.len())
    }

    /// Writes the archive. Blocks.
    ///
    /// # Errors
    /// Those of `out`; `InvalidData` where a blob is not what its name promises, before the archive
    /// could be taken for a whole one.
    pub fn write_tar(&self, out: &mut impl Write) -> io::Result<()> {
        let mut ignore = |_| ();
        let mut archive = ArchiveWriter::new(out, &mut ignore)?;
        for blob in &self.blobs {
            let file = self.store.open_blob(&blob.digest).map_err(io::Error::other)?;
            archive.blob(file, *blob, &format!("blob {}", blob.digest))?;
        }
        archive.finish(&self.manifest)
    }
}
