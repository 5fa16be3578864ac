//! The person who walks through the picture: a skeleton of round limbs, posed by the way walked (so
//! that feet do not slide) and drawn into a small mask of cells. Integers only; any size.

use super::picture::{Area, Colour};

/// Units in one cell.
const UNIT: i64 = 16;
/// A full turn.
const TURN: i32 = 4096;

/// 1024 times the sine over a quarter turn.
const QUARTER: [i32; 17] =
    [0, 100, 200, 297, 392, 483, 569, 650, 724, 792, 851, 903, 946, 980, 1004, 1019, 1024];

/// 1024 times the sine of an angle in 4096ths of a turn.
pub(super) fn sine(angle: i32) -> i32 {
    let angle = angle.rem_euclid(TURN);
    let (half, sign) = if angle >= TURN / 2 { (angle - TURN / 2, -1) } else { (angle, 1) };
    let quarter = if half > TURN / 4 { TURN / 2 - half } else { half };
    let (i, rest) = ((quarter / 64) as usize, quarter % 64);
    let next = QUARTER.get(i + 1).copied().unwrap_or(1024);
    let here = QUARTER.get(i).copied().unwrap_or(1024);
    sign * (here + (next - here) * rest / 64)
}

/// Whole degrees to 4096ths of a turn.
const fn degrees(d: i32) -> i32 {
    d * TURN / 360
}

#[derive(Clone, Copy)]
struct Point {
    x: i64,
    y: i64,
}

impl Point {
    /// The other end of a limb that hangs at an angle from straight down, forward to the right.
    fn limb(self, length: i64, angle: i32) -> Point {
        let (sin, cos) = (i64::from(sine(angle)), i64::from(sine(angle + TURN / 4)));
        Point { x: self.x + length * sin / 1024, y: self.y + length * cos / 1024 }
    }
}

/// What the mask holds; 0 is nothing.
const PALETTE: [Colour; 8] = [
    Colour::new(16, 128, 128),
    Colour::new(164, 112, 152), // skin
    Colour::new(50, 118, 140),  // hair
    Colour::new(98, 96, 200),   // coat
    Colour::new(74, 104, 178),  // the far sleeve
    Colour::new(62, 148, 120),  // trousers
    Colour::new(44, 142, 122),  // the far leg
    Colour::new(28, 128, 128),  // shoes
];
const SKIN: u8 = 1;
const HAIR: u8 = 2;
const COAT: u8 = 3;
const FAR_SLEEVE: u8 = 4;
const LEG: u8 = 5;
const FAR_LEG: u8 = 6;
const SHOE: u8 = 7;

/// See the module.
pub(super) struct Figure {
    height: usize,
    width: usize,
    mask: Vec<u8>,
    /// Where the mask's left edge lies, in cells; the figure is half outside at both ends.
    left: isize,
    top: usize,
    shown: bool,
}

impl Figure {
    /// A figure of so many cells whose feet stand above row `ground`.
    pub(super) fn new(height: usize, ground: usize) -> Figure {
        let width = height * 3 / 4 + 2;
        Figure { height, width, mask: vec![0; width * height], left: 0, top: ground - height, shown: false }
    }

    /// How far it goes from outside to outside of a picture of so many cells.
    pub(super) fn way(&self, visible: usize) -> usize {
        visible + self.width
    }

    /// Takes it out of the picture.
    pub(super) fn hide(&mut self) {
        self.shown = false;
    }

    /// Where it is; it may reach out of the picture at the right.
    pub(super) fn area(&self) -> Area {
        if !self.shown {
            return Area::default();
        }
        let right = (self.left + self.width as isize).max(0) as usize;
        Area { x0: self.left.max(0) as usize, y0: self.top, x1: right, y1: self.top + self.height }
    }

    /// Its colour in a cell, if it is there.
    #[inline]
    pub(super) fn colour(&self, x: usize, y: usize) -> Option<Colour> {
        let column = usize::try_from(x as isize - self.left).ok().filter(|c| *c < self.width)?;
        let row = y.checked_sub(self.top)?;
        match self.mask.get(row * self.width + column) {
            Some(&part) if self.shown && part > 0 => PALETTE.get(usize::from(part)).copied(),
            _ => None,
        }
    }

    /// Poses it after `units` sixteenths of a cell of its way through a picture of so many cells.
    pub(super) fn pose(&mut self, units: u64, visible: usize, to_left: bool) {
        self.shown = true;
        self.mask.fill(0);
        let units = (units as i64).min(self.way(visible) as i64 * UNIT);
        let cells = (units / UNIT) as isize;
        self.left = if to_left { visible as isize - cells } else { cells - self.width as isize };
        let h = self.height as i64 * UNIT;
        let part = |thousandths: i64| h * thousandths / 1000;
        // one cycle is two steps
        let phase = (units * i64::from(TURN) / part(900).max(1)) as i32;
        let swing = sine(phase);
        let centre = (self.width as i64 * UNIT) / 2 + units % UNIT * if to_left { -1 } else { 1 };
        let bob = part(12) * i64::from(sine(phase * 2 + TURN / 4).abs()) / 1024;
        let hip = Point { x: centre - part(10), y: part(505) + bob / 2 };
        let shoulder = Point { x: centre + part(12), y: part(235) + bob / 2 };

        let arm = |s: i32| {
            let upper = degrees(30) * s / 1024;
            let elbow = shoulder.limb(part(155), upper);
            (elbow, elbow.limb(part(150), upper + degrees(24)))
        };
        let leg = |s: i32, lift: i32| {
            let thigh = degrees(27) * s / 1024;
            let knee = hip.limb(part(225), thigh);
            let shin = thigh - degrees(4) - degrees(48) * lift.max(0) / 1024;
            let ankle = knee.limb(part(220), shin);
            (knee, ankle, ankle.limb(part(75), shin + degrees(80)))
        };
        let lift = sine(phase + TURN / 4);

        let (elbow, hand) = arm(swing);
        self.limb(shoulder, elbow, part(33), FAR_SLEEVE, to_left);
        self.limb(elbow, hand, part(28), FAR_SLEEVE, to_left);
        let (knee, ankle, toe) = leg(-swing, -lift);
        self.limb(hip, knee, part(50), FAR_LEG, to_left);
        self.limb(knee, ankle, part(38), FAR_LEG, to_left);
        self.limb(ankle, toe, part(26), SHOE, to_left);
        let (knee, ankle, toe) = leg(swing, lift);
        self.limb(hip, knee, part(55), LEG, to_left);
        self.limb(knee, ankle, part(40), LEG, to_left);
        self.limb(ankle, toe, part(26), SHOE, to_left);

        let head = Point { x: centre + part(26), y: part(92) + bob / 2 };
        self.limb(Point { y: head.y + part(60), ..head }, shoulder, part(28), SKIN, to_left);
        self.limb(shoulder, Point { x: hip.x, y: hip.y - part(20) }, part(82), COAT, to_left);
        self.limb(head, Point { x: head.x + part(6), y: head.y + part(12) }, part(66), SKIN, to_left);
        let crown = Point { x: head.x - part(14), y: head.y - part(24) };
        self.limb(crown, Point { x: crown.x + part(26), y: crown.y - part(8) }, part(50), HAIR, to_left);
        let nape = Point { x: head.x - part(36), y: head.y + part(14) };
        self.limb(crown, nape, part(36), HAIR, to_left);

        let (elbow, hand) = arm(-swing);
        self.limb(shoulder, elbow, part(36), FAR_SLEEVE, to_left);
        self.limb(elbow, hand, part(30), FAR_SLEEVE, to_left);
        self.limb(hand, hand, part(30), SKIN, to_left);
    }

    /// A line with round ends.
    fn limb(&mut self, a: Point, b: Point, radius: i64, part: u8, mirror: bool) {
        let span = self.width as i64 * UNIT;
        let (a, b) =
            if mirror { (Point { x: span - a.x, ..a }, Point { x: span - b.x, ..b }) } else { (a, b) };
        let radius = radius.max(UNIT / 2);
        let cell = |v: i64, limit: usize| (v / UNIT).clamp(0, limit as i64) as usize;
        let (x0, x1) =
            (cell(a.x.min(b.x) - radius, self.width), cell(a.x.max(b.x) + radius + UNIT, self.width));
        let (y0, y1) =
            (cell(a.y.min(b.y) - radius, self.height), cell(a.y.max(b.y) + radius + UNIT, self.height));
        let d = Point { x: b.x - a.x, y: b.y - a.y };
        let (length2, radius2) = (d.x * d.x + d.y * d.y, radius * radius);
        for y in y0..y1 {
            for x in x0..x1 {
                let p = Point { x: x as i64 * UNIT + UNIT / 2 - a.x, y: y as i64 * UNIT + UNIT / 2 - a.y };
                let along = p.x * d.x + p.y * d.y;
                let inside = if along <= 0 {
                    p.x * p.x + p.y * p.y <= radius2
                } else if along >= length2 {
                    let q = Point { x: p.x - d.x, y: p.y - d.y };
                    q.x * q.x + q.y * q.y <= radius2
                } else {
                    let across = p.x * d.y - p.y * d.x;
                    across * across <= radius2 * length2
                };
                if inside {
                    self.mask[y * self.width + x] = part;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sine_is_a_sine() {
        for angle in 0..TURN {
            let exact = (f64::from(angle) * std::f64::consts::TAU / f64::from(TURN)).sin() * 1024.0;
            assert!((f64::from(sine(angle)) - exact).abs() < 3.0, "{angle}");
        }
        assert_eq!(sine(-TURN / 4), -1024);
    }

    #[test]
    fn it_comes_from_outside_and_leaves_at_the_other_side() {
        for height in [4, 28, 64] {
            let mut figure = Figure::new(height, height);
            let visible = height * 5;
            for to_left in [false, true] {
                let way = figure.way(visible);
                for cells in (0..way).step_by(7).chain([way]) {
                    figure.pose(cells as u64 * 16, visible, to_left);
                    let seen = (0..visible).any(|x| (0..height).any(|y| figure.colour(x, y).is_some()));
                    let inside = (figure.width..visible).contains(&cells);
                    assert!(seen || !inside, "{height} {cells}");
                    if cells == 0 || cells == figure.way(visible) {
                        assert!(!seen, "{height} {cells}");
                    }
                }
            }
        }
    }
}
