//! Fragmented MP4, the writing half: a segment that begins the file, then fragments. What is written here
//! is what stands before the media: the media themselves are appended by whoever has them, in the order
//! of the runs, and are never seen or copied here. Nothing is known of clocks and of where it all goes.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use crate::media::aac::AudioConfig;
use crate::media::nal::{NalCodec, NalKind};
use crate::media::parameter_sets::ParameterSets;

/// Ticks in a second of pictures.
pub const VIDEO_RATE: u32 = 90_000;
/// The track of pictures.
pub const VIDEO: u32 = 1;
/// The track of sound.
pub const SOUND: u32 = 2;

/// One frame of a fragment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Its bytes.
    pub size: u32,
    /// Ticks to the next one.
    pub duration: u32,
    /// Ticks from its decoding to its showing.
    pub offset: u32,
    /// Decoding can begin with it.
    pub key: bool,
}

/// One track's part of a fragment.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// [`VIDEO`] or [`SOUND`].
    pub track: u32,
    /// When its first frame is decoded, in ticks since the file's beginning.
    pub decode: u64,
    /// Its frames.
    pub samples: &'a [Sample],
}

/// Appends boxes; where each began is remembered by its caller.
struct Boxes<'o>(&'o mut Vec<u8>);

impl Boxes<'_> {
    fn open(&mut self, name: &[u8; 4]) -> usize {
        let at = self.0.len();
        self.u32(0);
        self.bytes(name);
        at
    }

    /// With version and flags.
    fn full(&mut self, name: &[u8; 4], version: u8, flags: u32) -> usize {
        let at = self.open(name);
        self.u32(u32::from(version) << 24 | flags);
        at
    }

    fn close(&mut self, at: usize) {
        let len = (self.0.len() - at) as u32;
        self.patch(at, len);
    }

    /// A whole box of version 0 that holds nothing but these.
    fn leaf(&mut self, kind: &[u8; 4], flags: u32, words: &[u32]) {
        let at = self.full(kind, 0, flags);
        self.words(words);
        self.close(at);
    }

    fn patch(&mut self, at: usize, value: u32) {
        if let Some(place) = self.0.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<4>()) {
            *place = value.to_be_bytes();
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn zeros(&mut self, n: usize) {
        self.0.resize(self.0.len() + n, 0);
    }

    fn u8(&mut self, n: u8) {
        self.0.push(n);
    }

    fn u16(&mut self, n: u16) {
        self.bytes(&n.to_be_bytes());
    }

    fn u32(&mut self, n: u32) {
        self.bytes(&n.to_be_bytes());
    }

    fn words(&mut self, words: &[u32]) {
        words.iter().for_each(|&w| self.u32(w));
    }

    /// The matrix that turns and moves nothing.
    fn unity(&mut self) {
        self.words(&[0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000]);
    }
}

/// Appends the segment that begins a file: of pictures with these sets, which have to be complete, and of
/// sound if there is any. False if the sets do not describe pictures.
#[inline(never)]
pub fn begin(sets: &ParameterSets, sound: Option<&AudioConfig>, out: &mut Vec<u8>) -> bool {
    let Some(info) = sets.info().filter(|_| sets.complete()) else { return false };
    let h264 = sets.codec() == NalCodec::H264;
    let mut b = Boxes(out);
    let ftyp = b.open(b"ftyp");
    b.bytes(b"mp42");
    b.u32(1);
    b.bytes(b"mp42isom");
    b.bytes(if h264 { b"avc1" } else { b"hvc1" });
    b.close(ftyp);
    let moov = b.open(b"moov");
    let mvhd = b.full(b"mvhd", 0, 0);
    b.words(&[0, 0, 1000, 0, 0x1_0000, 0x100_0000, 0, 0]);
    b.unity();
    b.zeros(24);
    b.u32(SOUND + 1);
    b.close(mvhd);
    let size = (info.width as u16, info.height as u16);
    let trak = begin_track(&mut b, VIDEO, VIDEO_RATE, size);
    let entry = b.open(if h264 { b"avc1" } else { b"hvc1" });
    b.zeros(6);
    b.u16(1);
    b.zeros(16);
    b.u16(size.0);
    b.u16(size.1);
    b.words(&[0x48_0000, 0x48_0000, 0, 1 << 16]);
    b.zeros(30);
    b.u16(24);
    b.u16(u16::MAX);
    if h264 {
        avcc(&mut b, sets)
    } else {
        hvcc(&mut b, sets)
    }
    b.close(entry);
    end_track(&mut b, trak);
    if let Some(config) = sound {
        let trak = begin_track(&mut b, SOUND, config.rate, (0, 0));
        mp4a(&mut b, config);
        end_track(&mut b, trak);
    }
    let mvex = b.open(b"mvex");
    for track in [VIDEO, SOUND].into_iter().take(1 + usize::from(sound.is_some())) {
        b.leaf(b"trex", 0, &[track, 1, 0, 0, 0]);
    }
    b.close(mvex);
    b.close(moov);
    true
}

/// Everything of a track before its sample entry; where the boxes began that are still open.
fn begin_track(b: &mut Boxes<'_>, track: u32, rate: u32, (width, height): (u16, u16)) -> [usize; 5] {
    let trak = b.open(b"trak");
    // enabled, in the film
    let tkhd = b.full(b"tkhd", 0, 3);
    b.words(&[0, 0, track, 0, 0, 0, 0, 0]);
    b.u16(if track == VIDEO { 0 } else { 0x100 });
    b.u16(0);
    b.unity();
    b.u32(u32::from(width) << 16);
    b.u32(u32::from(height) << 16);
    b.close(tkhd);
    let mdia = b.open(b"mdia");
    // undetermined language
    b.leaf(b"mdhd", 0, &[0, 0, rate, 0, 0x55c4_0000]);
    let hdlr = b.full(b"hdlr", 0, 0);
    b.u32(0);
    b.bytes(if track == VIDEO { b"vide" } else { b"soun" });
    b.zeros(13);
    b.close(hdlr);
    let minf = b.open(b"minf");
    if track == VIDEO {
        b.leaf(b"vmhd", 1, &[0, 0]);
    } else {
        b.leaf(b"smhd", 0, &[0]);
    }
    let dinf = b.open(b"dinf");
    let dref = b.full(b"dref", 0, 0);
    b.u32(1);
    // in this file
    b.leaf(b"url ", 1, &[]);
    b.close(dref);
    b.close(dinf);
    let stbl = b.open(b"stbl");
    let stsd = b.full(b"stsd", 0, 0);
    b.u32(1);
    [trak, mdia, minf, stbl, stsd]
}

fn end_track(b: &mut Boxes<'_>, [trak, mdia, minf, stbl, stsd]: [usize; 5]) {
    b.close(stsd);
    for name in [b"stts", b"stsc"] {
        b.leaf(name, 0, &[0]);
    }
    b.leaf(b"stsz", 0, &[0, 0]);
    b.leaf(b"stco", 0, &[0]);
    for at in [stbl, minf, mdia, trak] {
        b.close(at);
    }
}

/// Sets of one kind, each behind its length; how many there are stands before them, in a byte or two.
fn list(b: &mut Boxes<'_>, sets: &ParameterSets, kind: NalKind, wide: bool, flags: u8) {
    let all = || sets.iter().filter(|nal| sets.codec().kind(nal) == kind);
    let count = all().count() as u8;
    if wide {
        b.u8(0);
    }
    b.u8(flags | count);
    for nal in all() {
        b.u16(nal.len() as u16);
        b.bytes(nal);
    }
}

fn avcc(b: &mut Boxes<'_>, sets: &ParameterSets) {
    let Some(sps) = sets.h264_sps() else { return };
    let avcc = b.open(b"avcC");
    b.u8(1);
    b.bytes(&sps.profile_level_id());
    b.u8(0xff);
    list(b, sets, NalKind::Sps, false, 0xe0);
    list(b, sets, NalKind::Pps, false, 0);
    if matches!(sps.profile_idc, 100 | 110 | 122 | 144 | 244) {
        b.u8(0xfc | sps.chroma_format_idc);
        b.u8(0xf8 | sps.bit_depth_luma.wrapping_sub(8) & 7);
        b.u8(0xf8 | sps.bit_depth_chroma.wrapping_sub(8) & 7);
        b.u8(0);
    }
    b.close(avcc);
}

fn hvcc(b: &mut Boxes<'_>, sets: &ParameterSets) {
    let Some(sps) = sets.h265_sps() else { return };
    let profile = &sps.profile;
    let hvcc = b.open(b"hvcC");
    b.u8(1);
    b.u8(profile.space << 6 | u8::from(profile.high_tier) << 5 | profile.idc);
    b.u32(profile.compatibility);
    b.bytes(&profile.constraints);
    b.u8(profile.level_idc);
    b.u16(0xf000);
    b.u8(0xfc);
    b.u8(0xfc | sps.chroma_format_idc);
    b.u8(0xf8 | sps.bit_depth_luma.wrapping_sub(8) & 7);
    b.u8(0xf8 | sps.bit_depth_chroma.wrapping_sub(8) & 7);
    b.u16(0);
    b.u8((sps.temporal_layers & 7) << 3 | u8::from(sps.temporal_nesting) << 2 | 3);
    b.u8(3);
    for (kind, number) in [(NalKind::Vps, 32), (NalKind::Sps, 33), (NalKind::Pps, 34)] {
        // all of them are here
        b.u8(0x80 | number);
        list(b, sets, kind, true, 0);
    }
    b.close(hvcc);
}

fn mp4a(b: &mut Boxes<'_>, config: &AudioConfig) {
    let mut bytes = [0; AudioConfig::MAX];
    let config_len = config.emit(&mut bytes).unwrap_or(0);
    let specific = bytes.get(..config_len).unwrap_or_default();
    let entry = b.open(b"mp4a");
    b.zeros(6);
    b.u16(1);
    b.zeros(8);
    b.u16(config.channels.into());
    b.u16(16);
    b.u32(0);
    b.u32(config.rate << 16);
    let esds = b.full(b"esds", 0, 0);
    // descriptors within each other: of the stream, of its decoder, of its configuration
    let len = specific.len() as u8;
    b.bytes(&[3, 3 + (2 + 13 + (2 + len)) + (2 + 1), 0, 0, 0]);
    b.bytes(&[4, 13 + (2 + len), 0x40, 0x15, 0, 0, 0]);
    b.words(&[0, 0]);
    b.bytes(&[5, len]);
    b.bytes(specific);
    b.bytes(&[6, 1, 2]);
    b.close(esds);
    b.close(entry);
}

/// A frame that depends on none.
const KEY: u32 = 0x0200_0000;
/// A frame that depends on others, where decoding cannot begin.
const DEPENDENT: u32 = 0x0101_0000;

/// Appends what stands before a fragment's media: their runs in this order, each whole, follow. The
/// number of their bytes.
pub fn fragment(number: u32, runs: &[Run<'_>], out: &mut Vec<u8>) -> usize {
    let start = out.len();
    let mut b = Boxes(out);
    let moof = b.open(b"moof");
    b.leaf(b"mfhd", 0, &[number]);
    let mut places = [0usize; 2];
    for (run, place) in runs.iter().zip(&mut places) {
        let traf = b.open(b"traf");
        // offsets count from the moof
        b.leaf(b"tfhd", 0x02_0000, &[run.track]);
        let tfdt = b.full(b"tfdt", 1, 0);
        b.bytes(&run.decode.to_be_bytes());
        b.close(tfdt);
        let reordered = run.samples.iter().any(|s| s.offset != 0);
        let trun = b.full(b"trun", 0, 0x701 | if reordered { 0x800 } else { 0 });
        b.u32(run.samples.len() as u32);
        *place = b.0.len();
        b.u32(0);
        for sample in run.samples {
            b.words(&[sample.duration, sample.size, if sample.key { KEY } else { DEPENDENT }]);
            if reordered {
                b.u32(sample.offset);
            }
        }
        b.close(trun);
        b.close(traf);
    }
    b.close(moof);
    let mdat = b.open(b"mdat");
    let mut at = b.0.len() - start;
    let first = at;
    for (run, place) in runs.iter().zip(places) {
        b.patch(place, at as u32);
        at += run.samples.iter().map(|s| s.size as usize).sum::<usize>();
    }
    b.patch(mdat, (at - first + 8) as u32);
    at - first
}

/// An AAC-LC frame in which nothing is heard; of one channel or two.
pub fn silence(channels: u8) -> &'static [u8] {
    // one element without bands, and the end; the bits are those of the standard's syntax
    if channels == 2 { &[0x21, 0, 0, 0, 0, 0x1c] } else { &[0, 0, 0, 7] }
}
