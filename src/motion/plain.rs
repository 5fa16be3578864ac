//! The predecessor's rule, to be measured beside the detector: the size of P frames alone against a mean of
//! their sizes, and one that is larger by the threshold is motion. No camera is served by it.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::detector::{Picture, Settings, Type, Verdict, log2};
use crate::media::Time;

/// See the module.
pub struct Plain {
    settings: Settings,
    seen: u32,
    /// Bytes, in 256ths.
    mean: u64,
    on: bool,
    until: Time,
    rests: Time,
}

impl Plain {
    /// Has seen nothing yet.
    pub fn new(settings: Settings) -> Plain {
        Plain { settings, seen: 0, mean: 0, on: false, until: Time::ZERO, rests: Time::ZERO }
    }

    /// Whether there is motion.
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// The next picture.
    pub fn picture(&mut self, now: Time, picture: Picture) -> Verdict {
        let mut verdict = Verdict { level: log2(picture.size), ..Verdict::default() };
        let limit = self.mean * u64::from(self.settings.threshold) / 256;
        if picture.kind == Type::P {
            let size = u64::from(picture.size) << 8;
            let was_on = self.on;
            if self.seen == 0 {
                self.mean = size;
            }
            if self.seen < 30 {
                self.seen += 1;
                self.mean = (self.mean * 9 + size) / 10;
            } else if size > limit {
                verdict.moving = true;
                self.until = now + self.settings.hold;
                if !self.on && now >= self.rests {
                    self.on = true;
                    verdict.changed = Some(true);
                }
            }
            if self.seen >= 30 && !was_on && !self.on {
                self.mean = (self.mean * 49 + size) / 50;
            }
        }
        if self.on && now >= self.until {
            self.on = false;
            self.rests = now + self.settings.cool_down;
            verdict.changed = Some(false);
        }
        verdict.baseline = log2((self.mean >> 8) as u32);
        verdict.trigger = log2((limit >> 8) as u32);
        verdict
    }
}
