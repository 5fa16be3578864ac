//! Sound from one codec to another: samples of any kind, and Opus, into samples of any other, at
//! another rate and with other channels, and into the codecs that are compiled in. Owned bytes only, so that it
//! can move to a worker; what stays samples is cheap enough to be done where it stands.

use super::encode::{self, Decoder, Encoder};
use super::pcm::{self, Resampler};
use super::{Codec, CodecId, g711::Law, opus};
use std::fmt;
use std::rc::Rc;

/// The longest block taken at once: 0.25 s of stereo at 48 kHz.
const BLOCK: usize = 24_000;
/// What an encoder is asked for unless told otherwise.
const BITRATE: u32 = 32_000;

/// Why sound cannot be converted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConvertError {
    /// This codec cannot be decoded here.
    From(CodecId),
    /// This codec cannot be made here.
    To(CodecId),
    /// The encoder or decoder cannot be had, or has failed.
    Encoder(encode::Error),
    /// The rates cannot be converted.
    Rate(pcm::Error),
}

impl fmt::Display for ConvertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConvertError::From(id) => write!(f, "{id} cannot be decoded here"),
            ConvertError::To(id) => write!(f, "{id} cannot be made here"),
            ConvertError::Encoder(e) => write!(f, "{e}"),
            ConvertError::Rate(e) => write!(f, "{e}"),
        }
    }
}

/// Whether a codec is nothing but samples.
pub const fn is_samples(id: CodecId) -> bool {
    matches!(id, CodecId::Pcma | CodecId::Pcmu | CodecId::L16 | CodecId::Pcml)
}

/// Bytes of one sample of a codec that is nothing but samples.
pub const fn sample_bytes(id: CodecId) -> usize {
    match id {
        CodecId::Pcma | CodecId::Pcmu => 1,
        _ => 2,
    }
}

/// Converts a track of sound, block by block.
pub struct Convert {
    from: (CodecId, u32, u8),
    to: (CodecId, u32, u8),
    pcm: Vec<i16>,
    resampled: Vec<i16>,
    resampler: Option<Resampler>,
    decoder: Option<Decoder>,
    encoder: Option<Encoder>,
    bytes: Vec<u8>,
    /// In hundredths.
    volume: u8,
}

impl Convert {
    /// From one codec to another. An encoder's packets last 20 ms (AAC: 1024 samples).
    pub fn new(from: &Codec, to: &Codec) -> Result<Convert, ConvertError> {
        if !is_samples(from.id) && from.id != CodecId::Opus {
            return Err(ConvertError::From(from.id));
        }
        // Opus always says 48000 Hz and two channels; what goes in keeps the source's own
        let (rate, channels) = match to.id {
            CodecId::Opus => (opus_rate(from.rate), from.channels.clamp(1, 2)),
            _ => (to.rate, to.channels.clamp(1, 2)),
        };
        let encoder = match to.id {
            id if is_samples(id) => None,
            CodecId::Opus => Some(Encoder::opus(rate, channels, BITRATE, 20).map_err(ConvertError::Encoder)?),
            CodecId::Aac => Some(Encoder::aac(rate, channels, BITRATE).map_err(ConvertError::Encoder)?),
            id => return Err(ConvertError::To(id)),
        };
        // Opus is decoded to any number of channels, and to the rate that is asked for where it can be
        let (decoder, from) = match from.id {
            CodecId::Opus => {
                let own = if matches!(rate, 8000 | 12_000 | 16_000 | 24_000) { rate } else { opus::RATE };
                let decoder = Decoder::opus(own, channels).map_err(ConvertError::Encoder)?;
                (Some(decoder), (from.id, own, channels))
            }
            id => (None, (id, from.rate, from.channels.clamp(1, 2))),
        };
        let resampler = match from.1 == rate {
            true => None,
            false => Some(Resampler::new(from.1, rate, channels).map_err(ConvertError::Rate)?),
        };
        let to = (to.id, rate, channels);
        let (pcm, resampled, bytes) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Convert { from, to, pcm, resampled, resampler, decoder, encoder, bytes, volume: 100 })
    }

    /// How loud it comes out, in hundredths of what comes in; never louder.
    pub fn set_volume(&mut self, percent: u8) {
        self.volume = percent.min(100);
    }

    /// The codec as it comes out, with what a decoder has to know.
    pub fn codec(&self) -> Codec {
        let (id, rate, channels) = self.to;
        let mut codec = match id {
            CodecId::Opus => Codec::new(id),
            _ => Codec::audio(id, rate, channels),
        };
        if let Some(encoder) = &self.encoder {
            codec.extra = Rc::from(encoder.config());
        }
        codec
    }

    /// Whether it is heavy enough for the worker.
    pub fn is_heavy(&self) -> bool {
        self.encoder.is_some() || self.decoder.is_some()
    }

    /// The rate of the samples that [`Convert::push`] counts in.
    pub fn rate(&self) -> u32 {
        self.to.1
    }

    /// Samples per channel by which the output is later than what was pushed.
    pub fn delay(&self) -> u32 {
        let resampler = self.resampler.as_ref().map_or(0, |r| r.delay() as u64);
        let resampler = resampler * u64::from(self.to.1) / u64::from(self.from.1.max(1));
        resampler as u32 + self.encoder.as_ref().map_or(0, |e| e.delay() + e.waiting())
    }

    /// Takes a block and calls `sink` for each frame that comes out, with its samples per channel.
    pub fn push(&mut self, data: &[u8], sink: &mut dyn FnMut(&[u8], u32)) -> Result<(), ConvertError> {
        if self.decoder.is_some() {
            return self.block(data, sink);
        }
        let width = sample_bytes(self.from.0) * usize::from(self.from.2);
        for block in data.chunks(BLOCK * width) {
            self.block(block, sink)?;
        }
        Ok(())
    }

    fn block(&mut self, data: &[u8], sink: &mut dyn FnMut(&[u8], u32)) -> Result<(), ConvertError> {
        let samples = data.len() / sample_bytes(self.from.0);
        let room = self.decoder.as_ref().map_or(samples * 2, Decoder::max_samples);
        if self.pcm.len() < room {
            self.pcm.resize(room, 0);
        }
        let decoded = match self.from.0 {
            CodecId::Opus => match &mut self.decoder {
                Some(decoder) => decoder.decode(data, &mut self.pcm).map_err(ConvertError::Encoder)?,
                None => 0,
            },
            CodecId::Pcma => Law::A.decode_all(data, &mut self.pcm),
            CodecId::Pcmu => Law::Mu.decode_all(data, &mut self.pcm),
            CodecId::L16 => pcm::from_be(data, &mut self.pcm),
            _ => pcm::from_le(data, &mut self.pcm),
        };
        let count = match (self.from.2, self.to.2) {
            (2, 1) => pcm::stereo_to_mono(self.pcm.get_mut(..decoded).unwrap_or_default()),
            (1, 2) => pcm::mono_to_stereo(&mut self.pcm, decoded),
            _ => decoded,
        };
        if self.volume < 100 {
            for sample in self.pcm.iter_mut().take(count) {
                *sample = (i32::from(*sample) * i32::from(self.volume) / 100) as i16;
            }
        }
        let pcm = self.pcm.get(..count).unwrap_or_default();
        let pcm = match &mut self.resampler {
            None => pcm,
            Some(resampler) => {
                let channels = usize::from(self.to.2);
                let room = resampler.max_output(count / channels) * channels;
                if self.resampled.len() < room {
                    self.resampled.resize(room, 0);
                }
                let (_, given) = resampler.process(pcm, &mut self.resampled);
                self.resampled.get(..given).unwrap_or_default()
            }
        };
        if pcm.is_empty() {
            return Ok(());
        }
        if let Some(encoder) = &mut self.encoder {
            return encoder.encode(pcm, &mut |p| sink(p.data, p.samples)).map_err(ConvertError::Encoder);
        }
        let len = pcm.len() * sample_bytes(self.to.0);
        if self.bytes.len() < len {
            self.bytes.resize(len, 0);
        }
        let out = self.bytes.get_mut(..len).unwrap_or_default();
        match self.to.0 {
            CodecId::Pcma => Law::A.encode_all(pcm, out),
            CodecId::Pcmu => Law::Mu.encode_all(pcm, out),
            CodecId::L16 => pcm::to_be(pcm, out),
            _ => pcm::to_le(pcm, out),
        };
        sink(out, (pcm.len() / usize::from(self.to.2)) as u32);
        Ok(())
    }
}

/// The rate at which Opus is fed; others are resampled to the next.
fn opus_rate(rate: u32) -> u32 {
    match rate {
        0..=8000 => 8000,
        8001..=16000 => 16000,
        16001..=24000 => 24000,
        _ => 48000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(from: &Codec, to: &Codec, data: &[u8]) -> (Vec<u8>, u32, u32) {
        let mut convert = Convert::new(from, to).unwrap();
        let (mut out, mut samples, mut frames) = (Vec::new(), 0, 0);
        for block in data.chunks(320) {
            let mut sink = |bytes: &[u8], n: u32| {
                out.extend_from_slice(bytes);
                samples += n;
                frames += 1;
            };
            convert.push(block, &mut sink).unwrap();
        }
        (out, samples, frames)
    }

    #[test]
    fn samples_go_from_every_codec_to_every_other() {
        let ids = [CodecId::Pcma, CodecId::Pcmu, CodecId::L16, CodecId::Pcml];
        for from in ids {
            for to in ids {
                for (channels, rate) in [(1, 8000), (2, 8000), (1, 16000), (2, 48000)] {
                    let second = vec![0x55; 8000 * sample_bytes(from)];
                    let target = Codec::audio(to, rate, channels);
                    let (bytes, samples, _) = run(&Codec::audio(from, 8000, 1), &target, &second);
                    assert_eq!(samples, rate, "{from} to {target}");
                    assert_eq!(bytes.len(), rate as usize * sample_bytes(to) * usize::from(channels));
                }
            }
        }
    }

    #[test]
    fn the_same_codec_passes_unchanged() {
        let data: Vec<u8> = (0..=255).collect();
        let codec = Codec::audio(CodecId::Pcmu, 8000, 1);
        let mut expected = data.clone();
        expected[127] = 255; // mu-law has two zeros, and one of them is enough
        assert_eq!(run(&codec, &codec, &data).0, expected);
    }

    #[test]
    fn what_cannot_be_is_said() {
        let pcm = Codec::audio(CodecId::Pcml, 16000, 1);
        assert_eq!(
            Convert::new(&Codec::new(CodecId::Mpa), &pcm).err(),
            Some(ConvertError::From(CodecId::Mpa))
        );
        assert_eq!(
            Convert::new(&pcm, &Codec::new(CodecId::G722)).err(),
            Some(ConvertError::To(CodecId::G722))
        );
    }

    #[cfg(feature = "opus")]
    #[test]
    fn opus_packets_last_twenty_milliseconds() {
        let second = vec![0; 16000 * 2];
        let (_, samples, frames) =
            run(&Codec::audio(CodecId::Pcml, 16000, 1), &Codec::new(CodecId::Opus), &second);
        assert_eq!((samples, frames), (16000, 50));
    }

    #[cfg(feature = "opus")]
    #[test]
    fn opus_becomes_samples_of_any_speaker() {
        let mut packets: Vec<Vec<u8>> = Vec::new();
        let mut encoder = Encoder::opus(16_000, 1, 24_000, 20).unwrap();
        let tone = encode::tests::tone(16_000, 1, 440.0, 16_000);
        encoder.encode(&tone, &mut |p| packets.push(p.data.to_vec())).unwrap();
        for to in [
            Codec::audio(CodecId::Pcma, 8000, 1),
            Codec::audio(CodecId::Pcml, 16_000, 1),
            Codec::audio(CodecId::L16, 44_100, 2),
            Codec::audio(CodecId::Pcml, 32_000, 1),
        ] {
            let mut peaks = [0, 0];
            for (volume, peak) in [100, 25].into_iter().zip(&mut peaks) {
                let mut convert = Convert::new(&Codec::new(CodecId::Opus), &to).unwrap();
                convert.set_volume(volume);
                assert!(convert.is_heavy());
                let mut count = 0;
                for packet in &packets {
                    let mut back = [0; 8192];
                    let mut sink = |bytes: &[u8], samples: u32| {
                        count += samples;
                        let n = match to.id {
                            CodecId::Pcma => Law::A.decode_all(bytes, &mut back),
                            CodecId::L16 => pcm::from_be(bytes, &mut back),
                            _ => pcm::from_le(bytes, &mut back),
                        };
                        *peak = back[..n].iter().map(|s| i32::from(*s).abs()).max().unwrap().max(*peak);
                    };
                    convert.push(packet, &mut sink).unwrap();
                }
                assert!(count.abs_diff(to.rate) <= to.rate / 50, "{to}: {count}");
                assert!(convert.push(&[3], &mut |_, _| ()).is_err(), "a damaged packet is an error");
            }
            assert!(peaks[0] > 7000 && peaks[1] * 3 < peaks[0], "{to}: {peaks:?}");
        }
    }

    #[cfg(feature = "aac")]
    #[test]
    fn aac_says_what_a_decoder_needs() {
        let from = Codec::audio(CodecId::Pcml, 16000, 1);
        let convert = Convert::new(&from, &Codec::audio(CodecId::Aac, 16000, 1)).unwrap();
        assert_eq!(&*convert.codec().extra, &[0x14, 0x08]);
    }
}
