use std::io::{self, Read, Write};

use serde::{Serialize, de::DeserializeOwned};

/// The largest frame, in bytes. A prompt of 64 MiB (the body limit) still fits, with its framing.
pub const MAX_FRAME: usize = 80 << 20;

/// Why a frame could not be sent or understood.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The other side is gone or the pipe is broken.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The frame is larger than [`MAX_FRAME`].
    #[error("a frame of {0} bytes is over the limit of {MAX_FRAME}")]
    TooLarge(usize),
    /// The bytes are no frame of this version.
    #[error("a frame could not be decoded: {0}")]
    Malformed(#[from] postcard::Error),
}

/// The frame's bytes, without the length in front (the daemon's async codec adds it).
pub fn encode<T: Serialize>(frame: &T) -> Result<Vec<u8>, CodecError> {
    let bytes = postcard::to_stdvec(frame)?;
    if bytes.len() > MAX_FRAME { Err(CodecError::TooLarge(bytes.len())) } else { Ok(bytes) }
}

/// A frame from its bytes. Bytes left over are an error.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    match postcard::take_from_bytes(bytes)? {
        (frame, []) => Ok(frame),
        _ => Err(CodecError::Malformed(postcard::Error::DeserializeBadEncoding)),
    }
}

/// Writes one frame with its length and flushes. For the worker, which blocks.
pub fn write_frame<T: Serialize>(out: &mut impl Write, frame: &T) -> Result<(), CodecError> {
    let bytes = encode(frame)?;
    let length = u32::try_from(bytes.len()).map_err(|_| CodecError::TooLarge(bytes.len()))?;
    out.write_all(&length.to_be_bytes())?;
    out.write_all(&bytes)?;
    Ok(out.flush()?)
}

/// Reads one frame; `None` at a clean end. For the worker, which blocks.
pub fn read_frame<T: DeserializeOwned>(input: &mut impl Read) -> Result<Option<T>, CodecError> {
    let mut length = [0u8; 4];
    match input.read_exact(&mut length) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e.into()),
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_FRAME {
        return Err(CodecError::TooLarge(length));
    }
    let mut bytes = Vec::new();
    if input.take(length as u64).read_to_end(&mut bytes)? < length {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    decode(&bytes).map(Some)
}
