//! Images and sounds in requests: out of data URLs and base64, recognised and bounded.
//!
//! Nothing is decoded here but the sizes in images' headers: decoding is the worker's, which is
//! confined. What it is, is read from the bytes; the media type that a client claims is not
//! believed. Nothing is ever fetched or opened: a URL that is no data URL is refused. Shared by all
//! dialects.

use std::borrow::Cow;
use std::io::Cursor;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use image::{ImageFormat, ImageReader};

use crate::domain::{
    Error, MAX_IMAGE_PIXELS, MAX_IMAGE_RATIO, MAX_IMAGE_SIDE, MAX_MEDIA_BYTES, Media, MediaKind,
    Result,
};

/// What is taken, for messages.
const ACCEPTED: &str = "images (PNG, JPEG, WebP, GIF, BMP) and sounds (WAV, MP3, FLAC)";
/// How to send something, for messages.
const SEND_DATA: &str = "send the file itself as a data URL (data:image/png;base64,…)";
/// The most characters of base64 that can become [`MAX_MEDIA_BYTES`], with room for line breaks.
const MAX_TEXT: usize = MAX_MEDIA_BYTES / 3 * 4 + MAX_MEDIA_BYTES / 16;

/// Padding may be there or not; clients differ.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// An image or sound from a `data:` URL. `param` is the field that holds it.
///
/// # Errors
/// `InvalidValue` for what cannot be read, is too large or is no known format; `Unsupported` for a
/// remote URL.
pub(super) fn from_url(url: &str, param: &str) -> Result<Media> {
    let url = url.trim_ascii();
    let Some((scheme, rest)) = url.split_once(':') else {
        let message = format!("this is no URL: {SEND_DATA}");
        return Err(Error::invalid(param, message));
    };
    match scheme.to_ascii_lowercase().as_str() {
        "data" => from_data(rest, param),
        "http" | "https" => {
            let message = format!("modeld fetches nothing from the network: {SEND_DATA}");
            Err(Error::unsupported(param, message))
        }
        "file" => {
            let message = format!("modeld opens no files of its machine for clients: {SEND_DATA}");
            Err(Error::unsupported(param, message))
        }
        _ => Err(Error::unsupported(param, format!("only data URLs are taken: {SEND_DATA}"))),
    }
}

/// An image or sound from base64 alone.
///
/// # Errors
/// As [`from_url`].
pub(super) fn from_base64(data: &str, param: &str) -> Result<Media> {
    if data.len() > MAX_TEXT {
        return Err(too_large(param));
    }
    let bytes = BASE64.decode(tidy(data).as_bytes()).map_err(|error| {
        Error::invalid(param, format!("the base64 cannot be read: {error}; {SEND_DATA}"))
    })?;
    from_bytes(bytes, param)
}

/// What stands behind `data:` (RFC 2397).
fn from_data(rest: &str, param: &str) -> Result<Media> {
    let Some((head, data)) = rest.split_once(',') else {
        let message = format!("the data URL has no comma before its data: {SEND_DATA}");
        return Err(Error::invalid(param, message));
    };
    let mut words = head.split(';').map(str::trim_ascii);
    let claimed = words.next().unwrap_or_default();
    if !words.any(|word| word.eq_ignore_ascii_case("base64")) {
        let what = if claimed.contains("svg") { svg() } else { String::new() };
        let message = format!("{what}the data URL is not in base64: {SEND_DATA}");
        return Err(Error::invalid(param, message));
    }
    let escaped = data.contains('%').then(|| percent_encoding::percent_decode_str(data));
    match escaped.map(|bytes| bytes.decode_utf8()) {
        None => from_base64(data, param),
        Some(Ok(data)) => from_base64(&data, param),
        Some(Err(_)) => {
            let message = format!("the base64 cannot be read: {SEND_DATA}");
            Err(Error::invalid(param, message))
        }
    }
}

/// Without white space, in the standard alphabet: mail programs break lines, and some clients use
/// the alphabet for URLs.
fn tidy(data: &str) -> Cow<'_, str> {
    let untidy = |c: char| c.is_ascii_whitespace() || matches!(c, '-' | '_');
    if !data.contains(untidy) {
        return Cow::Borrowed(data);
    }
    let tidied = data.chars().filter(|c| !c.is_ascii_whitespace()).map(|c| match c {
        '-' => '+',
        '_' => '/',
        other => other,
    });
    Cow::Owned(tidied.collect())
}

fn from_bytes(bytes: Vec<u8>, param: &str) -> Result<Media> {
    if bytes.is_empty() {
        return Err(Error::invalid(param, format!("the data is empty: {SEND_DATA}")));
    }
    if bytes.len() > MAX_MEDIA_BYTES {
        return Err(too_large(param));
    }
    if let Some(format) = image_format(&bytes) {
        check_size(&bytes, format, param)?;
        return Ok(Media { kind: MediaKind::Image, bytes });
    }
    if is_sound(&bytes) {
        return Ok(Media { kind: MediaKind::Audio, bytes });
    }
    let what = if is_svg(&bytes) { svg() } else { String::new() };
    let message =
        format!("{what}the data is nothing that is known here; {ACCEPTED} are taken, by content");
    Err(Error::invalid(param, message))
}

/// The image format that the first bytes tell, of those that are taken.
fn image_format(bytes: &[u8]) -> Option<ImageFormat> {
    image::guess_format(bytes).ok().filter(|format| {
        matches!(
            format,
            ImageFormat::Png
                | ImageFormat::Jpeg
                | ImageFormat::WebP
                | ImageFormat::Gif
                | ImageFormat::Bmp
        )
    })
}

fn is_sound(bytes: &[u8]) -> bool {
    let wav = bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WAVE");
    // Eleven bits of an MPEG frame's synchronisation; layer III, of a version that exists.
    let frame = matches!(bytes, [0xff, second, ..]
        if second & 0xe6 == 0xe2 && second & 0x18 != 0x08);
    wav || bytes.starts_with(b"fLaC") || bytes.starts_with(b"ID3") || frame
}

fn is_svg(bytes: &[u8]) -> bool {
    let head = bytes.get(..1024).unwrap_or(bytes);
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    text.trim_start().starts_with('<') && text.contains("<svg")
}

fn svg() -> String {
    "SVG is a drawing program, not an image: render it to PNG first; ".to_owned()
}

/// An image's header says how large it will be; it is decoded later, so a lie there ends as a
/// damaged image.
fn check_size(bytes: &[u8], format: ImageFormat, param: &str) -> Result<()> {
    let size = ImageReader::with_format(Cursor::new(bytes), format).into_dimensions();
    let (width, height) = size.map_err(|error| {
        let name = format.extensions_str().first().copied().unwrap_or("image");
        let message =
            format!("the {name} image is damaged or cut off ({error}): send the whole file");
        Error::invalid(param, message)
    })?;
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 {
        let message = format!("the image is {width} × {height} pixels: there is nothing in it");
        return Err(Error::invalid(param, message));
    }
    if width.max(height) > MAX_IMAGE_SIDE || pixels > MAX_IMAGE_PIXELS {
        let message = format!(
            "the image is {width} × {height} pixels; at most {MAX_IMAGE_SIDE} a side and \
             {MAX_IMAGE_PIXELS} in all are taken: scale it down"
        );
        return Err(Error::invalid(param, message));
    }
    if width.max(height) / width.min(height) > MAX_IMAGE_RATIO {
        let message = format!(
            "the image is {width} × {height} pixels; one side may be at most {MAX_IMAGE_RATIO} \
             times the other: cut it into pieces"
        );
        return Err(Error::invalid(param, message));
    }
    Ok(())
}

fn too_large(param: &str) -> Error {
    let message = format!(
        "the file is over the limit of {} MiB: scale the image down or compress it",
        MAX_MEDIA_BYTES >> 20
    );
    Error::invalid(param, message)
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};

    use super::*;
    use crate::domain::ErrorKind;

    const PARAM: &str = "messages[0].content[1].image_url.url";

    fn encoded(format: ImageFormat, width: u32, height: u32) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        image::RgbImage::from_pixel(width, height, image::Rgb([9, 200, 17]))
            .write_to(&mut out, format)
            .expect("encoded");
        out.into_inner()
    }

    fn png() -> Vec<u8> {
        encoded(ImageFormat::Png, 3, 2)
    }

    fn data_url(claimed: &str, bytes: &[u8]) -> String {
        format!("data:{claimed};base64,{}", BASE64_STANDARD.encode(bytes))
    }

    fn refused(url: &str) -> Error {
        let error = from_url(url, PARAM).expect_err("refused");
        assert_eq!(error.param.as_deref(), Some(PARAM));
        error
    }

    /// A PNG whose header says so many pixels.
    fn bomb(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = png();
        bytes[16..20].copy_from_slice(&width.to_be_bytes());
        bytes[20..24].copy_from_slice(&height.to_be_bytes());
        // The checksum covers the chunk's name and data.
        let crc = bytes[12..29].iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 }
            })
        });
        bytes[29..33].copy_from_slice(&(!crc).to_be_bytes());
        bytes
    }

    #[test]
    fn every_image_format_is_known_by_its_bytes_whatever_is_claimed() {
        let formats = [
            ImageFormat::Png,
            ImageFormat::Jpeg,
            ImageFormat::WebP,
            ImageFormat::Gif,
            ImageFormat::Bmp,
        ];
        for format in formats {
            let bytes = encoded(format, 5, 4);
            for claimed in ["image/png", "text/html", ""] {
                let media = from_url(&data_url(claimed, &bytes), PARAM).expect("an image");
                assert_eq!((media.kind, &media.bytes), (MediaKind::Image, &bytes), "{format:?}");
            }
        }
    }

    #[test]
    fn sounds_are_known_by_their_bytes() {
        let heads: [&[u8]; 4] =
            [b"RIFF\x24\0\0\0WAVEfmt ", b"fLaC\0\0\0\x22", b"ID3\x04\0\0", &[0xff, 0xfb, 0x90, 0]];
        for head in heads {
            let media = from_base64(&BASE64_STANDARD.encode(head), PARAM).expect("a sound");
            assert_eq!(media.kind, MediaKind::Audio, "{head:?}");
        }
        assert!(from_base64(&BASE64_STANDARD.encode(b"RIFF\x24\0\0\0AVI LIST"), PARAM).is_err());
    }

    #[test]
    fn line_breaks_escapes_missing_padding_and_the_alphabet_of_urls_are_taken() {
        let bytes = png();
        let plain = BASE64_STANDARD.encode(&bytes);
        let broken: String = plain.chars().flat_map(|c| [c, '\n']).collect();
        let escaped = plain.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        let urls = [
            format!("data:image/png;base64,{broken}"),
            format!("data:image/png;base64,{escaped}"),
            format!("DATA:image/png;charset=x; BASE64,{}", plain.trim_end_matches('=')),
            format!(" data:;base64,{} ", BASE64_URL_SAFE_NO_PAD.encode(&bytes)),
        ];
        for url in urls {
            assert_eq!(from_url(&url, PARAM).map(|media| media.bytes), Ok(bytes.clone()), "{url}");
        }
    }

    #[test]
    fn nothing_is_fetched_or_opened() {
        for (url, word) in [
            ("https://example.org/cat.png", "network"),
            ("HTTP://169.254.169.254/latest", "network"),
            ("file:///etc/passwd", "opens no files"),
            ("ftp://example.org/cat.png", "data URLs"),
        ] {
            let error = refused(url);
            assert_eq!(error.kind, ErrorKind::Unsupported, "{url}");
            assert!(error.message.contains(word), "{}", error.message);
            assert!(error.message.contains("data:image/png;base64"), "{}", error.message);
        }
    }

    #[test]
    fn what_is_no_image_or_sound_is_refused_with_what_is_taken() {
        for url in ["", "cat.png", "data:image/png;base64", "data:image/png;base64,", "data:,abc"] {
            assert_eq!(refused(url).kind, ErrorKind::InvalidValue, "{url:?}");
        }
        assert_eq!(refused("data:image/png;base64,@@@@").kind, ErrorKind::InvalidValue);
        for bytes in [&b"hello"[..], b"\x7fELF", b"%PDF-1.7", b"II*\0\x08\0\0\0", b"\0\0\x01\0"] {
            let error = refused(&data_url("image/png", bytes));
            assert!(error.message.contains("PNG, JPEG"), "{}", error.message);
        }
    }

    #[test]
    fn svg_is_refused_by_name() {
        let drawing = b"<?xml version=\"1.0\"?>\n<SVG xmlns=\"http://www.w3.org/2000/svg\"/>";
        assert!(refused(&data_url("image/svg+xml", drawing)).message.contains("SVG"));
        assert!(refused("data:image/svg+xml,<svg/>").message.contains("SVG"));
    }

    #[test]
    fn an_image_that_breaks_off_in_its_header_is_damaged() {
        for len in [9, 20, 30] {
            let error = refused(&data_url("image/png", &png()[..len]));
            assert!(error.message.contains("damaged"), "{len}: {}", error.message);
        }
        assert!(refused(&data_url("", &[0xff, 0xd8, 0xff, 0xe0])).message.contains("damaged"));
    }

    #[test]
    fn a_header_that_says_too_much_is_refused_before_anything_is_decoded() {
        for (width, height) in [(50_000, 50_000), (8_193, 1_000), (8_000, 8_000)] {
            let error = refused(&data_url("image/png", &bomb(width, height)));
            assert!(error.message.contains(&format!("{width} × {height}")), "{}", error.message);
        }
        assert!(refused(&data_url("image/png", &bomb(8_000, 2))).message.contains("times"));
        assert!(from_url(&data_url("image/png", &bomb(8_192, 4_000)), PARAM).is_ok());
    }

    #[test]
    fn a_file_over_the_limit_is_refused_by_its_length() {
        let mut bytes = encoded(ImageFormat::Bmp, 2, 2);
        bytes.resize(MAX_MEDIA_BYTES, 0);
        assert!(from_base64(&BASE64_STANDARD.encode(&bytes), PARAM).is_ok());
        bytes.push(0);
        let error = from_base64(&BASE64_STANDARD.encode(&bytes), PARAM).expect_err("too large");
        assert!(error.message.contains("20 MiB"), "{}", error.message);
        let error = from_base64(&"A".repeat(MAX_TEXT + 1), PARAM).expect_err("too long");
        assert!(error.message.contains("20 MiB"), "{}", error.message);
    }
}
