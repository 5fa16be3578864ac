//! The QR code of a setup text: version 2 (25 x 25), error correction Q, alphanumeric, which is just
//! what HomeKit's 20 characters need. Drawn for a terminal in half blocks, or as SVG.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

/// Modules on each side.
pub const SIDE: usize = 25;
/// Light modules around it.
const QUIET: usize = 4;
/// Characters that fit.
const LONGEST: usize = 29;
const DATA: usize = 22;
const CORRECTION: usize = 22;
const CHARACTERS: &[u8; 45] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:";

/// Rows of modules; bit `x` is set where column `x` is dark.
type Rows = [u32; SIDE];

/// A QR code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qr {
    rows: Rows,
}

/// Modules that are being placed.
struct Canvas {
    dark: Rows,
    /// Those that are no data.
    fixed: Rows,
}

fn is_set(rows: &Rows, x: usize, y: usize) -> bool {
    rows.get(y).is_some_and(|row| row >> x & 1 == 1)
}

impl Qr {
    /// Of a text of at most 29 digits, capital letters and ` $%*+-./:`; nothing for any other.
    pub fn new(text: &str) -> Option<Qr> {
        let words = codewords(text)?;
        let mut canvas = Canvas { dark: [0; SIDE], fixed: [0; SIDE] };
        canvas.patterns();
        canvas.data(&words);
        let masked = (0..8).map(|mask| canvas.masked(mask));
        masked.min_by_key(penalty).map(|rows| Qr { rows })
    }

    /// Whether a module is dark; beyond the edge all are light.
    pub fn is_dark(&self, x: usize, y: usize) -> bool {
        x < SIDE && is_set(&self.rows, x, y)
    }

    /// For a terminal, light on dark: two modules in one character.
    pub fn text(&self) -> String {
        let light = |x: usize, y: usize| !self.is_dark(x.wrapping_sub(QUIET), y.wrapping_sub(QUIET));
        let mut out = String::new();
        for y in (0..SIDE + 2 * QUIET).step_by(2) {
            for x in 0..SIDE + 2 * QUIET {
                // Below the last line there is nothing.
                let lower = y + 1 < SIDE + 2 * QUIET && light(x, y + 1);
                out.push(match (light(x, y), lower) {
                    (true, true) => '█',
                    (true, false) => '▀',
                    (false, true) => '▄',
                    (false, false) => ' ',
                });
            }
            out.push('\n');
        }
        out
    }

    /// As an SVG document that scales to any size.
    pub fn svg(&self) -> String {
        let mut out = String::from(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 33 33\" shape-rendering=\"crispEdges\">\
             <path fill=\"#fff\" d=\"M0 0h33v33H0z\"/><path d=\"",
        );
        for y in 0..SIDE {
            for x in (0..SIDE).filter(|&x| self.is_dark(x, y)) {
                out.push('M');
                number(&mut out, x + QUIET);
                out.push(' ');
                number(&mut out, y + QUIET);
                out.push_str("h1v1h-1z");
            }
        }
        out.push_str("\"/></svg>");
        out
    }
}

/// A number below 100.
fn number(out: &mut String, n: usize) {
    if n > 9 {
        out.push(char::from(b'0' + (n / 10 % 10) as u8));
    }
    out.push(char::from(b'0' + (n % 10) as u8));
}

/// Data and correction.
fn codewords(text: &str) -> Option<Vec<u8>> {
    if text.len() > LONGEST {
        return None;
    }
    let mut bits = Bits { words: Vec::with_capacity(DATA + CORRECTION), len: 0 };
    bits.push(0b0010, 4);
    bits.push(text.len(), 9);
    let digit = |c: u8| CHARACTERS.iter().position(|&known| known == c);
    for pair in text.as_bytes().chunks(2) {
        match *pair {
            [a, b] => bits.push(digit(a)? * 45 + digit(b)?, 11),
            [a] => bits.push(digit(a)?, 6),
            _ => {}
        }
    }
    bits.push(0, 4.min(DATA * 8 - bits.len));
    let mut words = bits.words;
    for pad in [0xec, 0x11].into_iter().cycle().take(DATA - words.len()) {
        words.push(pad);
    }
    words.extend(correction(&words));
    Some(words)
}

/// Bits, highest first; those of the last word that nobody has pushed are zero.
struct Bits {
    words: Vec<u8>,
    len: usize,
}

impl Bits {
    fn push(&mut self, value: usize, count: usize) {
        for i in (0..count).rev() {
            if self.len.is_multiple_of(8) {
                self.words.push(0);
            }
            if let Some(last) = self.words.last_mut() {
                *last |= ((value >> i & 1) as u8) << (7 - self.len % 8);
            }
            self.len += 1;
        }
    }
}

/// A product in the field of 256 elements.
fn product(a: u8, b: u8) -> u8 {
    let mut result = 0u16;
    for i in (0..8).rev() {
        result = (result << 1) ^ ((result >> 7) * 0x11d);
        result ^= u16::from(b >> i & 1) * u16::from(a);
    }
    result as u8
}

/// The remainder of Reed and Solomon's division.
fn correction(data: &[u8]) -> [u8; CORRECTION] {
    // The generator's coefficients below the highest, highest first.
    let mut generator = [0; CORRECTION];
    if let Some(last) = generator.last_mut() {
        *last = 1;
    }
    let mut root = 1;
    for _ in 0..CORRECTION {
        let mut above = 0;
        for coefficient in generator.iter_mut().rev() {
            above = std::mem::replace(coefficient, product(*coefficient, root) ^ above);
        }
        root = product(root, 2);
    }
    let mut rest = [0; CORRECTION];
    for word in data {
        let [first, ..] = rest;
        let factor = first ^ word;
        rest.rotate_left(1);
        if let Some(last) = rest.last_mut() {
            *last = 0;
        }
        for (r, g) in rest.iter_mut().zip(generator) {
            *r ^= product(g, factor);
        }
    }
    rest
}

impl Canvas {
    fn set(&mut self, x: usize, y: usize, dark: bool) {
        if let (Some(row), Some(fixed)) = (self.dark.get_mut(y), self.fixed.get_mut(y)) {
            *row = *row & !(1 << x) | u32::from(dark) << x;
            *fixed |= 1 << x;
        }
    }

    /// Everything that is no data; the format's place is kept.
    fn patterns(&mut self) {
        for i in 0..SIDE {
            self.set(6, i, i % 2 == 0);
            self.set(i, 6, i % 2 == 0);
        }
        for (left, top) in [(0, 0), (SIDE - 7, 0), (0, SIDE - 7)] {
            // With the light line around it, where that is inside.
            for y in 0..9 {
                for x in 0..9 {
                    let (Some(at_x), Some(at_y)) = ((left + x).checked_sub(1), (top + y).checked_sub(1))
                    else {
                        continue;
                    };
                    let ring = x.abs_diff(4).max(y.abs_diff(4));
                    if at_x < SIDE && at_y < SIDE {
                        self.set(at_x, at_y, ring != 2 && ring != 4);
                    }
                }
            }
        }
        for y in 16..21usize {
            for x in 16..21usize {
                self.set(x, y, x.abs_diff(18).max(y.abs_diff(18)) != 1);
            }
        }
        self.format(0);
    }

    /// Level Q and the mask, protected by their own code, twice.
    fn format(&mut self, mask: u32) {
        let data = 0b11 << 3 | mask;
        let mut rest = data;
        for _ in 0..10 {
            rest = (rest << 1) ^ ((rest >> 9) * 0x537);
        }
        let bits = (data << 10 | rest) ^ 0x5412;
        for i in 0..15 {
            let dark = bits >> i & 1 == 1;
            let (x, y) = match i {
                0..=5 => (8, i),
                6 => (8, 7),
                7 => (8, 8),
                8 => (7, 8),
                _ => (14 - i, 8),
            };
            self.set(x, y, dark);
            let (x, y) = if i < 8 { (SIDE - 1 - i, 8) } else { (8, SIDE - 15 + i) };
            self.set(x, y, dark);
        }
        self.set(8, SIDE - 8, true);
    }

    /// Up and down in columns of two, from the right; the rest stays light.
    fn data(&mut self, words: &[u8]) {
        let mut bits = words.iter().flat_map(|word| (0..8).rev().map(move |i| word >> i & 1 == 1));
        let columns = (7..SIDE).rev().step_by(2).chain([5, 3, 1]);
        for (turn, right) in columns.enumerate() {
            for step in 0..SIDE {
                let y = if turn % 2 == 0 { SIDE - 1 - step } else { step };
                for x in [right, right - 1] {
                    if !is_set(&self.fixed, x, y)
                        && let Some(row) = self.dark.get_mut(y)
                    {
                        *row |= u32::from(bits.next().unwrap_or(false)) << x;
                    }
                }
            }
        }
    }

    fn masked(&self, mask: u32) -> Rows {
        let mut canvas = Canvas { dark: self.dark, fixed: self.fixed };
        for (y, (row, fixed)) in canvas.dark.iter_mut().zip(self.fixed).enumerate() {
            for x in (0..SIDE).filter(|x| fixed >> x & 1 == 0) {
                let turned = match mask {
                    0 => (x + y) % 2,
                    1 => y % 2,
                    2 => x % 3,
                    3 => (x + y) % 3,
                    4 => (x / 3 + y / 2) % 2,
                    5 => x * y % 2 + x * y % 3,
                    6 => (x * y % 2 + x * y % 3) % 2,
                    _ => ((x + y) % 2 + x * y % 3) % 2,
                };
                *row ^= u32::from(turned == 0) << x;
            }
        }
        canvas.format(mask);
        canvas.dark
    }
}

/// How hard it is to scan, as the standard counts it.
fn penalty(rows: &Rows) -> usize {
    let mut sum = 0;
    for across in [true, false] {
        for a in 0..SIDE {
            let dark = |b: usize| if across { is_set(rows, b, a) } else { is_set(rows, a, b) };
            let mut run = 0;
            // The last eleven modules; before and after the line all is light.
            let mut last = 0u32;
            for b in 0..SIDE {
                run = if b > 0 && dark(b) == dark(b - 1) { run + 1 } else { 1 };
                sum += match run {
                    5 => 3,
                    6.. => 1,
                    _ => 0,
                };
                last = (last << 1 | u32::from(dark(b))) & 0x7ff;
                if b >= 10 && matches!(last, 0b000_0101_1101 | 0b101_1101_0000) {
                    sum += 40;
                }
            }
        }
    }
    for y in 1..SIDE {
        for x in 1..SIDE {
            let here = is_set(rows, x, y);
            if [(x - 1, y), (x, y - 1), (x - 1, y - 1)].iter().all(|&(x, y)| is_set(rows, x, y) == here) {
                sum += 3;
            }
        }
    }
    let dark: usize = rows.iter().map(|row| row.count_ones() as usize).sum();
    // Ten for each twentieth that it is away from half.
    sum + (dark * 20).abs_diff(SIDE * SIDE * 10) / (SIDE * SIDE) * 10
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Drawn by another encoder (Python's `qrcode`, mask 6) and read by OpenCV.
    const KNOWN: [&str; SIDE] = [
        "1111111001011111001111111",
        "1000001011100111001000001",
        "1011101000110110001011101",
        "1011101011111011001011101",
        "1011101010011101001011101",
        "1000001000100110001000001",
        "1111111010101010101111111",
        "0000000010101010000000000",
        "0101111010010111111011010",
        "0100100110001010010001100",
        "0100111001010010010100111",
        "0110110111101011010001010",
        "0000001100101110101100001",
        "1011110110111000001110100",
        "1110101110000101110000111",
        "1011000011100011000111010",
        "1001001011010110111110100",
        "0000000010110101100011001",
        "1111111000011001101011101",
        "1000001010001101100011000",
        "1011101010011101111110000",
        "1011101011110101111100001",
        "1011101001001110011001011",
        "1000001011000011100000110",
        "1111111001000000011110111",
    ];

    #[test]
    fn a_telephone_reads_the_code() {
        let qr = Qr::new("X-HM://00GW95DQAREFC").unwrap();
        for (y, row) in KNOWN.iter().enumerate() {
            let ours: String = (0..SIDE).map(|x| if qr.is_dark(x, y) { '1' } else { '0' }).collect();
            assert_eq!(ours, *row, "line {y}");
        }
    }

    #[test]
    fn what_does_not_fit_is_no_code() {
        assert!(Qr::new("ABCDEFGHIJKLMNOPQRSTUVWXYZ012").is_some());
        assert!(Qr::new("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123").is_none());
        assert!(Qr::new("lower").is_none());
        assert!(Qr::new("").is_some());
    }

    #[test]
    fn drawings_have_the_quiet_zone_and_every_module() {
        let qr = Qr::new("X-HM://00GW95DQAREFC").unwrap();
        let text = qr.text();
        let lines: Vec<Vec<char>> = text.lines().map(|l| l.chars().collect()).collect();
        assert_eq!((lines.len(), lines[0].len()), (17, 33));
        for y in 0..SIDE {
            for x in 0..SIDE {
                let block = lines[(y + QUIET) / 2][x + QUIET];
                let light = matches!((block, (y + QUIET) % 2), ('█', _) | ('▀', 0) | ('▄', 1));
                assert_eq!(light, !qr.is_dark(x, y));
            }
        }
        let dark = KNOWN.iter().flat_map(|r| r.bytes()).filter(|&b| b == b'1').count();
        assert_eq!(qr.svg().matches('M').count(), dark + 1);
    }
}
