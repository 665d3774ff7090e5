use std::io::{BufReader, Read};

use super::{GgufError, MAX_HEADER_BYTES};

/// A reader that knows where it is, where the file ends and how much a header may take.
///
/// A length is checked against the file before a byte of it is read, so no declared length can
/// make anything allocate.
pub(super) struct Source<R> {
    inner: BufReader<R>,
    position: u64,
    file_bytes: u64,
}

impl<R: Read> Source<R> {
    pub(super) fn new(reader: R, file_bytes: u64) -> Self {
        Self { inner: BufReader::with_capacity(64 << 10, reader), position: 0, file_bytes }
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    pub(super) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Refuses early what the file or the header limit cannot hold.
    pub(super) fn require(&self, needed: u64, what: &'static str) -> Result<(), GgufError> {
        let left = self.file_bytes.saturating_sub(self.position);
        if needed > left {
            return Err(GgufError::Truncated {
                what,
                position: self.position,
                needed: needed - left,
                file_bytes: self.file_bytes,
            });
        }
        if needed > MAX_HEADER_BYTES.saturating_sub(self.position) {
            return Err(GgufError::HeaderTooLong { max: MAX_HEADER_BYTES });
        }
        Ok(())
    }

    pub(super) fn array<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u8; N], GgufError> {
        let mut out = [0; N];
        self.fill(&mut out, what)?;
        Ok(out)
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, GgufError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, GgufError> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// Reads `len` bytes; the caller has bounded `len`.
    pub(super) fn bytes(&mut self, len: u64, what: &'static str) -> Result<Vec<u8>, GgufError> {
        self.require(len, what)?;
        let len =
            usize::try_from(len).map_err(|_| GgufError::HeaderTooLong { max: MAX_HEADER_BYTES })?;
        let mut out = vec![0; len];
        self.fill(&mut out, what)?;
        Ok(out)
    }

    pub(super) fn skip(&mut self, len: u64, what: &'static str) -> Result<(), GgufError> {
        self.require(len, what)?;
        let copied = std::io::copy(&mut self.inner.by_ref().take(len), &mut std::io::sink())
            .map_err(|e| GgufError::Io(e.kind()))?;
        if copied != len {
            return Err(self.shorter_than_said(what, len - copied));
        }
        self.position += len;
        Ok(())
    }

    fn fill(&mut self, out: &mut [u8], what: &'static str) -> Result<(), GgufError> {
        let len = out.len() as u64;
        self.require(len, what)?;
        match self.inner.read_exact(out) {
            Ok(()) => {
                self.position += len;
                Ok(())
            }
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(self.shorter_than_said(what, len))
            }
            Err(e) => Err(GgufError::Io(e.kind())),
        }
    }

    /// The file shrank while it was read.
    fn shorter_than_said(&self, what: &'static str, needed: u64) -> GgufError {
        GgufError::Truncated { what, position: self.position, needed, file_bytes: self.position }
    }
}
