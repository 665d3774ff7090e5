use std::collections::HashMap;
use std::path::PathBuf;

use crate::domain::Digest;
use crate::registry::Part;
use crate::store::AdoptedAs;

/// Whose model it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Docker Model Runner.
    Docker,
    /// Ollama.
    Ollama,
    /// LM Studio.
    LmStudio,
    /// The cache of llama.cpp's own programs.
    LlamaCpp,
    /// The cache of Hugging Face's libraries.
    HubCache,
    /// A path that the user named.
    Path,
}

impl Origin {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Docker => "Docker Model Runner",
            Self::Ollama => "Ollama",
            Self::LmStudio => "LM Studio",
            Self::LlamaCpp => "llama.cpp",
            Self::HubCache => "Hugging Face cache",
            Self::Path => "path",
        }
    }
}

/// Where each program keeps its models; what is not there is passed over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// Stores of Docker Model Runner (`~/.docker/models`).
    pub docker: Vec<PathBuf>,
    /// Ollama's directories with `manifests` and `blobs` (`~/.ollama/models`).
    pub ollama: Vec<PathBuf>,
    /// LM Studio's directories of publishers (`~/.lmstudio/models`).
    pub lm_studio: Vec<PathBuf>,
    /// llama.cpp's flat caches (`~/.cache/llama.cpp`).
    pub llama_cpp: Vec<PathBuf>,
    /// Caches of Hugging Face's libraries (`~/.cache/huggingface/hub`).
    pub hub_cache: Vec<PathBuf>,
}

/// What to import.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Look in these places.
    pub places: Places,
    /// Take these GGUF files, or all in these directories.
    pub paths: Vec<PathBuf>,
    /// The name for a single model from `paths`.
    pub name: Option<String>,
    /// Say what would be imported and change nothing.
    pub dry_run: bool,
}

/// A model that was found and not looked into yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) origin: Origin,
    pub(super) content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// An artifact with a manifest of its own; its blobs lie under their digests.
    Artifact { manifest: Vec<u8>, tags: Vec<String>, blobs: PathBuf },
    /// Files to make one of.
    Files(Files),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Files {
    /// The first or only shard.
    pub(super) weights: PathBuf,
    pub(super) mmproj: Option<PathBuf>,
    pub(super) licenses: Vec<PathBuf>,
    pub(super) adapters: Vec<PathBuf>,
    pub(super) profile: Vec<(Part, PathBuf)>,
    /// What other tools' names promise about files.
    pub(super) expected: HashMap<PathBuf, Digest>,
    pub(super) name: Name,
}

/// What to call a model of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    /// This tag.
    Tag(String),
    /// This repository, with the quantisation as its tag.
    Repository(String),
}

impl Default for Name {
    fn default() -> Self {
        Self::Repository("localhost/model".to_owned())
    }
}

/// A model that is in the store now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Whose it is.
    pub origin: Origin,
    /// Its id; `None` in a dry run for a model that has none before its files are hashed.
    pub id: Option<Digest>,
    /// The tags that it has from this import.
    pub tags: Vec<String>,
    /// Bytes of its files.
    pub bytes: u64,
    /// How they came; the costliest way that one of them took. `None` in a dry run.
    pub how: Option<AdoptedAs>,
    /// Anything that the user should know.
    pub notes: Vec<String>,
}

/// What an import tells whoever watches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportEvent {
    /// A file is being read and hashed.
    Reading {
        /// Which.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// A model is there.
    Imported(Imported),
    /// Something was found and is not taken.
    Skipped {
        /// Whose it is.
        origin: Origin,
        /// What it is called there.
        what: String,
        /// Why not.
        why: String,
    },
}
