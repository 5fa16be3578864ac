//! The picture between painter and encoders: one luma value for each 4×4 square of pixels ("cell"),
//! one pair of chroma values for each 8×8, which is exactly what a macroblock's DC coefficients can
//! say. Values are video range BT.601. It remembers which macroblocks changed since the last frame.
//!
//! Luma is always even: with that every difference can be coded without loss, so the decoder's
//! picture is this one, always.

/// A colour. Luma is even and leaves room for the noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Colour {
    pub(super) y: u8,
    pub(super) cb: u8,
    pub(super) cr: u8,
}

impl Colour {
    pub(super) const fn new(y: u8, cb: u8, cr: u8) -> Colour {
        Colour { y, cb, cr }
    }

    /// Lighter or darker by an even amount.
    pub(super) fn light(self, by: i32) -> Colour {
        Colour { y: (i32::from(self.y) + (by & !1)).clamp(18, 230) as u8, ..self }
    }
}

/// A rectangle of cells; right and bottom are outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Area {
    pub(super) x0: usize,
    pub(super) y0: usize,
    pub(super) x1: usize,
    pub(super) y1: usize,
}

impl Area {
    pub(super) fn holds(&self, x: usize, y: usize) -> bool {
        (self.x0..self.x1).contains(&x) && (self.y0..self.y1).contains(&y)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.x0 >= self.x1 || self.y0 >= self.y1
    }
}

/// The shortest side of a picture.
const SMALLEST: u16 = 16;

/// What each two bits of a macroblock's noise word add to a cell.
const NOISE: [i8; 4] = [0, 2, -2, 4];

/// See the module.
pub struct Picture {
    width: usize,
    height: usize,
    pub(super) mbs_x: usize,
    pub(super) mbs_y: usize,
    luma: Vec<u8>,
    cb: Vec<u8>,
    cr: Vec<u8>,
    noise: Vec<u32>,
    dirty: Vec<bool>,
}

impl Picture {
    pub(super) fn new(width: u16, height: u16) -> Picture {
        let (width, height) = (usize::from(width), usize::from(height));
        let (mbs_x, mbs_y) = (width.div_ceil(16), height.div_ceil(16));
        let mbs = mbs_x * mbs_y;
        Picture {
            width,
            height,
            mbs_x,
            mbs_y,
            luma: vec![16; mbs * 16],
            cb: vec![128; mbs * 4],
            cr: vec![128; mbs * 4],
            noise: vec![0; mbs],
            dirty: vec![true; mbs],
        }
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Macroblocks.
    pub(super) fn mbs(&self) -> usize {
        self.mbs_x * self.mbs_y
    }

    /// Everything, in cells, with what is cut off at the right and at the bottom.
    pub(super) fn all(&self) -> Area {
        Area { x0: 0, y0: 0, x1: self.mbs_x * 4, y1: self.mbs_y * 4 }
    }

    /// The same with its own ratio between these sides, if it is larger than them.
    pub(super) fn fitted(&self, (width, height): (u16, u16)) -> Option<Picture> {
        let (wide, high) = (usize::from(width), usize::from(height));
        if self.width <= wide && self.height <= high {
            return None;
        }
        // the side that has to shrink more says how much
        let (wide, high) = match self.width * high > self.height * wide {
            true => (wide, self.height * wide / self.width),
            false => (self.width * high / self.height, high),
        };
        let side = |pixels: usize| u16::try_from(pixels & !1).unwrap_or(u16::MAX).max(SMALLEST);
        let mut small = Picture::new(side(wide), side(high));
        let (cells, wide, high) = (self.all(), small.width, small.height);
        small.paint(small.all(), |x, y| {
            let x = (x * self.width / wide).min(cells.x1 - 1);
            let y = (y * self.height / high).min(cells.y1 - 1);
            let chroma = (y / 2) * (cells.x1 / 2) + x / 2;
            Colour { y: self.luma[y * cells.x1 + x], cb: self.cb[chroma], cr: self.cr[chroma] }
        });
        Some(small)
    }

    /// Asks `colour` for each cell of an area (widened to even cells) and notes what changed.
    pub(super) fn paint(&mut self, area: Area, colour: impl Fn(usize, usize) -> Colour) {
        let all = self.all();
        let (x1, y1) = (area.x1.min(all.x1), area.y1.min(all.y1));
        let stride = all.x1;
        for y in (area.y0 & !1..y1).step_by(2) {
            for x in (area.x0 & !1..x1).step_by(2) {
                let mb = (y / 4) * self.mbs_x + x / 4;
                let noise = self.noise[mb];
                let (mut cb, mut cr, mut changed) = (2, 2, false);
                for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                    let c = colour(x + dx, y + dy);
                    cb += u32::from(c.cb);
                    cr += u32::from(c.cr);
                    let luma = c.y.saturating_add_signed(delta(noise, x + dx, y + dy));
                    let cell = &mut self.luma[(y + dy) * stride + x + dx];
                    changed |= *cell != luma;
                    *cell = luma;
                }
                let (cb, cr) = ((cb / 4) as u8, (cr / 4) as u8);
                let at = (y / 2) * (stride / 2) + x / 2;
                changed |= self.cb[at] != cb || self.cr[at] != cr;
                self.cb[at] = cb;
                self.cr[at] = cr;
                self.dirty[mb] |= changed;
            }
        }
    }

    /// Gives a macroblock another grain; 0 is none.
    pub(super) fn set_noise(&mut self, mb: usize, word: u32) {
        let old = std::mem::replace(&mut self.noise[mb], word);
        if old == word {
            return;
        }
        let (x0, y0) = ((mb % self.mbs_x) * 4, (mb / self.mbs_x) * 4);
        for y in y0..y0 + 4 {
            for x in x0..x0 + 4 {
                let cell = &mut self.luma[y * self.mbs_x * 4 + x];
                *cell = cell.saturating_add_signed(delta(word, x, y) - delta(old, x, y));
            }
        }
        self.dirty[mb] = true;
    }

    pub(super) fn noisy(&self, mb: usize) -> bool {
        self.noise[mb] != 0
    }

    pub(super) fn dirty(&self) -> &[bool] {
        &self.dirty
    }

    /// Everything up to here is encoded.
    pub(super) fn settle(&mut self) {
        self.dirty.fill(false);
    }

    /// The four by four cells of a macroblock.
    #[inline]
    pub(super) fn luma_of(&self, mx: usize, my: usize) -> [[i32; 4]; 4] {
        let mut cells = [[0; 4]; 4];
        for (y, row) in cells.iter_mut().enumerate() {
            let at = (my * 4 + y) * self.mbs_x * 4 + mx * 4;
            for (to, &from) in row.iter_mut().zip(&self.luma[at..at + 4]) {
                *to = i32::from(from);
            }
        }
        cells
    }

    /// The two by two values of a macroblock in one chroma plane.
    #[inline]
    pub(super) fn chroma_of(&self, second: bool, mx: usize, my: usize) -> [[i32; 2]; 2] {
        let plane = if second { &self.cr } else { &self.cb };
        let at = my * 2 * self.mbs_x * 2 + mx * 2;
        let below = at + self.mbs_x * 2;
        [
            [i32::from(plane[at]), i32::from(plane[at + 1])],
            [i32::from(plane[below]), i32::from(plane[below + 1])],
        ]
    }

    /// Appends the pixels as three planes, 4:2:0: what every right decoder shows.
    pub fn planes(&self, out: &mut Vec<u8>) {
        let stride = self.mbs_x * 4;
        let chroma = (stride / 2, self.width / 2, self.height / 2);
        for (plane, (stride, width, height)) in
            [(&self.luma, (stride, self.width, self.height)), (&self.cb, chroma), (&self.cr, chroma)]
        {
            for (row, cells) in plane.chunks(stride).enumerate() {
                let begin = out.len();
                for cell in cells {
                    out.extend_from_slice(&[*cell; 4]);
                }
                out.truncate(begin + width);
                for _ in 1..height.saturating_sub(row * 4).min(4) {
                    out.extend_from_within(begin..begin + width);
                }
                if height <= row * 4 {
                    out.truncate(begin);
                }
            }
        }
    }
}

#[inline]
fn delta(noise: u32, x: usize, y: usize) -> i8 {
    NOISE[(noise >> (((y % 4) * 4 + x % 4) * 2)) as usize & 3]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_leaves_no_trace_when_it_goes() {
        let mut p = Picture::new(64, 64);
        p.paint(p.all(), |_, _| Colour::new(18, 100, 200));
        let mut before = Vec::new();
        p.planes(&mut before);
        p.settle();
        for word in [0xdead_beef, 0x1234_5678, 0xffff_ffff] {
            p.set_noise(5, word);
            p.paint(p.all(), |_, _| Colour::new(18, 100, 200));
        }
        assert_eq!(p.dirty().iter().filter(|d| **d).count(), 1);
        p.set_noise(5, 0);
        let mut after = Vec::new();
        p.planes(&mut after);
        assert_eq!(before, after);
    }

    #[test]
    fn only_what_changes_is_sent() {
        let mut p = Picture::new(64, 64);
        p.paint(p.all(), |_, _| Colour::new(40, 128, 128));
        p.settle();
        p.paint(p.all(), |_, _| Colour::new(40, 128, 128));
        assert!(p.dirty().iter().all(|d| !d));
        p.paint(p.all(), |x, y| Colour::new(if (x, y) == (7, 3) { 42 } else { 40 }, 128, 128));
        assert_eq!(p.dirty().iter().position(|d| *d), Some(1));
        assert_eq!(p.dirty().iter().filter(|d| **d).count(), 1);
    }
}
