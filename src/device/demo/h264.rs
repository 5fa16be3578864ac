//! The demo camera's H.264 encoder: Constrained Baseline, one slice, each macroblock either skipped
//! or Intra 16×16 with DC coefficients alone. The quantiser of each macroblock is the coarsest at
//! which its difference is a whole number, so nothing is lost and the decoder's picture is ours.
//! There is no motion search, no deblocking and no second reference picture.

use super::bits::Bits;
use super::cavlc;
use super::options::Options;
use super::picture::Picture;
use super::scene::Moment;

/// What stands before the capture time in the user data SEI of each access unit. Behind it: the
/// capture time ([`crate::media::Time`] in nanoseconds) and nanoseconds since 1970, both 64 bits,
/// big-endian.
pub const CAPTURE_UUID: [u8; 16] =
    [0x8e, 0x5f, 0x10, 0xc3, 0x7a, 0x2d, 0x4b, 0x96, 0xa1, 0x64, 0x39, 0xd2, 0x0b, 0xe7, 0x5c, 0xf8];
/// User data that only takes room.
const PADDING_UUID: [u8; 16] =
    [0x8e, 0x5f, 0x10, 0xc3, 0x7a, 0x2d, 0x4b, 0x96, 0xa1, 0x64, 0x39, 0xd2, 0x0b, 0xe7, 0x5c, 0xf9];

/// The quantiser at which a luma DC level is 16 sixteenths; each step of 6 below halves it.
const QP: i32 = 28;
/// The chroma quantiser lies so much lower, which makes its DC levels whole at the same steps.
const CHROMA_OFFSET: i32 = -6;

/// Table A-1: level, macroblocks a second, macroblocks a picture, macroblocks in the decoder's
/// store, kbit/s.
#[rustfmt::skip]
const LEVELS: [(u8, u32, u32, u32, u32); 16] = [
    (10, 1485, 99, 396, 64),
    (11, 3000, 396, 900, 192),
    (12, 6000, 396, 2376, 384),
    (13, 11_880, 396, 2376, 768),
    (20, 11_880, 396, 2376, 2000),
    (21, 19_800, 792, 4752, 4000),
    (22, 20_250, 1620, 8100, 4000),
    (30, 40_500, 1620, 8100, 10_000),
    (31, 108_000, 3600, 18_000, 14_000),
    (32, 216_000, 5120, 20_480, 20_000),
    (40, 245_760, 8192, 32_768, 20_000),
    (41, 245_760, 8192, 32_768, 50_000),
    (42, 522_240, 8704, 34_816, 50_000),
    (50, 589_824, 22_080, 110_400, 135_000),
    (51, 983_040, 36_864, 184_320, 240_000),
    (52, 2_073_600, 36_864, 184_320, 240_000),
];

/// What the size of an unhindered picture is taken for when the level is chosen.
const USUAL_BITRATE: u32 = 2_000_000;

fn level(options: &Options, mbs_x: u32, mbs_y: u32) -> u8 {
    let mbs = mbs_x * mbs_y;
    let bitrate = match (options.bitrate, options.noise) {
        (0, 0) => USUAL_BITRATE.min(mbs * u32::from(options.fps) * 100),
        (0, noise) => (mbs * u32::from(options.fps) * u32::from(noise)).saturating_mul(2),
        (bitrate, _) => bitrate,
    };
    let fits = |(_, rate, size, store, kbits): &(u8, u32, u32, u32, u32)| {
        *rate >= mbs * u32::from(options.fps)
            && *size >= mbs
            && *store >= mbs
            && size * 8 >= mbs_x * mbs_x
            && size * 8 >= mbs_y * mbs_y
            && u64::from(*kbits) * 1000 >= u64::from(bitrate)
    };
    LEVELS.iter().find(|level| fits(level)).map_or(52, |level| level.0)
}

/// Bits and macroblocks of one frame, those with noise apart.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    pub(super) clean: (u64, u64),
    pub(super) noisy: (u64, u64),
}

/// See the module.
pub(super) struct Encoder {
    bits: Bits,
    sps: Vec<u8>,
    pps: Vec<u8>,
    frame_num: u32,
    idr_pic_id: u32,
    qp: i32,
}

impl Encoder {
    pub(super) fn new(options: &Options) -> Encoder {
        let mut bits = Bits::default();
        let (mut sps, mut pps) = (Vec::new(), Vec::new());
        sequence(&mut bits, options);
        bits.escape_into(&mut sps);
        picture_set(&mut bits);
        bits.escape_into(&mut pps);
        Encoder { bits, sps, pps, frame_num: 0, idr_pic_id: 0, qp: QP }
    }

    pub(super) fn sps(&self) -> &[u8] {
        &self.sps
    }

    pub(super) fn pps(&self) -> &[u8] {
        &self.pps
    }

    /// Appends one access unit: NAL units behind their lengths, parameter sets not among them.
    /// A frame that is no key frame holds what is dirty in the picture.
    pub(super) fn frame(
        &mut self,
        picture: &Picture,
        moment: &Moment,
        key: bool,
        padding: usize,
        out: &mut Vec<u8>,
    ) -> Spent {
        self.user_data(moment, padding);
        self.bits.frame_into(out);

        if key {
            self.frame_num = 0;
            self.idr_pic_id ^= 1;
        } else {
            self.frame_num = (self.frame_num + 1) & 0xff;
        }
        let bits = &mut self.bits;
        bits.begin(if key { 0x65 } else { 0x41 });
        bits.ue(0); // first macroblock
        bits.ue(if key { 7 } else { 5 }); // all slices are I, or P
        bits.ue(0); // picture parameter set
        bits.put(8, self.frame_num);
        if key {
            bits.ue(self.idr_pic_id);
            bits.put(2, 0); // show earlier pictures; not a long-term reference
        } else {
            bits.put(3, 0); // one reference, as it comes; nothing to forget
        }
        bits.se(0); // slice quantiser
        bits.ue(1); // no deblocking
        self.qp = QP;

        let mut spent = Spent::default();
        let mut skipped = 0;
        let mut before = self.bits.len();
        let width = picture.mbs_x;
        for (my, row) in picture.dirty().chunks(width).enumerate() {
            for (mx, &dirty) in row.iter().enumerate() {
                if !key {
                    if !dirty {
                        skipped += 1;
                        continue;
                    }
                    self.bits.ue(skipped);
                    skipped = 0;
                }
                self.macroblock(picture, mx, my, key);
                let now = self.bits.len();
                let share = if picture.noisy(my * width + mx) { &mut spent.noisy } else { &mut spent.clean };
                share.0 += 1;
                share.1 += now - before;
                before = now;
            }
        }
        if skipped > 0 {
            self.bits.ue(skipped);
        }
        self.bits.end();
        self.bits.frame_into(out);
        spent
    }

    /// The SEI with the times, and with what fills the frame up.
    fn user_data(&mut self, moment: &Moment, padding: usize) {
        let bits = &mut self.bits;
        bits.begin(6);
        bits.put(8, 5);
        bits.put(8, 32);
        for byte in CAPTURE_UUID {
            bits.put(8, u32::from(byte));
        }
        for time in [moment.capture.nanos(), moment.unix] {
            bits.put(32, (time >> 32) as u32);
            bits.put(32, time as u32);
        }
        if padding > 0 {
            bits.put(8, 5);
            let mut size = padding + PADDING_UUID.len();
            while size >= 255 {
                bits.put(8, 255);
                size -= 255;
            }
            bits.put(8, size as u32);
            for byte in PADDING_UUID {
                bits.put(8, u32::from(byte));
            }
            for _ in 0..padding {
                bits.put(8, 0xff);
            }
        }
        bits.end();
    }

    fn macroblock(&mut self, picture: &Picture, mx: usize, my: usize, key: bool) {
        let (luma_mode, luma, luma_fine) = luma(picture, mx, my);
        let (chroma_mode, chroma, chroma_fine) = chroma(picture, mx, my);
        let fine = luma_fine.max(chroma_fine);
        let coded = chroma.iter().flatten().any(|c| *c != 0);

        let bits = &mut self.bits;
        bits.ue(if key { 1 } else { 6 } + luma_mode + 4 * u32::from(coded));
        bits.ue(chroma_mode);
        let qp = QP - 6 * fine;
        bits.se(qp - self.qp);
        self.qp = qp;

        let mut levels = [0; 16];
        for (level, (x, y)) in levels.iter_mut().zip(ZIGZAG) {
            *level = luma[y][x] >> (4 - fine);
        }
        cavlc::block(bits, &levels);
        if coded {
            for plane in &chroma {
                cavlc::block(bits, &plane.map(|c| if fine > 2 { c * 2 } else { c >> (2 - fine) }));
            }
        }
    }
}

/// The frame scan of a 4×4 block, as column and row.
const ZIGZAG: [(usize, usize); 16] = [
    (0, 0),
    (1, 0),
    (0, 1),
    (0, 2),
    (1, 1),
    (2, 0),
    (3, 0),
    (2, 1),
    (1, 2),
    (0, 3),
    (1, 3),
    (2, 2),
    (3, 1),
    (3, 2),
    (2, 3),
    (3, 3),
];

type Block = [[i32; 4]; 4];

/// Both ways at once: twice done it is 16 times what was there.
fn hadamard(block: &Block) -> Block {
    let line = |[a, b, c, d]: [i32; 4]| {
        let (ab, a_b, cd, c_d) = (a + b, a - b, c + d, c - d);
        [ab + cd, ab - cd, a_b - c_d, a_b + c_d]
    };
    let rows = block.map(line);
    let mut out = [[0; 4]; 4];
    for x in 0..4 {
        let column = line([rows[0][x], rows[1][x], rows[2][x], rows[3][x]]);
        for y in 0..4 {
            out[y][x] = column[y];
        }
    }
    out
}

/// About how many bits such coefficients take.
fn cost<'a>(levels: impl Iterator<Item = &'a i32>) -> u32 {
    levels.map(|c| if *c == 0 { 0 } else { 4 + 2 * (32 - c.unsigned_abs().leading_zeros()) }).sum()
}

/// How many halvings of the quantiser make all of these whole, if `free` are powers of two that
/// they may miss at none.
fn fineness<'a>(levels: impl Iterator<Item = &'a i32>, whole: u32) -> i32 {
    let any = levels.fold(0, |any, c| any | *c);
    whole.saturating_sub(any.trailing_zeros()) as i32
}

/// The prediction mode of luma, what is left of it transformed, and the quantiser that it needs.
fn luma(picture: &Picture, mx: usize, my: usize) -> (u32, Block, i32) {
    let cells = picture.luma_of(mx, my);
    let above = (my > 0).then(|| picture.luma_of(mx, my - 1)[3]);
    let left = (mx > 0).then(|| picture.luma_of(mx - 1, my).map(|row| row[3]));
    let sum = |line: &[i32; 4]| line.iter().sum::<i32>();
    let mean = match (&above, &left) {
        (Some(a), Some(l)) => (sum(a) + sum(l) + 4) >> 3,
        (Some(line), None) | (None, Some(line)) => (sum(line) + 2) >> 2,
        (None, None) => 128,
    };
    let rest = |at: &dyn Fn(usize, usize) -> i32| {
        let mut block = cells;
        for (y, row) in block.iter_mut().enumerate() {
            for (x, cell) in row.iter_mut().enumerate() {
                *cell -= at(x, y);
            }
        }
        let block = hadamard(&block);
        (cost(block.iter().flatten()), block)
    };
    let mut best = (rest(&|_, _| mean), 2);
    if let Some(above) = above.filter(|_| best.0.0 > 0) {
        let other = rest(&|x, _| above[x]);
        if other.0 < best.0.0 {
            best = (other, 0);
        }
    }
    if let Some(left) = left.filter(|_| best.0.0 > 0) {
        let other = rest(&|_, y| left[y]);
        if other.0 < best.0.0 {
            best = (other, 1);
        }
    }
    let ((_, block), mode) = best;
    (mode, block, fineness(block.iter().flatten(), 4))
}

/// The same for both planes of chroma.
fn chroma(picture: &Picture, mx: usize, my: usize) -> (u32, [[i32; 4]; 2], i32) {
    let mut rests = [[[0; 4]; 2]; 3];
    for (plane, second) in [false, true].into_iter().enumerate() {
        let cells = picture.chroma_of(second, mx, my);
        let above = (my > 0).then(|| picture.chroma_of(second, mx, my - 1)[1]);
        let left = (mx > 0).then(|| picture.chroma_of(second, mx - 1, my).map(|row| row[1]));
        for (mode, rest) in rests.iter_mut().enumerate() {
            let predicted = |x: usize, y: usize| {
                let (a, l) = (above.map(|a| a[x]), left.map(|l| l[y]));
                match (mode, a, l) {
                    (1, _, Some(l)) => l,
                    (2, Some(a), _) => a,
                    (_, None, None) => 128,
                    // off the diagonal one side is preferred
                    (_, Some(a), Some(l)) if x == y => (a + l + 1) >> 1,
                    (_, Some(a), Some(_)) if x == 1 => a,
                    (_, Some(_), Some(l)) => l,
                    (_, Some(a), None) => a,
                    (_, None, Some(l)) => l,
                }
            };
            let at = |x: usize, y: usize| cells[y][x] - predicted(x, y);
            let (a, b, c, d) = (at(0, 0), at(1, 0), at(0, 1), at(1, 1));
            rest[plane] = [a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d];
        }
    }
    let cost_of = |mode: usize| cost(rests[mode].iter().flatten());
    let mut mode = 0;
    let mut best = cost_of(0);
    for (other, possible) in [(1, mx > 0), (2, my > 0)] {
        if possible && cost_of(other) < best {
            (mode, best) = (other, cost_of(other));
        }
    }
    let rest = rests[mode];
    (mode as u32, rest, fineness(rest.iter().flatten(), 2))
}

fn sequence(bits: &mut Bits, options: &Options) {
    let (mbs_x, mbs_y) = (u32::from(options.width).div_ceil(16), u32::from(options.height).div_ceil(16));
    bits.begin(0x67);
    bits.put(8, 66);
    bits.put(8, 0xc0); // also fit for Main: Constrained Baseline
    bits.put(8, u32::from(level(options, mbs_x, mbs_y)));
    bits.ue(0); // its number
    bits.ue(4); // 8 bits of frame number
    bits.ue(2); // pictures are shown in the order of decoding
    bits.ue(1); // one reference picture
    bits.put(1, 0); // no gaps in frame numbers
    bits.ue(mbs_x - 1);
    bits.ue(mbs_y - 1);
    bits.put(1, 1); // frames only
    bits.put(1, 1); // direct inference, without meaning here
    let (right, bottom) = (mbs_x * 16 - u32::from(options.width), mbs_y * 16 - u32::from(options.height));
    if right + bottom > 0 {
        bits.put(1, 1);
        for cut in [0, right / 2, 0, bottom / 2] {
            bits.ue(cut);
        }
    } else {
        bits.put(1, 0);
    }
    bits.put(1, 1); // usability information
    bits.put(1, 1);
    bits.put(8, 1); // square pixels
    bits.put(1, 0); // overscan unknown
    bits.put(1, 1); // video signal
    bits.put(3, 5);
    bits.put(1, 0); // video range
    bits.put(1, 1);
    for _ in 0..3 {
        bits.put(8, 6); // BT.601: primaries, transfer, matrix
    }
    bits.put(1, 0); // chroma location
    bits.put(1, 1); // timing: two ticks a frame
    bits.put(32, 1);
    bits.put(32, 2 * u32::from(options.fps));
    bits.put(1, 1); // fixed
    bits.put(3, 0); // no decoder model, no picture structure
    bits.put(1, 1); // restrictions
    bits.put(1, 1);
    for limit in [0, 0, 10, 10, 0, 1] {
        bits.ue(limit); // the last two: nothing reordered, one frame held
    }
    bits.end();
}

fn picture_set(bits: &mut Bits) {
    bits.begin(0x68);
    bits.ue(0);
    bits.ue(0);
    bits.put(2, 0); // CAVLC
    bits.ue(0); // one slice group
    bits.ue(0);
    bits.ue(0);
    bits.put(3, 0); // no weights
    bits.se(QP - 26);
    bits.se(0);
    bits.se(CHROMA_OFFSET);
    bits.put(1, 1); // deblocking is switched in the slice
    bits.put(2, 0); // intra from inter allowed; no redundant pictures
    bits.end();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transform_is_its_own_inverse() {
        let mut block = [[0; 4]; 4];
        for (i, cell) in block.iter_mut().flatten().enumerate() {
            *cell = (i as i32 * 7919) % 256 - 100;
        }
        assert_eq!(hadamard(&hadamard(&block)), block.map(|r| r.map(|c| c * 16)));
    }

    #[test]
    fn even_luma_never_needs_more_than_the_escape_code_holds() {
        // the worst: all cells at one end of the range, predicted from the other
        const { assert!(16 * 255 / 2 <= cavlc::MAX_LEVEL) };
        const { assert!(4 * 255 * 2 <= cavlc::MAX_LEVEL) };
    }

    #[test]
    fn levels_are_the_usual_ones() {
        let of = |o: Options| level(&o, u32::from(o.width).div_ceil(16), u32::from(o.height).div_ceil(16));
        assert_eq!(of(Options::MAIN), 31);
        assert_eq!(of(Options::SUB), 30);
        assert_eq!(of(Options { width: 1920, height: 1080, ..Options::MAIN }), 40);
        assert_eq!(of(Options { width: 3840, height: 2160, fps: 60, ..Options::MAIN }), 52);
        assert_eq!(of(Options { width: 64, height: 64, fps: 1, ..Options::MAIN }), 10);
        assert_eq!(of(Options { width: 3840, height: 64, ..Options::MAIN }), 40);
    }
}
