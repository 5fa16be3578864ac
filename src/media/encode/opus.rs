//! Opus by the fixed-point codec of the crate ropus. Only the worker's [`super::Encoder`] and
//! [`super::Decoder`] speak to it.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::Error;
use crate::media::opus as packet;
use ropus::{Application, Bitrate, Channels, DecodeMode};

/// Effort of the encoder, 0 to 10: what a camera's core can bear beside its other work.
const COMPLEXITY: u8 = 3;
/// The longest packet of 60 ms is three frames of 1275 bytes and their lengths.
const MAX_PACKET: usize = 3 * packet::MAX_FRAME + 8;

fn channels(n: u8) -> Channels {
    if n == 2 { Channels::Stereo } else { Channels::Mono }
}

fn check_rate(rate: u32) -> Result<(), Error> {
    if matches!(rate, 8000 | 12000 | 16000 | 24000 | 48000) { Ok(()) } else { Err(Error::Rate(rate)) }
}

pub struct Encoder {
    inner: Box<ropus::Encoder>,
    out: Box<[u8]>,
}

impl Encoder {
    pub fn new(rate: u32, count: u8, bitrate: u32) -> Result<Encoder, Error> {
        check_rate(rate)?;
        if !(6000..=510_000).contains(&bitrate) {
            return Err(Error::Bitrate(bitrate));
        }
        // Below this a camera's microphone is heard better through the speech coder.
        let music = bitrate / u32::from(count.max(1)) >= 40_000;
        let application = if music { Application::Audio } else { Application::Voip };
        let inner = ropus::Encoder::builder(rate, channels(count), application)
            .bitrate(Bitrate::Bits(bitrate))
            .complexity(COMPLEXITY)
            .build()
            .map_err(|_| Error::Codec)?;
        Ok(Encoder { inner: Box::new(inner), out: vec![0; MAX_PACKET].into_boxed_slice() })
    }

    /// The crate counts it at the encoder's own rate.
    pub fn delay(&self) -> u32 {
        self.inner.lookahead()
    }

    pub fn encode(&mut self, pcm: &[i16]) -> Result<&[u8], Error> {
        let n = self.inner.encode(pcm, &mut self.out).map_err(|_| Error::Codec)?;
        self.out.get(..n).ok_or(Error::Codec)
    }
}

pub struct Decoder {
    inner: Box<ropus::Decoder>,
    rate: u32,
    channels: u8,
}

impl Decoder {
    pub fn new(rate: u32, count: u8) -> Result<Decoder, Error> {
        check_rate(rate)?;
        let inner = ropus::Decoder::new(rate, channels(count)).map_err(|_| Error::Codec)?;
        Ok(Decoder { inner: Box::new(inner), rate, channels: count })
    }

    fn samples(&self, at_48k: u32) -> usize {
        at_48k as usize * self.rate as usize / packet::RATE as usize * usize::from(self.channels)
    }

    pub fn max_samples(&self) -> usize {
        self.samples(packet::MAX_SAMPLES)
    }

    pub fn decode(&mut self, bytes: &[u8], out: &mut [i16]) -> Result<usize, Error> {
        // Our own check first: what the codec gets is well formed and its length known.
        let parsed = packet::Packet::parse(bytes).map_err(|_| Error::Packet)?;
        let need = self.samples(parsed.samples());
        let out = out.get_mut(..need).ok_or(Error::Room)?;
        let n = self.inner.decode(bytes, out, DecodeMode::Normal).map_err(|_| Error::Packet)?;
        Ok((n * usize::from(self.channels)).min(need))
    }

    pub fn conceal(&mut self, out: &mut [i16]) -> Result<usize, Error> {
        let frame = self.samples(packet::RATE / 100);
        if ![1, 2, 4, 6].iter().any(|n| n * frame == out.len()) {
            return Err(Error::Room);
        }
        let n = self.inner.decode(&[], out, DecodeMode::Normal).map_err(|_| Error::Codec)?;
        Ok((n * usize::from(self.channels)).min(out.len()))
    }
}

#[cfg(test)]
#[allow(clippy::float_arithmetic)]
mod tests {
    use super::super::{Decoder, Encoder, Error, tests::tone};
    use crate::media::opus::Packet;
    use crate::media::testing::Rng;

    const RATES: [u32; 5] = [8000, 12000, 16000, 24000, 48000];

    /// Signal to noise of `got` against `sent`, `got` being `delay` frames late, in dB.
    fn snr(sent: &[i16], got: &[i16], delay: usize, skip: usize) -> f64 {
        let (mut signal, mut noise) = (0.0, 1.0);
        for i in skip..got.len().min(sent.len()) {
            let (s, g) = (f64::from(sent[i - delay]), f64::from(got[i]));
            signal += s * s;
            noise += (s - g) * (s - g);
        }
        10.0 * f64::log10(signal / noise)
    }

    #[test]
    fn a_tone_comes_back_at_the_right_time_for_every_rate_and_packet_time() {
        for rate in RATES {
            for channels in [1, 2] {
                for ms in [20, 40, 60] {
                    let mut enc = Encoder::opus(rate, channels, 40_000 * u32::from(channels), ms).unwrap();
                    let mut dec = Decoder::opus(rate, channels).unwrap();
                    let pcm = tone(rate, channels, 440.0, rate as usize);
                    let mut out = vec![0; dec.max_samples()];
                    let (mut got, mut packets, mut bytes) = (vec![], 0, 0);
                    // Chunks of an odd size: packets do not depend on them.
                    for chunk in pcm.chunks(1234) {
                        enc.encode(chunk, &mut |p| {
                            let parsed = Packet::parse(p.data).unwrap();
                            assert_eq!(parsed.samples(), ms * 48);
                            assert_eq!(p.samples, rate / 1000 * ms);
                            let n = dec.decode(p.data, &mut out).unwrap();
                            assert_eq!(n, p.samples as usize * usize::from(channels));
                            got.extend_from_slice(&out[..n]);
                            packets += 1;
                            bytes += p.data.len();
                        })
                        .unwrap();
                    }
                    assert_eq!(packets, 1000 / ms);
                    assert_eq!(enc.waiting(), rate - packets * rate / 1000 * ms);
                    assert!(bytes < 20_000, "{bytes} bytes a second");
                    let ch = usize::from(channels);
                    let delay = enc.delay() as usize * ch;
                    let db = snr(&pcm, &got, delay, rate as usize / 2 * ch);
                    assert!(db > 12.0, "{rate}/{channels} {ms} ms: {db} dB");
                    // The delay is right: one of two milliseconds less or more is far worse.
                    for off in [-2isize, 2] {
                        let wrong = delay.checked_add_signed(off * (rate as isize / 1000) * ch as isize);
                        assert!(wrong.is_none_or(|w| snr(&pcm, &got, w, rate as usize / 2 * ch) < db));
                    }
                }
            }
        }
    }

    #[test]
    fn what_the_codec_cannot_do_is_refused() {
        assert_eq!(Encoder::opus(44100, 1, 32000, 20).err(), Some(Error::Rate(44100)));
        assert_eq!(Encoder::opus(48000, 3, 32000, 20).err(), Some(Error::Channels(3)));
        assert_eq!(Encoder::opus(48000, 1, 100, 20).err(), Some(Error::Bitrate(100)));
        assert_eq!(Encoder::opus(48000, 1, 32000, 30).err(), Some(Error::PacketTime(30)));
        assert_eq!(Decoder::opus(44100, 1).err(), Some(Error::Rate(44100)));
    }

    #[test]
    fn any_samples_are_encoded() {
        let mut rng = Rng::new(11);
        for rate in RATES {
            for (bitrate, ms) in [(6000, 60), (24_000, 20), (510_000, 60)] {
                let mut enc = Encoder::opus(rate, 2, bitrate, ms).unwrap();
                let mut n = 0;
                for kind in 0..4 {
                    let pcm: Vec<i16> = (0..rate as usize / 2)
                        .map(|i| match kind {
                            0 => rng.next() as i16,
                            1 => 0,
                            2 => [i16::MAX, i16::MIN][i / 2 % 2],
                            _ => [i16::MIN, i16::MIN, i16::MAX][i / 37 % 3],
                        })
                        .collect();
                    enc.encode(&pcm, &mut |p| {
                        assert!(Packet::parse(p.data).is_ok());
                        n += 1;
                    })
                    .unwrap();
                }
                assert_eq!(n, 1000 / ms);
            }
        }
    }

    #[test]
    fn a_lost_packet_is_concealed() {
        let mut dec = Decoder::opus(16000, 1).unwrap();
        let mut enc = Encoder::opus(16000, 1, 24000, 20).unwrap();
        let mut out = [0; 1920];
        enc.encode(&tone(16000, 1, 300.0, 8000), &mut |p| {
            dec.decode(p.data, &mut out).unwrap();
        })
        .unwrap();
        assert_eq!(dec.conceal(&mut out[..320]), Ok(320));
        assert!(out[..320].iter().any(|s| s.abs() > 100));
        assert_eq!(dec.conceal(&mut out[..321]), Err(Error::Room));
        assert_eq!(dec.decode(&[], &mut out), Err(Error::Packet));
        assert_eq!(dec.decode(&[9 << 3, 1, 2], &mut out[..10]), Err(Error::Room));
    }

    /// Valid packets of all modes, as seeds.
    fn seeds() -> Vec<Vec<u8>> {
        let mut rng = Rng::new(21);
        let mut seeds = vec![];
        for rate in RATES {
            for (channels, bitrate, ms) in [(1, 8000, 20), (1, 24_000, 60), (2, 48_000, 40), (2, 200_000, 20)]
            {
                let mut enc = Encoder::opus(rate, channels, bitrate, ms).unwrap();
                let pcm: Vec<i16> = tone(rate, channels, 700.0, rate as usize / 4)
                    .iter()
                    .map(|s| s / 2 + (rng.next() as i16 >> 3))
                    .collect();
                enc.encode(&pcm, &mut |p| seeds.push(p.data.to_vec())).unwrap();
            }
        }
        seeds
    }

    fn fuzz(rounds: usize, seed: u64) -> usize {
        let seeds = seeds();
        let mut rng = Rng::new(seed);
        let mut decoders: Vec<Decoder> =
            RATES.iter().flat_map(|&r| [1, 2].map(|c| Decoder::opus(r, c).unwrap())).collect();
        let mut out = vec![0; 5760 * 2];
        let mut decoded = 0;
        for _ in 0..rounds {
            let mut packet = seeds[rng.below(seeds.len())].clone();
            match rng.below(6) {
                0 => {
                    packet.truncate(rng.below(packet.len() + 1));
                }
                1 => packet[0] = rng.next() as u8,
                2 => {
                    let n = rng.below(300);
                    packet = vec![0; n];
                    rng.fill(&mut packet);
                }
                3 => {
                    let other = &seeds[rng.below(seeds.len())];
                    let at = rng.below(packet.len());
                    packet.truncate(at + 1);
                    packet.extend_from_slice(&other[rng.below(other.len())..]);
                }
                _ => {}
            }
            for _ in 0..rng.below(8) {
                if !packet.is_empty() {
                    let at = rng.below(packet.len());
                    packet[at] ^= 1 << rng.below(8);
                }
            }
            let at = rng.below(decoders.len());
            let dec = &mut decoders[at];
            if rng.below(20) == 0 {
                let ten = dec.max_samples() / 12;
                let _ = dec.conceal(&mut out[..ten * [1, 2, 4, 6][rng.below(4)]]);
            }
            if let Ok(n) = dec.decode(&packet, &mut out) {
                assert!(n <= dec.max_samples());
                decoded += 1;
            }
        }
        decoded
    }

    /// For longer: `FUZZ_ROUNDS=1000000 FUZZ_SEED=7 cargo test --lib opus::`.
    #[test]
    fn damaged_packets_never_end_the_process() {
        let number = |name, usual| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(usual);
        let rounds = number("FUZZ_ROUNDS", 4000);
        assert!(fuzz(rounds, number("FUZZ_SEED", 31) as u64) > rounds / 4);
    }
}
