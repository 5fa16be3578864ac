//! What RFC 2435 leaves out of a JPEG picture and how it is put back: the file's segments are checked
//! against what the format can say, and written anew from the few bytes that travelled. The entropy
//! coded data itself is never looked at.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use crate::media::jpeg::{HUFFMAN, Huffman, rtp_default_tables};
use std::fmt;
use std::ops::Range;

/// The largest width and height: a byte of eight-pixel blocks.
pub const MAX_SIDE: u16 = 255 * 8;

/// Why a picture cannot travel as RFC 2435.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JpegError {
    /// The segments end before the scan.
    Truncated,
    /// Not a baseline picture of 8 bits with one interleaved scan of Y, Cb and Cr.
    NotBaseline,
    /// Sampling other than 4:2:2 or 4:2:0.
    Sampling,
    /// A side of zero or beyond 2040 pixels.
    Size(u16, u16),
    /// Huffman tables other than the standard's.
    Huffman,
    /// Quantisation tables missing, or of 16 bits.
    Quantisation,
}

impl fmt::Display for JpegError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JpegError::Truncated => f.write_str("JPEG ends before its scan"),
            JpegError::NotBaseline => {
                f.write_str("JPEG is not baseline with one scan of Y, Cb and Cr, as RTP asks")
            }
            JpegError::Sampling => f.write_str("JPEG sampling is neither 4:2:2 nor 4:2:0, as RTP asks"),
            JpegError::Size(w, h) => write!(f, "JPEG of {w}x{h}, RTP takes up to {MAX_SIDE}x{MAX_SIDE}"),
            JpegError::Huffman => {
                f.write_str("JPEG has Huffman tables of its own, RTP asks for the standard's")
            }
            JpegError::Quantisation => f.write_str("JPEG has no two quantisation tables of 8 bits"),
        }
    }
}

impl std::error::Error for JpegError {}

mod marker {
    pub const SOI: u8 = 0xD8;
    pub const EOI: u8 = 0xD9;
    pub const SOF0: u8 = 0xC0;
    pub const DHT: u8 = 0xC4;
    pub const DQT: u8 = 0xDB;
    pub const DRI: u8 = 0xDD;
    pub const SOS: u8 = 0xDA;
}

/// A picture file as RFC 2435 sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Width in blocks of eight pixels.
    pub blocks_wide: u8,
    /// Height in blocks of eight pixels.
    pub blocks_high: u8,
    /// 4:2:0 rather than 4:2:2.
    pub halved_height: bool,
    /// Units between restart markers; 0 if there are none.
    pub restart_interval: u16,
    /// Where the 64 bytes of the luma and of the chroma table lie.
    pub tables: [usize; 2],
    /// Where the entropy coded data lie, without the end marker.
    pub data: Range<usize>,
}

impl Scan {
    /// Reads the segments of a picture file.
    pub fn parse(file: &[u8]) -> Result<Scan, JpegError> {
        let truncated = JpegError::Truncated;
        if file.get(..2) != Some(&[0xFF, marker::SOI]) {
            return Err(truncated);
        }
        let mut at = 2;
        let mut tables = [None; 4];
        let mut frame = None;
        let mut restart_interval = 0;
        loop {
            // Any number of fill bytes may stand before a marker.
            while file.get(at) == Some(&0xFF) && file.get(at + 1) == Some(&0xFF) {
                at += 1;
            }
            let Some(&[0xFF, code, l0, l1]) = file.get(at..at + 4) else { return Err(truncated) };
            let len = usize::from(u16::from_be_bytes([l0, l1]));
            let body = file.get(at + 4..(at + 2).saturating_add(len)).ok_or(truncated)?;
            let body_at = at + 4;
            at += 2 + len;
            match code {
                marker::SOF0 => frame = Some(Frame::parse(body)?),
                0xC1..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCF => return Err(JpegError::NotBaseline),
                marker::DQT => {
                    for (i, table) in body.chunks(65).enumerate() {
                        match table.first() {
                            Some(&id) if id < 4 && table.len() == 65 => {
                                if let Some(slot) = tables.get_mut(usize::from(id)) {
                                    *slot = Some(body_at + 65 * i + 1);
                                }
                            }
                            _ => return Err(JpegError::Quantisation),
                        }
                    }
                }
                marker::DHT => check_huffman(body)?,
                marker::DRI => {
                    restart_interval =
                        body.first_chunk().copied().map(u16::from_be_bytes).ok_or(truncated)?;
                }
                marker::SOS => {
                    let frame: Frame = frame.ok_or(JpegError::NotBaseline)?;
                    frame.check_scan(body)?;
                    let mut end = file.len();
                    // Cameras pad after the end marker; it is at the end, or nearly.
                    let tail = file.get(at..).ok_or(truncated)?;
                    if let Some(eoi) = tail.windows(2).rposition(|w| w == [0xFF, marker::EOI]) {
                        end = at + eoi;
                    }
                    if end == at {
                        return Err(truncated);
                    }
                    let table = |id: u8| tables.get(usize::from(id)).copied().flatten();
                    let (Some(luma), Some(chroma)) = (table(frame.luma_table), table(frame.chroma_table))
                    else {
                        return Err(JpegError::Quantisation);
                    };
                    return Ok(Scan {
                        blocks_wide: frame.width.div_ceil(8) as u8,
                        blocks_high: frame.height.div_ceil(8) as u8,
                        halved_height: frame.halved_height,
                        restart_interval,
                        tables: [luma, chroma],
                        data: at..end,
                    });
                }
                _ => {}
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Frame {
    width: u16,
    height: u16,
    halved_height: bool,
    ids: [u8; 3],
    luma_table: u8,
    chroma_table: u8,
}

impl Frame {
    fn parse(body: &[u8]) -> Result<Frame, JpegError> {
        let &[8, h0, h1, w0, w1, 3, y, y_sampling, y_table, cb, 0x11, cb_table, cr, 0x11, cr_table] = body
        else {
            return Err(match body {
                [8, _, _, _, _, 3, ..] if body.len() >= 15 => JpegError::Sampling,
                _ => JpegError::NotBaseline,
            });
        };
        let (height, width) = (u16::from_be_bytes([h0, h1]), u16::from_be_bytes([w0, w1]));
        if width == 0 || height == 0 || width > MAX_SIDE || height > MAX_SIDE {
            return Err(JpegError::Size(width, height));
        }
        let halved_height = match y_sampling {
            0x21 => false,
            0x22 => true,
            _ => return Err(JpegError::Sampling),
        };
        if cb_table != cr_table {
            return Err(JpegError::Quantisation);
        }
        Ok(Frame {
            width,
            height,
            halved_height,
            ids: [y, cb, cr],
            luma_table: y_table,
            chroma_table: cb_table,
        })
    }

    /// One scan of the three components in order, luma with the first Huffman tables, chroma with the
    /// second.
    fn check_scan(&self, body: &[u8]) -> Result<(), JpegError> {
        let [y, cb, cr] = self.ids;
        if body == [3, y, 0x00, cb, 0x11, cr, 0x11, 0, 63, 0] { Ok(()) } else { Err(JpegError::NotBaseline) }
    }
}

fn check_huffman(mut body: &[u8]) -> Result<(), JpegError> {
    while !body.is_empty() {
        let table = HUFFMAN.iter().find(|t| begins_with(body, t)).ok_or(JpegError::Huffman)?;
        body = body.get(huffman_len(table)..).unwrap_or(&[]);
    }
    Ok(())
}

/// What has to be written before the data of a received picture.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a> {
    /// Pixels across.
    pub width: u16,
    /// Pixels down.
    pub height: u16,
    /// 4:2:0 rather than 4:2:2.
    pub halved_height: bool,
    /// Units between restart markers; 0 if there are none.
    pub restart_interval: u16,
    /// Quantisation tables as they came, one after the other.
    pub tables: &'a [u8],
    /// Bit n set: table n has 16-bit entries.
    pub precision: u8,
}

impl Headers<'_> {
    /// Writes everything from the start of image to the start of scan.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let [h0, h1] = self.height.to_be_bytes();
        let [w0, w1] = self.width.to_be_bytes();
        out.extend_from_slice(&[0xFF, marker::SOI]);
        let mut rest = self.tables;
        let mut count = 0_u8;
        while count < 2 && !rest.is_empty() {
            let wide = self.precision >> count & 1;
            let Some((table, after)) = rest.split_at_checked(64 << wide) else { break };
            out.extend_from_slice(&[0xFF, marker::DQT, 0, 67 + 64 * wide, wide << 4 | count]);
            out.extend_from_slice(table);
            rest = after;
            count += 1;
        }
        // One table only: it serves luma and chroma.
        let chroma = u8::from(count > 1);
        if self.restart_interval > 0 {
            let [r0, r1] = self.restart_interval.to_be_bytes();
            out.extend_from_slice(&[0xFF, marker::DRI, 0, 4, r0, r1]);
        }
        let sampling = if self.halved_height { 0x22 } else { 0x21 };
        out.extend_from_slice(&[0xFF, marker::SOF0, 0, 17, 8, h0, h1, w0, w1, 3]);
        out.extend_from_slice(&[1, sampling, 0, 2, 0x11, chroma, 3, 0x11, chroma]);
        let len = 2 + HUFFMAN.iter().map(|t| huffman_len(t) as u16).sum::<u16>();
        out.extend_from_slice(&[0xFF, marker::DHT]);
        out.extend_from_slice(&len.to_be_bytes());
        for (head, counts, values) in HUFFMAN {
            out.push(head);
            out.extend_from_slice(counts);
            out.extend_from_slice(values);
        }
        out.extend_from_slice(&[0xFF, marker::SOS, 0, 12, 3, 1, 0x00, 2, 0x11, 3, 0x11, 0, 63, 0]);
    }
}

/// Tables of a quality 1 to 99 (RFC 2435 §4.2), luma then chroma.
pub fn tables_of_quality(q: u8) -> [u8; 128] {
    let (luma, chroma) = rtp_default_tables(q);
    let mut out = [0; 128];
    for (to, from) in out.iter_mut().zip(luma.into_iter().chain(chroma)) {
        *to = from;
    }
    out
}

/// Bytes that a Huffman table has in its segment.
const fn huffman_len(table: &Huffman) -> usize {
    17 + table.2.len()
}

/// Whether a segment's rest begins with this table.
fn begins_with(body: &[u8], (head, counts, values): &Huffman) -> bool {
    let rest = body.strip_prefix(&[*head]).and_then(|rest| rest.strip_prefix(&counts[..]));
    rest.is_some_and(|rest| rest.starts_with(values))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::rtp::pay::tests::Xorshift;

    pub fn picture(restart: u16) -> Vec<u8> {
        let mut file = Vec::new();
        Headers {
            width: 1280,
            height: 720,
            halved_height: true,
            restart_interval: restart,
            tables: &tables_of_quality(80),
            precision: 0,
        }
        .emit(&mut file);
        file.extend((0..5000_u32).map(|i| (i % 251) as u8));
        file.extend_from_slice(&[0xFF, 0xD9]);
        file
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let file = picture(0);
        let scan = Scan::parse(&file).unwrap();
        assert_eq!((scan.blocks_wide, scan.blocks_high, scan.halved_height), (160, 90, true));
        assert_eq!(scan.data.len(), 5000);
        assert_eq!(file[scan.tables[0]..][..64], tables_of_quality(80)[..64]);
        assert_eq!(file[scan.tables[1]..][..64], tables_of_quality(80)[64..]);
        assert_eq!(Scan::parse(&picture(16)).unwrap().restart_interval, 16);
    }

    /// RFC 2435's own formula at its ends: quality 50 is the standard's table, 99 nearly all ones.
    #[test]
    fn quality_scales_the_standard_tables() {
        assert_eq!(tables_of_quality(50)[..64], crate::media::jpeg::LUMA);
        assert_eq!(tables_of_quality(50)[64..], crate::media::jpeg::CHROMA);
        assert_eq!(tables_of_quality(1)[0], 255);
        assert_eq!(tables_of_quality(99)[..4], [1, 1, 1, 1]);
    }

    #[test]
    fn a_picture_that_rtp_cannot_carry_says_why() {
        let file = picture(0);
        let at = |needle: &[u8]| file.windows(needle.len()).position(|w| w == needle).unwrap();
        let with = |at: usize, byte: u8| {
            let mut bad = file.clone();
            bad[at] = byte;
            Scan::parse(&bad)
        };
        let sof = at(&[0xFF, 0xC0]);
        assert_eq!(with(sof + 1, 0xC2), Err(JpegError::NotBaseline), "progressive");
        assert_eq!(with(sof + 7, 0x0A), Err(JpegError::Size(2560, 720)));
        assert_eq!(with(sof + 11, 0x11), Err(JpegError::Sampling), "4:4:4");
        assert_eq!(with(at(&[0xFF, 0xC4]) + 40, 99), Err(JpegError::Huffman));
        assert_eq!(with(at(&[0xFF, 0xDB]) + 4, 0x10), Err(JpegError::Quantisation), "16 bits");
    }

    #[test]
    fn no_truncation_or_mutation_panics() {
        let file = picture(4);
        let headers = Scan::parse(&file).unwrap().data.start;
        for len in 0..=headers {
            assert!(Scan::parse(&file[..len]).is_err(), "{len}");
        }
        let mut random = Xorshift(2);
        for _ in 0..50_000 {
            let mut bad = file[..headers + 20].to_vec();
            for _ in 0..3 {
                let at = random.below(bad.len());
                bad[at] = random.next() as u8;
            }
            if let Ok(scan) = Scan::parse(&bad) {
                assert!(scan.data.end <= bad.len() && scan.tables.iter().all(|t| t + 64 <= bad.len()));
            }
        }
    }
}
