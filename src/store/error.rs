use std::path::PathBuf;

use rustix::io::Errno;

use crate::domain::{Digest, Error, ErrorKind};
use crate::gguf::human_bytes;

/// What can go wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No model answers to the name.
    #[error("model {0:?} is not in the store; `modeld list` shows what is")]
    NotFound(String),
    /// A deletion by id of a model that has several tags.
    #[error(
        "error while deleting model: unable to delete {0:?} (must be forced) due to multiple tag \
         references: resource conflict"
    )]
    SeveralTags(String),
    /// A tag must be a name.
    #[error("{0:?} cannot be a tag: a tag is a name such as `myorg/model:v1`")]
    NotATag(String),
    /// The disk is too small. Bytes.
    #[error(
        "the disk of the model store is full: {} needed, {} free; remove models with `modeld rm`",
        human_bytes(*needed),
        human_bytes(*free)
    )]
    DiskFull {
        /// What was to be written, with the reserve that stays free.
        needed: u64,
        /// What is free for this user.
        free: u64,
    },
    /// The disk quota of the user is used up. Bytes.
    #[error(
        "the disk quota for the model store is used up: {} more needed; remove models with \
         `modeld rm`",
        human_bytes(*needed)
    )]
    QuotaExceeded {
        /// What was to be written.
        needed: u64,
    },
    /// The file system has no place for another file, however small.
    #[error(
        "the file system of the model store has no room for another file (its inodes are used \
         up); remove files from it"
    )]
    NoInodes,
    /// The file system is mounted without the right to write.
    #[error(
        "cannot {action} {}: the file system is read-only; mount it for writing or choose another \
         store with --models-path",
        path.display()
    )]
    ReadOnly {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
    },
    /// The directory may not be written by this user.
    #[error(
        "the model store {} cannot be written by user {user} ({source}); give that user the right \
         or choose another store with --models-path",
        root.display()
    )]
    NotWritable {
        /// Where.
        root: PathBuf,
        /// Who we are.
        user: u32,
        /// What the system said.
        source: std::io::Error,
    },
    /// Without locks two programs would destroy each other's changes.
    #[error(
        "the file system of the model store cannot lock {} ({source}), as some network file \
         systems cannot; choose a store on a local disk with --models-path",
        path.display()
    )]
    NoLocks {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The bytes are not those that were promised.
    #[error("the data has the digest {found}, but {expected} was promised; it was discarded")]
    DigestMismatch {
        /// What was promised.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// More or fewer bytes than promised.
    #[error("{found} bytes came, but {expected} were promised; they were discarded")]
    SizeMismatch {
        /// What was promised.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// Somebody else, here or in another process, is writing this very blob.
    #[error("another pull is downloading {0} right now")]
    Busy(Digest),
    /// A manifest names a blob that is not there or has another size.
    #[error("the manifest names {digest} with {expected} bytes, but the store {found}")]
    MissingBlob {
        /// The blob.
        digest: Digest,
        /// Its size according to the manifest.
        expected: u64,
        /// What there is, in words.
        found: String,
    },
    /// A manifest that cannot be read as one.
    #[error("the manifest cannot be read: {0}")]
    BadManifest(String),
    /// The directory is not a model store.
    #[error(
        "{} holds other files and no layout.json: it is not a model store; choose an empty or a \
         new directory with --models-path",
        .0.display()
    )]
    NotAStore(PathBuf),
    /// What would say whether the directory is one.
    #[error(
        "{} is there and cannot be read by user {user} ({source}); give that user the right to \
         read it, or choose another store with --models-path",
        path.display()
    )]
    UnreadableLayout {
        /// layout.json.
        path: PathBuf,
        /// Who we are.
        user: u32,
        /// Why not.
        source: std::io::Error,
    },
    /// The same, with something else in it.
    #[error(
        "{} names no version of a model store, and the directory holds other files: it is not a \
         model store, or that file is damaged; choose another directory with --models-path, or \
         write {{\"version\": \"1.0.0\"}} into the file if models are in it",
        .0.display()
    )]
    DamagedLayout(PathBuf),
    /// The directory is of a version that we do not know.
    #[error("the model store {} has the layout {version:?}; only 1.x is known", root.display())]
    UnknownLayout {
        /// Where.
        root: PathBuf,
        /// What layout.json says.
        version: String,
    },
    /// The directory belongs to somebody else.
    #[error("the model store {} belongs to user {owner}, not to user {user}", root.display())]
    ForeignOwner {
        /// Where.
        root: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// Others may write into the directory.
    #[error(
        "the model store {} can be written by others (mode {mode:o}); run `chmod go-w` on it",
        root.display()
    )]
    Writable {
        /// Where.
        root: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl StoreError {
    /// Whether it will be so again until a person changes the setting or what it names.
    pub fn needs_other_settings(&self) -> bool {
        use std::io::ErrorKind as Kind;
        match self {
            Self::ReadOnly { .. }
            | Self::NotWritable { .. }
            | Self::NoLocks { .. }
            | Self::NotAStore(_)
            | Self::UnreadableLayout { .. }
            | Self::DamagedLayout(_)
            | Self::UnknownLayout { .. }
            | Self::ForeignOwner { .. }
            | Self::Writable { .. } => true,
            Self::Io { source, .. } => matches!(
                source.kind(),
                Kind::PermissionDenied | Kind::NotADirectory | Kind::AlreadyExists
            ),
            _ => false,
        }
    }

    /// For `map_err`: what was tried on which path.
    pub(super) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| match Errno::from_io_error(&source) {
            Some(Errno::ROFS) => Self::ReadOnly { action, path },
            Some(Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS) if action == "lock" => {
                Self::NoLocks { path, source }
            }
            _ => Self::Io { action, path, source },
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::NotFound(_) => ErrorKind::ModelNotFound,
            StoreError::SeveralTags(_) | StoreError::Busy(_) => ErrorKind::Conflict,
            StoreError::NotATag(_) => ErrorKind::InvalidReference,
            StoreError::DiskFull { .. }
            | StoreError::QuotaExceeded { .. }
            | StoreError::NoInodes
            | StoreError::ReadOnly { .. } => ErrorKind::DiskFull,
            StoreError::DigestMismatch { .. }
            | StoreError::SizeMismatch { .. }
            | StoreError::MissingBlob { .. }
            | StoreError::BadManifest(_) => ErrorKind::InvalidModel,
            StoreError::NotAStore(_)
            | StoreError::UnreadableLayout { .. }
            | StoreError::DamagedLayout(_)
            | StoreError::UnknownLayout { .. }
            | StoreError::ForeignOwner { .. }
            | StoreError::Writable { .. }
            | StoreError::NotWritable { .. }
            | StoreError::NoLocks { .. } => ErrorKind::Internal,
            StoreError::Io { .. } => return Error::internal(error),
        };
        Error::new(kind, error.to_string())
    }
}
