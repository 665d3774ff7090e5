use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use crate::domain::Digest;

use super::fsck_report::FsckProgress;
use super::ingest::hash_file_watched;

/// Bytes of one blob between two words about it.
const STEP: u64 = 64 << 20;

/// Tells how far a check is, and learns whether it shall go on.
pub(super) struct Watch<'a> {
    tell: &'a mut dyn FnMut(FsckProgress) -> ControlFlow<()>,
    total: u64,
    done: u64,
    stopped: bool,
}

impl<'a> Watch<'a> {
    pub(super) fn new(
        total: u64,
        tell: &'a mut dyn FnMut(FsckProgress) -> ControlFlow<()>,
    ) -> Self {
        Self { tell, total, done: 0, stopped: false }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// The digest and size of a file.
    ///
    /// # Errors
    /// Those of reading it; `Interrupted` where the check was stopped meanwhile.
    pub(super) fn hash(&mut self, digest: Digest, path: &Path) -> io::Result<(Digest, u64)> {
        let mut next = STEP;
        hash_file_watched(path, &mut |read| {
            if read < next {
                return ControlFlow::Continue(());
            }
            next = read.saturating_add(STEP);
            self.tell(digest, self.done.saturating_add(read))
        })
    }

    /// A blob is over, whatever became of it; of one without a digest nothing is said.
    pub(super) fn pass(&mut self, digest: Option<Digest>, bytes: u64) {
        self.done = self.done.saturating_add(bytes);
        if let Some(digest) = digest.filter(|_| !self.stopped) {
            let _ = self.tell(digest, self.done);
        }
    }

    fn tell(&mut self, digest: Digest, done: u64) -> ControlFlow<()> {
        // A file may have grown since it was measured.
        let done = done.min(self.total);
        let goes_on = (self.tell)(FsckProgress { digest, done, total: self.total });
        self.stopped |= goes_on.is_break();
        goes_on
    }
}
