//! The demo camera's JPEG: baseline, 4:2:0, the standard's own Huffman tables, quantisers of the
//! usual quality 90. A block is flat or two by two cells, whose transform is known beforehand, so
//! there is no DCT. Colours are turned from video range to the full range of JFIF.

use super::picture::Picture;

const QUALITY: u32 = 90;

#[rustfmt::skip]
const LUMA_QUANT: [u8; 64] = [
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
];
#[rustfmt::skip]
const CHROMA_QUANT: [u8; 64] = [
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
];

const QUANT: [[i32; 64]; 2] = [scaled(&LUMA_QUANT), scaled(&CHROMA_QUANT)];

const fn scaled(table: &[u8; 64]) -> [i32; 64] {
    let mut out = [0; 64];
    let mut i = 0;
    while i < 64 {
        let value = (table[i] as u32 * (200 - 2 * QUALITY) + 50) / 100;
        out[i] = if value == 0 { 1 } else { value as i32 };
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

/// A Huffman table: how many codes of each length, and what they stand for.
struct Table {
    lengths: [u8; 16],
    values: &'static [u8],
}

const DC_VALUES: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
/// Tables K.3 to K.6: DC and AC of luma, DC and AC of chroma.
#[rustfmt::skip]
const TABLES: [Table; 4] = [
    Table { lengths: [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0], values: &DC_VALUES },
    Table { lengths: [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 125], values: &[
        0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07,
        0x22, 0x71, 0x14, 0x32, 0x81, 0x91, 0xa1, 0x08, 0x23, 0x42, 0xb1, 0xc1, 0x15, 0x52, 0xd1, 0xf0,
        0x24, 0x33, 0x62, 0x72, 0x82, 0x09, 0x0a, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x25, 0x26, 0x27, 0x28,
        0x29, 0x2a, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49,
        0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69,
        0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89,
        0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
        0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3, 0xc4, 0xc5,
        0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda, 0xe1, 0xe2,
        0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8,
        0xf9, 0xfa,
    ] },
    Table { lengths: [0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0], values: &DC_VALUES },
    Table { lengths: [0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 119], values: &[
        0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71,
        0x13, 0x22, 0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xa1, 0xb1, 0xc1, 0x09, 0x23, 0x33, 0x52, 0xf0,
        0x15, 0x62, 0x72, 0xd1, 0x0a, 0x16, 0x24, 0x34, 0xe1, 0x25, 0xf1, 0x17, 0x18, 0x19, 0x1a, 0x26,
        0x27, 0x28, 0x29, 0x2a, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48,
        0x49, 0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68,
        0x69, 0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87,
        0x88, 0x89, 0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5,
        0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3,
        0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda,
        0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8,
        0xf9, 0xfa,
    ] },
];

/// For each value its length and its code.
type Codes = [(u8, u16); 256];
static CODES: [Codes; 4] = [codes(&TABLES[0]), codes(&TABLES[1]), codes(&TABLES[2]), codes(&TABLES[3])];

const fn codes(table: &Table) -> Codes {
    let mut out = [(0, 0); 256];
    let (mut code, mut at, mut length) = (0u16, 0, 0);
    while length < 16 {
        let mut n = 0;
        while n < table.lengths[length] {
            out[table.values[at] as usize] = (length as u8 + 1, code);
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
    segment(out, 0xc4, TABLES.iter().map(|t| 17 + t.values.len()).sum());
    for (i, table) in TABLES.iter().enumerate() {
        // the class (DC, AC) above, the number (luma, chroma) below
        out.push(((i as u8 & 1) << 4) | (i as u8 >> 1));
        out.extend_from_slice(&table.lengths);
        out.extend_from_slice(table.values);
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
        for table in &TABLES {
            assert_eq!(table.lengths.iter().map(|n| usize::from(*n)).sum::<usize>(), table.values.len());
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
