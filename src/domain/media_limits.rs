/// Images and sounds in one request.
pub const MAX_MEDIA: usize = 16;
/// Bytes of one of them, as the client encoded it (PNG, JPEG, …), out of its base64.
pub const MAX_MEDIA_BYTES: usize = 20 << 20;
/// Pixels along each side of an image.
pub const MAX_IMAGE_SIDE: u32 = 8_192;
/// Pixels of an image in all.
pub const MAX_IMAGE_PIXELS: u64 = 40_000_000;
/// How many times longer than the other a side of an image may be: what is thinner is no picture,
/// and preprocessors make images without height of it.
pub const MAX_IMAGE_RATIO: u32 = 100;
/// Seconds of a sound.
pub const MAX_AUDIO_SECONDS: u32 = 600;
