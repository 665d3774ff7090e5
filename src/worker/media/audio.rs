use std::io::Cursor;

use symphonia::core::audio::SampleBuffer;
use symphonia::core::codecs::{CODEC_TYPE_NULL, DecoderOptions};
use symphonia::core::errors::Error as Symphonia;
use symphonia::core::formats::FormatOptions;
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::{Limit, MetadataOptions};
use symphonia::core::probe::Hint;

use super::resample::Resampler;
use crate::domain::MAX_AUDIO_SECONDS;

/// The sample rates that recordings have, in samples a second.
const RATES: std::ops::RangeInclusive<u32> = 4_000..=384_000;
/// Channels that are mixed into one.
const MAX_CHANNELS: usize = 32;
/// Packets in a row that may be unreadable: a player skips them as well.
const MAX_BAD_PACKETS: u32 = 16;
/// Bytes of titles and pictures beside the sound that are read.
const MAX_METADATA: usize = 1 << 20;

/// Decodes WAV, MP3 and FLAC: the first track, all channels mixed into one, at `sample_rate`.
///
/// # Errors
/// What is wrong with it, in words that go on from "the recording".
pub(super) fn decode(bytes: &[u8], sample_rate: u32) -> Result<Vec<f32>, String> {
    let source = MediaSourceStream::new(
        Box::new(Cursor::new(bytes.to_vec())),
        MediaSourceStreamOptions::default(),
    );
    let metadata = MetadataOptions {
        limit_metadata_bytes: Limit::Maximum(MAX_METADATA),
        limit_visual_bytes: Limit::Maximum(MAX_METADATA),
    };
    let probed = symphonia::default::get_probe()
        .format(&Hint::new(), source, &FormatOptions::default(), &metadata)
        .map_err(damaged)?;
    let mut format = probed.format;
    let track = format.tracks().iter().find(|track| track.codec_params.codec != CODEC_TYPE_NULL);
    let track = track.ok_or("holds no sound")?;
    let id = track.id;
    let mut decoder = symphonia::default::get_codecs()
        .make(&track.codec_params, &DecoderOptions::default())
        .map_err(damaged)?;
    let mut mono = Mono::new(sample_rate);
    let mut bad = 0;
    loop {
        let packet = match format.next_packet() {
            Ok(packet) if packet.track_id() == id => packet,
            Ok(_) => continue,
            // The end of the file, or where it breaks off.
            Err(Symphonia::IoError(_) | Symphonia::ResetRequired) => break,
            Err(error) => return Err(damaged(error)),
        };
        match decoder.decode(&packet) {
            Ok(sound) => {
                let spec = *sound.spec();
                let capacity = u64::try_from(sound.capacity()).unwrap_or(u64::MAX);
                let mut samples = SampleBuffer::<f32>::new(capacity, spec);
                samples.copy_interleaved_ref(sound);
                mono.push(spec.rate, spec.channels.count(), samples.samples())?;
                bad = 0;
            }
            Err(Symphonia::DecodeError(_)) if bad < MAX_BAD_PACKETS => bad += 1,
            Err(Symphonia::IoError(_) | Symphonia::ResetRequired) => break,
            Err(error) => return Err(damaged(error)),
        }
    }
    mono.finish()
}

fn damaged(error: Symphonia) -> String {
    format!("is damaged or of an unknown kind ({error}): send WAV, MP3 or FLAC")
}

/// Channels mixed and the rate changed, as they come.
struct Mono {
    to: u32,
    from: Option<(u32, Resampler)>,
    samples: u64,
}

impl Mono {
    fn new(to: u32) -> Self {
        Self { to, from: None, samples: 0 }
    }

    fn push(&mut self, rate: u32, channels: usize, samples: &[f32]) -> Result<(), String> {
        if !RATES.contains(&rate) || !(1..=MAX_CHANNELS).contains(&channels) {
            return Err(format!("has {channels} channels of {rate} samples a second"));
        }
        let to = self.to;
        let (first, resampler) = self.from.get_or_insert_with(|| (rate, Resampler::new(rate, to)));
        if *first != rate {
            return Err("changes its sample rate on the way".to_owned());
        }
        for frame in samples.chunks_exact(channels) {
            let mean = frame.iter().sum::<f32>() / channels as f32;
            resampler.push(if mean.is_finite() { mean.clamp(-1.0, 1.0) } else { 0.0 });
            self.samples = self.samples.saturating_add(1);
        }
        if self.samples > u64::from(rate) * u64::from(MAX_AUDIO_SECONDS) {
            return Err(format!(
                "is longer than {} minutes: cut it into pieces",
                MAX_AUDIO_SECONDS / 60
            ));
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<f32>, String> {
        let samples = self.from.map(|(_, resampler)| resampler.finish()).unwrap_or_default();
        if samples.is_empty() { Err("holds no sound".to_owned()) } else { Ok(samples) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A WAV file of 16-bit samples.
    fn wav(rate: u32, channels: u16, samples: &[i16]) -> Vec<u8> {
        let data: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        let mut file = b"RIFF".to_vec();
        file.extend((36 + data.len() as u32).to_le_bytes());
        file.extend(b"WAVEfmt \x10\0\0\0\x01\0");
        file.extend(channels.to_le_bytes());
        file.extend(rate.to_le_bytes());
        file.extend((rate * u32::from(channels) * 2).to_le_bytes());
        file.extend((channels * 2).to_le_bytes());
        file.extend(16u16.to_le_bytes());
        file.extend(b"data");
        file.extend((data.len() as u32).to_le_bytes());
        file.extend(data);
        file
    }

    #[test]
    fn channels_are_mixed_and_the_rate_is_the_wanted_one() {
        let stereo: Vec<i16> = [16_384, 0].repeat(32_000);
        let mono = decode(&wav(32_000, 2, &stereo), 16_000).expect("decoded");
        assert_eq!(mono.len(), 16_000);
        assert!(mono.iter().all(|sample| (sample - 0.25).abs() < 1e-3), "{:?}", &mono[..4]);
    }

    #[test]
    fn a_recording_without_sound_or_of_nonsense_is_an_error() {
        assert!(decode(&wav(16_000, 1, &[]), 16_000).is_err());
        assert!(decode(&wav(1, 1, &[1; 10]), 16_000).is_err());
        for bytes in [&b""[..], b"RIFF", b"RIFF\x24\0\0\0WAVE", b"fLaC\0\0\0\x22", b"ID3\x04\0\0"] {
            assert!(decode(bytes, 16_000).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_recording_over_the_limit_is_refused_not_cut() {
        let minutes = MAX_AUDIO_SECONDS as usize * 4_000;
        assert!(decode(&wav(4_000, 1, &vec![1; minutes]), 4_000).is_ok());
        let error = decode(&wav(4_000, 1, &vec![1; minutes + 8_000]), 4_000).expect_err("long");
        assert!(error.contains("10 minutes"), "{error}");
    }
}
