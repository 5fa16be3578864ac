//! The demo camera's sound, a tick at each whole second of its clock, and its speaker's level.
//! Samples are a function of their time alone, so nothing drifts.

use super::figure::sine;

const SECOND: u64 = 1_000_000_000;
/// Loudness of the tick, of 32767.
const AMPLITUDE: i32 = 12_000;

/// A microphone in a room with a clock.
#[derive(Clone, Copy, Debug)]
pub struct Sound {
    rate: u32,
}

impl Sound {
    /// With so many samples a second.
    pub fn new(rate: u32) -> Sound {
        Sound { rate: rate.max(1) }
    }

    /// Samples a second.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// Samples in a block of 20 ms.
    pub fn block(&self) -> usize {
        (self.rate / 50).max(1) as usize
    }

    /// The samples from an instant on (nanoseconds since 1970, of the first of them).
    pub fn fill(&self, unix: u64, out: &mut [i16]) {
        let rate = u64::from(self.rate);
        // the sample nearest to the instant, counted from the whole second
        let mut at = ((unix % SECOND * rate + SECOND / 2) / SECOND) as u32 % self.rate;
        for sample in out {
            *sample = self.tick(at);
            at = if at + 1 < self.rate { at + 1 } else { 0 };
        }
    }

    /// 20 ms of 1 kHz, risen and fallen within 2 ms.
    fn tick(&self, at: u32) -> i16 {
        let (length, ramp) = (self.rate / 50, (self.rate / 500).max(1));
        if at >= length {
            return 0;
        }
        // the angle in 4096ths of a turn: 1000 turns a second
        let angle = (u64::from(at) * 1000 * 4096 / u64::from(self.rate)) as i32;
        let loud = at.min(length - at).min(ramp) as i32;
        (sine(angle) * (AMPLITUDE / 1024) * loud / ramp as i32) as i16
    }
}

/// What is played to the camera, as a level that falls within a fraction of a second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Speaker {
    level: u16,
}

impl Speaker {
    /// Sound that is being played.
    pub fn push(&mut self, samples: &[i16]) {
        let sum: u64 = samples.iter().map(|s| u64::from(s.unsigned_abs()).pow(2)).sum();
        let mean = sum / (samples.len() as u64).max(1);
        // the effective value of a full sine shows as full
        let level = (mean.saturating_mul(2)).isqrt().min(32_767) as u16;
        self.level = self.level.max(level);
    }

    /// A frame of so many a second goes by: silence shows after about a quarter of a second.
    pub fn fall(&mut self, fps: u8) {
        let by = u32::from(self.level) * 12 / u32::from(fps).max(12);
        self.level = self.level.saturating_sub(by.max(64) as u16);
    }

    /// 0 to 32767.
    pub fn level(&self) -> u16 {
        self.level
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ticks_at_the_whole_second_after_days_and_at_every_rate() {
        for rate in [8000u32, 16_000, 24_000, 32_000, 44_100, 48_000] {
            let sound = Sound::new(rate);
            let start = 1_700_000_000 * SECOND + 123_456_789;
            let mut block = vec![0; sound.block()];
            for first in [0, 3 * 86_400 * 50u64] {
                let mut loud = Vec::new();
                for n in first..first + 150 {
                    let unix = start + crate::media::Time::from_ticks(n * block.len() as u64, rate).nanos();
                    sound.fill(unix, &mut block);
                    for (i, s) in block.iter().enumerate() {
                        if s.abs() > 5000 {
                            loud.push((unix + i as u64 * SECOND / u64::from(rate)) % SECOND);
                        }
                    }
                }
                assert!(loud.len() > 100, "{rate}");
                assert!(loud.iter().all(|at| *at < 20_000_000), "{rate}: a sound beside the second");
            }
        }
    }

    #[test]
    fn blocks_join_without_a_click() {
        let sound = Sound::new(16_000);
        let mut whole = vec![0; 640];
        sound.fill(0, &mut whole);
        for n in 0..2 {
            let mut block = [0; 320];
            sound.fill(n * 20_000_000, &mut block);
            assert_eq!(block, whole[n as usize * 320..][..320]);
        }
        assert!(whole.windows(2).all(|w| (w[0] - w[1]).abs() < 6000));
    }

    #[test]
    fn talk_back_shows_and_goes_away() {
        let mut speaker = Speaker::default();
        speaker.push(&[]);
        assert_eq!(speaker.level(), 0);
        speaker.push(&[i16::MIN; 160]);
        assert_eq!(speaker.level(), 32_767);
        for _ in 0..25 {
            speaker.fall(25);
        }
        assert_eq!(speaker.level(), 0);
    }
}
