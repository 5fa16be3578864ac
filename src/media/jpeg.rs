//! JPEG files: their size, tables and where the picture's data begin; and the header that RTP
//! leaves out (RFC 2435) with its default tables. Never decodes a picture.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::fmt;

/// Why a file could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JpegError {
    /// No start of image at the beginning.
    NotJpeg,
    /// The bytes end before the picture's data begin.
    Ended,
    /// A segment contradicts itself or the standard.
    Broken(&'static str),
}

impl fmt::Display for JpegError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            JpegError::NotJpeg => f.write_str("a JPEG file begins with FF D8, this does not"),
            JpegError::Ended => f.write_str("JPEG file ends before its picture begins"),
            JpegError::Broken(segment) => {
                f.write_str("JPEG segment is malformed: ")?;
                f.write_str(segment)
            }
        }
    }
}

impl std::error::Error for JpegError {}

/// A quantisation table in the order of the file (zigzag).
pub type Table = [u8; 64];

/// One colour of a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Component {
    /// Its name within the file.
    pub id: u8,
    /// Samples across in the smallest group of all components.
    pub h: u8,
    /// Samples down in that group.
    pub v: u8,
    /// Which quantisation table, 0..=3.
    pub table: u8,
}

/// How RTP names the sampling of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// 4:2:2, type 0.
    Yuv422,
    /// 4:2:0, type 1.
    Yuv420,
}

/// What a file says before its picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JpegInfo {
    /// Pixels across.
    pub width: u16,
    /// Pixels down.
    pub height: u16,
    /// Baseline: sequential, Huffman, 8 bits.
    pub baseline: bool,
    components: [Component; 4],
    component_count: u8,
    /// Blocks between restart markers; 0: none.
    pub restart_interval: u16,
    /// The 8-bit quantisation tables that the file defines.
    pub tables: [Option<Table>; 4],
    /// The Huffman tables are the standard's, or missing (then the standard's are meant).
    pub standard_huffman: bool,
    /// All components in one scan.
    pub interleaved: bool,
    /// Where the entropy-coded data begin.
    pub scan: usize,
}

impl JpegInfo {
    /// Reads everything up to the first scan.
    pub fn parse(file: &[u8]) -> Result<JpegInfo, JpegError> {
        if file.get(..2).ok_or(JpegError::Ended)? != [0xff, 0xd8] {
            return Err(JpegError::NotJpeg);
        }
        let mut info = JpegInfo {
            width: 0,
            height: 0,
            baseline: false,
            components: Default::default(),
            component_count: 0,
            restart_interval: 0,
            tables: [None; 4],
            standard_huffman: true,
            interleaved: false,
            scan: 0,
        };
        let mut at = 2;
        loop {
            let mut marker = *file.get(at + 1).ok_or(JpegError::Ended)?;
            if file.get(at) != Some(&0xff) {
                return Err(JpegError::Broken("no marker where one is expected"));
            }
            while marker == 0xff {
                at += 1; // fill bytes
                marker = *file.get(at + 1).ok_or(JpegError::Ended)?;
            }
            at += 2;
            if matches!(marker, 0x01 | 0xd0..=0xd8) {
                continue; // markers without a segment
            }
            let len = file.get(at..).and_then(|d| d.first_chunk::<2>()).ok_or(JpegError::Ended)?;
            let len = usize::from(u16::from_be_bytes(*len));
            if len < 2 {
                return Err(JpegError::Broken("length"));
            }
            let body = file.get(at + 2..at + len).ok_or(JpegError::Ended)?;
            at += len;
            match marker {
                0xc4 => info.huffman(body)?,
                0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => info.frame(marker, body)?,
                0xdb => info.quantisation(body)?,
                0xdd => {
                    let value = body.first_chunk::<2>().ok_or(JpegError::Broken("restart interval"))?;
                    info.restart_interval = u16::from_be_bytes(*value);
                }
                0xda => {
                    let count = *body.first().ok_or(JpegError::Broken("scan"))?;
                    if info.component_count == 0 {
                        return Err(JpegError::Broken("scan before frame"));
                    }
                    info.interleaved = count == info.component_count;
                    info.scan = at;
                    return Ok(info);
                }
                0xd9 => return Err(JpegError::Broken("end before a picture")),
                _ => {}
            }
        }
    }

    /// The colours of the picture.
    pub fn components(&self) -> &[Component] {
        self.components.get(..usize::from(self.component_count)).unwrap_or_default()
    }

    fn frame(&mut self, marker: u8, body: &[u8]) -> Result<(), JpegError> {
        const BAD: JpegError = JpegError::Broken("frame header");
        let &[precision, h1, h0, w1, w0, count, ref rest @ ..] = body else { return Err(BAD) };
        let parts = rest.get(..3 * usize::from(count)).ok_or(BAD)?;
        if self.component_count != 0 || count == 0 || count > 4 {
            return Err(BAD);
        }
        self.width = u16::from_be_bytes([w1, w0]);
        self.height = u16::from_be_bytes([h1, h0]);
        if self.width == 0 || self.height == 0 {
            return Err(JpegError::Broken("size of zero"));
        }
        for (slot, part) in self.components.iter_mut().zip(parts.chunks_exact(3)) {
            let &[id, hv, table] = part else { return Err(BAD) };
            *slot = Component { id, h: hv >> 4, v: hv & 15, table };
            if !(1..=4).contains(&slot.h) || !(1..=4).contains(&slot.v) || table > 3 {
                return Err(BAD);
            }
        }
        self.component_count = count;
        self.baseline = marker == 0xc0 && precision == 8;
        Ok(())
    }

    fn quantisation(&mut self, body: &[u8]) -> Result<(), JpegError> {
        const BAD: JpegError = JpegError::Broken("quantisation table");
        let mut rest = body;
        while let Some((&head, tail)) = rest.split_first() {
            let slot = self.tables.get_mut(usize::from(head & 15)).ok_or(BAD)?;
            if head >> 4 == 0 {
                let (table, tail) = tail.split_first_chunk::<64>().ok_or(BAD)?;
                *slot = Some(*table);
                rest = tail;
            } else {
                *slot = None; // 16 bits: not for RTP
                rest = tail.get(128..).ok_or(BAD)?;
            }
        }
        Ok(())
    }

    fn huffman(&mut self, body: &[u8]) -> Result<(), JpegError> {
        const BAD: JpegError = JpegError::Broken("Huffman table");
        let mut rest = body;
        while let Some((&head, tail)) = rest.split_first() {
            let (counts, tail) = tail.split_first_chunk::<16>().ok_or(BAD)?;
            let total = counts.iter().map(|&n| usize::from(n)).sum::<usize>();
            let (values, tail) = tail.split_at_checked(total).ok_or(BAD)?;
            let standard = HUFFMAN.iter().find(|t| t.0 == head);
            self.standard_huffman &= standard.is_some_and(|t| t.1 == counts && t.2 == values);
            rest = tail;
        }
        Ok(())
    }

    /// How RTP names this picture's sampling; None if RFC 2435 cannot carry it as it is: other
    /// sampling, tables or coding, or more than 2040 pixels along a side.
    pub fn rtp_sampling(&self) -> Option<Sampling> {
        let [y, u, v] = *self.components() else { return None };
        let plain = self.baseline && self.interleaved && self.standard_huffman;
        if !plain || self.width > 2040 || self.height > 2040 || (u.h, u.v, v.h, v.v) != (1, 1, 1, 1) {
            return None;
        }
        if u.table != v.table || self.table(y.table).is_none() || self.table(u.table).is_none() {
            return None;
        }
        match (y.h, y.v) {
            (2, 1) => Some(Sampling::Yuv422),
            (2, 2) => Some(Sampling::Yuv420),
            _ => None,
        }
    }

    fn table(&self, index: u8) -> Option<&Table> {
        self.tables.get(usize::from(index))?.as_ref()
    }

    /// The tables of luma and chroma, as RTP sends them in band.
    pub fn rtp_tables(&self) -> Option<(&Table, &Table)> {
        match *self.components() {
            [y, u, ..] => Some((self.table(y.table)?, self.table(u.table)?)),
            _ => None,
        }
    }
}

/// The tables of luma and chroma that RFC 2435 means by a `q` of 1 to 99 (others are bounded to
/// that).
pub fn rtp_default_tables(q: u8) -> (Table, Table) {
    let q = u32::from(q.clamp(1, 99));
    let scale = if q < 50 { 5000 / q } else { 200 - 2 * q };
    let table = |base: &Table| base.map(|v| ((u32::from(v) * scale + 50) / 100).clamp(1, 255) as u8);
    (table(&LUMA), table(&CHROMA))
}

/// What RTP says of a picture instead of a file's header.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    /// Its sampling.
    pub sampling: Sampling,
    /// Pixels across.
    pub width: u16,
    /// Pixels down.
    pub height: u16,
    /// Quantisation of luma.
    pub luma: &'a Table,
    /// Quantisation of chroma.
    pub chroma: &'a Table,
    /// Blocks between restart markers; 0: none.
    pub restart_interval: u16,
}

impl Header<'_> {
    /// Appends a file's header up to the entropy-coded data, with the standard Huffman tables.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.reserve(640);
        out.extend_from_slice(&[0xff, 0xd8]);
        for (index, table) in [(0, self.luma), (1, self.chroma)] {
            segment(out, 0xdb, 65);
            out.push(index);
            out.extend_from_slice(table);
        }
        if self.restart_interval != 0 {
            segment(out, 0xdd, 2);
            out.extend_from_slice(&self.restart_interval.to_be_bytes());
        }
        let luma = match self.sampling {
            Sampling::Yuv422 => 0x21,
            Sampling::Yuv420 => 0x22,
        };
        segment(out, 0xc0, 15);
        out.push(8);
        out.extend_from_slice(&self.height.to_be_bytes());
        out.extend_from_slice(&self.width.to_be_bytes());
        out.extend_from_slice(&[3, 1, luma, 0, 2, 0x11, 1, 3, 0x11, 1]);
        for (head, counts, values) in HUFFMAN {
            segment(out, 0xc4, 17 + values.len());
            out.push(head);
            out.extend_from_slice(counts);
            out.extend_from_slice(values);
        }
        segment(out, 0xda, 10);
        out.extend_from_slice(&[3, 1, 0, 2, 0x11, 3, 0x11, 0, 63, 0]);
    }
}

fn segment(out: &mut Vec<u8>, marker: u8, len: usize) {
    out.extend_from_slice(&[0xff, marker]);
    out.extend_from_slice(&(len as u16 + 2).to_be_bytes());
}

/// Luma of the standard's table K.1, in zigzag order.
pub const LUMA: Table = [
    16, 11, 12, 14, 12, 10, 16, 14, 13, 14, 18, 17, 16, 19, 24, 40, 26, 24, 22, 22, 24, 49, 35, 37, 29, 40,
    58, 51, 61, 60, 57, 51, 56, 55, 64, 72, 92, 78, 64, 68, 87, 69, 55, 56, 80, 109, 81, 87, 95, 98, 103,
    104, 103, 62, 77, 113, 121, 112, 100, 120, 92, 101, 103, 99,
];

/// Chroma of the standard's table K.2, in zigzag order.
pub const CHROMA: Table = [
    17, 18, 18, 24, 21, 24, 47, 26, 26, 47, 99, 66, 56, 66, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
];

/// A Huffman table as it stands in its segment: class and number, how many codes of each length, values.
pub type Huffman = (u8, &'static [u8; 16], &'static [u8]);

/// The standard's tables K.3 to K.6.
pub const HUFFMAN: [Huffman; 4] = [
    (0x00, &[0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
    (0x10, &[0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7d], &AC_LUMA),
    (0x01, &[0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
    (0x11, &[0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 0x77], &AC_CHROMA),
];

#[rustfmt::skip]
const AC_LUMA: [u8; 162] = [
    0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07, 0x22, 0x71,
    0x14, 0x32, 0x81, 0x91, 0xa1, 0x08, 0x23, 0x42, 0xb1, 0xc1, 0x15, 0x52, 0xd1, 0xf0, 0x24, 0x33, 0x62, 0x72,
    0x82, 0x09, 0x0a, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2a, 0x34, 0x35, 0x36, 0x37,
    0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59,
    0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x83,
    0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3,
    0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3,
    0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda, 0xe1, 0xe2,
    0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa,
];

#[rustfmt::skip]
const AC_CHROMA: [u8; 162] = [
    0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71, 0x13, 0x22,
    0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xa1, 0xb1, 0xc1, 0x09, 0x23, 0x33, 0x52, 0xf0, 0x15, 0x62, 0x72, 0xd1,
    0x0a, 0x16, 0x24, 0x34, 0xe1, 0x25, 0xf1, 0x17, 0x18, 0x19, 0x1a, 0x26, 0x27, 0x28, 0x29, 0x2a, 0x35, 0x36,
    0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58,
    0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a,
    0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a,
    0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba,
    0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda,
    0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa,
];

#[cfg(test)]
mod tests {
    use super::super::bits::testing::*;
    use super::*;

    // Header of `ffmpeg -f lavfi -i testsrc2=s=160x96 -frames:v 1 -c:v mjpeg -huffman default -q:v 5
    // -pix_fmt yuvj420p -f mjpeg`, without its comment, and the same with `-huffman optimal`.
    /// Up to the scan, standard Huffman tables.
    const STANDARD_420: &str = "\
        ffd8ffe000104a46494600010200000100010000ffdb004300080a0a0b0a0b0d0d0d0d0d0d100f101010101010101010 \
        101012121215151512121210101212141415151717171515151517171919191e1e1c1c2323242b2b33ffc401a2000001 \
        0501010101010100000000000000000102030405060708090a0b01000301010101010101010100000000000001020304 \
        05060708090a0b100002010303020403050504040000017d01020300041105122131410613516107227114328191a108 \
        2342b1c11552d1f02433627282090a161718191a25262728292a3435363738393a434445464748494a53545556575859 \
        5a636465666768696a737475767778797a838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6 \
        b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9fa110002010204 \
        0403040705040400010277000102031104052131061241510761711322328108144291a1b1c109233352f0156272d10a \
        162434e125f11718191a262728292a35363738393a434445464748494a535455565758595a636465666768696a737475 \
        767778797a82838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8 \
        c9cad2d3d4d5d6d7d8d9dae2e3e4e5e6e7e8e9eaf2f3f4f5f6f7f8f9faffc0001108006000a003012200021100031100 \
        ffda000c03010002110311003f00";
    /// Up to the scan, tables made for this picture.
    const OPTIMAL_420: &str = "\
        ffd8ffe000104a46494600010200000100010000ffdb004300080a0a0b0a0b0d0d0d0d0d0d100f101010101010101010 \
        101012121215151512121210101212141415151717171515151517171919191e1e1c1c2323242b2b33ffc400bb000003 \
        000301010100000000000000000000050607040308020101000203010101010000000000000000000605080704030102 \
        00100000050105030806070901010000000000020311011231211304054114518283b2c2423443220632612315338171 \
        6252c1d3d2b1a391a124a2f05453d1e111000200040303050a0a08070100000000010200040311122105312213513241 \
        3306b3b1627271b2a1811574d18407539134355236b483a245f0d25414611623438246926342ffc0001108006000a003 \
        012200021100031100ffda000c03010002110311003f00";

    #[test]
    fn a_file_of_ffmpeg_is_read() {
        let file = hex(STANDARD_420);
        let info = JpegInfo::parse(&file).unwrap();
        assert_eq!((info.width, info.height, info.baseline, info.interleaved), (160, 96, true, true));
        assert_eq!(info.components().len(), 3);
        assert!(info.standard_huffman);
        assert_eq!(info.scan, file.len());
        assert_eq!(info.rtp_sampling(), Some(Sampling::Yuv420));
        let (luma, chroma) = info.rtp_tables().unwrap();
        assert_eq!(luma, chroma);
        let info = JpegInfo::parse(&hex(OPTIMAL_420)).unwrap();
        assert!(!info.standard_huffman, "RTP would lose these tables");
        assert_eq!(info.rtp_sampling(), None);
    }

    #[test]
    fn a_header_from_rtp_reads_as_it_was_written() {
        for (sampling, restart_interval) in [(Sampling::Yuv420, 0), (Sampling::Yuv422, 40)] {
            let (luma, chroma) = rtp_default_tables(80);
            let mut out = vec![];
            Header { sampling, width: 1280, height: 720, luma: &luma, chroma: &chroma, restart_interval }
                .write(&mut out);
            let info = JpegInfo::parse(&out).unwrap();
            assert_eq!((info.width, info.height, info.restart_interval), (1280, 720, restart_interval));
            assert_eq!(info.rtp_sampling(), Some(sampling));
            assert_eq!(info.rtp_tables(), Some((&luma, &chroma)));
            assert_eq!(info.scan, out.len());
            for n in 0..out.len() {
                assert!(JpegInfo::parse(&out[..n]).is_err(), "{n} bytes");
            }
            mutations(&out, 20_000, &mut |bytes| {
                if let Ok(info) = JpegInfo::parse(bytes) {
                    info.rtp_sampling();
                    info.rtp_tables();
                    assert!(info.scan <= bytes.len());
                }
            });
        }
    }

    #[test]
    fn tables_follow_the_quality_of_rfc_2435() {
        assert_eq!(rtp_default_tables(50), (LUMA, CHROMA));
        let (luma, chroma) = rtp_default_tables(99);
        assert!(luma[..10].iter().all(|&v| v == 1) && chroma[63] == 2);
        let (luma, _) = rtp_default_tables(1);
        assert!(luma.iter().all(|&v| v == 255));
        let (luma, _) = rtp_default_tables(25);
        assert_eq!(&luma[..4], &[32, 22, 24, 28]);
    }

    #[test]
    fn the_zigzag_of_the_standard_table_is_right() {
        // Table K.1 row by row, walked in zigzag.
        const ROWS: [[u8; 8]; 8] = [
            [16, 11, 10, 16, 24, 40, 51, 61],
            [12, 12, 14, 19, 26, 58, 60, 55],
            [14, 13, 16, 24, 40, 57, 69, 56],
            [14, 17, 22, 29, 51, 87, 80, 62],
            [18, 22, 37, 56, 68, 109, 103, 77],
            [24, 35, 55, 64, 81, 104, 113, 92],
            [49, 64, 78, 87, 103, 121, 120, 101],
            [72, 92, 95, 98, 112, 100, 103, 99],
        ];
        let mut walked = vec![];
        for sum in 0..15usize {
            let mut diagonal: Vec<u8> =
                (0..=sum).filter(|&y| y < 8 && sum - y < 8).map(|y| ROWS[y][sum - y]).collect();
            if sum % 2 == 0 {
                diagonal.reverse();
            }
            walked.extend(diagonal);
        }
        assert_eq!(walked, LUMA);
    }

    #[test]
    fn what_is_no_jpeg_is_told() {
        assert_eq!(JpegInfo::parse(b"GIF89a"), Err(JpegError::NotJpeg));
        assert_eq!(JpegInfo::parse(&[0xff]), Err(JpegError::Ended));
        assert_eq!(JpegInfo::parse(&hex("ffd8 ffd9 0002")), Err(JpegError::Broken("end before a picture")));
        assert_eq!(JpegInfo::parse(&hex("ffd8 ffda 0003 01")), Err(JpegError::Broken("scan before frame")));
        assert_eq!(
            JpegInfo::parse(&hex("ffd8 00c0")),
            Err(JpegError::Broken("no marker where one is expected"))
        );
    }
}
