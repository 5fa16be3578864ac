//! What a camera says and is told in TLV8: the pictures and sounds that it offers, where a viewer
//! wants them sent, and which of them it takes. Bytes to types and back; nothing is decided here.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::tlv8::{Tlv, Writer};
use std::fmt;
use std::net::IpAddr;

/// A picture's size and rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Pixels across.
    pub width: u16,
    /// Pixels down.
    pub height: u16,
    /// Pictures in a second.
    pub rate: u8,
}

/// The sizes that every HomeKit camera offers; the smallest is what a watch asks for.
pub const SIZES: [Size; 4] = [
    Size { width: 1920, height: 1080, rate: 30 },
    Size { width: 1280, height: 720, rate: 30 },
    Size { width: 640, height: 360, rate: 30 },
    Size { width: 320, height: 240, rate: 15 },
];

/// H.264's three profiles and three levels, as they are numbered.
const THREE: [u8; 3] = [0, 1, 2];

fn list(mut out: Writer, kind: u8, values: &[u8]) -> Writer {
    for (i, value) in values.iter().enumerate() {
        out = out.entry(0, i == 0, kind, &[*value]);
    }
    out
}

fn video(sizes: &[Size], [profile, level]: [u8; 2], packets: bool) -> Vec<u8> {
    let from = |least: u8| THREE.get(usize::from(least)..).unwrap_or_default();
    let mut parameters = list(list(Writer::new(), 1, from(profile)), 2, from(level));
    if packets {
        parameters = parameters.u8(3, 0);
    }
    let mut codec = Writer::new().u8(1, 0).nest(2, parameters);
    for (i, size) in sizes.iter().enumerate() {
        let size = Writer::new().u16(1, size.width).u16(2, size.height).u8(3, size.rate);
        codec = codec.entry(0, i == 0, 3, &size.finish());
    }
    Writer::new().nest(1, codec).finish()
}

/// Characteristic 114: the pictures of live view.
pub fn supported_video(sizes: &[Size]) -> Vec<u8> {
    video(sizes, [0; 2], true)
}

/// Characteristic 115: Opus in one channel at 16 and 24 kHz, the only sound that is offered.
pub fn supported_audio() -> Vec<u8> {
    // Opus; its parameters: one channel, variable bitrate, one rate, a separator, the other; no comfort noise
    [1, 19, 1, 1, 3, 2, 14, 1, 1, 1, 2, 1, 0, 3, 1, 1, 0, 0, 3, 1, 2, 2, 1, 0].to_vec()
}

/// Characteristic 116: AES_CM_128_HMAC_SHA1_80.
pub fn supported_rtp() -> Vec<u8> {
    Writer::new().u8(2, 0).finish()
}

/// Characteristic 130: over TCP.
pub fn supported_data_stream() -> Vec<u8> {
    Writer::new().nest(1, Writer::new().u8(1, 0)).finish()
}

/// Characteristic 205: how recordings are cut, and what starts them.
pub fn supported_recording(prebuffer_ms: u32, fragment_ms: u32, doorbell: bool) -> Vec<u8> {
    let container = Writer::new().u8(1, 0).nest(2, Writer::new().u32(1, fragment_ms));
    Writer::new().u32(1, prebuffer_ms).u64(2, 1 | u64::from(doorbell) << 1).nest(3, container).finish()
}

/// What a source's pictures are, in HomeKit's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Their size, and the rate that they do not exceed: 15, 24 or 30.
    pub size: Size,
    /// The least profile and level that they need, as they are numbered.
    pub needs: [u8; 2],
}

impl Source {
    /// From the size, the `profile-level-id` and the pictures of ten seconds.
    pub fn new(width: u16, height: u16, [profile, _, level]: [u8; 3], ten_seconds: u32) -> Source {
        // clocks are not that exact
        let rate = match ten_seconds {
            ..=155 => 15,
            156..=245 => 24,
            _ => 30,
        };
        let profile = match profile {
            66 => 0,
            77 | 88 => 1,
            _ => 2,
        };
        let level = match level {
            ..=31 => 0,
            32 => 1,
            _ => 2,
        };
        Source { size: Size { width, height, rate }, needs: [profile, level] }
    }

    /// To be kept.
    pub fn bytes(self) -> [u8; 7] {
        let ([a, b], [c, d]) = (self.size.width.to_le_bytes(), self.size.height.to_le_bytes());
        let [profile, level] = self.needs;
        [a, b, c, d, self.size.rate, profile, level]
    }

    /// As it was kept.
    pub fn parse(bytes: &[u8]) -> Option<Source> {
        let [a, b, c, d, rate, profile, level] = *bytes.first_chunk::<7>()?;
        let size = Size { width: u16::from_le_bytes([a, b]), height: u16::from_le_bytes([c, d]), rate };
        (profile.max(level) < THREE.len() as u8).then_some(Source { size, needs: [profile, level] })
    }

    /// Higher than wide.
    pub fn is_upright(self) -> bool {
        self.size.height > self.size.width
    }

    /// What is needed for both: rates, profiles and levels change with the light, and none of it is
    /// taken back while the size is the same.
    pub fn with(self, new: Source) -> Source {
        if (self.size.width, self.size.height) != (new.size.width, new.size.height) {
            return new;
        }
        let size = Size { rate: self.size.rate.max(new.size.rate), ..self.size };
        let ([p, l], [q, m]) = (self.needs, new.needs);
        Source { size, needs: [p.max(q), l.max(m)] }
    }
}

/// Macroblocks of a picture of level 4.0, the highest that hubs take.
const LARGEST: u32 = 8192;

/// Characteristic 206: the pictures of recordings. Every hub has to find full and half high definition, and
/// the latter at half the rate; before them stands what the source gives, once that is known, and they stand
/// as it does. Profiles and levels that it does not keep to are not among them.
pub fn supported_recording_video(upright: bool, source: Option<Source>) -> Vec<u8> {
    let [full, half, ..] = SIZES;
    let mut all = Vec::with_capacity(4);
    if let Some(Source { size, .. }) = source {
        let blocks = |n: u16| u32::from(n).div_ceil(16);
        if blocks(size.width) * blocks(size.height) <= LARGEST {
            all.push(size);
        }
    }
    for mut size in [full, half, Size { rate: 15, ..half }] {
        if source.map_or(upright, Source::is_upright) {
            (size.width, size.height) = (size.height, size.width);
        }
        if all.first() != Some(&size) {
            all.push(size);
        }
    }
    video(&all, source.map_or([0; 2], |source| source.needs), false)
}

/// Characteristic 207: AAC-LC in one channel at 32 kHz.
pub fn supported_recording_audio() -> Vec<u8> {
    let parameters = Writer::new().u8(1, 1).u8(2, 0).u8(3, 3);
    Writer::new().nest(1, Writer::new().u8(1, 0).nest(2, parameters)).finish()
}

/// Characteristic 120.
pub fn streaming_status(in_use: bool) -> Vec<u8> {
    Writer::new().u8(1, u8::from(in_use)).finish()
}

/// Characteristic 117 before anything was selected.
pub fn nothing_selected() -> Vec<u8> {
    Writer::new().nest(1, Writer::new().u8(2, 2)).finish()
}

/// A key and its salt for one medium.
#[derive(Clone, PartialEq, Eq)]
pub struct Srtp {
    /// Of AES.
    pub key: [u8; 16],
    /// Of the key derivation.
    pub salt: [u8; 14],
}

impl fmt::Debug for Srtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Srtp(***)")
    }
}

/// Where media go and how they are locked; written by the controller, and answered in the same form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// The viewer's session.
    pub session: [u8; 16],
    /// The side's address.
    pub address: IpAddr,
    /// UDP port of the pictures.
    pub video_port: u16,
    /// UDP port of the sound.
    pub audio_port: u16,
    /// Of the pictures that this side sends.
    pub video: Srtp,
    /// Of the sound that this side sends.
    pub audio: Srtp,
}

fn srtp(tlv: &Tlv) -> Option<Srtp> {
    let both = || Some(Srtp { key: tlv.get(2)?.try_into().ok()?, salt: tlv.get(3)?.try_into().ok()? });
    if tlv.byte(1)? == 0 { both() } else { None }
}

impl Endpoints {
    /// The controller's write of characteristic 118.
    #[inline(never)]
    pub fn parse(bytes: &[u8]) -> Option<Endpoints> {
        let tlv = Tlv::parse(bytes).ok()?;
        let address: IpAddr = String::from_utf8(tlv.at(&[3, 2])?).ok()?.parse().ok()?;
        if tlv.byte_at(&[3, 1])? != u8::from(address.is_ipv6()) {
            return None;
        }
        let port = |kind| tlv.short_at(&[3, kind]).filter(|&p| p != 0);
        Some(Endpoints {
            session: tlv.get(1)?.try_into().ok()?,
            address,
            video_port: port(3)?,
            audio_port: port(4)?,
            video: srtp(&tlv.nested(4)?)?,
            audio: srtp(&tlv.nested(5)?)?,
        })
    }

    /// Our answer, with the sources that we send from.
    #[inline(never)]
    pub fn answer(&self, video_source: u32, audio_source: u32) -> Vec<u8> {
        let place = Writer::new()
            .u8(1, u8::from(self.address.is_ipv6()))
            .put(2, self.address.to_string().as_bytes())
            .u16(3, self.video_port)
            .u16(4, self.audio_port);
        let lock = |s: &Srtp| Writer::new().u8(1, 0).put(2, &s.key).put(3, &s.salt);
        Writer::new()
            .put(1, &self.session)
            .u8(2, 0)
            .nest(3, place)
            .nest(4, lock(&self.video))
            .nest(5, lock(&self.audio))
            .u32(6, video_source)
            .u32(7, audio_source)
            .finish()
    }
}

/// Why there is no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum NoEndpoint {
    /// Somebody watches.
    Busy = 1,
    /// Nothing can be watched.
    Error = 2,
}

/// The answer that refuses; without a session where none was named.
pub fn no_endpoint(session: Option<&[u8; 16]>, why: NoEndpoint) -> Vec<u8> {
    let out = session.map_or_else(Writer::new, |s| Writer::new().put(1, s));
    out.u8(2, why as u8).finish()
}

/// What a viewer wants of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Command {
    End,
    Start,
    Suspend,
    Resume,
    Reconfigure,
}

/// The pictures that a viewer takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Video {
    /// 0 baseline, 1 main, 2 high.
    pub profile: Option<u8>,
    /// 0 is 3.1, 1 is 3.2, 2 is 4.0.
    pub level: Option<u8>,
    /// The size; a reconfiguration may leave it as it is.
    pub size: Option<Size>,
    /// The stream.
    pub rtp: Rtp,
    /// Bytes of a packet at most.
    pub mtu: Option<u16>,
}

/// The sound that a viewer takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audio {
    /// 3 is Opus.
    pub codec: u8,
    /// Samples in a second.
    pub rate: u32,
    /// Milliseconds in a packet.
    pub packet_ms: u8,
    /// The stream.
    pub rtp: Rtp,
    /// Comfort noise is wanted.
    pub comfort_noise: bool,
}

/// How a stream is sent.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Rtp {
    /// Payload type; a reconfiguration leaves it as it is.
    pub payload: Option<u8>,
    /// Whose it is differs between controllers.
    pub source: Option<u32>,
    /// Kilobits in a second at most.
    pub bitrate: Option<u16>,
    /// Milliseconds between reports.
    pub report_ms: Option<u32>,
}

/// The controller's write of characteristic 117.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    /// The viewer's session.
    pub session: [u8; 16],
    /// What to do.
    pub command: Command,
    /// Pictures, when starting or reconfiguring.
    pub video: Option<Video>,
    /// Sound, when starting.
    pub audio: Option<Audio>,
}

/// A positive IEEE 754 number of seconds as milliseconds, in integers; a minute at most.
fn milliseconds(bytes: &[u8]) -> Option<u32> {
    let bits = u32::from_le_bytes(bytes.try_into().ok()?);
    let exponent = (bits >> 23 & 0xff) as i32 - 127;
    if bits >> 31 == 1 || exponent > 5 {
        return None;
    }
    let mantissa = u64::from(bits & 0x7f_ffff | 0x80_0000) * 1000;
    let down = u32::try_from(23 - exponent).ok()?;
    u32::try_from(mantissa.checked_shr(down).unwrap_or(0)).ok()
}

impl Rtp {
    /// Of pictures or of sound, wherever they have it.
    fn read(tlv: &Tlv, path: [u8; 2]) -> Rtp {
        let [medium, own] = path;
        let path = |kind| [medium, own, kind];
        Rtp {
            payload: tlv.byte_at(&path(1)).filter(|p| *p < 128),
            source: tlv.number_at(&path(2)).and_then(|n| n.try_into().ok()),
            bitrate: tlv.short_at(&path(3)),
            report_ms: tlv.at(&path(4)).and_then(|bytes| milliseconds(&bytes)),
        }
    }
}

impl Selected {
    /// Reads it; nothing if a part that the command needs is missing.
    #[inline(never)]
    pub fn parse(bytes: &[u8]) -> Option<Selected> {
        let tlv = Tlv::parse(bytes).ok()?;
        let command = match tlv.byte_at(&[1, 2])? {
            0 => Command::End,
            1 => Command::Start,
            2 => Command::Suspend,
            3 => Command::Resume,
            4 => Command::Reconfigure,
            _ => return None,
        };
        let video = tlv.nested(2).is_some().then(|| Video::read(&tlv));
        let audio = Audio::read(&tlv);
        match (command, &video) {
            (Command::Start, Some(v)) if v.size.is_some() && v.rtp.payload.is_some() => {}
            (Command::Reconfigure, Some(_)) | (Command::End | Command::Suspend | Command::Resume, _) => {}
            _ => return None,
        }
        Some(Selected { session: tlv.at(&[1, 1])?.try_into().ok()?, command, video, audio })
    }
}

impl Video {
    fn read(tlv: &Tlv) -> Video {
        let size = || {
            let side = |kind| tlv.short_at(&[2, 3, kind]).filter(|&n| n > 0);
            Some(Size { width: side(1)?, height: side(2)?, rate: tlv.byte_at(&[2, 3, 3])?.max(1) })
        };
        Video {
            profile: tlv.byte_at(&[2, 2, 1]),
            level: tlv.byte_at(&[2, 2, 2]),
            size: size(),
            mtu: tlv.short_at(&[2, 4, 5]),
            rtp: Rtp::read(tlv, [2, 4]),
        }
    }
}

impl Audio {
    fn read(tlv: &Tlv) -> Option<Audio> {
        let rate = match tlv.byte_at(&[3, 2, 3])? {
            0 => 8_000,
            1 => 16_000,
            2 => 24_000,
            _ => return None,
        };
        tlv.at(&[3, 3])?;
        Some(Audio {
            codec: tlv.byte_at(&[3, 1])?,
            rate,
            packet_ms: tlv.byte_at(&[3, 2, 4]).filter(|ms| (1..=120).contains(ms)).unwrap_or(20),
            rtp: Rtp::read(tlv, [3, 3]),
            comfort_noise: tlv.byte_at(&[3, 4]).is_some_and(|n| n != 0),
        })
    }
}

/// The controller's write of characteristic 131: its salt.
pub fn data_stream_request(bytes: &[u8]) -> Option<[u8; 32]> {
    let tlv = Tlv::parse(bytes).ok()?;
    if tlv.byte(1)? != 0 || tlv.byte(2)? != 0 {
        return None;
    }
    tlv.get(3)?.try_into().ok()
}

/// The answer: a port and our salt.
pub fn data_stream_answer(port: u16, salt: &[u8; 32]) -> Vec<u8> {
    Writer::new().u8(1, 0).nest(2, Writer::new().u16(1, port)).put(3, salt).finish()
}

/// The answer that refuses.
pub fn data_stream_refusal(busy: bool) -> Vec<u8> {
    Writer::new().u8(1, 1 + u8::from(busy)).finish()
}

/// The numbers of characteristic 209, each by the types that lead to it: of the container, of pictures with
/// their size, of sound.
const SELECTION: [&[u8]; 9] =
    [&[1, 1], &[1, 2], &[1, 3, 2, 1], &[2, 2, 3], &[2, 2, 4], &[2, 3, 1], &[2, 3, 2], &[2, 3, 3], &[3, 2, 3]];

/// Whether bytes have the parts of characteristic 209: container, pictures, sound.
pub fn is_recording_selection(bytes: &[u8]) -> bool {
    Tlv::parse(bytes).is_ok_and(|tlv| SELECTION.iter().all(|path| tlv.number_at(path).is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::base64::encode;

    #[test]
    fn offers_are_what_hubs_know() {
        assert_eq!(
            encode(&supported_video(&SIZES)),
            "AVwBAQACHQEBAAAAAQEBAAABAQICAQAAAAIBAQAAAgECAwEAAwsBAoAHAgI4BAMBHgAAAwsBAgAFAgLQAgMBHgAAAwsBAoACAgJoAQMBHgAAAwsBAkABAgLwAAMBDw=="
        );
        assert_eq!(encode(&supported_audio()), "ARMBAQMCDgEBAQIBAAMBAQAAAwECAgEA");
        assert_eq!(encode(&supported_rtp()), "AgEA");
        assert_eq!(encode(&supported_data_stream()), "AQMBAQA=");
        assert_eq!(
            encode(&supported_recording(4000, 4000, true)),
            "AQSgDwAAAggDAAAAAAAAAAMLAQEAAgYBBKAPAAA="
        );
        assert_eq!(
            encode(&supported_recording_video(false, None)),
            "AUoBAQACGgEBAAAAAQEBAAABAQICAQAAAAIBAQAAAgECAwsBAoAHAgI4BAMBHgAAAwsBAgAFAgLQAgMBHgAAAwsBAgAFAgLQAgMBDw=="
        );
        assert_eq!(encode(&supported_recording_audio()), "AQ4BAQACCQEBAQIBAAMBAw==");
        assert_eq!(encode(&nothing_selected()), "AQMCAQI=");
        assert_eq!(encode(&no_endpoint(None, NoEndpoint::Error)), "AgEC");
        assert_eq!(encode(&streaming_status(false)), "AQEA");
    }

    /// The sizes, profiles and levels that hubs may choose from.
    #[allow(clippy::type_complexity)]
    fn offer(source: Source) -> (Vec<(u16, u16, u8)>, Vec<u8>, Vec<u8>) {
        let bytes = supported_recording_video(false, Some(source));
        let codec = Tlv::parse(&bytes).unwrap().nested(1).unwrap();
        let parameters = codec.nested(2).unwrap();
        let all = |kind| parameters.all(kind).map(|v| v[0]).collect();
        let sizes = codec.all(3).map(|size| {
            let size = Tlv::parse(size).unwrap();
            let number = |kind| size.uint(kind).unwrap() as u16;
            (number(1), number(2), number(3) as u8)
        });
        (sizes.collect(), all(1), all(2))
    }

    #[test]
    fn hubs_are_told_what_the_source_gives() {
        let high = [100, 0, 40];
        let usual = vec![(1920, 1080, 30), (1280, 720, 30), (1280, 720, 15)];
        let with = |first| [vec![first], usual.clone()].concat();
        let full = Source::new(1920, 1080, high, 300);
        assert_eq!(offer(full), (usual.clone(), vec![2], vec![2]));
        let slow = Source::new(1920, 1080, [77, 0, 31], 149);
        assert_eq!(offer(slow), (with((1920, 1080, 15)), vec![1, 2], vec![0, 1, 2]));
        let half = Source::new(1280, 720, [66, 0xc0, 32], 250);
        let order = vec![(1280, 720, 30), (1920, 1080, 30), (1280, 720, 15)];
        assert_eq!(offer(half), (order, vec![0, 1, 2], vec![1, 2]));
        let odd = Source::new(1600, 1200, high, 200);
        assert_eq!(offer(odd).0, with((1600, 1200, 24)));
        assert_eq!(offer(Source::new(3840, 2160, [100, 0, 51], 300)).0, usual, "no hub takes it");
        let upright = Source::new(720, 1280, high, 150);
        assert_eq!(offer(upright).0, [(720, 1280, 15), (1080, 1920, 30), (720, 1280, 30)]);
        for source in [full, slow, half, odd, upright] {
            assert_eq!(Source::parse(&source.bytes()), Some(source));
        }
        // a darker hour takes nothing back, another size does
        assert_eq!(full.with(slow), full);
        assert_eq!(slow.with(full), full);
        assert_eq!(full.with(half), half);
    }

    fn endpoints() -> Endpoints {
        Endpoints {
            session: [1; 16],
            address: "192.168.1.20".parse().unwrap(),
            video_port: 5000,
            audio_port: 5001,
            video: Srtp { key: [2; 16], salt: [3; 14] },
            audio: Srtp { key: [4; 16], salt: [5; 14] },
        }
    }

    #[test]
    fn a_viewer_says_where_it_is() {
        for address in ["192.168.1.20", "fe80::1"] {
            let ours = Endpoints { address: address.parse().unwrap(), ..endpoints() };
            let bytes = ours.answer(7, 8);
            assert_eq!(Endpoints::parse(&bytes), Some(ours.clone()));
            let tlv = Tlv::parse(&bytes).unwrap();
            assert_eq!((tlv.byte(2), tlv.uint(6), tlv.uint(7)), (Some(0), Some(7), Some(8)));
            for end in 0..bytes.len() {
                let _ = Endpoints::parse(&bytes[..end]);
            }
            for end in 0..bytes.len() - 40 {
                assert_eq!(Endpoints::parse(&bytes[..end]), None);
            }
        }
    }

    fn start() -> Writer {
        let size = Writer::new().u16(1, 1280).u16(2, 720).u8(3, 30);
        let rtp = Writer::new().u8(1, 99).u32(2, 77).u16(3, 299).put(4, &0.5f32.to_le_bytes()).u16(5, 1378);
        let video = Writer::new()
            .u8(1, 0)
            .nest(2, Writer::new().u8(1, 2).u8(2, 0).u8(3, 0))
            .nest(3, size)
            .nest(4, rtp);
        let sound = Writer::new().u8(1, 110).u32(2, 78).u16(3, 24).put(4, &5f32.to_le_bytes()).u8(6, 13);
        let audio = Writer::new()
            .u8(1, 3)
            .nest(2, Writer::new().u8(1, 1).u8(2, 0).u8(3, 2).u8(4, 60))
            .nest(3, sound)
            .u8(4, 0);
        let control = Writer::new().put(1, &[1; 16]).u8(2, 1);
        Writer::new().nest(1, control).nest(2, video).nest(3, audio)
    }

    #[test]
    fn a_viewer_says_what_it_takes() {
        let bytes = start().finish();
        let selected = Selected::parse(&bytes).unwrap();
        let (video, audio) = (selected.video.unwrap(), selected.audio.unwrap());
        assert_eq!(video.size, Some(Size { width: 1280, height: 720, rate: 30 }));
        assert_eq!((video.profile, video.level, video.mtu), (Some(2), Some(0), Some(1378)));
        let rtp = Rtp { payload: Some(99), source: Some(77), bitrate: Some(299), report_ms: Some(500) };
        assert_eq!(video.rtp, rtp);
        assert_eq!((audio.rate, audio.packet_ms, audio.rtp.report_ms), (24_000, 60, Some(5000)));
        let end = Writer::new().nest(1, Writer::new().put(1, &[1; 16]).u8(2, 0)).finish();
        assert_eq!(Selected::parse(&end).unwrap().command, Command::End);
        let start_of_nothing = Writer::new().nest(1, Writer::new().put(1, &[1; 16]).u8(2, 1)).finish();
        assert_eq!(Selected::parse(&start_of_nothing), None);
        for end in 0..bytes.len() {
            let _ = Selected::parse(&bytes[..end]);
        }
        for value in [0f32, 0.001, 1.0, 59.9, 1e-30] {
            let ours = milliseconds(&value.to_le_bytes()).unwrap();
            assert!(ours.abs_diff((value * 1000.0) as u32) <= 1, "{value}: {ours}");
        }
        for value in [-1f32, 64.0, f32::NAN, f32::INFINITY] {
            assert_eq!(milliseconds(&value.to_le_bytes()), None);
        }
    }

    #[test]
    fn a_recording_selection_needs_all_its_parts() {
        let container = Writer::new().u8(1, 0).nest(2, Writer::new().u32(1, 4000));
        let general = Writer::new().u32(1, 4000).u64(2, 1).nest(3, container);
        let parameters = Writer::new().u8(1, 2).u8(2, 2).u32(3, 2000).u32(4, 4000);
        let size = Writer::new().u16(1, 1920).u16(2, 1080).u8(3, 30);
        let video = Writer::new().u8(1, 0).nest(2, parameters).nest(3, size);
        let sound = Writer::new().u8(1, 0).nest(2, Writer::new().u8(1, 1).u8(2, 0).u8(3, 3).u32(4, 64));
        let whole = Writer::new().nest(1, general).nest(2, video.clone()).nest(3, sound).finish();
        assert!(is_recording_selection(&whole));
        for end in 0..whole.len() {
            assert!(!is_recording_selection(&whole[..end]), "cut at {end}");
        }
        assert!(!is_recording_selection(&Writer::new().nest(2, video).finish()));
    }
}
