use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use oci_client::manifest::{OciDescriptor, OciImageManifest};
use sha2::{Digest as _, Sha256};

use crate::domain::{Digest, Error, ErrorKind, ModelConfig, Result};
use crate::gguf::{Facts, Header, human_bytes, human_count, read_header};
use crate::registry::{Config, media};

use super::resolve::facts_of;

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
    media_type: &'static str,
    digest: Digest,
    size: u64,
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
        hash: &mut dyn FnMut(&Path) -> Result<(Digest, u64)>,
    ) -> Result<Self> {
        let weights = find_shards(&options.weights)?;
        let (facts, weight_bytes) = Self::look(options)?;
        let mut layers = Vec::new();
        let sources = weights
            .iter()
            .map(|path| (path, media::GGUF))
            .chain(options.mmproj.iter().map(|path| (path, media::MMPROJ)))
            .chain(options.chat_template.iter().map(|path| (path, media::CHAT_TEMPLATE)))
            .chain(options.licenses.iter().map(|path| (path, media::LICENSE)));
        for (path, media_type) in sources {
            let (digest, size) = hash(path)?;
            layers.push(PlannedLayer { source: path.clone(), media_type, digest, size });
        }
        let digests: Vec<Digest> = layers.iter().map(|layer| layer.digest).collect();
        let model = model_config(&facts, weight_bytes, options.context_size);
        let config = Config::to_docker(&model, &created(&weights)?, &digests);
        let manifest = manifest(&layers, &config)?;
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
        Ok((facts, headers.iter().map(|header| header.file_bytes).sum()))
    }

    pub(super) fn manifest(&self) -> &[u8] {
        &self.manifest
    }

    pub(super) fn layer_bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.size).sum()
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
        let small = [self.config.len() as u64, self.manifest.len() as u64];
        let files = self.unique_layers().into_iter().map(|layer| layer.size).chain(small);
        let blocks: u64 = files.map(|size| 512 + size.next_multiple_of(512)).sum();
        // Two directories and the two blocks at the end.
        blocks + 4 * 512
    }

    /// Writes the archive; `progress` hears how many bytes of it are out.
    ///
    /// # Errors
    /// Those of `out`; `InvalidData` where a file changed since it was planned.
    pub fn write_tar(&self, out: &mut impl Write, progress: &mut dyn FnMut(u64)) -> io::Result<()> {
        let mut tar = tar::Builder::new(Counted { inner: out, written: 0, progress });
        for dir in ["blobs/", "blobs/sha256/"] {
            tar.append_data(&mut header(0, tar::EntryType::Directory, 0o755), dir, io::empty())?;
        }
        for layer in self.unique_layers() {
            let file = File::open(&layer.source)?;
            let mut checked =
                Checked { inner: file.take(layer.size), hash: Sha256::new(), read: 0 };
            let mut entry = header(layer.size, tar::EntryType::Regular, 0o644);
            tar.append_data(&mut entry, blob_name(&layer.digest), &mut checked)?;
            if checked.read != layer.size || Digest::from_sha256(checked.hash) != layer.digest {
                let message = format!("{} changed while it was packaged", layer.source.display());
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
        }
        let config_name = blob_name(&Digest::of(&self.config));
        for (name, bytes) in
            [(config_name, &self.config), ("manifest.json".to_owned(), &self.manifest)]
        {
            let mut entry = header(bytes.len() as u64, tar::EntryType::Regular, 0o644);
            tar.append_data(&mut entry, name, bytes.as_slice())?;
        }
        tar.into_inner()?.inner.flush()
    }

    /// Equal files are one blob.
    fn unique_layers(&self) -> Vec<&PlannedLayer> {
        let mut unique: Vec<&PlannedLayer> = Vec::new();
        for layer in &self.layers {
            if !unique.iter().any(|known| known.digest == layer.digest) {
                unique.push(layer);
            }
        }
        unique
    }
}

fn header(size: u64, kind: tar::EntryType, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(0);
    header
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn model_config(facts: &Facts, bytes: u64, context_size: Option<u32>) -> ModelConfig {
    ModelConfig {
        format: "gguf".to_owned(),
        quantization: facts.quantization.clone(),
        parameters: human_count(facts.parameters),
        architecture: facts.architecture.clone(),
        size: human_bytes(bytes),
        gguf: facts.metadata.clone(),
        // Docker's field is a signed 32-bit number.
        context_size: context_size
            .or(facts.context_length)
            .filter(|size| i32::try_from(*size).is_ok()),
    }
}

fn manifest(layers: &[PlannedLayer], config: &[u8]) -> Result<Vec<u8>> {
    let descriptor = |media_type: &str, digest: &Digest, size: u64| -> Result<OciDescriptor> {
        Ok(OciDescriptor {
            media_type: media_type.to_owned(),
            digest: digest.to_string(),
            size: i64::try_from(size).map_err(Error::internal)?,
            ..OciDescriptor::default()
        })
    };
    let layers = layers
        .iter()
        .map(|layer| {
            let mut wire = descriptor(layer.media_type, &layer.digest, layer.size)?;
            let name = layer.source.file_name().and_then(|name| name.to_str());
            wire.annotations = name
                .filter(|name| crate::registry::check_path("layer", name).is_ok())
                .map(|name| [(media::FILE_PATH.to_owned(), name.to_owned())].into());
            Ok(wire)
        })
        .collect::<Result<Vec<_>>>()?;
    let manifest = OciImageManifest {
        media_type: Some(media::MANIFEST.to_owned()),
        config: descriptor(media::CONFIG_V1, &Digest::of(config), config.len() as u64)?,
        layers,
        ..OciImageManifest::default()
    };
    serde_json::to_vec(&manifest).map_err(Error::internal)
}

/// All shards of a model by the name of any one; a file by itself otherwise.
fn find_shards(path: &Path) -> Result<Vec<PathBuf>> {
    let Some((stem, count)) = path.file_name().and_then(|name| name.to_str()).and_then(shards)
    else {
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

/// Stem and count of `stem-00001-of-00003.gguf`.
fn shards(name: &str) -> Option<(&str, usize)> {
    let (rest, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(count) || !digits(number) {
        return None;
    }
    let count = count.parse().ok()?;
    (count > 1).then_some((stem, count))
}

/// The newest of the files, as RFC 3339.
fn created(paths: &[PathBuf]) -> Result<String> {
    let mut newest = jiff::Timestamp::UNIX_EPOCH;
    for path in paths {
        let modified = path.metadata().and_then(|found| found.modified());
        let modified = modified.map_err(|e| unreadable(path, &e))?;
        newest = newest.max(jiff::Timestamp::try_from(modified).unwrap_or(newest));
    }
    let whole = jiff::Timestamp::from_second(newest.as_second()).map_err(Error::internal)?;
    Ok(whole.to_string())
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

fn hash(path: &Path) -> Result<(Digest, u64)> {
    let file = File::open(path).map_err(|e| unreadable(path, &e))?;
    if !file.metadata().is_ok_and(|found| found.is_file()) {
        let message = format!("{} is not a regular file", path.display());
        return Err(Error::invalid("path", message));
    }
    let mut checked = Checked { inner: file, hash: Sha256::new(), read: 0 };
    io::copy(&mut checked, &mut io::sink()).map_err(|e| unreadable(path, &e))?;
    Ok((Digest::from_sha256(checked.hash), checked.read))
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::invalid("path", format!("{} cannot be read: {error}", path.display()))
}

/// Hashes and counts what is read through it.
struct Checked<R> {
    inner: R,
    hash: Sha256,
    read: u64,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(out)?;
        self.hash.update(out.get(..read).unwrap_or_default());
        self.read = self.read.saturating_add(read as u64);
        Ok(read)
    }
}

/// Tells how much went out.
struct Counted<'a, W> {
    inner: W,
    written: u64,
    progress: &'a mut dyn FnMut(u64),
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.written = self.written.saturating_add(written as u64);
        (self.progress)(self.written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
