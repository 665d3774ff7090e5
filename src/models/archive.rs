use std::io::Read;

use tar::{EntryType, Header, PaxExtensions};

use crate::domain::{Digest, Error, ErrorKind, Result};
use crate::registry::{Artifact, Config, MAX_CONFIG_BYTES, MAX_LAYERS, MAX_MANIFEST_BYTES, Role};
use crate::store::{Blob, Store};

use super::resolve::check_weights;

const BLOCK: usize = 512;
/// Extended headers carry a path and a size; nobody needs more for that.
const MAX_EXTENSION_BYTES: u64 = 64 << 10;
/// Layers, config, directories, manifest, and what other tools add.
const MAX_ENTRIES: usize = 2 * MAX_LAYERS + 64;

/// Takes a Docker model archive into the store: blobs under `blobs/sha256/`, any order, and one
/// `manifest.json`. Names only select; nothing is written but blobs by their own digest. The
/// model becomes visible, without a tag, after every blob and every GGUF header was checked.
///
/// # Errors
/// `InvalidModel` for anything wrong with the archive, `UnsupportedModel`, `DiskFull`; nothing is
/// left in the store then.
pub fn load_archive(store: &Store, tar: impl Read) -> Result<Digest> {
    let mut blobs = Vec::new();
    match take(store, tar, &mut blobs) {
        Ok(id) => Ok(id),
        Err(error) => {
            if let Err(cause) = store.discard(blobs) {
                tracing::warn!(error = %cause, "blobs of a refused archive stay");
            }
            Err(error)
        }
    }
}

fn take(store: &Store, tar: impl Read, blobs: &mut Vec<Blob>) -> Result<Digest> {
    let mut tar = Tar { inner: tar, pending: Extension::default() };
    let mut manifest: Option<Vec<u8>> = None;
    for _ in 0..MAX_ENTRIES {
        let Some(entry) = tar.next()? else {
            let manifest = manifest.ok_or_else(|| bad("it has no manifest.json"))?;
            return publish(store, &manifest);
        };
        if i64::try_from(entry.size).is_err() {
            return Err(bad(&format!("a member of {} bytes is more than any file", entry.size)));
        }
        match classify(&entry)? {
            Member::Blob(digest) => blobs.push(take_blob(store, &mut tar, digest, entry.size)?),
            Member::Manifest if manifest.is_some() => {
                return Err(bad("it has two manifests"));
            }
            Member::Manifest => {
                if entry.size > MAX_MANIFEST_BYTES as u64 {
                    return Err(bad(&format!("its manifest has {} bytes", entry.size)));
                }
                manifest = Some(tar.small(entry.size)?);
            }
            Member::Nothing => tar.skip(entry.size)?,
        }
    }
    Err(bad(&format!("it has more than {MAX_ENTRIES} entries")))
}

fn publish(store: &Store, manifest: &[u8]) -> Result<Digest> {
    let artifact = Artifact::parse(manifest)?;
    // All that the store itself will ask for, before the headers are read from it.
    let blobs = artifact.layers.iter().map(|layer| layer.blob).chain([artifact.config]);
    for blob in blobs {
        match store.blob_size(&blob.digest) {
            Some(size) if size == blob.size => {}
            Some(size) => {
                return Err(bad(&format!(
                    "blob {} has {size} bytes, but the manifest says {}",
                    blob.digest, blob.size
                )));
            }
            None => return Err(bad(&format!("blob {} is missing", blob.digest))),
        }
    }
    let config = store.read_blob(&artifact.config.digest, MAX_CONFIG_BYTES as u64)?;
    Config::parse(&config, &artifact)?;
    if artifact.with_role(Role::Weights).next().is_some() {
        artifact.require_runnable()?;
        check_weights(store, &artifact)?;
    }
    Ok(store.put_model(manifest, &[])?)
}

fn take_blob<R: Read>(store: &Store, tar: &mut Tar<R>, digest: Digest, size: u64) -> Result<Blob> {
    let mut writer = store.write_blob(Some(size))?;
    let mut buffer = vec![0; 256 << 10];
    let mut left = size;
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let chunk = buffer.get_mut(..want).unwrap_or_default();
        tar.fill(chunk)?;
        writer.append(chunk)?;
        left -= want as u64;
    }
    tar.skip_padding(size)?;
    Ok(writer.commit(Some(digest))?)
}

enum Member {
    Blob(Digest),
    Manifest,
    Nothing,
}

/// What a member is, by its name; a name that means to be elsewhere condemns the archive.
fn classify(entry: &Entry) -> Result<Member> {
    let path = std::str::from_utf8(&entry.path).map_err(|_| bad("a name in it is not UTF-8"))?;
    let shown = || path.chars().take(80).collect::<String>();
    let trimmed = path.strip_prefix("./").unwrap_or(path);
    let outside = trimmed.starts_with('/')
        || trimmed.contains(['\0', '\\'])
        || trimmed.split('/').any(|part| part == "..");
    if outside {
        return Err(bad(&format!("the name {:?} leads out of it", shown())));
    }
    match entry.kind {
        EntryType::Directory => return Ok(Member::Nothing),
        EntryType::Regular | EntryType::Continuous => {}
        _ => return Err(bad(&format!("{:?} is neither a file nor a directory", shown()))),
    }
    match trimmed.split('/').collect::<Vec<_>>().as_slice() {
        ["manifest.json"] => Ok(Member::Manifest),
        ["blobs", algorithm, hex] => format!("{algorithm}:{hex}")
            .parse()
            .map(Member::Blob)
            .map_err(|e| bad(&format!("{:?}: {e}", shown()))),
        _ => Ok(Member::Nothing),
    }
}

struct Entry {
    path: Vec<u8>,
    kind: EntryType,
    size: u64,
}

#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    size: Option<u64>,
}

/// Reads members one by one. The `tar` crate's own iterator keeps extended headers of any length
/// in memory, so only its header and PAX parsers are used.
struct Tar<R> {
    inner: R,
    pending: Extension,
}

impl<R: Read> Tar<R> {
    /// The next member; its data must be read or skipped before the one after it.
    fn next(&mut self) -> Result<Option<Entry>> {
        for _ in 0..MAX_ENTRIES {
            let mut block = [0; BLOCK];
            // Some writers leave out the end; every blob is checked by its digest, so nothing
            // can be missing unnoticed.
            let begun = self.inner.read(&mut block).map_err(read_error)?;
            if begun > 0 {
                self.fill(block.get_mut(begun..).unwrap_or_default())?;
            }
            if block.iter().all(|byte| *byte == 0) {
                return Ok(None);
            }
            let header = Header::from_byte_slice(&block);
            check_sum(&block, header)?;
            let size = header.entry_size().map_err(|_| bad("a size in it cannot be read"))?;
            match header.entry_type() {
                EntryType::XHeader => self.read_pax(size)?,
                EntryType::XGlobalHeader => {
                    if size > MAX_EXTENSION_BYTES {
                        return Err(bad("an extended header in it is too long"));
                    }
                    self.skip(size)?;
                }
                EntryType::GNULongName => {
                    let mut name = self.extension(size)?;
                    while name.last() == Some(&0) {
                        name.pop();
                    }
                    self.pending.path = Some(name);
                }
                kind => {
                    let pending = std::mem::take(&mut self.pending);
                    let path = pending.path.unwrap_or_else(|| header.path_bytes().into_owned());
                    return Ok(Some(Entry { path, kind, size: pending.size.unwrap_or(size) }));
                }
            }
        }
        Err(bad("it is nothing but extended headers"))
    }

    fn read_pax(&mut self, size: u64) -> Result<()> {
        let data = self.extension(size)?;
        for extension in PaxExtensions::new(&data) {
            let extension = extension.map_err(|_| bad("an extended header cannot be read"))?;
            match extension.key_bytes() {
                b"path" => self.pending.path = Some(extension.value_bytes().to_vec()),
                b"size" => {
                    let size = extension.value().ok().and_then(|text| text.parse().ok());
                    self.pending.size =
                        Some(size.ok_or_else(|| bad("a size in it cannot be read"))?);
                }
                key if key.starts_with(b"GNU.sparse") => {
                    return Err(bad("it has sparse members"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > MAX_EXTENSION_BYTES {
            return Err(bad("an extended header in it is too long"));
        }
        self.small(size)
    }

    /// Reads a member whose size the caller has bounded.
    fn small(&mut self, size: u64) -> Result<Vec<u8>> {
        let mut data = vec![0; usize::try_from(size).map_err(|_| bad("a member is too long"))?];
        self.fill(&mut data)?;
        self.skip_padding(size)?;
        Ok(data)
    }

    fn skip(&mut self, size: u64) -> Result<()> {
        let skipped = std::io::copy(&mut self.inner.by_ref().take(size), &mut std::io::sink())
            .map_err(read_error)?;
        if skipped != size {
            return Err(bad("it ends in the middle of a member"));
        }
        self.skip_padding(size)
    }

    fn skip_padding(&mut self, size: u64) -> Result<()> {
        let over = (size % BLOCK as u64) as usize;
        let mut padding = [0; BLOCK];
        let len = if over == 0 { 0 } else { BLOCK - over };
        self.fill(padding.get_mut(..len).unwrap_or_default())
    }

    fn fill(&mut self, out: &mut [u8]) -> Result<()> {
        self.inner.read_exact(out).map_err(read_error)
    }
}

fn check_sum(block: &[u8; BLOCK], header: &Header) -> Result<()> {
    // The sum is over the block with its own eight bytes taken for spaces.
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { u32::from(b' ') } else { u32::from(*byte) })
        .sum();
    match header.cksum() {
        Ok(said) if said == sum => Ok(()),
        _ => Err(bad("it is not a tar archive, or it is damaged")),
    }
}

fn read_error(error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => bad("it ends too early"),
        _ => Error::new(ErrorKind::InvalidModel, "the archive could not be received whole")
            .with_cause(error),
    }
}

fn bad(why: &str) -> Error {
    Error::new(ErrorKind::InvalidModel, format!("the model archive is not taken: {why}"))
}
