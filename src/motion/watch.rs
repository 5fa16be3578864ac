//! The detector for whoever has encoded pictures and wants to be told: access units go in, and a function
//! is called when motion begins and when it ends. It needs nothing else of streamd, keeps no picture and
//! knows no clock.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::detector::{Detector, Settings};
use super::eye::Eye;
use crate::media::{Codec, Time};

/// See the module.
pub struct Watch<F: FnMut(bool)> {
    eye: Option<Eye>,
    detector: Detector,
    tell: F,
}

impl<F: FnMut(bool)> Watch<F> {
    /// Calls `tell` with true when something begins to move, and with false when nothing has moved for as
    /// long as `settings` say. Sees nothing before [`Watch::codec`] was told.
    pub fn new(settings: Settings, tell: F) -> Watch<F> {
        Watch { eye: None, detector: Detector::new(settings), tell }
    }

    /// The pictures from here on are of this codec; whether something can be seen in them.
    pub fn codec(&mut self, codec: &Codec) -> bool {
        self.eye = Eye::new(codec);
        self.eye.is_some()
    }

    /// An access unit, its NAL units behind their lengths, with the time at which it is decoded; with a
    /// `gap` if something before it is missing.
    pub fn unit(&mut self, time: Time, unit: &[u8], gap: bool) {
        let picture = self.eye.as_ref().and_then(|eye| eye.look(unit, gap));
        if let Some(on) = picture.and_then(|picture| self.detector.picture(time, picture).changed) {
            (self.tell)(on);
        }
    }

    /// Time goes on and no picture comes: what has moved long enough ago has ended.
    pub fn tick(&mut self, now: Time) {
        if self.detector.tick(now) {
            (self.tell)(false);
        }
    }

    /// Whether there is motion.
    pub fn is_on(&self) -> bool {
        self.detector.is_on()
    }
}

/// What nobody watches any longer has ended.
impl<F: FnMut(bool)> Drop for Watch<F> {
    fn drop(&mut self) {
        if self.is_on() {
            (self.tell)(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::CodecId;
    use crate::media::bits::testing::hex;
    use std::time::Duration;

    /// A slice of so many bytes with quantiser 28, behind its length.
    fn unit(head: &str, len: usize) -> Vec<u8> {
        let mut nal = hex(head);
        nal.resize(len, 0x55);
        [&(len as u32).to_be_bytes(), &nal[..]].concat()
    }

    /// As somebody would use it who has pictures and nothing else of streamd.
    #[test]
    fn who_has_pictures_is_told_when_something_moves_and_when_it_has_ended() {
        let mut codec = Codec::new(CodecId::H264);
        let sets = ["6742c01ed900a02ff97011000003000100000300320f162e48", "68cb83cb20"];
        codec.extra = sets.iter().flat_map(|set| unit(set, set.len() / 2)).collect();
        let mut told = vec![];
        let settings = Settings { hold: Duration::from_secs(3), ..Settings::default() };
        let time = |n: u64| Time::from_nanos(n * 40_000_000);
        let mut n = 0;
        let mut watch = Watch::new(settings, |on| told.push(on));
        let mut run = |watch: &mut Watch<_>, count: usize, size: usize| {
            for _ in 0..count {
                let (head, len) = if n % 50 == 0 {
                    ("65888411f1088ab830", 30_000)
                } else {
                    ("419a3823f8308baadd", size + n as usize % 7)
                };
                watch.unit(time(n), &unit(head, len), false);
                n += 1;
            }
            time(n)
        };
        run(&mut watch, 100, 5000);
        assert!(!watch.is_on(), "nothing is seen before the codec is known");
        assert!(watch.codec(&codec) && !watch.codec(&Codec::new(CodecId::Jpeg)) && watch.codec(&codec));
        run(&mut watch, 500, 1000);
        assert!(!watch.is_on());
        let now = run(&mut watch, 50, 4000);
        assert!(watch.is_on());
        watch.tick(now + Duration::from_secs(1));
        assert!(watch.is_on());
        watch.tick(now + Duration::from_secs(4));
        assert!(!watch.is_on());
        run(&mut watch, 500, 1000);
        run(&mut watch, 50, 4000);
        drop(watch);
        assert_eq!(told, [true, false, true, false]);
    }
}
