use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use llama_cpp_sys_2 as sys;

use super::logs;
use super::model::Model;
use super::shim::{self, Bytes, RawChunk, Status, Traits};
use crate::worker::compute::{MediaRows, Token};
use crate::worker::media::Decoded;

/// The most rows that one piece may become: more than any context has cells.
const MAX_ROWS: usize = 1 << 22;

/// A multimodal projector: turns images and sounds into rows that the model reads in the place of
/// tokens. Belongs to the thread that works with it.
pub struct Projector {
    raw: NonNull<sys::mtmd_context>,
    /// Floats in a row.
    width: usize,
    vision: bool,
    sample_rate: Option<u32>,
    mrope: bool,
    // It holds a pointer to the model; dropped after `raw` is freed.
    model: Arc<Model>,
}

// SAFETY: nothing in a projector belongs to a thread, and `&mut self` keeps two from encoding.
unsafe impl Send for Projector {}

/// A part of what a medium becomes.
#[derive(Debug)]
pub enum Piece {
    /// The model's own tokens around and between the rows.
    Tokens(Vec<Token>),
    /// Rows, still to be computed by [`Pieces::encode`].
    Rows {
        /// How many.
        count: usize,
        /// They look at each other in both directions.
        whole: bool,
    },
}

impl Projector {
    /// Loads the projector of `model`; it will compute with so many threads.
    ///
    /// # Errors
    /// llama.cpp's own error lines. They may name paths.
    pub fn load(path: &Path, model: Arc<Model>, threads: u32) -> Result<Self, String> {
        let path = CString::new(path.as_os_str().as_bytes())
            .map_err(|_| "the path holds a NUL character".to_owned())?;
        let threads = i32::try_from(threads.clamp(1, 512)).unwrap_or(1);
        logs::take_errors();
        let mut error = Bytes::empty();
        // SAFETY: the path is a C string, the model lives as long as the projector (a field of
        // `Self`, dropped after it), and `error` is writable.
        let raw = unsafe {
            shim::modeld_projector_new(path.as_ptr(), model.as_ptr(), threads, &mut error)
        };
        let raw = NonNull::new(raw).ok_or_else(|| {
            let thrown = error.text();
            let thrown = if thrown.is_empty() { "no projector was made" } else { &thrown };
            logs::take_errors_or(thrown)
        })?;
        let mut traits = Traits::default();
        // SAFETY: `raw` is the projector just made; `traits` is writable.
        let status = unsafe { shim::modeld_projector_describe(raw.as_ptr(), &mut traits) };
        // SAFETY: the model lives.
        let width = unsafe { sys::llama_model_n_embd_inp(model.as_ptr()) };
        let projector = Self {
            raw,
            width: usize::try_from(width).unwrap_or(0),
            vision: traits.vision,
            sample_rate: u32::try_from(traits.sample_rate).ok().filter(|rate| *rate > 0),
            mrope: traits.mrope,
            model,
        };
        if Status::from(status) != Status::Ok || projector.width == 0 {
            return Err("the projector does not say what it is".to_owned());
        }
        Ok(projector)
    }

    /// Whether it takes images.
    pub fn vision(&self) -> bool {
        self.vision
    }

    /// The samples a second of the sounds that it takes; `None`: it takes none.
    pub fn sample_rate(&self) -> Option<u32> {
        self.sample_rate
    }

    /// Whether the model gives rows positions in more than one dimension.
    pub fn has_plane_positions(&self) -> bool {
        self.mrope
    }

    /// Prepares an image or sound, not the expensive part: that is [`Pieces::encode`].
    ///
    /// # Errors
    /// llama.cpp's reason.
    pub fn split(&mut self, media: &Decoded) -> Result<Pieces<'_>, String> {
        let (rgb, width, height, samples) = match media {
            Decoded::Image { width, height, rgb } => {
                let expected = u64::from(*width) * u64::from(*height) * 3;
                if expected == 0 || u64::try_from(rgb.len()) != Ok(expected) {
                    return Err(format!("{} bytes are not {width} × {height}", rgb.len()));
                }
                (rgb.as_slice(), *width, *height, &[][..])
            }
            Decoded::Audio(samples) => (&[][..], 0, 0, samples.as_slice()),
        };
        // One sample is too little for llama.cpp's own check; their number has to fit 32 bits.
        let image = !rgb.is_empty();
        if !image && (samples.len() < 2 || u32::try_from(samples.len()).is_err()) {
            return Err("the recording is too short or too long".to_owned());
        }
        if if image { !self.vision } else { self.sample_rate.is_none() } {
            return Err("the projector does not take it".to_owned());
        }
        let mut chunks = ptr::null_mut();
        let mut error = Bytes::empty();
        // SAFETY: the projector lives; the pixels are as many as width and height say and the
        // samples as many as their number, both readable during the call, which copies them;
        // `chunks` and `error` are writable.
        let status = unsafe {
            shim::modeld_media_split(
                self.raw.as_ptr(),
                if image { rgb.as_ptr() } else { ptr::null() },
                width,
                height,
                samples.as_ptr(),
                samples.len(),
                &mut chunks,
                &mut error,
            )
        };
        match (Status::from(status), NonNull::new(chunks)) {
            (Status::Ok, Some(raw)) => Ok(Pieces { raw, projector: self }),
            _ => Err(error.text()),
        }
    }
}

impl Drop for Projector {
    fn drop(&mut self) {
        // SAFETY: made by `load`, freed once, before the model that it points to.
        unsafe { shim::modeld_projector_free(self.raw.as_ptr()) }
    }
}

/// A prepared image or sound.
pub struct Pieces<'a> {
    raw: NonNull<sys::mtmd_input_chunks>,
    projector: &'a mut Projector,
}

impl Pieces<'_> {
    /// What it becomes, in order.
    ///
    /// # Errors
    /// What makes no sense in llama.cpp's answer.
    pub fn list(&self) -> Result<Vec<Piece>, String> {
        (0..self.count()).map(|index| self.piece(index)).collect()
    }

    /// Computes the rows of the piece at `index`. Takes long, and nothing can end it early.
    ///
    /// # Errors
    /// llama.cpp's reason.
    pub fn encode(&mut self, index: usize) -> Result<MediaRows, String> {
        let chunk = self.chunk(index)?;
        if !chunk.tokens.is_null() {
            return Err("text has no rows".to_owned());
        }
        let floats = chunk
            .count
            .checked_mul(self.projector.width)
            .filter(|_| chunk.count <= MAX_ROWS)
            .ok_or("too many rows")?;
        let mut values = vec![0.0f32; floats];
        let mut error = Bytes::empty();
        // SAFETY: projector and chunks live, `index` is one of them (`chunk` has checked), `values`
        // has room for as many floats as the projector computes: it was refused when it was loaded
        // unless its rows are as wide as the model's input.
        let status = unsafe {
            shim::modeld_chunks_encode(
                self.projector.raw.as_ptr(),
                self.raw.as_ptr(),
                index,
                values.as_mut_ptr(),
                floats,
                &mut error,
            )
        };
        if Status::from(status) != Status::Ok {
            return Err(format!("it was not encoded: {}", error.text()));
        }
        Ok(MediaRows { count: chunk.count, values, whole: chunk.whole })
    }

    fn count(&self) -> usize {
        // SAFETY: the chunks live.
        unsafe { shim::modeld_chunks_count(self.raw.as_ptr()) }
    }

    fn chunk(&self, index: usize) -> Result<RawChunk, String> {
        if index >= self.count() {
            return Err(format!("there is no piece {index}"));
        }
        let mut chunk = RawChunk::empty();
        // SAFETY: projector and chunks live, `index` is below their number, `chunk` is writable.
        let status = unsafe {
            shim::modeld_chunks_get(
                self.projector.raw.as_ptr(),
                self.raw.as_ptr(),
                index,
                &mut chunk,
            )
        };
        if Status::from(status) == Status::Ok { Ok(chunk) } else { Err("no such piece".to_owned()) }
    }

    fn piece(&self, index: usize) -> Result<Piece, String> {
        let chunk = self.chunk(index)?;
        if chunk.tokens.is_null() {
            let flat = usize::try_from(chunk.positions) == Ok(chunk.count);
            return if flat || self.projector.mrope {
                Ok(Piece::Rows { count: chunk.count, whole: chunk.whole })
            } else {
                Err(format!("{} rows take {} positions", chunk.count, chunk.positions))
            };
        }
        // SAFETY: llama.cpp's tokens of a text piece, `count` of them, which live with the chunks.
        let tokens = unsafe { std::slice::from_raw_parts(chunk.tokens, chunk.count) };
        let known = |token: &Token| (0..self.projector.model.vocab_size()).contains(token);
        if tokens.iter().all(known) {
            Ok(Piece::Tokens(tokens.to_vec()))
        } else {
            Err("the model has no tokens around images".to_owned())
        }
    }
}

impl Drop for Pieces<'_> {
    fn drop(&mut self) {
        // SAFETY: made by `split`, freed once.
        unsafe { shim::modeld_chunks_free(self.raw.as_ptr()) }
    }
}
