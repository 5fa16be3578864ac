//! Grain in the picture, as a sensor has it: so many macroblocks change their brightness by a
//! little with each frame, either a given share of them or as many as a bit rate pays for. Key
//! frames hold the grain of all and are therefore large, as those of real encoders are. Where all
//! macroblocks have grain and bits are still left over, padding takes them.

use super::h264::Spent;
use super::options::Options;
use super::picture::Picture;

/// A key frame may take as much as so many others.
const KEY_WEIGHT: i64 = 8;
/// With a fixed share of noise, so many times as many macroblocks have grain as change it.
const SPREAD: usize = 4;

/// See the module.
pub(super) struct Grain {
    /// All macroblocks in a scattered order; the first of them have grain.
    order: Vec<u16>,
    grained: usize,
    next: usize,
    random: u32,
    noise: u8,
    bitrate: u32,
    fps: u32,
    /// Frames over which the rate has to be met.
    window: u32,
    left: u32,
    /// Bits that were not spent (or too many, below zero).
    credit: i64,
    /// What the frames between key frames have left of their shares, or overdrawn.
    bank: i64,
    /// Sixteenths of a bit that a macroblock takes: in other frames and in key frames, clean and noisy.
    costs: [[i64; 2]; 2],
    /// Bits beside the macroblocks.
    overhead: i64,
}

impl Grain {
    pub(super) fn new(options: &Options, mbs: usize) -> Grain {
        let mut grain = Grain {
            order: (0..mbs.min(1 << 16)).map(|mb| mb as u16).collect(),
            grained: 0,
            next: 0,
            random: 0x2545_f491,
            noise: options.noise,
            bitrate: options.bitrate,
            fps: u32::from(options.fps),
            window: options.gop_frames().min(2 * u32::from(options.fps)),
            left: 0,
            credit: 0,
            bank: 0,
            costs: [[60 * 16, 110 * 16], [8 * 16, 105 * 16]],
            overhead: 400,
        };
        for i in (1..grain.order.len()).rev() {
            let other = grain.draw() as usize % (i + 1);
            grain.order.swap(i, other);
        }
        grain
    }

    /// Another bit rate from the next frame on; 0 ends the control.
    pub(super) fn set_bitrate(&mut self, bitrate: u32) {
        if bitrate != self.bitrate {
            self.bitrate = bitrate;
            self.credit = 0;
            self.bank = 0;
            self.left = 0;
        }
    }

    /// Whether the rate pays for a frame with something new in it. Where it does not, the picture
    /// stands still for a frame, as it does with real encoders.
    pub(super) fn affords(&self) -> bool {
        self.bitrate == 0 || self.bank >= 0
    }

    /// Bits for the next frame that is no key frame.
    fn share(&self) -> i64 {
        let left = i64::from(if self.left == 0 { self.window } else { self.left }).max(1);
        (self.credit + left * self.per_frame()).max(0) / left
    }

    /// Puts grain into the picture before it is encoded; returns bytes of padding.
    pub(super) fn apply(&mut self, picture: &mut Picture, key: bool, still: bool) -> usize {
        let mbs = self.order.len();
        if self.bitrate == 0 {
            let changing = mbs * usize::from(self.noise) / 100;
            let all = (changing * SPREAD).min(mbs);
            if key || self.grained != all {
                self.grain_all(picture, all);
            } else {
                self.stir(picture, changing);
            }
            return 0;
        }
        if key || self.left == 0 {
            self.left = self.window;
        }
        let left = i64::from(self.left);
        let share = self.share();
        let want = if key { share * left * KEY_WEIGHT / (KEY_WEIGHT + left - 1) } else { share };
        self.left -= 1;
        self.bank += if key { 0 } else { share };
        if still {
            return 0;
        }

        let [clean, noisy] = self.costs[usize::from(key)];
        let free = want - self.overhead;
        let short = if key {
            let rest = free * 16 - mbs as i64 * clean;
            let count = (rest / (noisy - clean).max(16)).clamp(0, mbs as i64);
            self.grain_all(picture, count as usize);
            free - (mbs as i64 * clean + count * (noisy - clean)) / 16
        } else {
            let mut content = 0;
            for (mb, _) in picture.dirty().iter().enumerate().filter(|(_, dirty)| **dirty) {
                content += if picture.noisy(mb) { noisy } else { clean };
            }
            let rest = free * 16 - content;
            let count = (rest / noisy.max(16)).clamp(0, mbs as i64);
            self.grained = self.grained.max(count as usize);
            self.stir(picture, count as usize);
            free - (content + count * noisy) / 16
        };
        // too little to be worth its own header is left as credit
        if short > 1000 { (short / 8) as usize } else { 0 }
    }

    /// Learns from an encoded frame.
    pub(super) fn account(&mut self, key: bool, bytes: usize, padding: usize, spent: &Spent) {
        let bits = bytes as i64 * 8;
        let bound = i64::from(self.bitrate) * 2;
        self.bank = if key { 0 } else { (self.bank - bits).clamp(-bound, self.per_frame()) };
        self.credit = (self.credit + self.per_frame() - bits).clamp(-bound, bound);
        let costs = &mut self.costs[usize::from(key)];
        for (cost, (count, bits)) in costs.iter_mut().zip([spent.clean, spent.noisy]) {
            if count >= 8 {
                let seen = bits as i64 * 16 / count as i64;
                *cost += (seen - *cost) / 4;
            }
        }
        let beside = bits - padding as i64 * 8 - (spent.clean.1 + spent.noisy.1) as i64;
        self.overhead += (beside - self.overhead) / 4;
    }

    fn per_frame(&self) -> i64 {
        i64::from(self.bitrate / self.fps.max(1))
    }

    /// New grain for the first `count`, none for the rest.
    fn grain_all(&mut self, picture: &mut Picture, count: usize) {
        if count == 0 && self.grained == 0 {
            return;
        }
        for i in 0..self.order.len() {
            let word = if i < count { self.draw() } else { 0 };
            picture.set_noise(usize::from(self.order[i]), word);
        }
        self.grained = count;
    }

    /// Other grain for `count` of those that have it.
    fn stir(&mut self, picture: &mut Picture, count: usize) {
        for _ in 0..count.min(self.grained) {
            self.next = if self.next + 1 < self.grained { self.next + 1 } else { 0 };
            let word = self.draw();
            picture.set_noise(usize::from(self.order[self.next]), word);
        }
    }

    fn draw(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random
    }
}
