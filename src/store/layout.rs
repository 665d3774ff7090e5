use std::path::{Path, PathBuf};

use crate::domain::Digest;

/// What is stored by digest.
#[derive(Debug, Clone, Copy)]
pub(super) enum Area {
    Blobs,
    Manifests,
    Bundles,
}

/// What a file of a partial blob is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PartialFile {
    /// The bytes, with holes.
    Data,
    /// Which of them are safe on the disk.
    Journal,
}

/// Where everything lies. The only code that turns a digest into a path.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) root: PathBuf,
}

impl Layout {
    pub(super) fn by_digest(&self, area: Area, digest: &Digest) -> PathBuf {
        self.area(area).join(digest.hex())
    }

    pub(super) fn area(&self, area: Area) -> PathBuf {
        let name = match area {
            Area::Blobs => "blobs",
            Area::Manifests => "manifests",
            Area::Bundles => "bundles",
        };
        self.root.join(name).join("sha256")
    }

    /// What is being written; nothing of DMR's looks in here.
    pub(super) fn ingest(&self) -> PathBuf {
        self.root.join("ingest")
    }

    pub(super) fn version_file(&self) -> PathBuf {
        self.root.join("layout.json")
    }

    pub(super) fn index_file(&self) -> PathBuf {
        self.root.join("models.json")
    }

    /// Which blobs are files of other programs.
    pub(super) fn adopted_file(&self) -> PathBuf {
        self.root.join("adopted.json")
    }

    pub(super) fn lock_file(&self) -> PathBuf {
        self.root.join("modeld.lock")
    }

    /// Where a blob lies while its bytes come in, over any number of attempts.
    pub(super) fn partial(&self, digest: &Digest) -> PathBuf {
        self.ingest().join(format!("sha256-{}.part", digest.hex()))
    }

    /// The digest that a file of `ingest/` is the partial of, or belongs to the partial of.
    pub(super) fn partial_of(path: &Path) -> Option<(Digest, PartialFile)> {
        let name = path.file_name()?.to_str()?.strip_prefix("sha256-")?;
        let (hex, rest) = name.split_once('.')?;
        let file = match rest {
            "part" => PartialFile::Data,
            "part.json" | "part.json.new" => PartialFile::Journal,
            _ => return None,
        };
        Some((format!("sha256:{hex}").parse().ok()?, file))
    }

    /// The digest that a file of an area is named by; `None` for files that do not belong there.
    pub(super) fn digest_of(path: &Path) -> Option<Digest> {
        format!("sha256:{}", path.file_name()?.to_str()?).parse().ok()
    }
}
