//! AAC-LC by the crate syom, which works in floats: the only ones in streamd, and only on the worker
//! thread. Only [`super::Encoder`] speaks to it.

use super::Error;
use crate::media::aac::AudioConfig;

/// Samples of the overlap before the first.
pub const DELAY: u32 = 1024;

pub struct Encoder {
    inner: syom::Encoder,
    planes: [Box<[f32; 1024]>; 2],
    channels: usize,
    config: [u8; 2],
}

impl Encoder {
    pub fn new(rate: u32, channels: u8, bitrate: u32) -> Result<Encoder, Error> {
        // What a camera's microphone has, and every player plays.
        if !(8000..=48000).contains(&rate) || !crate::media::aac::RATES.contains(&rate) {
            return Err(Error::Rate(rate));
        }
        // 6144 bits per channel and access unit are the standard's bound; below 4 kbit/s is no sound.
        let most = u64::from(channels) * 6 * u64::from(rate);
        if bitrate < 4000 || u64::from(bitrate) > most {
            return Err(Error::Bitrate(bitrate));
        }
        let options = syom::EncodeOptions::raw().with_bitrate_bps(bitrate);
        let inner = syom::Encoder::new(rate, usize::from(channels), &options).map_err(|_| Error::Codec)?;
        let mut config = [0; 2];
        let written = AudioConfig::lc(rate, channels).emit(&mut config);
        if written != Ok(2) || inner.asc() != config {
            return Err(Error::Codec);
        }
        let planes = [Box::new([0.0; 1024]), Box::new([0.0; 1024])];
        Ok(Encoder { inner, planes, channels: usize::from(channels), config })
    }

    pub fn config(&self) -> &[u8] {
        &self.config
    }

    /// One access unit from 1024 samples per channel.
    #[allow(clippy::float_arithmetic)] // the crate takes nothing else
    pub fn encode(&mut self, pcm: &[i16], sink: &mut dyn FnMut(&[u8])) -> Result<(), Error> {
        for (channel, plane) in self.planes.iter_mut().enumerate().take(self.channels) {
            let samples = pcm.iter().skip(channel).step_by(self.channels);
            plane.iter_mut().zip(samples).for_each(|(to, &s)| *to = f32::from(s) * (1.0 / 32768.0));
        }
        let [left, right] = &self.planes;
        let planes: [&[f32]; 2] = [&left[..], &right[..]];
        let planes = planes.get(..self.channels).ok_or(Error::Codec)?;
        let done = self.inner.feed(planes, |frame| {
            sink(frame.payload);
            Ok(())
        });
        if done.is_err() {
            // It refuses everything after an error; begin anew with the next samples.
            let _ = self.inner.reset();
            return Err(Error::Codec);
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::float_arithmetic)]
mod tests {
    use super::super::{Encoder, Error, tests::tone};
    use crate::media::aac::AudioConfig;
    use crate::media::testing::Rng;

    #[test]
    fn access_units_have_the_count_size_and_configuration_they_should() {
        for rate in [8000, 16000, 24000, 32000, 44100, 48000] {
            for channels in [1, 2] {
                let bitrate = rate * 3 / 2 * u32::from(channels);
                let mut enc = Encoder::aac(rate, channels, bitrate).unwrap();
                assert_eq!(AudioConfig::parse(enc.config()), Ok(AudioConfig::lc(rate, channels)));
                assert_eq!((enc.delay(), enc.packet_samples()), (1024, 1024));
                let mut rng = Rng::new(2);
                let seconds = 3;
                let pcm: Vec<i16> = tone(rate, channels, 440.0, rate as usize * seconds)
                    .iter()
                    .map(|s| s / 2 + (rng.next() as i16 >> 3))
                    .collect();
                let (mut units, mut bytes) = (0, 0);
                for chunk in pcm.chunks(777) {
                    enc.encode(chunk, &mut |p| {
                        assert_eq!(p.samples, 1024);
                        assert!(!p.data.is_empty() && p.data.len() <= 768 * usize::from(channels));
                        units += 1;
                        bytes += p.data.len();
                    })
                    .unwrap();
                }
                let frames = rate as usize * seconds;
                assert_eq!((units, enc.waiting() as usize), (frames / 1024, frames % 1024));
                let got = bytes * 8 / seconds;
                let wanted = bitrate as usize;
                assert!(got > wanted / 2 && got < wanted * 5 / 4, "{rate}/{channels}: {got} for {wanted}");
            }
        }
    }

    #[test]
    fn what_the_codec_cannot_do_is_refused() {
        assert_eq!(Encoder::aac(12345, 1, 32000).err(), Some(Error::Rate(12345)));
        assert_eq!(Encoder::aac(96000, 1, 32000).err(), Some(Error::Rate(96000)));
        assert_eq!(Encoder::aac(16000, 0, 32000).err(), Some(Error::Channels(0)));
        assert_eq!(Encoder::aac(16000, 1, 100).err(), Some(Error::Bitrate(100)));
        assert_eq!(Encoder::aac(8000, 1, 48001).err(), Some(Error::Bitrate(48001)));
        assert!(Encoder::aac(8000, 1, 48000).is_ok());
    }

    #[test]
    fn any_samples_are_encoded() {
        let mut rng = Rng::new(12);
        for (rate, channels, bitrate) in [(8000, 1, 4000), (16000, 2, 192_000), (48000, 2, 64_000)] {
            let mut enc = Encoder::aac(rate, channels, bitrate).unwrap();
            let mut n = 0;
            for kind in 0..5 {
                let pcm: Vec<i16> = (0..8192 * usize::from(channels))
                    .map(|i| match kind {
                        0 => rng.next() as i16,
                        1 => 0,
                        2 => [i16::MAX, i16::MIN][i / 2 % 2],
                        3 => [0, 0, 0, i16::MIN][i / 500 % 4],
                        _ => 1,
                    })
                    .collect();
                enc.encode(&pcm, &mut |_| n += 1).unwrap();
            }
            assert_eq!(n, 40);
        }
    }
}
