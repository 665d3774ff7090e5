use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::domain::{Digest, Error, ErrorKind, Result};
use crate::gguf::{Adapter, Facts, Header, ShardName, facts_of, read_header};
use crate::registry::{Descriptor, NewArtifact, NewLayer, NewModel, Part, compose, media};

use super::tar_out::{ArchiveWriter, Checked, archive_bytes};

/// What to put into an artifact.
#[derive(Debug, Clone, Default)]
pub struct PackageOptions {
    /// The GGUF file; of a sharded model any shard.
    pub weights: PathBuf,
    /// A multimodal projector.
    pub mmproj: Option<PathBuf>,
    /// A chat template.
    pub chat_template: Option<PathBuf>,
    /// Licence texts.
    pub licenses: Vec<PathBuf>,
    /// LoRA adapters, all to be applied.
    pub adapters: Vec<PathBuf>,
    /// What a conversation begins with, a file for each part.
    pub profile: Vec<(Part, PathBuf)>,
    /// The largest context to run it with, in tokens; `None`: what it was trained for.
    pub context_size: Option<u32>,
}

/// An artifact, checked and hashed, ready to be written as a Docker model archive. The same files
/// with the same times always give the same one.
#[derive(Debug)]
pub struct PackagePlan {
    layers: Vec<PlannedLayer>,
    config: Vec<u8>,
    manifest: Vec<u8>,
    facts: Facts,
}

#[derive(Debug)]
struct PlannedLayer {
    source: PathBuf,
    layer: NewLayer,
}

impl PackagePlan {
    /// Finds all shards, checks every header and hashes every file.
    ///
    /// # Errors
    /// `InvalidValue` for a file that cannot be read or a shard that is missing, with its path;
    /// `InvalidModel` naming the rule that a GGUF file breaks.
    pub fn new(options: &PackageOptions) -> Result<Self> {
        Self::hashed_by(options, &mut hash)
    }

    /// The same, where somebody else finds out each file's digest and size.
    pub(super) fn hashed_by(
        options: &PackageOptions,
        hash: &mut dyn FnMut(&Path) -> Result<Descriptor>,
    ) -> Result<Self> {
        let weights = find_shards(&options.weights)?;
        let (facts, weight_bytes) = Self::look(options)?;
        let mut layers = Vec::new();
        let sources = weights
            .iter()
            .map(|path| (path, media::GGUF))
            .chain(options.mmproj.iter().map(|path| (path, media::MMPROJ)))
            .chain(options.chat_template.iter().map(|path| (path, media::CHAT_TEMPLATE)))
            .chain(options.licenses.iter().map(|path| (path, media::LICENSE)))
            .chain(options.adapters.iter().map(|path| (path, media::LORA)))
            .chain(options.profile.iter().map(|(part, path)| (path, part.media_type())));
        for (path, media_type) in sources {
            let blob = hash(path)?;
            let file_name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
            layers.push(PlannedLayer {
                source: path.clone(),
                layer: NewLayer { media_type, blob, file_name },
            });
        }
        let model = NewModel {
            facts: &facts,
            weight_bytes,
            context_size: options.context_size,
            created: created(&weights)?,
        };
        let written: Vec<NewLayer> = layers.iter().map(|planned| planned.layer.clone()).collect();
        let NewArtifact { config, manifest } = compose(model, &written)?;
        Ok(Self { layers, config, manifest, facts })
    }

    /// Checks every header; answers what the weights say and how many bytes they are.
    pub(super) fn look(options: &PackageOptions) -> Result<(Facts, u64)> {
        let weights = find_shards(&options.weights)?;
        let headers = weights.iter().map(|path| header_of(path)).collect::<Result<Vec<_>>>()?;
        let facts = facts_of(&headers)?;
        if let Some(path) = &options.mmproj {
            Facts::of(&header_of(path)?)?;
        }
        for path in &options.adapters {
            let name = path.display().to_string();
            let adapter = Adapter::of(&header_of(path)?)
                .map_err(|rule| Error::new(ErrorKind::InvalidModel, format!("{name}: {rule}")))?;
            adapter.require_base(&name, &facts, &headers)?;
        }
        Ok((facts, headers.iter().map(|header| header.file_bytes).sum()))
    }

    pub(super) fn manifest(&self) -> &[u8] {
        &self.manifest
    }

    pub(super) fn layer_bytes(&self) -> u64 {
        self.layers.iter().map(|planned| planned.layer.blob.size).sum()
    }

    /// What the weights say about themselves.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The config as it will be written.
    pub fn config_json(&self) -> &[u8] {
        &self.config
    }

    /// The id that the model will have.
    pub fn manifest_digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    /// The exact length of the archive in bytes.
    pub fn total_bytes(&self) -> u64 {
        let config = self.config.len() as u64;
        let blobs = self.unique_layers().into_iter().map(|(_, blob)| blob.size).chain([config]);
        archive_bytes(blobs, self.manifest.len())
    }

    /// Writes the archive; `progress` hears how many bytes of it are out.
    ///
    /// # Errors
    /// Those of `out`; `InvalidData` where a file changed since it was planned.
    pub fn write_tar(&self, out: &mut impl Write, progress: &mut dyn FnMut(u64)) -> io::Result<()> {
        let mut archive = ArchiveWriter::new(out, progress)?;
        for (source, blob) in self.unique_layers() {
            archive.blob(File::open(source)?, blob, &source.display().to_string())?;
        }
        let digest = Digest::of(&self.config);
        let config = Descriptor { digest, size: self.config.len() as u64 };
        archive.blob(self.config.as_slice(), config, "the config")?;
        archive.finish(&self.manifest)
    }

    /// Equal files are one blob.
    fn unique_layers(&self) -> Vec<(&Path, Descriptor)> {
        let mut unique: Vec<(&Path, Descriptor)> = Vec::new();
        for PlannedLayer { source, layer } in &self.layers {
            if !unique.iter().any(|(_, known)| known.digest == layer.blob.digest) {
                unique.push((source, layer.blob));
            }
        }
        unique
    }
}

/// All shards of a model by the name of any one; a file by itself otherwise.
fn find_shards(path: &Path) -> Result<Vec<PathBuf>> {
    let name = path.file_name().and_then(|name| name.to_str());
    let shard = name.and_then(ShardName::of).filter(|shard| shard.count > 1);
    let Some(ShardName { stem, count, .. }) = shard else {
        return Ok(vec![path.to_owned()]);
    };
    let all: Vec<PathBuf> = (1..=count)
        .map(|number| path.with_file_name(format!("{stem}-{number:05}-of-{count:05}.gguf")))
        .collect();
    let missing: Vec<String> =
        all.iter().filter(|shard| !shard.is_file()).map(|s| s.display().to_string()).collect();
    if missing.is_empty() {
        return Ok(all);
    }
    let shown = missing.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    let more = if missing.len() > 5 { ", …" } else { "" };
    Err(Error::invalid(
        "weights",
        format!("{} of {count} shards are missing: {shown}{more}", missing.len()),
    ))
}

/// The time of the newest of the files.
fn created(paths: &[PathBuf]) -> Result<jiff::Timestamp> {
    let mut newest = jiff::Timestamp::UNIX_EPOCH;
    for path in paths {
        let modified = path.metadata().and_then(|found| found.modified());
        let modified = modified.map_err(|e| unreadable(path, &e))?;
        newest = newest.max(jiff::Timestamp::try_from(modified).unwrap_or(newest));
    }
    Ok(newest)
}

fn header_of(path: &Path) -> Result<Header> {
    let file = File::open(path).map_err(|e| unreadable(path, &e))?;
    let found = file.metadata().map_err(|e| unreadable(path, &e))?;
    if !found.is_file() {
        let message = format!("{} is not a regular file", path.display());
        return Err(Error::invalid("path", message));
    }
    read_header(file, found.len())
        .map_err(|rule| Error::new(ErrorKind::InvalidModel, format!("{}: {rule}", path.display())))
}

fn hash(path: &Path) -> Result<Descriptor> {
    let file = File::open(path).map_err(|e| unreadable(path, &e))?;
    if !file.metadata().is_ok_and(|found| found.is_file()) {
        let message = format!("{} is not a regular file", path.display());
        return Err(Error::invalid("path", message));
    }
    let mut checked = Checked::new(file);
    io::copy(&mut checked, &mut io::sink()).map_err(|e| unreadable(path, &e))?;
    Ok(checked.finish())
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::invalid("path", format!("{} cannot be read: {error}", path.display()))
}
