use std::io::Cursor;

use image::{DynamicImage, ImageDecoder, ImageReader, Limits};

use super::Decoded;
use crate::domain::{MAX_IMAGE_PIXELS, MAX_IMAGE_RATIO, MAX_IMAGE_SIDE};

/// The most memory that a decoder may take: an image of the most pixels at 16 bits a channel, and
/// as much beside it.
const MAX_ALLOCATION: u64 = MAX_IMAGE_PIXELS * 16;

/// Decodes PNG, JPEG, WebP, GIF and BMP: upright, as its metadata says; transparent parts over
/// white; of an animation the first picture.
///
/// # Errors
/// What is wrong with it, in words that go on from "the image".
pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, String> {
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|error| format!("cannot be read: {error}"))?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_IMAGE_SIDE);
    limits.max_image_height = Some(MAX_IMAGE_SIDE);
    limits.max_alloc = Some(MAX_ALLOCATION);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_IMAGE_PIXELS {
        return Err(format!(
            "is {width} × {height} pixels, over the limit of {MAX_IMAGE_PIXELS}: scale it down"
        ));
    }
    if width.max(height) / width.min(height).max(1) > MAX_IMAGE_RATIO {
        return Err(format!(
            "is {width} × {height} pixels; one side may be at most {MAX_IMAGE_RATIO} times the \
             other: cut it into pieces"
        ));
    }
    // What says how to turn it may be damaged without harm to the picture.
    let orientation = decoder.orientation().ok();
    let mut image = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    if let Some(orientation) = orientation {
        image.apply_orientation(orientation);
    }
    let (width, height) = (image.width(), image.height());
    if width == 0 || height == 0 {
        return Err("has no pixels".to_owned());
    }
    Ok(Decoded::Image { width, height, rgb: over_white(image) })
}

fn damaged(error: image::ImageError) -> String {
    format!("is damaged or cut off ({error}): send the whole file")
}

fn over_white(image: DynamicImage) -> Vec<u8> {
    if !image.color().has_alpha() {
        return image.into_rgb8().into_raw();
    }
    let rgba = image.into_rgba8();
    let mut rgb = Vec::with_capacity(rgba.len() / 4 * 3);
    for image::Rgba([red, green, blue, alpha]) in rgba.pixels() {
        rgb.extend([red, green, blue].map(|channel| mix(*channel, *alpha)));
    }
    rgb
}

/// A channel over white, rounded.
fn mix(channel: u8, alpha: u8) -> u8 {
    let (channel, alpha) = (u32::from(channel), u32::from(alpha));
    let mixed = (channel * alpha + 255 * (255 - alpha) + 127) / 255;
    u8::try_from(mixed).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use image::codecs::gif::GifEncoder;
    use image::{Frame, ImageEncoder, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};

    use super::*;

    fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        image.into().write_to(&mut out, format).expect("encoded");
        out.into_inner()
    }

    fn two_by_one() -> RgbImage {
        let mut image = RgbImage::new(2, 1);
        image.put_pixel(0, 0, Rgb([255, 0, 0]));
        image.put_pixel(1, 0, Rgb([0, 0, 255]));
        image
    }

    fn image(width: u32, height: u32, rgb: &[u8]) -> Result<Decoded, String> {
        Ok(Decoded::Image { width, height, rgb: rgb.to_vec() })
    }

    #[test]
    fn lossless_formats_keep_every_pixel() {
        for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Gif, ImageFormat::Bmp] {
            let bytes = encoded(two_by_one(), format);
            assert_eq!(decode(&bytes), image(2, 1, &[255, 0, 0, 0, 0, 255]), "{format:?}");
        }
    }

    #[test]
    fn what_is_transparent_is_white() {
        let mut clear = RgbaImage::new(3, 1);
        clear.put_pixel(0, 0, Rgba([10, 20, 30, 0]));
        clear.put_pixel(1, 0, Rgba([10, 20, 30, 255]));
        clear.put_pixel(2, 0, Rgba([0, 0, 0, 128]));
        let rgb = [255, 255, 255, 10, 20, 30, 127, 127, 127];
        assert_eq!(decode(&encoded(clear, ImageFormat::Png)), image(3, 1, &rgb));
    }

    #[test]
    fn an_image_is_turned_as_its_metadata_says() {
        // Exif of one entry: orientation 6, to be turned a quarter clockwise.
        let mut exif = b"MM\0\x2a\0\0\0\x08\0\x01".to_vec();
        exif.extend(b"\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0");
        let mut out = Vec::new();
        let mut encoder = image::codecs::png::PngEncoder::new(&mut out);
        encoder.set_exif_metadata(exif).expect("PNG has Exif");
        encoder
            .write_image(two_by_one().as_raw(), 2, 1, image::ExtendedColorType::Rgb8)
            .expect("encoded");
        assert_eq!(decode(&out), image(1, 2, &[255, 0, 0, 0, 0, 255]));
    }

    #[test]
    fn of_an_animation_the_first_picture_is_taken() {
        let mut out = Vec::new();
        let frame = |color| Frame::new(RgbaImage::from_pixel(2, 2, Rgba(color)));
        GifEncoder::new(&mut out)
            .encode_frames([frame([255, 0, 0, 255]), frame([0, 255, 0, 255])])
            .expect("encoded");
        assert_eq!(decode(&out), image(2, 2, &[255, 0, 0].repeat(4)));
    }

    #[test]
    fn a_damaged_image_is_an_error_wherever_it_breaks_off() {
        let noisy = RgbImage::from_fn(40, 40, |x, y| {
            Rgb([x * 6, y * 5, x * y % 251].map(|value| value as u8))
        });
        for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Gif, ImageFormat::Bmp] {
            let whole = encoded(noisy.clone(), format);
            for len in [0, 1, 8, 20, 30, whole.len() / 2] {
                let error = decode(&whole[..len]).expect_err("cut off");
                assert!(!error.is_empty(), "{format:?} {len}");
            }
        }
    }
}
