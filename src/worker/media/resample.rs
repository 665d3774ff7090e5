/// Changes the sample rate of a recording, one sample at a time: downwards each new sample is the
/// mean of what it stands for (so that high tones fade instead of coming back as low ones), upwards
/// it lies on the line between its neighbours.
pub(super) struct Resampler {
    /// Old samples for one new one.
    step: f64,
    out: Vec<f32>,
    /// Downwards: the sum so far, and how much of the next new sample it stands for.
    sum: f64,
    filled: f64,
    /// Upwards: where the next new sample lies between `last` (0) and the next old one (1).
    place: f64,
    last: Option<f32>,
}

impl Resampler {
    /// From a rate to another, neither of them 0.
    pub(super) fn new(from: u32, to: u32) -> Self {
        let step = f64::from(from.max(1)) / f64::from(to.max(1));
        Self { step, out: Vec::new(), sum: 0.0, filled: 0.0, place: 0.0, last: None }
    }

    /// The next old sample.
    pub(super) fn push(&mut self, sample: f32) {
        if self.step >= 1.0 { self.mean(sample) } else { self.line(sample) }
    }

    /// All new samples.
    pub(super) fn finish(mut self) -> Vec<f32> {
        if self.filled * 2.0 >= self.step && self.filled > 0.0 {
            self.out.push((self.sum / self.filled) as f32);
        }
        if let Some(last) = self.last {
            self.out.push(last);
        }
        self.out
    }

    fn mean(&mut self, sample: f32) {
        let missing = self.step - self.filled;
        if missing > 1.0 {
            self.sum += f64::from(sample);
            self.filled += 1.0;
            return;
        }
        let sum = self.sum + f64::from(sample) * missing;
        self.out.push((sum / self.step) as f32);
        self.filled = 1.0 - missing;
        self.sum = f64::from(sample) * self.filled;
    }

    fn line(&mut self, sample: f32) {
        if let Some(last) = self.last {
            while self.place < 1.0 {
                let here = f64::from(last) + (f64::from(sample) - f64::from(last)) * self.place;
                self.out.push(here as f32);
                self.place += self.step;
            }
            self.place -= 1.0;
        }
        self.last = Some(sample);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resampled(from: u32, to: u32, samples: &[f32]) -> Vec<f32> {
        let mut resampler = Resampler::new(from, to);
        samples.iter().for_each(|sample| resampler.push(*sample));
        resampler.finish()
    }

    #[test]
    fn the_same_rate_changes_nothing() {
        let samples = [0.5, -0.25, 1.0, 0.0];
        assert_eq!(resampled(16_000, 16_000, &samples), samples);
    }

    #[test]
    fn half_the_rate_takes_means_and_twice_the_rate_lines() {
        assert_eq!(resampled(2, 1, &[0.0, 1.0, 0.5, 0.5]), [0.5, 0.5]);
        assert_eq!(resampled(1, 2, &[0.0, 1.0, 0.0]), [0.0, 0.5, 1.0, 0.5, 0.0]);
    }

    #[test]
    fn a_second_stays_a_second_and_a_constant_a_constant() {
        for from in [8_000, 11_025, 22_050, 44_100, 48_000, 96_000] {
            let out = resampled(from, 16_000, &vec![0.25; from as usize]);
            assert!(out.len().abs_diff(16_000) <= 2, "{from}: {}", out.len());
            assert!(out.iter().all(|sample| (sample - 0.25).abs() < 1e-6), "{from}");
        }
    }

    #[test]
    fn a_tone_beyond_the_new_rate_fades() {
        let tone: Vec<f32> = (0..48_000).map(|n| if n % 2 == 0 { 1.0 } else { -1.0 }).collect();
        let out = resampled(48_000, 16_000, &tone);
        assert!(out.iter().all(|sample| sample.abs() < 0.4), "{:?}", &out[..8]);
    }
}
