use std::ops::ControlFlow;
use std::path::Path;

use crate::domain::Result;
use crate::registry::{Artifact, media};
use crate::store::{
    DiskUsage, Finding, FsckModel, FsckProgress, FsckReport, Problem, PruneOptions, Pruned, Store,
    StoredModel,
};

use super::catalog::{Inner, Models};

/// What the media types of layers begin with that any tool is known to write.
const KNOWN_MEDIA: [&str; 3] =
    ["application/vnd.docker.ai.", "application/vnd.cncf.model.", media::OLLAMA_PREFIX];

impl Models {
    /// Where the disk space goes, see [`Store::usage`].
    ///
    /// # Errors
    /// `Internal` where the store cannot be read.
    pub async fn usage(&self) -> Result<DiskUsage> {
        self.blocking(|inner| Ok(inner.store.usage()?)).await
    }

    /// Removes what nobody needs, see [`Store::prune`].
    ///
    /// # Errors
    /// `Internal` where the store cannot be read.
    pub async fn prune(&self, options: PruneOptions) -> Result<Pruned> {
        self.blocking(move |inner| Ok(inner.store.prune(&options)?)).await
    }

    /// Removes every model and download, see [`Store::purge`].
    ///
    /// # Errors
    /// `DiskFull`, `Internal`.
    pub async fn purge(&self) -> Result<Pruned> {
        self.blocking(|inner| {
            let pruned = inner.store.purge();
            // Even one that stopped half-way has changed the index.
            inner.forget_all();
            Ok(pruned?)
        })
        .await
    }

    /// Checks every file, see [`Store::fsck`], and that every manifest is one of a model.
    ///
    /// # Errors
    /// `Internal` where the store cannot be read.
    pub async fn fsck(
        &self,
        mut progress: impl FnMut(FsckProgress) -> ControlFlow<()> + Send + 'static,
        repair: bool,
    ) -> Result<FsckReport> {
        self.blocking(move |inner| {
            let checked = inner.store.fsck(&mut progress, repair);
            if repair {
                inner.forget_all();
            }
            let mut report = checked?;
            for model in inner.store.list()? {
                report.problems.extend(check_media(&inner.store, &model));
            }
            Ok(report)
        })
        .await
    }
}

impl Inner {
    fn forget_all(&self) {
        self.cards.clear();
        self.facts.clear();
    }
}

/// What a good manifest says that nothing here understands.
fn check_media(store: &Store, model: &StoredModel) -> Vec<Problem> {
    // Whether it is there and whole was looked at already.
    let Ok(manifest) = store.read_manifest(&model.id) else { return Vec::new() };
    let path = Path::new("manifests/sha256").join(model.id.hex());
    let problem = |finding, models| Problem {
        finding,
        path: path.clone(),
        digest: Some(model.id),
        models,
        repaired: false,
    };
    match Artifact::parse(&manifest) {
        Ok(artifact) => artifact
            .layers
            .iter()
            .filter(|layer| !KNOWN_MEDIA.iter().any(|known| layer.media_type.starts_with(known)))
            .map(|layer| problem(Finding::UnknownMedia(layer.media_type.clone()), Vec::new()))
            .collect(),
        Err(error) => {
            let hurt = vec![FsckModel::of(model)];
            vec![problem(Finding::BadManifest(error.to_string()), hurt)]
        }
    }
}
