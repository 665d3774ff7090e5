//! What the daemon and a worker process say to each other, over one Unix socket pair.
//!
//! Frames are length-delimited (u32, big-endian, at most [`MAX_FRAME`] bytes) and encoded with
//! postcard. The daemon sends
//! [`ToWorker::Load`] first; the worker confines itself and answers [`WorkerHello`]. The daemon gives
//! up on another version or build.
//! Neither side trusts the other: every frame decodes into bounded types, and a frame that does not
//! decode ends the worker, never the daemon.

mod codec;
mod frames;

pub use codec::{CodecError, MAX_FRAME, decode, encode, read_frame, write_frame};
pub use frames::{
    BUILD_ID, LoadSpec, ModelInfo, PROTOCOL_VERSION, Purpose, Query, QueryAnswer, ToDaemon,
    ToWorker, WorkerHello,
};
