//! One function for each parser that reads bytes from outside. Each takes any bytes, and panics if
//! the parser breaks a promise: two ways to the same result differ, what was written is not what was
//! read, a result is larger than its input allows. Nothing here reads a file, a clock or the network.

pub mod aac;
pub mod adts;
pub mod annexb;
pub mod args;
pub mod auth;
pub mod config;
pub mod demo;
pub mod dialogue;
pub mod h264;
pub mod h265;
pub mod hap;
pub mod hds;
pub mod http;
pub mod jpeg;
pub mod json;
pub mod mdns;
pub mod motion;
pub mod opus;
pub mod pairing;
pub mod rtcp;
pub mod rtp;
pub mod rtsp;
pub mod sdp;
pub mod source;
pub mod srtp;
pub mod tlv8;
pub mod uri;
pub mod wav;
pub mod websocket;

mod video;

/// A target: its name, which is also its folder in `corpus/`; its function; how much memory it may
/// hold at once for an input of that many bytes.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    pub memory: fn(&[u8]) -> usize,
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "aac", run: aac::run, memory: |_| 1024 },
    Target { name: "adts", run: adts::run, memory: |d| 64 * 1024 + 16 * d.len() },
    Target { name: "annexb", run: annexb::run, memory: |d| 16 * 1024 + 96 * d.len() },
    Target { name: "args", run: args::run, memory: |d| 64 * 1024 + 160 * d.len() },
    Target { name: "auth", run: auth::run, memory: |d| 8 * 1024 + 16 * d.len() },
    Target { name: "config", run: config::run, memory: config::memory },
    Target { name: "demo", run: demo::run, memory: |d| 512 * 1024 + 16 * d.len() },
    Target { name: "dialogue", run: dialogue::run, memory: |d| 256 * 1024 + 64 * d.len() },
    Target { name: "h264", run: h264::run, memory: |d| 64 * 1024 + 64 * d.len() },
    Target { name: "h265", run: h265::run, memory: |d| 64 * 1024 + 64 * d.len() },
    Target { name: "hap", run: hap::run, memory: |d| 512 * 1024 + 2048 * d.len() },
    Target { name: "hds", run: hds::run, memory: |d| 96 * 1024 + 64 * d.len() },
    Target { name: "http", run: http::run, memory: |d| 32 * 1024 + 64 * d.len() },
    Target { name: "jpeg", run: jpeg::run, memory: |_| 4096 },
    Target { name: "json", run: json::run, memory: |d| 8 * 1024 + 300 * d.len() },
    Target { name: "mdns", run: mdns::run, memory: |d| 128 * 1024 + 16 * d.len() },
    Target { name: "motion", run: motion::run, memory: |d| 64 * 1024 + 64 * d.len() },
    Target { name: "opus", run: opus::run, memory: |_| 1024 },
    Target { name: "pairing", run: pairing::run, memory: |d| 64 * 1024 + 64 * d.len() },
    Target { name: "rtcp", run: rtcp::run, memory: |_| 4096 },
    Target { name: "rtp", run: rtp::run, memory: |d| 256 * 1024 + 16 * d.len() },
    Target { name: "rtsp", run: rtsp::run, memory: |d| 512 * 1024 + 300 * d.len() },
    Target { name: "sdp", run: sdp::run, memory: |d| 128 * 1024 + 64 * d.len() },
    Target { name: "source", run: source::run, memory: |d| 8 * 1024 + 200 * d.len() },
    Target { name: "srtp", run: srtp::run, memory: |d| 16 * 1024 + 16 * d.len() },
    Target { name: "tlv8", run: tlv8::run, memory: |d| 64 * 1024 + 64 * d.len() },
    Target { name: "uri", run: uri::run, memory: |d| 8 * 1024 + 100 * d.len() },
    Target { name: "wav", run: wav::run, memory: |d| 8 * 1024 + 4 * d.len() },
    Target { name: "websocket", run: websocket::run, memory: |d| 32 * 1024 + 160 * d.len() },
];

/// Cuts bytes into pieces of 1 to `most`, by a seed.
pub struct Pieces<'a> {
    rest: &'a [u8],
    state: u32,
    most: usize,
}

impl<'a> Pieces<'a> {
    /// The least seeds cut into single bytes, odd ones rather small.
    pub fn new(bytes: &'a [u8], seed: u8) -> Pieces<'a> {
        let most = match seed {
            0..4 => 1,
            _ if seed % 2 == 1 => usize::from(seed % 16) + 1,
            _ => 16 * usize::from(seed),
        };
        Pieces { rest: bytes, state: u32::from(seed).wrapping_mul(0x9e37_79b9) | 1, most }
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        self.state ^= self.state << 13;
        self.state ^= self.state >> 17;
        self.state ^= self.state << 5;
        let n = (1 + self.state as usize % self.most).min(self.rest.len());
        let (piece, rest) = self.rest.split_at(n);
        self.rest = rest;
        Some(piece)
    }
}

/// The first byte, which steers the target, and the rest.
pub fn steer(data: &[u8]) -> Option<(u8, &[u8])> {
    data.split_first().map(|(first, rest)| (*first, rest))
}
