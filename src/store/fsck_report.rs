use std::fmt;
use std::path::PathBuf;

use crate::domain::Digest;

use super::StoredModel;

/// What is wrong with one thing in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The bytes of a blob or manifest are not those that its name promises.
    Corrupt {
        /// What they are.
        found: Digest,
    },
    /// A blob has another size than a manifest says. Bytes.
    WrongSize {
        /// What the manifest says.
        expected: u64,
        /// What it has.
        found: u64,
    },
    /// A blob that a manifest names is not there.
    MissingBlob {
        /// Its size in bytes.
        expected: u64,
    },
    /// A blob is another program's file, or shares it, and that is not what it was.
    Adopted {
        /// The other program's file.
        file: PathBuf,
        /// What became of it.
        what: AdoptedFault,
    },
    /// The index names a model whose manifest is not there.
    MissingManifest,
    /// A manifest that is what its name says, but cannot be read as one.
    BadManifest(String),
    /// A manifest that the index does not name: what a removal left, or what the index lost.
    Unlisted,
    /// The index lists other files for a model than its manifest.
    FilesDiffer,
    /// The index cannot be read.
    DamagedIndex(String),
    /// A record of the index has no valid id; it is kept and ignored.
    InvalidRecord(String),
    /// Something that has no business where it is, or that others may write.
    Foreign(String),
    /// A file that cannot be read.
    Unreadable(String),
    /// A media type that is unknown; the file is kept and not used.
    UnknownMedia(String),
}

/// What became of another program's file that is a blob of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdoptedFault {
    /// It is not there or cannot be read.
    Unreadable(String),
    /// It has other bytes.
    Corrupt {
        /// What they are.
        found: Digest,
    },
    /// It was written to or replaced, and has the same bytes nevertheless.
    Touched,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt { found } => {
                write!(f, "it is damaged: its bytes are those of {}", found.short())
            }
            Self::WrongSize { expected, found } => {
                write!(f, "it has {found} bytes, its manifest says {expected}")
            }
            Self::MissingBlob { expected } => write!(f, "it is missing ({expected} bytes)"),
            Self::Adopted { file, what } => {
                let file = file.display();
                match what {
                    AdoptedFault::Unreadable(why) => write!(f, "{file} cannot be read: {why}"),
                    AdoptedFault::Corrupt { found } => {
                        write!(f, "{file} has other bytes now, those of {}", found.short())
                    }
                    AdoptedFault::Touched => {
                        write!(f, "{file} was written to or replaced; its bytes are the same")
                    }
                }
            }
            Self::MissingManifest => f.write_str("the manifest of a listed model is missing"),
            Self::BadManifest(why) => write!(f, "it is no manifest of a model: {why}"),
            Self::Unlisted => f.write_str("models.json does not list this manifest"),
            Self::FilesDiffer => f.write_str("models.json lists other files than the manifest"),
            Self::DamagedIndex(why) => write!(f, "it cannot be read: {why}"),
            Self::InvalidRecord(id) => write!(f, "it names a model without a valid id: {id:?}"),
            Self::Foreign(why) => f.write_str(why),
            Self::Unreadable(why) => write!(f, "it cannot be read: {why}"),
            Self::UnknownMedia(kind) => write!(f, "nothing here understands its layer {kind:?}"),
        }
    }
}

/// One finding and whom it hurts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What.
    pub finding: Finding,
    /// Where, relative to the store.
    pub path: PathBuf,
    /// What it is named by.
    pub digest: Option<Digest>,
    /// The models that cannot be run because of it.
    pub models: Vec<FsckModel>,
    /// Whether it was put right: a damaged file is gone, so that it can come again.
    pub repaired: bool,
}

/// A model that a problem hurts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FsckModel {
    /// Its id.
    pub id: Digest,
    /// Its tags.
    pub tags: Vec<String>,
    /// The command that gets it again; one without tags was packaged or loaded here.
    pub command: Option<String>,
}

/// How far a check is. Bytes of blobs; a large one is told of several times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FsckProgress {
    /// The blob that is being read or was just read.
    pub digest: Digest,
    /// Read so far.
    pub done: u64,
    /// To be read in all.
    pub total: u64,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FsckReport {
    /// Blobs that were read.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Manifests that were read.
    pub manifests: usize,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

impl FsckReport {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }
}

impl FsckModel {
    /// With the command of its first tag.
    pub fn of(model: &StoredModel) -> Self {
        let name = model.tags.first().map(|tag| tag.strip_prefix("docker.io/").unwrap_or(tag));
        let command = name.map(|name| format!("modeld pull {name}"));
        Self { id: model.id, tags: model.tags.clone(), command }
    }
}
