//! The stream that is measured: 1080p25 H.264 at 2 Mbit/s with a key frame every two seconds, and
//! PCMA between the pictures. The slices are filler that begins with the frame's number, so that a
//! reader knows which picture it has got and when that one was sent.

/// Pictures of a second.
pub const FPS: u64 = 25;
/// Pictures from one key frame to the next.
pub const GOP: u64 = 50;
/// Bytes of a key frame and of any other: 2 Mbit/s together.
const KEY: usize = 50_000;
const OTHER: usize = 9_184;
/// Bytes of an RTP packet, like ffmpeg's.
const PACKET: usize = 1400;
/// Sets of a 1920×1080 picture, High profile.
const SPS: &[u8] = &[
    0x67, 0x64, 0x00, 0x28, 0xac, 0xd9, 0x40, 0x78, 0x02, 0x27, 0xe5, 0xc0, 0x44, 0x00, 0x00, 0x03, 0x00,
    0x04, 0x00, 0x00, 0x03, 0x00, 0xc8, 0x3c, 0x60, 0xc6, 0x58,
];
const PPS: &[u8] = &[0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0];
/// Both in base64.
pub const SPROP: &str = "Z2QAKKzZQHgCJ+XARAAAAwAEAAADAMg8YMZY,aOvjyyLA";
/// The description that a publisher announces.
pub fn sdp() -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=bench\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n\
         a=fmtp:96 packetization-mode=1;profile-level-id=640028;sprop-parameter-sets={SPROP}\r\n\
         a=control:trackID=0\r\n\
         m=audio 0 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000/1\r\na=control:trackID=1\r\n"
    )
}

/// Makes the packets, in order.
#[derive(Default)]
pub struct Maker {
    video: u16,
    audio: u16,
    sounds: u32,
}

impl Maker {
    fn head(out: &mut Vec<u8>, marker: bool, kind: u8, seq: &mut u16, time: u32, ssrc: u32) {
        out.extend_from_slice(&[0x80, kind | u8::from(marker) << 7]);
        out.extend_from_slice(&seq.to_be_bytes());
        out.extend_from_slice(&time.to_be_bytes());
        out.extend_from_slice(&ssrc.to_be_bytes());
        *seq = seq.wrapping_add(1);
    }

    /// The packets of picture `number`.
    pub fn picture(&mut self, number: u64, mut each: impl FnMut(u8, &[u8])) {
        let key = number.is_multiple_of(GOP);
        let time = (number * 90_000 / FPS) as u32;
        let mut out = Vec::with_capacity(PACKET);
        for set in [SPS, PPS].into_iter().filter(|_| key) {
            out.clear();
            Self::head(&mut out, false, 96, &mut self.video, time, 0x1111);
            out.extend_from_slice(set);
            each(0, &out);
        }
        let mut slice = vec![if key { 0x65 } else { 0x41 }, if key { 0x88 } else { 0x9a }];
        slice.extend((0..4).map(|at| 0x80 | (number >> (7 * at)) as u8 & 0x7f));
        slice.resize(if key { KEY } else { OTHER }, 0x55);
        let (nal, body) = (slice[0], &slice[1..]);
        let room = PACKET - 12 - 2;
        let last = body.len().div_ceil(room) - 1;
        for (at, part) in body.chunks(room).enumerate() {
            out.clear();
            Self::head(&mut out, at == last, 96, &mut self.video, time, 0x1111);
            let edge = u8::from(at == 0) << 7 | u8::from(at == last) << 6;
            out.extend_from_slice(&[nal & 0x60 | 28, edge | nal & 0x1f]);
            out.extend_from_slice(part);
            each(0, &out);
        }
    }

    /// The next 20 ms of sound.
    pub fn sound(&mut self, mut each: impl FnMut(u8, &[u8])) {
        let mut out = Vec::with_capacity(172);
        Self::head(&mut out, self.sounds == 0, 8, &mut self.audio, self.sounds * 160, 0x2222);
        out.resize(172, 0xd5);
        self.sounds += 1;
        each(2, &out);
    }
}

/// What a packet of the pictures tells its reader.
#[derive(Default)]
pub struct Watcher {
    number: Option<u64>,
    key: bool,
    /// The number of whom the last packet was, to see losses.
    seq: Option<u16>,
    /// Packets that are missing before one that came.
    pub lost: u64,
    broken: bool,
}

/// A picture came whole.
pub struct Whole {
    pub number: u64,
    pub key: bool,
}

impl Watcher {
    /// A packet of the pictures; whether with it one is whole.
    pub fn packet(&mut self, data: &[u8]) -> Option<Whole> {
        let (Some(&flags), Some(payload)) = (data.get(1), data.get(12..)) else { return None };
        let seq = u16::from_be_bytes([data[2], data[3]]);
        if let Some(before) = self.seq.replace(seq) {
            let gap = seq.wrapping_sub(before).wrapping_sub(1);
            self.lost += u64::from(gap);
            self.broken |= gap > 0;
        }
        let kind = payload.first()? & 0x1f;
        let body = match kind {
            28 if payload.get(1)? & 0x80 != 0 => Some((payload[1] & 0x1f, payload.get(3..7))),
            1 | 5 => Some((kind, payload.get(2..6))),
            _ => None,
        };
        if let Some((kind, Some(digits))) = body
            && self.number.is_none()
        {
            self.number = Some(digits.iter().rev().fold(0, |n, d| n << 7 | u64::from(d & 0x7f)));
            self.key = kind == 5;
        }
        if flags & 0x80 == 0 {
            return None;
        }
        let broken = std::mem::take(&mut self.broken);
        self.number.take().filter(|_| !broken).map(|number| Whole { number, key: self.key })
    }
}
