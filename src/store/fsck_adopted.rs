use crate::domain::Digest;

use super::adopted::{Adopted, Identity};
use super::fsck::Check;
use super::fsck_progress::Watch;
use super::fsck_report::{AdoptedFault, Finding};
use super::survey::Entry;

/// Blobs that are other programs' files, or share them. Those files are read and never changed: a
/// repair only renews or forgets what is noted about them.
impl Check<'_> {
    /// Reads a file elsewhere that is a blob.
    pub(super) fn reference(&mut self, digest: Digest, record: &Adopted, watch: &mut Watch<'_>) {
        let before = record.path.symlink_metadata().map(|found| Identity::of(&found));
        let fault = match watch.hash(digest, &record.path) {
            Err(_) if watch.is_stopped() => return,
            Err(error) => AdoptedFault::Unreadable(error.to_string()),
            Ok((found, bytes)) => {
                self.count(bytes);
                match before {
                    _ if found != digest => AdoptedFault::Corrupt { found },
                    Ok(now) if now == record.identity => return,
                    Ok(now) => return self.touched(digest, record, now),
                    Err(error) => AdoptedFault::Unreadable(error.to_string()),
                }
            }
        };
        // Without the record the blob is missing, and a pull or another import gets it.
        let repaired = self.repair && self.put_right(self.inner.forget_adopted(&[digest]));
        let finding = Finding::Adopted { file: record.path.clone(), what: fault };
        self.at(finding, record.path.clone(), Some(digest), repaired);
    }

    /// Looks whether a good blob with a second name elsewhere is known to be what it is.
    pub(super) fn still_adopted(&mut self, digest: Digest, record: &Adopted, entry: &Entry) {
        let now = Identity::of(&entry.found);
        if now != record.identity {
            self.touched(digest, record, now);
        }
    }

    pub(super) fn count(&mut self, bytes: u64) {
        self.report.blobs = self.report.blobs.saturating_add(1);
        self.report.bytes = self.report.bytes.saturating_add(bytes);
    }

    /// `now` is from before the bytes were read: what is written afterwards shows again.
    fn touched(&mut self, digest: Digest, record: &Adopted, now: Identity) {
        let renewed = Adopted { identity: now, ..record.clone() };
        let repaired = self.repair && self.put_right(self.inner.note_adopted(digest, renewed));
        let finding = Finding::Adopted { file: record.path.clone(), what: AdoptedFault::Touched };
        let path = match record.is_reference {
            true => record.path.clone(),
            false => self.inner.layout.by_digest(super::layout::Area::Blobs, &digest),
        };
        self.at(finding, path, Some(digest), repaired);
    }

    fn put_right(&self, done: Result<(), super::StoreError>) -> bool {
        if let Err(error) = &done {
            tracing::warn!(%error, "adopted.json stays as it is");
        }
        done.is_ok()
    }
}
