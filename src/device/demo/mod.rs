//! The built-in demo camera: a picture, a sound and a speaker without any hardware, drawn and
//! encoded here in integers. What it shows is a function of the frame's number and time; only
//! the producer looks at a clock. It is honest: its clock is the wall's, each access unit
//! carries its capture time, and what a viewer decodes is exactly what was drawn.

mod bits;
mod cavlc;
mod digits;
mod figure;
mod h264;
mod jpeg;
mod options;
mod picture;
mod producer;
mod rate;
mod scene;
mod sound;

pub use h264::CAPTURE_UUID;
pub use options::{Audio, MAX_BITRATE, MIN_BITRATE, Motion, Options, OptionsError};
pub use picture::Picture;
pub use producer::Demo;
pub use scene::{Moment, walking};
pub use sound::{Sound, Speaker};

use crate::stream::Sides;
use std::rc::Rc;

/// The camera's eye: scene, picture and encoder.
pub struct Camera {
    scene: scene::Scene,
    picture: Picture,
    grain: rate::Grain,
    encoder: h264::Encoder,
    gop: u32,
    since_key: Option<u32>,
    wants_key: bool,
}

impl Camera {
    /// A camera that has not looked yet; its first frame is a key frame.
    pub fn new(options: &Options) -> Camera {
        let picture = Picture::new(options.width, options.height);
        Camera {
            scene: scene::Scene::new(options),
            grain: rate::Grain::new(options, picture.mbs()),
            encoder: h264::Encoder::new(options),
            picture,
            gop: options.gop_frames(),
            since_key: None,
            wants_key: false,
        }
    }

    /// The sequence parameter set, without a length.
    pub fn sps(&self) -> &[u8] {
        self.encoder.sps()
    }

    /// The picture parameter set, without a length.
    pub fn pps(&self) -> &[u8] {
        self.encoder.pps()
    }

    /// Both, as [`crate::media::Codec::extra`] wants them.
    pub fn extra(&self) -> Rc<[u8]> {
        let mut extra = Vec::new();
        for set in [self.sps(), self.pps()] {
            extra.extend_from_slice(&(set.len() as u32).to_be_bytes());
            extra.extend_from_slice(set);
        }
        Rc::from(extra)
    }

    /// Makes the next frame a key frame.
    pub fn request_key(&mut self) {
        self.wants_key = true;
    }

    /// Another mean bit rate from the next frame on; 0: whatever the picture needs.
    pub fn set_bitrate(&mut self, bitrate: u32) {
        let bitrate = if bitrate == 0 { 0 } else { bitrate.clamp(MIN_BITRATE, MAX_BITRATE) };
        self.grain.set_bitrate(bitrate);
    }

    /// Draws and encodes one frame: appends its access unit and says whether it is a key frame.
    pub fn frame(&mut self, moment: &Moment, out: &mut Vec<u8>) -> bool {
        let key = std::mem::take(&mut self.wants_key) || self.since_key.is_none_or(|n| n >= self.gop);
        self.since_key = Some(if key { 1 } else { self.since_key.unwrap_or(0) + 1 });
        let still = !key && !self.grain.affords();
        if !still {
            self.scene.draw(moment, &mut self.picture);
        }
        let padding = self.grain.apply(&mut self.picture, key, still);
        let start = out.len();
        let spent = self.encoder.frame(&self.picture, moment, key, padding, out);
        self.grain.account(key, out.len() - start, padding, &spent);
        self.picture.settle();
        key
    }

    /// Appends the last frame's picture as a JPEG file, no larger than asked for.
    pub fn jpeg(&self, most: Sides, out: &mut Vec<u8>) {
        let smaller = most.and_then(|most| self.picture.fitted(most));
        jpeg::write(smaller.as_ref().unwrap_or(&self.picture), out);
    }

    /// The last frame's picture.
    pub fn picture(&self) -> &Picture {
        &self.picture
    }
}
