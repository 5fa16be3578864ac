//! The software codecs of sound, for the worker thread: 16-bit samples in, packets out, and back
//! for talking. An encoder keeps what does not fill a packet yet, allocates nothing per packet and
//! says how many samples it is late.
//!
//! Opus and AAC are features; without one its constructor says so. Nothing here resamples: that is
//! [`super::pcm::Resampler`], before an encoder and after a decoder.

#[cfg(feature = "aac")]
mod aac;
#[cfg(feature = "opus")]
mod opus;

use std::fmt;

/// Why a codec cannot be had or has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The feature of this name is not compiled in.
    Missing(&'static str),
    /// The codec does not know this sampling rate.
    Rate(u32),
    /// Neither mono nor stereo.
    Channels(u8),
    /// A bitrate outside what the codec can do.
    Bitrate(u32),
    /// A packet time other than 20, 40 or 60 ms.
    PacketTime(u32),
    /// A packet that is not one of this codec.
    Packet,
    /// No room for the decoded sound.
    Room,
    /// The codec has failed inside.
    Codec,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Missing(feature) => write!(f, "this streamd is built without the feature `{feature}`"),
            Error::Rate(r) => write!(f, "the codec cannot take {r} Hz"),
            Error::Channels(c) => write!(f, "the codec takes one or two channels, not {c}"),
            Error::Bitrate(b) => write!(f, "the codec cannot make {b} bit/s"),
            Error::PacketTime(ms) => write!(f, "a packet lasts 20, 40 or 60 ms, not {ms}"),
            Error::Packet => f.write_str("a packet is damaged"),
            Error::Room => f.write_str("no room for the decoded sound"),
            Error::Codec => f.write_str("the codec has failed"),
        }
    }
}

impl std::error::Error for Error {}

/// One encoded packet, valid until the callback returns.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Opus packet or AAC access unit.
    pub data: &'a [u8],
    /// Samples per channel that it stands for, at the encoder's rate.
    pub samples: u32,
}

enum EncoderKind {
    #[cfg(feature = "opus")]
    Opus(opus::Encoder),
    #[cfg(feature = "aac")]
    Aac(Box<aac::Encoder>),
}

/// An encoder of mono or interleaved stereo sound. Moves to the worker thread.
pub struct Encoder {
    kind: EncoderKind,
    rate: u32,
    channels: u8,
    /// What does not fill a packet yet; its capacity is one packet.
    pending: Vec<i16>,
    frame: usize,
}

impl Encoder {
    /// Opus at 8, 12, 16, 24 or 48 kHz, in packets of 20, 40 or 60 ms.
    #[cfg(feature = "opus")]
    pub fn opus(rate: u32, channels: u8, bitrate: u32, packet_ms: u32) -> Result<Encoder, Error> {
        check_channels(channels)?;
        if !matches!(packet_ms, 20 | 40 | 60) {
            return Err(Error::PacketTime(packet_ms));
        }
        let kind = EncoderKind::Opus(opus::Encoder::new(rate, channels, bitrate)?);
        Ok(Encoder::with(kind, rate, channels, rate / 1000 * packet_ms))
    }

    /// Opus is not compiled in.
    #[cfg(not(feature = "opus"))]
    pub fn opus(_: u32, _: u8, _: u32, _: u32) -> Result<Encoder, Error> {
        Err(Error::Missing("opus"))
    }

    /// AAC-LC at 8 to 48 kHz, 1024 samples per access unit.
    #[cfg(feature = "aac")]
    pub fn aac(rate: u32, channels: u8, bitrate: u32) -> Result<Encoder, Error> {
        check_channels(channels)?;
        let kind = EncoderKind::Aac(Box::new(aac::Encoder::new(rate, channels, bitrate)?));
        Ok(Encoder::with(kind, rate, channels, 1024))
    }

    /// AAC is not compiled in.
    #[cfg(not(feature = "aac"))]
    pub fn aac(_: u32, _: u8, _: u32) -> Result<Encoder, Error> {
        Err(Error::Missing("aac"))
    }

    #[cfg(any(feature = "opus", feature = "aac"))]
    fn with(kind: EncoderKind, rate: u32, channels: u8, samples: u32) -> Encoder {
        let frame = samples as usize * usize::from(channels);
        Encoder { kind, rate, channels, pending: Vec::with_capacity(frame), frame }
    }

    /// Sampling rate of its input.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// Channels of its input.
    pub fn channels(&self) -> u8 {
        self.channels
    }

    /// Samples per channel in each packet.
    pub fn packet_samples(&self) -> u32 {
        (self.frame / usize::from(self.channels.max(1))) as u32
    }

    /// Samples per channel by which the sound comes out of a decoder late: a packet's sound is that
    /// many samples older than the samples it was made from.
    pub fn delay(&self) -> u32 {
        match &self.kind {
            #[cfg(feature = "opus")]
            EncoderKind::Opus(e) => e.delay(),
            #[cfg(feature = "aac")]
            EncoderKind::Aac(_) => aac::DELAY,
            #[cfg(not(any(feature = "opus", feature = "aac")))]
            _ => 0,
        }
    }

    /// Samples per channel that wait for their packet to be full.
    pub fn waiting(&self) -> u32 {
        (self.pending.len() / usize::from(self.channels.max(1))) as u32
    }

    /// What a decoder has to know first: AAC's AudioSpecificConfig, nothing for Opus.
    pub fn config(&self) -> &[u8] {
        match &self.kind {
            #[cfg(feature = "aac")]
            EncoderKind::Aac(e) => e.config(),
            #[allow(unreachable_patterns)]
            _ => &[],
        }
    }

    /// Takes samples and calls `sink` for each packet that they fill.
    pub fn encode(&mut self, pcm: &[i16], sink: &mut dyn FnMut(Packet<'_>)) -> Result<(), Error> {
        let mut rest = pcm;
        while !rest.is_empty() {
            let take = (self.frame - self.pending.len()).min(rest.len());
            let (now, later) = rest.split_at(take);
            self.pending.extend_from_slice(now);
            rest = later;
            if self.pending.len() == self.frame {
                let done = self.packet(sink);
                self.pending.clear();
                done?;
            }
        }
        Ok(())
    }

    fn packet(&mut self, sink: &mut dyn FnMut(Packet<'_>)) -> Result<(), Error> {
        #[allow(unused_variables)]
        let samples = self.packet_samples();
        match &mut self.kind {
            #[cfg(feature = "opus")]
            EncoderKind::Opus(e) => sink(Packet { data: e.encode(&self.pending)?, samples }),
            #[cfg(feature = "aac")]
            EncoderKind::Aac(e) => e.encode(&self.pending, &mut |data| sink(Packet { data, samples }))?,
            #[cfg(not(any(feature = "opus", feature = "aac")))]
            _ => {
                let _ = sink;
            }
        }
        #[allow(unreachable_code)]
        Ok(())
    }
}

/// A decoder of Opus, for sound that is sent to the speaker. Moves to the worker thread.
pub struct Decoder {
    #[cfg(feature = "opus")]
    inner: opus::Decoder,
    #[cfg(not(feature = "opus"))]
    never: std::convert::Infallible,
}

#[cfg(feature = "opus")]
impl Decoder {
    /// Opus to 8, 12, 16, 24 or 48 kHz, mono or interleaved stereo, whatever the packets hold.
    pub fn opus(rate: u32, channels: u8) -> Result<Decoder, Error> {
        check_channels(channels)?;
        Ok(Decoder { inner: opus::Decoder::new(rate, channels)? })
    }

    /// Samples in all channels of the longest packet, 120 ms: the room that is always enough.
    pub fn max_samples(&self) -> usize {
        self.inner.max_samples()
    }

    /// Decodes one packet and says how many samples that makes, over all channels.
    pub fn decode(&mut self, packet: &[u8], out: &mut [i16]) -> Result<usize, Error> {
        self.inner.decode(packet, out)
    }

    /// Fills the whole of `out`, a packet's worth (10, 20, 40 or 60 ms), with what a lost packet may
    /// have held.
    pub fn conceal(&mut self, out: &mut [i16]) -> Result<usize, Error> {
        self.inner.conceal(out)
    }
}

#[cfg(not(feature = "opus"))]
impl Decoder {
    /// Opus is not compiled in.
    pub fn opus(_: u32, _: u8) -> Result<Decoder, Error> {
        Err(Error::Missing("opus"))
    }

    /// There is none.
    pub fn max_samples(&self) -> usize {
        match self.never {}
    }

    /// There is none.
    pub fn decode(&mut self, _: &[u8], _: &mut [i16]) -> Result<usize, Error> {
        match self.never {}
    }

    /// There is none.
    pub fn conceal(&mut self, _: &mut [i16]) -> Result<usize, Error> {
        match self.never {}
    }
}

#[cfg(any(feature = "opus", feature = "aac"))]
fn check_channels(channels: u8) -> Result<(), Error> {
    if matches!(channels, 1 | 2) { Ok(()) } else { Err(Error::Channels(channels)) }
}

#[cfg(test)]
#[allow(clippy::float_arithmetic)]
pub(crate) mod tests {
    use super::*;

    /// A tone for tests.
    #[allow(dead_code)]
    pub fn tone(rate: u32, channels: u8, hz: f64, samples: usize) -> Vec<i16> {
        (0..samples * usize::from(channels))
            .map(|i| {
                let t = (i / usize::from(channels)) as f64 / f64::from(rate);
                (10_000.0 * (2.0 * std::f64::consts::PI * hz * t).sin()) as i16
            })
            .collect()
    }

    #[test]
    fn codecs_move_to_a_worker() {
        fn send<T: Send + 'static>() {}
        send::<Encoder>();
        send::<Decoder>();
    }

    #[test]
    #[cfg(not(feature = "opus"))]
    fn without_opus_the_error_names_the_feature() {
        assert_eq!(Encoder::opus(16000, 1, 24000, 20).err(), Some(Error::Missing("opus")));
        assert_eq!(Decoder::opus(16000, 1).err(), Some(Error::Missing("opus")));
        assert!(Error::Missing("opus").to_string().contains("opus"));
    }

    #[test]
    #[cfg(not(feature = "aac"))]
    fn without_aac_the_error_names_the_feature() {
        assert_eq!(Encoder::aac(16000, 1, 24000).err(), Some(Error::Missing("aac")));
    }
}
