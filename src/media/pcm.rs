//! Plain samples: byte order, mono and stereo, and the resampler between any two rates from 8 to
//! 48 kHz. Buffers are the caller's, nothing allocates after construction, nothing is a float.
//!
//! The resampler is a polyphase low-pass filter: a windowed sinc whose prototype is one small
//! table, worked out by the compiler. Time in it is a fraction of whole numbers, so that hours of
//! sound come out neither a sample short nor long.

use std::fmt;

/// Swaps the two bytes of each sample: L16 of the network to the order of files, and back.
pub fn swap_bytes(samples: &mut [u8]) {
    for pair in samples.chunks_exact_mut(2) {
        pair.swap(0, 1);
    }
}

/// Reads little-endian samples, as many as both sides hold, and says how many.
pub fn from_le(from: &[u8], to: &mut [i16]) -> usize {
    let pairs = from.as_chunks::<2>().0;
    to.iter_mut().zip(pairs).map(|(to, &pair)| *to = i16::from_le_bytes(pair)).count()
}

/// Reads big-endian samples (L16), as many as both sides hold, and says how many.
pub fn from_be(from: &[u8], to: &mut [i16]) -> usize {
    let pairs = from.as_chunks::<2>().0;
    to.iter_mut().zip(pairs).map(|(to, &pair)| *to = i16::from_be_bytes(pair)).count()
}

/// Writes samples little-endian, as many as both sides hold, and says how many.
pub fn to_le(from: &[i16], to: &mut [u8]) -> usize {
    let pairs = to.as_chunks_mut::<2>().0;
    pairs.iter_mut().zip(from).map(|(to, s)| *to = s.to_le_bytes()).count()
}

/// Writes samples big-endian (L16), as many as both sides hold, and says how many.
pub fn to_be(from: &[i16], to: &mut [u8]) -> usize {
    let pairs = to.as_chunks_mut::<2>().0;
    pairs.iter_mut().zip(from).map(|(to, s)| *to = s.to_be_bytes()).count()
}

/// Mixes interleaved stereo down to mono in place, and says how many samples that leaves.
pub fn stereo_to_mono(samples: &mut [i16]) -> usize {
    let frames = samples.len() / 2;
    for i in 0..frames {
        let sum = match samples.get(2 * i..2 * i + 2) {
            Some(&[l, r]) => i32::from(l) + i32::from(r),
            _ => 0,
        };
        if let Some(to) = samples.get_mut(i) {
            *to = (sum >> 1) as i16;
        }
    }
    frames
}

/// Doubles the first `frames` mono samples into interleaved stereo in place, as far as there is
/// room, and says how many samples that makes.
pub fn mono_to_stereo(samples: &mut [i16], frames: usize) -> usize {
    let frames = frames.min(samples.len() / 2);
    for i in (0..frames).rev() {
        let sample = samples.get(i).copied().unwrap_or(0);
        if let Some(to) = samples.get_mut(2 * i..2 * i + 2) {
            to.fill(sample);
        }
    }
    2 * frames
}

/// Why there is no resampler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A rate outside 8 to 48 kHz.
    Rate(u32),
    /// Neither mono nor stereo.
    Channels(u8),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Rate(r) => write!(f, "cannot resample {r} Hz: the rate must lie between 8000 and 48000"),
            Error::Channels(c) => write!(f, "cannot resample {c} channels: it must be one or two"),
        }
    }
}

impl std::error::Error for Error {}

/// Zero crossings on each side of the sinc.
const CROSSINGS: usize = 12;
/// Entries of the prototype between two crossings.
const STEPS: usize = 32;
/// The pass band ends at 61/64 of the lower Nyquist frequency: what the slope needs.
const ROLL: (u64, u64) = (61, 64);
/// Coefficients are fractions of 2^14.
const UNIT: i32 = 1 << 14;
/// Filters between two inputs, at most; rates that need more positions blend two neighbours.
const PHASES: u32 = 32;
/// Input frames taken in between two moves of the history.
const BLOCK: usize = 128;

/// One side of the sinc under a Kaiser window (beta 5.65, 60 dB), in 1/32767.
const PROTOTYPE: [i16; CROSSINGS * STEPS + 2] = prototype();

const fn prototype() -> [i16; CROSSINGS * STEPS + 2] {
    const ONE: i128 = 1 << 40;
    const PI: i128 = 3_454_217_652_358; // pi * 2^40
    const LEN: usize = CROSSINGS * STEPS;
    const fn bessel(q: i128) -> i128 {
        // I0(2 sqrt q) is the sum of q^k / k!^2.
        let (mut sum, mut term, mut k) = (ONE, ONE, 1);
        while k < 40 {
            term = term * q / ONE / (k * k);
            sum += term;
            k += 1;
        }
        sum
    }
    let q = ONE * 798_063 / 100_000; // (beta / 2)^2
    let full = bessel(q);
    let mut table = [0i16; LEN + 2];
    table[0] = i16::MAX;
    let mut i = 1;
    while i < LEN {
        // sin of the angle within a half turn by its series, mirrored to at most a quarter.
        let within = i % STEPS;
        let mirrored = if within * 2 > STEPS { STEPS - within } else { within };
        let x = PI * mirrored as i128 / STEPS as i128;
        let (mut sin, mut term, mut k) = (x, x, 1);
        while k < 12 {
            term = -term * x / ONE * x / ONE / (2 * k * (2 * k + 1));
            sin += term;
            k += 1;
        }
        if i / STEPS % 2 == 1 {
            sin = -sin;
        }
        let sinc = sin * ONE / (PI * i as i128 / STEPS as i128);
        let i2 = (i * i) as i128;
        let window = bessel(q - q * i2 / (LEN * LEN) as i128) * ONE / full;
        let scaled = sinc * window / ONE * 32767;
        table[i] = ((scaled + ONE / 2) >> 40) as i16;
        i += 1;
    }
    table
}

/// Changes the rate of mono or interleaved stereo sound, block by block.
#[derive(Clone, Debug)]
pub struct Resampler {
    channels: usize,
    /// Output frames for each `down` input frames, in lowest terms.
    up: u32,
    down: u32,
    taps: usize,
    phases: u32,
    /// `phases + 1` filters of `taps` coefficients, so that the last can be blended with the next.
    bank: Box<[i16]>,
    /// The last inputs, channel by channel.
    history: Box<[i16]>,
    /// Inputs in the history, per channel.
    filled: usize,
    /// Where the next output's window starts in the history, and its place between two inputs in
    /// parts of `up`.
    start: usize,
    part: u32,
}

impl Resampler {
    /// From one rate to another, for one or two channels.
    pub fn new(from: u32, to: u32, channels: u8) -> Result<Resampler, Error> {
        for rate in [from, to] {
            if !(8000..=48000).contains(&rate) {
                return Err(Error::Rate(rate));
            }
        }
        if !matches!(channels, 1 | 2) {
            return Err(Error::Channels(channels));
        }
        let gcd = gcd(from, to);
        let (up, down) = (to / gcd, from / gcd);
        // The sinc is stretched by num/den of the input's own, for the slope and for going down.
        let (low, high) = if to < from { (u64::from(to), u64::from(from)) } else { (1, 1) };
        let (num, den) = (low * ROLL.0, high * ROLL.1);
        let half = (CROSSINGS as u64 * den).div_ceil(num) as usize;
        let taps = 2 * half;
        // A stretched filter changes less from one position to the next.
        let wanted = (PHASES * to.min(from)).div_ceil(from).max(8);
        let phases = if up <= wanted { up } else { wanted };
        let mut bank = vec![0i16; taps * (phases as usize + 1)].into_boxed_slice();
        for (phase, filter) in bank.chunks_exact_mut(taps).enumerate() {
            design(filter, phase as u64, u64::from(phases), num, den);
        }
        let history = vec![0i16; (taps + BLOCK) * usize::from(channels)].into_boxed_slice();
        let channels = usize::from(channels);
        // Silence stands before the first sample, so that it gives an output at once.
        Ok(Resampler { channels, up, down, taps, phases, bank, history, filled: taps - 1, start: 0, part: 0 })
    }

    /// How many input frames the sound comes out late.
    pub fn delay(&self) -> usize {
        if self.up == self.down { 0 } else { self.taps / 2 }
    }

    /// How many frames `input` more frames will give at most; an output buffer of this many is
    /// never the limit.
    pub fn max_output(&self, input: usize) -> usize {
        (input as u64 * u64::from(self.up)).div_ceil(u64::from(self.down)) as usize + 1
    }

    /// Takes interleaved samples and gives interleaved samples: how many samples were taken and how
    /// many given. All are taken if the output has room for [`Resampler::max_output`] frames;
    /// after n frames in, exactly n·to/from (rounded up) have come out.
    pub fn process(&mut self, input: &[i16], output: &mut [i16]) -> (usize, usize) {
        if self.up == self.down {
            let n = input.len().min(output.len()) / self.channels * self.channels;
            if let (Some(from), Some(to)) = (input.get(..n), output.get_mut(..n)) {
                to.copy_from_slice(from);
            }
            return (n, n);
        }
        let stride = self.taps + BLOCK;
        let mut taken = 0;
        let mut frames_out = output.chunks_exact_mut(self.channels);
        let mut given = 0;
        loop {
            while self.start + self.taps <= self.filled {
                let Some(out) = frames_out.next() else { return (taken, given) };
                for (to, history) in out.iter_mut().zip(self.history.chunks_exact(stride)) {
                    let window = history.get(self.start..self.start + self.taps).unwrap_or(&[]);
                    *to = self.filter(window);
                }
                given += self.channels;
                self.part += self.down;
                self.start += (self.part / self.up) as usize;
                self.part %= self.up;
            }
            // Every window from here on starts at `start` or later.
            if self.filled == stride {
                let keep = self.start.min(self.filled);
                for history in self.history.chunks_exact_mut(stride) {
                    history.copy_within(keep.., 0);
                }
                self.filled -= keep;
                self.start -= keep;
            }
            let room = stride - self.filled;
            let rest = input.get(taken..).unwrap_or(&[]);
            let frames = (rest.len() / self.channels).min(room);
            if frames == 0 {
                return (taken, given);
            }
            for (channel, history) in self.history.chunks_exact_mut(stride).enumerate() {
                let to = history.iter_mut().skip(self.filled);
                let from = rest.iter().skip(channel).step_by(self.channels).take(frames);
                to.zip(from).for_each(|(to, &s)| *to = s);
            }
            self.filled += frames;
            taken += frames * self.channels;
        }
    }

    /// One output from its window of inputs.
    #[inline]
    fn filter(&self, window: &[i16]) -> i16 {
        let filter = |phase: u32| {
            let at = phase as usize * self.taps;
            let bank = self.bank.get(at..at + self.taps).unwrap_or(&[]);
            // Cannot overflow: the coefficients of a filter sum to less than 4 in magnitude.
            bank.iter().zip(window).fold(0i32, |sum, (&c, &s)| sum.wrapping_add(i32::from(c) * i32::from(s)))
        };
        let position = self.part * self.phases;
        let (phase, part) = (position / self.up, position % self.up);
        let mut sum = filter(phase);
        if part != 0 {
            let step = i64::from(filter(phase + 1)) - i64::from(sum);
            sum = (i64::from(sum) + step * i64::from(part) / i64::from(self.up)) as i32;
        }
        ((sum + UNIT / 2) >> 14).clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16
    }
}

/// One filter: its output lies `phase / phases` behind the middle input.
fn design(filter: &mut [i16], phase: u64, phases: u64, num: u64, den: u64) {
    let half = filter.len() as u64 / 2;
    let value = |k: usize| {
        // Distance of input k from the output, in 1/phases of an input.
        let place = phase + (half - 1) * phases;
        let distance = place.abs_diff(k as u64 * phases);
        // The same in 1/65536 of an entry of the prototype.
        let at = distance * num * (STEPS as u64) * 65536 / (den * phases);
        let (i, part) = ((at >> 16) as usize, (at & 0xffff) as i32);
        match PROTOTYPE.get(i..i + 2) {
            Some(&[a, b]) => i32::from(a) + (((i32::from(b) - i32::from(a)) * part) >> 16),
            _ => 0,
        }
    };
    let sum: i32 = (0..filter.len()).map(value).sum();
    // Each filter gains exactly one, so that a steady level has no ripple; the middle takes the
    // rounding.
    let mut left = UNIT;
    for (k, to) in filter.iter_mut().enumerate() {
        let scaled = i64::from(value(k)) * i64::from(UNIT) * 2;
        let c = ((scaled / i64::from(sum.max(1))) + 1) >> 1;
        *to = c as i16;
        left -= c as i32;
    }
    let middle = half as usize - usize::from(phase * 2 <= phases);
    if let Some(c) = filter.get_mut(middle) {
        *c = c.wrapping_add(left as i16);
    }
}

const fn gcd(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
#[allow(clippy::float_arithmetic)]
mod tests {
    use super::*;
    use crate::media::testing::Rng;
    use std::f64::consts::PI;

    const RATES: [u32; 6] = [8000, 16000, 24000, 32000, 44100, 48000];

    fn pairs() -> impl Iterator<Item = (u32, u32)> {
        RATES.into_iter().flat_map(|a| RATES.into_iter().map(move |b| (a, b)))
    }

    fn tone(rate: u32, hz: f64, level: f64, frames: usize) -> Vec<i16> {
        (0..frames)
            .map(|i| (level * (2.0 * PI * hz * i as f64 / f64::from(rate)).sin()).round() as i16)
            .collect()
    }

    fn run(from: u32, to: u32, input: &[i16]) -> Vec<i16> {
        let mut r = Resampler::new(from, to, 1).unwrap();
        let mut out = vec![0; r.max_output(input.len())];
        let (taken, given) = r.process(input, &mut out);
        assert_eq!(taken, input.len());
        out.truncate(given);
        out
    }

    /// Amplitude of the tone in `samples` and the rms of all that is not it.
    fn measure(samples: &[i16], rate: u32, hz: f64) -> (f64, f64) {
        let w = 2.0 * PI * hz / f64::from(rate);
        let n = samples.len() as f64;
        let (mut c, mut s) = (0.0, 0.0);
        for (i, &x) in samples.iter().enumerate() {
            c += f64::from(x) * (w * i as f64).cos() * 2.0 / n;
            s += f64::from(x) * (w * i as f64).sin() * 2.0 / n;
        }
        let rest: f64 = samples
            .iter()
            .enumerate()
            .map(|(i, &x)| (f64::from(x) - c * (w * i as f64).cos() - s * (w * i as f64).sin()).powi(2))
            .sum();
        ((c * c + s * s).sqrt(), (rest / n).sqrt())
    }

    #[test]
    fn a_tone_keeps_its_level_and_gains_no_images_between_any_two_rates() {
        for (from, to) in pairs() {
            for hz in [1000.0, 300.0, 2500.0] {
                let out = run(from, to, &tone(from, hz, 20000.0, from as usize / 4));
                // Whole periods, after the filter has filled.
                let (level, rest) = measure(&out[to as usize / 20..to as usize / 20 * 5], to, hz);
                let (gain, noise) =
                    (20.0 * (level / 20000.0).log10(), 20.0 * (rest * 2f64.sqrt() / level).log10());
                assert!(gain.abs() < 0.5, "{from} to {to} at {hz}: {gain} dB");
                assert!(noise < -55.0, "{from} to {to} at {hz}: {noise} dB of images");
            }
        }
    }

    #[test]
    fn what_the_lower_rate_cannot_hold_is_gone() {
        for (from, to) in pairs().filter(|(from, to)| from > to) {
            // Well inside the stop band, and where it would alias to something audible.
            let hz = f64::from(to) * 0.56;
            if hz * 2.0 < f64::from(from) {
                let out = run(from, to, &tone(from, hz, 20000.0, from as usize / 8));
                let (_, rest) = measure(&out[out.len() / 4..], to, 1.0);
                assert!(rest < 141.0, "{from} to {to}: {hz} Hz leaves {rest}");
            }
        }
    }

    #[test]
    fn lengths_are_exact_whatever_the_blocks() {
        let mut rng = Rng::new(5);
        for (from, to) in pairs() {
            let mut r = Resampler::new(from, to, 1).unwrap();
            let input = [0i16; 2000];
            let mut out = [0i16; 12100];
            let (mut taken, mut given) = (0u64, 0u64);
            while taken < 20_000 {
                let n = rng.below(2000);
                let (t, g) = r.process(&input[..n], &mut out);
                assert_eq!(t, n);
                assert!(g <= r.max_output(n));
                taken += t as u64;
                given += g as u64;
                assert_eq!(given, (taken * u64::from(to)).div_ceil(u64::from(from)), "{from} to {to}");
            }
        }
    }

    #[test]
    fn ten_million_samples_come_out_neither_short_nor_long() {
        {
            let (from, to) = (48000u32, 44100u32);
            // How long the filter is plays no part in the counting: a short one makes the test quick.
            let mut r = Resampler::new(from, to, 1).unwrap();
            (r.taps, r.filled) = (2, 1);
            r.history = vec![0; 2 + BLOCK].into();
            let (input, mut out) = ([0i16; 10_000], [0i16; 12_000]);
            let given: u64 = (0..1000).map(|_| r.process(&input, &mut out).1 as u64).sum();
            assert_eq!(given, (10_000_000 * u64::from(to)).div_ceil(u64::from(from)));
        }
    }

    #[test]
    fn blocks_of_any_size_give_the_same_sound() {
        let mut rng = Rng::new(9);
        for (from, to) in [(48000, 8000), (44100, 48000), (8000, 44100), (16000, 24000)] {
            let input: Vec<i16> = (0..6000).map(|_| rng.next() as i16).collect();
            let whole = run(from, to, &input);
            let mut r = Resampler::new(from, to, 1).unwrap();
            let (mut at, mut pieces) = (0, vec![]);
            while at < input.len() {
                // Neither side is a whole block: a short output buffer only delays.
                let mut out = vec![0; rng.below(90)];
                let end = (at + rng.below(70)).min(input.len());
                let (taken, given) = r.process(&input[at..end], &mut out);
                at += taken;
                pieces.extend_from_slice(&out[..given]);
            }
            let mut out = [0; 100];
            loop {
                let (_, given) = r.process(&[], &mut out);
                pieces.extend_from_slice(&out[..given]);
                if given == 0 {
                    break;
                }
            }
            assert_eq!(pieces, whole, "{from} to {to}");
        }
    }

    #[test]
    fn silence_and_a_steady_level_stay_what_they_are() {
        for (from, to) in pairs() {
            assert!(run(from, to, &[0; 3000]).iter().all(|&s| s == 0));
            for level in [12345, -32768, 32767] {
                let out = run(from, to, &[level; 3000]);
                let skip = 400 * to as usize / from as usize;
                assert!(out[skip..].iter().all(|&s| s == level), "{from} to {to}");
            }
        }
    }

    #[test]
    fn too_loud_saturates_and_never_wraps() {
        for (from, to) in pairs().filter(|(a, b)| a != b) {
            // A square wave overshoots after any low-pass.
            let input: Vec<i16> =
                (0..4000).map(|i| if i / 40 % 2 == 0 { i16::MAX } else { i16::MIN }).collect();
            let out = run(from, to, &input);
            assert!(out.contains(&i16::MAX) && out.contains(&i16::MIN));
            // A wrap would be a leap from one end to the other within one sample, against the wave.
            let delay = Resampler::new(from, to, 1).unwrap().delay();
            for (n, &s) in out.iter().enumerate().skip(400) {
                let at = (n as u64 * u64::from(from) / u64::from(to)) as i64 - delay as i64;
                let place = at.rem_euclid(40);
                if (12..28).contains(&place) && from <= to {
                    assert_eq!(s > 0, at / 40 % 2 == 0, "{from} to {to} at {n}");
                }
            }
        }
    }

    #[test]
    fn no_filter_can_overflow_its_sum() {
        for (from, to) in pairs().chain([(8000, 11025), (47999, 8001), (22050, 12000)]) {
            let r = Resampler::new(from, to, 2).unwrap();
            for filter in r.bank.chunks_exact(r.taps) {
                let loud: i32 = filter.iter().map(|&c| i32::from(c).abs()).sum();
                assert!(loud < 4 * UNIT - 2, "{loud}");
                assert_eq!(filter.iter().map(|&c| i32::from(c)).sum::<i32>(), UNIT);
            }
            assert!(r.bank.len() * 2 <= 4096 && r.history.len() * 2 <= 1200, "{from} to {to}");
        }
    }

    #[test]
    fn stereo_stays_apart() {
        let mut r = Resampler::new(16000, 48000, 2).unwrap();
        let left = tone(16000, 1000.0, 8000.0, 4000);
        let right = tone(16000, 440.0, 3000.0, 4000);
        let input: Vec<i16> = left.iter().zip(&right).flat_map(|(&l, &r)| [l, r]).collect();
        let mut out = vec![0; 2 * r.max_output(4000)];
        let (taken, given) = r.process(&input, &mut out);
        assert_eq!((taken, given), (8000, 24000));
        let (l, r): (Vec<_>, Vec<_>) = out[..given].chunks(2).map(|c| (c[0], c[1])).unzip();
        assert_eq!(l, run(16000, 48000, &left));
        assert_eq!(r, run(16000, 48000, &right));
    }

    #[test]
    fn rates_and_channels_out_of_bounds_are_refused() {
        assert_eq!(Resampler::new(0, 8000, 1).unwrap_err(), Error::Rate(0));
        assert_eq!(Resampler::new(8000, 96000, 1).unwrap_err(), Error::Rate(96000));
        assert_eq!(Resampler::new(8000, 16000, 3).unwrap_err(), Error::Channels(3));
    }

    #[test]
    fn bytes_and_channels_convert_in_place() {
        let mut bytes = [1, 2, 3, 4, 5];
        swap_bytes(&mut bytes);
        assert_eq!(bytes, [2, 1, 4, 3, 5]);
        let mut samples = [0; 3];
        assert_eq!((from_le(&bytes, &mut samples), samples[0]), (2, 0x0102));
        assert_eq!((from_be(&bytes, &mut samples), samples[0]), (2, 0x0201));
        let mut back = [0; 4];
        assert_eq!((to_be(&samples, &mut back), back), (2, [2, 1, 4, 3]));
        assert_eq!((to_le(&samples, &mut back), back), (2, [1, 2, 3, 4]));
        let mut s = [100, 200, -32768, -32768, 7];
        assert_eq!((stereo_to_mono(&mut s), s[0], s[1]), (2, 150, -32768));
        let mut m = [1, 2, 3, 0, 0, 0];
        assert_eq!((mono_to_stereo(&mut m, 3), m), (6, [1, 1, 2, 2, 3, 3]));
        assert_eq!(mono_to_stereo(&mut m[..5], 9), 4);
    }
}
