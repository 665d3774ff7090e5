use super::{audio, image};
use crate::domain::{Media, MediaKind};
use crate::worker::process::survive;

/// What a projector reads.
#[derive(Debug, Clone, PartialEq)]
pub enum Decoded {
    /// A picture.
    Image {
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
        /// Red, green and blue of each pixel, the top row first.
        rgb: Vec<u8>,
    },
    /// A recording: mono samples from -1 to 1, never none.
    Audio(Vec<f32>),
}

/// Decodes an image, or a sound to `sample_rate` samples a second.
///
/// # Errors
/// What is wrong with the file, in words for its sender.
pub fn decode(media: &Media, sample_rate: u32) -> Result<Decoded, String> {
    let decoded = survive(|| match media.kind {
        MediaKind::Image => image::decode(&media.bytes),
        MediaKind::Audio => audio::decode(&media.bytes, sample_rate).map(Decoded::Audio),
    });
    decoded.unwrap_or_else(|| Err("is damaged in a way that its decoder cannot handle".to_owned()))
}
