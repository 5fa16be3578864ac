//! WAV: 16-bit PCM, A-law and mu-law. The reader takes the header from a stream as it grows and
//! keeps nothing of it; the writer makes a header for a known length or for a stream without end.
//! Samples themselves do not pass through here.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::fmt;

/// How the samples are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// 16-bit, little-endian.
    Pcm16,
    /// G.711 A-law.
    Alaw,
    /// G.711 mu-law.
    Mulaw,
}

impl Format {
    /// Bytes of one sample of one channel.
    pub const fn bytes(self) -> u16 {
        match self {
            Format::Pcm16 => 2,
            Format::Alaw | Format::Mulaw => 1,
        }
    }

    const fn tag(self) -> u16 {
        match self {
            Format::Pcm16 => 1,
            Format::Alaw => 6,
            Format::Mulaw => 7,
        }
    }
}

/// What is wrong with a WAV file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// It does not begin with RIFF and WAVE.
    NotWav,
    /// A format chunk that is too short, or with no channel or no rate.
    Format,
    /// A coding that is not one of ours.
    Unsupported {
        /// The format tag.
        tag: u16,
        /// Bits per sample.
        bits: u16,
    },
    /// Samples begin before their format is told.
    NoFormat,
    /// More than [`MAX_HEADER`] bytes before the samples.
    TooLong,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotWav => f.write_str("not a WAV file"),
            Error::Format => f.write_str("WAV file with a damaged format chunk"),
            Error::Unsupported { tag, bits } => {
                write!(f, "WAV format {tag} with {bits} bits; 16-bit PCM, A-law and mu-law are supported")
            }
            Error::NoFormat => f.write_str("WAV file whose samples begin before their format"),
            Error::TooLong => f.write_str("WAV file with too much before its samples"),
        }
    }
}

impl std::error::Error for Error {}

/// The most that may stand before the samples: a picture in a LIST chunk fits.
pub const MAX_HEADER: u64 = 1 << 20;

/// What a WAV file says before its samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Coding.
    pub format: Format,
    /// Sampling rate.
    pub rate: u32,
    /// Channels, interleaved.
    pub channels: u16,
    /// Bytes of samples; `None` until the stream ends.
    pub data: Option<u32>,
}

/// The second half of every subformat identifier, behind its tag.
const GUID_TAIL: [u8; 14] = [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71];

impl Header {
    /// The longest header that [`Header::emit`] writes.
    pub const MAX: usize = 58;

    /// Writes the header and gives its length, 44 for PCM, 58 for the others. Without a length it
    /// says the greatest there is, which players take as "until the end".
    pub fn emit(&self) -> ([u8; Header::MAX], usize) {
        let mut out = [0; Header::MAX];
        let block = self.channels.wrapping_mul(self.format.bytes());
        let pcm = self.format == Format::Pcm16;
        let len: u32 = if pcm { 44 } else { 58 };
        let data = self.data.unwrap_or(u32::MAX);
        let padded = data.saturating_add(data & 1);
        let frames = match self.data {
            Some(n) => n / u32::from(block.max(1)),
            None => u32::MAX,
        };
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            if let Some(to) = out.get_mut(at..at + bytes.len()) {
                to.copy_from_slice(bytes);
                at += bytes.len();
            }
        };
        put(b"RIFF");
        put(&padded.saturating_add(len - 8).to_le_bytes());
        put(b"WAVEfmt ");
        put(&(if pcm { 16u32 } else { 18 }).to_le_bytes());
        put(&self.format.tag().to_le_bytes());
        put(&self.channels.to_le_bytes());
        put(&self.rate.to_le_bytes());
        put(&self.rate.wrapping_mul(u32::from(block)).to_le_bytes());
        put(&block.to_le_bytes());
        put(&(self.format.bytes() * 8).to_le_bytes());
        if !pcm {
            put(&[0, 0]);
            put(b"fact\x04\0\0\0");
            put(&frames.to_le_bytes());
        }
        put(b"data");
        put(&data.to_le_bytes());
        (out, len as usize)
    }

    /// The body of a format chunk, of which at most 40 bytes are looked at.
    fn format(body: &[u8]) -> Result<Header, Error> {
        let Some(&[t0, t1, c0, c1, r0, r1, r2, r3, _, _, _, _, _, _, b0, b1]) = body.first_chunk::<16>()
        else {
            return Err(Error::Format);
        };
        let mut tag = u16::from_le_bytes([t0, t1]);
        let bits = u16::from_le_bytes([b0, b1]);
        let channels = u16::from_le_bytes([c0, c1]);
        let rate = u32::from_le_bytes([r0, r1, r2, r3]);
        if tag == 0xfffe {
            // Extensible: the true tag leads the subformat, behind valid bits and channel mask.
            match body.get(24..40).and_then(|guid| guid.split_first_chunk::<2>()) {
                Some((&inner, tail)) if tail == GUID_TAIL => tag = u16::from_le_bytes(inner),
                Some(_) => return Err(Error::Unsupported { tag, bits }),
                None => return Err(Error::Format),
            }
        }
        let format = match (tag, bits) {
            (1, 16) => Format::Pcm16,
            (6, 8) => Format::Alaw,
            (7, 8) => Format::Mulaw,
            _ => return Err(Error::Unsupported { tag, bits }),
        };
        if channels == 0 || rate == 0 {
            return Err(Error::Format);
        }
        Ok(Header { format, rate, channels, data: None })
    }
}

/// Reads the header from a growing buffer.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    begun: bool,
    format: Option<Header>,
    /// Bytes of a chunk of no interest that are still to come.
    skip: u64,
    seen: u64,
}

impl Reader {
    /// The most that a caller has to hold for [`Reader::read`] to get on.
    pub const ROOM: usize = 48;

    /// Looks at `buf`, the bytes not yet consumed, and gives how many of them to drop; and the
    /// header, once the next byte after those is the first of the samples. Without a header call
    /// again with at least one more byte behind what remains.
    pub fn read(&mut self, buf: &[u8]) -> Result<(usize, Option<Header>), Error> {
        let mut rest = buf;
        loop {
            let skip = self.skip.min(rest.len() as u64) as usize;
            rest = rest.get(skip..).unwrap_or(&[]);
            self.skip -= skip as u64;
            let used = buf.len() - rest.len();
            if self.skip > 0 {
                return Ok((used, None));
            }
            if !self.begun {
                // Told at the first wrong byte, so that garbage is not waited for.
                let (riff, wave) = (rest.get(..4.min(rest.len())), rest.get(8..12.min(rest.len())));
                let good = riff.is_some_and(|r| b"RIFF".starts_with(r) || b"RF64".starts_with(r))
                    && wave.is_none_or(|w| b"WAVE".starts_with(w));
                if !good {
                    return Err(Error::NotWav);
                }
                if rest.len() < 12 {
                    return Ok((used, None));
                }
                (self.begun, self.skip) = (true, 12);
                continue;
            }
            let Some((&[a, b, c, d, s0, s1, s2, s3], body)) = rest.split_first_chunk::<8>() else {
                return Ok((used, None));
            };
            let size = u32::from_le_bytes([s0, s1, s2, s3]);
            match &[a, b, c, d] {
                b"data" => {
                    let mut header = self.format.ok_or(Error::NoFormat)?;
                    header.data = (size != 0 && size != u32::MAX).then_some(size);
                    return Ok((used + 8, Some(header)));
                }
                b"fmt " => {
                    let look = size.min(40) as usize;
                    let Some(body) = body.get(..look) else { return Ok((used, None)) };
                    self.format = Some(Header::format(body)?);
                }
                _ => {}
            }
            // Chunks begin at even places.
            self.skip = 8 + u64::from(size) + u64::from(size & 1);
            self.seen += self.skip;
            if self.seen > MAX_HEADER {
                return Err(Error::TooLong);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::testing::Rng;

    fn chunk(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let mut c = [&name[..], &(body.len() as u32).to_le_bytes(), body].concat();
        c.resize(c.len() + body.len() % 2, 0);
        c
    }

    /// Feeds a file in pieces and gives header and place of the samples.
    fn read(file: &[u8], piece: usize) -> Result<Option<(Header, usize)>, Error> {
        let (mut reader, mut buf, mut used) = (Reader::default(), vec![], 0);
        for piece in file.chunks(piece) {
            buf.extend_from_slice(piece);
            let (n, header) = reader.read(&buf)?;
            used += n;
            buf.drain(..n);
            if let Some(header) = header {
                return Ok(Some((header, used)));
            }
            assert!(buf.len() < Reader::ROOM);
        }
        Ok(None)
    }

    #[test]
    fn what_is_written_reads_back_byte_by_byte() {
        for format in [Format::Pcm16, Format::Alaw, Format::Mulaw] {
            for (rate, channels, data) in [(8000, 1, Some(1234)), (48000, 2, None), (16000, 1, Some(7))] {
                let header = Header { format, rate, channels, data };
                let (bytes, len) = header.emit();
                for piece in [1, 5, 100] {
                    assert_eq!(read(&bytes[..len], piece), Ok(Some((header, len))));
                }
                for n in 0..len {
                    assert_eq!(read(&bytes[..n], 3), Ok(None));
                }
            }
        }
    }

    #[test]
    fn the_plain_header_is_the_one_everybody_writes() {
        let header = Header { format: Format::Pcm16, rate: 16000, channels: 1, data: Some(32000) };
        let known =
            b"RIFF\x24\x7d\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data\0\x7d\0\0";
        assert_eq!(&header.emit().0[..44], known);
    }

    #[test]
    fn other_chunks_are_skipped_however_long() {
        let format = [7, 0, 1, 0, 0x40, 0x1f, 0, 0, 0x40, 0x1f, 0, 0, 1, 0, 8, 0, 0, 0];
        let file = [
            b"RIFF\xff\xff\xff\xffWAVE".to_vec(),
            chunk(b"LIST", &[1; 70_001]),
            chunk(b"fmt ", &format),
            chunk(b"fact", &[0; 4]),
            chunk(b"odd ", &[5]),
            b"data\xff\xff\xff\xff".to_vec(),
        ]
        .concat();
        let header = Header { format: Format::Mulaw, rate: 8000, channels: 1, data: None };
        for piece in [1, 1000, 100_000] {
            assert_eq!(read(&file, piece), Ok(Some((header, file.len()))));
        }
        let long = [b"RIFF\0\0\0\0WAVE".to_vec(), b"LIST\0\0\x11\0".to_vec()].concat();
        assert_eq!(read(&long, 100), Err(Error::TooLong));
    }

    #[test]
    fn the_extensible_form_is_read_by_its_subformat() {
        let mut body =
            vec![0xfe, 0xff, 2, 0, 0x80, 0xbb, 0, 0, 0, 0xee, 2, 0, 4, 0, 16, 0, 22, 0, 16, 0, 3, 0, 0, 0];
        body.extend([1, 0]);
        body.extend(GUID_TAIL);
        let file = |body: &[u8]| {
            [b"RIFF\0\0\0\0WAVE".to_vec(), chunk(b"fmt ", body), b"data\0\0\0\0".to_vec()].concat()
        };
        let header = Header { format: Format::Pcm16, rate: 48000, channels: 2, data: None };
        assert_eq!(read(&file(&body), 9).unwrap().unwrap().0, header);
        body[24] = 3; // floats
        assert_eq!(read(&file(&body), 9), Err(Error::Unsupported { tag: 3, bits: 16 }));
        body[30] = 1;
        assert_eq!(read(&file(&body), 9), Err(Error::Unsupported { tag: 0xfffe, bits: 16 }));
        assert_eq!(read(&file(&body[..30]), 9), Err(Error::Format));
    }

    #[test]
    fn what_is_no_wav_is_told_at_once() {
        assert_eq!(read(b"\xff\xf1", 1), Err(Error::NotWav));
        assert_eq!(read(b"RIFF\0\0\0\0AVI ", 1), Err(Error::NotWav));
        assert_eq!(read(b"RIFF\0\0\0\0WAVEdata\0\0\0\0", 1), Err(Error::NoFormat));
        assert_eq!(read(b"RIFF\0\0\0\0WAVEfmt \x04\0\0\0abcd", 1), Err(Error::Format));
    }

    #[test]
    fn damaged_headers_never_panic() {
        let mut rng = Rng::new(3);
        let header = Header { format: Format::Alaw, rate: 8000, channels: 1, data: Some(4) };
        for _ in 0..50_000 {
            let (mut bytes, len) = header.emit();
            for _ in 0..1 + rng.below(4) {
                bytes[rng.below(len)] = rng.next() as u8;
            }
            let _ = read(&bytes[..len], 1 + rng.below(60));
        }
    }
}
