//! Frames to the daemon, from whichever thread has one.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use super::step::FrameSink;
use super::{exit, llama};
use crate::protocol::{CodecError, ToDaemon, write_frame};

/// Writes frames one after the other, whole. A daemon that does not read makes the writer wait, and
/// so stops the step loop: nothing piles up here.
pub struct FramesOut<W> {
    out: Mutex<W>,
}

impl<W: Write> FramesOut<W> {
    /// Frames go to `out`.
    pub fn new(out: W) -> Self {
        Self { out: Mutex::new(out) }
    }

    /// Writes one frame.
    ///
    /// # Errors
    /// When the daemon is gone or the frame is too large.
    pub fn write(&self, frame: &ToDaemon) -> Result<(), CodecError> {
        write_frame(&mut *self.out.lock().unwrap_or_else(PoisonError::into_inner), frame)
    }
}

impl<W: Write + Send> FrameSink for FramesOut<W> {
    /// Ends the process where the frame cannot be sent: nobody would hear of what is computed.
    fn send(&self, frame: ToDaemon) {
        match self.write(&frame) {
            Ok(()) => {}
            Err(CodecError::Io(error)) => {
                tracing::info!(%error, "the daemon is gone");
                llama::exit_now(exit::DAEMON_GONE);
            }
            Err(error) => {
                tracing::error!(%error, "a frame could not be sent");
                llama::exit_now(exit::PROTOCOL);
            }
        }
    }
}
