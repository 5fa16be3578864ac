//! The two ways NAL units lie one behind the other: as a byte stream with start codes (Annex B),
//! and each behind its 32-bit big-endian length. Iterating, converting either way, in place where
//! the bytes allow it, and cutting a raw byte stream into access units. Runs over every frame, so
//! the search reads every third byte. Nothing here knows what is inside a unit beyond its kind.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::bits::trim_zeros;
use super::nal::NalCodec;

const START: [u8; 4] = [0, 0, 0, 1];

/// Where the next `00 00 01` at or after `from` begins.
pub fn find_start(data: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    // The third byte of a start code is 1: any larger value rules out three positions at once.
    while let Some(&third) = data.get(at.checked_add(2)?) {
        if third > 1 {
            at += 3;
        } else if third == 1 {
            if data.get(at..at + 2) == Some(&[0, 0]) {
                return Some(at);
            }
            at += 3;
        } else {
            at += 1;
        }
    }
    None
}

/// The NAL units of an Annex B byte stream, without start codes and trailing zeros; empty ones and
/// whatever stands before the first start code are passed over.
pub fn nals(data: &[u8]) -> Nals<'_> {
    let rest = find_start(data, 0).and_then(|at| data.get(at + 3..)).unwrap_or_default();
    Nals { rest }
}

/// See [`nals`].
#[derive(Clone, Debug)]
pub struct Nals<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Nals<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let data = self.rest;
            let nal = match find_start(data, 0) {
                Some(at) => {
                    self.rest = data.get(at + 3..).unwrap_or_default();
                    data.get(..at).unwrap_or_default()
                }
                None => std::mem::take(&mut self.rest),
            };
            let nal = trim_zeros(nal);
            if !nal.is_empty() {
                return Some(nal);
            }
        }
        None
    }
}

/// The NAL units of a sequence in which each stands behind its 32-bit length. Ends where a length
/// points past the end; empty units are passed over.
pub fn lengths(data: &[u8]) -> Lengths<'_> {
    Lengths { rest: data }
}

/// See [`lengths`].
#[derive(Clone, Debug)]
pub struct Lengths<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Lengths<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let (len, rest) = self.rest.split_first_chunk::<4>()?;
            let Some((nal, rest)) = rest.split_at_checked(u32::from_be_bytes(*len) as usize) else {
                self.rest = &[];
                return None;
            };
            self.rest = rest;
            if !nal.is_empty() {
                return Some(nal);
            }
        }
    }
}

/// Appends `nal` behind its length.
pub fn push_with_length(nal: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(nal.len() as u32).to_be_bytes());
    out.extend_from_slice(nal);
}

/// Appends `nal` behind a start code of four bytes.
pub fn push_with_start(nal: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&START);
    out.extend_from_slice(nal);
}

/// Appends the units of an Annex B byte stream, each behind its length.
pub fn to_lengths(annexb: &[u8], out: &mut Vec<u8>) {
    for nal in nals(annexb) {
        push_with_length(nal, out);
    }
}

/// Appends length-prefixed units as an Annex B byte stream; false if a length lied, after the units
/// before the lie.
pub fn from_lengths(data: &[u8], out: &mut Vec<u8>) -> bool {
    let mut units = lengths(data);
    let mut used = 0;
    while let Some(nal) = units.next() {
        push_with_start(nal, out);
        used = data.len() - units.rest.len();
    }
    // Empty units at the end leave nothing but zeros.
    data.get(used..).is_some_and(|rest| rest.len().is_multiple_of(4) && rest.iter().all(|&b| b == 0))
}

/// Turns an Annex B byte stream into length-prefixed units where it lies. Only possible if every
/// start code has four bytes and no zeros stand between units; else false, and nothing is changed.
pub fn to_lengths_in_place(data: &mut [u8]) -> bool {
    if data.get(..4) != Some(&START) {
        return false;
    }
    let mut header = 0;
    loop {
        let body = header + 4;
        let next = find_start(data, body);
        // Where the unit ends: a start code is `00` and then what was found.
        let end = match next {
            Some(at) if at > body && data.get(at - 1) == Some(&0) => at - 1,
            Some(_) => break,
            None => data.len(),
        };
        if end <= body || data.get(end - 1) == Some(&0) {
            break;
        }
        let Ok(len) = u32::try_from(end - body) else { break };
        set_header(data, header, len.to_be_bytes());
        if next.is_none() {
            return true;
        }
        header = end;
    }
    // Put back what was overwritten.
    let mut at = 0;
    while at < header {
        let Some(len) = data.get(at..).and_then(|d| d.first_chunk::<4>()).map(|b| u32::from_be_bytes(*b))
        else {
            break;
        };
        set_header(data, at, START);
        at += 4 + len as usize;
    }
    false
}

/// Turns length-prefixed units into an Annex B byte stream where they lie; false, and nothing
/// changed, if the lengths do not end where the data ends.
pub fn from_lengths_in_place(data: &mut [u8]) -> bool {
    let mut end = 0usize;
    while end < data.len() {
        let Some(len) = length_at(data, end) else { return false };
        match end.checked_add(4).and_then(|e| e.checked_add(len)) {
            Some(next) if next <= data.len() => end = next,
            _ => return false,
        }
    }
    let mut at = 0;
    while at < data.len() {
        let Some(len) = length_at(data, at) else { break };
        set_header(data, at, START);
        at += 4 + len;
    }
    true
}

fn length_at(data: &[u8], at: usize) -> Option<usize> {
    data.get(at..)?.first_chunk::<4>().map(|b| u32::from_be_bytes(*b) as usize)
}

fn set_header(data: &mut [u8], at: usize, bytes: [u8; 4]) {
    if let Some(header) = data.get_mut(at..).and_then(|d| d.first_chunk_mut::<4>()) {
        *header = bytes;
    }
}

/// Tells H.264 from H.265 by the first bytes of a byte stream: None until a parameter set or a
/// delimiter has been seen.
pub fn detect(data: &[u8]) -> Option<NalCodec> {
    nals(data).find_map(|nal| match *nal {
        // H.265: the second byte of VPS, SPS, PPS and delimiter says layer 0, temporal id 0. As
        // H.264 the first byte would be a partition or an unspecified type.
        [0x40 | 0x42 | 0x44 | 0x46, 0x01, ..] => Some(NalCodec::H265),
        // H.264: an SPS is always referenced; its second byte is one of the profiles.
        [0x27 | 0x47 | 0x67, 44 | 66 | 77 | 83 | 86 | 88 | 100 | 110 | 118 | 122 | 128 | 244, ..] => {
            Some(NalCodec::H264)
        }
        [0x09, b] if b & 0x1f == 0x10 => Some(NalCodec::H264),
        _ => None,
    })
}

/// Cuts a raw byte stream, given in chunks of any size, into access units. A unit is known to be
/// whole when the next one begins. Holds at most `max` bytes: a unit that is longer is thrown away
/// and counted.
#[derive(Debug)]
pub struct AccessUnits {
    codec: NalCodec,
    max: usize,
    buffer: Vec<u8>,
    /// Bytes at the front that have been handed out.
    given: usize,
    /// Start codes have been looked for up to here.
    seen: usize,
    /// Where the present unit has its first byte that may belong to the next one.
    maybe: Option<usize>,
    /// The present unit has a slice.
    picture: bool,
    /// Inside a unit that was too long.
    skipping: bool,
    dropped: u32,
}

/// Whether a NAL unit is the start of a new access unit, once the present one has its picture.
enum Boundary {
    No,
    /// If no more slices of the same picture follow.
    Maybe,
    Yes,
}

impl AccessUnits {
    /// A splitter that holds at most `max` bytes, at least 64.
    pub fn new(codec: NalCodec, max: usize) -> AccessUnits {
        AccessUnits {
            codec,
            max: max.max(64),
            buffer: Vec::new(),
            given: 0,
            seen: 0,
            maybe: None,
            picture: false,
            skipping: false,
            dropped: 0,
        }
    }

    /// Units that were thrown away because they were longer than the bound.
    pub fn dropped(&self) -> u32 {
        self.dropped
    }

    /// Takes as much of `chunk` as there is room for and says how much. Call [`AccessUnits::next_unit`]
    /// until it has nothing, then push the rest: there is always room then.
    pub fn push(&mut self, chunk: &[u8]) -> usize {
        self.forget_given();
        let n = chunk.len().min(self.max.saturating_sub(self.buffer.len()));
        self.buffer.extend_from_slice(chunk.get(..n).unwrap_or_default());
        n
    }

    /// The next whole access unit as an Annex B byte stream.
    pub fn next_unit(&mut self) -> Option<&[u8]> {
        self.forget_given();
        let end = loop {
            match self.boundary() {
                Some(end) if self.skipping => {
                    self.skipping = false;
                    self.given = end;
                    self.forget_given();
                }
                Some(end) => break end,
                None => {
                    if self.buffer.len() >= self.max {
                        self.overflow();
                    }
                    return None;
                }
            }
        };
        self.given = end;
        self.buffer.get(..end)
    }

    /// What is left when the stream has ended (or is known to rest between two pictures).
    pub fn finish(&mut self) -> Option<&[u8]> {
        self.forget_given();
        let whole = self.picture || find_start(&self.buffer, 0).is_some();
        self.given = self.buffer.len();
        (self.maybe, self.picture) = (None, false);
        self.seen = self.given;
        if std::mem::take(&mut self.skipping) || !whole { None } else { Some(&self.buffer) }
    }

    fn forget_given(&mut self) {
        let n = std::mem::take(&mut self.given);
        if n > 0 {
            self.buffer.drain(..n);
            self.seen = self.seen.saturating_sub(n);
            self.maybe = None;
        }
    }

    fn overflow(&mut self) {
        if !self.skipping {
            self.dropped = self.dropped.saturating_add(1);
        }
        self.skipping = true;
        // As if a slice had been seen, so that the next picture's first unit ends the skipping. Four
        // bytes may be a start code with its header to come.
        self.picture = true;
        self.maybe = None;
        let keep = self.buffer.len().min(6);
        self.given = self.buffer.len() - keep;
        self.seen = self.seen.max(self.given);
        self.forget_given();
    }

    /// Looks on from where it stopped; where the present unit ends.
    fn boundary(&mut self) -> Option<usize> {
        loop {
            let Some(code) = find_start(&self.buffer, self.seen) else {
                // The last two bytes may begin a start code.
                self.seen = self.seen.max(self.buffer.len().saturating_sub(2));
                return None;
            };
            self.seen = code;
            // Header and first byte of the payload must be here to judge.
            let nal = self.buffer.get(code + 3..)?;
            if nal.len() <= self.codec.header_len() {
                return None;
            }
            let begin = if code > 0 && self.buffer.get(code - 1) == Some(&0) { code - 1 } else { code };
            let (slice, boundary) = judge(self.codec, nal);
            if self.picture {
                match boundary {
                    Boundary::Yes => {
                        let end = self.maybe.take().unwrap_or(begin);
                        self.picture = false;
                        // Read this unit again as part of the next access unit.
                        self.seen = end;
                        return Some(end);
                    }
                    Boundary::Maybe => self.maybe = self.maybe.or(Some(begin)),
                    Boundary::No if slice => self.maybe = None,
                    Boundary::No => {}
                }
            }
            self.picture |= slice;
            self.seen = code + 3;
        }
    }
}

/// Whether `nal` is a slice, and whether it begins an access unit.
fn judge(codec: NalCodec, nal: &[u8]) -> (bool, Boundary) {
    let first = nal.first().copied().unwrap_or_default();
    match codec {
        NalCodec::H264 => match first & 0x1f {
            1 | 2 | 5 if codec.begins_picture(nal) => (true, Boundary::Yes),
            1..=5 => (true, Boundary::No),
            7..=9 => (false, Boundary::Yes),
            6 | 14..=18 => (false, Boundary::Maybe),
            _ => (false, Boundary::No),
        },
        NalCodec::H265 => match (first >> 1) & 0x3f {
            0..=31 if codec.begins_picture(nal) => (true, Boundary::Yes),
            0..=31 => (true, Boundary::No),
            32..=35 => (false, Boundary::Yes),
            39 | 41..=44 | 48..=55 => (false, Boundary::Maybe),
            _ => (false, Boundary::No),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::bits::testing::*;
    use super::*;

    /// The plain way to find start codes.
    fn slow(data: &[u8]) -> Option<usize> {
        data.windows(3).position(|w| w == [0, 0, 1])
    }

    #[test]
    fn start_codes_are_found_wherever_they_stand() {
        let mut rng = Rng::new(1);
        for _ in 0..20_000 {
            let data: Vec<u8> = (0..rng.below(14)).map(|_| [0, 0, 1, 7][rng.below(4)]).collect();
            assert_eq!(find_start(&data, 0), slow(&data), "{data:?}");
        }
    }

    #[test]
    fn mixed_start_codes_and_trailing_zeros_are_cut_away() {
        let stream = hex("000000 0001 67aa 000001 68bb00 00000001 000001 65cc0000 0001 41 000000");
        let units: Vec<&[u8]> = nals(&stream).collect();
        assert_eq!(units, [&hex("67aa")[..], &hex("68bb"), &hex("65cc"), &hex("41")]);
        assert_eq!(nals(&hex("6742001e")).count(), 0);
        assert_eq!(nals(&[]).count(), 0);
    }

    #[test]
    fn lengths_stop_at_a_lie() {
        let data = hex("00000002 67aa 00000000 00000001 65 000000ff 41");
        let units: Vec<&[u8]> = lengths(&data).collect();
        assert_eq!(units, [&hex("67aa")[..], &hex("65")]);
        let mut out = vec![];
        assert!(!from_lengths(&data, &mut out));
        assert_eq!(out, hex("00000001 67aa 00000001 65"));
        assert!(!from_lengths_in_place(&mut data.clone()));
        let mut out = vec![];
        assert!(from_lengths(&hex("00000002 67aa 00000001 65"), &mut out));
        let mut same = hex("00000002 67aa 00000001 65");
        assert!(from_lengths_in_place(&mut same));
        assert_eq!(out, same);
    }

    #[test]
    fn in_place_says_the_same_as_by_copy_or_changes_nothing() {
        let mut rng = Rng::new(99);
        let mut possible = 0;
        for _ in 0..20_000 {
            let mut stream = Vec::new();
            for _ in 0..rng.below(5) {
                let code: &[u8] = if rng.below(6) == 0 { &[0, 0, 1] } else { &START };
                stream.extend_from_slice(code);
                let rbsp: Vec<u8> = (0..rng.below(6)).map(|_| [0, 1, 2, 9, 9][rng.below(5)]).collect();
                super::super::bits::escape(&rbsp, &mut stream);
            }
            let mut copied = vec![];
            to_lengths(&stream, &mut copied);
            let mut placed = stream.clone();
            if to_lengths_in_place(&mut placed) {
                possible += 1;
                assert_eq!(placed, copied, "{stream:?}");
                assert!(from_lengths_in_place(&mut placed));
                assert_eq!(placed, stream);
            } else {
                assert_eq!(placed, stream);
            }
        }
        assert!(possible > 1000, "{possible}");
    }

    #[test]
    fn the_codec_of_a_raw_stream_is_seen_from_its_first_units() {
        assert_eq!(detect(&hex("00000001 09f0 00000001 6742c01e")), Some(NalCodec::H264));
        assert_eq!(detect(&hex("000001 06050411 000001 27640028")), Some(NalCodec::H264));
        assert_eq!(detect(&hex("00000001 40010c01")), Some(NalCodec::H265));
        assert_eq!(detect(&hex("00000001 460150 000001 42010101")), Some(NalCodec::H265));
        assert_eq!(detect(&hex("00000001 419a0233")), None);
        assert_eq!(detect(b"RIFF"), None);
    }

    fn split(codec: NalCodec, stream: &[u8], max: usize, chunk: usize) -> (Vec<Vec<u8>>, u32) {
        let mut splitter = AccessUnits::new(codec, max);
        let mut units = vec![];
        for mut part in stream.chunks(chunk) {
            while !part.is_empty() {
                let n = splitter.push(part);
                assert!(n > 0, "no room after everything was taken");
                part = &part[n..];
                while let Some(unit) = splitter.next_unit() {
                    units.push(unit.to_vec());
                }
            }
        }
        units.extend(splitter.finish().map(<[u8]>::to_vec));
        (units, splitter.dropped())
    }

    #[test]
    fn access_units_come_whole_whatever_the_chunks() {
        // H.264: delimiter, sets, SEI, two slices of one IDR; SEI and one P slice; P with 3-byte code.
        let h264 = [
            hex(
                "00000001 09f0 00000001 67640028 00000001 68ee3c80 000001 0605aa80 00000001 6588 000001 651a",
            ),
            hex("00000001 0605bb80 00000001 419a02 000001 413301"),
            hex("000001 419a03"),
            hex("00000001 6588"),
        ];
        // H.265: sets, IDR in two slices, suffix SEI; TRAIL_R; prefix SEI and TRAIL_N.
        let h265 = [
            hex(
                "00000001 40010c 00000001 420101 00000001 4401c1 00000001 2601af 000001 260133 000001 500105",
            ),
            hex("00000001 0201d0"),
            hex("000001 4e0105 00000001 0001e0"),
        ];
        for (codec, units) in [(NalCodec::H264, &h264[..]), (NalCodec::H265, &h265[..])] {
            let stream = units.concat();
            for chunk in 1..=stream.len() {
                assert_eq!(
                    split(codec, &stream, 128, chunk),
                    (units.to_vec(), 0),
                    "{codec:?} in chunks of {chunk}"
                );
            }
        }
    }

    #[test]
    fn a_unit_over_the_bound_is_dropped_and_the_next_one_is_whole() {
        let mut long = hex("00000001 6588");
        long.resize(500, 0x55);
        let next = hex("00000001 419a02 000001 413301");
        let last = hex("00000001 419a03");
        let stream = [long, next.clone(), last.clone()].concat();
        for chunk in [1, 3, 7, 50, 64, 1000] {
            assert_eq!(
                split(NalCodec::H264, &stream, 100, chunk),
                (vec![next.clone(), last.clone()], 1),
                "{chunk}"
            );
        }
    }

    #[test]
    fn noise_never_stalls_the_splitter() {
        let mut rng = Rng::new(5);
        for codec in [NalCodec::H264, NalCodec::H265] {
            let noise: Vec<u8> =
                (0..50_000).map(|_| [0, 0, 0, 1, 0x65, 0x41, 0x26, 0xff][rng.below(8)]).collect();
            split(codec, &noise, 64, 97);
        }
    }
}
