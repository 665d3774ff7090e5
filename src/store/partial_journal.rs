use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ranges::Ranges;
use super::{StoreError, durable};
use crate::domain::Digest;

const VERSION: u32 = 1;
/// A few ranges, even after many broken connections.
const MAX_JOURNAL_BYTES: u64 = 1 << 20;

/// Which bytes of a partial blob were on the disk when it was written: the file was synced first.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Journal {
    version: u32,
    digest: String,
    size: u64,
    /// First byte and the one after the last.
    written: Vec<(u64, u64)>,
}

/// Where the journal of the partial at `data` lies.
pub(super) fn path_of(data: &Path) -> PathBuf {
    data.with_extension("part.json")
}

/// What the journal says is safe, and the blob's size; `None` where there is none that can be
/// trusted: another version or blob, cut off, or nonsense.
pub(super) fn read(data: &Path, digest: &Digest) -> Option<(Ranges, u64)> {
    let bytes = super::open::read_small(&path_of(data), MAX_JOURNAL_BYTES).ok()?;
    let journal: Journal = serde_json::from_slice(&bytes).ok()?;
    let Journal { version, digest: named, size, written } = journal;
    if version != VERSION || named.parse() != Ok(*digest) {
        return None;
    }
    let list = written.into_iter().map(|(start, end)| start..end).collect();
    Some((Ranges::checked(list, size)?, size))
}

/// Replaces the journal; the caller has synced these bytes and holds the partial's lock.
pub(super) fn write(
    data: &Path,
    digest: &Digest,
    size: u64,
    written: &Ranges,
) -> Result<(), StoreError> {
    let journal = Journal {
        version: VERSION,
        digest: digest.to_string(),
        size,
        written: written.list().iter().map(|range| (range.start, range.end)).collect(),
    };
    // Numbers and text always serialise.
    let bytes = serde_json::to_vec(&journal).unwrap_or_default();
    let fresh = data.with_extension("part.json.new");
    // Left by a crash; nobody else writes here under the lock.
    let _ = std::fs::remove_file(&fresh);
    durable::replace(&fresh, &path_of(data), &bytes)
}

/// Removes the journal, so that nothing of the partial is trusted any more.
pub(super) fn remove(data: &Path) {
    for path in [path_of(data), data.with_extension("part.json.new")] {
        if let Err(error) = std::fs::remove_file(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "the journal of a download stays");
        }
    }
}
