//! The demo camera's JPEG: baseline, 4:2:0, the standard's own Huffman tables, quantisers of the
//! usual quality 90. A block is flat or two by two cells, whose transform is known beforehand, so
//! there is no DCT. Colours are turned from video range to the full range of JFIF.

use super::picture::Picture;
use crate::media::jpeg::{CHROMA, HUFFMAN, Huffman, LUMA};

const QUALITY: u32 = 90;

const QUANT: [[i32; 64]; 2] = [scaled(&LUMA), scaled(&CHROMA)];

const fn scaled(table: &[u8; 64]) -> [i32; 64] {
    let mut out = [0; 64];
    let mut i = 0;
    while i < 64 {
        let value = (table[i] as u32 * (200 - 2 * QUALITY) + 50) / 100;
        out[ZIGZAG[i]] = if value == 0 { 1 } else { value as i32 };
        i += 1;
    }
    out
}

/// Places in the order of rising frequency.
const ZIGZAG: [usize; 64] = zigzag();

const fn zigzag() -> [usize; 64] {
    let mut out = [0; 64];
    let (mut i, mut sum) = (0, 0);
    while sum < 15 {
        let mut step = 0;
        while step <= sum {
            // odd diagonals run down, even ones up
            let (x, y) = if sum % 2 == 1 { (sum - step, step) } else { (step, sum - step) };
            if x < 8 && y < 8 {
                out[i] = y * 8 + x;
                i += 1;
            }
            step += 1;
        }
        sum += 1;
    }
    out
}

/// For each value its length and its code.
type Codes = [(u8, u16); 256];
static CODES: [Codes; 4] = [codes(&HUFFMAN[0]), codes(&HUFFMAN[1]), codes(&HUFFMAN[2]), codes(&HUFFMAN[3])];

const fn codes((_, lengths, values): &Huffman) -> Codes {
    let mut out = [(0, 0); 256];
    let (mut code, mut at, mut length) = (0u16, 0, 0);
    while length < 16 {
        let mut n = 0;
        while n < lengths[length] {
            out[values[at] as usize] = (length as u8 + 1, code);
            code += 1;
            at += 1;
            n += 1;
        }
        code <<= 1;
        length += 1;
    }
    out
}

/// 1024 times the one-dimensional transform of a step (four ones, four minus ones) at the odd
/// frequencies; at the even ones it is nothing.
const STEP: [i32; 4] = [2624, -922, 616, -522];
/// A step in one direction, flat in the other, of a quarter's height: 1024 times.
const EDGE: [i32; 4] = [1856, -652, 435, -369];

/// Entropy-coded bits, with a zero behind each 0xff.
struct Scan<'a> {
    out: &'a mut Vec<u8>,
    held: u64,
    count: u32,
}

impl Scan<'_> {
    fn put(&mut self, length: u32, bits: u32) {
        self.held = (self.held << length) | u64::from(bits);
        self.count += length;
        while self.count >= 8 {
            self.count -= 8;
            let byte = (self.held >> self.count) as u8;
            self.out.push(byte);
            if byte == 0xff {
                self.out.push(0);
            }
        }
    }

    /// A value with the zeros before it.
    fn value(&mut self, codes: &Codes, run: usize, value: i32) {
        let size = 32 - value.unsigned_abs().leading_zeros();
        let (length, code) = codes[(run << 4) | size as usize];
        self.put(u32::from(length), u32::from(code));
        let bits = if value < 0 { value - 1 } else { value };
        self.put(size, bits as u32 & ((1 << size) - 1));
    }

    /// A block of two by two cells in full range.
    fn block(&mut self, chroma: usize, cells: [i32; 4], last: &mut i32) {
        let (dc, ac) = (&CODES[chroma * 2], &CODES[chroma * 2 + 1]);
        let quant = &QUANT[chroma];
        let [a, b, c, d] = cells;
        let mean = round(2 * (a + b + c + d) - 1024, quant[0]);
        self.value(dc, 0, mean - *last);
        *last = mean;
        if a != b || a != c || a != d {
            let (across, down, both) = (a - b + c - d, a + b - c - d, a - b - c + d);
            let mut levels = [0; 64];
            for i in 0..4 {
                let odd = 2 * i + 1;
                levels[odd] = round(across * EDGE[i], quant[odd] * 1024);
                levels[odd * 8] = round(down * EDGE[i], quant[odd * 8] * 1024);
                for (j, step) in STEP.iter().enumerate() {
                    let at = (2 * j + 1) * 8 + odd;
                    levels[at] = round(both * ((STEP[i] * step) >> 12), quant[at] * 1024);
                }
            }
            let mut run = 0;
            for &place in &ZIGZAG[1..] {
                let level = levels[place];
                if level == 0 {
                    run += 1;
                    continue;
                }
                while run > 15 {
                    let (length, code) = ac[0xf0];
                    self.put(u32::from(length), u32::from(code));
                    run -= 16;
                }
                self.value(ac, run, level);
                run = 0;
            }
            if levels[63] != 0 {
                return; // nothing left to end
            }
        }
        let (length, code) = ac[0];
        self.put(u32::from(length), u32::from(code));
    }
}

fn round(value: i32, by: i32) -> i32 {
    (value + if value < 0 { -by / 2 } else { by / 2 }) / by
}

/// Video range to full range.
fn full_luma(y: i32) -> i32 {
    ((y - 16) * 255 + 109).div_euclid(219).clamp(0, 255)
}

fn full_chroma(c: i32) -> i32 {
    (128 + ((c - 128) * 255 + 112).div_euclid(224)).clamp(0, 255)
}

fn segment(out: &mut Vec<u8>, marker: u8, length: usize) {
    out.extend_from_slice(&[0xff, marker]);
    out.extend_from_slice(&((length + 2) as u16).to_be_bytes());
}

fn head(picture: &Picture, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xff, 0xd8]);
    segment(out, 0xe0, 14);
    out.extend_from_slice(b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0");
    segment(out, 0xdb, 130);
    for (i, table) in QUANT.iter().enumerate() {
        out.push(i as u8);
        out.extend(ZIGZAG.iter().map(|place| table[*place] as u8));
    }
    segment(out, 0xc0, 15);
    out.push(8);
    out.extend_from_slice(&(picture.height() as u16).to_be_bytes());
    out.extend_from_slice(&(picture.width() as u16).to_be_bytes());
    out.extend_from_slice(&[3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1]);
    segment(out, 0xc4, HUFFMAN.iter().map(|(_, _, values)| 17 + values.len()).sum());
    for (head, lengths, values) in HUFFMAN {
        out.push(head);
        out.extend_from_slice(lengths);
        out.extend_from_slice(values);
    }
    segment(out, 0xda, 10);
    out.extend_from_slice(&[3, 1, 0x00, 2, 0x11, 3, 0x11, 0, 63, 0]);
}

/// Appends the picture as a JPEG file.
pub(super) fn write(picture: &Picture, out: &mut Vec<u8>) {
    head(picture, out);
    let mut scan = Scan { out, held: 0, count: 0 };
    let mut last = [0; 3];
    for my in 0..picture.mbs_y {
        for mx in 0..picture.mbs_x {
            let cells = picture.luma_of(mx, my).map(|row| row.map(full_luma));
            for (y, x) in [(0, 0), (0, 2), (2, 0), (2, 2)] {
                let block = [cells[y][x], cells[y][x + 1], cells[y + 1][x], cells[y + 1][x + 1]];
                scan.block(0, block, &mut last[0]);
            }
            for (plane, second) in [false, true].into_iter().enumerate() {
                let [[a, b], [c, d]] = picture.chroma_of(second, mx, my);
                scan.block(1, [a, b, c, d].map(full_chroma), &mut last[1 + plane]);
            }
        }
    }
    // ones up to the byte's end
    let rest = (8 - scan.count % 8) % 8;
    scan.put(rest, (1 << rest) - 1);
    out.extend_from_slice(&[0xff, 0xd9]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_whole() {
        for (_, lengths, values) in &HUFFMAN {
            assert_eq!(lengths.iter().map(|n| usize::from(*n)).sum::<usize>(), values.len());
        }
        let mut places = ZIGZAG;
        places.sort_unstable();
        assert!(places.iter().enumerate().all(|(i, p)| i == *p));
        assert_eq!(ZIGZAG[..10], [0, 1, 8, 16, 9, 2, 3, 10, 17, 24]);
    }

    #[test]
    fn steps_have_the_transform_that_the_dct_gives() {
        for (i, step) in STEP.iter().enumerate() {
            let u = (2 * i + 1) as f64;
            let exact: f64 =
                (0..4).map(|x| (f64::from(2 * x + 1) * u * std::f64::consts::PI / 16.0).cos()).sum();
            assert!((exact * 1024.0 - f64::from(*step)).abs() < 1.0);
            assert!((exact * 1024.0 * 8f64.sqrt() / 4.0 - f64::from(EDGE[i])).abs() < 1.0);
        }
    }
}
