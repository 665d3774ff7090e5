//! Images and sounds as clients send them, decoded: RGB pixels and mono samples.
//!
//! The bytes are hostile. What they may cost is bounded before they are decoded, and a decoder that
//! panics is a damaged file, not the end of the worker.

mod audio;
mod decode;
mod image;
mod resample;

pub use decode::{Decoded, decode};
